"""What many databases cost beside scripts by hand, all in one run: python -m tests.tools.benchmark_databases

Prints the seconds of each way and its ratio to the first of its row, medians of rounds in which the ways take turns.
"""

from __future__ import annotations

import argparse
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
from concurrent.futures import ThreadPoolExecutor

import pymongo
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

client = pymongo.MongoClient({uri!r})
up = runpy.run_path("mongomigrations/1_a.py")["up"]


def migrate(name):
    # Read, lock, read again, announce, run, register, release, as migopy does.
    db = client.get_database(name, write_concern=WriteConcern("majority"), read_concern=ReadConcern("majority"))
    if db.migrations.find_one({{"_id": "1_a.py"}}):
        return
    now = datetime.datetime.now(datetime.timezone.utc)
    lease = {{"$set": {{"token": name, "expires_at": now + datetime.timedelta(seconds=60)}}}}
    db.migrations_lock.find_one_and_update({{"_id": "lock", "expires_at": {{"$exists": False}}}}, lease, upsert=True)
    list(db.migrations.find())
    list(db.migrations_log.find())
    db.migrations_lock.update_one({{"_id": "lock"}}, {{"$set": {{"migrations": ["1_a.py"]}}}})
    up(client[name])
    db.migrations.insert_one({{"_id": "1_a.py", "name": "1_a.py", "at": now}})
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
        (self.folder / "mongomigrations" / "1_a.py").write_text("def up(db):\n    db.notes.insert_one({'a': 1})\n")

    def begin_anew(self) -> None:
        """Other databases, with no collection yet."""
        names = [f"bench_{secrets.token_hex(4)}_{place}" for place in range(self.number)]
        for file, text in (("fabfile.py", FABFILE), ("read.py", READ), ("execute.py", EXECUTE)):
            (self.folder / file).write_text(text.format(uri=self.uri, names=names))
        self.names = names

    def drop(self) -> None:
        for name in self.names:
            self.client.drop_database(name)

    def seconds(self, *command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, cwd=self.folder, env=clean_environment(), check=True, capture_output=True)
        return time.perf_counter() - began


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
    execute: dict[str, list[float]] = {"one after the other": [], "migopy": [], "4 threads by hand": []}
    with tempfile.TemporaryDirectory() as folder:
        bench = Benchmark(folder, options.databases)
        for _ in range(options.rounds):
            for way, command in (
                ("one after the other", (python, fab, "one_after_the_other")),
                ("4 threads by hand", (python, "execute.py")),
                ("migopy", (python, fab, "migrations:execute")),
            ):
                bench.begin_anew()
                execute[way].append(bench.seconds(*command))
                if way == "migopy":
                    status["by hand"].append(bench.seconds(python, "read.py"))
                    status["migopy"].append(bench.seconds(python, fab, "migrations"))
                bench.drop()
    row(f"status of {options.databases:,} databases", status)
    row(f"execute of one migration in {options.databases:,} databases", execute)


if __name__ == "__main__":
    main()
