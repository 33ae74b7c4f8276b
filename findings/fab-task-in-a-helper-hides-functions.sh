#!/usr/bin/env bash
# Expected: `import helpers` in a fabfile gives fab no more and no fewer commands than before.
# Seen: fab walks through the modules that the fabfile imports. One function with @task anywhere in there, and all plain
# functions of the fabfile itself are gone: not in `fab -l`, and `fab staging` is "Command(s) not found".
# Measured with fab-classic 1.21.0; Fabric3 1.14.post1 on Python 3.9 does the same.
# Why it matters: a library for fabfiles that decorates one function, or a colleague who adds @task in a helper, takes
# the team's deploy commands away. So a library hands out plain functions.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq fab-classic==1.21.0 paramiko==5.1.0
cat >"$work/fabfile.py" <<'EOF'
import helpers


def staging():
    print("deploying to staging")
EOF
cd "$work"
PATH="$work/venv/bin:$PATH"
export PYTHONDONTWRITEBYTECODE=1
fab --version

printf 'def ping():\n    pass\n' >helpers.py
before=$(fab --shortlist)
fab --hide=status staging
printf 'from fabric.api import task\n\n\n@task\ndef ping():\n    pass\n' >helpers.py
after=$(fab --shortlist)
message=$(fab staging 2>&1) && code=0 || code=$?

printf 'Commands with a plain ping() in helpers.py: %s\n' $before
printf 'Commands with @task on that ping(): %s\n' $after
printf 'fab staging then: %s (exit code %s)\n' "$(echo $message)" "$code"
if [ "$before" != staging ] || [ "$after" != helpers.ping ] || [ "$code" != 1 ]; then
  echo "It has changed."
  exit 1
fi
echo "It still holds: a task in an imported module hides the functions of the fabfile."
