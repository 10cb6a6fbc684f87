#!/bin/sh
# run.sh - every benchmark of tests/bench, one after the other, then a table.
#
# usage: BUILD=build sh tests/bench/run.sh [machine kernels evals steps train http bodies]
#
# Run by hand it builds its clients first, which `make bench` has done.
#
# Each script prints JSON lines, and "ok"/"not ok" where a figure is promised.
# The lines are kept in $BUILD/bench/<name>.jsonl, of which table.jq makes the
# Markdown table that ends the output.  Exit 0 if no promise is broken.
#
# SPDX-License-Identifier: MIT
set -u
BUILD=${BUILD:-build}
export BUILD
[ -n "${MAKELEVEL:-}" ] || make -s BUILD="$BUILD" bench-clients || exit 1
names=${*:-machine kernels evals steps train http bodies}
out=$BUILD/bench
failed=0
cpu=$(lscpu | sed -n 's/^Model name: *//p')
load=$(cut -d" " -f1 /proc/loadavg)
mkdir -p "$out"
rm -f "$out"/*.jsonl
for name in $names; do
    echo "== $name"
    sh "tests/bench/$name.sh" >"$out/$name.log" 2>&1 || failed=1
    grep '^{' "$out/$name.log" >"$out/$name.jsonl"
    if [ "$name" = kernels ]; then
        grep -v '^{' "$out/$name.log"
    else
        cat "$out/$name.log"
    fi
done
echo "== table"
echo
echo "$cpu, $(nproc) CPUs, $(uname -sr); unstir $("$BUILD/unstir" version | sed -n '1s/unstir //p;2p' | tr '\n' ',' | sed 's/,$//'); load average before: $load."
echo
cat "$out"/*.jsonl | jq -rsf tests/bench/table.jq
exit $failed
