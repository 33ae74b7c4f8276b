"""The report as Markdown, which GitLab and GitHub show in the same way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Iterable, Iterator, Sequence

from ...terminal.texts import one_line
from ...terminal.wording import duration
from . import parts

if TYPE_CHECKING:
    from ..preflight import Finding
    from ..result import RehearsedMigration

SPECIAL = re.compile(r"[\\`*_{}\[\]()#+!|~$^@:=<>&\"'-]")

BAR_CHARACTERS = 20


def page(title: str, rehearsed: Sequence[RehearsedMigration], verdict: str) -> str:
    lines = [f"# {_text(title)}", "", _text(verdict), "", *_table(parts.HEAD, map(parts.row, rehearsed))]
    longest = max((each.seconds or 0 for each in rehearsed), default=0)
    for each in rehearsed:
        lines += ["", f"## {_text(each.name)}", "", *_migration(each, longest)]
    return "\n".join(lines) + "\n"


def _migration(rehearsed: RehearsedMigration, longest: float) -> Iterator[str]:
    if rehearsed.error:
        yield from (_text(one_line(rehearsed.error)), "")
    if rehearsed.findings:
        yield from ("### On the real data", "", *map(_finding, rehearsed.findings))
    for title, changes in parts.sections(rehearsed):
        yield from ("", f"### {_text(title)}", "")
        for change in changes:
            yield from (f"{_code(change.name)}: {_text(parts.counts(change))}", "")
            found = list(parts.differences(change))
            if found:
                yield from (*_table(("Document", "Field", "Before", "After"), found, _code), "")
    if rehearsed.seconds:
        yield from ("", "### Time", "")
        rows = [parts.Time("up()", rehearsed.seconds), *parts.times(rehearsed)]
        yield from _table(("", "", ""), [(what, duration(seconds), _bar(seconds, longest)) for what, seconds in rows])


def _finding(finding: Finding) -> str:
    text = _text(str(finding))
    return f"- **{text}**" if finding.is_grave else f"- {text}"


def _bar(seconds: float, longest: float) -> str:
    return "█" * max(1, round(BAR_CHARACTERS * min(1, seconds / longest)))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], cell: object = None) -> Iterator[str]:
    show = _code if cell is _code else _text
    yield f"| {' | '.join(map(_text, head))} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(show, row))} |"


def _text(text: str) -> str:
    """A text in which nothing has a meaning for Markdown or HTML."""
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", one_line(text))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else ""
