"""What ``keep`` of ``batches.update`` and ``batches.delete`` accepts, and what a file shows of it before it runs."""

from __future__ import annotations

import ast
from typing import Iterator, NamedTuple

from .syntax import parse

METHODS = ("update", "delete")
"""The methods of ``batches`` that keep what they replace."""

WORDS = "keep has to be True or a list of the names of top-level fields, such as ['tags']"


def keep_problem(keep: object, *, of_delete: bool = False) -> str:
    """Why this cannot be kept, as the rest of a sentence; empty if it can."""
    if keep is None or isinstance(keep, bool):
        return ""
    if of_delete:
        return f"delete keeps whole documents: write keep=True, not {keep!r}"
    if not isinstance(keep, (list, tuple)) or not keep:
        return f"{WORDS}, not {keep!r}"
    problem = next(filter(None, map(_field_problem, keep)), "")
    return f"{WORDS}, and {problem}" if problem else ""


def _field_problem(name: object) -> str:
    if not isinstance(name, str) or not name or name.startswith("$") or "\0" in name:
        return f"{name!r} is not the name of a field"
    if "." in name:
        return f"{name!r} is a path: write {name.partition('.')[0]!r} to keep the whole field"
    return "_id never changes: leave it out" if name == "_id" else ""


class BatchCalls(NamedTuple):
    """What a file does with ``batches``, as far as its text shows it.

    ``problem`` is what is wrong with a ``keep`` that stands there as a constant, with its line; empty if nothing is.
    """

    keeping: int
    others: int
    problem: str

    @property
    def all_keep(self) -> bool:
        """Whether everything that it does with ``batches`` keeps what it replaces."""
        return bool(self.keeping) and not self.others


def find_batch_calls(content: bytes) -> BatchCalls:
    """The calls of ``batches`` in a file that Python has compiled."""
    if b"keep" not in content:
        return BatchCalls(0, 1, "")
    keeping = others = 0
    problem = ""
    for call, keep in _calls(parse(content)):
        if keep is None or _constant(keep) in (None, False):
            others += 1
            continue
        keeping += 1
        of_delete = isinstance(call.func, ast.Attribute) and call.func.attr == "delete"
        why = keep_problem(_constant(keep), of_delete=of_delete)
        problem = problem or (f"line {call.lineno}: {why}" if why else "")
    return BatchCalls(keeping, others, problem)


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.expr | None]]:
    """Each call of ``batches`` or of one of its ``METHODS``, with what is given as ``keep``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        is_method = isinstance(called, ast.Attribute) and called.attr in METHODS
        owner = called.value if isinstance(called, ast.Attribute) and is_method else called
        if isinstance(owner, ast.Name) and owner.id == "batches":
            yield node, next((keyword.value for keyword in node.keywords if keyword.arg == "keep"), None)


def _constant(value: ast.expr) -> object:
    """The value, or True for one that only running the file shows."""
    try:
        return ast.literal_eval(value)
    except ValueError:
        return True
