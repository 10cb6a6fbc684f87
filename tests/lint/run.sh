#!/bin/sh
# run.sh - the rules of CONTRIBUTING.md that a machine can check.
#
# Each rule prints "ok lint_<rule>" or what broke it and "not ok lint_<rule>";
# the last line counts.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.."
passed=0
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# verdict NAME FILE: the rule holds when FILE is empty.
verdict() {
    if [ -s "$2" ]; then
        head -n 20 "$2"
        echo "not ok lint_$1"
        failed=$((failed + 1))
    else
        echo "ok lint_$1"
        passed=$((passed + 1))
    fi
}

sources() {
    find include engine server cli tests -name '*.[ch]' | sort
}

. tests/lint/layers.sh
. tests/lint/words.sh
. tests/lint/headers.sh
. tests/lint/exports.sh
. tests/lint/calls.sh
. tests/lint/lengths.sh
. tests/lint/modes.sh
. tests/lint/paths.sh
. tests/lint/format.sh

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
