#!/usr/bin/env bash
# Expected: who runs Python with -W default sees each DeprecationWarning, whichever libraries are imported.
# Seen: with the import of fabric.network, which every fabfile brings, Fabric3 tells Python to ignore all of them, before
# it imports Paramiko, and never takes that back. So it holds for the whole process: for the fabfile, for the libraries
# of the application, and for warnings of the compiler such as those about invalid escapes.
# Measured with Fabric3 1.14.post1 on Python 3.9.
# Why it matters: a team that deploys with Fabric3 has never seen what its own code has to change for the next Python. A
# check for such warnings has to run outside of fab.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for python in "${PYTHON39:-python3.9}" "$HOME"/.pyenv/versions/3.9.*/bin/python; do
  "$python" -c "" 2>/dev/null && break
done
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -qq fabric3==1.14.post1 2>/dev/null
"$work/venv/bin/python" -W default - 2>/dev/null <<'EOF'
import importlib.metadata, platform, sys, warnings


def count():
    """How many of two warnings are shown: one of a library, and one of the compiler."""
    shown = []
    warnings.showwarning = lambda message, category, *rest: shown.append(category.__name__)
    warnings.warn("this will go away", DeprecationWarning)
    compile(r"'\d'", "file.py", "exec")
    return len(shown)


before = count()
import fabric.network

after = count()
print(f"Fabric3 {importlib.metadata.version('fabric3')}, Python {platform.python_version()}")
print(f"Warnings shown before the import: {before}, after it: {after}")
sys.exit(0 if (before, after) == (2, 0) else 1)
EOF
