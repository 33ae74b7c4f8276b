from __future__ import annotations

import time
from typing import Any
from unittest import TestCase
from urllib.parse import quote_plus

from tests.server import ROOT_PASSWORD, Mongod, free_port
from tests.support import MongoTestCase, Project, Result, WithUsersTestCase, tools_on_path

PASSWORD = "p w@/:%+'\"$ż"


def fabfile(more: str = "", /, **settings: Any) -> str:
    """A fabfile with these settings, none else, and more text in the body of the class."""
    body = "".join(f"    {name} = {value!r}\n" for name, value in settings.items())
    return (
        f"import migopy\n\n\nclass Migrations(migopy.MigrationsManager):\n    pass\n{body}{more}\n"
        "migrations = Migrations.create_task()\n"
    )


class SettingsTestCase(MongoTestCase):
    def project_of(self, body: str = "", /, **settings: Any) -> Project:
        """A project with exactly these settings and one migration, which notes the name of its database."""
        project = Project(self, fabfile(body, **settings))
        project.migration("1_a.py", "db.notes.insert_one({'text': db.name})")
        return project

    def assert_executed(self, result: Result, database: str | None = None) -> None:
        database = database or self.database
        self.assertEqual(0, result.code, result.output)
        self.assertEqual([database], self.client[database].notes.distinct("text"))
        self.assertEqual(["1_a.py"], self.client[database].migrations.distinct("name"))
        self.client.drop_database(database)

    def assert_one_sentence(self, sentence: str, result: Result) -> None:
        self.assertRegex(result.stderr, rf"^{sentence}\n$")
        self.assertEqual((1, ""), (result.code, result.stdout))


class TestWithoutUsers(SettingsTestCase):
    def test_uri_with_a_database(self) -> None:
        uri = f"mongodb://{self.server.host}:{self.server.port}"
        self.assert_executed(self.project_of(MONGO_URI=f"{uri}/{self.database}").fab("migrations:execute"))

    def test_mongo_database_wins_over_the_one_of_the_uri(self) -> None:
        uri = f"mongodb://{self.server.host}:{self.server.port}"
        project = self.project_of(MONGO_URI=f"{uri}/elsewhere?w=1", MONGO_DATABASE=self.database)
        self.assert_executed(project.fab("migrations:execute"))
        self.assertNotIn("elsewhere", self.client.list_database_names())

    def test_uri_wins_over_host_port_and_user(self) -> None:
        project = self.project_of(
            MONGO_URI=f"mongodb://{self.server.host}:{self.server.port}",
            MONGO_DATABASE=self.database,
            MONGO_HOST="nowhere.invalid",
            MONGO_PORT=1,
            MONGO_USER="nobody",
            MONGO_USER_PASSWORD="wrong",
        )
        self.assert_executed(project.fab("migrations:execute"))

    def test_a_uri_in_mongo_host_and_a_port_as_text(self) -> None:
        uri = f"mongodb://{self.server.host}:{self.server.port}"
        project = self.project_of(MONGO_HOST=f"{uri}/{self.database}")
        self.assert_executed(project.fab("migrations:execute"))
        project = self.project_of(
            MONGO_HOST=self.server.host, MONGO_PORT=str(self.server.port), MONGO_DATABASE=self.database
        )
        self.assert_executed(project.fab("migrations:execute"))

    def test_settings_that_cannot_be_right_are_told_without_a_password(self) -> None:
        secret = "s3cr3t"
        cases: dict[str, dict[str, Any]] = {
            "MONGO_PORT has to be a number; its value is not shown": {"MONGO_PORT": secret},
            "PyMongo refuses .*MONGO_CLIENT_OPTIONS": {"MONGO_CLIENT_OPTIONS": {"nonsense": 1, "tls": "what"}},
            "PyMongo refuses .*MONGO_URI.*percent-encoded": {"MONGO_URI": f"mongodb://u:{secret}/x@h:1/d"},
            "PyMongo refuses .*MONGO_URI": {"MONGO_URI": f"mongo://u:{secret}@h:1/d"},
        }
        for sentence, settings in cases.items():
            with self.subTest(sentence):
                result = self.project_of(**{"MONGO_DATABASE": "x", **settings}).fab("migrations")
                self.assert_one_sentence(f"{sentence}.*", result)
                self.assertNotIn(secret, result.output)

    def test_the_history_is_of_the_majority_whatever_the_uri_says(self) -> None:
        """The team's client watches its own commands."""
        more = """
    @staticmethod
    def MongoClient(*args, **kwargs):
        import pymongo
        from pymongo import monitoring

        class Listener(monitoring.CommandListener):
            def started(self, event):
                name, command = event.command_name, event.command
                if str(command[name]).startswith("migrations"):
                    read, write = command.get("readConcern", {}), command.get("writeConcern", {})
                    print(name, read.get("level"), write.get("w"), "wtimeout" in write)

            def succeeded(self, event):
                pass

            failed = succeeded

        return pymongo.MongoClient(*args, event_listeners=[Listener()], **kwargs)
"""
        uri = f"mongodb://{self.server.host}:{self.server.port}/{self.database}?w=0&readConcernLevel=local"
        project = self.project_of(more, MONGO_URI=uri + "&readPreference=secondaryPreferred")
        result = project.fab("--hide=status", "migrations", "migrations:execute", "migrations:rollback,1_a.py")
        self.assertEqual(0, result.code, result.output)
        seen = set(result.stdout.splitlines())
        reads = {line for line in seen if line.split()[0] in ("find", "aggregate")}
        self.assertEqual({"find majority None False", "aggregate majority None False"}, reads)
        self.assertEqual(
            {f"{name} None majority True" for name in ("insert", "update", "delete", "findAndModify")}, seen - reads
        )


