"""The names of the databases of tests, which tell whose they are."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ..mongo.lease import is_running

PREFIX = "migopy_testing"


def new_name() -> str:
    """A name that nothing else has: ``migopy_testing_5f2a9c01_4711_8c0de5b7``, with machine and process."""
    return f"{PREFIX}_{_machine()}_{os.getpid()}_{secrets.token_hex(4)}"


@functools.lru_cache(maxsize=None)
def drop_left_behind(uri: str) -> None:
    """Drop the databases of killed processes of this machine. Asks once in a process."""
    client: MongoClient[Any]
    with MongoClient(uri, serverSelectionTimeoutMS=5000) as client, contextlib.suppress(PyMongoError):
        for name in client.list_database_names():
            found = re.match(rf"{PREFIX}_{_machine()}_(\d+)_", name)
            if found and not is_running(int(found[1])):
                client.drop_database(name)


@functools.lru_cache(maxsize=None)
def _machine() -> str:
    """Where the numbers of processes are the same."""
    namespace = "/proc/self/ns/pid"  # containers may share the name of their host
    place = socket.gethostname() + (os.readlink(namespace) if os.path.islink(namespace) else "")
    return hashlib.sha256(place.encode()).hexdigest()[:8]
