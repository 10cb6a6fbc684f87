#!/bin/sh
# t_files.sh - files that the reference and its neighbours read, read by us:
# drawn single files, LoRAs, textual inversions, GGUF and what is converted,
# uploaded pictures, and every key of the reference's configurations.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/python/environment.sh
build=${BUILD:-build}
rc=0
"$python" tests/python/reference_uploads.py "$build/unstir" || rc=1
"$python" tools/goldens/config_keys.py --unstir "$build/unstir" || rc=1
if "$python" -c 'import peft, gguf' 2>/dev/null; then
    "$python" tools/goldens/differ.py --build "$build" --count 2 \
        --kind single lora inversion gguf convert || rc=1
else
    echo "SKIP reference_files: peft and gguf are not in $venv"
fi
exit $rc
