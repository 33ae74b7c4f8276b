"""What is wrong with a file that cannot be imported, in words."""

from __future__ import annotations

import codecs
import re
import traceback
from pathlib import Path

from ..errors import BadMigration, MigopyException, MigrationFailed
from ..terminal.texts import safe_str, summary


def explain(path: Path, content: bytes, error: Exception | SystemExit) -> MigopyException:
    """The failure for a file that cannot be imported: where, and what is wrong there."""
    place = f"line {line_in(path, error)}"
    if isinstance(error, SyntaxError):
        same_file = error.filename == str(path)
        place = f"line {error.lineno}" if same_file else f"{error.filename}, line {error.lineno}"
        place += ", is Python 2 syntax" if is_python_2(error) else ""
    no_text = not_text(content) if _is_of_compile(error) else None
    why = f"as text: {no_text}" if no_text else f"({place}): {_without_place(error)}"
    sentence = f"{path.name} cannot be imported {why}. No migration was run."
    if no_text or isinstance(error, (SyntaxError, ImportError, OSError, SystemExit)):
        return BadMigration(sentence, migration=path.name)
    return MigrationFailed(sentence, migration=path.name)


def _without_place(error: BaseException) -> str:
    """Type and text; those of a syntax error without its file and line, which stand before it."""
    has_place = isinstance(error, SyntaxError) and error.lineno
    return summary(type(error)(error.msg)) if has_place else summary(error)  # type: ignore[attr-defined]


def _is_of_compile(error: BaseException) -> bool:
    """Whether ``compile()`` may have raised it; of null bytes it made a ValueError before Python 3.12."""
    return isinstance(error, SyntaxError) or (isinstance(error, ValueError) and "null bytes" in safe_str(error))


ENCODING_NAMED = re.compile(rb"\A(?:[ \t\f]*(?:#[^\n]*)?\r?\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
"""A comment in one of the first two lines of a file, as PEP 263 wants it."""


def not_text(content: bytes) -> str | None:
    """Why Python cannot read the content as text, and what to do; None if it can."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        return "it is UTF-16, or no text at all; save it as UTF-8"
    named = ENCODING_NAMED.match(content)
    encoding = named[1].decode() if named else "UTF-8"
    try:
        content.decode(encoding)
    except LookupError:
        return f"Python does not know the encoding {encoding} that its first lines name"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        advice = "" if named else ", or name its encoding in its first line, as in # coding: latin-1"
        return f"line {line} is not {encoding} (byte 0x{content[error.start]:02x}); save it as UTF-8{advice}"
    return None


# What the offending line of a Python 2 file looks like, where Python's own message does not say so.
PYTHON_2_LINE = r"""
      ^\s*(print|exec)\s+[^=(]         # print 'text', exec code
    | ^\s*print\s*>>                     # print >> stream
    | \bexcept\b .* , \s* \w+ \s* :      # except KeyError, error:
    | ^\s*raise\s+\w+\s*,                # raise ValueError, 'text'
    | <> | `                             # a <> b, `a`
    | \b0[0-7]+\b | \b[0-9]+[lL]\b       # 0755, 10L
    | \b[uU][rR]['"]                     # ur'text'
    | \bdef\s+\w+\(.*\(                  # def f(a, (b, c)):
"""


def is_python_2(error: SyntaxError) -> bool:
    """Whether the line that Python 3 refuses is one that Python 2 took; ``TabError`` is for mixed tabs and spaces."""
    return isinstance(error, TabError) or bool(re.search(PYTHON_2_LINE, error.text or "", re.VERBOSE))


def line_in(path: Path, error: BaseException) -> int | None:
    """The line of the file at which the error came out of it, the innermost if it passed more than one."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
