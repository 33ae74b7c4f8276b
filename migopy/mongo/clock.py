"""Two clocks: this machine's for how long something takes, the server's (``$$NOW``) for every time that we store."""

from __future__ import annotations

import time
from typing import Any, Mapping


def clock() -> float:
    """Seconds of a clock that nobody can set."""
    # CLOCK_BOOTTIME (Linux) also counts while the machine sleeps, as the server's clock does.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def literals(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts for an update with a pipeline, which can have ``$$NOW`` beside them."""
    # In a pipeline a text that begins with $ would be read as the name of a field.
    return {key: {"$literal": value} for key, value in facts.items()}
