"""The quick start, from nothing but a Python with venv and pip: python3 tests/quickstart.py

Makes a virtual environment, installs migopy in it, starts a MongoDB, and runs fab in the example project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
ENVIRONMENT = TOP / ".venv-quickstart"
COMMANDS = (
    "fab -l",
    "fab migrations",
    "fab migrations:execute",
    "fab migrations",
    "fab migrations:rollback,003_index_on_tags.py",
)


def main() -> int:
    if Path(sys.prefix) != ENVIRONMENT:
        return in_environment()
    return run_example()


def in_environment() -> int:
    """Make the virtual environment and go on in it."""
    print(
        f"Making a virtual environment in {ENVIRONMENT.name} and installing migopy and a MongoDB for it ...", flush=True
    )
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    python = ENVIRONMENT / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{TOP}[mongod]"], check=True)
    return subprocess.run([python, __file__]).returncode


def run_example() -> int:
    """Start a MongoDB and show what each command prints; stops at the first that fails."""
    from pymongo import MongoClient

    from migopy.testing import server_uri

    # A server that the environment variable names may have databases of its own.
    uri = os.environ.get("MIGOPY_MONGO_URI") or server_uri()
    settings = {"MONGO_URI": uri, "MONGO_DATABASE": f"migopy_quickstart_{os.getpid()}"}
    path = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}"
    client: MongoClient[dict[str, Any]] = MongoClient(settings["MONGO_URI"])
    with tempfile.TemporaryDirectory() as folder, client:
        project = shutil.copytree(TOP / "tests" / "example", Path(folder) / "blog")
        try:
            return show(COMMANDS, project, {**os.environ, **settings, "PATH": path})
        finally:
            client.drop_database(settings["MONGO_DATABASE"])


def show(commands: tuple[str, ...], project: Path, environment: dict[str, str]) -> int:
    """Run the commands as they would be typed; the exit code of the first that fails, or 0."""
    for command in commands:
        print(f"\n$ {command}", flush=True)
        code = subprocess.run(command.split(), cwd=project, env=environment, stderr=subprocess.STDOUT).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
