"""What the words of a command line mean: one of several options, a number, yes. Nothing of Fabric in it."""

from __future__ import annotations

from .errors import UnknownSubtask


def is_yes(option: str, value: str | None) -> bool:
    """An option that can only be ``yes`` or left out. Raises ``UnknownSubtask`` for anything else."""
    if value not in (None, "yes"):
        raise UnknownSubtask(f"{option} can only be yes, not {value!r}.")
    return value == "yes"


def positive(option: str, value: str) -> int:
    """An option that is a number from 1 on. Raises ``UnknownSubtask`` for anything else."""
    if not value.isdecimal() or int(value) < 1:
        raise UnknownSubtask(f"{option} has to be a number from 1 on, not {value!r}.")
    return int(value)


def exactly_one(question: str, written: list[str], *values: str | None) -> None:
    """Raises ``UnknownSubtask`` unless one of the options is given and no other; ``written`` is how to write them."""
    if list(map(bool, values)).count(True) != 1:
        raise UnknownSubtask(f"{question} Write {' or '.join(written)}.")
