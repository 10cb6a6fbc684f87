#!/bin/sh
# run.sh - run the fuzzers for a while from the committed corpus.
#
# usage: JOBS=2 tests/fuzz/run.sh BUILD SECONDS [name ...]
#
# SECONDS of the clock for all of them together: JOBS run at a time and each
# gets its share, ten seconds at least.  Names as in tests/fuzz/corpus; without
# any, all.  New inputs are collected in BUILD/corpus, where the next run goes
# on; crashes stand in BUILD/crash-*.  A line each when it ends: executions,
# inputs found, result; exit 1 if one failed.
#
# SPDX-License-Identifier: MIT
set -u
build=$1
total_s=$2
shift 2
JOBS=${JOBS:-$(nproc 2>/dev/null || echo 2)}

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # a list of words
    set -- $(ls "$build"/tests/fuzz | sed -n 's/^fuzz_//p')
fi
for name in "$@"; do
    [ -x "$build/tests/fuzz/fuzz_$name" ] && continue
    echo "run.sh: no fuzzer is called \"$name\"; there are:" \
        $(ls "$build"/tests/fuzz | sed -n 's/^fuzz_//p') >&2
    exit 2
done
share_s=$((total_s * JOBS / $#))
[ $share_s -ge 10 ] || share_s=10
echo "$# fuzzers, $share_s s each, $JOBS at a time: $(((share_s * $# + JOBS - 1) / JOBS)) s"

rm -f "$build"/failed-*
# In the shell of xargs: one fuzzer.  The limit is for one that hangs in what
# it read first, which libFuzzer's own clock does not interrupt.
printf '%s\n' "$@" | xargs -n 1 -P "$JOBS" sh -c '
    build=$1 share_s=$2 name=$3
    fresh=$build/corpus/fuzz_$name
    log=$build/fuzz_$name.log
    mkdir -p "$fresh"
    before=$(ls "$fresh" | wc -l)
    result=ok
    if ! timeout $((share_s * 2 + 60)) "$build/tests/fuzz/fuzz_$name" \
        -max_total_time="$share_s" -timeout=10 -rss_limit_mb=2048 \
        -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="$build/crash-$name-" \
        "$fresh" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
        result="FAILED (see $log)"
        touch "$build/failed-$name"
    fi
    echo "$name: $(sed -n "s/^stat::number_of_executed_units: *//p" "$log")" \
        "executions, $(($(ls "$fresh" | wc -l) - before)) new inputs, $result"
' sh "$build" "$share_s"
! ls "$build"/failed-* >/dev/null 2>&1