class TestServerThatIsNotThere(TestCase):
    def test_one_sentence_names_host_and_port_before_pymongos_thirty_seconds(self) -> None:
        port = free_port()
        by_host = {"MONGO_PORT": port, "MONGO_USER": "me", "MONGO_USER_PASSWORD": PASSWORD, "MONGO_DATABASE": "x"}
        by_uri = {"MONGO_URI": f"mongodb://me:{quote_plus(PASSWORD)}@localhost:{port}/x"}
        project = Project(self, fabfile(**by_host))
        project.migration("1_a.py")
        project.write("uri.py", fabfile(**by_uri))
        path = tools_on_path(project.path / "bin", project.path / "calls")
        started = time.monotonic()
        commands = (["migrations"], ["migrations:dbdump"], ["-f", "uri.py", "migrations:execute"])
        for process in [project.fab_start(*command, env={"PATH": path}) for command in commands]:
            stdout, stderr = process.communicate(timeout=30)
            self.assertLess(time.monotonic() - started, 25)
            self.assertRegex(stderr, rf"^No MongoDB answers at localhost:{port} \(.*\): is it running.*\n$")
            self.assertEqual((1, ""), (process.returncode, stdout))
            self.assertNotIn(PASSWORD[:3], stderr)
            self.assertNotIn(quote_plus(PASSWORD)[:3], stderr)
        self.assertFalse((project.path / "calls").exists() or (project.path / "mongodumps").exists())


