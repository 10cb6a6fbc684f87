#!/bin/sh
# t_reference.sh - the reference implementation beside ours, live.
#
#   reference_export.py     it loads what `unstir train` exports, same samples
#   reference_networks.py   we load what it saves: drawn networks, schedulers
#                           and seeds, every step compared
#   reference_uploads.py    uploaded pictures are read as Pillow reads them
#   tools/goldens/config_keys.py   no key of its configurations is passed over
#   tools/goldens/differ.py drawn networks, pipelines, layouts and requests;
#                           a fixed set of seeds (more by hand: --seed, --count)
#
# Needs PyTorch and diffusers, about 6 GB, in a private environment: the one
# of tools/bench_peers, or $UNSTIR_PEERS_VENV; made here when it is missing.
# Skipped, loudly, when the package registry does not answer, and when
# UNSTIR_TEST_REFERENCE=no says so.  The goldens in tests/golden hold the same
# against recorded samples.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
venv=${UNSTIR_PEERS_VENV:-.venv/peers}
build=${BUILD:-build}

has_reference() {
    "$venv/bin/python" -c 'import torch, diffusers, transformers, safetensors, PIL' 2>/dev/null
}

if [ "${UNSTIR_TEST_REFERENCE:-}" = no ]; then
    echo "SKIP reference: UNSTIR_TEST_REFERENCE=no"
    exit 0
fi
if ! has_reference; then
    probe=$(mktemp -d)
    python3 -m venv "$venv"
    if ! timeout 120 "$venv/bin/pip" download -q --no-deps -d "$probe" safetensors; then
        echo "SKIP reference: the package registry does not answer"
        rm -rf "$probe"
        exit 0
    fi
    rm -rf "$probe"
    echo "installing PyTorch and diffusers into $venv"
    "$venv/bin/pip" install -q torch diffusers transformers safetensors pillow numpy peft gguf
fi
if ! has_reference; then
    echo "not ok reference_installs"
    exit 1
fi
rc=0
"$venv/bin/python" tests/python/reference_export.py "$build/unstir" || rc=1
"$venv/bin/python" tests/python/reference_networks.py "$build/unstir" || rc=1
"$venv/bin/python" tests/python/reference_uploads.py "$build/unstir" || rc=1
"$venv/bin/python" tools/goldens/config_keys.py --unstir "$build/unstir" || rc=1
kinds="sd sdxl refiner lcm img2img inpaint edit ddpm ddim score consistency ldm ditpipe"
if "$venv/bin/python" -c 'import peft, gguf' 2>/dev/null; then
    kinds="$kinds single lora inversion gguf"
else
    echo "SKIP reference_files: peft and gguf are not in $venv"
fi
if [ -x "$build/tests/golden/t_families" ]; then
    kinds="$kinds unet2d cond kl vq tiny dit"
fi
# shellcheck disable=SC2086 # a list of words
"$venv/bin/python" tools/goldens/differ.py --build "$build" --count 2 --kind $kinds || rc=1
exit $rc
