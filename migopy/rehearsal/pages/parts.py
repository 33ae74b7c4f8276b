"""What both formats show: the table, the changes, the times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, NamedTuple, Sequence

from ...terminal.wording import duration, plural

if TYPE_CHECKING:
    from ..result import RehearsedMigration
    from ..scratch.comparing import Change
    from ..scratch.recorder import Sent

MAX_COMMANDS = 20
"""Of one migration, those that took longest, whose times are shown."""

HEAD = ("Migration", "up()", "All data", "down()", "up() again", "Preflight")


class Difference(NamedTuple):
    """A field of an example, or a definition, before and after."""

    document: str
    field: str
    before: str
    after: str


class Time(NamedTuple):
    what: str
    seconds: float


def row(rehearsed: RehearsedMigration) -> tuple[str, ...]:
    up = "failed" if rehearsed.seconds is None else duration(rehearsed.seconds)
    all_data = "" if rehearsed.whole_seconds is None else f"about {duration(rehearsed.whole_seconds)}"
    return (
        rehearsed.name,
        up,
        all_data,
        rehearsed.down_verdict,
        rehearsed.again_verdict,
        rehearsed.preflight_verdict,
    )


def sections(rehearsed: RehearsedMigration) -> Iterator[tuple[str, Sequence[Change]]]:
    """The changes of a migration below their titles."""
    for title, changes in (
        ("What up() changes", rehearsed.changes),
        ("What down() does not restore", rehearsed.not_restored or ()),
        ("Where the second up() differs from the first", rehearsed.different_again or ()),
    ):
        if changes:
            yield title, changes


def counts(change: Change) -> str:
    found = [f"{plural(change.counts[event], 'document')} {event}" for event in ("added", "changed", "removed")]
    shown = [text for text, event in zip(found, ("added", "changed", "removed")) if change.counts[event]]
    return ", ".join(shown) or "definitions only"


def differences(change: Change) -> Iterator[Difference]:
    for definition in change.definitions:
        yield Difference("", f"{definition.what} {definition.event}", "", definition.text)
    for example in change.examples:
        for field in example.fields:
            yield Difference(f"{example.event} {example.id}", field.path, field.before, field.after)


def times(rehearsed: RehearsedMigration) -> list[Time]:
    """The commands of ``up()``, the longest first."""
    longest = sorted(rehearsed.sent, key=lambda sent: sent.seconds, reverse=True)[:MAX_COMMANDS]
    return [Time(_name(sent), sent.seconds) for sent in longest if sent.seconds]


def _name(sent: Sent) -> str:
    times = f"{sent.times:,} times " if sent.times > 1 else ""
    return f"{times}{sent.verb} of {sent.collection}"
