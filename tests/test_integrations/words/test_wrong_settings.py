"""Settings that cannot be right, each told in one sentence that names it; and clients of the team's own."""

from __future__ import annotations

import logging
import os
import time
from typing import Any
from unittest.mock import patch

import bson.codec_options

from migopy.settings import KINDS, Settings
from tests.cases import InProcessTestCase
from tests.support import MongoTestCase, Project, Result, tools_on_path
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


STRING = "has to be a string; its type is {}."
SECONDS = "has to be a number of seconds, at least {}; {}."
YES_OR_NO = "has to be True or False; its type is {}."
DATABASES = "has to be a list of names, or a function that returns one; its type is {}."
LOGGER = "has to be an object with the methods white, red, green and white_bold; {}."

WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("MONGO_HOST", 5, "has to be a string, or a list of strings; its type is int."),
    ("MONGO_HOST", None, "has to be a string, or a list of strings; it is None."),
    ("MONGO_PORT", None, "has to be a number; it is None."),
    ("MONGO_PORT", [27017], "has to be a number; its type is list."),
    ("MONGO_DATABASE", 5, STRING.format("int")),
    ("MONGO_USER", b"ann", STRING.format("bytes")),
    ("MONGO_USER_PASSWORD", 12345, STRING.format("int")),
    ("MONGO_USER_PASS", 12345, STRING.format("int")),
    ("MONGO_AUTH_DATABASE", True, STRING.format("bool")),
    ("MONGO_URI", 5, STRING.format("int")),
    ("MONGO_CLIENT_OPTIONS", None, "has to be a dictionary, such as {'tls': True}; it is None."),
    ("MONGO_CLIENT_OPTIONS", "tls=true", "has to be a dictionary, such as {'tls': True}; its type is str."),
    ("MongoClient", None, "has to be a function, such as pymongo.MongoClient; it is None."),
    ("MongoClient", "pymongo.MongoClient", "has to be a function, such as pymongo.MongoClient; its type is str."),
    ("MIGRATIONS_COLLECTION", None, "has to be a string; it is None."),
    ("MIGRATIONS_DIRECTORY", 5, "has to be a path; its type is int."),
    ("MIGRATIONS_FILE_PATTERN", 5, "has to be a regular expression; its type is int."),
    ("MIGRATION_TEMPLATE", None, "has to be a string; it is None."),
    ("MIGRATION_TEST_TEMPLATE", True, STRING.format("bool")),
    ("DO_MONGO_DUMP", "no", YES_OR_NO.format("str")),
    ("MONGO_DUMP_DIRECTORY", ["dumps"], "has to be a path; its type is list."),
    ("LOCK_LEASE", "60", SECONDS.format(1, "its type is str")),
    ("LOCK_LEASE", 0, SECONDS.format(1, "it is 0")),
    ("LOCK_WAIT", None, SECONDS.format(0, "it is None")),
    ("LOCK_WAIT", -1, SECONDS.format(0, "it is -1")),
    (
        "PREFLIGHT_DOCUMENTS",
        "many",
        "has to be a number of documents, at least 0; its type is str.",
    ),
    ("BATCH_MAX_LAG", None, SECONDS.format(0, "it is None")),
    ("BATCH_PACE", 0, "has to be a whole number of documents a second, at least 1, or None; it is 0."),
    ("BATCH_WORKERS", 0, "has to be a whole number, at least 1; it is 0."),
    ("STRICT", "yes", YES_OR_NO.format("str")),
    ("LEGACY_PYMONGO", [], YES_OR_NO.format("list")),
    ("MONGO_DATABASES", "tenant", DATABASES.format("str")),
    ("DATABASES_AT_ONCE", 0, "has to be a whole number, at least 1; it is 0."),
    ("MONGO_DATABASES", 5, DATABASES.format("int")),
    ("REHEARSAL_URI", 5, STRING.format("int")),
    ("REHEARSAL_DATABASE", 5, STRING.format("int")),
    ("BY", 5, STRING.format("int")),
    ("FAB_TASK", 5, STRING.format("int")),
    ("FAB_TASK", None, "has to be a string; it is None."),
    ("logger", None, LOGGER.format("it is None")),
    ("logger", logging.getLogger("team"), LOGGER.format("its type is Logger")),
]
"""A setting, a value of the wrong type, and what the sentence says after the name of the setting."""

