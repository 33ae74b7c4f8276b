from __future__ import annotations

import unittest
from typing import Any

from pymongo.uri_parser import parse_uri

from migopy.errors import ConfigurationError
from migopy.mongo import Server


def server(host: str = "db.example", port: int = 27017, **settings: Any) -> Server:
    return Server(host, port, **settings)


class TestAddress(unittest.TestCase):
    def test_it_is_host_and_port_of_the_settings(self) -> None:
        self.assertEqual("db.example:27018", server(port=27018, user="u", password="secret").address)

    def test_of_a_uri_it_is_the_hosts_without_user_and_password(self) -> None:
        cases = {
            "mongodb://h": "h",
            "mongodb://h:1,i:2/db?replicaSet=rs0": "h:1,i:2",
            "mongodb://u:secret@h:1/db": "h:1",
            "mongodb://u:sec@ret@h:1": "h:1",
            "mongodb+srv://u:secret@cluster.example/?w=0": "cluster.example",
        }
        for uri, address in cases.items():
            self.assertEqual(address, server(uri=uri).address)

    def test_neither_password_nor_uri_is_in_the_repr(self) -> None:
        shown = repr(
            server(user="u", password="secret", uri="mongodb://u:secret@h", client_options={"password": "secret"})
        )
        self.assertNotIn("secret", shown)


class TestDatabaseName(unittest.TestCase):
    def test_mongo_database_wins_over_the_one_in_the_uri(self) -> None:
        self.assertEqual("ours", server(uri="mongodb://h/theirs", database="ours").database_name())

    def test_the_database_of_the_uri_serves_when_there_is_no_other(self) -> None:
        uris = ("mongodb://h/no%20tes", "mongodb://u:p%2Fw@h:1,i/no%20tes?w=1")
        self.assertEqual(["no tes", "no tes"], [server(uri=uri).database_name() for uri in uris])

    def test_without_any_a_sentence_says_what_to_add(self) -> None:
        for uri in (None, "mongodb://h", "mongodb://h/", "mongodb://u:p@h/?w=1"):
            with self.assertRaisesRegex(ConfigurationError, "MONGO_DATABASE = .*MONGO_URI"):
                server(uri=uri).database_name()


class TestConnectionString(unittest.TestCase):
    """What mongodump connects with: the very server, no default database, and the user's own database."""

    def parsed(self, **settings: Any) -> tuple[Any, ...]:
        found = parse_uri(server(**settings).connection_string())
        options = {name.lower(): value for name, value in found["options"].items()}
        return found["nodelist"], found["username"], found["password"], found["database"], options

    def test_host_and_port(self) -> None:
        self.assertEqual(([("db.example", 27018)], None, None, None, {}), self.parsed(port=27018, database="notes"))

    def test_a_user_lives_in_mongo_database_unless_another_is_set(self) -> None:
        user: dict[str, Any] = {"user": "u@/:", "password": "p w@/:%+\u0142", "database": "notes"}
        for settings, source in ((user, "notes"), ({**user, "auth_database": "admin"}, "admin")):
            self.assertEqual(
                ([("db.example", 27017)], "u@/:", "p w@/:%+\u0142", None, {"authsource": source}),
                self.parsed(**settings),
            )

    def test_a_space_is_written_as_every_driver_reads_it(self) -> None:
        """A + is a space to PyMongo and a plus to the driver of mongodump."""
        text = server(user="m e", password="p w", auth_database="a b", database="notes").connection_string()
        self.assertEqual("mongodb://m%20e:p%20w@db.example:27017/?authSource=a%20b", text)

    def test_a_uri_keeps_its_options_and_loses_its_database(self) -> None:
        self.assertEqual(
            ([("h", 1), ("i", 2)], None, None, None, {"replicaset": "rs0"}),
            self.parsed(uri="mongodb://h:1,i:2/theirs?replicaSet=rs0", database="ours"),
        )

    def test_the_user_of_a_uri_keeps_the_database_that_knows_him(self) -> None:
        uris = ("mongodb://u:p@h/theirs", "mongodb://u:p@h/?authSource=theirs", "mongodb://u:p@h/x?authSource=theirs")
        for uri in uris:
            self.assertEqual(
                ([("h", 27017)], "u", "p", None, {"authsource": "theirs"}), self.parsed(uri=uri, database="ours")
            )

    def test_only_options_of_the_connection_are_passed_on(self) -> None:
        options = {"tls": True, "tlsAllowInvalidCertificates": True, "replicaSet": "rs0", "w": 1, "event_listeners": []}
        text = server(client_options=options, database="notes").connection_string()
        self.assertEqual("mongodb://db.example:27017/?tls=true&tlsAllowInvalidCertificates=true&replicaSet=rs0", text)

    def test_a_unix_socket_is_escaped(self) -> None:
        text = server(host="/tmp/mongodb-27017.sock", database="notes").connection_string()
        self.assertEqual("mongodb://%2Ftmp%2Fmongodb-27017.sock/", text)
