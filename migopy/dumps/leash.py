"""A program that runs a command and kills it when the process that asked for it ends, for whatever reason.

It is started by its path and imports nothing of migopy. The first line of its standard input is JSON: the command, and
what the command reads on its own standard input. Each further line is a number of seconds for which the command may
still run. When these are over, or when the input ends, the command is killed with all that it has started. This program
ends after the command.
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

CANNOT_EXECUTE = 126  # the exit code of a shell for that


def main() -> int:
    """Run the command; returns its exit code, or 128 and the number of the signal that ended it, as a shell does."""
    with open(0, "rb", buffering=0, closefd=False) as unbuffered:  # the following lines are for _kill_in_time()
        line = unbuffered.readline()
    if not line:
        return 1
    order = json.loads(line)
    ours = os.getpid()
    try:
        command = subprocess.Popen(
            order["command"], stdin=subprocess.PIPE, start_new_session=True, preexec_fn=lambda: _die_with_parent(ours)
        )
    except OSError as error:
        print(error, file=sys.stderr)
        return CANNOT_EXECUTE
    threading.Thread(target=_kill_in_time, args=[command.pid], daemon=True).start()
    command.communicate(order["input"].encode())
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _die_with_parent(parent: int) -> None:
    # Only Linux has this. Elsewhere the command lives on if somebody kills this program.
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _kill_in_time(group: int) -> None:
    """Kill the process group of the command when the input ends or its time is over."""
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
