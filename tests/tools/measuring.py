"""What a benchmark measures of processes: their time, their CPU time with that of the servers, and their memory."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from tests.server import Mongod, ReplicaSet


class Measured(NamedTuple):
    """Seconds that went by, seconds of CPU time of the process and the servers, and the most MB of the process."""

    wall: float
    cpu: float
    peak: float


def measure(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], server: Mongod | ReplicaSet
) -> Measured:
    """What the command takes, from the start of its process to its end. Raises ``SystemExit`` if it fails."""
    wall, cpu, peak = time.perf_counter(), cpu_seconds(server), 0.0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = peak_of(process.pid) or peak
            time.sleep(0.02)
        taken = Measured(time.perf_counter() - wall, cpu_seconds(server) - cpu, peak)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{command}: exit code {process.returncode}\n{output.read().decode()[-800:]}")
    return taken


def peak_of(pid: int) -> float:
    """The most memory that a process has had, in MB; 0 for one that has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found.group(1)) / 1024 if found else 0
    return 0


def cpu_seconds(server: Mongod | ReplicaSet) -> float:
    """The CPU time of the processes that have ended, and of the servers."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for member in server.members if isinstance(server, ReplicaSet) else [server]:
        assert member.process
        fields = Path(f"/proc/{member.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def load() -> str:
    """How busy the machine is, in words."""
    return "load average " + " ".join(f"{value:.1f}" for value in os.getloadavg())
