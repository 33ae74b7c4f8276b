"""What the stand-ins of mongodump and mongorestore share: command line, config file, connection, record of the calls.

They follow MongoDB's Database Tools 100.9: names, conflicts and exit codes of these options. All others are refused.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, NoReturn
from urllib.parse import quote_plus, unquote

from bson.binary import UUID_SUBTYPE
from bson.json_util import CANONICAL_JSON_OPTIONS
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, PyMongoError

METADATA = CANONICAL_JSON_OPTIONS.with_options(uuid_representation=UUID_SUBTYPE)  # PyMongo 3 has another one
"""How options and indexes are written as JSON."""

SERVER_TIMEOUT = 3  # seconds; the real tools take 30

LONGEST_NAME = 238

WORDS = {
    word.lower(): word
    for word in (
        *("authMechanism", "authSource", "directConnection", "replicaSet", "retryReads", "retryWrites", "tls"),
        *("tlsCAFile", "tlsCertificateKeyFile", "tlsInsecure", "w"),
    )
}
WORDS.update(tlscertificatefile="ssl_certfile", tlsprivatekeyfile="ssl_keyfile")  # two files: PyMongo 3 only
"""The options of a URI that the tools heed, as far as these stand-ins need them, in the words of PyMongo."""

PASSED_OVER = ("connecttimeoutms", "serverselectiontimeoutms", "sockettimeoutms", "readpreference", "ssl")


class ToolError(Exception):
    """The tool ends with this message and exit code 1."""


class Parser(argparse.ArgumentParser):
    """The options that both tools have. A wrong command line is a ToolError."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--config")
        self.add_argument("--uri")
        self.add_argument("--host", "-h")
        self.add_argument("--port")
        self.add_argument("--db", "-d")
        self.add_argument("--username", "-u")
        self.add_argument("--password", "-p")
        self.add_argument("--authenticationDatabase")
        self.add_argument("--gzip", action="store_true")
        self.add_argument("--quiet", action="store_true")
        self.add_argument("--verbose", "-v", action="count")

    def error(self, message: str) -> NoReturn:
        raise ToolError(f"error parsing command line options: {message}")


