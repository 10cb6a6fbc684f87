#!/bin/sh
# t_reference.sh - the reference implementation opens what we export.
#
# Needs PyTorch and diffusers, about 6 GB: taken from the environment that
# tools/bench_peers made, or from $UNSTIR_PEERS_VENV.  Installed on the spot
# only when UNSTIR_TEST_REFERENCE=install asks for that and the registry
# answers.  tests/golden/t_export.c holds the same against recorded samples.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
venv=${UNSTIR_PEERS_VENV:-.venv/peers}
if [ ! -x "$venv/bin/python" ] && [ "${UNSTIR_TEST_REFERENCE:-}" = install ]; then
    if python3 -m venv "$venv" &&
        timeout 60 "$venv/bin/pip" download -q --no-deps -d "$venv" safetensors; then
        "$venv/bin/pip" install -q torch diffusers safetensors pillow
    else
        echo "SKIP reference: the package registry does not answer"
        rm -rf "$venv"
        exit 0
    fi
fi
if ! "$venv/bin/python" -c 'import torch, diffusers, PIL' 2>/dev/null; then
    echo "SKIP reference: no PyTorch and diffusers in $venv;" \
        "UNSTIR_TEST_REFERENCE=install puts them there (6 GB)"
    exit 0
fi
exec "$venv/bin/python" tests/python/reference_export.py \
    "${BUILD:-build}/unstir"
