"""What migopy costs, as ratios measured side by side in one run: python -m tests.benchmark"""

from __future__ import annotations

import time
import unittest
from statistics import median
from typing import Callable

from tests.support import MongoTestCase, Project

ROUNDS = 7


def ratio(what: str, one: Callable[[], object], other: Callable[[], object]) -> None:
    """Print how much longer one takes than the other; taking turns, so that a busy machine slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, spent in zip((one, other), times):
            started = time.perf_counter()
            call()
            spent.append(time.perf_counter() - started)
    print(f"{median(times[0]) / median(times[1]):6.2f}  {what} ({median(times[0]):.2f} s : {median(times[1]):.2f} s)")


class Benchmark(MongoTestCase):
    """Not found by discovery, which wants test_*.py."""

    def runTest(self) -> None:  # noqa: N802 - the name is that of unittest
        print()
        plain = Project(self, "def deploy():\n    pass\n")
        few, many = self.project(), self.project()
        for number in range(1, 1001):
            many.migration(f"{number:04}_a.py")
        few.migration("0001_a.py")
        self.db.migrations.insert_many([{"name": f"{number:04}_a.py"} for number in range(1, 1001)])
        ratio("fab -l with migopy : without", lambda: few.fab("-l"), lambda: plain.fab("-l"))
        ratio("fab migrations : fab -l", lambda: few.fab("migrations"), lambda: few.fab("-l"))
        ratio("fab migrations with 1000 files : with 1", lambda: many.fab("migrations"), lambda: few.fab("migrations"))
        ratio("history of 1000 : of 1", lambda: many.fab("migrations:history"), lambda: few.fab("migrations"))

        def executed(count: int) -> None:
            self.db.migrations.delete_many({"name": {"$lte": f"{count:04}_a.py"}})
            self.assertEqual(0, many.fab("migrations:execute").code)

        ratio("execute 200 empty migrations : 1", lambda: executed(200), lambda: executed(1))


if __name__ == "__main__":
    unittest.main(argv=["benchmark", "Benchmark"])
