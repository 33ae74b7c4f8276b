"""Why a migration file cannot be imported, as a sentence."""

from __future__ import annotations

import codecs
import re
import traceback
from pathlib import Path

from ..errors import BadMigration, MigopyException, MigrationFailed
from ..terminal.texts import one_line, safe_str, summary
from .python_2 import is_python_2


def import_failure(path: Path, content: bytes, error: Exception | SystemExit) -> MigopyException:
    """The exception for a file that cannot be imported."""
    no_text = text_problem(content) if _may_come_from_compile(error) else None
    why = f": {no_text}" if no_text else f" ({_place(path, error)}): {_error_text(error)}"
    if isinstance(error, ModuleNotFoundError) and (path.parent / f"{error.name}.py").is_file():
        why += f"; it stands beside {path.name}, so write from . import {error.name}"
    # Python asks "Did you mean print(...)?" where our sentence goes on.
    sentence = f"{path.name} cannot be imported{why.rstrip('?')}. No migration was run."
    if no_text or isinstance(error, (SyntaxError, ImportError, OSError, SystemExit)):
        return BadMigration(sentence, migration=path.name)
    return MigrationFailed(sentence, migration=path.name)


def _place(path: Path, error: BaseException) -> str:
    """``line 3``, or with a file name if it is in another file."""
    if isinstance(error, SyntaxError) and error.filename:
        python_2 = ", Python 2 syntax" if is_python_2(error) else ""
        return _line_of(path, error.filename, error.lineno) + python_2
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename == str(path)]
    if not inside:  # an error of __init__.py, which runs before the file
        inside = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    return _line_of(path, inside[-1].filename, inside[-1].lineno) if inside else "line unknown"


def _line_of(path: Path, filename: str, line: int | None) -> str:
    return f"line {line}" if filename == str(path) else f"{filename}, line {line}"


def _error_text(error: BaseException) -> str:
    """Type and text of the error, without the file and line that str() adds to a syntax error."""
    if not isinstance(error, SyntaxError) or not error.lineno:
        return summary(error)
    # These words alone say nothing; the line does.
    line = f" in: {one_line(error.text)}" if error.msg == "invalid syntax" and error.text else ""
    return f"{summary(type(error)(error.msg))}{line}"


def _may_come_from_compile(error: BaseException) -> bool:
    # Before Python 3.12, compile() raised a ValueError for null bytes.
    return isinstance(error, SyntaxError) or (isinstance(error, ValueError) and "null bytes" in safe_str(error))


ENCODING_COMMENT = re.compile(rb"\A(?:[ \t\f]*(?:#[^\n]*)?\r?\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
"""A comment in one of the first two lines that names the encoding of the file (PEP 263)."""


def text_problem(content: bytes) -> str | None:
    """Why Python cannot read the content as text and what to do, or None if it can."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        return "it is UTF-16 or a binary file; save it as UTF-8"
    named = ENCODING_COMMENT.match(content)
    encoding = named[1].decode() if named else "UTF-8"
    try:
        content.decode(encoding)
    except LookupError:
        return f"Python does not know the encoding {encoding}, which its first lines name"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        advice = "" if named else ", or name its encoding in the first line, such as # coding: latin-1"
        return f"line {line} is not {encoding} (byte 0x{content[error.start]:02x}); save it as UTF-8{advice}"
    return None


def innermost_line(path: Path, error: BaseException) -> int | None:
    """The line of the file in the innermost frame of the traceback, or None."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
