"""Starts fabs in a fraction of the time: forks them from a process that has imported what each of them imports.

A cold fab spends half a second of CPU, nearly all of it on importing Fabric, Paramiko and PyMongo. A forked fab is a
real process all the same: it leads a session of its own, has the arguments, folder, environment and streams that it was
given, runs Fabric's main() and ends as Python ends. One thing differs: the modules of migopy and PyMongo are imported
before the fabfile is, so a test of imports needs a cold fab.

`ForkServer` and `ForkedFab` are for the tests. Run as a script, this file is the process that forks.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

if TYPE_CHECKING:
    from tests.reaper import Reaper

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
MAX_REQUEST = 1 << 20  # bytes
STREAMS = ("stdin", "stdout", "stderr")

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "HOME")
"""The beginnings of variables that Python reads when it starts, or a module when it is imported."""


class ForkServer:
    """A process that forks fabs for this one, which becomes the parent of each."""

    def __init__(self, reaper: Reaper, fab: Path, environment: Mapping[str, str]) -> None:
        # A forked fab is a grandchild whose parent is gone: from now on we inherit those.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._turn = threading.Lock()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, __file__, str(fab), str(number), str(reaper.running)]
            options: Any = {"stdin": subprocess.DEVNULL, "pass_fds": [number], "env": environment}
            self._process = reaper.start(command, **options)
        atexit.register(self.close)

    def close(self) -> None:
        self._connection.close()
        self._process.wait()

    def fork(self, arguments: Sequence[str], folder: str, environment: Mapping[str, str], streams: list[int]) -> int:
        """Start a fab with these file descriptors as its streams; return its pid."""
        request = {"arguments": arguments, "folder": folder, "environment": environment}
        with self._turn:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))
            self._connection.sendmsg([json.dumps(request).encode()], [rights])
            pid = self._connection.recv(MAX_REQUEST)
        if not pid:
            raise RuntimeError("No fab was forked: stderr says why.")
        return int(pid)


class ForkedFab(subprocess.Popen):  # type: ignore[type-arg] # Popen[str] needs Python 3.9
    """`subprocess.Popen` for a fab that a fork server starts."""

    def __init__(self, server: ForkServer, arguments: Sequence[str], **options: Any) -> None:
        self._server = server
        super().__init__(arguments, **options)

    def _execute_child(self, args: Sequence[str], *more: Any) -> None:
        """Start the process: the one step of Popen that differs."""
        folder, environment = more[4:6]
        stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = more[9:15]
        self.pid = self._server.fork(args, str(folder), environment, [stdin, stdout, stderr])
        self._child_created = True
        devnull = getattr(self, "_devnull", None)
        for ours, theirs in ((to_stdin, stdin), (from_stdout, stdout), (from_stderr, stderr)):
            if ours != -1:
                os.close(theirs)
        if devnull is not None:
            os.close(devnull)
        self._closed_child_pipe_fds = True


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fab that needs these variables, beside those of the server, may be forked."""
    is_wanted = sys.platform == "linux" and not os.environ.get("MIGOPY_TESTS_COLD")
    return is_wanted and not any(name.startswith(READ_AT_START) for name in environment)


def import_everything() -> None:
    """Import what a fab imports sooner or later."""
    for name in ("fabric.main", "pymongo", "bson", "gridfs"):
        importlib.import_module(name)
    migopy = importlib.import_module("migopy")
    for module in pkgutil.walk_packages(migopy.__path__, "migopy."):
        if module.name != "migopy.testing.plugin":  # it is for pytest, which no fab needs
            importlib.import_module(module.name)
    gc.freeze()  # a fork has less to copy


def serve(connection: socket.socket, running: Path) -> list[str]:
    """Fork a process for each request until the tests end. Return only in such a process, its arguments."""
    room = socket.CMSG_SPACE(len(STREAMS) * array.array("i").itemsize)
    while True:
        text, rights, _, _ = connection.recvmsg(MAX_REQUEST, room)
        if not text:
            os._exit(0)
        streams = array.array("i", rights[0][2])
        reader, writer = os.pipe()
        middle = os.fork()
        if not middle:
            parent = os.getpid()
            if os.fork():
                os._exit(0)  # so that the tests become the parent
            while os.getppid() == parent:
                time.sleep(0.001)
            break
        os.close(writer)
        os.waitpid(middle, 0)
        connection.send(os.read(reader, MAX_REQUEST))
        for number in (reader, *streams):
            os.close(number)
    request = json.loads(text)
    os.setsid()
    running.joinpath(str(os.getpid())).touch()
    become(request["folder"], request["environment"], streams)
    os.write(writer, str(os.getpid()).encode())
    for number in (reader, writer, connection.detach()):
        os.close(number)
    arguments: list[str] = request["arguments"]
    return arguments


def become(folder: str, environment: Mapping[str, str], streams: Sequence[int]) -> None:
    """Take over what a process is given when it starts."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment, PWD=folder)  # as the shell sets it that a cold fab is started by
    tempfile.tempdir = None
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
        open_stream(number)


def open_stream(number: int) -> None:
    """Make sys.stdin, sys.stdout or sys.stderr anew, as Python makes it at its start."""
    name = STREAMS[number]
    mode = "w" if number else "r"
    buffering = 1 if number == 2 and sys.version_info >= (3, 9) else -1
    before = getattr(sys, name)
    stream: Any = os.fdopen(number, mode, buffering, before.encoding, before.errors, newline="\n", closefd=False)
    stream.buffer.raw.name = f"<{name}>"
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    sys.path[0] = str(Path(sys.argv[1]).parent)  # as in a cold fab
    import_everything()
    sys.argv = serve(socket.socket(fileno=int(sys.argv[2])), Path(sys.argv[3]))

    from fabric.main import main

    sys.exit(main())
