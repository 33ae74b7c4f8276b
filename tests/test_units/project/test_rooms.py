"""The rooms of the library: what each may import, and what a fabfile's other tasks pay for."""

from __future__ import annotations

import ast
import subprocess
import sys
import unittest
from pathlib import Path

import migopy

FOLDER = Path(migopy.__file__).parent

# From the top to the ground: a room may import those below it.
ROOMS = (
    *(
        "__init__",
        "testing",
        "manager",
        "lazy",
        "databases",
        "rehearsal",
        "run",
        "dumps",
        "batches",
        "store",
        "legacy",
        "files",
        "mongo",
    ),
    *("fab", "terminal", "settings", "errors", "version"),
)

OF_A_FABFILE = {"__init__", "manager", "lazy", "fab", "terminal", "settings", "errors", "version"}
"""What every task of a fabfile pays for."""

WITH_FABRIC = {"fab"}
WITHOUT_PYMONGO = OF_A_FABFILE | {"files"}
OURS_IN_THE_DATABASE = {"store"}


def room_of(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").parts[0]


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path, *, for_types: bool = True) -> list[tuple[str, ...]]:
    """The modules of migopy that a file imports, those inside of functions among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    left_out: set[ast.AST] = set()
    if not for_types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                left_out.update(child for statement in node.body for child in ast.walk(statement))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in left_out:
            base = package[: len(package) - node.level + 1]
            parts = (*base, *(node.module.split(".") if node.module else ()))
            found += [parts if node.module else (*parts, alias.name) for alias in node.names]
    return found


def outsiders(path: Path) -> set[str]:
    """The packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
    return names


class TestRooms(unittest.TestCase):
    FILES = sorted(FOLDER.rglob("*.py"))

    def test_the_map_in_the_docstring_names_every_room_in_order(self) -> None:
        mapped = [line.split()[0] for line in (migopy.__doc__ or "").splitlines() if line.startswith("    ")]
        self.assertEqual([room for room in ROOMS if room not in ("__init__", "version")], mapped)
        self.assertEqual(set(ROOMS), {room_of(path) for path in self.FILES})

    def test_imports_between_rooms_go_one_way(self) -> None:
        for path in self.FILES:
            above = ROOMS[: ROOMS.index(room_of(path))]
            self.assertEqual([], [module for module in imports(path) if module[:1] and module[0] in above], path)

    def test_no_two_files_import_each_other_in_a_circle(self) -> None:
        known = {module_of(path) for path in self.FILES}
        graph = {module_of(path): {self.nearest(target, known) for target in imports(path)} for path in self.FILES}
        while graph:
            ends = {module for module, targets in graph.items() if not (targets - {module}) & set(graph)}
            self.assertTrue(ends, f"a circle among {sorted(graph)}")
            graph = {module: targets for module, targets in graph.items() if module not in ends}

    @staticmethod
    def nearest(target: tuple[str, ...], known: set[tuple[str, ...]]) -> tuple[str, ...]:
        return target if target in known else target[:-1]

    def test_what_a_fabfile_imports_imports_no_other_room(self) -> None:
        for path in self.FILES:
            if room_of(path) in OF_A_FABFILE - {"lazy"}:
                rooms = {module[0] for module in imports(path, for_types=False) if module}
                self.assertEqual(set(), rooms - OF_A_FABFILE, path)

    def test_only_one_room_knows_fabric(self) -> None:
        self.assertEqual(WITH_FABRIC, {room_of(path) for path in self.FILES if "fabric" in outsiders(path)})

    def test_rooms_without_pymongo(self) -> None:
        script = "import sys, migopy.files, migopy; print(sorted({'pymongo', 'bson'} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, encoding="utf-8", check=True)
        self.assertEqual("[]\n", done.stdout)

    def test_one_file_leans_on_what_is_private_to_pymongo(self) -> None:
        private = (".pop_all_sessions", "._topology", "_event_listeners", "_Cursor__", '"_doc"', '"_filter"')
        leaning = [path for path in self.FILES if any(name in path.read_text(encoding="utf-8") for name in private)]
        self.assertEqual([FOLDER / "mongo" / "internals.py"], leaning)

    def test_one_file_spells_the_names_of_our_collections(self) -> None:
        spelt = [path for path in self.FILES if "}_lo" in path.read_text() or "}_batches" in path.read_text()]
        self.assertEqual([FOLDER / "store" / "names.py"], spelt)
