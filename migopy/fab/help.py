"""The texts of ``fab migrations:help``: the list of subtasks, one subtask, and the pages of ``migopy/docs``."""

from __future__ import annotations

import inspect
from pathlib import Path

from ..errors import UnknownSubtask
from ..terminal.options import closest_word
from ..terminal.tables import term_list
from .dispatch import ALIASES, usage_of
from .task import Manager, help_lines, subtask_names

PAGES = Path(__file__).parents[1] / "docs"


def overview(manager_class: type[Manager]) -> list[tuple[str, str]]:
    """Command and description of every subtask, then the topics. It fits a screen."""
    return [*help_lines(manager_class), (f"fab {manager_class.FAB_TASK}:help,TOPIC", f"Topics: {', '.join(pages())}")]


def help_text(manager: Manager, word: str | None) -> str:
    """The list of subtasks and topics, the help of a subtask, or the page of a topic.

    Raises ``UnknownSubtask`` if there is no such subtask or topic.
    """
    if word is None:
        return term_list(overview(type(manager)))
    subtasks, topics = subtask_names(type(manager)), pages()
    for name in (word, ALIASES.get(word)):
        if name in subtasks:
            method = getattr(manager, name)
            paragraphs = [usage_of(manager, name), inspect.getdoc(method)]
            return "\n\n".join(filter(None, paragraphs))
    if word in topics:
        return topics[word].read_text(encoding="utf-8").rstrip("\n")
    known = [*subtasks, *topics]
    similar = closest_word(word, known)
    hint = f" Did you mean {similar}?" if similar else ""
    raise UnknownSubtask(
        f"fab {manager.FAB_TASK}:help knows no subtask or topic {word!r}.{hint} It knows {', '.join(known)}."
    )


def pages() -> dict[str, Path]:
    """The pages by topic."""
    return {path.stem: path for path in sorted(PAGES.glob("*.md"))}
