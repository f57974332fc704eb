#!/bin/sh
# Makes the environment of one kind of peers in the repository's root: sh benchmarks/peers/setup.sh garden, or torch, or tpu.
# Needs Python 3.10 or 3.11 (tpu: 3.11 to 3.13) with its venv module; PYTHON names one. Run it again at any time: it repairs what
# is broken.
set -eu

peer=${1:-}
case "$peer" in
garden | torch)
    versions="3.10 or 3.11"
    range="(3, 10) <= sys.version_info < (3, 12)"
    ;;
tpu)
    versions="3.11, 3.12 or 3.13"
    range="(3, 11) <= sys.version_info < (3, 14)"
    ;;
*)
    echo "Which environment? sh benchmarks/peers/setup.sh garden, or torch, or tpu." >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")"
environment=../../.venv-$peer

is_supported() {
    "$1" -c "import ensurepip, venv, sys; sys.exit(not $range)" 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.10 python3.13 python3.12 python3 python}; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "This environment needs Python $versions with its venv module, and none is here: install one (on Debian with" \
        "python3-venv), or name one with PYTHON=/path/to/python3.11." >&2
    exit 1
}

install() {
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"
}

if ! is_supported "$environment/bin/python"; then
    python=$(find_python)
    rm -rf "$environment"
    echo "Making .venv-$peer with $("$python" --version)."
    "$python" -m venv "$environment"
fi
echo "Installing $peer.lock into .venv-$peer; this takes a minute or more, once."
install --require-hashes -r "$peer.lock"
if [ "$peer" = torch ]; then
    torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' torch-requirements.txt)
    if ! install "$torch"; then
        echo "$torch is not where pip looks. PyTorch's own index of packages for the CPU has it: name that with" \
            "PIP_EXTRA_INDEX_URL, or a folder that holds the package with PIP_FIND_LINKS." >&2
        exit 1
    fi
fi
