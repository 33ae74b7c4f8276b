from __future__ import annotations

import unittest
from typing import Any

from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from migopy.errors import ConfigurationError, NotAllowed, ServerFailed
from migopy.mongo.failures import server_errors
from migopy.mongo.server import Server


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

    def test_of_a_socket_there_is_no_port(self) -> None:
        self.assertEqual("%2Ftmp%2Fmongodb.sock", server("%2Ftmp%2Fmongodb.sock").address)

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


class TestNotAllowed(unittest.TestCase):
    def test_it_is_said_which_right_is_missing_and_where(self) -> None:
        for command, right in (
            ('find: "notes", filter: {}', "find in blog.notes"),
            ('findAndModify: "my notes"', "find, insert and update in blog.my notes"),
            ("listCollections: 1, cursor: {}", "listCollections in blog"),
            ('aggregate: "notes", pipeline: [ { $collStats: {} } ]', "collStats in blog.notes"),
            ('aggregate: "notes", pipeline: [ { $match: {} } ]', "find in blog.notes"),
        ):
            refused = f"not authorized on blog to execute command {{ {command}, lsid: {{ id: 1 }} }}"
            with self.assertRaisesRegex(NotAllowed, rf" needs a role with the right to {right}\.$"), server_errors(
                "here"
            ):
                raise OperationFailure(refused, 13)


class TestNoServer(unittest.TestCase):
    def test_the_sentence_says_what_may_be_wrong(self) -> None:
        none = 'No replica set members available for replica set name "rs0"'
        tls = "h:1: SSL handshake failed: h:1: [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred"
        for message, sentence in (
            (none, f"h:1 is not a member of that replica set ({none}): is the name right, and rs.initiate() run?"),
            (tls, f"No MongoDB answers at h:1 ({tls}): does it use TLS, and are the certificates right?"),
            ("h:1: refused", "No MongoDB answers at h:1 (h:1: refused): is it running, and is the address right?"),
        ):
            with self.assertRaises(ServerFailed) as caught, server_errors("h:1"):
                raise ServerSelectionTimeoutError(f"{message}, Timeout: 5.0s, Topology Description: <Topology>")
            self.assertEqual(sentence, str(caught.exception))
