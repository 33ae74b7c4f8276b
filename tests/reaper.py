"""What the tests start ends with them and what they write goes with them, even when they are killed."""

from __future__ import annotations

import atexit
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Sequence


class Reaper:
    """A process that outlives this one by a moment, to kill what this one has started and to remove its folders.

    They are all in `folder`, where this process and its fabs have their temporary files too. When the input of the
    reaper ends, this process has ended, however that came.
    """

    SCRIPT = """
import os, shutil, signal, sys, time
running, folder = sys.argv[1:]
sys.stdin.read()
closed = running + "-no-more"
os.rename(running, closed)  # from now on nothing starts
for pid in os.listdir(closed):
    try:
        os.killpg(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
deadline = time.monotonic() + 30
while os.path.exists(folder) and time.monotonic() < deadline:  # who is being killed may still write
    shutil.rmtree(folder, ignore_errors=True)
    time.sleep(0.02)
"""

    STARTER = 'echo >"$0/$$" && exec "$@"'
    """Written down before it begins: so there is no moment at which the reaper does not know of it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="migopy-tests-")).resolve()
        self.running = self.folder / "running"
        self.running.mkdir()
        command = [sys.executable, "-I", "-S", "-c", self.SCRIPT, str(self.running), str(self.folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        tempfile.tempdir = str(self.folder)
        atexit.register(process.communicate)
        if "TOX_ENV_NAME" in os.environ:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process in a session of its own; `options` are those of `subprocess.Popen`."""
        starter = ["/bin/sh", "-c", self.STARTER, str(self.running), *command]
        return subprocess.Popen(starter, start_new_session=True, **options)

    def ended(self, process: subprocess.Popen[Any]) -> None:
        """Its number may be that of another process soon; in a long test two of ours may have had the same."""
        self.running.joinpath(str(process.pid)).unlink(missing_ok=True)


def _end_with(parent: int) -> None:
    """A tox that is killed does not end its commands, and nobody would read any more what they print."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


@functools.lru_cache(maxsize=None)
def reaper() -> Reaper:
    return Reaper()
