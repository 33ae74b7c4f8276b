"""What a migration in batches costs beside other ways to do the same: python -m tests.tools.benchmark_batches

On a standalone server and on a replica set, each way as a process of its own that ends with its work, taking turns.
The ratios are those within a round, and the median of the rounds is shown; over 1, a way is slower than migopy.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Iterator, Sequence

from pymongo.database import Database

from tests.server import Mongod, ReplicaSet
from tests.support import clean_environment, fab_command_line
from tests.tools.contenders import FABFILE, Contender, MigrateMongo, Mongomig, UnavailableError, settings

DATABASE = "benchmark"

PIPELINE = '[{"$set": {"full": {"$concat": ["$first", " ", "$last"]}}}]'
FILTER = {"in the server": '{"full": {"$exists": False}}', "in Python": '{"tags": {"$type": "string"}}'}
UPDATE = {"in the server": PIPELINE, "in Python": 'lambda user: {"$set": {"tags": user["tags"].split()}}'}

BY_HAND = """
import os
import pymongo

client = pymongo.MongoClient(os.environ["MONGODB_URI"])
db = client.get_default_database()
{body}
client.close()
"""

BULK_WRITE = """
ask, last = {filter}, None
while True:
    after = ask if last is None else {{**ask, "_id": {{"$gt": last}}}}
    users = list(db.users.find(after).sort("_id", 1).limit(1000))
    if not users:
        break
    db.users.bulk_write([pymongo.UpdateOne({{"_id": user["_id"]}}, ({update})(user)) for user in users])
    last = users[-1]["_id"]
"""

IN_RANGES = """
ask, last = {filter}, None
while True:
    after = {{}} if last is None else {{"_id": {{"$gt": last}}}}
    ends = list(db.users.find(after, {{"_id": 1}}).sort("_id", 1).skip(9_999).limit(1))
    within = {{**after.get("_id", {{}}), **({{"$lte": ends[0]["_id"]}} if ends else {{}})}}
    db.users.update_many({{**ask, "_id": within}} if within else ask, {update})
    if not ends:
        break
    last = ends[0]["_id"]
"""

IN_PYTHON_BY_HAND = {
    "in the server": 'lambda user: {"$set": {"full": user["first"] + " " + user["last"]}}',
    "in Python": UPDATE["in Python"],
}

MIGRATION = """
def up(db, batches):
    batches.update(db.users, {filter}, {update})
"""

WITHOUT_NOTES = """
import migopy

migopy.Batches().update(db.users, {filter}, {update})
"""

OF_MONGOMIG = {
    "in the server": "    ctx.ops.backfill('users', {filter}, {update})",
    "in Python": """\
    from pymongo import UpdateOne

    for batch in ctx.batches("users", {filter}):
        ctx.db.users.bulk_write([UpdateOne({{"_id": user["_id"]}}, ({update})(user)) for user in batch])""",
}

OF_NODE = """
const {{ MongoClient }} = require("mongodb");
const {{ MongoBulkDataMigration }} = require("@360-l/mongo-bulk-data-migration");

