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

BAR_WIDTH, BAR_HEIGHT = 300, 14
"""In pixels, of the longest time."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --line: #d0d4da; --soft: #f3f4f6; --bad: #b3261e;
  --good: #1b6e3a; --bar: #3b6fb6 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15171a; --line: #3a3f46; --soft: #202328;
  --bad: #ff8a80; --good: #7ddc9c; --bar: #7aa7e6 } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 75rem; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.25rem; border-top: 1px solid var(--line); padding-top: 1rem }
h3 { font-size: 1rem; margin-bottom: .25rem }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .5rem 0; min-width: 30rem }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top }
th { background: var(--soft); white-space: nowrap }
code { font: 14px/1.4 ui-monospace, monospace; white-space: pre-wrap }
.bad { color: var(--bad); font-weight: 600 } .good { color: var(--good) } svg { max-width: 100%; display: block }
rect { fill: var(--bar) } svg text { fill: var(--ink); font: 13px system-ui, sans-serif }
"""

BAD = ("failed", "differs", "does not restore")


def page(title: str, rehearsed: Sequence[RehearsedMigration], verdict: str) -> str:
    longest = max((each.seconds or 0 for each in rehearsed), default=0)
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(verdict)}</p>",
        *_table(parts.HEAD, [[_verdict(each, cell) for cell in parts.row(each)] for each in rehearsed]),
        *([_bars([parts.Time(each.name, each.seconds or 0) for each in rehearsed], longest)] if longest else []),
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
    if rehearsed.preflight:
        yield f"<h3>On the real data</h3>\n<ul>{''.join(map(_finding, rehearsed.preflight))}</ul>"
    for title, changes in parts.sections(rehearsed):
        yield f"<h3>{escape(title)}</h3>"
        for change in changes:
            yield f"<p><code>{escape(one_line(change.name))}</code>: {escape(parts.counts(change))}</p>"
            rows = [[_code(cell) for cell in difference] for difference in parts.differences(change)]
            yield from _table(("Document", "Field", "Before", "After"), rows) if rows else ()
    times = parts.times(rehearsed)
    if times and longest:
        yield f"<h3>Time of the commands</h3>\n{_bars(times, longest)}"


def _finding(finding: Finding) -> str:
    kind = ' class="bad"' if finding.is_grave else ""
    return f"<li{kind}>{escape(one_line(finding))}</li>"


def _code(text: str) -> str:
    return f"<code>{escape(one_line(text))}</code>" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """``rows`` are HTML, ``head`` is text."""
    yield '<div class="wide"><table>'
    yield f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
    yield "</table></div>"


def _bars(times: Sequence[parts.Time], longest: float) -> str:
    """One bar for each time, below its words."""
    step = 2 * BAR_HEIGHT + 12
    width, height = BAR_WIDTH + 20, step * len(times)
    lines = [f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">']
    for number, (what, seconds) in enumerate(times):
        bar = max(1, round(BAR_WIDTH * min(1, seconds / longest)))
        top = number * step
        text = escape(one_line(f"{what}: {duration(seconds)}"))
        lines.append(f'<text x="0" y="{top + BAR_HEIGHT}">{text}</text>')
        lines.append(f'<rect x="0" y="{top + BAR_HEIGHT + 5}" width="{bar}" height="{BAR_HEIGHT}" rx="2"/>')
    return "\n".join([*lines, "</svg>"])
