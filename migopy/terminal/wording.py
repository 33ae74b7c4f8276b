"""Times, durations, sizes and numbers as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from datetime import datetime

SIGNALS = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "a lost terminal"}
"""The signals that end a task, as people know them."""

SHOWN_NAMES = 5
"""How many names a message for people lists."""

UNITS = ("B", "kB", "MB", "GB", "TB")


def byte_size(number: float) -> str:
    """``512 B``, ``1.5 kB``, ``360 MB``."""
    power = 0
    while number >= 1000 and power < len(UNITS) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.1f} {UNITS[power]}" if power and number < 10 else f"{number:.0f} {UNITS[power]}"


def plural(number: int, thing: str) -> str:
    """``1 document``, ``2,341 documents``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def local_time(moment: datetime) -> str:
    """``2026-01-31 12:00:00 CET``, in the time zone of this machine."""
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except (OverflowError, ValueError, OSError):  # datetime.min or datetime.max in another time zone
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def duration(seconds: float) -> str:
    """``12 ms``, ``2.4 s``, ``2 min 5 s`` or ``1 h 12 min``."""
    if seconds < 0.001:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def stopper(error: str) -> str:
    """Who or what stopped a run: ``Ctrl-C`` for the error ``KeyboardInterrupt: SIGINT``."""
    name = error.partition(": ")[2] or error
    return SIGNALS.get(name, name)


def capitalized(sentence: str) -> str:
    """The sentence with a capital letter; the others stay as they are."""
    return sentence[:1].upper() + sentence[1:]


def join_with_and(words: Sequence[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def some(names: Sequence[str]) -> str:
    """``a, b, c, d, e and 207 more``"""
    shown = ", ".join(names[:SHOWN_NAMES])
    return f"{shown} and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else shown
