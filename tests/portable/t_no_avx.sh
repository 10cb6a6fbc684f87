#!/bin/sh
# t_no_avx.sh - the one binary runs on a CPU without AVX.
#
# Under qemu-user with a CPU model that has no AVX the program must choose a
# lower rung by itself, and on the scalar rung give the very bytes that this
# machine's CPU gives.
#
# SPDX-License-Identifier: MIT
set -u
build=${BUILD:-build}
model=tests/data/models/tiny
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

check() { # NAME COMMAND...
    name=$1
    shift
    if "$@"; then echo "ok $name"; else echo "not ok $name"; fi
}

if ! command -v qemu-x86_64 >/dev/null 2>&1; then
    echo "not ok qemu_user_is_installed"
    exit 1
fi
emulate() {
    qemu-x86_64 -cpu Nehalem "$build/unstir" "$@"
}

emulate version --json >"$tmp/version" 2>"$tmp/err"
grep -q 'portable' "$tmp/version" && ! grep -q 'avx2' "$tmp/version"
check no_avx_lists_lower_rungs_only [ $? -eq 0 ]

emulate generate -m "$model" --class 1 --seed 5 --steps 4 -q -o "$tmp/auto.png" --force
check no_avx_generates [ -s "$tmp/auto.png" ]

emulate generate -m "$model" --class 1 --seed 5 --steps 4 --isa scalar -q -o "$tmp/emulated.png"
"$build/unstir" generate -m "$model" --class 1 --seed 5 --steps 4 --isa scalar -q -o "$tmp/native.png"
check no_avx_scalar_bytes_equal cmp "$tmp/emulated.png" "$tmp/native.png"

emulate generate -m "$model" --isa avx2 --steps 2 -q -o "$tmp/no.png" 2>"$tmp/err"
check no_avx_refuses_avx2 [ $? -eq 2 ]
