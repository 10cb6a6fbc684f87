#!/bin/sh
# run.sh - run test families and count.
#
# usage: BUILD=build SAN= sh tests/run.sh [family ...]
#
# A cmocka program prints "[       OK ] name" or "[  FAILED  ] name" a test; a
# script prints "ok name" or "not ok name" a test.  Each family prints its
# seconds.  The last line is "N passed, N failed"; exit 0 if none failed.
#
# SPDX-License-Identifier: MIT
set -u
BUILD=${BUILD:-build}
export BUILD
families=${*:-unit kern golden server http cli}
log=$BUILD/tests/log
mkdir -p "$log"
passed=0
failed=0
for family in $families; do
    start=$(date +%s)
    family_failed=$failed
    family_passed=$passed
    for t in "$BUILD"/tests/"$family"/t_* tests/"$family"/t_*.sh; do
        case $t in *.o | *.d) continue ;; esac
        [ -x "$t" ] || [ "${t%.sh}" != "$t" ] || continue
        [ -f "$t" ] || continue
        name=$family-$(basename "$t")
        out=$log/$name.log
        if [ "${t%.sh}" != "$t" ]; then
            timeout 900 sh "$t" >"$out" 2>&1
            rc=$?
        else
            timeout 900 "$t" >"$out" 2>&1
            rc=$?
        fi
        ok=$(grep -c -E '^(\[       OK \]|ok )' "$out")
        bad=$(grep -E '^(\[  FAILED  \]|not ok )' "$out" | sort -u | grep -v -c -E 'test\(s\), listed below|^\[  FAILED  \] +[0-9]+ ')
        if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
            bad=1
        fi
        if [ "$bad" -ne 0 ]; then
            echo "FAILED $name (exit $rc); its output:"
            sed 's/^/    /' "$out" | tail -n 60
        fi
        grep -E '^(skip|SKIP)' "$out" | sed "s/^/$name: /"
        passed=$((passed + ok))
        failed=$((failed + bad))
    done
    echo "$family: $((passed - family_passed)) passed, $((failed - family_failed)) failed, $(($(date +%s) - start)) s"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
