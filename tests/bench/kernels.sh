# kernels.sh - every convolution and shape, with its share of the peak.
#
# SPDX-License-Identifier: MIT
json=$("$BUILD/unstir" bench kernels --repeat "${REPEAT:-3}" --json) || exit 1
echo "$json"
printf '%-20s %-28s %-9s %9s %9s %7s\n' kernel shape algorithm ms GFLOP/s share
echo "$json" | jq -r '.rows[] | [.kernel, .shape, .algorithm, .ms, .gflops, .share_of_peak] | @tsv' |
    awk -F'\t' '{ printf "%-20s %-28s %-9s %9.3f %9.1f %6.0f%%\n", $1, $2, $3, $4, $5, 100 * $6 }'
