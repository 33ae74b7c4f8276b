"""Everything that migopy imports from Fabric 1.x, or an error if another Fabric is installed."""

from __future__ import annotations

import sys

FABRIC_1 = "fab-classic" if sys.version_info >= (3, 10) else "fabric3"
"""The package that provides Fabric 1.x for this Python. setup.py says why there are two."""


def fabric_problem() -> str:
    """Why the installed Fabric cannot be used, or an empty string."""
    try:
        import fabric
    except ImportError as error:
        return f"it cannot be imported here ({error})"
    # Fabric 2 and 3 are another program with the same name.
    return f"this is Fabric {fabric.__version__}" if hasattr(fabric, "Connection") else ""


if fabric_problem():
    raise ImportError(
        f"migopy needs Fabric 1.x, but {fabric_problem()}. Run pip uninstall fabric fabric2, then"
        f" pip install --force-reinstall {FABRIC_1}."
    )

from fabric.context_managers import shell_env  # noqa: E402 - another Fabric has no such module
from fabric.state import commands, env, output  # noqa: E402
from fabric.task_utils import crawl  # noqa: E402

__all__ = ["CONNECTING", "commands", "crawl", "env", "output", "shell_env", "show_command"]

CONNECTING = "fabric.network"
"""The module that connects. It takes a TypeError for the end of a person's input, and ends fab with 0."""


def show_command(command: str) -> None:
    """Print a command line as Fabric's ``local()`` does."""
    if output.running:
        print(f"[localhost] local: {command}", flush=True)
