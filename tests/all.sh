#!/bin/sh
# all.sh - everything `./run test` promises, in the order of cost.
#
#   lint, then every family in release mode (goldens on every rung), then
#   ASan+UBSan on everything but the large goldens, then TSan on what has
#   threads, then our side by side with the reference implementation, whose
#   packages arrive meanwhile.  Last line: N passed, N failed.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=$(nproc 2>/dev/null || echo 2)
passed=0
failed=0
spent=

# Run "$2...", show its output, add the counts of its last line.
part() {
    title=$1
    shift
    echo "== $title"
    start=$(date +%s)
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
    spent="$spent
    $(($(date +%s) - start)) s  $title"
}

build_and_check() {
    san=$1
    shift
    make -s -j"$jobs" SAN="$san" check-bins FAMILIES="$*" || return 1
    echo "built after $(($(date +%s) - start)) s"
    make -s SAN="$san" check FAMILIES="$*"
}

# The unit tests in which two threads meet.
with_threads() {
    grep -lE '(pool|executor|trainer)_(new|open)|pthread_create|network_golden' \
        tests/unit/t_*.c | sed 's|^tests/||; s|\.c$||'
}

sh tests/python/environment.sh >/dev/null 2>&1 &
packages=$!
part "lint" sh tests/lint/run.sh
part "release" build_and_check "" golden unit kern server cli http portable
part "address and undefined behaviour sanitizers" \
    build_and_check address,undefined unit kern server cli http
# shellcheck disable=SC2046 # a list of words
part "thread sanitizer" build_and_check thread $(with_threads) server http
wait $packages
part "reference implementation" build_and_check "" python
echo "seconds:$spent"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
