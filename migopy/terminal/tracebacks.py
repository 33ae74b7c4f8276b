"""The traceback of an error, reduced to the team's own code."""

from __future__ import annotations

import os
import sys
import traceback

from .texts import safe_str, without_reply

LIBRARIES = ("migopy", "pymongo", "bson", "gridfs")
STANDARD_LIBRARY = os.path.dirname(os.__file__)


def team_traceback(error: BaseException, *, whole: bool = False) -> str:
    """The traceback from the team's first frame to its last. ``whole`` leaves nothing out."""
    exception = traceback.TracebackException.from_exception(error)
    if not whole:
        _cut_to_team_frames(exception)
    text = "".join(exception.format()).rstrip("\n")
    return text if whole else _without_replies(text, error)


def _cut_to_team_frames(exception: traceback.TracebackException) -> None:
    """Cut the frames of the exception, and of its causes. Internal causes are removed."""
    frames = exception.stack
    team_frames = [place for place, frame in enumerate(frames) if is_team_frame(frame)]
    if team_frames:
        # Below the team's last frame PyMongo sends a command. Above the first one migopy calls the migration.
        below = team_frames[-1] + 1
        if any(map(_is_library_frame, frames[below:])):
            del frames[below:]
        del frames[: team_frames[0]]
    else:
        frames[:] = [frame for frame in frames if not _is_library_frame(frame)]
    for link in ("__cause__", "__context__"):
        origin = getattr(exception, link)
        if origin is not None and _is_internal(origin):
            setattr(exception, link, None)
        elif origin is not None:
            _cut_to_team_frames(origin)


def _is_internal(exception: traceback.TracebackException) -> bool:
    """Whether the exception and its causes were raised and caught by libraries only."""
    if any(map(is_team_frame, exception.stack)) or not any(map(_is_library_frame, exception.stack)):
        return False
    return all(origin is None or _is_internal(origin) for origin in (exception.__cause__, exception.__context__))


def _is_library_frame(frame: traceback.FrameSummary) -> bool:
    folders = (os.path.dirname(sys.modules[name].__file__ or "") for name in LIBRARIES if name in sys.modules)
    return any(frame.filename.startswith(folder + os.sep) for folder in folders)


def is_team_frame(frame: traceback.FrameSummary) -> bool:
    """Whether the frame belongs neither to Python nor to one of the libraries that call a migration."""
    # Installed packages are in a folder of the standard library: site-packages or dist-packages.
    is_python = frame.filename.startswith(STANDARD_LIBRARY + os.sep) and "-packages" + os.sep not in frame.filename
    return not is_python and not frame.filename.startswith("<frozen ") and not _is_library_frame(frame)


def _without_replies(text: str, error: BaseException | None) -> str:
    seen: set[int] = set()  # a chain of causes may contain itself
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        whole = safe_str(error)
        text = text.replace(whole, without_reply(whole))
        error = error.__cause__ or error.__context__
    return text
