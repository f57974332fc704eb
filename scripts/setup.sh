#!/bin/sh
# Makes .venv beside this folder and installs a lock file into it: sh scripts/setup.sh requirements.lock
# Needs Python 3.10 to 3.13 with its venv module and nothing else. Run it again at any time: it repairs what is broken.
# Variables: PYTHON, a Python to use; STACK, reference or modern (docs/stacks.md); VENV, another folder than .venv.
set -eu

lock=$1
venv=${VENV:-.venv}
cd "$(dirname "$0")/.."

case "${STACK:-}" in
    "" | modern) needed="WideNet needs Python 3.10 to 3.13" ;;
    reference) needed="STACK=reference needs Python 3.10 or 3.11" ;;
    *)
        echo "STACK=$STACK is not allowed: it must be reference or modern." >&2
        exit 1
        ;;
esac

works() { # prints the version of a Python that has all that is needed
    "$1" -c 'import ensurepip, venv, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

stack_of() { # prints the stack of a Python's version; nothing where it has none, or not the one that STACK asks for
    case "$1" in
        3.10 | 3.11) echo "${STACK:-reference}" ;;
        3.12 | 3.13) if [ "${STACK:-modern}" = modern ]; then echo modern; fi ;;
    esac
}

find_python() {
    newest="python3.13 python3.12"
    if [ "${STACK:-}" = modern ]; then known="$newest python3.11 python3.10"; else known="python3.11 python3.10 $newest"; fi
    for candidate in ${PYTHON:-$known python3 python}; do
        if [ -n "$(stack_of "$(works "$candidate" || true)")" ]; then
            command -v "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no Python")
    if [ -n "${PYTHON:-}" ]; then found="$PYTHON ($("$PYTHON" --version 2>/dev/null || echo "which does not run"))"; fi
    echo "$needed with its venv module, and here is $found: install one (on Debian with python3-venv), or name one with" \
        "make PYTHON=/path/to/python3.11." >&2
    exit 1
}

stack=$(stack_of "$(works "$venv/bin/python" || true)")
if [ -e "$venv/stack-modern" ] && [ "$stack" = reference ]; then
    stack=${STACK:-modern} # it keeps its stack where none is named
fi
if [ -z "$stack" ] || { [ -n "${STACK:-}" ] && [ ! -e "$venv/stack-$stack" ]; }; then
    python=$(find_python)
    stack=$(stack_of "$(works "$python")")
    rm -rf "$venv"
    echo "Making $venv with $("$python" --version)."
    "$python" -m venv "$venv"
fi
touch "$venv/stack-$stack"
echo "Installing $lock of the $stack stack into $venv; this takes a minute or more, once."
# The lock file holds the whole closure, so nothing is left to resolve.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "locks/$stack/$lock"
cp widenet_keras.py widenet_keras.pth "$venv"/lib/python*/site-packages/
