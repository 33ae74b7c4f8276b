"""Where the database is and which user asks, from the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Iterator, Mapping
from urllib.parse import unquote

from .. import errors
from ..terminal.texts import add_secrets

if TYPE_CHECKING:
    from ..settings import Settings

EXTERNAL_MECHANISMS = ("MONGODB-X509", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI")
"""Authentication mechanisms whose users are in no database of the server: their authSource is ``$external``."""


CONNECTION_OPTION = re.compile(r"tls|ssl|auth|replicaset|directconnection|loadbalanced|connecttimeout", re.IGNORECASE)
"""Options of the client about how to reach the server. The others are about reading and writing."""


SECRET_OPTION = re.compile(r"pass|secret|token|mechanismproperties", re.IGNORECASE)
"""Options of the client whose value no message may show."""


@dataclass(frozen=True)
class Server:
    """Where the database is and which user asks; ``uri_setting`` names the setting that ``uri`` comes from."""

    host: str
    port: int
    uri: str | None = field(default=None, repr=False)
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    auth_database: str | None = None
    client_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    uri_setting: str = "MONGO_URI"

    @classmethod
    def from_settings(cls, settings: Settings) -> Server:
        """The server in the settings. Raises ``ConfigurationError`` when they cannot be right."""
        host = _host_list(settings.MONGO_HOST)
        # MongoClient(host) takes a URI too, so a fabfile may have one in MONGO_HOST.
        uri = settings.MONGO_URI or (host if "://" in host else None)
        password = settings.MONGO_USER_PASSWORD or settings.MONGO_USER_PASS
        if not uri:
            _require_password(settings.MONGO_USER, password, settings.MONGO_CLIENT_OPTIONS)
        return cls(
            host=host,
            port=_port(settings.MONGO_PORT),
            uri=uri,
            database=settings.MONGO_DATABASE,
            user=settings.MONGO_USER,
            password=password,
            auth_database=settings.MONGO_AUTH_DATABASE,
            client_options=settings.MONGO_CLIENT_OPTIONS,
            uri_setting="MONGO_URI" if settings.MONGO_URI else "MONGO_HOST",
        )

    @classmethod
    def for_rehearsal(cls, settings: Settings) -> Server:
        """The server and database of a rehearsal's copy."""
        server = cls.from_settings(settings)
        database = server.database_name()
        name = settings.REHEARSAL_DATABASE or (database if settings.REHEARSAL_URI else f"{database}_rehearsal")
        return server._with_database(settings.REHEARSAL_URI, name)

    def __post_init__(self) -> None:
        add_secrets(*self._secrets())

    def _secrets(self) -> Iterator[object]:
        """Passwords and tokens, whichever setting they are in."""
        yield self.password
        for text in (self.uri or "", str(self.host)):
            yield text.rpartition("://")[2].rpartition("@")[0].partition(":")[2]
        in_uri = (pair.partition("=") for pair in re.split("[?&;]", self.uri or ""))
        given = [(name, value) for name, _, value in in_uri] + list(dict(self.client_options or {}).items())
        for name, value in given:
            if SECRET_OPTION.search(str(name)):
                yield from value.values() if isinstance(value, Mapping) else [value]

    def _with_database(self, uri: str | None, database: str) -> Server:
        """Another database on the same server, or on the server at ``uri`` (``REHEARSAL_URI``)."""
        if uri is None:
            return replace(self, database=database, auth_database=self.auth_database or self.database_name())
        # How to reach this server says nothing about how to reach the other one.
        options = {
            name: value
            for name, value in (self.client_options or {}).items()
            if not CONNECTION_OPTION.match(name) and name not in ("username", "password")
        }
        return Server(self.host, self.port, uri, database, client_options=options, uri_setting="REHEARSAL_URI")

    @property
    def address(self) -> str:
        """Host and port for messages, without user name and password."""
        if self.uri is None:
            return self.hosts
        authority = re.split("[/?]", self.uri.partition("://")[2])[0]
        if "@" not in authority and bad_port(authority):
            return f"the address in {self.uri_setting}"  # a / or ? in the password has cut it in the middle
        return authority.rpartition("@")[2]

    @property
    def hosts(self) -> str:
        """The hosts of ``MONGO_HOST``, each with its own port or with ``MONGO_PORT``."""
        parts = [part.strip() for part in self.host.rpartition("@")[2].split(",")]
        has_port = (":" in part.rpartition("]")[2] or part.endswith(".sock") for part in parts)
        return ",".join(part if has else f"{part}:{self.port}" for part, has in zip(parts, has_port))

    def database_name(self) -> str:
        """``MONGO_DATABASE``, or the database in ``MONGO_URI``. Raises ``ConfigurationError`` without either."""
        if self.database:
            return self.database
        in_uri = database_in(self.uri or "")
        if not in_uri:
            raise errors.ConfigurationError(
                "No database is set: add MONGO_DATABASE = 'name of the database' to the class in the fabfile,"
                " or put it into MONGO_URI."
            )
        return in_uri

    def client_arguments(self) -> dict[str, Any]:
        """Keyword arguments for the client: ``MONGO_CLIENT_OPTIONS``, and the user unless the URI has one."""
        arguments = dict(self.client_options)
        if self.user and not self.uri:
            arguments.setdefault("username", self.user)
            arguments.setdefault("password", self.password)
            if str(arguments.get("authMechanism")).upper() not in EXTERNAL_MECHANISMS:
                arguments.setdefault("authSource", self.auth_database or self.database_name())
        return arguments


def database_in(uri: str) -> str:
    """The name of the database in a connection string; empty if it has none."""
    return unquote(uri.partition("://")[2].partition("?")[0].partition("/")[2])


def bad_port(authority: str) -> str:
    """The first text in the place of a port that is not a number; empty if there is none."""
    found = re.search(r"(?:^|,)(?:\[[^\]]*\]|[^:,]*):([^,]*[^\d,][^,]*)", authority)
    return found[1] if found else ""


def _host_list(host: str | list[str] | tuple[str, ...]) -> str:
    """The hosts, separated by commas. Raises ``ConfigurationError`` without any."""
    # MongoClient takes a list too.
    hosts = [host] if isinstance(host, str) else host
    if not hosts or not all(isinstance(name, str) and name.strip() for name in hosts):
        raise errors.ConfigurationError("MONGO_HOST has to be the name of a server in quotes, or a list of such names.")
    return ",".join(hosts)


def _port(value: int | str) -> int:
    try:
        number = int(value)
    except ValueError:
        # The value is not shown: somebody may have put a password there.
        raise errors.ConfigurationError("MONGO_PORT has to be a number; its value is not shown.") from None
    if not 0 < number < 65536:
        raise errors.ConfigurationError(f"MONGO_PORT has to be a number from 1 to 65535, not {number}.")
    return number


def _require_password(user: str | None, password: str | None, options: Mapping[str, Any]) -> None:
    """Raises ``ConfigurationError`` for a user without a password, unless the mechanism needs none."""
    has_other_means = any(name.lower() in ("password", "authmechanism") for name in options)
    if user and not password and not has_other_means:
        raise errors.ConfigurationError(
            "MONGO_USER is set and MONGO_USER_PASSWORD is not: add it to the class in the fabfile."
        )
