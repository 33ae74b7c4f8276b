"""The settings of the connection, translated from PyMongo to mongodump and mongorestore."""

from __future__ import annotations

import json
import warnings
from typing import Any, Callable, Mapping, NamedTuple
from urllib.parse import quote, unquote, urlencode

from pymongo.uri_parser import parse_uri, split_hosts

from ..errors import ConfigurationError
from ..mongo.server import EXTERNAL_MECHANISMS, Server

TOOL_OPTIONS = {
    "authmechanism": "authMechanism",
    "authmechanismproperties": "authMechanismProperties",
    "authsource": "authSource",
    "directconnection": "directConnection",
    "loadbalanced": "loadBalanced",
    "replicaset": "replicaSet",
    "retryreads": "retryReads",
    "retrywrites": "retryWrites",
    "srvmaxhosts": "srvMaxHosts",
    "srvservicename": "srvServiceName",
    "ssl": "tls",
    "ssl_ca_certs": "tlsCAFile",
    "ssl_certfile": "tlsCertificateKeyFile",
    "ssl_keyfile": "tlsPrivateKeyFile",
    "tls": "tls",
    "tlsallowinvalidcertificates": "tlsInsecure",
    "tlscafile": "tlsCAFile",
    "tlscertificatekeyfile": "tlsCertificateKeyFile",
    "tlsdisableocspendpointcheck": "tlsDisableOCSPEndpointCheck",
    "tlsinsecure": "tlsInsecure",
}
"""Options of PyMongo 3 and 4 in lower case, and their names in the URI of the tools."""

IGNORED_OPTIONS = {
    *("appname", "auto_encryption_opts", "compressors", "connect", "connecttimeoutms", "datetime_conversion"),
    *("document_class", "driver", "event_listeners", "fsync", "heartbeatfrequencyms", "j", "journal"),
    *("localthresholdms", "maxconnecting", "maxidletimems", "maxpoolsize", "maxstalenessseconds"),
    *("minpoolsize", "readconcernlevel", "readpreference", "readpreferencetags", "server_api"),
    *("server_selector", "servermonitoringmode", "serverselectiontimeoutms", "sockettimeoutms", "timeoutms"),
    *("type_registry", "tz_aware", "tzinfo", "unicode_decode_error_handler", "uuidrepresentation", "w"),
    *("waitqueuemultiple", "waitqueuetimeoutms", "wtimeout", "wtimeoutms", "zlibcompressionlevel"),
}
"""How PyMongo reads, writes and waits. The tools themselves read from the primary and write with majority, as a dump
and a restore should; and they read milliseconds in a URI as seconds (100.9)."""

INVERTED_OPTIONS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "ssl_cert_reqs": ("tlsallowinvalidcertificates", lambda value: value == 0 or str(value).endswith("CERT_NONE")),
    "ssl_match_hostname": ("tlsallowinvalidhostnames", lambda value: not _is_true(value)),
}
"""Options of PyMongo 3 that mean the opposite of an option of PyMongo 4."""

KEY_PASSWORD_OPTIONS = ("tlscertificatekeyfilepassword", "ssl_pem_passphrase")


class Connection(NamedTuple):
    """The contents of a tool's configuration file, the only place where the tool keeps secrets."""

    uri: str
    password: str | None = None
    key_password: str | None = None

    def config(self) -> str:
        """The text of the file."""
        # It is YAML, in which a JSON string is a string.
        entries = {"uri": self.uri, "password": self.password, "sslPEMKeyPassword": self.key_password}
        return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in entries.items() if value)


def connection_of(server: Server, replica_set: str | None = None) -> Connection:
    """The connection that PyMongo's client has: the same servers and the same user.

    ``replica_set`` is the name of the set whose primary the client has found, if any: without it a tool stays at the
    member in the settings, which may be a secondary. Raises ``ConfigurationError`` for an option that the tools do not
    have.
    """
    scheme, hosts, options = _parse_settings(server)
    user, password = options.pop("username", None), options.pop("password", None)
    key_password = next(filter(None, [options.pop(name, None) for name in KEY_PASSWORD_OPTIONS]), None)
    translated = _translate(options)
    if replica_set:
        translated.setdefault("replicaSet", replica_set)
    # quote, not quote_plus: PyMongo reads + as a space, the driver of the tools does not.
    prefix = f"{quote(user, safe='')}@" if user else ""
    query = urlencode(translated, quote_via=quote, safe="")
    return Connection(f"{scheme}://{prefix}{','.join(hosts)}/{'?' if query else ''}{query}", password, key_password)


def _parse_settings(server: Server) -> tuple[str, list[str], dict[str, Any]]:
    """The scheme, the hosts, and all options with names in lower case."""
    scheme, options = "mongodb", {}
    if server.uri:
        scheme, _, rest = server.uri.partition("://")
        # With another scheme, because parse_uri() would look up an SRV address on the network.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyMongo has warned of deprecated options when the client was made
            parsed = parse_uri(f"mongodb://{rest}", validate=False, normalize=False)
        nodes = parsed["nodelist"]
        options = {name.lower(): value for name, value in parsed["options"].items()}
        options.update(username=parsed["username"], password=parsed["password"])
        options.setdefault("authsource", parsed["database"] or "admin")
    else:
        nodes = split_hosts(server.host, server.port)
    # As in PyMongo the arguments of the client win over the URI.
    options.update({name.lower(): value for name, value in server.client_arguments().items()})
    if str(options.get("authmechanism")).upper() in EXTERNAL_MECHANISMS:
        options["authsource"] = "$external"
    elif not options.get("username"):
        options.pop("authsource", None)
    return scheme, [_host_in_uri(host, None if "+srv" in scheme else port) for host, port in nodes], options


def _host_in_uri(host: str, port: int | None) -> str:
    if host.endswith(".sock"):
        return quote(unquote(host), safe="")
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _translate(options: Mapping[str, Any]) -> dict[str, str]:
    """The options for the tools. Raises ``ConfigurationError`` for one that they do not have."""
    translated: dict[str, str] = {}
    unknown = []
    for given, value in options.items():
        name, convert = INVERTED_OPTIONS.get(given, (given, lambda value: value))
        value = convert(value)
        if name in TOOL_OPTIONS and "AWS_SESSION_TOKEN" not in str(
            value
        ):  # the tools have no safe place for this secret
            translated[TOOL_OPTIONS[name]] = _as_text(value)
        elif name not in IGNORED_OPTIONS and _is_true(value):
            unknown.append(given)
    if translated.get("tlsInsecure") == "true":
        unknown = [name for name in unknown if name not in ("tlsallowinvalidhostnames", "ssl_match_hostname")]
    if unknown:
        raise ConfigurationError(
            f"mongodump and mongorestore have nothing like {unknown[0]}, an option in MONGO_URI or"
            " MONGO_CLIENT_OPTIONS: leave it out, or dump and restore without migopy. Nothing was run."
        )
    if "tlsPrivateKeyFile" in translated:
        translated["tlsCertificateFile"] = translated.pop("tlsCertificateKeyFile", "")
    return translated


def _is_true(value: Any) -> bool:
    return bool(value) and str(value).lower() != "false"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{part}" for name, part in value.items())
    return str(value)
