#!/bin/sh
# one.sh - run one test program for run.sh.
#
# usage: sh tests/one.sh LOG_FOLDER PROGRAM
#
# A cmocka program prints "[       OK ] name" or "[  FAILED  ] name" a test; a
# script prints "ok name" or "not ok name" a test.  What the program printed
# stands in LOG_FOLDER/FAMILY-NAME.log and, when something failed, is shown at
# its end; skips are always shown.  FAMILY-NAME.result holds one line: family,
# name, passed, failed, seconds, seconds of CPU.
#
# SPDX-License-Identifier: MIT
set -u
family=$(basename "$(dirname "$2")")
name=$family-$(basename "$2")
out=$1/$name.log
limit_s=900

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

start=$(now_ms)
case $2 in
*.sh) timeout $limit_s sh "$2" >"$out" 2>&1 ;;
*) timeout $limit_s "$2" >"$out" 2>&1 ;;
esac
rc=$?
ms=$(($(now_ms) - start))
# The second line of `times` is of the children: 0m1.5s 0m0.2s.
times >"$1/$name.times"
cpu=$(awk 'NR == 2 {
    for (i = 1; i <= 2; i++) { split($i, t, "m"); s += 60 * t[1] + t[2] }
    printf "%.2f", s
}' "$1/$name.times")
rm -f "$1/$name.times"

ok=$(grep -c -E '^(\[       OK \]|ok )' "$out")
bad=$(grep -E '^(\[  FAILED  \]|not ok )' "$out" | sort -u |
    grep -v -c -E 'test\(s\), listed below|^\[  FAILED  \] +[0-9]+ ')
if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1
fi
shown=$(
    if [ "$bad" -ne 0 ]; then
        echo "FAILED $name (exit $rc); its output:"
        sed 's/^/    /' "$out" | tail -n 60
    fi
    grep -E '^(skip|SKIP)' "$out" | sed "s/^/$name: /"
)
[ -z "$shown" ] || printf '%s\n' "$shown"
echo "$family $name $ok $bad $((ms / 1000)).$(printf %03d $((ms % 1000))) $cpu" >"$1/$name.result"
