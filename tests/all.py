"""All tests, from nothing but a Python with venv and pip: python3 tests/all.py

Makes a virtual environment with tox in it, and an sshd and a browser where there are none and apt can bring them, and
runs tox; what stands behind the command goes to tox. The Pythons that tox finds on PATH are used; with CI=true each of
them has to be there.
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
    find_browser()
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
    if not has_apt():
        sys.exit("The tests need sshd: install the OpenSSH server (openssh-server), then start again.")
    install("openssh-server")


def find_browser() -> None:
    """The test of what a report looks like needs one; without it all others can run."""
    name = "chromium-headless-shell"
    if not shutil.which(name) and has_apt():
        try:
            install(name)
        except subprocess.CalledProcessError:
            print(f"apt-get cannot install {name}: the test of pictures goes without it, and with CI=true it fails.")


def has_apt() -> bool:
    return not os.geteuid() and bool(shutil.which("apt-get"))


def install(package: str) -> None:
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    subprocess.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
