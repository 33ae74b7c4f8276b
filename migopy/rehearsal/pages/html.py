"""The report as one HTML file: no script, no network, light and dark, narrow and wide."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Iterable, Iterator, Sequence

from ...terminal.texts import one_line
from ...terminal.wording import duration
from . import parts

if TYPE_CHECKING:
    from ..preflight import Finding
    from ..result import RehearsedMigration

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --line: #d0d4da; --soft: #f3f4f6; --bad: #b3261e;
  --bar: #3b6fb6 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15171a; --line: #3a3f46; --soft: #202328;
  --bad: #ff8a80; --bar: #7aa7e6 } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 75rem; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.25rem; border-top: 1px solid var(--line); padding-top: 1rem }
h3 { font-size: 1rem; margin-bottom: .25rem }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top }
th { background: var(--soft); white-space: nowrap }
.summary td:not(:first-child):not(:last-child) { white-space: nowrap }
code { font: 14px/1.4 ui-monospace, monospace; white-space: pre-wrap }
.bad { color: var(--bad); font-weight: 600 }
ul { margin: .25rem 0; padding-left: 1.5rem } .bars { list-style: none; padding: 0; max-width: 40rem; font-size: 14px }
svg { display: block; width: 100%; height: 12px; margin-bottom: .5rem } rect { fill: var(--bar); height: 12px }
@media (max-width: 45rem) {
  table, tbody, tr, td { display: block; border: 0 } th, td:empty { display: none }
  tr:not(:first-child) { border: 1px solid var(--line); margin: .5rem 0; padding: .25rem .5rem }
  td { padding: .125rem 0 } td::before { content: attr(data-head) ": "; font-weight: 600 } }
"""
"""On a narrow screen each row of a table is a box, in which every value stands below the one before."""

BAD = ("failed", "differs", "does not restore")


def page(title: str, rehearsed: Sequence[RehearsedMigration], verdict: str) -> str:
    longest = max((each.seconds or 0 for each in rehearsed), default=0)
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(verdict)}</p>",
        *_table(parts.HEAD, [[_verdict(each, cell) for cell in parts.row(each)] for each in rehearsed], "summary"),
        *_bars("Time of each up()", [parts.Time(each.name, each.seconds or 0) for each in rehearsed], longest),
        *(line for each in rehearsed for line in _migration(each, longest)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _verdict(rehearsed: RehearsedMigration, cell: str) -> str:
    is_bad = cell in BAD or (bool(rehearsed.grave_kinds) and cell == rehearsed.preflight_verdict)
    return f'<span class="bad">{escape(cell)}</span>' if is_bad else escape(cell)


def _migration(rehearsed: RehearsedMigration, longest: float) -> Iterator[str]:
    yield f"<h2>{escape(rehearsed.name)}</h2>"
    if rehearsed.error:
        yield f'<p class="bad">{escape(one_line(rehearsed.error))}</p>'
    if rehearsed.findings:
        yield f"<h3>On the real data</h3>\n<ul>{''.join(map(_finding, rehearsed.findings))}</ul>"
    for title, changes in parts.sections(rehearsed):
        yield f"<h3>{escape(title)}</h3>"
        for change in changes:
            yield f"<p><code>{escape(one_line(change.name))}</code>: {escape(parts.counts(change))}</p>"
            rows = [[_code(cell) for cell in difference] for difference in parts.differences(change)]
            yield from _table(("Document", "Field", "Before", "After"), rows) if rows else ()
    yield from _bars("Time of the commands", parts.times(rehearsed), longest)


def _finding(finding: Finding) -> str:
    kind = ' class="bad"' if finding.is_grave else ""
    return f"<li{kind}>{escape(one_line(finding))}</li>"


def _code(text: str) -> str:
    return f"<code>{escape(one_line(text))}</code>" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "details") -> Iterator[str]:
    """``rows`` are HTML, ``head`` is text."""
    titles = [escape(title) for title in head]
    yield f'<table class="{kind}">'
    yield f"<tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>"
    for row in rows:
        cells = (f'<td data-head="{title}">{cell}</td>' for title, cell in zip(titles, row))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</table>"


def _bars(title: str, times: Sequence[parts.Time], longest: float) -> Iterator[str]:
    """One bar for each time, below its words."""
    if not (times and longest):
        return
    yield f'<h3>{escape(title)}</h3>\n<ul class="bars">'
    for what, seconds in times:
        percent = max(0.5, 100 * min(1, seconds / longest))
        text = escape(one_line(f"{what}: {duration(seconds)}"))
        yield f'<li>{text}<svg aria-hidden="true"><rect width="{percent:.1f}%" rx="2"/></svg></li>'
    yield "</ul>"
