"""What a migration in batches costs beside other ways to do the same: python -m tests.tools.benchmark_batches

On a standalone server, a set of one and a set of three, each way as a process of its own that ends with its work,
taking turns. A cell says how many times as fast as that way migopy is, with one worker and with two: the medians of the
ratios within a round, by the time that went by, and in brackets by the CPU time of the process and the servers. Then it
shows how much more memory a run has than ``fab migrations``, with one, two and four workers.

Without options it takes about half an hour, with --full several hours.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Callable, Iterator, NamedTuple, Sequence

from pymongo.database import Database

from tests.server import Mongod, ReplicaSet
from tests.support import clean_environment, fab_command_line
from tests.tools.contenders import FABFILE, Contender, MigrateMongo, Mongomig, UnavailableError, settings
from tests.tools.measuring import Measured, load, measure

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
    batches.update(db.users, {filter}, {update}, workers={workers})
"""

OF_MEMORY = """
import migopy.batches.batches

# Of documents of 1 MB there are too few here for parts otherwise.
migopy.batches.batches.MIN_DOCUMENTS_OF_PARTS = 1_000


def up(db, batches):
    batches.update(db.users, {{}}, {update}, workers={workers})
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
    only_in_server = False
    """Whether it can do only what the server does by itself."""

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
    workers = 1

    def command(self, folder: Path, work: str) -> list[str]:
        return self.execute(folder, MIGRATION.format(filter=FILTER[work], update=UPDATE[work], workers=self.workers))

    @staticmethod
    def execute(folder: Path, migration: str) -> list[str]:
        (folder / "fabfile.py").write_text(FABFILE)
        (folder / "mongomigrations").mkdir()
        (folder / "mongomigrations" / "1_first.py").write_text(migration)
        return fab_command_line("--hide=status", "migrations:execute")


class MigopyWithTwo(Migopy):
    name = "migopy, two workers"
    workers = 2


class MigopyWithoutNotes(Way):
    """As in a test: no lock, no note of how far it is. The transactions are the same."""

    name = "migopy.Batches()"

    def command(self, folder: Path, work: str) -> list[str]:
        return self._script(folder, WITHOUT_NOTES.format(filter=FILTER[work], update=UPDATE[work]))


class UpdateMany(Way):
    """All at once, where the server can do it."""

    name = "update_many"
    only_in_server = True

    def command(self, folder: Path, work: str) -> list[str]:
        return self._script(folder, f"db.users.update_many({FILTER[work]}, {UPDATE[work]})")


class UpdateRanges(Way):
    """Ten thousand at a time by the ``_id`` index: without transactions and notes, and only where its types are one."""

    name = "update_many in ranges"
    only_in_server = True

    def command(self, folder: Path, work: str) -> list[str]:
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


OURS = (Migopy(), MigopyWithTwo())
OTHERS = (UpdateMany, BulkWrite, MongomigBatches, MongoBulkDataMigration, MigopyWithoutNotes, UpdateRanges)
USUAL = [cls.name for cls in OTHERS[:4]]


def installed(names: Sequence[str]) -> Iterator[Way]:
    """The ways of these names that can be had here; the others are told with the reason."""
    for way in (cls() for cls in OTHERS if cls.name in names):
        try:
            way.install()
        except UnavailableError as reason:
            print(f"{way.name} is left out: {reason}", flush=True)
        else:
            yield way


class Place(NamedTuple):
    """Where the work is done."""

    name: str
    server: Mongod | ReplicaSet
    db: Database[Any]
    folder: Path

    def run(self, command: Callable[[Path], list[str]]) -> Measured:
        """Run the command that is written into an empty folder."""
        project = self.folder / "project"
        project.mkdir()
        try:
            words = command(project)
            environment = {
                **clean_environment(),
                **settings(client_uri(self.server), DATABASE),
                "PYTHONWARNINGS": "ignore",
            }
            return measure(words, project, environment, self.server)
        finally:
            shutil.rmtree(project)


def fill(db: Database[Any], count: int, text: int) -> None:
    """Documents such as an application has, of 110 bytes and a text."""
    db.drop_collection("original")
    for begin in range(0, count, 10_000):
        db.original.insert_many(
            {
                "first": f"first{n}",
                "last": f"last{n * 7919 % count}",
                "tags": f"news {n % 13} blue",
                "text": "x" * text,
                "age": n % 90,
            }
            for n in range(begin, min(count, begin + 10_000))
        )


def take(way: Way, work: str, place: Place) -> Measured:
    """What this way takes for the work."""
    db = place.db
    for name in db.list_collection_names():
        if name != "original":
            db.drop_collection(name)
    db.original.aggregate([{"$out": "users"}])
    db.client.admin.command("fsync")
    taken = place.run(lambda folder: way.command(folder, work))
    left = db.users.count_documents({"full": None} if work == "in the server" else {"tags.1": None})
    if left:
        raise SystemExit(f"{way.name}, {work}: {left} left")
    return taken


def row(work: str, others: Sequence[Way], rounds: int, place: Place) -> str:
    """A line of the table: migopy in seconds, and how many times as fast as each of the others it is."""
    ways = [*OURS, *(way for way in others if work == "in the server" or not way.only_in_server)]
    taken: dict[str, list[Measured]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            taken[way.name].append(take(way, work, place))
    ours = [taken[way.name] for way in OURS]
    cells = [" / ".join(f"{median(each.wall for each in runs):.1f} s" for runs in ours)]
    for way in others:
        ratios = [_ratio(taken[way.name], runs) for runs in ours] if way.name in taken else ["-"]
        cells.append(" / ".join(ratios))
    return " | ".join(cells)


def _ratio(theirs: Sequence[Measured], ours: Sequence[Measured]) -> str:
    pairs = list(zip(theirs, ours))
    wall, cpu = (median(one[clock] / other[clock] for one, other in pairs) for clock in (0, 1))
    return f"{wall:.2f} ({cpu:.2f})"


def show_speed(place: Place, options: argparse.Namespace, others: Sequence[Way]) -> None:
    for size, text, count in (("200 B", 90, options.documents), ("2 kB", 1_890, options.large_documents)):
        fill(place.db, count, text)
        for work in FILTER:
            cells = row(work, others, options.rounds, place)
            print(f"| {place.name}, {work}, {count:,} of {size} | {cells} | {load()} |", flush=True)


def show_memory(place: Place, count: int, size: int) -> None:
    """Print how much more memory a run has than an empty one."""
    db = place.db
    for name in db.list_collection_names():
        db.drop_collection(name)
    step = max(1, min(10_000, 10**7 // size))
    for begin in range(0, count, step):
        db.users.insert_many({"n": n, "text": "x" * size} for n in range(begin, min(count, begin + step)))
    cells = []
    for update in ('[{"$set": {"new": ["$n"]}}]', 'lambda user: {"$set": {"new": [user["n"]]}}'):
        for workers in (1, 2, 4):
            for name in set(db.list_collection_names()) - {"users"}:
                db.drop_collection(name)
            migration = OF_MEMORY.format(update=update, workers=workers)
            empty = place.run(lambda folder: [*Migopy.execute(folder, "")[:-1], "migrations"])
            full = place.run(lambda folder: Migopy.execute(folder, migration))  # noqa: B023
            cells.append(f"{full.peak - empty.peak:.0f} MB")
    print(f"| {count:,} of {size:,} B | {' / '.join(cells[:3])} | {' / '.join(cells[3:])} |", flush=True)


SERVERS: dict[str, Callable[[], Mongod | ReplicaSet]] = {
    "standalone": Mongod,
    "set of one": lambda: ReplicaSet(members=1),
    "set of three": ReplicaSet,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,000,000 documents, three rounds")
    parser.add_argument("--documents", type=int, default=100_000, help="of 200 bytes")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=USUAL, help="some of the other ways", metavar="WAY")
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=SERVERS)
    parser.add_argument("--no-memory", action="store_true")
    options = parser.parse_args(arguments)
    if options.full:
        options.documents, options.rounds = 1_000_000, 3
    options.large_documents = options.documents // 4 if options.full else options.documents
    others = list(installed(options.only))
    print(f"| {load()} | migopy, one / two workers | {' | '.join(way.name for way in others)} | |")
    print(f"| --- | --- |{' --- |' * len(others)} --- |", flush=True)
    for name in options.servers:
        server = SERVERS[name]()
        with tempfile.TemporaryDirectory(prefix="migopy-benchmark-") as folder, server, server.client() as client:
            show_speed(Place(name, server, client[DATABASE], Path(folder)), options, others)
    if not options.no_memory:
        server = ReplicaSet(members=1)
        print("\n| memory above fab migrations: 1 / 2 / 4 workers | in the server | in Python |\n| --- | --- | --- |")
        with tempfile.TemporaryDirectory(prefix="migopy-benchmark-") as folder, server, server.client() as client:
            place = Place("set of one", server, client[DATABASE], Path(folder))
            show_memory(place, options.documents, 110)
            show_memory(place, 10_000 if options.full else 2_000, 10**6)


def client_uri(server: Mongod | ReplicaSet) -> str:
    """The URI with the database that the work is done in."""
    base, _, query = server.uri.partition("?")
    return f"{base.rstrip('/')}/{DATABASE}" + (f"?{query}" if query else "")


if __name__ == "__main__":
    main()
