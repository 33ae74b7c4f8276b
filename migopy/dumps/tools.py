"""mongodump and mongorestore: their command lines, and a run of them that does not outlive ours."""

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

CONFIG = "--config=/dev/stdin"
"""Both read the connection from a file (Database Tools 100.3 and later). Theirs is a pipe of ours: no secret is among
the arguments, which everybody can see, nor ever on disk."""

LOOK = 0.5
"""Seconds between two looks at a tool that runs."""


class Tool:
    """mongodump or mongorestore, installed, with what it connects with.

    ``connect`` gives a connected client of ``server``. ``show`` is called with each command line.
    """

    def __init__(
        self, name: str, server: Server, connect: Callable[[], MongoClient[Any]], show: Callable[[str], None]
    ) -> None:
        """Raises ``DumpFailed`` when it is not installed, ``ConfigurationError`` for what the tools cannot do."""
        _require_installed(name)
        connection_of(server)
        # The client is asked first: it says within 5 s that no server is there, the tools need 30.
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


def _require_installed(tool: str) -> None:
    if not shutil.which(tool):
        without = "; DO_MONGO_DUMP = False does without a dump before execute and rollback"
        raise DumpFailed(
            f"{tool} is not on PATH, nothing was run: install the MongoDB Database Tools"
            f"{without if tool == 'mongodump' else ''}."
        )


def dump_command(database: str, folder: Path) -> list[str]:
    return ["mongodump", CONFIG, f"--db={database}", f"--out={folder}"]


def restore_command(dump: Dump, database: str, without: Sequence[str]) -> list[str]:
    """mongorestore of a dump into that database, dropping first each collection that is in it.

    Without ``--stopOnError`` it goes on after documents that it could not insert, and ends with exit code 0. Older
    documents of a collection may not pass its validator: to go past that a user needs a right that he may not have, so
    it is asked for only where there is one.
    """
    command = ["mongorestore", CONFIG, "--drop", "--stopOnError", f"--nsInclude={_literal(dump.database)}.*"]
    command += [f"--nsExclude={_literal(dump.database)}.{_literal(collection)}" for collection in without]
    if dump.database != database:
        command += [f"--nsFrom={_literal(dump.database)}.*", f"--nsTo={_literal(database)}.*"]
    if dump.is_compressed:
        command.append("--gzip")
    if dump.has_validators:
        command.append("--bypassDocumentValidation")
    return [*command, f"--dir={dump.root}"]


def _literal(name: str) -> str:
    """A name in a pattern of namespaces, where a star would be anything."""
    return name.replace("\\", "\\\\").replace("*", "\\*")


def run(command: Sequence[str], config: str, seconds_left: Callable[[], float] | None = None) -> None:
    """Run mongodump or mongorestore to its end. Raises ``DumpFailed`` when it fails.

    It ends when this process ends, however that comes (``leash.py``), and when ``seconds_left()`` raises, or is not
    asked for as long as it said last: mongorestore must not go on while the next run has the lock.
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
                    word = f"{seconds_left()}\n".encode()
                    with contextlib.suppress(BrokenPipeError):
                        leash.stdin.write(word)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    leash.wait(LOOK)
        finally:
            leash.stdin.close()
            code = leash.wait()
    if code and seconds_left:
        seconds_left()  # a lock that is lost is why the command was killed
    if code:
        code = code if code > 0 else 128 - code  # the leash was killed, and the command with it
        raise DumpFailed(f"{command[0]} failed with exit code {code}, see what it says above.")
