"""The parameters of a function of the team."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Callable

AS_WRITTEN: dict[str, Any] = {}
"""Annotations may name what only a type checker imports: Python 3.14 permits that, and looks at them late."""

if sys.version_info >= (3, 14):
    from annotationlib import Format

    AS_WRITTEN = {"annotation_format": Format.STRING}


def signature(function: Callable[..., Any], follow_wrapped: bool = True) -> inspect.Signature:
    return inspect.signature(function, follow_wrapped=follow_wrapped, **AS_WRITTEN)


def takes_session(function: Callable[..., Any]) -> bool:
    """Whether it has a parameter named ``session``."""
    return "session" in signature(function).parameters
