"""The report of a rehearsal: rows for programs, a table and details for people."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from ..terminal.streams import show
from ..terminal.tables import table
from ..terminal.texts import one_line, shorten
from ..terminal.wording import duration, plural
from .preflight.findings import CHANGED_DOCUMENTS, NEW_INDEX
from .result import judge

if TYPE_CHECKING:
    from .preflight import Finding
    from .result import RehearsedMigration
    from .scratch.comparing import Change, Example
    from .scratch.copying import DocumentCounts

SIZES, MUCH_DOCUMENTS = (CHANGED_DOCUMENTS, NEW_INDEX), 1_000
"""What is about fewer documents is left to programs, if it only says how many they are."""


@dataclass
class Results:
    """The migrations rehearsed so far, and the collections that were not copied as a whole.

    ``where`` is the real database, ``verdict`` the sentence for a rehearsal that went well.
    """

    where: str = ""
    verdict: str = ""
    rehearsed: list[RehearsedMigration] = field(default_factory=list)
    sampled: Mapping[str, DocumentCounts] = field(default_factory=dict)

    def judge(self, state_of_original: str) -> str:
        """The verdict. Raises ``CheckFailed`` for a rehearsal that found something."""
        self.verdict = judge(self.rehearsed, state_of_original)
        return self.verdict

    def rows(self) -> Mapping[str, Any]:
        """For JSON."""
        samples = {name: {"documents": counts.original, "copied": counts.copy} for name, counts in self.sampled.items()}
        return {"sampled": samples, "rehearsed": [_json_row(each) for each in self.rehearsed]}

    @contextlib.contextmanager
    def shown_at_end(self, *, as_table: bool) -> Iterator[None]:
        """Print what was rehearsed, also after a failure."""
        try:
            yield
        finally:
            if self.rehearsed and as_table:
                show(self.as_text())

    def as_text(self) -> str:
        """For people: the table, and below it the details of each migration."""
        head = ["NAME", "UP", "ALL DATA", "DOWN", "UP AGAIN", "CHANGES", "PREFLIGHT"]
        rows = [_table_row(each) for each in self.rehearsed]
        if not any(each.whole_seconds for each in self.rehearsed):  # no sample was used
            head, rows = head[:2] + head[3:], [row[:2] + row[3:] for row in rows]
        if {each.preflight_verdict for each in self.rehearsed} <= {"", "ok"}:
            head, rows = head[:-1], [row[:-1] for row in rows]
        return "\n".join([table(head, rows), *(line for each in self.rehearsed for line in _details(each))])


def _json_row(rehearsed: RehearsedMigration) -> dict[str, Any]:
    return {
        "name": rehearsed.name,
        "seconds": _round(rehearsed.seconds),
        "whole_seconds": _round(rehearsed.whole_seconds),
        "down": rehearsed.down_verdict,
        "again": rehearsed.again_verdict,
        "changes": _json_changes(rehearsed.changes),
        "not_restored": _json_changes(rehearsed.not_restored),
        "different_again": _json_changes(rehearsed.different_again),
        "only_values_differ": rehearsed.only_values_differ,
        "allowed": rehearsed.allowed,
        "irreversible": rehearsed.irreversible,
        "down_from_kept": rehearsed.down_from_kept,
        "commands": _by_collection(rehearsed.commands),
        "preflight": None if rehearsed.preflight is None else [finding.row() for finding in rehearsed.preflight],
        "other_databases": {
            name: [finding.row() for finding in findings] for name, findings in rehearsed.other_databases.items()
        },
        "error": one_line(str(rehearsed.error)) if rehearsed.error else None,
    }


def _json_changes(changes: Sequence[Change] | None) -> list[dict[str, Any]] | None:
    if changes is None:
        return None
    return [
        {
            "collection": change.name,
            "is_real": change.is_real,
            "documents": change.documents,
            **{event: change.counts[event] for event in ("added", "changed", "removed", "same")},
            "differ_only_in": sorted(change.minor_differences),
            "definitions": [definition._asdict() for definition in change.definitions],
            "examples": [
                {**example._asdict(), "fields": [field._asdict() for field in example.fields]}
                for example in change.examples
            ],
        }
        for change in changes
    ]


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _by_collection(commands: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    by_collection: dict[str, dict[str, int]] = defaultdict(dict)
    for (collection, command), number in commands.items():
        by_collection[collection][command] = number
    return dict(by_collection)


def _table_row(rehearsed: RehearsedMigration) -> list[str]:
    up = "failed" if rehearsed.seconds is None else duration(rehearsed.seconds)
    all_data = "" if rehearsed.whole_seconds is None else f"about {duration(rehearsed.whole_seconds)}"
    changed = ", ".join(change.name for change in rehearsed.changes)
    if rehearsed.seconds is not None:
        changed = changed or "nothing"
    return [
        rehearsed.name,
        up,
        all_data,
        rehearsed.down_verdict,
        rehearsed.again_verdict,
        shorten(changed, 40),
        rehearsed.preflight_verdict,
    ]


def _details(rehearsed: RehearsedMigration) -> Iterator[str]:
    not_restored, different = rehearsed.not_restored or (), rehearsed.different_again or ()
    lines = [
        *change_lines(rehearsed.changes),
        *(["  down: from what is kept"] if rehearsed.down_from_kept else []),
        *([f"  cannot be taken back: {rehearsed.irreversible}"] if rehearsed.irreversible else []),
        *_section("down() does not restore (before up() -> after down()):", not_restored, is_real=True),
        *_section("down() restores everything, with minor differences:", not_restored, is_real=False),
        *_section(_again_title(rehearsed), different, is_real=True),
        *_section("the second up() does the same, with minor differences:", different, is_real=False),
        *(
            f"  sent to {name}{', which does not exist' if name in rehearsed.missing else ''}: {_command_counts(sent)}"
            for name, sent in sorted(_by_collection(rehearsed.commands).items())
        ),
    ]
    lines += _section_of_preflight(rehearsed)
    if lines:
        yield from ("", rehearsed.name, *lines)


def _section_of_preflight(rehearsed: RehearsedMigration) -> list[str]:
    shown = [each for each in rehearsed.findings if each.kind not in SIZES or _is_much(each)]
    return ["  on the real data:", *(f"    {one_line(each)}" for each in shown)] if shown else []


def _is_much(finding: Finding) -> bool:
    return (finding.documents or 0) >= MUCH_DOCUMENTS


def _again_title(rehearsed: RehearsedMigration) -> str:
    if not rehearsed.only_values_differ:
        return "the second up() differs from the first:"
    allowed = f", which ALLOW permits ({rehearsed.allowed})" if rehearsed.allowed else ""
    return f"the second up() differs from the first only in values{allowed}:"


def _command_counts(sent: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {command}" for command, number in sorted(sent.items()))


def _section(title: str, changes: Sequence[Change], *, is_real: bool) -> Iterator[str]:
    found = [change for change in changes if change.is_real == is_real]
    if found:
        yield f"  {title}"
        yield from change_lines(found, "    ")


def change_lines(changes: Sequence[Change], indent: str = "  ") -> Iterator[str]:
    """What differs, collection by collection, with examples."""
    for change in changes:
        yield f"{indent}{change.name}: {'; '.join(_facts(change))}"
        yield from (f"{indent}  {line}" for example in change.examples for line in _example_lines(example))
        more = sum(change.counts[event] for event in ("added", "changed", "removed")) - len(change.examples)
        if change.examples and more > 0:
            yield f"{indent}  and {more:,} more"


def _facts(change: Change) -> Iterator[str]:
    for definition in change.definitions:
        empty = "" if change.is_real else "empty "
        yield f"{empty}{definition.what} {definition.event}{f': {definition.text}' if definition.text else ''}"
    if change.counts["added"]:
        yield f"{plural(change.counts['added'], 'document')} added"
    for event in ("changed", "removed"):
        if change.counts[event]:
            yield f"{change.counts[event]:,} of {plural(change.documents, 'document')} {event}"
    same = change.counts["same"]
    if same:
        differences = " and ".join(sorted(change.minor_differences)) or "the order of fields or the type of numbers"
        yield f"{plural(same, 'document')} {'differs' if same == 1 else 'differ'} only in {differences}"


def _example_lines(example: Example) -> Iterator[str]:
    yield one_line(f"{example.event}: _id {example.id}" if example.id else example.event)
    for changed in example.fields:
        values = f": {changed.before} -> {changed.after}" if changed.before else ""
        yield "  " + one_line(f"{changed.path}{values}")
