"""Tables that fit into the terminal."""

from __future__ import annotations

import sys
import textwrap
from typing import Sequence

from .messages import RESET
from .streams import has_colours, is_terminal, width_of
from .texts import escape, shorten

SHRINKABLE = ("NAME", "BY")
"""The columns that are shortened if the terminal is too narrow, in this order."""

MIN_CELL_WIDTH = 12
"""Characters that stay of a shortened cell."""

MIN_WRAPPED_WIDTH = 20
"""Characters. If a wrapped column had fewer, its texts go below their lines."""


def fit(paragraph: str) -> str:
    """The paragraph with new line breaks, if a line of it is too long for the terminal."""
    width = width_of(sys.stdout)
    return paragraph if max(map(len, paragraph.split("\n"))) <= width else textwrap.fill(paragraph, width)


def term_list(terms: Sequence[tuple[str, str]]) -> str:
    """``term - explanation``, one line each. In a terminal the explanations are aligned and wrapped."""
    if not is_terminal(sys.stdout):
        return "\n".join(f"{term} - {text}" for term, text in terms)
    column = max((len(term) for term, _ in terms), default=0)
    lines = [[f"{term.ljust(column)} -", text] for term, text in terms]
    return "\n".join(_line(line, [column + 2, len(line[1])], width_of(sys.stdout), gap=" ") for line in lines)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    wrapped: bool = False,
    colours: Sequence[str] = (),
) -> str:
    """One line for each row, fitted into the terminal; a pipe gets all cells in full.

    ``wrapped`` wraps the last column instead of shortening others. ``colours`` (one for each row) are for terminals.
    """
    lines = [[escape(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    room = width_of(sys.stdout)
    if not wrapped:
        _shrink(widths, [head.index(name) for name in SHRINKABLE if name in head], room)
    texts = [_line(line, widths, room if wrapped else sys.maxsize) for line in lines]
    if has_colours(sys.stdout):
        pairs = zip(texts[1:], [*colours, *[""] * len(rows)])
        texts[1:] = [f"{colour}{text}{RESET}" if colour else text for text, colour in pairs]
    return "\n".join(texts)


def _shrink(widths: list[int], columns: Sequence[int], room: int) -> None:
    """Reduce the widths of these columns, one after the other, until the line fits into ``room``."""
    for column in columns:
        too_wide = sum(widths) + 2 * (len(widths) - 1) - room
        widths[column] = min(widths[column], max(MIN_CELL_WIDTH, widths[column] - too_wide))


def _line(cells: Sequence[str], widths: Sequence[int], room: int, gap: str = "  ") -> str:
    """One row. The last cell is wrapped if the row is longer than ``room``, in characters."""
    padded = [shorten(cell, width).ljust(width) for cell, width in zip(cells, widths)]
    line = gap.join(padded).rstrip()
    if len(line) <= room:
        return line
    before = gap.join([*padded[:-1], ""])
    if room - len(before) >= MIN_WRAPPED_WIDTH:
        return textwrap.fill(cells[-1], room, initial_indent=before, subsequent_indent=" " * len(before))
    below = textwrap.fill(cells[-1], max(room, MIN_WRAPPED_WIDTH), initial_indent="    ", subsequent_indent="    ")
    return f"{before.rstrip()}\n{below}"
