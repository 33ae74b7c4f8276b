"""What a rehearsal must not touch: the real database, other databases, and a scratch database of somebody else."""

from __future__ import annotations

from typing import Any

from tests.cases import TRY_EACH
from tests.support import Project, Result
from tests.test_integrations.rehearsal.test_rehearsal import RehearsalTestCase


class TestBounds(RehearsalTestCase):
    def rehearse_each(self, team: Project, bodies: list[str], options: tuple[Any, ...] = ()) -> list[Result]:
        """Rehearse a migration of each of these bodies; nothing but the copy may have been written to."""
        for number, body in enumerate(bodies, start=1):
            team.migration(f"{number}_a.py", body, down=None)
        before = self.everything()
        attempts = self.attempts(team, *(("rehearse", str(n), *options) for n in range(1, len(bodies) + 1)))
        self.assertEqual(before, self.everything())
        self.assertNotIn(self.scratch.name, self.client.list_database_names())
        return attempts

    def test_ways_out_of_the_copy(self) -> None:
        real, another = self.database, f"{self.database}_another"
        own = f"import pymongo; own = pymongo.MongoClient({self.server.uri!r})"
        self.client[another].notes.insert_one({})
        self.addCleanup(self.client.drop_database, another)
        ways = {
            f"list(db.notes.aggregate([{{'$merge': {{'into': {{'db': {another!r}, 'coll': 'x'}}}}}}]))": another,
            f"{own}; list(own[{another!r}].notes.aggregate([{{'$out': 'x'}}]))": another,
            f"db.client.admin.command('renameCollection', '{real}.notes', to='{real}.x')": real,
            f"db.client.admin.command('renameCollection', db.name + '.notes', to='{another}.x')": another,
            f"db.client.drop_database({another!r})": another,
            f"{own}; own[{real!r}].notes.find_one()": real,
            f"{own}; own[{real!r}].command('ping'); own[{real!r}].command('collMod', 'notes', validator={{}})": real,
            "db.command('createUser', 'x', pwd='x', roles=[])": "admin (users and profiles)",
            "db.client.admin.command('setParameter', 1, logLevel=0)": "admin",
            "db.client.admin.command('killSessions', [])": "admin",
            f"try: {own}; own[{real!r}].notes.drop()\nexcept BaseException: pass": real,
            f"import threading; {own}\n"
            "threading.excepthook = lambda told: None\n"
            f"one = threading.Thread(target=own[{real!r}].notes.drop); one.start(); one.join()": real,
        }
        team = self.project(more=TRY_EACH, MONGO_URI=self.server.uri)
        for way, attempt in zip(ways, self.rehearse_each(team, list(ways))):
            with self.subTest(way):
                self.assertEqual(1, attempt.code, attempt)
                self.assertIn(
                    f" would touch {ways[way]}, which is not the copy. The command was not sent, and", attempt.stderr
                )

    def test_what_reads_elsewhere_or_stays_inside_is_let_through(self) -> None:
        another = f"{self.database}_another"
        self.client[another].notes.insert_one({"_id": 1})
        self.addCleanup(self.client.drop_database, another)
        bodies = [
            f"assert db.client[{another!r}].notes.find_one() and db.client.admin.command('serverStatus')",
            "db.notes.rename('x'); db.client.admin.command('renameCollection', f'{db.name}.x', to=f'{db.name}.y')",
            "list(db.notes.aggregate([{'$out': 'x'}])); list(db.x.aggregate([{'$merge': 'y'}]))",
            f"import pymongo; pymongo.MongoClient({self.server.uri!r})[db.name].notes.drop()",
            "db.client.drop_database(db.name)",
        ]
        team = self.project(more=TRY_EACH, MONGO_URI=self.server.uri)
        for body, attempt in zip(bodies, self.rehearse_each(team, bodies, ({"preflight": "no"},))):
            with self.subTest(body):
                self.assertEqual(0, attempt.code, attempt)
                self.assertNotIn("made before", attempt.stderr)

    def test_what_other_processes_write_to_the_copy_is_seen(self) -> None:
        delete = (
            "import pymongo, sys\n"
            f"with pymongo.MongoClient({self.server.uri!r}) as client:\n"
            "    client[sys.argv[1]].notes.delete_one({})\n"
        )
        bodies = [
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {delete!r}, db.name], check=True)",
            "import os, sys, warnings\nwarnings.simplefilter('ignore')\n"
            f"child = os.fork()\nif not child:\n    sys.argv[1] = db.name; exec({delete!r})\n"
            "else:\n    os.waitpid(child, 0)",
        ]
        for number, body in enumerate(bodies, start=1):
            self.team.migration(f"{number}_a.py", body, down=None)
            report = self.rehearse(str(number))
            (change,) = report["rehearsed"][0]["changes"]
            self.assertEqual(("notes", 1, 20), (change["collection"], change["removed"], change["documents"]))

    def test_a_forked_process_cannot_leave_the_copy_and_is_not_waited_for(self) -> None:
        path = self.team.migration(
            "1_a.py", "with multiprocessing.get_context('fork').Pool(2) as pool:\n    pool.map(work, [1])"
        )
        client = f"pymongo.MongoClient({self.server.uri!r})"
        work = f"def work(n):\n    {client}[{self.database!r}].notes.delete_one({{}})\n\n\n"
        imports = "import multiprocessing\nimport pymongo\nimport warnings\n\nwarnings.simplefilter('ignore')\n\n\n"
        path.write_text(imports + work + path.read_text())
        before = self.everything()
        result = self.team.fab("migrations:rehearse")
        self.assert_code(1, result)
        self.assertIn("1_a.py was stopped: delete would touch ", result.stderr)
        self.assertEqual(before, self.everything())
        self.assertNotIn(self.scratch.name, self.client.list_database_names())

    def test_a_process_that_cannot_be_watched_is_not_started(self) -> None:
        bodies = [
            f"import multiprocessing as mp\nwith mp.get_context({kind!r}).Pool(2) as pool:\n    pool.map(abs, [1])"
            for kind in ("spawn", "forkserver")
        ]
        bodies.append(
            "import concurrent.futures, multiprocessing\n"
            "with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:\n"
            "    pool.submit(abs, 1).result()"
        )
        team = self.project(more=TRY_EACH, MONGO_URI=self.server.uri)
        for attempt in self.rehearse_each(team, bodies):
            self.assertEqual(1, attempt.code, attempt)
            self.assertRegex(
                attempt.stderr,
                r"a\.py \(line \d\) was stopped: it would start a process that cannot be watched, because"
                r" multiprocessing would not fork it: use multiprocessing\.get_context\('fork'\)\. The process was not"
                r" started, and the rehearsal ends here\.\n$",
            )

    def test_at_the_import_of_a_file_too(self) -> None:
        path = self.team.migration("1_a.py")
        path.write_text(
            f"import pymongo\npymongo.MongoClient({self.server.uri!r})[{self.database!r}].notes.drop()\n"
            + path.read_text()
        )
        before = self.everything()
        result = self.team.fab("migrations:rehearse")
        self.assert_code(1, result)
        self.assertIn("1_a.py (line 2) was stopped: drop would touch", result.stderr)
        self.assertEqual(before, self.everything())

    def test_a_client_that_was_made_before_is_told_of(self) -> None:
        more = f"\nimport pymongo\nclient = pymongo.MongoClient({self.server.uri!r})\n"
        team = self.project(more=more, MONGO_URI=self.server.uri)
        team.migration("1_a.py")
        result = team.fab("migrations:rehearse")
        self.assert_code(0, result)
        self.assertIn("1 MongoClient was made before the rehearsal, by the fabfile", result.stderr)
        self.assertIn("To be safe, set REHEARSAL_URI with a user who may write nowhere else.", result.stderr)
        self.assertIn("The rehearsal went well. What was sent by clients made before", result.stderr)
        self.assertNotIn("is as it was", result.stderr)
        body = "    @staticmethod\n    def MongoClient(*args, **options):\n        return client\n"
        team = self.project(body, more, MONGO_URI=self.server.uri)
        team.migration("1_a.py")
        result = team.fab("migrations:rehearse")
        self.assert_code(1, result)
        self.assertIn(
            "MongoClient of the class in the fabfile returned a client that it had made before", result.stderr
        )
