#!/bin/sh
# Makes .venv beside this folder and installs a lock file into it: sh scripts/setup.sh requirements.lock
# Needs Python 3.10 or 3.11 with its venv module and nothing else. Run it again at any time: it repairs what is broken.
set -eu

lock=$1
cd "$(dirname "$0")/.."

works() { # prints the version of a Python that has all that is needed
    "$1" -c 'import ensurepip, venv, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_supported() {
    case "$1" in 3.10 | 3.11) true ;; *) false ;; esac
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.10 python3 python}; do
        if is_supported "$(works "$candidate" || true)"; then
            command -v "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no Python")
    if [ -n "${PYTHON:-}" ]; then found="$PYTHON ($("$PYTHON" --version 2>/dev/null || echo "which does not run"))"; fi
    echo "WideNet needs Python 3.10 or 3.11 with its venv module, and here is $found: install one (on Debian with" \
        "python3-venv), or name one with make PYTHON=/path/to/python3.11." >&2
    exit 1
}

if ! is_supported "$(works .venv/bin/python || true)"; then
    python=$(find_python)
    rm -rf .venv
    echo "Making .venv with $("$python" --version)."
    "$python" -m venv .venv
fi
echo "Installing $lock into .venv; this takes a minute or more, once."
# The lock file holds the whole closure, so nothing is left to resolve.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$lock"
