# evals.sh - one evaluation of each network, by batch and precision.
#
# bf16 only where the CPU multiplies it: elsewhere the operands are rounded
# and nothing is gained.
#
# SPDX-License-Identifier: MIT
precisions=f32
grep -qs avx512_bf16 /proc/cpuinfo && precisions="f32 bf16"
for precision in $precisions; do
    for batch in 1 4 16; do
        "$BUILD/unstir" bench eval -m models/fashion --precision $precision --batch $batch --repeat 30 --json || exit 1
    done
    for batch in 1 4; do
        "$BUILD/unstir" bench eval -m tests/bench/models/ddpm-cifar10 --precision $precision --batch $batch --repeat 12 --json || exit 1
    done
done
