#!/bin/sh
# Writes locks/STACK/requirements*.lock from the lists in pyproject.toml; `make lock` runs it. Options go to `uv pip compile`.
# There, markers say which Python gets which stack by default. Here each stack is resolved for every Python that it can have, first
# with the extra test, whose versions the other files then keep to: what is installed is what was tested.
set -eu

cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

reference() {
    sed -e "/python_version >= '3.12'/d" -e "s/ *\(;\|and\) python_version < '3.12'//" -e "s/< '3.14'/< '3.12'/" pyproject.toml
}

modern() {
    sed -e "/python_version < '3.1[12]'/d" -e "s/; python_version >= '3.12'//" pyproject.toml
}

# TensorFlow for TPUs ends at 2.20, which takes any later libtpu: it gets the one of its time. What depends on tensorflow would
# install that into the same folder, so it is overridden away.
tpu() {
    modern | sed -e 's/"tensorflow>=.*",/"tensorflow-tpu==2.20.0", "libtpu==0.0.20",/' -e 's/"tf-keras>=.*",/"tf-keras==2.20.1",/' \
        -e 's/"tensorflow-text>=.*",/"tensorflow-text==2.20.1",/' \
        -e "s/sys_platform != 'win32'/sys_platform == 'linux' and platform_machine == 'x86_64'/" \
        -e "s/^override-dependencies = \[/&\"tensorflow; python_version < '3'\", /"
}

lock() { # stack, extra, file whose versions are kept, options; a file in locks/ is replaced when the new one is whole
    name=requirements${2:+-$2}.lock
    if [ -e "$3" ]; then cp "$3" "$work/$name"; fi
    (cd "$work" && uv pip compile --quiet pyproject.toml ${2:+--extra="$2"} --universal --python-version 3.10 --generate-hashes \
        --no-header -o "$name" ${4:-})
    mkdir -p "locks/$1"
    mv "$work/$name" "locks/$1/$name"
}

for stack in reference modern; do
    $stack >"$work/pyproject.toml"
    tested=locks/$stack/requirements-test.lock
    lock $stack test "$tested" "$*"
    for extra in "" text beam onnx weights minilm; do lock $stack "$extra" "$tested"; done
done
tpu >"$work/pyproject.toml"
lock tpu "" locks/modern/requirements.lock
