#!/usr/bin/env bash
# Expected: `fab --gss-auth` with a Paramiko that has no GSSAPI any more says so and ends with an error.
# Seen: fab prints an empty line and ends with 0. No connection is made, no command runs. Paramiko 5 refuses the
# argument with a TypeError, which Fabric 1.x takes for a Ctrl-D at its prompt.
# Measured with fab-classic 1.21.0: Paramiko 4.0.0 connects (here: fails to, exit code 1), 5.0.1 and 5.1.0 do not.
# Why it matters: `fab --gss-auth production deploy && announce` announces a deployment that has not happened, after
# nothing but an upgrade of a dependency.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/fabfile.py" <<'EOF'
from fabric.api import run


def deploy():
    run("true")
    print("deployed")
EOF
cd "$work"
failed=0
try() { # PARAMIKO EXPECTED OPTIONS...: nothing listens on port 1, so what connects ends with 1
  local paramiko=$1 expected=$2
  shift 2
  "$work/$paramiko/bin/fab" "$@" --abort-on-prompts -H 127.0.0.1:1 deploy </dev/null >output 2>&1 && code=0 || code=$?
  printf '\nfab %s-H 127.0.0.1:1 deploy: exit code %s\n' "${*:+$* }" "$code"
  grep . output | sed 's/^/    /'
  if [ "$code" != "$expected" ] || grep -q deployed output; then failed=1; fi
}
for paramiko in 4.0.0 5.1.0; do
  python3 -m venv "$work/$paramiko"
  "$work/$paramiko/bin/pip" install -qq fab-classic==1.21.0 "paramiko==$paramiko"
  echo
  "$work/$paramiko/bin/fab" --version
  try "$paramiko" 1
  if [ "$paramiko" = 4.0.0 ]; then
    try "$paramiko" 1 --gss-auth
  else
    try "$paramiko" 0 --gss-auth
  fi
done
[ "$failed" = 0 ] || { echo "It has changed."; exit 1; }
echo "It still holds: with Paramiko 5 nothing is done, and the exit code is 0."
