"""The command lines of mongodump and mongorestore."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator

from .errors import DumpFailed


def require(tool: str) -> None:
    """Raises ``DumpFailed`` when the tool is not installed."""
    if not shutil.which(tool):
        raise DumpFailed(
            f"{tool} is not on PATH, nothing was run: install the MongoDB Database Tools; DO_MONGO_DUMP = False does"
            " without a dump before execute and rollback."
        )


@contextlib.contextmanager
def config_file(connection_string: str) -> Iterator[str]:
    """A file with the connection string that only its owner can read, gone afterwards whatever happens.

    mongodump takes ``uri:`` from the file given by ``--config`` (MongoDB Database Tools 100.3 and later), so that no
    secret is among the arguments, which everybody can see and which Fabric's ``local()`` prints.
    """
    descriptor, path = tempfile.mkstemp(prefix="migopy-", suffix=".yaml")  # mkstemp makes it with mode 0600
    try:
        with open(descriptor, "w") as file:
            file.write(f"uri: {connection_string}\n")
        yield path
    finally:
        os.unlink(path)


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """A folder ``2014_01_14_12_30_59`` in the dump directory, readable for its owner only; numbered if it is there.

    Gone afterwards if nothing was put into it (mongodump of a database that does not exist yet), or if what was to
    fill it failed: half a dump must not be taken for a whole one.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = _made(parent, time.strftime("%Y_%m_%d_%H_%M_%S"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not any(folder.iterdir()):
        folder.rmdir()


def _made(parent: Path, name: str) -> Path:
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}_{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            break
    return folder


def find_folder(dump: str, parent: Path, database: str) -> Path:
    """The folder of a dump, named as in the dump directory or by a path. Raises ``DumpFailed`` when it is not one."""
    folder = parent / dump  # a Path on the right that is absolute wins
    if not folder.is_dir():
        folder = Path(dump).absolute()
    if not (folder / database).is_dir():
        raise DumpFailed(
            f"No dump of the database {database}: neither {parent / dump} nor {folder} has a folder of it."
        )
    return folder


def run(command: str) -> None:
    """Run mongodump or mongorestore to its end. Raises ``DumpFailed`` when it fails.

    Not with Fabric's ``local()``, which lets go of what it has started when a signal ends fab: mongorestore would go on
    while the next run has the lock. Here it ends before whatever ended us goes on.
    """
    # exec, so that the process is the tool and not a shell around it.
    with subprocess.Popen(f"exec {command}", shell=True) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        tool = command.partition(" ")[0]
        raise DumpFailed(f"{tool} failed with exit code {code}, see what it says above. Nothing else was run.")


def dump_command(config: str, database: str, folder: Path) -> str:
    return shlex.join(["mongodump", f"--config={config}", f"--db={database}", f"--out={folder}"])


def restore_command(config: str, database: str, folder: Path, without: list[str]) -> str:
    """mongorestore of that database out of a dump, dropping first each collection that is in it."""
    excluded = [f"--nsExclude={database}.{collection}" for collection in without]
    return shlex.join(
        ["mongorestore", f"--config={config}", "--drop", f"--nsInclude={database}.*", *excluded, f"--dir={folder}"]
    )