(async () => {{
  const client = await MongoClient.connect(process.env.MONGODB_URI);
  await new MongoBulkDataMigration({{
    db: client.db(), id: "benchmark", collectionName: "users", projection: {projection}, query: {filter},
    update: {update},
  }}).update();
  await client.close();
}})();
"""

IN_NODE = {
    "in the server": ("{}", "{ full: { $exists: false } }", PIPELINE),
    "in Python": (
        "{ tags: 1 }",
        '{ tags: { $type: "string" } }',
        '(user) => ({ $set: { tags: user.tags.split(" ") } })',
    ),
}


class Way:
    """One way to do the work; ``name`` is what the table calls it."""

    name = ""

    def install(self) -> None:
        """Raises ``UnavailableError`` where it cannot run here."""

    def command(self, folder: Path, work: str) -> list[str]:
        """Write into the folder what is needed, and say how it is called."""
        raise NotImplementedError

    def _script(self, folder: Path, body: str) -> list[str]:
        (folder / "script.py").write_text(BY_HAND.format(body=body))
        return [sys.executable, "script.py"]


class Migopy(Way):
    name = "migopy"

    def command(self, folder: Path, work: str) -> list[str]:
        (folder / "fabfile.py").write_text(FABFILE)
        (folder / "mongomigrations").mkdir()
        migration = MIGRATION.format(filter=FILTER[work], update=UPDATE[work])
        (folder / "mongomigrations" / "1_first.py").write_text(migration)
        return fab_command_line("--hide=status", "migrations:execute")


class MigopyWithoutNotes(Way):
    """As in a test: no lock, no note of how far it is. The transactions are the same."""

    name = "migopy.Batches()"

    def command(self, folder: Path, work: str) -> list[str]:
        return self._script(folder, WITHOUT_NOTES.format(filter=FILTER[work], update=UPDATE[work]))


class UpdateMany(Way):
    """All at once, where the server can do it."""

    name = "update_many"

    def command(self, folder: Path, work: str) -> list[str]:
        if work != "in the server":
            raise UnavailableError("only the server's own updates")
        return self._script(folder, f"db.users.update_many({FILTER[work]}, {UPDATE[work]})")


class UpdateRanges(Way):
    """Ten thousand at a time by the ``_id`` index: without transactions and notes, and only where its types are one."""

    name = "update_many in ranges"

    def command(self, folder: Path, work: str) -> list[str]:
        if work != "in the server":
            raise UnavailableError("only the server's own updates")
        return self._script(folder, IN_RANGES.format(filter=FILTER[work], update=UPDATE[work]))


class BulkWrite(Way):
    """What a team writes that pages through the collection."""

    name = "bulk_write"

    def command(self, folder: Path, work: str) -> list[str]:
        return self._script(folder, BULK_WRITE.format(filter=FILTER[work], update=IN_PYTHON_BY_HAND[work]))


class Installed(Way):
    """One whose packages are put into an environment beside the project."""

    contender: Contender

    def install(self) -> None:
        self.contender.install()


class MongomigBatches(Installed):
    name = "mongomig"
    contender = Mongomig()

    def command(self, folder: Path, work: str) -> list[str]:
        shutil.rmtree(folder)
        self.contender.project(folder, 1)
        (file,) = (folder / self.contender.directory).glob("*_empty.py")
        body = OF_MONGOMIG[work].format(filter=FILTER[work], update=UPDATE[work])
        file.write_text(file.read_text().replace("    pass", body, 1))
        return self.contender.command("execute", "")


class OfNode(MigrateMongo):
    packages = ("@360-l/mongo-bulk-data-migration", "mongodb")


class MongoBulkDataMigration(Installed):
    name = "mongo-bulk-data-migration"
    contender = OfNode()

    def command(self, folder: Path, work: str) -> list[str]:
        projection, filter, update = IN_NODE[work]
        script = OF_NODE.format(projection=projection, filter=filter, update=update)
        (folder / "script.js").write_text(script)
        (folder / "node_modules").symlink_to(self.contender.environment / "node_modules")
        return [str(shutil.which("node")), "script.js"]


WAYS = (Migopy, MigopyWithoutNotes, UpdateMany, UpdateRanges, BulkWrite, MongomigBatches, MongoBulkDataMigration)


def installed(names: Sequence[str]) -> Iterator[Way]:
    """The ways of these names that can be had here; the others are told with the reason."""
    for way in (cls() for cls in WAYS if cls.name in names):
        try:
            way.install()
        except UnavailableError as reason:
            print(f"{way.name} is left out: {reason}", flush=True)
        else:
            yield way


def fill(db: Database[Any], count: int) -> None:
    """Documents of about 200 bytes, such as an application has."""
    for begin in range(0, count, 10_000):
        db.original.insert_many(
            {
                "first": f"first{n}",
                "last": f"last{n * 7919 % count}",
                "tags": f"news {n % 13} blue",
                "text": "x" * 90,
                "age": n % 90,
            }
            for n in range(begin, min(count, begin + 10_000))
        )


def seconds(way: Way, work: str, db: Database[Any], uri: str, folder: Path) -> float:
    """What this way takes for the work, from the start of its process to the end of it."""
    for name in db.list_collection_names():
        if name != "original":
            db.drop_collection(name)
    db.original.aggregate([{"$out": "users"}])
    db.client.admin.command("fsync")
    project = folder / "project"
    project.mkdir()
    try:
        command = way.command(project, work)
        environment = {**clean_environment(), **settings(uri, DATABASE), "PYTHONWARNINGS": "ignore"}
        started = time.perf_counter()
        done = subprocess.run(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        took = time.perf_counter() - started
    finally:
        shutil.rmtree(project)
    left = db.users.count_documents({"full": None} if work == "in the server" else {"tags.1": None})
    if done.returncode or left:
        raise SystemExit(f"{way.name}, {work}: exit code {done.returncode}, {left} left\n{done.stdout.decode()[-800:]}")
    return took


def row(work: str, ways: Sequence[Way], rounds: int, *where: Any) -> str:
    """A line of the table: the first way in seconds, the others as ratios to it."""
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for way in ways:
            with contextlib.suppress(UnavailableError):
                took = seconds(way, work, *where)
                taken.setdefault(way.name, []).append(took)
    first = taken[ways[0].name]
    cells = [f"{median(first):.1f} s"]
    for way in ways[1:]:
        pairs = zip(taken.get(way.name, ()), first)
        cells.append(f"{median(one / ours for one, ours in pairs):.2f}" if way.name in taken else "-")
    return " | ".join(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[cls.name for cls in WAYS], help="some of the ways")
    options = parser.parse_args(arguments)
    ways = list(installed(options.only))
    print(f"| {options.documents:,} documents | {' | '.join(way.name for way in ways)} |")
    print(f"| --- |{' --- |' * len(ways)}", flush=True)
    for name, server in (("standalone", Mongod()), ("three members", ReplicaSet())):
        with tempfile.TemporaryDirectory(prefix="migopy-benchmark-") as folder, server, server.client() as client:
            uri = client_uri(server)
            fill(client[DATABASE], options.documents)
            for work in FILTER:
                cells = row(work, ways, options.rounds, client[DATABASE], uri, Path(folder))
                print(f"| {name}, {work} | {cells} |", flush=True)


def client_uri(server: Mongod | ReplicaSet) -> str:
    """The URI with the database that the work is done in."""
    base, _, query = server.uri.partition("?")
    return f"{base.rstrip('/')}/{DATABASE}" + (f"?{query}" if query else "")


if __name__ == "__main__":
    main()
