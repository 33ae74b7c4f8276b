"""Tables that fit the terminal."""

from __future__ import annotations

import sys
import textwrap
from typing import Sequence

from .messages import PLAIN
from .streams import has_colours, is_terminal, width_of
from .texts import escaped, shortened

LEAST = 12
"""Characters to which a cell is shortened at most; with fewer nobody would know it again."""


LEAST_WRAPPED = 20
"""Characters below which a wrapped column is no column any more: its texts stand below their lines."""


def explained(terms: Sequence[tuple[str, str]]) -> str:
    """``term - explanation`` for each. In a terminal the explanations stand below each other and fit into it; elsewhere
    each is one line, as in 1.0.
    """
    if not is_terminal(sys.stdout):
        return "\n".join(f"{term} - {text}" for term, text in terms)
    column = max((len(term) for term, _ in terms), default=0)
    lines = [[f"{term.ljust(column)} -", text] for term, text in terms]
    return "\n".join(_line(line, [column + 2, len(line[1])], width_of(sys.stdout), gap=" ") for line in lines)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    gives_way: Sequence[str] = ("NAME", "BY"),
    wrapped: bool = False,
    colours: Sequence[str] = (),
) -> str:
    """Columns as wide as they need to be, one line for each row.

    In a terminal that is too narrow the columns that ``gives_way`` names are shortened in the middle, one after the
    other, and with ``wrapped`` the last column is broken into lines; no other is cut. In a pipe all stand whole.
    ``colours`` are those of the rows, for a terminal that wants any.
    """
    lines = [[escaped(cell) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    room = width_of(sys.stdout)
    if not wrapped:
        for name in gives_way:
            if name in head:
                column = head.index(name)
                too_wide = sum(widths) + 2 * (len(widths) - 1) - room
                widths[column] = min(widths[column], max(LEAST, widths[column] - too_wide))
    texts = [_line(line, widths, room if wrapped else sys.maxsize) for line in lines]
    if has_colours(sys.stdout):
        painted = zip(texts[1:], [*colours, *[""] * len(rows)])
        texts[1:] = [f"{colour}{text}{PLAIN}" if colour else text for text, colour in painted]
    return "\n".join(texts)


def _line(cells: Sequence[str], widths: Sequence[int], room: int, gap: str = "  ") -> str:
    """One row, its last cell broken into lines where it needs more than the room, in columns, that there is."""
    padded = [shortened(cell, width).ljust(width) for cell, width in zip(cells, widths)]
    line = gap.join(padded).rstrip()
    if len(line) <= room:
        return line
    before = gap.join([*padded[:-1], ""])
    if room - len(before) >= LEAST_WRAPPED:
        return textwrap.fill(cells[-1], room, initial_indent=before, subsequent_indent=" " * len(before))
    below = textwrap.fill(cells[-1], max(room, LEAST_WRAPPED), initial_indent="    ", subsequent_indent="    ")
    return f"{before.rstrip()}\n{below}"
