"""What the parts of a rehearsal cost beside other ways to do the same: python -m tests.tools.benchmark_rehearsal

Each round measures them one after the other on a standalone server; the ratios are those within a round, and the
median of the rounds is shown. What is measured is a database of 50 collections with two indexes each, of which the
migration changes the largest. The copy is compared with mongodump and mongorestore where those are on PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

from pymongo.database import Database

from migopy.rehearsal.scratch import raw
from migopy.rehearsal.scratch.comparing import Snapshot
from migopy.rehearsal.scratch.copying import Copier, originals
from migopy.rehearsal.scratch.digest import Digester
from tests.server import Mongod
from tests.support import basic_fabfile, clean_environment, fab_command_line

COLLECTIONS = 50

WORDS = [
    f"{start}{end}" for start in ("al", "be", "cor", "du", "em", "fi") for end in ("ka", "lo", "mund", "ria", "st")
]

LARGEST = f"c{COLLECTIONS - 1}"

MIGRATION = f"""
def up(db):
    db.{LARGEST}.update_many({{}}, [{{"$set": {{"first": {{"$arrayElemAt": ["$tags", 0]}}}}}}])
    db.{LARGEST}.create_index("first")


def down(db):
    db.{LARGEST}.drop_index("first_1")
    db.{LARGEST}.update_many({{}}, {{"$unset": {{"first": 1}}}})
"""


class Seconds(NamedTuple):
    """What one round has taken: the copy by other means and by ours; reading and hashing all of it, and only what the
    migration changes; a rehearsal of a sample.
    """

    out: float
    tools: float | None
    copy: float
    look: float
    first_look: float
    rehearsal: float


def documents(number: int) -> Iterator[dict[str, Any]]:
    """Documents of about 1 kB, such as an application has."""
    pick = random.Random(number)
    for n in range(number):
        words = pick.choices(WORDS, k=128)
        yield {
            "name": " ".join(words[:2]),
            "email": f"{words[0]}.{n}@example.com",
            "age": pick.randrange(100),
            "score": pick.random(),
            "born": datetime(1970, 1, 1) + timedelta(hours=pick.randrange(400_000)),
            "tags": words[2:5],
            "home": {"street": words[5], "zip": str(pick.randrange(10_000)), "floors": [1, 2, 3]},
            "text": " ".join(words[6:]),
            "active": n % 3 == 0,
        }


def fill(db: Database[Any], megabytes: float) -> None:
    """Collections of different sizes, the largest ten times as large as the smallest."""
    parts = [1 + 9 * number / (COLLECTIONS - 1) for number in range(COLLECTIONS)]
    for number, part in enumerate(parts):
        wanted = megabytes * 1e6 * part / sum(parts)
        db[f"c{number}"].insert_many(documents(max(1, round(wanted / 1000))))
        db[f"c{number}"].create_index("email", unique=True)
        db[f"c{number}"].create_index([("born", 1), ("age", -1)])


def by_out(source: Database[Any], target: Database[Any]) -> None:
    """The copy that a team would write itself."""
    for name in source.list_collection_names():
        source[name].aggregate([{"$out": {"db": target.name, "coll": name}}])
        target.command("createIndexes", name, indexes=raw.list_indexes(source, name))


def by_tools(source: Database[Any], target: Database[Any], uri: str) -> None:
    """The copy by the tools that everybody has."""
    dump = ["mongodump", "--quiet", f"--uri={uri}", f"--db={source.name}", "--archive"]
    renamed = [f"--nsFrom={source.name}.*", f"--nsTo={target.name}.*"]
    restore = ["mongorestore", "--quiet", f"--uri={uri}", "--archive", *renamed]
    with subprocess.Popen(dump, stdout=subprocess.PIPE) as dumping:
        subprocess.run(restore, stdin=dumping.stdout, check=True)


def seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def one_round(source: Database[Any], folder: Path, uri: str) -> Seconds:
    client = source.client
    target = client["benchmark_copy"]

    def fresh(what: Callable[[], object]) -> float:
        client.drop_database(target.name)
        return seconds(what)

    out = fresh(lambda: by_out(source, target))
    has_tools = shutil.which("mongodump") and shutil.which("mongorestore")
    tools = fresh(lambda: by_tools(source, target, uri)) if has_tools else None
    copy = fresh(lambda: Copier(source, target).run(originals(source)))
    look = seconds(lambda: Snapshot(target, Digester(time.time())).read_documents())
    first_look = seconds(lambda: Snapshot(target, Digester(time.time())).read_documents(LARGEST))
    client.drop_database(target.name)
    rehearsal = seconds(lambda: rehearse(folder))
    return Seconds(out, tools, copy, look, first_look, rehearsal)


def rehearse(folder: Path) -> None:
    """A sample, as fab migrations:rehearse takes it if nothing else is said."""
    command = fab_command_line("--hide=status", "migrations:rehearse")
    environment: Mapping[str, str] = {**clean_environment(), "PYTHONWARNINGS": "ignore"}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=360, help="size of the database")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migopy-benchmark-")))
        mongod = stack.enter_context(Mongod())
        source = stack.enter_context(mongod.client())["benchmark"]
        fill(source, options.megabytes)
        (folder / "mongomigrations").mkdir()
        (folder / "mongomigrations" / "1_first.py").write_text(MIGRATION)
        (folder / "fabfile.py").write_text(basic_fabfile(mongod, source.name))
        stats = source.command("dbStats")
        print(f"{stats['collections']} collections, {stats['objects']:,} documents, {stats['dataSize'] / 1e6:.0f} MB")
        rounds = []
        for _ in range(options.rounds):
            rounds.append(one_round(source, folder, mongod.uri))
            measured = {name: value for name, value in rounds[-1]._asdict().items() if value}
            print("  ".join(f"{name} {value:.2f} s" for name, value in measured.items()), flush=True)
    with_tools = [one.copy / one.tools for one in rounds if one.tools]
    if with_tools:
        print(f"copy / mongodump and mongorestore: {median(with_tools):.2f}")
    print(f"copy / $out and indexes: {median(one.copy / one.out for one in rounds):.2f}")
    print(f"hashes of all / copy: {median(one.look / one.copy for one in rounds):.2f}")
    print(f"hashes of what is changed / copy: {median(one.first_look / one.copy for one in rounds):.2f}")
    print(f"sampled rehearsal: {median(one.rehearsal for one in rounds):.1f} s")


if __name__ == "__main__":
    main()
