#!/bin/sh
# run.sh - run test families and count.
#
# usage: BUILD=build SAN= JOBS=2 sh tests/run.sh [family | family/pattern ...]
#
# JOBS test programs (as many as there are CPUs) run at a time, each by
# tests/one.sh; a pattern is one of the shell's, e.g. http/t_b_*.  A family
# prints its counts and the seconds of its programs added up, of the clock and
# of the CPUs; the slowest programs follow.  The last line is "N passed, N
# failed"; exit 0 if none failed.
#
# SPDX-License-Identifier: MIT
set -u
BUILD=${BUILD:-build}
JOBS=${JOBS:-$(nproc 2>/dev/null || echo 2)}
export BUILD
slowest=10
log=$BUILD/tests/log
mkdir -p "$log"

# The programs of one word of the command line, compiled ones first.
programs() {
    family=${1%%/*}
    pattern=t_*
    [ "$family" = "$1" ] || pattern=${1#*/}
    # shellcheck disable=SC2231 # a pattern
    for t in "$BUILD"/tests/$family/$pattern tests/$family/$pattern; do
        case $t in
        tests/*.sh) [ -f "$t" ] && echo "$t" ;;
        tests/* | *.o | *.d) ;;
        *) [ -f "$t" ] && [ -x "$t" ] && echo "$t" ;;
        esac
    done
}

[ $# -gt 0 ] || set -- unit kern golden server http cli
for word in "$@"; do
    programs "$word" >"$log/of-word"
    if [ ! -s "$log/of-word" ]; then
        echo "run.sh: no test in $BUILD is called \"$word\"; families:" tests/*/t_* |
            sed 's|tests/\([a-z]*\)/[^ ]*|\1|g' | tr ' ' '\n' | awk '!seen[$0]++' | xargs >&2
        exit 2
    fi
    cat "$log/of-word"
done >"$log/all" || exit 2
awk '!seen[$0]++' "$log/all" >"$log/programs"
rm -f "$log"/*.result
xargs -n 1 -P "$JOBS" sh tests/one.sh "$log" <"$log/programs"

# A line a program: family, name, passed, failed, seconds, CPU seconds.
while read -r t; do
    family=$(basename "$(dirname "$t")")
    name=$family-$(basename "$t")
    cat "$log/$name.result" 2>/dev/null || echo "$family $name 0 1 0 0"
done <"$log/programs" >"$log/results"
awk '{
    if (!($1 in n)) order[++families] = $1
    n[$1]++; ok[$1] += $3; bad[$1] += $4; s[$1] += $5; cpu[$1] += $6
}
END {
    for (i = 1; i <= families; i++) {
        f = order[i]
        printf "%s: %d passed, %d failed, %.0f s, %.0f s of CPU, %d programs\n",
            f, ok[f], bad[f], s[f], cpu[f], n[f]
    }
}' "$log/results"
echo "slowest:"
sort -k5,5nr "$log/results" | head -n $slowest |
    awk '{ printf "    %6.1f s, %6.1f s of CPU  %s\n", $5, $6, $2 }'
awk '{ ok += $3; bad += $4 } END {
    printf "%d passed, %d failed\n", ok, bad
    exit bad > 0
}' "$log/results"
