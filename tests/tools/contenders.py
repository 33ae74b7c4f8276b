"""Who takes part in the benchmark: how each is installed, and what its migrations and settings look like."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Mapping, Sequence

TOP = Path(__file__).resolve().parents[2]
ENVIRONMENTS = TOP / ".venv-benchmark"

FABFILE = """
import os
import migopy


class Migrations(migopy.MigrationsManager):
    MONGO_URI = os.environ["MONGODB_URI"]


migrations = Migrations.create_task()
"""

BY_HAND = """
import importlib.util
import os
import sys

import pymongo

client = pymongo.MongoClient(os.environ["MONGODB_URI"])
db = client.get_default_database()
seen = {document["name"] for document in db.migrations.find({}, {"name": 1})}
for name in sorted(os.listdir("mongomigrations")):
    if not name.endswith(".py") or name in seen:
        continue
    print(name)
    if "execute" in sys.argv:
        spec = importlib.util.spec_from_file_location(name[:-3], os.path.join("mongomigrations", name))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.up(db)
        db.migrations.insert_one({"name": name})
client.close()
"""

MIGRATE_MONGO = """
module.exports = {
  mongodb: { url: process.env.MONGODB_URI, options: {} },
  migrationsDir: "migrations",
  changelogCollectionName: "changelog",
  lockCollectionName: "changelog_lock",
  lockTtl: 0,
  migrationFileExtension: ".js",
  useFileHash: false,
  moduleSystem: "commonjs",
};
"""


def settings(uri: str, database: str) -> dict[str, str]:
    """Where the database is, in the environment variables that the contenders read; the URI names it too."""
    return {
        "MONGODB_URI": uri,
        "MONGODB_DATABASE": database,
        "MONGRATOR_URI": uri,
        "MONGRATOR_DB": database,
    }


class UnavailableError(Exception):
    """This contender cannot run here; the text says why."""


class Contender:
    """One way to run migrations. ``command`` and ``migration`` are for the subclasses."""

    name = ""
    packages: Sequence[str] = ()
    pythons: Sequence[str] = ()
    """Names of interpreters that it runs on; the one of this process if there are none."""
    directory = "mongomigrations"
    collection = "migrations"
    """Where it registers them."""
    registered: Mapping[str, Any] = MappingProxyType({})
    """Which documents in there are registered migrations."""

    def __init__(self) -> None:
        self.environment = ENVIRONMENTS / type(self).__name__

    @property
    def bin(self) -> Path:
        return self.environment / "bin"

    def install(self) -> None:
        """Make an environment of its own, or bring the one of the last time up to date."""
        if not self.bin.exists():
            self._run(self._python(), "-m", "venv", self.environment)
        self._run(self.bin / "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", *self.packages)

    def _python(self) -> str:
        found = [shutil.which(name) for name in self.pythons] if self.pythons else [sys.executable]
        for path in filter(None, found):
            if (
                subprocess.run([path, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
                == 0
            ):
                return path  # what pyenv puts on PATH may only say that it is not switched on
        raise UnavailableError(f"no {' or '.join(self.pythons)} on PATH")

    @staticmethod
    def _run(*command: str | Path) -> None:
        # Without bytecode every process of this contender would compile what was installed.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            raise UnavailableError((result.stdout.strip().splitlines() or ["it could not be installed"])[-1])

    def command(self, subtask: str, uri: str) -> list[str]:
        """The command line of ``status`` or ``execute``; most take the URI out of the environment (``settings``)."""
        raise NotImplementedError

    def project(self, folder: Path, count: int) -> None:
        """Write a project with so many empty migrations."""
        (folder / self.directory).mkdir(parents=True)
        for number in range(1, count + 1):
            name, text = self.migration(number)
            (folder / self.directory / name).write_text(text)

    def migration(self, number: int) -> tuple[str, str]:
        """File name and text of the empty migration of that number."""
        return f"{number:05}_empty.py", "def up(db):\n    pass\n\n\ndef down(db):\n    pass\n"


class ByHand(Contender):
    name = "by hand"
    packages = ("pymongo",)

    def project(self, folder: Path, count: int) -> None:
        super().project(folder, count)
        (folder / "by_hand.py").write_text(BY_HAND)

    def command(self, subtask: str, uri: str) -> list[str]:
        return [str(self.bin / "python"), "by_hand.py", subtask]


class ByHandSafely(ByHand):
    """Registers as durably as migopy does, which waits for the disk each time."""

    name = "by hand, majority"

    def project(self, folder: Path, count: int) -> None:
        super().project(folder, count)
        safe = BY_HAND.replace(
            ".insert_one(", ".with_options(write_concern=pymongo.WriteConcern('majority')).insert_one("
        )
        (folder / "by_hand.py").write_text(safe)


class FabClassic(Contender):
    name = "migopy, fab-classic"
    pythons: Sequence[str] = ("python3.11", "python3.12", "python3.13", "python3.10")
    packages: Sequence[str] = (str(TOP),)

    def project(self, folder: Path, count: int) -> None:
        super().project(folder, count)
        (folder / "fabfile.py").write_text(FABFILE)

    def command(self, subtask: str, uri: str) -> list[str]:
        return [str(self.bin / "fab"), {"status": "migrations", "execute": "migrations:execute"}[subtask]]


class Fabric3(FabClassic):
    name = "migopy, Fabric3"
    pythons = ("python3.9", "python3.8")


class EmptyTask(Contender):
    """What Fabric itself costs, whatever its task does."""

    name = "fab, empty task"
    pythons = FabClassic.pythons
    packages = ("fab-classic",)

    def project(self, folder: Path, count: int) -> None:
        folder.mkdir()
        (folder / "fabfile.py").write_text("def nothing():\n    pass\n")

    def command(self, subtask: str, uri: str) -> list[str]:
        return [str(self.bin / "fab"), "nothing"]


class PymongoMigrate(Contender):
    name = "pymongo-migrate"
    packages = ("pymongo-migrate",)
    directory = "pymongo_migrations"
    collection = "pymongo_migrate"

    def migration(self, number: int) -> tuple[str, str]:
        # There has to be one first, and a chain of 1,000 is too deep a recursion for it.
        before = ["m00001"] if number > 1 else []
        header = f"name = 'm{number:05}'\ndependencies = {before!r}\n\n\n"
        return f"m{number:05}.py", header + "def upgrade(db):\n    pass\n\n\ndef downgrade(db):\n    pass\n"

    def command(self, subtask: str, uri: str) -> list[str]:
        return [str(self.bin / "pymongo-migrate"), {"status": "show", "execute": "migrate"}[subtask], "--uri", uri]


class MongodbMigrations(Contender):
    name = "mongodb-migrations"
    packages = ("mongodb-migrations",)
    directory = "migrations"
    collection = "database_migrations"

    def migration(self, number: int) -> tuple[str, str]:
        header = "from mongodb_migrations.base import BaseMigration\n\n\nclass Migration(BaseMigration):\n"
        body = "    def upgrade(self):\n        pass\n\n    def downgrade(self):\n        pass\n"
        return f"{number:014}_empty.py", header + body

    def command(self, subtask: str, uri: str) -> list[str]:
        only_show = ["--dry-run"] if subtask == "status" else []
        return [str(self.bin / "mongodb-migrate"), "--url", uri, "--migrations", self.directory, *only_show]


class Mongrator(Contender):
    name = "mongrator"
    packages = ("mongrator",)
    pythons = ("python3.13", "python3.14")
    directory = "migrations"
    collection = "mongrator_migrations"
    registered = MappingProxyType({"_id": {"$regex": "_empty$"}})

    def command(self, subtask: str, uri: str) -> list[str]:
        return [str(self.bin / "mongrator"), {"status": "status", "execute": "up"}[subtask]]


class Mongomig(Contender):
    name = "mongomig"
    packages = ("mongomig",)
    directory = "migrations/versions"
    collection = "__mongomig_migrations"

    def project(self, folder: Path, count: int) -> None:
        folder.mkdir()
        subprocess.run([str(self.bin / "mongomig"), "init"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder / self.directory)
        super().project(folder, count)

    def migration(self, number: int) -> tuple[str, str]:
        before = f"{number - 1:012x}" if number > 1 else None
        header = f'revision = "{number:012x}"\ndown_revision = {before!r}\nreversible = True\nmongomig_format = 1\n\n\n'
        body = "def upgrade(ctx):\n    pass\n\n\ndef downgrade(ctx):\n    pass\n"
        return f"20140114_0000_{number:012x}_empty.py", header + body

    def command(self, subtask: str, uri: str) -> list[str]:
        words = {"status": ["current"], "execute": ["upgrade", "--yes"]}[subtask]
        return [str(self.bin / "mongomig"), *words]


class MigrateMongo(Contender):
    name = "migrate-mongo"
    packages = ("migrate-mongo", "mongodb")
    directory = "migrations"
    collection = "changelog"

    def install(self) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise UnavailableError("no npm on PATH")
        self.environment.mkdir(parents=True, exist_ok=True)
        self._run(npm, "install", "--silent", "--prefix", self.environment, *self.packages)

    def project(self, folder: Path, count: int) -> None:
        super().project(folder, count)
        (folder / "migrate-mongo-config.js").write_text(MIGRATE_MONGO)

    def migration(self, number: int) -> tuple[str, str]:
        return f"{number:014}-empty.js", "module.exports = {\n  async up(db) {},\n  async down(db) {},\n};\n"

    def command(self, subtask: str, uri: str) -> list[str]:
        word = {"status": "status", "execute": "up"}[subtask]
        return [str(self.environment / "node_modules" / ".bin" / "migrate-mongo"), word]


CONTENDERS = (
    *(ByHand, ByHandSafely, FabClassic, Fabric3, EmptyTask),
    *(PymongoMigrate, MongodbMigrations, Mongrator, Mongomig, MigrateMongo),
)
