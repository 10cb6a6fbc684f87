# steps.sh - whole pictures on the command line, without loading: the best of
# five.
#
# SPDX-License-Identifier: MIT
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for steps in 25 50; do
    for _ in 1 2 3 4 5; do
        "$BUILD/unstir" generate -m models/fashion -p sneaker --seed 7 --steps $steps --json --quiet --force -o "$tmp/p.png" || exit 1
    done | jq -sc "{what: \"picture\", model: \"models/fashion\", steps: $steps, ms: (map(.ms.denoise) | min)} | . + {ms_per_step: (.ms / .steps)}"
done
