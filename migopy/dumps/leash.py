"""A program of its own: runs a command that ends when the process that asked for it ends, however that ends.

It is started by its path, with nothing of migopy imported. On standard input it reads one line of JSON, the command and
what the command is to read on its own standard input; after that, line by line, for how many seconds the command may
go on. When the input ends, or those seconds are over, the command is killed with everything that it has started. This
program ends after the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1

CANNOT_EXECUTE = 126  # what a shell says


def main() -> int:
    """What the command ended with; 128 and the signal, as a shell has it, if a signal ended it."""
    with open(0, "rb", buffering=0, closefd=False) as unbuffered:  # what comes after the line belongs to the watch
        line = unbuffered.readline()
    if not line:
        return 1
    order = json.loads(line)
    ours = os.getpid()
    try:
        command = subprocess.Popen(
            order["command"], stdin=subprocess.PIPE, start_new_session=True, preexec_fn=lambda: _die_with(ours)
        )
    except OSError as error:
        print(error, file=sys.stderr)
        return CANNOT_EXECUTE
    threading.Thread(target=_watch, args=[command.pid], daemon=True).start()
    command.communicate(order["input"].encode())
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _die_with(parent: int) -> None:
    """On Linux the kernel kills the command too if this program is killed; elsewhere only this program does it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _watch(group: int) -> None:
    """Kill the command and what it has started, which are a process group of their own."""
    seconds = None
    while select.select([0], [], [], seconds)[0]:
        lines = os.read(0, 65536).split()
        if not lines:
            break
        seconds = max(0.0, float(lines[-1]))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