class TestWithUsers(WithUsersTestCase, SettingsTestCase):
    """On a server that lets only users in: one lives in the test's database, one in `admin`."""

    def setUp(self) -> None:
        super().setUp()
        self.here: dict[str, Any] = {
            "MONGO_HOST": self.server.host,
            "MONGO_PORT": self.server.port,
            "MONGO_DATABASE": self.database,
        }
        self.mongod.add_user(self.database, "me@home", PASSWORD, [{"role": "readWrite", "db": self.database}])
        self.addCleanup(self.db.command, "dropUser", "me@home")

    def test_documented_name_and_that_of_the_code_of_1_0(self) -> None:
        for name in ("MONGO_USER_PASSWORD", "MONGO_USER_PASS"):
            project = self.project_of(**{**self.here, "MONGO_USER": "me@home", name: PASSWORD})
            result = project.fab("migrations", "migrations:execute")
            self.assert_executed(result)
            self.assertNotIn("p w@", result.output)

    def test_a_user_of_another_database(self) -> None:
        user = {"MONGO_USER": "root", "MONGO_USER_PASSWORD": ROOT_PASSWORD}
        project = self.project_of(**{**self.here, **user, "MONGO_AUTH_DATABASE": "admin"})
        self.assert_executed(project.fab("migrations:execute"))
        refused = self.project_of(**{**self.here, **user}).fab("migrations:execute")
        self.assert_one_sentence(
            f"MongoDB at 127.0.0.1:{self.server.port} refuses the user: check .*MONGO_AUTH_DATABASE.*", refused
        )

    def test_users_in_a_uri(self) -> None:
        at = f"{self.server.host}:{self.server.port}"
        own = f"mongodb://me%40home:{quote_plus(PASSWORD)}@{at}/{self.database}"
        self.assert_executed(self.project_of(MONGO_URI=own).fab("migrations:execute"))
        root = f"mongodb://root:{quote_plus(ROOT_PASSWORD)}@{at}/?authSource=admin"
        project = self.project_of(MONGO_URI=root, MONGO_DATABASE=self.database)
        self.assert_executed(project.fab("migrations:execute"))

    def test_a_wrong_password_is_one_sentence_without_it(self) -> None:
        at = f"{self.server.host}:{self.server.port}"
        by_user = {**self.here, "MONGO_USER": "me@home", "MONGO_USER_PASSWORD": "wr0ng-one"}
        by_uri = {"MONGO_URI": f"mongodb://me%40home:wr0ng-one@{at}/{self.database}"}
        for settings in (by_user, by_uri):
            started = time.monotonic()
            result = self.project_of(**settings).fab("migrations:execute")
            self.assertLess(time.monotonic() - started, 25)
            self.assert_one_sentence(f"MongoDB at {at} refuses the user: check MONGO_USER, .*MONGO_URI.*", result)
            self.assertNotIn("wr0ng", result.output)

    def test_without_a_user_and_without_rights_the_server_says_why(self) -> None:
        result = self.project_of(**self.here).fab("migrations")
        wants = rf"MongoDB at 127\.0\.0\.1:{self.server.port} wants a user \(command find requires authentication\)"
        self.assert_one_sentence(
            f"{wants}: set MONGO_USER and MONGO_USER_PASSWORD, or put both into MONGO_URI.*", result
        )
        self.mongod.add_user(self.database, "reader", "p", [{"role": "read", "db": self.database}])
        self.addCleanup(self.db.command, "dropUser", "reader")
        project = self.project_of(**{**self.here, "MONGO_USER": "reader", "MONGO_USER_PASSWORD": "p"})
        self.assertIn("\n1_a.py\n", project.fab("migrations").stderr)
        result = project.fab("migrations:execute")
        right = r"right to find, insert and update in test_.*\.migrations_lock"
        self.assert_one_sentence(rf"MongoDB at .* does not allow this user to do it: .* {right}\.", result)
        self.assertEqual([], self.db.list_collection_names())


class TestWithTLS(SettingsTestCase):
    mongod: Mongod

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.mongod = Mongod(tls=True)
        cls.mongod.start()
        cls.addClassCleanup(cls.mongod.close)

    def find_server(self) -> Mongod:
        return self.mongod

    def test_client_options_reach_the_client(self) -> None:
        here: dict[str, Any] = {
            "MONGO_HOST": "localhost",
            "MONGO_PORT": self.server.port,
            "MONGO_DATABASE": self.database,
        }
        options = {"tls": True, "tlsCAFile": str(self.mongod.ca_file)}
        self.assert_executed(self.project_of(**here, MONGO_CLIENT_OPTIONS=options).fab("migrations:execute"))
        uri: dict[str, Any] = {
            "MONGO_URI": f"mongodb://localhost:{self.server.port}/{self.database}",
            "MONGO_CLIENT_OPTIONS": options,
        }
        self.assert_executed(self.project_of(**uri).fab("migrations:execute"))

    def test_a_client_without_them_gets_a_sentence(self) -> None:
        here: dict[str, Any] = {
            "MONGO_HOST": "localhost",
            "MONGO_PORT": self.server.port,
            "MONGO_DATABASE": self.database,
        }
        started = time.monotonic()
        result = self.project_of(**here).fab("migrations:execute")
        self.assertLess(time.monotonic() - started, 25)
        self.assert_one_sentence(f"No MongoDB answers at localhost:{self.server.port} .*", result)


class TestTheTeamsOwnClient(SettingsTestCase):
    def test_it_is_made_with_what_pymongo_takes_and_closed_in_the_end(self) -> None:
        more = """
    @staticmethod
    def MongoClient(*args, **kwargs):
        import pymongo
        listeners = [type(listener).__name__ for listener in kwargs["event_listeners"]]
        print(args, sorted({**kwargs, "event_listeners": listeners}.items()))

        class Client(pymongo.MongoClient):
            def close(self):
                print("closed")
                super().close()

        return Client(*args, **kwargs)
"""
        here: dict[str, Any] = {
            "MONGO_HOST": self.server.host,
            "MONGO_PORT": self.server.port,
            "MONGO_DATABASE": self.database,
        }
        project = self.project_of(more, **here, MONGO_CLIENT_OPTIONS={"appname": "ours"})
        result = project.fab("--hide=status", "migrations:execute")
        options = [("appname", "ours"), ("event_listeners", ["TransactionGuard", "Inserts"])]
        self.assertEqual(f"{(self.server.host, self.server.port)} {options}\nclosed\n", result.stdout)
        self.assert_executed(result)
