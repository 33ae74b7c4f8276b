"""What it costs to keep what an update replaces, and to put it back: python -m tests.tools.benchmark_undo

On a replica set of one member, each run as a process of its own that ends with its work, taking turns. The ratios are
those within a round, by the time that went by and by the CPU time of the process and the server; the medians of the
rounds are shown in the end. Beside it runs mongo-bulk-data-migration with its rollback, where it can be installed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Sequence

from pymongo.database import Database

from tests.server import ReplicaSet
from tests.support import clean_environment, fab_command_line
from tests.tools.benchmark_batches import DATABASE, OfNode, client_uri
from tests.tools.contenders import FABFILE, UnavailableError, settings
from tests.tools.measuring import Measured, load, measure

UPDATES = {
    "pipeline": '[{"$set": {"tags": {"$split": ["$tags", " "]}}}]',
    "function": 'lambda user: {"$set": {"tags": user["tags"].split()}}',
}

IN_NODE = {
    "pipeline": UPDATES["pipeline"],
    "function": '(user) => ({ $set: { tags: user.tags.split(" ") } })',
}

KEEP, KEEP_WITH_TWO = ', keep=["tags"]', ', keep=["tags"], workers=2'

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
    query: {{ tags: {{ $type: "string" }} }}, update: {update},
  }}).{method}();
  await client.close();
}})();
"""


class Bench:
    """Runs the commands against one database, whose collection ``original`` is copied for each."""

    def __init__(self, db: Database[Any], server: ReplicaSet, folder: Path) -> None:
        self.db = db
        uri = client_uri(server)
        self._environment = {**clean_environment(), **settings(uri, DATABASE), "PYTHONWARNINGS": "ignore"}
        self._server = server
        self._folder = folder

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

    def run(self, command: Sequence[str], folder: Path) -> Measured:
        return measure(command, folder, self._environment, self._server)

    def migopy(self, update: str, keep: str) -> list[Measured]:
        """An empty run, the update, and its rollback if it keeps something."""
        project = self._folder / "project"
        (project / "mongomigrations").mkdir(parents=True)
        (project / "fabfile.py").write_text(FABFILE)
        migration = MIGRATION.format(update=UPDATES[update], keep=keep)
        (project / "mongomigrations" / "1_first.py").write_text(migration)
        self.begin()
        try:
            runs = [
                self.run(fab_command_line("--hide=status", "migrations"), project),
                self.run(fab_command_line("--hide=status", "migrations:execute"), project),
            ]
            if keep:
                self.measure_space()
                runs.append(self.run(fab_command_line("--hide=status", "migrations:rollback,1"), project))
                self.require_restored()
            return runs
        finally:
            shutil.rmtree(project)

    def measure_space(self) -> None:
        """Note how much room what is kept takes."""
        self.db.client.admin.command("fsync")
        stats = self.db.command("collStats", "migrations_kept")
        self.ratio = stats["storageSize"] / stats["size"]

    def require_restored(self) -> None:
        if self.db.users.count_documents({"tags": {"$type": "string"}}) != self.db.original.count_documents({}):
            raise SystemExit("The rollback has not put back everything.")

    def node(self, contender: OfNode, update: str) -> list[Measured]:
        """The update of mongo-bulk-data-migration and its rollback."""
        folder = self._folder / "node"
        folder.mkdir()
        (folder / "node_modules").symlink_to(contender.environment / "node_modules")
        self.begin()
        try:
            runs = []
            for method in ("update", "rollback"):
                (folder / "script.js").write_text(OF_NODE.format(method=method, update=IN_NODE[update]))
                runs.append(self.run([str(shutil.which("node")), "script.js"], folder))
            return runs
        finally:
            shutil.rmtree(folder)


class Figures:
    """What is measured, by name; each is printed as it is found."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        self._found.setdefault(name, []).append(value)
        print(f"{name}: {value:.2f}", flush=True)

    def note_ratio(self, name: str, one: Measured, other: Measured) -> None:
        self.note(f"{name}, time", one.wall / other.wall)
        self.note(f"{name}, CPU time", one.cpu / other.cpu)

    def show_medians(self) -> None:
        print(f"Medians, {load()}:")
        for name, values in self._found.items():
            print(f"{name}: {median(values):.2f}", flush=True)


def measure_round(bench: Bench, figures: Figures, contender: OfNode | None) -> None:
    """Note the ratios of one round."""
    for update in UPDATES:
        _, plain = bench.migopy(update, "")
        empty, forth, back = bench.migopy(update, KEEP)
        figures.note(f"{update}: seconds without keep", plain.wall)
        figures.note(f"{update}: MB above an empty fab without keep", plain.peak - empty.peak)
        figures.note(f"{update}: MB above an empty fab with keep", forth.peak - empty.peak)
        figures.note(f"{update}: MB above an empty fab of the restore", back.peak - empty.peak)
        figures.note_ratio(f"{update}: with keep / without", forth, plain)
        figures.note_ratio(f"{update}: restore / the update with keep", back, forth)
        figures.note("what is kept: on disk / raw", bench.ratio)
        _, forth_with_two, _ = bench.migopy(update, KEEP_WITH_TWO)
        if contender:
            their_forth, their_back = bench.node(contender, update)
            figures.note_ratio(f"{update}: mongo-bulk-data-migration / ours", their_forth, forth)
            figures.note_ratio(f"{update}: the same, ours with two workers", their_forth, forth_with_two)
            figures.note_ratio(f"{update}: its rollback / ours", their_back, back)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="1,000,000 documents, three rounds")
    options = parser.parse_args(arguments)
    if options.full:
        options.documents, options.rounds = 1_000_000, 3
    contender: OfNode | None = None
    try:
        (node := OfNode()).install()
        contender = node
    except UnavailableError as reason:
        print(f"mongo-bulk-data-migration is left out: {reason}", flush=True)
    server = ReplicaSet(members=1)
    with tempfile.TemporaryDirectory(prefix="migopy-benchmark-") as folder, server, server.client() as client:
        bench, figures = Bench(client[DATABASE], server, Path(folder)), Figures()
        bench.fill(options.documents)
        for _ in range(options.rounds):
            measure_round(bench, figures, contender)
        figures.show_medians()


if __name__ == "__main__":
    main()
