"""The settings of the connection in the words of mongodump and mongorestore, which are not those of PyMongo."""

from __future__ import annotations

import json
import warnings
from typing import Any, Callable, Mapping, NamedTuple
from urllib.parse import quote, unquote, urlencode

from pymongo.uri_parser import parse_uri, split_hosts

from ..errors import ConfigurationError
from ..mongo.server import EXTERNAL_MECHANISMS, Server

TRANSLATED = {
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
"""What PyMongo 3 and 4 call an option of the connection, and what the tools call it in their URI."""

NOT_FOR_TOOLS = {
    *("appname", "auto_encryption_opts", "compressors", "connect", "connecttimeoutms", "datetime_conversion"),
    *("document_class", "driver", "event_listeners", "fsync", "heartbeatfrequencyms", "j", "journal"),
    *("localthresholdms", "maxconnecting", "maxidletimems", "maxpoolsize", "maxstalenessseconds"),
    *("minpoolsize", "readconcernlevel", "readpreference", "readpreferencetags", "server_api"),
    *("server_selector", "servermonitoringmode", "serverselectiontimeoutms", "sockettimeoutms", "timeoutms"),
    *("type_registry", "tz_aware", "tzinfo", "unicode_decode_error_handler", "uuidrepresentation", "w"),
    *("waitqueuemultiple", "waitqueuetimeoutms", "wtimeout", "wtimeoutms", "zlibcompressionlevel"),
}
"""How PyMongo reads, writes and waits. The tools by themselves read from the primary and write with write concern
majority, as a dump and a restore should; and milliseconds in a URI they take for seconds (100.9)."""

NEGATED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "ssl_cert_reqs": ("tlsallowinvalidcertificates", lambda value: value == 0 or str(value).endswith("CERT_NONE")),
    "ssl_match_hostname": ("tlsallowinvalidhostnames", lambda value: not _is_true(value)),
}
"""Options of PyMongo 3 that say the opposite of those of today."""

KEY_PASSWORD = ("tlscertificatekeyfilepassword", "ssl_pem_passphrase")


class Connection(NamedTuple):
    """What a tool reads from its configuration file: the place for secrets, which it shows nowhere else."""

    uri: str
    password: str | None = None
    key_password: str | None = None

    def config(self) -> str:
        """The text of the file. Its YAML is one ``key: value`` a line, and a string of JSON is one of YAML too."""
        entries = {"uri": self.uri, "password": self.password, "sslPEMKeyPassword": self.key_password}
        return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in entries.items() if value)


def connection_of(server: Server, replica_set: str | None = None) -> Connection:
    """What PyMongo's client is connected to, and as whom.

    ``replica_set`` is the name of the set whose primary the client has found; None if it looks for none. Without it a
    tool stays at the member that is named, which may be a secondary today. Raises ``ConfigurationError`` for an option
    that the tools do not have.
    """
    scheme, hosts, options = _as_pymongo_reads(server)
    user, password = options.pop("username", None), options.pop("password", None)
    key_password = next(filter(None, [options.pop(name, None) for name in KEY_PASSWORD]), None)
    words = _translated(options)
    if replica_set:
        words.setdefault("replicaSet", replica_set)
    # quote, not quote_plus: PyMongo reads + as a space, the driver of the tools does not.
    at = f"{quote(user, safe='')}@" if user else ""
    query = urlencode(words, quote_via=quote, safe="")
    return Connection(f"{scheme}://{at}{','.join(hosts)}/{'?' if query else ''}{query}", password, key_password)


def _as_pymongo_reads(server: Server) -> tuple[str, list[str], dict[str, Any]]:
    """Scheme, hosts, and all options with their names in lower case; arguments of the client win over the URI."""
    scheme, options = "mongodb", {}
    if server.uri:
        scheme, _, rest = server.uri.partition("://")
        # As if it were no SRV address, for which parse_uri() would ask the name server.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated options PyMongo has warned when the client was made
            parsed = parse_uri(f"mongodb://{rest}", validate=False, normalize=False)
        nodes = parsed["nodelist"]
        options = {name.lower(): value for name, value in parsed["options"].items()}
        options.update(username=parsed["username"], password=parsed["password"])
        options.setdefault("authsource", parsed["database"] or "admin")
    else:
        nodes = split_hosts(server.host, server.port)
    options.update({name.lower(): value for name, value in server.client_arguments().items()})
    if str(options.get("authmechanism")).upper() in EXTERNAL_MECHANISMS:
        options["authsource"] = "$external"
    elif not options.get("username"):
        options.pop("authsource", None)
    return scheme, [_host(host, None if "+srv" in scheme else port) for host, port in nodes], options


def _host(host: str, port: int | None) -> str:
    if host.endswith(".sock"):
        return quote(unquote(host), safe="")
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _translated(options: Mapping[str, Any]) -> dict[str, str]:
    """The options in the words of the tools. Raises ``ConfigurationError`` for one that they do not have."""
    words: dict[str, str] = {}
    unknown = []
    for given, value in options.items():
        name, changed = NEGATED.get(given, (given, lambda value: value))
        value = changed(value)
        if name in TRANSLATED and "AWS_SESSION_TOKEN" not in str(value):  # they have no place for this secret
            words[TRANSLATED[name]] = _as_text(value)
        elif name not in NOT_FOR_TOOLS and _is_true(value):
            unknown.append(given)
    if words.get("tlsInsecure") == "true":
        unknown = [name for name in unknown if name not in ("tlsallowinvalidhostnames", "ssl_match_hostname")]
    if unknown:
        raise ConfigurationError(
            f"mongodump and mongorestore cannot do what {unknown[0]} asks for, an option of the connection in MONGO_URI"
            " or MONGO_CLIENT_OPTIONS. Nothing was run: leave it out, or dump and restore without migopy."
        )
    if "tlsPrivateKeyFile" in words:
        words["tlsCertificateFile"] = words.pop("tlsCertificateKeyFile", "")
    return words


def _is_true(value: Any) -> bool:
    return bool(value) and str(value).lower() != "false"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{part}" for name, part in value.items())
    return str(value)
