"""What the words of a command line mean: one of several options, a number, yes. Nothing of Fabric in it."""

from __future__ import annotations

from typing import Iterable

from ..errors import UnknownSubtask


def is_yes(option: str, value: object, yes: str = "yes") -> bool:
    """An option that can only be ``yes`` (True in Python) or left out. Raises ``UnknownSubtask`` for anything else."""
    if value not in (None, False, True, yes):
        raise UnknownSubtask(f"{option} can only be {yes}, not {value!r}.")
    return value in (True, yes)


def positive(option: str, value: object) -> int:
    """An option that is a number from 1 on. Raises ``UnknownSubtask`` for anything else."""
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise UnknownSubtask(f"{option} has to be a number from 1 on, not {text!r}.")
    return int(text)


def not_empty(option: str, value: object, written: str) -> None:
    """Raises ``UnknownSubtask`` for an empty text: that of an empty variable in a deploy script must not mean all."""
    if value == "":
        raise UnknownSubtask(f"Nothing was done: {option} is empty. Write {written}.")


def exactly_one(question: str, written: list[str], *values: object) -> None:
    """Raises ``UnknownSubtask`` unless one of the options is given and no other; ``written`` is how to write them."""
    given = [value for value in values if value is not None]
    if len(given) != 1 or given == [""]:
        raise UnknownSubtask(f"{question} Write {' or '.join(written)}.")


def nearest(word: str, known: Iterable[str], likeness: float = 0.7) -> str | None:
    """The known word that was probably meant; None if there is none near. ``likeness`` is a ratio of ``difflib``."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)), None)
