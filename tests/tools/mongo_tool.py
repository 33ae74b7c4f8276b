"""What the stand-ins of mongodump and mongorestore share: command line, config file, connection, record of the calls.

They follow MongoDB's Database Tools 100.9: names, conflicts and exit codes of these options. All others are refused.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, NoReturn
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

SERVER_TIMEOUT = 3  # seconds; the real tools take 30


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
        self.add_argument("--ssl", action="store_true")
        self.add_argument("--sslCAFile")
        self.add_argument("--sslPEMKeyFile")
        self.add_argument("--tlsInsecure", action="store_true")
        self.add_argument("--gzip", action="store_true")
        self.add_argument("--quiet", action="store_true")
        self.add_argument("--verbose", "-v", action="count")

    def error(self, message: str) -> NoReturn:
        raise ToolError(f"error parsing command line options: {message}")


def main(tool: Callable[[argparse.Namespace, Any], None], parser: Parser) -> NoReturn:
    """Run a tool as a program does, and end the process."""
    try:
        record_call()
        options = parser.parse_args()
        with connect(options) as client:
            time.sleep(float(os.environ.get("STANDIN_SLEEP", 0)))
            tool(options, client)
        if wants_failure():
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


def log(message: str) -> None:
    timestamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
    print(f"{timestamp}\t{message}", file=sys.stderr, flush=True)


def wants_failure() -> bool:
    """Whether the test wants this call to fail half way."""
    return bool(os.environ.get("STANDIN_FAIL"))


def work(items: list[Any]) -> list[Any]:
    """All of them, or the first half when the call is to fail then."""
    return items[: (len(items) + 1) // 2] if wants_failure() else items


def record_call() -> None:
    """Append one line of JSON to the file STANDIN_RECORD: what we were called with."""
    call: dict[str, Any] = {"tool": Path(sys.argv[0]).name, "argv": sys.argv[1:], "config": None, "config_mode": None}
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--config")
    config = known.parse_known_args()[0].config
    if config is not None and os.path.exists(config):
        call["config_file"] = config
        call["config"] = Path(config).read_text(encoding="utf-8")
        call["config_mode"] = oct(stat.S_IMODE(os.stat(config).st_mode))
    with open(os.environ["STANDIN_RECORD"], "a", encoding="utf-8") as record:
        record.write(json.dumps(call) + "\n")


def connect(options: argparse.Namespace) -> Any:
    """A client for these options, whose server has answered. The command line wins over the config file."""
    config = read_config(options.config) if options.config else {}
    options.password = options.password or config.get("password") or None
    uri = options.uri or config.get("uri")
    settings = uri_settings(options, uri) if uri else host_settings(options)
    client: Any = MongoClient(serverSelectionTimeoutMS=SERVER_TIMEOUT * 1000, **settings)
    try:
        client.admin.command("ping")
    except PyMongoError as error:
        client.close()
        raise ToolError(f"Failed: can't create session: failed to connect: {error}") from error
    return client


def uri_settings(options: argparse.Namespace, uri: str) -> dict[str, Any]:
    """Arguments for MongoClient. What the URI and the command line both say must be the same."""
    try:
        parsed = parse_uri(uri, validate=False)
    except PyMongoError as error:
        raise ToolError(f"error parsing command line options: error parsing uri: {error}") from error
    hosts = ",".join(f"{host}:{port}" for host, port in parsed["nodelist"])
    auth_source = {name.lower(): value for name, value in parsed["options"].items()}.get("authsource")
    refuse_conflict("host", hosts, options.host and f"{options.host}:{options.port or 27017}", "--host")
    refuse_conflict("username", parsed["username"], options.username, "--username")
    refuse_conflict("authSource", auth_source, options.authenticationDatabase, "--authenticationDatabase")
    refuse_conflict("database", parsed["database"], options.db, "--db")
    if None not in (parsed["password"], options.password) and parsed["password"] != options.password:
        raise ToolError("Invalid Options: Cannot specify different password in connection URI and command-line option")
    settings = {"host": uri, **tls_settings(options)}
    username = parsed["username"] or options.username
    if username:
        source = auth_source or options.authenticationDatabase or parsed["database"] or "admin"
        settings.update(username=username, password=parsed["password"] or options.password, authSource=source)
    options.db = options.db or parsed["database"]
    return settings


def refuse_conflict(what: str, in_uri: str | None, in_option: str | None, option: str) -> None:
    if in_uri and in_option and in_uri != in_option:
        raise ToolError(
            f"Invalid Options: Cannot specify different {what} in connection URI and command-line option "
            f'("{in_uri}" was specified in the URI and "{in_option}" was specified in the {option} option)'
        )


def host_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments for MongoClient from --host, which may be SET/HOST,HOST, and the options that go with it."""
    replica_set, _, hosts = (options.host or "localhost").rpartition("/")
    port = options.port or "27017"
    if not port.isdigit():
        raise ToolError(f'error parsing command line options: invalid port "{port}"')
    settings: dict[str, Any] = {"host": hosts.split(","), "port": int(port), **tls_settings(options)}
    if replica_set:
        settings["replicaSet"] = replica_set
    else:
        settings["directConnection"] = "," not in hosts
    if options.username:
        source = options.authenticationDatabase or options.db or "admin"
        settings.update(username=options.username, password=options.password or "", authSource=source)
    return settings


def tls_settings(options: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if options.ssl:
        settings["tls"] = True
    if options.sslCAFile:
        settings["tlsCAFile"] = options.sslCAFile
    if options.sslPEMKeyFile:
        settings["tlsCertificateKeyFile"] = options.sslPEMKeyFile
    if options.tlsInsecure:
        settings["tlsInsecure"] = True
    return settings


def read_config(path: str) -> dict[str, str]:
    """The entries of a config file. Its YAML is one `key: value` a line; the values are scalars, plain or quoted."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ToolError(f"error parsing command line options: error opening file with --config: {error}") from error
    config = {}
    for number, line in enumerate(lines, 1):
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
    """The name of a collection's files, without their ending."""
    return quote(collection, safe="-_.~$&+=@")
