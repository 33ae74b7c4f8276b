from __future__ import annotations

import json
import ssl
import unittest
from typing import Any
from urllib.parse import parse_qsl

from migopy.dumps.connection import Connection, connection_of
from migopy.errors import ConfigurationError
from migopy.mongo.server import Server

ODD = "p w@/:%+#'\"\\\u0142"


def translated(host: str = "db.example", port: int = 27017, **settings: Any) -> Connection:
    return connection_of(Server(host, port, **settings))


def options(**client_options: Any) -> dict[str, str]:
    """The options in the URI of the tools."""
    return in_uri(translated(database="notes", client_options=client_options).uri)


def in_uri(uri: str) -> dict[str, str]:
    return dict(parse_qsl(uri.partition("?")[2].replace("+", "%2B")))


class TestWhoAndWhere(unittest.TestCase):
    def test_host_and_port_and_no_default_database(self) -> None:
        self.assertEqual(Connection("mongodb://db.example:27018/"), translated(port=27018, database="notes"))

    def test_several_hosts_and_ports_of_their_own(self) -> None:
        self.assertEqual("mongodb://a:27017,b:5,[::1]:6/", translated("a,b:5,[::1]:6", database="notes").uri)

    def test_a_socket_is_escaped(self) -> None:
        self.assertEqual("mongodb://%2Ftmp%2Fm.sock/", translated("%2Ftmp%2Fm.sock", database="notes").uri)
        self.assertEqual("mongodb://%2Ftmp%2Fm.sock/", translated(uri="mongodb://%2Ftmp%2Fm.sock/notes").uri)

    def test_the_user_is_in_the_uri_and_the_password_is_not(self) -> None:
        found = translated(user=f"u{ODD}", password=ODD, database="notes")
        self.assertEqual(
            "mongodb://up%20w%40%2F%3A%25%2B%23%27%22%5C%C5%82@db.example:27017/?authSource=notes", found.uri
        )
        self.assertEqual(ODD, found.password)

    def test_a_plus_in_a_uri_is_a_space_as_pymongo_reads_it(self) -> None:
        found = translated(uri="mongodb://m+e:p+w%2B@h/?authSource=a+b")
        self.assertEqual(Connection("mongodb://m%20e@h:27017/?authSource=a%20b", "p w+"), found)

    def test_the_database_that_knows_the_user(self) -> None:
        cases: list[tuple[str, dict[str, Any]]] = [
            ("notes", {"user": "u", "password": "p", "database": "notes"}),
            ("admin", {"user": "u", "password": "p", "database": "notes", "auth_database": "admin"}),
            ("theirs", {"uri": "mongodb://u:p@h/theirs", "database": "ours"}),
            ("theirs", {"uri": "mongodb://u:p@h/x?authSource=theirs", "database": "ours"}),
            ("admin", {"uri": "mongodb://u:p@h/", "database": "ours"}),
            ("x", {"uri": "mongodb://h/x", "client_options": {"username": "u", "password": "p"}}),
        ]
        for source, settings in cases:
            found = translated(**settings)
            self.assertEqual(("p", source), (found.password, in_uri(found.uri)["authSource"]), settings)
        self.assertNotIn("authSource", in_uri(translated(uri="mongodb://h/theirs").uri))

    def test_arguments_of_the_client_win_over_the_uri(self) -> None:
        arguments = {"username": "v", "password": "q", "authSource": "s", "replicaSet": "rs1"}
        found = translated(uri="mongodb://u:p@h/?replicaSet=rs0", client_options=arguments)
        self.assertEqual(("mongodb://v@h:27017/", "q"), (found.uri.partition("?")[0], found.password))
        self.assertEqual({"replicaSet": "rs1", "authSource": "s"}, in_uri(found.uri))

    def test_an_srv_address_stays_one_and_nobody_is_asked_for_it(self) -> None:
        self.assertEqual(
            Connection("mongodb+srv://u@cluster.example.invalid/?authSource=admin", "p"),
            translated(uri="mongodb+srv://u:p@cluster.example.invalid/notes?authSource=admin&w=majority"),
        )

    def test_the_replica_set_that_the_client_has_found(self) -> None:
        server = Server("h", 27017, database="notes")
        self.assertEqual("mongodb://h:27017/?replicaSet=rs0", connection_of(server, "rs0").uri)

    def test_a_user_whom_only_a_certificate_names(self) -> None:
        x509 = {"tls": True, "tlsCertificateKeyFile": "/c.pem", "authMechanism": "MONGODB-X509"}
        found = translated(database="notes", client_options=x509)
        self.assertEqual("mongodb://db.example:27017/", found.uri.partition("?")[0])
        self.assertEqual("$external", in_uri(found.uri)["authSource"])


