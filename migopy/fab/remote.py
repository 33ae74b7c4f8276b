"""Runs on other machines, which a team's ``task_hook`` starts with Fabric's ``run()``."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Iterator

from ..errors import MigopyException
from ..terminal.streams import has_colours
from ..terminal.texts import summary
from .door import CONNECTING, env, shell_env

UTF_8 = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Fabric waits for ever for the end of output that is not UTF-8."""


@contextlib.contextmanager
def remote_runs() -> Iterator[None]:
    """What is started inside writes UTF-8, without colours for a log.

    Raises ``MigopyException`` if Fabric gives up with exit code 0.
    """
    colours = {} if has_colours(sys.stdout) else {"NO_COLOR": "1"}  # there, Fabric's run() is always a terminal
    try:
        with shell_env(**{**UTF_8, **colours, **env.shell_env}):
            yield
    except SystemExit as end:
        frames = [frame for frame, _ in traceback.walk_tb(end.__traceback__)]
        if end.code or frames[-1].f_globals.get("__name__") != CONNECTING or end.__context__ is None:
            raise
        raise MigopyException(f"Nothing was done on {env.host_string}: {_why(end.__context__)}") from end


def _why(error: BaseException) -> str:
    """Why Fabric could not connect."""
    if isinstance(error, EOFError):
        return "no password was typed."
    if "gss_" in str(error):
        return (
            "env.gss_auth, env.gss_kex and fab --gss-auth need GSSAPI, which Paramiko no longer has since version 5."
            ' Install "paramiko<5" and gssapi, or connect with a key.'
        )
    return f"Fabric could not connect ({summary(error)})."
