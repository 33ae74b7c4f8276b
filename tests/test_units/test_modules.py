from __future__ import annotations

import ast
import unittest
from pathlib import Path

import migopy

FOLDER = Path(migopy.__file__).parent

# From the top to the ground: a module may import those below it.
ORDER = (
    *("__init__", "manager", "rooms", "subtasks", "rehearsal_report", "rehearsal", "scratch", "run", "transactions"),
    *("planning", "session", "restore", "account", "report", "status", "inventory", "batches", "loader", "history"),
    *("lock", "documents", "settings", "translation", "mongo", "tools", "leash", "dump", "legacy", "options", "fab"),
    *("progress", "signals", "console", "trace", "texts", "errors", "version"),
)

OF_A_FABFILE = {
    *("__init__", "manager", "rooms", "subtasks", "options", "fab", "console", "trace", "texts", "signals", "errors"),
    "version",
}
"""What every task of a fabfile pays for."""

WITH_FABRIC = {"fab"}


def module_of(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").parts[0]


def statements(path: Path) -> list[ast.ImportFrom | ast.Import]:
    """The imports of a file, those inside of functions and for types only among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def siblings(path: Path) -> set[str]:
    """The modules of migopy that a file imports; of a package its own parts do not count."""
    depth = len(path.relative_to(FOLDER).parts)
    names: set[str] = set()
    for node in statements(path):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    return names


def outsiders(path: Path) -> set[str]:
    """The packages that a file imports when it runs, at once or later."""
    names: set[str] = set()
    for node in statements(path):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
    return names


class TestModules(unittest.TestCase):
    FILES = sorted(FOLDER.rglob("*.py"))

    def test_the_map_in_the_docstring_names_every_module(self) -> None:
        on_disk = {module_of(path) for path in self.FILES} - {"__init__", "version"}
        mapped = [line.split()[0] for line in (migopy.__doc__ or "").splitlines() if line.startswith("    ")]
        self.assertEqual(on_disk, set(mapped))
        self.assertEqual(on_disk, set(ORDER) - {"__init__", "version"})

    def test_imports_go_one_way(self) -> None:
        for path in self.FILES:
            above = ORDER[: ORDER.index(module_of(path)) + 1]
            self.assertEqual(set(), siblings(path) & set(above), path)

    def test_what_a_fabfile_imports_imports_nothing_else_of_ours(self) -> None:
        for path in self.FILES:
            if module_of(path) in OF_A_FABFILE - {"rooms"}:
                eager = {name for node in _eager(path) for name in node}
                self.assertEqual(set(), eager - OF_A_FABFILE, path)

    def test_only_the_face_knows_fabric(self) -> None:
        self.assertEqual(WITH_FABRIC, {module_of(path) for path in self.FILES if "fabric" in outsiders(path)})


def _eager(path: Path) -> list[set[str]]:
    """The siblings that the statements at the top of a file import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_top = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level == 1]
    return [{node.module} if node.module else {alias.name for alias in node.names} for node in at_top]