class TestOptions(unittest.TestCase):
    def test_those_of_pymongo_4(self) -> None:
        self.assertEqual(
            {"tls": "true", "tlsCAFile": "/a b", "tlsCertificateKeyFile": "/c", "tlsInsecure": "true"},
            options(tls=True, tlsCAFile="/a b", tlsCertificateKeyFile="/c", tlsAllowInvalidCertificates=True),
        )
        self.assertEqual(
            {"directConnection": "true", "retryWrites": "false"}, options(directConnection=True, retryWrites=False)
        )

    def test_those_of_pymongo_3(self) -> None:
        self.assertEqual(
            {
                "tls": "true",
                "tlsCAFile": "/a",
                "tlsCertificateFile": "/c",
                "tlsPrivateKeyFile": "/k",
                "tlsInsecure": "true",
            },
            options(
                ssl=True,
                ssl_ca_certs="/a",
                ssl_certfile="/c",
                ssl_keyfile="/k",
                ssl_cert_reqs=ssl.CERT_NONE,
                ssl_match_hostname=False,
            ),
        )
        self.assertEqual({"tls": "true", "tlsInsecure": "false"}, options(ssl=True, ssl_cert_reqs=ssl.CERT_REQUIRED))

    def test_in_a_uri_too(self) -> None:
        found = translated(uri="mongodb://h/?ssl=true&ssl_cert_reqs=CERT_NONE&tlsCAFile=/a%20b")
        self.assertEqual({"tls": "true", "tlsInsecure": "true", "tlsCAFile": "/a b"}, in_uri(found.uri))

    def test_the_password_of_a_key_is_no_part_of_the_uri(self) -> None:
        for name in ("tlsCertificateKeyFilePassword", "ssl_pem_passphrase"):
            found = translated(database="notes", client_options={"tls": True, name: ODD})
            self.assertEqual(("mongodb://db.example:27017/?tls=true", ODD), (found.uri, found.key_password))

    def test_how_pymongo_reads_and_writes_is_not_for_the_tools(self) -> None:
        self.assertEqual(
            {}, options(w=0, journal=True, readPreference="secondary", connectTimeoutMS=50, event_listeners=[])
        )
        self.assertEqual("mongodb://h:27017/", translated(uri="mongodb://h/?w=0&readPreferenceTags=a:b&appName=x").uri)

    def test_what_has_no_translation_is_refused_by_name(self) -> None:
        cases: list[dict[str, Any]] = [
            {"tls": True, "tlsAllowInvalidHostnames": True},
            {"ssl": True, "ssl_match_hostname": False},
            {"tls": True, "tlsCRLFile": "/crl"},
            {"authMechanism": "MONGODB-AWS", "authMechanismProperties": "AWS_SESSION_TOKEN:secret"},
            {"ofTomorrow": 1},
        ]
        for case in cases:
            with self.assertRaises(ConfigurationError) as raised:
                options(**case)
            self.assertIn(list(case)[-1].lower(), str(raised.exception))
            self.assertNotIn("secret", str(raised.exception))
        self.assertEqual({"tls": "true"}, options(tls=True, tlsAllowInvalidHostnames=False, tlsCRLFile=None))


class TestConfig(unittest.TestCase):
    def test_it_is_one_entry_a_line_each_quoted_as_json(self) -> None:
        text = Connection("mongodb://u@h/?a=%23", ODD, "k\n#").config()
        entries = dict(line.split(": ", 1) for line in text.splitlines())
        self.assertEqual(["uri", "password", "sslPEMKeyPassword"], list(entries))
        self.assertEqual(["mongodb://u@h/?a=%23", ODD, "k\n#"], [json.loads(value) for value in entries.values()])

    def test_what_is_not_set_is_not_there(self) -> None:
        self.assertEqual('uri: "mongodb://h/"\n', Connection("mongodb://h/").config())
