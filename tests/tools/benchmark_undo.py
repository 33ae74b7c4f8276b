"""What it costs to keep what an update replaces, and to put it back: python -m tests.tools.benchmark_undo

On a replica set of one member, each run as a process of its own that ends with its work, taking turns. The ratios are
those within a round; the median of the rounds is shown in the end. Beside it runs mongo-bulk-data-migration with its
rollback, where it can be installed. On a machine that does something else, --cpu takes the CPU time of the process and
of the server in place of the time that went by.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Callable, Sequence

from pymongo.database import Database

from tests.server import ReplicaSet
from tests.support import clean_environment, fab_command_line
from tests.tools.benchmark_batches import DATABASE, OfNode, client_uri
from tests.tools.contenders import FABFILE, UnavailableError, settings

UPDATES = {
    "pipeline": '[{"$set": {"tags": {"$split": ["$tags", " "]}}}]',
    "function": 'lambda user: {"$set": {"tags": user["tags"].split()}}',
}

MIGRATION = """
def up(db, batches):
    batches.update(db.users, {{"tags": {{"$type": "string"}}}}, {update}{keep})


def down(db, batches):
    batches.restore()
"""

OF_NODE = """
const {{ MongoClient }} = require("mongodb");
const {{ MongoBulkDataMigration }} = require("@360-l/mongo-bulk-data-migration");

(async () => {{
  const client = await MongoClient.connect(process.env.MONGODB_URI);
  await new MongoBulkDataMigration({{
    db: client.db(), id: "benchmark", collectionName: "users", projection: {{ tags: 1 }},
    query: {{ tags: {{ $type: "string" }} }}, update: (user) => ({{ $set: {{ tags: user.tags.split(" ") }} }}),
  }}).{method}();
  await client.close();
}})();
"""


class Bench:
    """Runs the commands against one database, whose collection ``original`` is copied for each."""

    def __init__(self, db: Database[Any], uri: str, folder: Path, clock: Callable[[], float]) -> None:
        self.db = db
        self._environment = {**clean_environment(), **settings(uri, DATABASE), "PYTHONWARNINGS": "ignore"}
        self._folder = folder
        self._clock = clock
        self.peak = 0.0

    def fill(self, count: int) -> None:
        """Documents of about 200 bytes, with a field of 30."""
        for begin in range(0, count, 10_000):
            self.db.original.insert_many(
                {"name": f"name{n}", "tags": f"news {n:010} blue and green"[:30], "text": "x" * 100, "age": n % 90}
                for n in range(begin, min(count, begin + 10_000))
            )

    def begin(self) -> None:
        for name in self.db.list_collection_names():
            if name != "original":
                self.db.drop_collection(name)
        self.db.original.aggregate([{"$out": "users"}])
        self.db.client.admin.command("fsync")

    def seconds(self, command: Sequence[str], folder: Path) -> float:
        started = self._clock()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command, cwd=folder, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                self.peak = peak_of(process.pid) or self.peak
                time.sleep(0.02)
            took = self._clock() - started
            if process.returncode:
                output.seek(0)
                raise SystemExit(f"{command}: exit code {process.returncode}\n{output.read().decode()[-800:]}")
        return took

    def migopy(self, update: str, keep: str) -> tuple[float, float]:
        """The seconds of the update and of its rollback, which is 0 without ``keep``."""
        project = self._folder / "project"
        (project / "mongomigrations").mkdir(parents=True)
        (project / "fabfile.py").write_text(FABFILE)
        migration = MIGRATION.format(update=UPDATES[update], keep=keep)
        (project / "mongomigrations" / "1_first.py").write_text(migration)
        self.begin()
        try:
            self.seconds(fab_command_line("--hide=status", "migrations"), project)
            without = self.peak
            forth = self.seconds(fab_command_line("--hide=status", "migrations:execute"), project)
            self.memory = [self.peak - without]
            if not keep:
                return forth, 0
            self.show_space()
            back = self.seconds(fab_command_line("--hide=status", "migrations:rollback,1"), project)
            self.memory.append(self.peak - without)
            self.require_restored()
            return forth, back
        finally:
            shutil.rmtree(project)

    def show_space(self) -> None:
        """How much room what is kept takes."""
        self.db.client.admin.command("fsync")
        stats = self.db.command("collStats", "migrations_kept")
        self.ratio = stats["storageSize"] / stats["size"]

    def require_restored(self) -> None:
        if self.db.users.count_documents({"tags": {"$type": "string"}}) != self.db.original.count_documents({}):
            raise SystemExit("The rollback has not put back everything.")

    def node(self, contender: OfNode) -> tuple[float, float]:
        """The seconds of the update of mongo-bulk-data-migration and of its rollback."""
        folder = self._folder / "node"
        folder.mkdir()
        (folder / "node_modules").symlink_to(contender.environment / "node_modules")
        self.begin()
        try:
            times = []
            for method in ("update", "rollback"):
                (folder / "script.js").write_text(OF_NODE.format(method=method))
                times.append(self.seconds([str(shutil.which("node")), "script.js"], folder))
            return times[0], times[1]
        finally:
            shutil.rmtree(folder)


def peak_of(pid: int) -> float:
    """The most memory that a process has had, in MB; 0 for one that has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found.group(1)) / 1024 if found else 0
    return 0


def cpu_seconds(server: ReplicaSet) -> float:
    """The CPU time of the processes that have ended, and of the server."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_server = 0
    for member in server.members:
        assert member.process
        fields = Path(f"/proc/{member.process.pid}/stat").read_text().rpartition(")")[2].split()
        of_server += int(fields[11]) + int(fields[12])
    return ended.ru_utime + ended.ru_stime + of_server / os.sysconf("SC_CLK_TCK")


def measure(bench: Bench, rounds: int, contender: OfNode | None) -> None:
    """Print a line for each ratio in each round, and their medians."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)
        print(f"{name}: {value:.2f}", flush=True)

    for _ in range(rounds):
        for update in UPDATES:
            plain, _none = bench.migopy(update, "")
            note(f"{update}: MB over an empty fab without keep", bench.memory[0])
            forth, back = bench.migopy(update, ', keep=["tags"]')
            note(f"{update}: MB over an empty fab with keep", bench.memory[0])
            note(f"{update}: MB over an empty fab of the restore", bench.memory[1])
            note(f"{update}: seconds without keep", plain)
            note(f"{update}: with keep / without", forth / plain)
            note(f"{update}: restore / the update with keep", back / forth)
            note(f"{update}: restore / the update without keep", back / plain)
        note("what is kept: on disk / raw", bench.ratio)
        if contender:
            their_forth, their_back = bench.node(contender)
            note("mongo-bulk-data-migration: update / ours", their_forth / forth)
            note("mongo-bulk-data-migration: rollback / ours", their_back / back)
    print("Medians:")
    for name, values in found.items():
        print(f"{name}: {median(values):.2f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    contender: OfNode | None = None
    try:
        (node := OfNode()).install()
        contender = node
    except UnavailableError as reason:
        print(f"mongo-bulk-data-migration is left out: {reason}", flush=True)
    server = ReplicaSet(members=1)
    with tempfile.TemporaryDirectory(prefix="migopy-benchmark-") as folder, server, server.client() as client:
        clock = functools.partial(cpu_seconds, server) if options.cpu else time.perf_counter
        bench = Bench(client[DATABASE], client_uri(server), Path(folder), clock)
        bench.fill(options.documents)
        measure(bench, options.rounds, contender)


if __name__ == "__main__":
    main()
