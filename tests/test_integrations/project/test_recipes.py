"""What the page of recipes says to write in certain places, written there."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from tests.cases import FabTestCase
from tests.documents import PAGES, example
from tests.server import HOST, free_port
from tests.sshd import Sshd
from tests.support import FAB, Project, Result, basic_fabfile

BARE = {"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"}


class TestRecipes(FabTestCase):
    def fabfile_with(self, text: str, **attributes: Any) -> Project:
        """A fabfile with an example of a page below the task; what the page imports stands at its top."""
        imports = "from fabric.api import abort, execute, settings\n"
        return Project(self, imports + basic_fabfile(self.server, self.database, **attributes) + f"\n\n{text}")

    def shell(self, command: str) -> Result:
        """Run a command as cron would: by sh, with next to no environment, in another folder."""
        done = subprocess.run(["/bin/sh", "-c", command], cwd="/", env=BARE, capture_output=True, text=True, timeout=60)
        return Result(done.returncode, done.stdout, done.stderr)

    def here(self, command: str, project: Project) -> str:
        """A command of the page for this environment's fab and that project."""
        fab = f"{sys.executable} {FAB} -f {project.path}/fabfile.py"
        return command.replace("/srv/blog/venv/bin/fab -f /srv/blog/fabfile.py", fab).replace("fab migr", f"{fab} migr")

    def written_for(self, purpose: str) -> str:
        """The command that stands first in the table of recipes for something."""
        row = re.search(rf"^\| {re.escape(purpose)}[^|]*\| `(.+?)`", PAGES["recipes"], re.MULTILINE)
        assert row, purpose
        return row[1].replace(r"\|", "|")

    def test_a_deploy_task_can_tell_failure_from_success(self) -> None:
        project = self.fabfile_with(example("def deploy():"))
        project.migration("1_a.py", "1 / 0")
        result = project.fab("--hide=status", "deploy")
        self.assertRegex(result.stdout, r"^Not migrated \(exit code 1\): 1_a\.py failed .*ZeroDivisionError.*\n$")
        self.assert_code(0, result)
        project.migration("1_a.py")
        self.assertEqual("", project.fab("--hide=status", "deploy").stdout)

    def test_a_time_limit(self) -> None:
        project = self.project()
        project.migration("1_a.py", "import time\ntime.sleep(60)")
        # On a busy machine fab may need some seconds before the migration begins.
        result = self.shell(self.here(self.written_for("a time limit").replace("600", "10"), project))
        self.assertEqual(124, result.code, result.output)
        self.assertIn("1_a.py was stopped by SIGTERM", result.stderr)
        self.assertEqual((None, []), (self.db.migrations_lock.find_one(), self.registered()))

    def test_cron_is_silent_as_long_as_all_is_well(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        command = self.here(self.written_for("cron"), project)
        result = self.shell(command)
        self.assertIn("1_a.py: unregistered\n", result.stdout)
        project.fab("migrations:execute")
        self.assertEqual((0, "", ""), self.shell(command))

    def test_containers_that_start_at_once(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        project.trace("2_slow.py", "import time\ntime.sleep(1)")
        command = self.here(self.written_for("containers"), project).replace("gunicorn app", "echo served")
        started = [
            subprocess.Popen(["/bin/sh", "-c", command], cwd="/", env=BARE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for process in started:
            self.assertIn("served\n", process.communicate(timeout=60)[0])
        self.assertEqual(["1_a.py", "2_slow.py"], self.notes())


class TestEnvironments(FabTestCase):
    """The page's example with real ssh: what is asked for on other machines never runs here."""

    def setUp(self) -> None:
        super().setUp()
        self.sshd = Sshd()
        self.sshd.start()
        self.addCleanup(self.sshd.close)
        self.remote = self.noting(self.project(), "1_a.py")
        profile = self.sshd.home / ".bash_profile"
        profile.write_text(f"{profile.read_text()}cd {self.remote.path}\n")
        fabfile = example("def staging").replace("staging.example.com", self.sshd.host_string)
        fabfile = fabfile.replace("\n\n\ndef staging", f"\n{self.sshd.env_settings}\n\ndef staging", 1)
        fabfile = fabfile.replace("    MONGO_DATABASE =", f"    MONGO_PORT = {free_port()}\n    MONGO_DATABASE =")
        self.local = Project(self, fabfile)
        self.local.write("settings.py", f"MONGO_HOST, MONGO_DATABASE = {HOST!r}, 'nothing_answers_here'\n")

    def test_by_a_task_by_an_option_and_in_parallel(self) -> None:
        host = self.sshd.host_string
        for words in (
            ("staging", "migrations:execute"),
            ("-P", "staging", "migrations:execute"),
            ("-H", host, "migrations:execute"),
            ("-P", "-H", host, "staging", "migrations:execute"),
        ):
            result = self.local.fab(*words)
            self.assert_code(0, result)
            self.assertNotIn("No MongoDB answers", result.output)
            self.assertEqual(["1_a.py"], self.registered(), result.output)
            self.client.drop_database(self.database)

    def test_a_deploy_task_can_tell_that_it_failed_on_the_other_machine(self) -> None:
        self.remote.migration("1_a.py", "1 / 0")
        fabfile = self.local.path / "fabfile.py"
        below = f"from fabric.api import settings\n\n\n{example('def deploy():')}"
        fabfile.write_text(f"{fabfile.read_text()}\n\n{below}")
        result = self.local.fab("staging", "deploy")
        self.assertIn(f"Not migrated (exit code 1): It failed on {self.sshd.host_string}", result.stdout)
        self.remote.migration("1_a.py")
        self.assertNotIn("Not migrated", self.local.fab("staging", "deploy").output)
        self.assertEqual(["1_a.py"], self.registered())
