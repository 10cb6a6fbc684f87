#!/bin/sh
# t_networks.sh - we load what the reference saves: drawn networks.
#
#   reference_networks.py   with schedulers and seeds, every step compared
#   differ.py               each kind of network on every rung
#
# A fixed set of seeds (more by hand: differ.py --seed, --count).
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/python/environment.sh
build=${BUILD:-build}
rc=0
"$python" tests/python/reference_networks.py "$build/unstir" || rc=1
if [ -x "$build/tests/golden/t_families" ]; then
    "$python" tools/goldens/differ.py --build "$build" --count 2 \
        --kind unet2d cond kl vq tiny dit || rc=1
fi
exit $rc
