"""mongodump and mongorestore: their command lines, and running them no longer than migopy itself runs."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Sequence

from ..errors import DumpFailed
from ..mongo import followed_replica_set, server_errors
from ..terminal import signals
from .connection import connection_of

if TYPE_CHECKING:
    from pymongo import MongoClient

    from ..mongo import Server
    from .dump import Dump

LEASH = Path(__file__).with_name("leash.py")

# From Database Tools 100.3 on both read the connection from a file. Ours is a pipe: secrets are neither among the
# arguments, which everybody can see, nor on disk.
CONFIG = "--config=/dev/stdin"

POLL_SECONDS = 0.5
"""Between two looks at a running tool."""


class Tool:
    """An installed mongodump or mongorestore, and the connection for it.

    ``connect`` returns a connected client for ``server``. ``show`` is called with each command line. ``of_each_run``
    says that a setting wants a dump before each run.
    """

    def __init__(
        self,
        name: str,
        server: Server,
        connect: Callable[[], MongoClient[Any]],
        show: Callable[[str], None],
        *,
        of_each_run: bool = False,
    ) -> None:
        """Raises ``DumpFailed`` when it is not installed, ``ConfigurationError`` for an option that it lacks."""
        _require_installed(name, of_each_run=of_each_run and name == "mongodump")
        connection_of(server)
        # Connect first: our client knows within 5 s that no server answers, the tools need 30 s.
        client = connect()
        with server_errors(server.address):
            replica_set = followed_replica_set(client)
        self._config = connection_of(server, replica_set).config()
        self._show = show

    def run(self, command: Sequence[str], seconds_left: Callable[[], float] | None = None) -> None:
        """Run a command line of the tool to its end. Raises ``DumpFailed`` when it fails."""
        self._show(shlex.join(command))
        with signals.let_through():
            run(command, self._config, seconds_left)


def _require_installed(tool: str, *, of_each_run: bool = False) -> None:
    if not shutil.which(tool):
        without = ", or set DO_MONGO_DUMP = False to execute and roll back without a dump" if of_each_run else ""
        raise DumpFailed(f"{tool} is not on PATH: install the MongoDB Database Tools{without}. Nothing was run.")


def dump_command(database: str, folder: Path) -> list[str]:
    return ["mongodump", CONFIG, f"--db={database}", f"--out={folder}"]


def restore_command(dump: Dump, database: str, without: Sequence[str]) -> list[str]:
    """The command line that replaces collections of ``database`` with those of the dump, except ``without``."""
    # Without --stopOnError it ends with exit code 0 although some documents could not be inserted.
    command = ["mongorestore", CONFIG, "--drop", "--stopOnError"]
    names = [collection.name for collection in dump.collections if collection.name not in without]
    # The star of 100.9.5 stands for anything but a newline. The tool refuses a dollar sign.
    patterns = ["*", *(_literal(name) for name in names if "\n" in name and "$" not in name)]
    command += [f"--nsInclude={_literal(dump.database)}.{pattern}" for pattern in patterns]
    command += [f"--nsExclude={_literal(dump.database)}.{_literal(collection)}" for collection in without]
    if dump.database != database:
        for pattern in patterns:
            command += [f"--nsFrom={_literal(dump.database)}.{pattern}", f"--nsTo={_literal(database)}.{pattern}"]
    if dump.is_compressed:
        command.append("--gzip")
    if dump.needs_bypass:  # otherwise the user need not have the right for it
        command.append("--bypassDocumentValidation")
    return [*command, f"--dir={dump.root}"]


def _literal(name: str) -> str:
    # In a pattern of namespaces a star stands for anything.
    return name.replace("\\", "\\\\").replace("*", "\\*")


def run(command: Sequence[str], config: str, seconds_left: Callable[[], float] | None = None) -> None:
    """Run mongodump or mongorestore to its end. Raises ``DumpFailed`` when it fails.

    It is killed when this process ends for whatever reason (see ``leash.py``), and when ``seconds_left()`` raises or
    was not called for as many seconds as it last returned: mongorestore must not run when another run has the lock.
    """
    order = json.dumps({"command": list(command), "input": config})
    arguments = [sys.executable, "-I", "-S", str(LEASH)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, bufsize=0, start_new_session=True) as leash:
        assert leash.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                leash.stdin.write(f"{order}\n".encode())
            while leash.returncode is None:
                if seconds_left:
                    line = f"{seconds_left()}\n".encode()
                    with contextlib.suppress(BrokenPipeError):
                        leash.stdin.write(line)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    leash.wait(POLL_SECONDS)
        finally:
            leash.stdin.close()
            code = leash.wait()
    if code and seconds_left:
        seconds_left()  # raises if the command was killed because the lock is lost
    if code:
        code = code if code > 0 else 128 - code  # the leash was killed, and so was the command
        raise DumpFailed(f"{command[0]} failed with exit code {code}, see its output above.")
