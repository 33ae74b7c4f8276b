"""The file of the option ``report``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Sequence

from ...errors import ConfigurationError, MigopyException, UnknownSubtask
from ...terminal.texts import one_line, safe_str
from . import html, markdown

if TYPE_CHECKING:
    from ..report import Results
    from ..result import RehearsedMigration

    Page = Callable[[str, Sequence[RehearsedMigration], str], str]

FORMATS = {".md": markdown.page, ".html": html.page}


@contextlib.contextmanager
def report_file(name: str | None, results: Results) -> Iterator[None]:
    """Write the report at the end, also of a rehearsal that failed. Without a name it writes nothing.

    Raises ``UnknownSubtask`` for a name that says no format, ``ConfigurationError`` if it cannot be written there.
    """
    if name is None:
        yield
        return
    path = Path(name)
    page = FORMATS.get(path.suffix.lower())
    if page is None:
        raise UnknownSubtask(f"report has to be a file that ends in .md or .html, not {name!r}.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK) or path.is_dir():
        raise ConfigurationError(f"The report {name} cannot be written there. Nothing was copied.")
    try:
        yield
    except (MigopyException, KeyboardInterrupt) as error:
        _write(path, page, results, safe_str(error) or type(error).__name__)
        raise
    _write(path, page, results, results.verdict or "There was nothing to rehearse.")


def _write(path: Path, page: Page, results: Results, verdict: str) -> None:
    title = f"Rehearsal of {one_line(results.where)}"
    try:
        path.write_text(page(title, results.rehearsed, one_line(verdict)), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The report {path} cannot be written: {error.strerror}.") from error
