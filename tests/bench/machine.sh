# machine.sh - the roofs that shares refer to, and what threads cost.
#
# Wanted: two gangs in one process keep 80 % of what one of them does alone.
#
# SPDX-License-Identifier: MIT
"$BUILD/unstir" bench machine --json || exit 1
pool=$("$BUILD/unstir" bench pool --repeat 20 --json) || exit 1
echo "$pool"
if [ "$(echo "$pool" | jq '.kept >= 0.8')" = true ]; then
    echo "ok two gangs keep 80 %"
else
    echo "not ok two gangs keep 80 %"
    exit 1
fi
