"""What migopy costs beside other ways to do the same, all measured in one run: python -m tests.tools.benchmark

Takes about two hours as it is; see --help for less. Prints a table in Markdown, every row measured side by side: the
contenders take turns, and each cell is the median of the wall times, in the first column in seconds and in the others
as a ratio to that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import IO, Any, Iterator, NamedTuple, Sequence

from pymongo import MongoClient

from tests.server import Mongod, Proxy, SlowProxy
from tests.support import clean_environment
from tests.tools.contenders import CONTENDERS, Contender, EmptyTask, FabClassic, UnavailableError, settings

NEW = 10
"""How many migrations are new where some are."""

ENOUGH = 120
"""Seconds after which a row gets no further round."""

OF_THE_DRIVER = {"<UNKNOWN>", "hello", "isMaster", "ismaster", "ping", "endSessions", "serverStatus"}
"""What no contender asks for on purpose, or only this process does."""


LAUNCHER = """
import json, os, sys, time
output = int(sys.argv[1])
started = time.perf_counter()
pid = os.fork()
if not pid:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
wall, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
json.dump([code, wall, cpu, usage.ru_maxrss / 1024], sys.stdout)
"""
"""Between this process and the contender, whose peak of memory would begin with that of the process that forks it."""


class Cost(NamedTuple):
    """One call: seconds, seconds, MB at most; commands, and all requests to the server with those of the driver."""

    wall: float
    cpu: float
    memory: float
    commands: int
    requests: int


class Work(NamedTuple):
    """A row: what is asked of every contender; ``delay`` is that of the network, in milliseconds each way."""

    subtask: str
    registered: int
    new: int
    delay: float

    def __str__(self) -> str:
        network = f"behind {self.delay:g} ms each way" if self.delay else "on loopback"
        return f"{self.subtask}: {self.registered:,} registered, {self.new:,} new, {network}"


def rows(sizes: Sequence[int], delays: Sequence[float]) -> Iterator[Work]:
    for size in sizes:
        for delay in delays:
            for subtask in ("status", "execute"):
                for registered, new in ((0, size), (size, NEW), (size, 0)):
                    yield Work(subtask, registered, new, delay)


class Counters:
    """What the server has been asked so far."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        status = client.admin.command("serverStatus")
        commands = {name: facts for name, facts in status["metrics"]["commands"].items() if name not in OF_THE_DRIVER}
        self.commands = sum(facts["total"] for facts in commands.values())
        self.requests = status["network"]["numRequests"]


class FailedError(Exception):
    """A call took longer than the limit, or did not do what it was to do."""


