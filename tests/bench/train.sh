# train.sh - one optimiser step of the shipped model's network.
#
# SPDX-License-Identifier: MIT
precisions=f32
grep -qs avx512_bf16 /proc/cpuinfo && precisions="f32 bf16"
for precision in $precisions; do
    "$BUILD/unstir" bench train -m models/fashion --precision $precision --repeat 5 --json || exit 1
done
