"""A real OpenSSH server on loopback, for the tests that run fab on "another" machine."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Mapping

from tests.server import Daemon
from tests.support import clean_environment


class Sshd(Daemon):
    """An sshd that lets only this user in, and only with the key in `key_filename`.

    A session starts with a home folder of its own, whose profile puts this environment's `fab` on PATH again after
    /etc/profile: Fabric runs its commands in a login shell. `env` are further variables for the remote side.
    """

    name = "sshd"

    def __init__(self, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        super().__init__(port)
        self.host_string = f"{pwd.getpwuid(os.geteuid()).pw_name}@{self.host}:{self.port}"
        self.key_filename = str(self.folder / "client_key")
        self.home = self.folder / "home"
        self.home.mkdir()
        self._config = self.folder / "sshd_config"
        self._configure(remote_environment(env or {}))

    @property
    def env_settings(self) -> str:
        """Lines for a fabfile after `from fabric.api import env`; its task or `env.hosts` names `host_string`."""
        return (
            f"env.key_filename = {self.key_filename!r}\n"
            "env.disable_known_hosts = True\n"
            "env.no_agent = True\n"
            "env.abort_on_prompts = True\n"
        )

    def command(self) -> list[str]:
        return [find_sshd(), "-D", "-e", "-f", str(self._config)]

    def launch(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root does not start without it
        super().launch()

    def _configure(self, environment: Mapping[str, str]) -> None:
        for key in ("host_key", "client_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        (self.home / ".bash_profile").write_text(exports, encoding="utf-8")
        variables = " ".join(f'"{name}={value}"' for name, value in {**environment, "HOME": str(self.home)}.items())
        self._config.write_text(
            f"ListenAddress {self.host}:{self.port}\n"
            f"HostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/client_key.pub\n"
            f"PidFile {self.folder}/pid\n"
            "AuthenticationMethods publickey\n"
            "PermitRootLogin prohibit-password\n"
            "StrictModes no\n"
            "UsePAM no\n"
            "PrintMotd no\n"
            f"SetEnv {variables}\n",
            encoding="utf-8",
        )


def remote_environment(further: Mapping[str, str]) -> dict[str, str]:
    """What the remote side needs so that `fab` there is the one of this environment and as strict as here."""
    ours = clean_environment()
    path = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
    return {"PATH": path, "LANG": ours["LANG"], "PYTHONWARNINGS": ours["PYTHONWARNINGS"], **further}


def find_sshd() -> str:
    """The path of sshd, which is often not on the PATH of ordinary users and must be absolute."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin", "/sbin"])
    sshd = shutil.which("sshd", path=path)
    if sshd is None:
        raise RuntimeError("The tests of remote runs need sshd: install an OpenSSH server (openssh-server on Debian).")
    return os.path.abspath(sshd)