def main(tool: Callable[[argparse.Namespace, Any], None], parser: Parser) -> NoReturn:
    """Run a tool as a program does, and end the process."""
    try:
        options = parser.parse_args()
        text = read_once(options.config) if options.config else None
        record_call(text)
        with connect(options, read_config(options.config, text or "")) as client:
            time.sleep(float(os.environ.get("STANDIN_SLEEP", 0)))
            tool(options, client)
        if wants_failure() and os.environ["STANDIN_FAIL"] != "quietly":
            raise ToolError("Failed: connection closed")
    except ToolError as error:
        log(str(error))
        sys.exit(1)
    except (PyMongoError, OSError) as error:
        log(f"Failed: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        log("signal 'interrupt' received; attempting to shut down")
        sys.exit(1)
    sys.exit(0)


def read_once(path: str) -> str:
    """A config file may be a pipe, of which what has been read is gone."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(f"error parsing command line options: error opening file with --config: {error}") from error


def log(message: str) -> None:
    timestamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
    print(f"{timestamp}\t{message}", file=sys.stderr, flush=True)


def wants_failure() -> bool:
    """Whether the test wants this call to fail half way."""
    return bool(os.environ.get("STANDIN_FAIL"))


def work(items: list[Any]) -> list[Any]:
    """All of them, or the first half when the call is to fail then."""
    return items[: (len(items) + 1) // 2] if wants_failure() else items


def record_call(config: str | None) -> None:
    """Append one line of JSON to the file STANDIN_RECORD: what we were called with, and what our config file says."""
    call = {"tool": Path(sys.argv[0]).name, "argv": sys.argv[1:], "config": config, "pid": os.getpid()}
    with open(os.environ["STANDIN_RECORD"], "a", encoding="utf-8") as record:
        record.write(json.dumps(call) + "\n")


def connect(options: argparse.Namespace, config: dict[str, str]) -> Any:
    """A client for these options, whose server has answered. The command line wins over the config file."""
    uri = options.uri or config.get("uri") or f"mongodb://{options.host or 'localhost'}:{options.port or 27017}"
    fixed = {"serverSelectionTimeoutMS": SERVER_TIMEOUT * 1000, "uuidRepresentation": "standard"}
    arguments = {**fixed, **settings(options, uri, config), **tls(config)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyMongo's of its own names for a certificate and a key in two files
        client: Any = MongoClient(**arguments)
    try:
        if os.environ.get("STANDIN_FAIL") == "connect":
            raise ConnectionFailure("server selection timeout")
        client.admin.command("ping")
    except PyMongoError as error:
        client.close()
        raise ToolError(f"Failed: can't create session: failed to connect to {uri}: {error}") from error
    return client


def settings(options: argparse.Namespace, uri: str, config: dict[str, str]) -> dict[str, Any]:
    """Arguments for MongoClient, as the driver of the tools reads a URI: a + is a plus, what it does not know is
    passed over, one host without the name of its replica set is the only one that is asked."""
    scheme, separator, rest = uri.partition("://")
    if scheme != "mongodb" or not separator:
        raise ToolError('error parsing uri: scheme must be "mongodb" or "mongodb+srv"')
    place, _, query = rest.partition("?")
    place, _, database = place.partition("/")
    user_info, _, hosts = place.rpartition("@")
    username, colon, in_uri = user_info.partition(":")
    found = {"host": [unquote(host) for host in hosts.split(",")], **in_words_of_pymongo(query)}
    if "replicaSet" not in found and len(found["host"]) == 1:
        found["directConnection"] = True
    name, password = options.username or unquote(username), unquote(in_uri) if colon else config.get("password")
    if name:
        found["username"] = name
    if name and found.get("authMechanism") != "MONGODB-X509":
        source = options.authenticationDatabase or database or options.db or "admin"
        found = {"authSource": source, "password": password or "", **found}
    options.db = options.db or unquote(database)
    return found


def in_words_of_pymongo(query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in (pair.partition("=")[::2] for pair in query.split("&") if pair):
        word = WORDS.get(name.lower())
        if word:
            value = unquote(value)
            found[word] = value == "true" if value in ("true", "false") else int(value) if value.isdecimal() else value
        elif name.lower() not in PASSED_OVER:
            log(f"WARNING: ignoring unsupported URI parameter '{name.lower()}'")
    return found


def tls(config: dict[str, str]) -> dict[str, str]:
    password = config.get("sslPEMKeyPassword")
    return {"tlsCertificateKeyFilePassword": password} if password else {}


def read_config(path: str, text: str) -> dict[str, str]:
    """The entries of a config file. Its YAML is one `key: value` a line; the values are scalars, plain or quoted."""
    config: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            key, colon, value = line.partition(": ")
            if key not in ("password", "uri", "sslPEMKeyPassword") or not colon or key in config:
                raise bad_config(path, f"yaml: line {number}: {key!r} cannot be a key here")
            config[key] = yaml_scalar(path, number, value.strip())
    return config


def yaml_scalar(path: str, number: int, text: str) -> str:
    """The value of a YAML scalar. Double quoted ones are JSON's, but for surrogates, which YAML does not have."""
    if text in ("~", "null"):
        return ""
    if re.fullmatch(r"'(?:[^']|'')*'", text):
        return text[1:-1].replace("''", "'")
    if re.fullmatch(r'"(?:[^"\\]|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})*"', text):
        return str(json.loads(text))
    if re.fullmatch(r'[^\s"\'#&*!|>%@`{}\[\],?:-](?:(?! #|: |:$).)*', text):
        return text
    raise bad_config(path, f"yaml: line {number}: not a scalar")


def bad_config(path: str, why: str) -> ToolError:
    return ToolError(f"error parsing command line options: error parsing config file {path}: {why}")


def file_name(collection: str) -> str:
    """The name of a collection's files, without their ending; too long a one is cut and told apart by a hash."""
    name = quote_plus(collection)
    if len(name) <= LONGEST_NAME:
        return name
    digest = base64.urlsafe_b64encode(hashlib.sha1(collection.encode()).digest()).decode().rstrip("=")
    return f"{name[:208]}%24{digest}"
