"""After a rehearsal: the real database is asked what the migrations will do, and those for which it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Collection, Iterator, Mapping, NamedTuple, Sequence

from .preflight import Finding, Preflight, Questions, Rehearsed, Scale
from .preflight.findings import ALL_COLLECTIONS, NOT_ASKED

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..files.migration import LoadedMigration
    from .result import RehearsedMigration
    from .scratch.copying import DocumentCounts


class OtherDatabase(NamedTuple):
    """A database for which the one that is rehearsed stands, and the files that would be executed there.

    ``trouble`` is why nobody knows these: it cannot be read.
    """

    name: str
    db: Database[Any] | None = None
    pending: Collection[str] = ()
    trouble: str = ""


class LookAhead:
    """Asks about migrations that were rehearsed in ``source``, with so many documents of each collection in the copy.

    All ``questions`` together have one limit of time.
    """

    def __init__(
        self,
        questions: Questions,
        scale: Scale,
        counts: Mapping[str, DocumentCounts],
        migrations: Sequence[LoadedMigration],
        rehearsed: Sequence[RehearsedMigration],
    ) -> None:
        self._questions = questions
        self._scale = scale
        self._counts = counts
        self._seen = [(each, _seen(migration, each)) for migration, each in zip(migrations, rehearsed)]

    def ask(self) -> None:
        """Put what is found in the database into the results."""
        factors = {name: counts.original / max(1, counts.copy) for name, counts in self._counts.items()}
        sampled = {name: factor for name, factor in factors.items() if factor > 1}
        preflight = Preflight(self._questions, self._scale._replace(factors=sampled))
        for each, seen in self._seen:
            each.preflight = preflight.findings(seen)

    def ask_others(self, others: Sequence[OtherDatabase], show: Callable[[str], None]) -> None:
        """Put what is found in other databases into the results. ``show`` gets the step that begins."""
        for number, other in enumerate(others, start=1):
            show(f"asking {other.name} ({number:,} of {len(others):,})")
            pending = [(each, seen) for each, seen in self._seen if other.trouble or each.name in other.pending]
            for (each, _), findings in zip(pending, self._findings_in(other, [seen for _, seen in pending])):
                each.other_databases[other.name] = findings

    def _findings_in(self, other: OtherDatabase, rehearsed: Sequence[Rehearsed]) -> Iterator[list[Finding]]:
        no_time = "" if self._questions.has_time else f"no time was left of {self._questions.seconds:g} s"
        why = other.trouble or no_time
        if why or other.db is None:
            yield from ([Finding(NOT_ASKED, ALL_COLLECTIONS, f"no question was asked: {why}")] for _ in rehearsed)
            return
        questions = self._questions.beside(other.db)
        preflight = Preflight(questions, self._scale._replace(factors=self._factors(questions, rehearsed)))
        yield from map(preflight.findings, rehearsed)

    def _factors(self, questions: Questions, rehearsed: Sequence[Rehearsed]) -> dict[str, float]:
        """How many documents stand for one of the copy, which was made of another database: it lacks them all."""
        used = {sent.collection for each in rehearsed for sent in each.sent} & (questions.names() or set())
        factors: dict[str, float] = {}
        for name in used:
            copied = self._counts[name].copy if name in self._counts else 0
            with questions.noted(name, "its size"):
                factors[name] = max(1, questions.documents(name).number / copied) if copied else 1
        return factors


def _seen(migration: LoadedMigration, rehearsed: RehearsedMigration) -> Rehearsed:
    takes_back = rehearsed.irreversible is not None or (rehearsed.not_restored is not None and rehearsed.is_restored)
    takes_back = takes_back or rehearsed.error is not None  # nobody knows: down() was not reached, or has failed
    return Rehearsed(rehearsed.sent, rehearsed.changes, takes_back, migration.allowances)
