"""What many databases cost beside scripts by hand, all in one run: python -m tests.tools.benchmark_databases

Prints the seconds of each way and its ratio to the first of its row, medians of rounds in which the ways take turns.
The first migration makes three collections in each database, which keeps mongod busier than anything else; one more
finds them there. At the end it prints the memory of all processes of one fab, each page counted once (PSS).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Sequence

from pymongo import MongoClient

from tests.server import shared
from tests.support import FAB, clean_environment

FABFILE = """
import migopy
from fabric.api import settings


class Migrations(migopy.MigrationsManager):
    MONGO_URI = {uri!r}
    MONGO_DATABASES = {names!r}


migrations = Migrations.create_task()


def one_after_the_other():
    for name in {names!r}:
        settings = {{"MONGO_DATABASE": name, "MONGO_DATABASES": None}}
        type("Tenant", (Migrations,), settings).create_task()("execute")
"""

READ = """
import pymongo

client = pymongo.MongoClient({uri!r})
for name in {names!r}:
    for collection in ("migrations", "migrations_log", "migrations_lock"):
        list(client[name][collection].find())
client.close()
"""

EXECUTE = """
import datetime
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor

import pymongo
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

client = pymongo.MongoClient({uri!r})
file = sys.argv[1]
up = runpy.run_path("mongomigrations/" + file)["up"]


def migrate(name):
    # Read, lock, read again, announce, run, register, release, as migopy does, and as durably.
    majority = WriteConcern("majority", j=True, wtimeout=10000)
    db = client.get_database(name, write_concern=majority, read_concern=ReadConcern("majority"))
    if db.migrations.find_one({{"_id": file}}):
        return
    now = datetime.datetime.now(datetime.timezone.utc)
    lease = {{"$set": {{"token": name, "expires_at": now + datetime.timedelta(seconds=60)}}}}
    db.migrations_lock.find_one_and_update({{"_id": "lock", "expires_at": {{"$exists": False}}}}, lease, upsert=True)
    list(db.migrations.find())
    list(db.migrations_log.find())
    db.migrations_lock.update_one({{"_id": "lock"}}, {{"$set": {{"migrations": [file]}}}})
    up(client[name])
    db.migrations.insert_one({{"_id": file, "name": file, "at": now}})
    db.migrations_lock.delete_one({{"_id": "lock"}})


with ThreadPoolExecutor(4) as pool:
    list(pool.map(migrate, {names!r}))
client.close()
"""


class Benchmark:
    """Databases and a project for them, in a folder."""

    def __init__(self, folder: str, number: int) -> None:
        self.folder = Path(folder)
        self.uri = shared().uri
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.uri)
        self.number = number
        (self.folder / "mongomigrations").mkdir()
        self.second = self.folder / "mongomigrations" / "2_b.py"
        self.write_migration(self.second.with_name("1_a.py"))

    @staticmethod
    def write_migration(path: Path) -> None:
        path.write_text("def up(db):\n    db.notes.insert_one({'a': 1})\n")

    def begin_anew(self) -> None:
        """Other databases, with no collection yet."""
        names = [f"bench_{secrets.token_hex(4)}_{place}" for place in range(self.number)]
        for file, text in (("fabfile.py", FABFILE), ("read.py", READ), ("execute.py", EXECUTE)):
            (self.folder / file).write_text(text.format(uri=self.uri, names=names))
        self.names = names
        self.second.unlink(missing_ok=True)

    def drop(self) -> None:
        for name in self.names:
            self.client.drop_database(name)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def seconds(self, *command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, cwd=self.folder, env=clean_environment(), check=True, capture_output=True)
        return time.perf_counter() - began


def memory(process: subprocess.Popen[Any]) -> int:
    """The most bytes that a process and its children had at the same time."""
    most = 0
    while process.poll() is None:
        found = [process.pid, *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())]
        total = 0
        for pid in found:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        most = max(most, total)
        time.sleep(0.05)
    return most


def row(title: str, found: dict[str, list[float]]) -> None:
    first = median(next(iter(found.values())))
    cells = [f"{way} {median(seconds):.2f} s ({median(seconds) / first:.2f})" for way, seconds in found.items()]
    print(f"{title}: {', '.join(cells)}; load {os.getloadavg()[0]:.1f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    python, fab = sys.executable, str(FAB)
    status: dict[str, list[float]] = {"by hand": [], "migopy": []}
    first: dict[str, list[float]] = {"one after the other": [], "migopy": [], "4 threads by hand": []}
    more: dict[str, list[float]] = {way: [] for way in first}
    with tempfile.TemporaryDirectory() as folder:
        bench = Benchmark(folder, options.databases)
        for _ in range(options.rounds):
            for way, command in (
                ("one after the other", (python, fab, "one_after_the_other")),
                ("4 threads by hand", (python, "execute.py")),
                ("migopy", (python, fab, "migrations:execute")),
            ):
                bench.begin_anew()
                for rows, file in ((first, "1_a.py"), (more, "2_b.py")):
                    bench.write_migration(bench.second.with_name(file))
                    rows[way].append(bench.seconds(*command, *([file] if way == "4 threads by hand" else [])))
                if way == "migopy":
                    status["by hand"].append(bench.seconds(python, "read.py"))
                    status["migopy"].append(bench.seconds(python, fab, "migrations"))
                    most = memory(bench.start(python, fab, "migrations"))
                bench.drop()
    row(f"status of {options.databases:,} databases", status)
    row(f"execute of the first migration in {options.databases:,} databases", first)
    row(f"execute of one more migration in {options.databases:,} databases", more)
    print(f"memory of all processes of status: {most / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
