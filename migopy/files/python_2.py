"""Python 2 syntax in a migration file: in what Python 3 refuses, and in what it takes for something else."""

from __future__ import annotations

import ast
import builtins
import re
from typing import Iterator

# Lines that only Python 2 accepts. The error message of Python 3 does not always say so.
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
    """Whether Python 2 would accept the line."""
    # TabError means mixed tabs and spaces.
    return isinstance(error, TabError) or bool(re.search(PYTHON_2_LINE, error.text or "", re.VERBOSE))


def refuse_python_2(tree: ast.Module, content: bytes, path: str) -> None:
    """Raises ``SyntaxError`` for what means something else in Python 3, and fails only when it is reached."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and _prints_to_stream(node.value):
            reason = "print >> stream is not how Python 3 prints; write print(..., file=stream)"
        elif isinstance(node, ast.ExceptHandler) and _names_the_error(node, tree):
            reason = "multiple exception types must be parenthesized"  # the words of Python 3.10 to 3.13
        else:
            continue
        line = content.splitlines()[node.lineno - 1].decode(errors="replace")
        raise SyntaxError(reason, (path, node.lineno, node.col_offset + 1, line))


def _prints_to_stream(value: ast.expr) -> bool:
    """Whether it is ``print >> stream, 'text'``."""
    first = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
    return (
        isinstance(first, ast.BinOp)
        and isinstance(first.op, ast.RShift)
        and isinstance(first.left, ast.Name)
        and first.left.id == "print"
    )


def _names_the_error(handler: ast.ExceptHandler, tree: ast.Module) -> bool:
    """Whether it is ``except KeyError, error:``, which are two types of exceptions since Python 3.14."""
    types = handler.type
    if not isinstance(types, ast.Tuple) or len(types.elts) != 2 or not isinstance(types.elts[1], ast.Name):
        return False
    if types.col_offset < types.elts[0].col_offset:  # it has parentheses
        return False
    name = types.elts[1].id
    if name in _names_of_classes(tree) or hasattr(builtins, name):
        return False
    used = (node for statement in handler.body for node in ast.walk(statement))
    return any(isinstance(node, ast.Name) and node.id == name for node in used) or not _may_be_bound(name, tree)


def _names_of_classes(tree: ast.Module) -> Iterator[str]:
    """The names that the file imports or defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            yield node.name


def _may_be_bound(name: str, tree: ast.Module) -> bool:
    """Whether the file gives the name a value, or imports it with ``*``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
        if (isinstance(node, ast.arg) and node.arg == name) or (isinstance(node, ast.alias) and node.name == "*"):
            return True
    return False
