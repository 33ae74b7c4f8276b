"""Dumps and restores over TLS, by a user whom a certificate names, with a key that has a password."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote_plus, urlencode

import pymongo

from tests.cases import DumpTestCase
from tests.server import Mongod, make_client_certificate
from tests.support import Project

KEY_PASSWORD = "k y#@/:%+'\"$ż"
SECRET = "k y"
"""A part of it that no way of quoting changes but one."""

HAS_OLD_NAMES = pymongo.version_tuple < (4,)
"""Whether PyMongo still takes the names of version 3."""


class TestDumpOverTLS(DumpTestCase):
    mongod: ClassVar[Mongod]
    options: ClassVar[dict[str, Any]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.mongod = Mongod(auth=True, tls=True)
        cls.mongod.start()
        cls.addClassCleanup(cls.mongod.close)
        assert cls.mongod.ca_file is not None
        pem = make_client_certificate(cls.mongod.ca_file, "/O=migopy/CN=ann", KEY_PASSWORD)
        cls.mongod.add_user("$external", "CN=ann,O=migopy", None, [{"role": "readWriteAnyDatabase", "db": "admin"}])
        cls.options = {
            "tls": True,
            "tlsCAFile": str(cls.mongod.ca_file),
            "tlsCertificateKeyFile": str(pem),
            "tlsCertificateKeyFilePassword": KEY_PASSWORD,
        }

    def find_server(self) -> Mongod:
        return self.mongod

    def by_certificate(self) -> dict[str, dict[str, Any]]:
        """The settings that say the same in different words."""
        options = {**self.options, "authMechanism": "MONGODB-X509"}
        query = urlencode({**options, "tls": "true"}, quote_via=quote_plus)
        ways: dict[str, dict[str, Any]] = {
            "options": {"MONGO_CLIENT_OPTIONS": options},
            "uri": {"MONGO_URI": f"mongodb://localhost:{self.mongod.port}/?{query}", "MONGO_HOST": "nowhere.invalid"},
        }
        if HAS_OLD_NAMES:
            folder = Path(self.options["tlsCAFile"]).parent
            old = {
                "ssl": True,
                "ssl_ca_certs": self.options["tlsCAFile"],
                "ssl_certfile": str(folder / "client.crt"),
                "ssl_keyfile": str(folder / "client.key"),
                "ssl_pem_passphrase": KEY_PASSWORD,
                "authMechanism": "MONGODB-X509",
            }
            ways["old names"] = {"MONGO_CLIENT_OPTIONS": old}
        return ways

    def assert_hidden(self, project: Project, output: str) -> None:
        """The password is in the fabfile only, compiled too, and in what the tools have read from their pipe."""
        for call in self.ended_calls(project):
            self.assertIn(SECRET, call["config"])
            self.assertNotIn(SECRET, str(call["argv"]))
        self.assertNotIn(SECRET, output)
        for path in project.path.rglob("*"):
            if path.is_file() and path.suffix != ".pyc" and path.name not in ("fabfile.py", "calls"):
                self.assertNotIn(SECRET.encode(), path.read_bytes(), path)
        self.assertEqual([], self.left_over(project))

    def test_status_dump_and_restore(self) -> None:
        for way, settings in self.by_certificate().items():
            with self.subTest(way):
                self.client.drop_database(self.database)
                project = self.dumping(DO_MONGO_DUMP=True, **settings)
                result = self.fab_with_tools(project, "migrations", "migrations:execute")
                self.assert_code(0, result)
                self.assertEqual(["after", "before"], self.notes())
                (dump,) = self.dumps(project)
                restored = self.fab_with_tools(
                    project, f"migrations:dbrestore,{dump.name},force=yes", "migrations:check"
                )
                self.assert_code(4, restored)
                self.assertEqual((["before"], []), (self.notes(), self.registered()))
                self.assertIn("1_a.py: unregistered", restored.stderr)
                self.assertEqual(2, len(self.ended_calls(project)))
                self.assert_hidden(project, result.output + restored.output)

    def test_a_tool_that_cannot_connect_shows_no_password(self) -> None:
        project = self.dumping(**self.by_certificate()["uri"])
        result = self.fab_with_tools(project, "migrations:dbdump", STANDIN_FAIL="connect")
        self.assert_code(1, result)
        self.assertIn("failed to connect to mongodb://", result.stderr)
        self.assertEqual([], self.dumps(project))
        self.assert_hidden(project, result.output)

    def test_a_wrong_password_of_the_key_is_a_sentence_without_it(self) -> None:
        options = {**self.options, "tlsCertificateKeyFilePassword": "wr0ng"}
        result = self.dumping(MONGO_CLIENT_OPTIONS=options).fab("migrations")
        self.assertRegex(result.stderr, r"^PyMongo refuses .*MONGO_CLIENT_OPTIONS\): .*\n$")
        self.assertNotIn("wr0ng", result.output)
        self.assert_code(1, result)

    def test_what_the_tools_cannot_do_is_told_before_anything_runs(self) -> None:
        options = {**self.options, "authMechanism": "MONGODB-X509", "tlsAllowInvalidHostnames": True}
        project = self.dumping(DO_MONGO_DUMP=True, MONGO_CLIENT_OPTIONS=options)
        began = time.monotonic()
        result = self.fab_with_tools(project, "migrations:execute")
        self.assertLess(time.monotonic() - began, 10)
        self.assertRegex(
            result.stderr, r"(?m)^mongodump and mongorestore have nothing like tlsallowinvalidhostnames, an option"
        )
        self.assert_code(1, result)
        self.assertEqual((["before"], [], None), (self.notes(), self.registered(), self.lock()))
        self.assertEqual([], self.calls(project))

    def test_a_server_whose_certificate_nobody_vouches_for(self) -> None:
        """As a self-signed one; and a user with a password, over TLS."""
        user = {"MONGO_USER": "bob", "MONGO_USER_PASSWORD": KEY_PASSWORD}
        self.mongod.add_user(self.database, "bob", KEY_PASSWORD, ["readWrite"])
        self.addCleanup(self.db.command, "dropUser", "bob")
        options = {"tls": True, "tlsAllowInvalidCertificates": True}
        project = self.dumping(**user, MONGO_CLIENT_OPTIONS=options)
        result = self.fab_with_tools(project, "migrations:dbdump")
        self.assert_code(0, result)
        self.assertTrue((self.dumps(project)[0] / self.database / "notes.bson").stat().st_size)
        self.assert_hidden(project, result.output)
