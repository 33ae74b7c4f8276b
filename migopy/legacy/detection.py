"""Whether a file is written for PyMongo 2 or 3, by the calls in it."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Iterator

from .arguments import FIND_OLD

AMBIGUOUS = {"count", "group", "insert", "remove", "save", "update"}
"""Calls of PyMongo 2 whose names other objects have too, such as lists and dictionaries."""

UNMISTAKABLE = {
    *("collection_names", "database_names", "ensure_index", "find_and_modify", "inline_map_reduce", "map_reduce"),
    *("initialize_ordered_bulk_op", "initialize_unordered_bulk_op", "add_user", "remove_user", "system_js"),
    *("last_status", "start_request", "end_request", "parallel_scan", "reindex"),
}

OLD_NAME = re.compile(rb"\b(?:%s)\b" % "|".join([*UNMISTAKABLE, *AMBIGUOUS, "find", "find_one"]).encode())
"""One of these names is in each file with such calls. Only then is the file parsed, which takes longer."""


def uses_old_calls(content: bytes) -> bool:
    """Whether there is a call of PyMongo 2 or 3 in the file. A call of a helper that it imports does not count."""
    if not OLD_NAME.search(content):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import shows them
        tree = ast.parse(content)
    databases = _names_of_databases(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return any(_is_old(call, call.func, databases) for call in calls if isinstance(call.func, ast.Attribute))


def _is_old(call: ast.Call, function: ast.Attribute, databases: set[str]) -> bool:
    name, receiver = function.attr, function.value
    if name in UNMISTAKABLE:
        return True
    if name in ("find", "find_one"):
        return any(keyword.arg in FIND_OLD for keyword in call.keywords)
    if name == "count" and _is_call_of(receiver, "find"):
        return True
    return name in AMBIGUOUS and _root(receiver) in databases


def _is_call_of(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def _root(node: ast.expr) -> str | None:
    """``db`` for ``db``, ``db.notes`` and ``db['notes'].old``."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _names_of_databases(tree: ast.Module) -> set[str]:
    """``db``, the first parameters of ``up`` and ``down``, and what is assigned from a part of these."""
    names = {"db", *_first_parameters(tree)}
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    before = 0
    while before < len(names):  # a name may be used above the line that assigns it
        before = len(names)
        for node in assigned:
            if _root(node.value) in names:
                names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def _first_parameters(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in ("up", "down") and node.args.args:
            yield node.args.args[0].arg
