"""The one door to Fabric 1.x: what migopy uses of it, or a sentence where another Fabric stands in its place."""

from __future__ import annotations

import sys

FABRIC_1 = "fab-classic" if sys.version_info >= (3, 10) else "fabric3"
"""The package that brings Fabric 1.x to this Python; setup.py says why there are two."""


def what_is_wrong() -> str:
    """Empty for Fabric 1.x. Fabric 2 and 3 are another program of the same name; they have ``fabric.Connection``."""
    try:
        import fabric
    except ImportError as error:
        return f"it cannot be imported here ({error})"
    return f"this is Fabric {fabric.__version__}" if hasattr(fabric, "Connection") else ""


if what_is_wrong():
    raise ImportError(
        f"migopy works with Fabric 1.x, and {what_is_wrong()}: pip uninstall fabric fabric2, then"
        f" pip install --force-reinstall {FABRIC_1}."
    )

from fabric.state import commands, env, output  # noqa: E402 - only now is it known to be there
from fabric.task_utils import crawl  # noqa: E402

__all__ = ["commands", "crawl", "env", "output", "show_command"]


def show_command(command: str) -> None:
    """Show a command line as Fabric's ``local()`` does."""
    if output.running:
        print(f"[localhost] local: {command}", flush=True)
