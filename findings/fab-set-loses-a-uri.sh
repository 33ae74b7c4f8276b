#!/usr/bin/env bash
# Expected: `fab --set mongo_uri=VALUE` sets env.mongo_uri to VALUE, or refuses it.
# Seen: a value that holds one more `=`, as every connection string with options does, becomes True: no warning, exit
# code 0. The same value as an argument of a task ends in "too many values to unpack"; as `\=` both take it.
# Measured with fab-classic 1.21.0; Fabric3 1.14.post1 on Python 3.9 does the same.
# Why it matters: MongoClient(True) fails later and elsewhere, and `env.mongo_uri or "localhost"` takes the wrong
# server's side: with a URI that has no options it worked on every try before.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq fab-classic==1.21.0 paramiko==5.1.0
cat >"$work/fabfile.py" <<'EOF'
from fabric.api import env


def show(uri=None):
    print("env.mongo_uri: %r, uri: %r" % (env.get("mongo_uri"), uri))
EOF
cd "$work"
PATH="$work/venv/bin:$PATH"
fab --version
failed=0
expect() { # PATTERN COMMAND...: run it, show it, and look for the pattern in its output
  local pattern=$1 output
  shift
  output=$("$@" 2>&1) && code=0 || code=$?
  printf '%s\n    %s (exit code %s)\n' "$*" "$(grep -E 'env.mongo_uri|Error' <<<"$output")" "$code"
  grep -qF -- "$pattern" <<<"$output" || failed=1
}
expect "env.mongo_uri: 'mongodb://db1/shop'" fab --hide=status --set 'mongo_uri=mongodb://db1/shop' show
expect "env.mongo_uri: True" fab --hide=status --set 'mongo_uri=mongodb://db1/shop?replicaSet=rs0' show
expect "too many values to unpack" fab --hide=status 'show:uri=mongodb://db1/shop?replicaSet=rs0'
expect "env.mongo_uri: 'mongodb://db1/shop?replicaSet=rs0'" \
  fab --hide=status --set 'mongo_uri=mongodb://db1/shop?replicaSet\=rs0' show
[ "$failed" = 0 ] || { echo "It has changed."; exit 1; }
echo "It still holds: a URI with an option is True."
