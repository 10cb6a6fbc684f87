#!/bin/sh
# run.sh - run each fuzzer for a while from the committed corpus.
#
# usage: tests/fuzz/run.sh BUILD SECONDS
#
# New inputs are collected in BUILD/corpus; crashes stand in BUILD/crash-*.
# Last line per fuzzer: executions and result.
#
# SPDX-License-Identifier: MIT
set -u
build=$1
seconds=$2
rc=0
for bin in "$build"/tests/fuzz/fuzz_*; do
    [ -x "$bin" ] || continue
    name=$(basename "$bin")
    corpus=tests/fuzz/corpus/${name#fuzz_}
    fresh=$build/corpus/$name
    mkdir -p "$fresh"
    log=$build/$name.log
    if "$bin" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=8192 -print_final_stats=1 -artifact_prefix="$build/crash-$name-" \
        "$fresh" "$corpus" >"$log" 2>&1; then
        result=ok
    else
        result="FAILED (see $log)"
        rc=1
    fi
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions, $result"
done
exit $rc
