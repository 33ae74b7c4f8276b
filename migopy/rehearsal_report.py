"""What a rehearsal has shown: one JSON document for programs, a table and the details for people."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from . import report
from .console import duration, table
from .texts import one_line, shortened

if TYPE_CHECKING:
    from .rehearsal import Rehearsed
    from .scratch.comparing import Change, Example

WIDEST = 100
"""Characters of a line with the fields of a document."""


def as_json(rehearsed: Sequence[Rehearsed]) -> str:
    return report.as_json(
        {"ok": all(one.is_well and not one.error for one in rehearsed), "rehearsed": _rows(rehearsed)}
    )


def _rows(rehearsed: Sequence[Rehearsed]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "seconds": one.seconds,
            "whole_seconds": one.whole,
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


def _commands(commands: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    by_collection: dict[str, dict[str, int]] = defaultdict(dict)
    for (collection, command), number in commands.items():
        by_collection[collection][command] = number
    return dict(by_collection)


def as_text(rehearsed: Sequence[Rehearsed]) -> str:
    rows = [_row(one) for one in rehearsed]
    head = ["NAME", "UP", "WHOLE", "DOWN", "UP AGAIN", "CHANGES"]
    return "\n".join([table(head, rows), *(line for one in rehearsed for line in _details(one))])


def _row(one: Rehearsed) -> list[str]:
    took = "failed" if one.seconds is None else duration(one.seconds)
    whole = "" if one.whole is None else f"about {duration(one.whole)}"
    changed = ", ".join(change.name for change in one.changes) or ("" if one.seconds is None else "nothing")
    return [one.name, took, whole, one.verdict_of_down, one.verdict_of_again, shortened(changed, 40)]


def _details(one: Rehearsed) -> Iterator[str]:
    """What there is to say of a migration; its name stands above."""
    lines = [
        *_indented(one.changes),
        *_under("down() does not restore:", one.restored, True),
        *_under("down() restores, but for:", one.restored, False),
        *_under("the second up() differs from the first:", one.repeated, True),
        *_under("the second up() does the same, but for:", one.repeated, False),
        *(f"  commands to {name}: {_counted(sent)}" for name, sent in sorted(_commands(one.commands).items())),
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
        yield f"{definition.what} {definition.event}{f' {definition.text}' if definition.text else ''}"
    counts = [f"{change.counts[event]:,} {event}" for event in ("added", "changed", "removed") if change.counts[event]]
    if counts:
        yield f"{', '.join(counts)} of {change.documents:,} documents"
    if change.counts["same"]:
        unlike = " and ".join(sorted(change.unlike)) or "the order of fields or the type of numbers"
        yield f"{change.counts['same']:,} documents differ only in {unlike}"


def _example(example: Example) -> Iterator[str]:
    yield one_line(f"{example.event} {example.id}")
    for field in example.fields:
        yield one_line(f"  {field.path}: {field.before} -> {field.after}")
