#!/bin/sh
# t_hot_loops.sh - the innermost loops of the product kernels keep their sums
# in registers: found in the disassembly, not timed.
#
# A row of the table is an object below engine/kernels, a function and the
# multiply-adds of one of its innermost loops: such a loop must be there, and
# nothing in any of them may touch the stack.
#
# SPDX-License-Identifier: MIT
set -u
build=${BUILD:-build}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if [ "$(uname -m)" != x86_64 ]; then
    echo "SKIP hot_loops: the kernels are for x86-64"
    exit 0
fi
if [ -n "${SAN:-}" ]; then
    echo "SKIP hot_loops: sanitizers put checks into loops"
    exit 0
fi

loops() { # OBJECT: its loops, once
    list=$tmp/$(basename "$1")
    [ -f "$list" ] ||
        objdump -d --no-show-raw-insn "$build/obj/engine/kernels/$1.o" |
        awk -f tests/kern/loops.awk >"$list"
    cat "$list"
}

check() { # OBJECT FUNCTION MULTIPLY-ADDS
    name=hot_loop_$(basename "$1")_$2_$3
    found=$(loops "$1" | awk -v f="$2" -v n="$3" '$1 == f && $2 == n')
    spilled=$(printf '%s\n' "$found" | awk 'NF && $3 != 0')
    if [ -n "$found" ] && [ -z "$spilled" ]; then
        echo "ok $name"
    else
        echo "wanted: $2 $3 0 (function, multiply-adds, stack accesses); got:"
        loops "$1" | grep "^$2 "
        echo "not ok $name"
    fi
}

# f32: 6 x 16, twelve sums of eight; short tiles two sums a row.
for n in 4 6 8 10 12; do
    check avx2/gemm_avx2 tile $n
done
check avx2/gemm_avx2 outer 12
check avx2/gemm_avx2 dots 8
check avx2/winograd_avx2 tile_nn_6 12
check avx2/winograd_avx2 tile_tn_6_2 12
check avx2/vector_avx2 product_columns 12

# 8-bit numbers: two products a row of 6 x 16, of 14 x 32.
for n in 2 4 6 8 10 12; do
    check avx2/int8_avx2 tile $n
done
for m in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
    check avx512vnni/int8_avx512vnni rows_$m $((2 * m))
done

# bf16: 14 x 32, twenty-eight sums of sixteen.
for m in 2 3 4 5 6 7 8 9 10 11 12 13 14; do
    check avx512bf16/gemm_avx512bf16 even_rows_$m $((2 * m))
    check avx512bf16/gemm_avx512bf16 some_rows_$m $((2 * m))
    check avx512bf16/attention_avx512bf16 scores_$m $((2 * m))
    check avx512bf16/attention_avx512bf16 powers_$m $((2 * m))
    check avx512bf16/attention_avx512bf16 weigh_$m $((2 * m))
done
# Powers of two of 2 x 32 scores.
check avx512bf16/attention_avx512bf16 softmax 12
for m in 8 10 11 12 13 14; do
    check avx512bf16/winograd_avx512bf16 pairs_${m}_1 $m
    check avx512bf16/winograd_avx512bf16 pairs_${m}_2 $((2 * m))
done