class Course:
    """One contender with its projects and its database, which is brought to the start of a row again and again."""

    def __init__(self, contender: Contender, client: MongoClient[dict[str, Any]], folder: Path, limit: float) -> None:
        self.contender = contender
        self._client = client
        self._folder = folder / type(contender).__name__
        self._folder.mkdir()
        self._limit = limit
        self._states: dict[int, dict[str, list[dict[str, Any]]]] = {}
        self._too_many: dict[tuple[str, float, bool], int] = {}
        self._database = f"benchmark_{secrets.token_hex(4)}"

    def run(self, work: Work, server: str) -> Cost | None:
        """Measure one call; None for one that fails or takes too long, and for all with more migrations then."""
        count = work.registered + work.new
        kind = (work.subtask, work.delay, work.registered > 0)
        if count >= self._too_many.get(kind, sys.maxsize):
            return None
        try:
            self._restore(work.registered)
            return self._call(work, server)
        except FailedError as reason:
            print(f"{self.contender.name}, {work}: {reason}", flush=True)
            self._too_many[kind] = count
            return None

    def _restore(self, registered: int) -> None:
        """Bring the database to the state in which so many are registered; the first time by executing them."""
        self._client.drop_database(self._database)
        db = self._client[self._database]
        if registered and registered not in self._states:
            host, port = self._client.address or ("", 0)
            self._call(Work("execute", 0, registered, 0), f"mongodb://{host}:{port}")
            self._states[registered] = {name: list(db[name].find()) for name in db.list_collection_names()}
        elif registered:
            for name, documents in self._states[registered].items():
                if documents:
                    db[name].insert_many(documents)

    def _call(self, work: Work, server: str) -> Cost:
        project = self._project(work.registered + work.new)
        uri = f"{server}/{self._database}"
        environment = environment_for(uri, self._database)
        before = Counters(self._client)
        with tempfile.TemporaryFile() as output:
            code, wall, cpu, memory = self._launch(
                self.contender.command(work.subtask, uri), project, environment, output
            )
            after = Counters(self._client)
            output.seek(0)
            self._check(work, code, output.read().decode(errors="replace"))
        return Cost(wall, cpu, memory, after.commands - before.commands, after.requests - before.requests)

    def _launch(self, command: list[str], project: Path, environment: dict[str, str], output: IO[bytes]) -> list[Any]:
        """Run it to its end or to the limit; exit code, and what it has used."""
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(output.fileno()), *command]
        process = subprocess.Popen(
            launcher,
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            pass_fds=[output.fileno()],
            start_new_session=True,
        )
        try:
            answer, _ = process.communicate(timeout=self._limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise FailedError(f"over {self._limit:g} s") from None
        return list(json.loads(answer))

    def _project(self, count: int) -> Path:
        """The project with so many migrations, as if it had just been checked out: nothing in it was compiled."""
        project = self._folder / str(count)
        if not project.exists():
            self.contender.project(project, count)
        for cache in project.rglob("__pycache__"):
            shutil.rmtree(cache)
        return project

    def _check(self, work: Work, code: int, output: str) -> None:
        """Nobody is fast who has not done it."""
        if isinstance(self.contender, EmptyTask) and not code:
            return
        done = self._client[self._database][self.contender.collection].count_documents(self.contender.registered)
        wanted = work.registered + (work.new if work.subtask == "execute" else 0)
        if code or done != wanted:
            raise FailedError(f"exit code {code}, {done} registered\n{output[-500:]}")

    def import_seconds(self) -> float:
        """What ``import migopy`` costs the other tasks of a fabfile: python -X importtime, for fab -l."""
        command = [str(self.contender.bin / "python"), "-X", "importtime", str(self.contender.bin / "fab"), "-l"]
        environment = environment_for("mongodb://nowhere/nothing", "nothing")
        done = subprocess.run(
            command, cwd=self._project(1), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        line = next(line for line in done.stderr.splitlines() if line.rpartition("|")[2].strip() == "migopy")
        return int(line.split("|")[1]) / 1_000_000


def environment_for(uri: str, database: str) -> dict[str, str]:
    return {**clean_environment(), **settings(uri, database), "PYTHONWARNINGS": "ignore"}


def measured(work: Work, courses: Sequence[Course], server: str, rounds: int) -> list[Cost | None]:
    """The medians of every contender, which take turns; None for one that has failed."""
    costs: list[list[Cost | None]] = [[] for _ in courses]
    started = time.monotonic()
    for number in range(rounds):
        if number and time.monotonic() - started > ENOUGH:
            break
        for course, of_course in zip(courses, costs):
            if None not in of_course:
                of_course.append(course.run(work, server))
    return [_medians([cost for cost in of_course if cost]) if None not in of_course else None for of_course in costs]


def _medians(costs: list[Cost]) -> Cost:
    return Cost(*(median(values) for values in zip(*costs)))


def table(title: str, names: Sequence[str], lines: Sequence[tuple[Work, list[str]]]) -> str:
    head = [f"\n**{title}**\n", f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    return "\n".join([*head, *(f"| {work} | {' | '.join(cells)} |" for work, cells in lines)])


def ratios(values: Sequence[float | None], unit: str, digits: int) -> list[str]:
    """The first as it is, the others as ratios to it."""
    first = values[0]
    if first is None:
        return ["-" if value is None else f"{value:.{digits}f} {unit}" for value in values]
    return [f"{first:.{digits}f} {unit}", *("-" if value is None else f"{value / first:.2f}" for value in values[1:])]


class Result(NamedTuple):
    work: Work
    costs: list[Cost | None]

    def values(self, field: str) -> list[float | None]:
        return [cost and getattr(cost, field) for cost in self.costs]


def prepared(names: Sequence[str], *where: Any) -> Iterator[Course]:
    """The contenders of these names that can be installed; the others are told with the reason."""
    for contender in (cls() for cls in CONTENDERS if cls.name in names):
        try:
            contender.install()
        except UnavailableError as reason:
            print(f"{contender.name} is left out: {reason}", flush=True)
        else:
            yield Course(contender, *where)


def tables(names: Sequence[str], results: Sequence[Result]) -> Iterator[str]:
    for title, field, unit, digits in (("Wall", "wall", "s", 2), ("CPU", "cpu", "s", 2), ("Memory", "memory", "MB", 0)):
        yield table(title, names, [(result.work, ratios(result.values(field), unit, digits)) for result in results])
    for title, field in (("Commands", "commands"), ("Requests, those of the driver itself among them", "requests")):
        counts = [(r.work, ["-" if value is None else f"{value:.0f}" for value in r.values(field)]) for r in results]
        yield table(title, names, counts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="numbers of migrations")
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 5], help="of the network, ms each way")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each contender in a row")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a call is given up")
    parser.add_argument("--only", nargs="+", default=[cls.name for cls in CONTENDERS], help="some of the contenders")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migopy-benchmark-")))
        mongod = stack.enter_context(Mongod())
        client = stack.enter_context(mongod.client())
        servers: dict[float, Mongod | Proxy] = {0: mongod}
        for delay in filter(None, options.delays):
            servers[delay] = stack.enter_context(SlowProxy(mongod.host, mongod.port, delay / 1000))
        courses = list(prepared(options.only, client, folder, options.limit))
        names = [course.contender.name for course in courses]
        for course in courses:
            if isinstance(course.contender, FabClassic):
                milliseconds = 1000 * median(course.import_seconds() for _ in range(options.rounds))
                print(f"{course.contender.name}: import migopy takes {milliseconds:.1f} ms of fab -l", flush=True)
        results = []
        for work in rows(options.sizes, options.delays):
            server = servers[work.delay]
            uri = f"mongodb://{server.host}:{server.port}"
            results.append(Result(work, measured(work, courses, uri, options.rounds)))
            cells = zip(names, ratios(results[-1].values("wall"), "s", 2))
            print(f"{work}: {', '.join(map(' '.join, cells))}", flush=True)
    print(*tables(names, results), sep="\n")


if __name__ == "__main__":
    main()
