"""The traceback of the team's own code, as far as it is about that code."""

from __future__ import annotations

import os
import sys
import traceback

from .texts import safe_str, without_reply

DRIVER = ("migopy", "pymongo", "bson", "gridfs")
STANDARD_LIBRARY = os.path.dirname(os.__file__)


def team_traceback(error: BaseException, *, whole: bool = False) -> str:
    """The traceback of an error, from the team's first frame to its last; ``whole`` leaves nothing out.

    What stands below is how PyMongo sends a command; what stands above is how migopy has called the migration.
    """
    about = traceback.TracebackException.from_exception(error)
    if not whole:
        _leave_to_the_team(about)
    text = "".join(about.format()).rstrip("\n")
    return text if whole else _without_replies(text, error)


def _leave_to_the_team(about: traceback.TracebackException) -> None:
    """Cut the frames of an error and of those it came from; one that never left PyMongo is left out altogether."""
    frames = about.stack
    teams = [place for place, frame in enumerate(frames) if _is_teams(frame)]
    if teams:
        below = range(teams[-1] + 1, len(frames))
        del frames[next((place for place in below if _is_drivers(frames[place])), len(frames)) :]
        del frames[: teams[0]]
    else:
        frames[:] = [frame for frame in frames if not _is_drivers(frame)]
    for link in ("__cause__", "__context__"):
        origin = getattr(about, link)
        if origin is not None and _is_inner(origin):
            setattr(about, link, None)
        elif origin is not None:
            _leave_to_the_team(origin)


def _is_inner(about: traceback.TracebackException) -> bool:
    """Whether an error, and what it came from, was raised and caught below the team's code."""
    if any(_is_teams(frame) for frame in about.stack) or not any(_is_drivers(frame) for frame in about.stack):
        return False
    return all(origin is None or _is_inner(origin) for origin in (about.__cause__, about.__context__))


def _is_drivers(frame: traceback.FrameSummary) -> bool:
    folders = (os.path.dirname(sys.modules[name].__file__ or "") for name in DRIVER if name in sys.modules)
    return any(frame.filename.startswith(folder + os.sep) for folder in folders)


def _is_teams(frame: traceback.FrameSummary) -> bool:
    """Whether it is no frame of ours, of PyMongo's or of Python's; packages are installed in folders below Python's."""
    inside = frame.filename.startswith(STANDARD_LIBRARY + os.sep) and "-packages" + os.sep not in frame.filename
    return not inside and not frame.filename.startswith("<frozen ") and not _is_drivers(frame)


def _without_replies(text: str, error: BaseException | None) -> str:
    seen: set[int] = set()  # a chain may end in itself
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        whole = safe_str(error)
        text = text.replace(whole, without_reply(whole))
        error = error.__cause__ or error.__context__
    return text
