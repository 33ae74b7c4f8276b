"""What a migration file is recognized by: the checksums of its text and of its code."""

from __future__ import annotations

import ast
import codecs
import hashlib
from functools import cached_property, lru_cache
from typing import Any

from .syntax import parse

DOCSTRING_OWNERS = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

NOT_CODE = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of syntax trees that follow from the others, or that do nothing: the ``u`` of ``u'text'``."""


class Fingerprint:
    """The checksums of a file. ``content`` is what is in the file."""

    def __init__(self, content: bytes) -> None:
        if content.startswith(codecs.BOM_UTF8):  # an editor adds it or removes it, and the code is the same
            content = content[len(codecs.BOM_UTF8) :]
        self._text = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the text. All kinds of newlines, with or without a BOM, give the same checksum."""
        return hashlib.sha256(self._text).hexdigest()

    @cached_property
    def code_checksum(self) -> str | None:
        """SHA-256 of the code without comments, docstrings and layout; None if this Python cannot read the code."""
        return _code_checksum(self._text)


@lru_cache(maxsize=None)
def _code_checksum(text: bytes) -> str | None:
    # Cached, because many databases ask about the same files.
    try:
        return hashlib.sha256(repr(_outline(parse(text))).encode()).hexdigest()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _outline(node: Any) -> Any:
    """A syntax tree as nested lists: the same for the same code, whichever Python has read it.

    Positions and docstrings are left out.
    """
    if isinstance(node, list):
        return [_outline(item) for item in node]
    if isinstance(node, ast.Constant):
        return [type(node).__name__, ascii(node.value)]
    if not isinstance(node, ast.AST):
        return ascii(node)
    if type(node).__name__ == "Index":  # Python 3.8 has it around what is in the brackets of a[b]
        return _outline(node.value)  # type: ignore[attr-defined]
    if isinstance(node, DOCSTRING_OWNERS) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in NOT_CODE)
    # A newer Python has more fields, which are empty in code for older ones.
    return [type(node).__name__, *([name, _outline(value)] for name, value in fields if value)]
