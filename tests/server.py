"""Real servers for the tests: mongods, replica sets and a proxy that can fail; all end with the test process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Sequence, TypeVar
from urllib.parse import quote_plus, urlencode

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from migopy.testing.server import HOST as HOST
from migopy.testing.server import find_mongod, mongod_command, mongod_of_wheel, start_mongod
from migopy.testing.server import free_port as free_port
from tests.reaper import reaper

START_TIMEOUT = 60
ROOT_USER = "root"
ROOT_PASSWORD = "root/pass:word"

Found = TypeVar("Found")
AnyDaemon = TypeVar("AnyDaemon", bound="Daemon")


def wait_for(what: str, look: Callable[[], Found | None], timeout: float = START_TIMEOUT) -> Found:
    """Call `look` until it returns something true, and return that."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"No {what} within {timeout} seconds.")


def runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended may be kept as long as nobody asks for its exit code."""
    status = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


class Daemon:
    """A server process with a temporary folder of its own. `command` and `answers` are for the subclasses."""

    name = "daemon"

    def __init__(self, port: int | None = None) -> None:
        self.host = HOST
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=reaper().folder))
        self.log_file = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server is ready; asked again and again after the start."""
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def __enter__(self: AnyDaemon) -> AnyDaemon:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        if self.process is not None:
            raise RuntimeError(f"This {self.name} is running already.")
        with self.log_file.open("ab") as log:
            self.process = reaper().start(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        process = self.process
        assert process is not None
        wait_for(f"answer from {self.name}", lambda: process.poll() is not None or self.answers())
        if process.returncode is not None:
            log = self.log_file.read_text(errors="replace")
            raise RuntimeError(f"{self.name} ended with exit code {process.returncode} at its start:\n{log[-4000:]}")

    def stop(self) -> None:
        """End it in order; its data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to tidy up; its data stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it if it runs and start it, on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _end(self, with_signal: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(with_signal)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()
            reaper().ended(self.process)
            self.process = None


def our_mongod() -> str:
    """The mongod that MIGOPY_TESTS_MONGOD names, else the test dependency, or the one on PATH."""
    return os.environ.get("MIGOPY_TESTS_MONGOD") or mongod_of_wheel() or find_mongod()


@functools.lru_cache(maxsize=None)
def server_version() -> tuple[int, ...]:
    """The version of that mongod, as (6, 0, 5)."""
    output = subprocess.run([our_mongod(), "--version"], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return tuple(int(number) for number in re.findall(r"\d+", output.partition("\n")[0]))


class Mongod(Daemon):
    """A mongod on 127.0.0.1. `MongoClient(mongod.uri)` works with every option: it has the root user and the CA in it.

    `arguments` are further ones of the command line. A replica set is set up by `ReplicaSet`, here is only its name.
    """

    name = "mongod"

    def __init__(
        self,
        port: int | None = None,
        auth: bool = False,
        tls: bool = False,
        replica_set: str | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        if auth and replica_set:
            raise ValueError("auth is for a standalone mongod.")
        super().__init__(port)
        self.auth = auth
        self.tls = tls
        self.replica_set = replica_set
        self.arguments = arguments
        self.data = self.folder / "data"
        self.data.mkdir()
        self.ca_file = make_certificates(self.folder) if tls else None
        self.has_root = False

    @property
    def uri(self) -> str:
        user = f"{ROOT_USER}:{quote_plus(ROOT_PASSWORD)}@" if self.has_root else ""
        options = {}
        if self.has_root:
            options["authSource"] = "admin"
        if self.tls:
            options.update(tls="true", tlsCAFile=str(self.ca_file))
        if self.replica_set:
            options["directConnection"] = "true"
        query = f"?{urlencode(options)}" if options else ""
        return f"mongodb://{user}{self.host}:{self.port}/{query}"

    def command(self) -> list[str]:
        command = mongod_command(our_mongod(), self.data, self.port, self.replica_set)
        if self.auth:
            command += ["--auth"]
        if self.tls:
            command += ["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"]
            command += ["--tlsCAFile", str(self.ca_file), "--tlsCertificateKeyFile", str(self.folder / "server.pem")]
        if self.replica_set and server_version() >= (5, 0):
            command += ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
        return command + list(self.arguments)

    def wait_until_ready(self) -> None:
        super().wait_until_ready()
        if self.auth and not self.has_root:
            self.add_user("admin", ROOT_USER, ROOT_PASSWORD, ["root"])
            self.has_root = True

    def answers(self) -> bool:
        if not super().answers():
            return False
        with self.client() as client:
            client.admin.command("ping")
        return True

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """A client with all rights."""
        return MongoClient(self.uri, **options)

    def add_user(self, database: str, user: str, password: str | None, roles: Sequence[str | dict[str, str]]) -> None:
        """Create a user who authenticates against `database`; one of `$external` has no password."""
        secret: dict[str, Any] = {"pwd": password} if password else {}
        with self.client() as client:
            client[database].command("createUser", user, roles=list(roles), **secret)


def make_certificates(folder: Path) -> Path:
    """Make a CA and `server.pem`, a certificate and key for 127.0.0.1 and localhost; return the CA's file."""
    (folder / "extensions").write_text(
        "subjectAltName = IP:127.0.0.1, DNS:localhost\n"
        "authorityKeyIdentifier = keyid\n"
        "extendedKeyUsage = serverAuth, clientAuth\n"
    )
    new_key = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    ca = [*new_key, "-x509", "-days", "2", "-subj", "/CN=migopy tests CA", "-keyout", "ca.key", "-out", "ca.pem"]
    ca += ["-addext", "keyUsage = critical, keyCertSign, cRLSign"]
    request = [*new_key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"]
    sign = ["openssl", "x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
    sign += ["-CAcreateserial", "-extfile", "extensions", "-out", "server.crt"]
    for command in (ca, request, sign):
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    (folder / "server.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    return folder / "ca.pem"


def make_client_certificate(ca_file: Path, subject: str, password: str) -> Path:
    """Make a certificate and its key, encrypted with that password, in one file beside the CA's."""
    request = ["openssl", "req", "-newkey", "rsa:2048", "-passout", "stdin", "-subj", subject]
    request += ["-keyout", "client.key", "-out", "client.csr"]
    sign = ["openssl", "x509", "-req", "-days", "2", "-in", "client.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
    sign += ["-CAcreateserial", "-extfile", "extensions", "-out", "client.crt"]
    folder = ca_file.parent
    for command in (request, sign):
        subprocess.run(command, cwd=folder, check=True, input=f"{password}\n".encode(), capture_output=True)
    (folder / "client.pem").write_text((folder / "client.crt").read_text() + (folder / "client.key").read_text())
    return folder / "client.pem"


class Server:
    """A server that the tests did not start, named by its URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.host, self.port = parse_uri(uri)["nodelist"][0]


@functools.lru_cache(maxsize=None)
def shared() -> Server:
    """The standalone server of all tests: the one MIGOPY_MONGO_URI names, else a mongod of this process."""
    return Server(os.environ.get("MIGOPY_MONGO_URI") or _start())


@functools.lru_cache(maxsize=None)
def shared_replica_set() -> Server:
    """A replica set of one member for all tests of this process: the cheapest server with transactions."""
    return Server(_start("rs0"))


def _start(replica_set: str | None = None) -> str:
    reaper()  # from now on temporary folders are in its folder
    return start_mongod(our_mongod(), replica_set)


class ReplicaSet:
    """Some mongods on 127.0.0.1 that elect a new primary within about two seconds. `arguments` are for each of them."""

    def __init__(self, members: int = 3, name: str = "rs0", arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.members = [Mongod(replica_set=name, arguments=arguments) for _ in range(members)]

    @property
    def uri(self) -> str:
        hosts = ",".join(f"{member.host}:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    def __enter__(self) -> ReplicaSet:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start and initiate it, and return when it has a primary and all others follow."""
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_until_ready()
        configuration = {
            "_id": self.name,
            "members": [{"_id": n, "host": f"{member.host}:{member.port}"} for n, member in enumerate(self.members)],
            # Without chains: a secondary that a test holds up must not hold up the other one behind it.
            "settings": {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 500, "chainingAllowed": False},
        }
        with self.members[0].client() as client:
            client.admin.command("replSetInitiate", configuration)
        self.primary()
        self.wait_for_members()

    def close(self) -> None:
        for member in self.members:
            member.close()

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.uri, **options)

    def primary(self) -> Mongod:
        """The member that is primary, as soon as there is one."""
        return wait_for("primary", lambda: next((m for m in self.members if self._state(m).get("ismaster")), None))

    def wait_for_members(self) -> None:
        """Wait until each running member is primary or secondary."""
        running = [member for member in self.members if member.process is not None]
        wait_for("complete replica set", lambda: all(self._has_joined(member) for member in running))

    def step_down(self, seconds: int = 10) -> Mongod:
        """Make the primary give up and not stand again for some seconds; return that member at once."""
        old = self.primary()
        with old.client() as client:
            client.admin.command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=min(5, seconds))
        return old

    def kill_primary(self) -> Mongod:
        """Kill the primary; return that member at once, for `restart`."""
        old = self.primary()
        old.kill()
        return old

    def restart(self, member: Mongod) -> None:
        """Restart a member, running or not, and return when it has joined."""
        member.restart()
        self.wait_for_members()

    def _has_joined(self, member: Mongod) -> bool:
        state = self._state(member)
        return bool(state.get("ismaster") or state.get("secondary"))

    @staticmethod
    def _state(member: Mongod) -> dict[str, Any]:
        if member.process is None:
            return {}
        try:
            with member.client(serverSelectionTimeoutMS=500, socketTimeoutMS=500) as client:
                return client.admin.command("ismaster")
        except PyMongoError:
            return {}


class Proxy:
    """A TCP proxy on 127.0.0.1 in front of a server: the network between a client and it, which can fail."""

    def __init__(self, host: str, port: int) -> None:
        self.host = HOST
        self.port = free_port()
        self._server = (host, port)
        self._flowing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Proxy:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()

    def stop_forwarding(self) -> None:
        """Let nothing pass, as a broken network does: connections stay open, and what is sent waits for `resume`."""
        self._flowing.clear()

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        if self._listener is not None:
            _hang_up(self._listener)
            self._listener = None
        for connection in list(self._connections):
            _hang_up(connection)
        self._flowing.set()

    def resume(self) -> None:
        """Work again, after `stop_forwarding` or `cut`."""
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port))
            self._run(self._accept, self._listener)
        self._flowing.set()

    def _run(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    client.close()
                    continue
                self._connections |= {client, server}
                if self._listener is not listener:
                    _hang_up(client)
                self._run(self._pump, client, server)
                self._run(self._pump, server, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what comes from `source`, and in the end hang up on both sides."""
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                self._flowing.wait()
                if not data:
                    break
                target.sendall(data)
        _hang_up(target)
        source.close()
        self._connections.discard(source)


class SlowProxy(Proxy):
    """A network to a server that is far away: what is sent arrives some seconds later, in both directions."""

    def __init__(self, host: str, port: int, delay: float) -> None:
        super().__init__(host, port)
        self._delay = delay

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        on_its_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._run(self._deliver, on_its_way, target)
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                on_its_way.put((time.monotonic() + self._delay, data))
                if not data:
                    break
        on_its_way.put((0, b""))
        source.close()
        self._connections.discard(source)

    @staticmethod
    def _deliver(on_its_way: queue.SimpleQueue[tuple[float, bytes]], target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = on_its_way.get()
                time.sleep(max(0, due - time.monotonic()))
                if not data:
                    break
                target.sendall(data)
        _hang_up(target)


def _hang_up(connection: socket.socket) -> None:
    """Wake whoever waits for this socket; he closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
