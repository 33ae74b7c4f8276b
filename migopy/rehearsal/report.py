"""What a rehearsal has shown: rows for programs, a table and the details for people."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from ..terminal.tables import table
from ..terminal.texts import one_line, shorten
from ..terminal.wording import duration, plural

if TYPE_CHECKING:
    from .result import Rehearsed
    from .scratch.comparing import Change, Example
    from .scratch.copying import Copied


@dataclass
class Results:
    """The migrations that have been rehearsed so far, and the collections that were not copied as a whole."""

    rehearsed: list[Rehearsed] = field(default_factory=list)
    sampled: Mapping[str, Copied] = field(default_factory=dict)

    def rows(self) -> Mapping[str, Any]:
        samples = {name: {"documents": copied.original, "copied": copied.copy} for name, copied in self.sampled.items()}
        return {"sampled": samples, "rehearsed": _rows(self.rehearsed)}

    def as_text(self) -> str:
        head = ["NAME", "UP", "OF ALL", "DOWN", "UP AGAIN", "CHANGES"]
        rows = [_row(one) for one in self.rehearsed]
        if not any(one.whole for one in self.rehearsed):
            head, rows = head[:2] + head[3:], [row[:2] + row[3:] for row in rows]
        return "\n".join([table(head, rows), *(line for one in self.rehearsed for line in _details(one))])


def _rows(rehearsed: Sequence[Rehearsed]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "seconds": _rounded(one.seconds),
            "whole_seconds": _rounded(one.whole),
            "down": one.verdict_of_down,
            "again": one.verdict_of_again,
            "changes": _changes(one.changes),
            "not_restored": _changes(one.restored),
            "different_again": _changes(one.repeated),
            "commands": _commands(one.commands),
            "error": one_line(str(one.error)) if one.error else None,
        }
        for one in rehearsed
    ]


def _changes(changes: Sequence[Change] | None) -> list[dict[str, Any]] | None:
    return (
        None
        if changes is None
        else [
            {
                "collection": change.name,
                "is_real": change.is_real,
                "documents": change.documents,
                **{event: change.counts[event] for event in ("added", "changed", "removed", "same")},
                "differ_only_in": sorted(change.unlike),
                "definitions": [definition._asdict() for definition in change.definitions],
                "examples": [
                    {**example._asdict(), "fields": [field._asdict() for field in example.fields]}
                    for example in change.examples
                ],
            }
            for change in changes
        ]
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _commands(commands: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    by_collection: dict[str, dict[str, int]] = defaultdict(dict)
    for (collection, command), number in commands.items():
        by_collection[collection][command] = number
    return dict(by_collection)


def _row(one: Rehearsed) -> list[str]:
    took = "failed" if one.seconds is None else duration(one.seconds)
    whole = "" if one.whole is None else f"about {duration(one.whole)}"
    changed = ", ".join(change.name for change in one.changes) or ("" if one.seconds is None else "nothing")
    return [one.name, took, whole, one.verdict_of_down, one.verdict_of_again, shorten(changed, 40)]


def _details(one: Rehearsed) -> Iterator[str]:
    """What there is to say of a migration; its name stands above."""
    lines = [
        *_indented(one.changes),
        *_under("down() does not restore:", one.restored, True),
        *_under("down() restores, but for:", one.restored, False),
        *_under("the second up() differs from the first:", one.repeated, True),
        *_under("the second up() does the same, but for:", one.repeated, False),
        *(f"  sent to {name}: {_counted(sent)}" for name, sent in sorted(_commands(one.commands).items())),
    ]
    if lines:
        yield from ("", one.name, *lines)


def _counted(sent: Mapping[str, int]) -> str:
    return ", ".join(f"{command} {number:,}" for command, number in sorted(sent.items()))


def _under(title: str, changes: Sequence[Change] | None, is_real: bool) -> Iterator[str]:
    found = [change for change in changes or () if change.is_real == is_real]
    if found:
        yield f"  {title}"
        yield from _indented(found, "    ")


def _indented(changes: Sequence[Change], indent: str = "  ") -> Iterator[str]:
    for change in changes:
        yield f"{indent}{change.name}: {'; '.join(_facts(change))}"
        yield from (f"{indent}  {line}" for example in change.examples for line in _example(example))


def _facts(change: Change) -> Iterator[str]:
    for definition in change.definitions:
        empty = "" if change.is_real else "empty "
        yield f"{empty}{definition.what} {definition.event}{f': {definition.text}' if definition.text else ''}"
    if change.counts["added"]:
        yield f"{plural(change.counts['added'], 'document')} added"
    for event in ("changed", "removed"):
        if change.counts[event]:
            yield f"{change.counts[event]:,} of {plural(change.documents, 'document')} {event}"
    if change.counts["same"]:
        unlike = " and ".join(sorted(change.unlike)) or "the order of fields or the type of numbers"
        yield f"only {unlike} differs in {plural(change.counts['same'], 'document')}"


def _example(example: Example) -> Iterator[str]:
    yield one_line(f"{example.event} {example.id}")
    for one in example.fields:
        yield "  " + one_line(f"{one.path}: {one.before} -> {one.after}")
