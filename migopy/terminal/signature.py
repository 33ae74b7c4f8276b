"""The parameters of a function of the team."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Callable

if sys.version_info >= (3, 14):
    from annotationlib import Format

    def signature(function: Callable[..., Any], follow_wrapped: bool = True) -> inspect.Signature:
        """Its signature. The annotations may name what only a type checker imports, which Python 3.14 permits."""
        return inspect.signature(function, follow_wrapped=follow_wrapped, annotation_format=Format.STRING)

else:

    def signature(function: Callable[..., Any], follow_wrapped: bool = True) -> inspect.Signature:
        """Its signature."""
        return inspect.signature(function, follow_wrapped=follow_wrapped)
