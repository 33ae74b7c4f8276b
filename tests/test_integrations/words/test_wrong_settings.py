"""Settings that cannot be right, each told in one sentence that names it; and clients of the team's own."""

from __future__ import annotations

import time
from typing import Any

from tests.support import MongoTestCase, Project, Result
from tests.test_integrations.runs.test_settings import fabfile

SECRET = "s3cr3t"


class WrongSettingsTestCase(MongoTestCase):
    def project_of(self, more: str = "", **settings: Any) -> Project:
        here = {"MONGO_HOST": self.server.host, "MONGO_PORT": self.server.port, "MONGO_DATABASE": self.database}
        project = Project(self, fabfile(more, **{**here, **settings}))
        project.migration("1_a.py", "db.notes.insert_one({'text': db.name})")
        return project

    def assert_one_sentence(self, sentence: str, result: Result) -> None:
        self.assertRegex(result.stderr, rf"^{sentence}\n$")
        self.assertEqual((1, ""), (result.code, result.stdout))


class TestWrongSettings(WrongSettingsTestCase):
    def test_what_is_of_the_wrong_kind_is_named_and_not_shown(self) -> None:
        cases: list[tuple[str, dict[str, Any]]] = [
            ("MONGO_USER_PASSWORD has to be a string; its type is int", {"MONGO_USER_PASSWORD": 12345}),
            ("MONGO_USER has to be a string; its type is bytes", {"MONGO_USER": SECRET.encode()}),
            ("MONGO_DATABASE has to be a string; its type is bytes", {"MONGO_DATABASE": b"blog"}),
            ("MONGO_URI has to be a string; its type is bytes", {"MONGO_URI": SECRET.encode()}),
            ("MONGO_HOST has to be a string, or a list of strings; it is None", {"MONGO_HOST": None}),
            ("MONGO_HOST has to be the name of a server .*, or a list", {"MONGO_HOST": ""}),
            ("MONGO_HOST has to be the name of a server .*, or a list", {"MONGO_HOST": ["localhost", 5]}),
            ("MONGO_PORT has to be a number from 1 to 65535", {"MONGO_PORT": 270170}),
            ("MONGO_CLIENT_OPTIONS has to be a dictionary.*; it is None", {"MONGO_CLIENT_OPTIONS": None}),
            ("MONGO_CLIENT_OPTIONS has to be a dictionary", {"MONGO_CLIENT_OPTIONS": [("tls", True)]}),
            ("MIGRATIONS_DIRECTORY has to be a path; it is None", {"MIGRATIONS_DIRECTORY": None}),
            ("MIGRATIONS_FILE_PATTERN has to be a regular expression", {"MIGRATIONS_FILE_PATTERN": b"x"}),
            ("DO_MONGO_DUMP has to be True or False; its type is str", {"DO_MONGO_DUMP": "no"}),
            ("MONGO_USER is set and MONGO_USER_PASSWORD is not", {"MONGO_USER": "ann"}),
            ("MONGO_USER is set and MONGO_USER_PASSWORD is not", {"MONGO_USER": "ann", "MONGO_USER_PASSWORD": ""}),
        ]
        for sentence, settings in cases:
            with self.subTest(sentence):
                result = self.project_of(**settings).fab("migrations:execute")
                self.assert_one_sentence(f"{sentence}.*", result)
                self.assertNotRegex(result.output, f"{SECRET}|12345")
        self.assertNotIn(self.database, self.client.list_database_names())

    def test_names_that_pymongo_does_not_take_are_named_with_their_setting(self) -> None:
        host = f"mongodb://{self.server.host}:{self.server.port}"
        user = {"MONGO_USER": "ann", "MONGO_USER_PASSWORD": SECRET}
        cases: list[tuple[str, dict[str, Any]]] = [
            ("MONGO_DATABASE cannot be 'my blog'", {"MONGO_DATABASE": "my blog"}),
            ("MONGO_DATABASE cannot be 'a/b'", {**user, "MONGO_DATABASE": "a/b"}),
            (r"PyMongo refuses .*\(MONGO_URI\)", {"MONGO_URI": f"{host}/my%20blog", "MONGO_DATABASE": ""}),
            ("MIGRATIONS_COLLECTION cannot be ''", {"MIGRATIONS_COLLECTION": ""}),
            ("MIGRATIONS_COLLECTION cannot be 'a..b'", {"MIGRATIONS_COLLECTION": "a..b"}),
            ("MIGRATIONS_COLLECTION cannot be '\\$x'", {"MIGRATIONS_COLLECTION": "$x"}),
        ]
        for sentence, settings in cases:
            with self.subTest(sentence):
                self.assert_one_sentence(f"{sentence}: .*", self.project_of(**settings).fab("migrations:execute"))

    def test_a_file_that_an_option_names_and_that_is_missing_or_none(self) -> None:
        project = self.project_of()
        for name in ("nowhere.pem", "fabfile.py"):
            options = {"tls": True, "tlsCAFile": str(project.path / name)}
            by_uri = f"mongodb://h/{self.database}?tls=true&tlsCAFile={project.path / name}"
            for setting, settings in (
                ("MONGO_CLIENT_OPTIONS", {"MONGO_CLIENT_OPTIONS": options}),
                ("MONGO_URI", {"MONGO_URI": by_uri}),
            ):
                result = self.project_of(**settings).fab("migrations")
                self.assert_one_sentence(f"PyMongo refuses the settings of the server .*{setting}.*", result)

    def test_a_list_of_hosts_is_taken_as_mongo_client_takes_it(self) -> None:
        for hosts in ([self.server.host], (f"{self.server.host}:{self.server.port}",)):
            result = self.project_of(MONGO_HOST=hosts).fab("migrations:execute")
            self.assert_code(0, result)
            self.assertEqual([self.database], self.db.notes.distinct("text"))
            self.client.drop_database(self.database)

    def test_options_without_a_password_for_mechanisms_that_need_none(self) -> None:
        options = {"authMechanism": "MONGODB-X509"}
        result = self.project_of(MONGO_USER="ann", MONGO_CLIENT_OPTIONS=options).fab("migrations")
        self.assertNotIn("MONGO_USER_PASSWORD is not", result.stderr)

    def test_to_connect_late_costs_no_time(self) -> None:
        uri = f"mongodb://{self.server.host}:{self.server.port}/?connect=false"
        for settings in ({"MONGO_CLIENT_OPTIONS": {"connect": False}}, {"MONGO_URI": uri}):
            started = time.monotonic()
            self.assert_code(0, self.project_of(**settings).fab("migrations"))
            self.assertLess(time.monotonic() - started, 4)


APPLICATION = """
    @staticmethod
    def MongoClient(*args, **kwargs):
        return app.client()
"""

APP = """
import pymongo

_client = None


class Client(pymongo.MongoClient):
    def close(self):
        print("closed")
        super().close()


def client():
    global _client
    if _client is None:
        _client = Client({uri!r}{more})
    return _client
"""

ALIVE = """

def alive():
    print(app.client()[{database!r}].notes.count_documents({{}}))
    app.client().close()
"""


class TestTheApplicationsClient(WrongSettingsTestCase):
    def test_it_is_not_closed_under_its_feet(self) -> None:
        for more in ("", ", connect=False"):
            project = self.project_of(APPLICATION)
            path = project.path / "fabfile.py"
            path.write_text("import app\n" + path.read_text() + ALIVE.format(database=self.database))
            project.write("app.py", APP.format(uri=self.server.uri, more=more))
            started = time.monotonic()
            result = project.fab("--hide=status", "migrations:execute", "migrations", "alive")
            self.assertLess(time.monotonic() - started, 4)
            self.assertEqual((0, "1\nclosed\n"), (result.code, result.stdout), result.stderr)
            self.client.drop_database(self.database)
