"""The texts of ``fab migrations:help``: the list of subtasks, one subtask, and the pages of ``migopy/docs``."""

from __future__ import annotations

import inspect
from pathlib import Path

from ..errors import UnknownSubtask
from ..terminal.options import closest_word
from ..terminal.tables import fit, term_list
from .dispatch import ALIASES, is_ours, usage_of
from .task import Manager, help_lines, subtask_names

PAGES = Path(__file__).parents[1] / "docs"

TOPICS = "topics"
"""The word for which help lists the pages."""

NAMED_BY_PAUSE = ("resume", "pace", "stop")
"""Subtasks that the line of ``pause`` names, so that the overview fits a screen of 24 lines."""


def overview(manager_class: type[Manager]) -> list[tuple[str, str]]:
    """Command and description of every subtask, and how to list the topics."""
    command = f"fab {manager_class.FAB_TASK}"
    ours = [name for name in NAMED_BY_PAUSE if is_ours(getattr(manager_class, name))]
    hidden = {f"{command}:{name}" for name in ours}
    shown = [line for line in help_lines(manager_class) if line[0] not in hidden]
    return [*shown, (f"{command}:help,{TOPICS}", "List the pages of this documentation")]


def topic_list(manager_class: type[Manager]) -> list[tuple[str, str]]:
    """The command that shows a page, and the title of the page."""
    return [(f"fab {manager_class.FAB_TASK}:help,{topic}", _title(path)) for topic, path in pages().items()]


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as page:
        return page.readline().lstrip("# ").rstrip("\n")


def help_text(manager: Manager, word: str | None) -> str:
    """The list of subtasks, that of topics, the help of a subtask, or the page of a topic.

    Raises ``UnknownSubtask`` if there is no such subtask or topic.
    """
    if word is None:
        return term_list(overview(type(manager)))
    if word == TOPICS:
        return term_list(topic_list(type(manager)))
    subtasks, topics = subtask_names(type(manager)), pages()
    for name in (word, ALIASES.get(word)):
        if name in subtasks:
            method = getattr(manager, name)
            paragraphs = [usage_of(manager, name), *(inspect.getdoc(method) or "").split("\n\n")]
            return "\n\n".join(map(fit, filter(None, paragraphs)))
    if word in topics:
        return topics[word].read_text(encoding="utf-8").rstrip("\n")
    known = [*subtasks, TOPICS, *topics]
    similar = closest_word(word, known)
    hint = f" Did you mean {similar}?" if similar else ""
    raise UnknownSubtask(
        f"fab {manager.FAB_TASK}:help knows no subtask or topic {word!r}.{hint} It knows {', '.join(known)}."
    )


def pages() -> dict[str, Path]:
    """The pages by topic."""
    return {path.stem: path for path in sorted(PAGES.glob("*.md"))}