SUBTASKS: list[tuple[tuple[str, ...], dict[str, str]]] = [
    ((), {}),
    (("show_status",), {"json": "yes"}),
    (("execute",), {}),
    (("ignore", "1"), {}),
    (("rollback",), {"last": "1"}),
    (("forget", "1"), {}),
    (("accept", "1"), {}),
    (("plan",), {}),
    (("rehearse",), {}),
    (("check",), {}),
    (("history",), {}),
    (("create", "a name"), {}),
    (("sample", "users", "users.json"), {}),
    (("dbdump",), {}),
    (("dbrestore", "a dump"), {"force": "yes"}),
    (("unlock",), {"force": "yes"}),
    (("pause",), {}),
    (("resume",), {}),
    (("pace", "full"), {}),
    (("stop",), {}),
    (("kept",), {}),
    (("rejected",), {}),
    (("help",), {}),
]


class TestWrongTypes(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.counting(self.team, "1_a.py")
        path = tools_on_path(self.team.path / "bin", self.team.path / "calls")
        self.entered(patch.dict(os.environ, PATH=path))

    def assert_refused(self, sentence: str, ended: Result) -> None:
        self.assertEqual((1, "", f"{sentence}\n"), ended)

    def assert_nothing_was_done(self) -> None:
        names = {name for name in self.client.list_database_names() if self.database in name}
        self.assertEqual(set(), names)
        self.assertEqual(["1_a.py"], [path.name for path in (self.team.path / "mongomigrations").glob("*.py")])
        self.assertFalse((self.team.path / "calls").exists() or (self.team.path / "mongodumps").exists())

    def test_each_is_one_sentence_in_every_subtask(self) -> None:
        for name, value, sentence in WRONG_TYPES:
            manager = self.manager(**{name: value})
            for options, named in SUBTASKS:
                with self.subTest(f"{name}={value!r} {options}"):
                    self.assert_refused(f"{name} {sentence}", self.run_task(*options, of=manager, **named))
        self.assert_nothing_was_done()

    def test_no_setting_and_no_subtask_is_forgotten(self) -> None:
        attributes = {name for name in vars(Settings) if name.isupper()}
        self.assertEqual(attributes | {"MongoClient", "logger"}, set(KINDS))
        self.assertEqual(set(KINDS), {name for name, _, _ in WRONG_TYPES})
        subtasks = {options[0] for options, _ in SUBTASKS if options}
        self.assertEqual(set(self.manager().tasks(self.manager()())), subtasks)

    def test_it_counts_where_an_object_sets_it_too(self) -> None:
        def init(manager: Any) -> None:
            manager.REHEARSAL_URI = 5
            manager.logger = None

        ended = self.run_task("execute", of=self.manager(__init__=init))
        self.assert_refused(f"REHEARSAL_URI {STRING.format('int')}", ended)
        self.assert_nothing_was_done()

    def test_a_misspelt_setting_beside_a_wrong_logger_is_named_too(self) -> None:
        ended = self.run_task("execute", of=self.manager(logger=None, MONGO_PASSWORD="x"))
        lines = ended.stderr.splitlines()
        self.assertRegex(lines[0], "^Migrations.MONGO_PASSWORD is not a setting of migopy")
        self.assertEqual([f"logger {LOGGER.format('it is None')}"], lines[1:])

    def test_a_logger_and_a_client_of_the_team_are_taken(self) -> None:
        messages: list[str] = []

        class Logger:
            def white(self, message: object) -> None:
                messages.append(str(message))

            red = green = white_bold = white

        ended = self.run_task("execute", of=self.manager(logger=Logger()))
        self.assertEqual((0, "", ""), ended)
        self.assertRegex("\n".join(messages), r"^Executing migration 1_a\.py\.\.\.\nExecuted 1_a\.py in .*$")
        client = type("Client", (type(self.client),), {})
        self.assertEqual(0, self.run_task("check", of=self.manager(MongoClient=client)).code)


class TestTheFabfileOfAWrongSetting(WrongSettingsTestCase):
    OTHER_TASK = "\n\ndef deploy():\n    print('deployed')\n"

    def test_its_other_tasks_and_the_list_of_tasks_go_on(self) -> None:
        wrong = [(name, value) for name, value, _ in WRONG_TYPES if not isinstance(value, logging.Logger)]
        for name, value in dict(wrong).items():
            with self.subTest(f"{name}={value!r}"):
                project = self.project_of(**{name: value})
                path = project.path / "fabfile.py"
                path.write_text(path.read_text() + self.OTHER_TASK)
                result = project.fab("--hide=status", "deploy", "migrations:help")
                self.assertRegex(result.stderr, rf"^{name} has to be .*\.\n$")
                self.assertEqual((1, "deployed\n"), (result.code, result.stdout))
        listed = project.fab("-l")
        self.assert_code(0, listed)
        self.assertRegex(listed.stdout, "(?m)^    deploy$")

    def test_the_list_of_tasks_and_the_class_among_them_with_a_wrong_fab_task(self) -> None:
        for more in ("    FAB_TASK = 5\n", "    FAB_TASK = None\n    logger = None\n"):
            project = self.project_of(more)
            for options in (["-l"], ["-d", "migrations"]):
                result = project.fab(*options)
                self.assertEqual((0, ""), (result.code, result.stderr), result.output)
                self.assertIn("Mongo migrations (migopy)", result.stdout)
            self.assert_one_sentence("FAB_TASK has to be a string; it.*", project.fab("Migrations"))
        self.assertNotIn(self.database, self.client.list_database_names())


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

    def test_a_value_that_pymongo_answers_with_nothing_but_the_value(self) -> None:
        uri = f"mongodb://{self.server.host}:{self.server.port}/?datetime_conversion=never"
        cases: list[tuple[str, dict[str, Any]]] = [
            (
                "MONGO_CLIENT_OPTIONS.*: 'never' is not a value of datetime_conversion",
                {"MONGO_CLIENT_OPTIONS": {"datetime_conversion": "never", "appname": "ours"}},
            ),
            ("MONGO_CLIENT_OPTIONS.*: 99 is not a", {"MONGO_CLIENT_OPTIONS": {"datetime_conversion": 99}}),
            ("MONGO_URI.*: Invalid datetime_conversion value", {"MONGO_URI": uri}),
        ]
        if not hasattr(bson.codec_options, "DatetimeConversion"):  # before PyMongo 4.3, which does not know the option
            cases = [(".*datetime_conversion", settings) for _, settings in cases[:2]]
        for sentence, settings in cases:
            with self.subTest(sentence):
                result = self.project_of(**settings).fab("migrations")
                self.assert_one_sentence(f"PyMongo refuses the settings of the server .*{sentence}.*", result)

    def test_names_that_pymongo_does_not_take_are_named_with_their_setting(self) -> None:
        host = f"mongodb://{self.server.host}:{self.server.port}"
        user = {"MONGO_USER": "ann", "MONGO_USER_PASSWORD": SECRET}
        cases: list[tuple[str, dict[str, Any]]] = [
            ("MONGO_DATABASE cannot be 'my blog'", {"MONGO_DATABASE": "my blog"}),
            ("MONGO_DATABASE cannot be 'a/b'", {**user, "MONGO_DATABASE": "a/b"}),
            (r"PyMongo refuses .*\(MONGO_HOST\)", {"MONGO_HOST": "http://localhost"}),
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
