"""Checks of the options of a subtask. Knows nothing of Fabric."""

from __future__ import annotations

from typing import Iterable

from ..errors import UnknownSubtask

SIMILARITY = 0.7
"""The ratio of ``difflib`` from which a word may be another one with a typing mistake."""


YES = ("yes", "y")


def means_yes(text: str) -> bool:
    """Whether this is an answer ``yes``, as people type it."""
    return text.strip().lower() in YES


def is_yes(option: str, value: object, yes: str = "yes") -> bool:
    """Whether the option is given. Raises ``UnknownSubtask`` for any value but ``yes`` (True in Python)."""
    if value in (None, False):
        return False
    if value in (True, yes) or (yes in YES and means_yes(str(value))):
        return True
    raise UnknownSubtask(f"{option} can only be {yes}, not {value!r}.")


def positive_number(option: str, value: object) -> int:
    """The value as a number. Raises ``UnknownSubtask`` if it is not a whole number of at least 1."""
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise UnknownSubtask(f"{option} has to be a whole number, at least 1, not {text!r}.")
    return int(text)


def require_not_empty(option: str, value: object, usage: str) -> None:
    """Raises ``UnknownSubtask`` if the value is an empty string. ``usage`` says what to write."""
    if value == "":  # an empty variable in a deploy script must not mean all migrations
        raise UnknownSubtask(f"Nothing was done: {option} is empty. Write {usage}.")


def require_exactly_one(question: str, usages: list[str], *values: object) -> None:
    """Raises ``UnknownSubtask`` unless exactly one of the options is given. ``usages`` say what to write."""
    given = [value for value in values if value is not None]
    if len(given) != 1 or given == [""]:
        several = f"{' and '.join(map(repr, given))} are given: a comma begins another option. " if given[1:] else ""
        raise UnknownSubtask(f"Nothing was done. {several}{question} Write {' or '.join(usages)}.")


def closest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=SIMILARITY)), None)
