#!/bin/sh
# environment.sh - the reference implementation in an environment of its own.
#
# usage: sh tests/python/environment.sh         installs it, unless it is there
#        . tests/python/environment.sh          in a test: $python is it, or the
#                                               test is skipped, loudly
#
# PyTorch and diffusers, about 6 GB, in the environment of tools/bench_peers or
# in $UNSTIR_PEERS_VENV.  Skipped when the package registry does not answer and
# when UNSTIR_TEST_REFERENCE=no says so; the goldens in tests/golden hold the
# same against recorded samples.  One at a time installs, the others wait.
#
# SPDX-License-Identifier: MIT
venv=${UNSTIR_PEERS_VENV:-.venv/peers}
python=$venv/bin/python

has_reference() {
    "$python" -c 'import torch, diffusers, transformers, safetensors, PIL' 2>/dev/null
}

skip_reference() {
    echo "SKIP reference: $*"
    exit 0
}

# Without compiling all of it to bytecode: most is never loaded.
install_reference() {
    has_reference && return 0
    python3 -m venv "$venv" || return 1
    probe=$(mktemp -d)
    timeout 120 "$venv/bin/pip" download -q --no-deps -d "$probe" safetensors
    answered=$?
    rm -rf "$probe"
    if [ $answered -ne 0 ]; then
        touch "$venv.away"
        return 1
    fi
    echo "installing PyTorch and diffusers into $venv"
    "$venv/bin/pip" install -q --no-compile \
        torch diffusers transformers safetensors pillow numpy peft gguf
}

# Bounds are of f32, which is not what every CPU takes by itself.
UNSTIR_PRECISION=f32
export UNSTIR_PRECISION

if [ "${UNSTIR_TEST_REFERENCE:-}" = no ]; then
    skip_reference "UNSTIR_TEST_REFERENCE=no"
fi
if ! has_reference; then
    mkdir -p "$(dirname "$venv")"
    (
        flock 9
        # Asked a moment ago, by a test beside this one: no answer again.
        [ -z "$(find "$venv.away" -mmin -5 2>/dev/null)" ] || exit 1
        rm -f "$venv.away"
        install_reference
    ) 9>"$venv.lock"
    [ ! -e "$venv.away" ] ||
        skip_reference "the package registry does not answer"
    if ! has_reference; then
        echo "not ok reference_installs"
        exit 1
    fi
fi
