"""Whose clock: this machine's for how long something takes, the server's for everything that others read."""

from __future__ import annotations

import time
from typing import Any, Mapping


def clock() -> float:
    """Seconds of a clock that nobody sets and that, on Linux, also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def from_now(seconds: float) -> dict[str, Any]:
    """For an update with a pipeline: the server's time so many seconds from now (needs MongoDB 4.2)."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def literally(facts: Mapping[str, Any]) -> dict[str, Any]:
    """For an update with a pipeline, in which a text that begins with $ would be a field."""
    return {key: {"$literal": value} for key, value in facts.items()}
