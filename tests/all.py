"""All tests, from nothing but a Python with venv and pip: python3 tests/all.py

Makes a virtual environment with tox in it, and an sshd where there is none and apt can bring it, and runs tox; what
stands behind the command goes to tox. The Pythons that tox finds on PATH are used; with CI=true each of them has to be
there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
ENVIRONMENT = TOP / ".venv-tests"


def main(arguments: list[str]) -> None:
    require_sshd()
    if not (ENVIRONMENT / "bin" / "tox").exists():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        subprocess.run([str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "tox>=4,<5"], check=True)
    missing = "false" if os.environ.get("CI") else "true"
    at_once = str(2 * (os.cpu_count() or 1))  # with more, what tests time comes late
    command = [str(ENVIRONMENT / "bin" / "tox"), "run-parallel", "--parallel", at_once, "--parallel-no-spinner"]
    os.chdir(TOP)
    os.execv(command[0], [*command, "--skip-missing-interpreters", missing, *arguments])  # whoever kills us kills tox


def require_sshd() -> None:
    """The tests of remote runs need a real one."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    if shutil.which("sshd", path=path):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        sys.exit("The tests need sshd: install the OpenSSH server (openssh-server), then start again.")
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    subprocess.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "openssh-server"], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
