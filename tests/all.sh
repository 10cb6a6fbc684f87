#!/bin/sh
# all.sh - everything `./run test` promises, in the order of cost.
#
#   lint, then every family in release mode (goldens on every rung), then
#   ASan+UBSan on everything but the large goldens, then TSan on what has
#   threads.  Last line: N passed, N failed.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=$(nproc 2>/dev/null || echo 2)
passed=0
failed=0

# Run "$2...", show its output, add the counts of its last line.
part() {
    title=$1
    shift
    echo "== $title"
    out=$(mktemp)
    "$@" >"$out" 2>&1
    rc=$?
    cat "$out"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out" | tail -n 1)
    if [ -n "$line" ]; then
        passed=$((passed + ${line%% passed*}))
        f=${line#* passed, }
        f=${f%% failed}
        failed=$((failed + f))
    else
        f=0
    fi
    if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then
        echo "FAILED: $title ended with exit $rc"
        failed=$((failed + 1))
    fi
    rm -f "$out"
}

build_and_check() {
    san=$1
    shift
    make -s -j"$jobs" SAN="$san" check-bins &&
        make -s SAN="$san" check FAMILIES="$*"
}

part "lint" sh tests/lint/run.sh
part "release" build_and_check "" unit kern golden server cli http portable python
part "address and undefined behaviour sanitizers" \
    build_and_check address,undefined unit kern server cli http
part "thread sanitizer" build_and_check thread unit server http
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
