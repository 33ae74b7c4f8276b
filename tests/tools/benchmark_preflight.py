"""How long a preflight takes, and how much it slows down others: python -m tests.tools.benchmark_preflight

Ten migrations are looked at beside 50 collections with 5,000,000 documents in all, on a standalone server. Meanwhile
another process reads and updates single documents; how many it manages is compared with the seconds before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import time
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Iterator, NamedTuple, Sequence

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from migopy.rehearsal.preflight import Finding, Preflight, Questions, Rehearsed, Scale
from migopy.rehearsal.scratch.recorder import Sent
from tests.server import Mongod

COLLECTIONS = 50

IDLE_SECONDS = 3

UPDATE = {"update": {"$set": {"new": 1}}, "multi": True}

MIGRATIONS = [
    [Sent("createIndexes", "c0", {"key": {"email": 1}, "name": "email_1", "unique": True})],
    [Sent("createIndexes", "c1", {"key": {"city": 1, "n": 1}, "name": "city_1_n_1", "unique": True})],
    [Sent("update", "c2", {"filter": {"city": "city 7"}, **UPDATE})],
    [Sent("update", "c3", {"filter": {}, **UPDATE, "update": {"$unset": {"email": 1}}})],
    [Sent("update", "c4", {"filter": {}, **UPDATE}, walk={"n": {"$gte": 1000}})],
    [Sent("collMod", "c5", {"validator": {"$jsonSchema": {"required": ["email", "n", "phone"]}}})],
    [Sent("createIndexes", "c6", {"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 3600})],
    [Sent("delete", "c7", {"filter": {"n": {"$lt": 500}}, "update": None, "multi": True})],
    [Sent("drop", "c8", {}), Sent("renameCollection", "c9", {"to": "c8", "dropTarget": False})],
    [
        Sent("update", f"c{number}", {"filter": {"email": f"{number}@example.com"}, **UPDATE})
        for number in range(10, COLLECTIONS)
    ],
]
"""The commands of ten migrations."""


class Durations(CommandListener):
    """How long each question took, in seconds."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def started(self, event: CommandStartedEvent) -> None: ...

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self.found.append(event.duration_micros / 1e6)

    def failed(self, event: CommandFailedEvent) -> None:
        self.found.append(event.duration_micros / 1e6)


class Round(NamedTuple):
    seconds: float
    longest: float
    others: float
    """How many operations a second the other process managed meanwhile, as a part of those before and after."""


def fill(db: Database[Any], documents: int) -> None:
    each = documents // COLLECTIONS
    now = datetime.now(timezone.utc)
    db.c0.insert_many(
        {"_id": n, "n": n, "email": f"{n}@example.com", "city": f"city {n % 1000}", "at": now, "text": "x" * 100}
        for n in range(each)
    )
    for number in range(1, COLLECTIONS):
        db.c0.aggregate([{"$out": f"c{number}"}])


def work(uri: str, database: str, documents: int, pipe: Connection) -> None:
    """Read and update documents until a message comes, and send how many there were at each message before it."""
    with MongoClient[Any](uri) as client:
        done = 0
        while True:
            collection = client[database][f"c{random.randrange(COLLECTIONS)}"]
            which = {"_id": random.randrange(documents // COLLECTIONS)}
            collection.find_one(which)
            collection.update_one(which, {"$inc": {"seen": 1}})
            done += 1
            if pipe.poll():
                if not pipe.recv():
                    return
                pipe.send(done)


@contextlib.contextmanager
def other_process(uri: str, database: str, documents: int) -> Iterator[Connection]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=work, args=(uri, database, documents, theirs))
    process.start()
    try:
        yield ours
    finally:
        ours.send(False)
        process.join()


def rate(pipe: Connection, what: Any) -> float:
    """Operations a second of the other process during a call."""
    pipe.send(True)
    before, started = pipe.recv(), time.perf_counter()
    what()
    pipe.send(True)
    return float(pipe.recv() - before) / (time.perf_counter() - started)


def processor_seconds(client: MongoClient[Any]) -> float:
    """What the server has used until now, on Linux."""
    used = client.admin.command("serverStatus")["extra_info"]
    return float(used.get("user_time_us", 0) + used.get("system_time_us", 0)) / 1e6


def preflight(db: Database[Any], documents: int) -> list[Finding]:
    factors = {f"c{number}": documents / COLLECTIONS / 1000 for number in range(COLLECTIONS)}
    looking = Preflight(Questions(db), Scale(limit=50_000, has_oplog=True, factors=factors))
    seen = [Rehearsed(sent, [], takes_back=False, allowances={}) for sent in MIGRATIONS]
    return [finding for each in seen for finding in looking.findings(each)]


def one_round(db: Database[Any], durations: Durations, documents: int, pipe: Connection) -> Round:
    durations.found.clear()
    before = rate(pipe, lambda: time.sleep(IDLE_SECONDS))
    started = time.perf_counter()
    meanwhile = rate(pipe, lambda: preflight(db, documents))
    took = time.perf_counter() - started
    after = rate(pipe, lambda: time.sleep(IDLE_SECONDS))
    return Round(took, max(durations.found), meanwhile / ((before + after) / 2))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    durations = Durations()
    with Mongod() as mongod, mongod.client() as plain:
        fill(plain["benchmark"], options.documents)
        with MongoClient[Any](mongod.uri, event_listeners=[durations]) as client:
            db = client["benchmark"]
            alone, busy = time.perf_counter(), processor_seconds(plain)
            found = preflight(db, options.documents)
            alone, busy = time.perf_counter() - alone, processor_seconds(plain) - busy
            print(f"alone {alone:.2f} s, {len(durations.found)} questions, the server's processors {busy:.2f} s")
            for finding in found:
                print(f"  {finding}"[:120])
            rounds = []
            with other_process(mongod.uri, db.name, options.documents) as pipe:
                for _ in range(options.rounds):
                    rounds.append(one_round(db, durations, options.documents, pipe))
                    print("  ".join(f"{name} {value:.2f}" for name, value in rounds[-1]._asdict().items()), flush=True)
    print(f"preflight: {median(each.seconds for each in rounds):.1f} s")
    print(f"longest question: {max(each.longest for each in rounds):.1f} s")
    print(f"operations of others meanwhile: {median(each.others for each in rounds):.2f}")


if __name__ == "__main__":
    main()
