#!/bin/sh
# run.sh - every benchmark of tests/bench, one after the other.
#
# usage: BUILD=build sh tests/bench/run.sh [name ...]      (http ...)
#
# Each prints JSON lines and "ok"/"not ok" where a figure is promised; exit 0
# if no promise is broken.
#
# SPDX-License-Identifier: MIT
set -u
BUILD=${BUILD:-build}
export BUILD
failed=0
for script in tests/bench/*.sh; do
    name=$(basename "$script" .sh)
    [ "$name" = run ] && continue
    case " ${*:-$name} " in
    *" $name "*) ;;
    *) continue ;;
    esac
    echo "== $name"
    sh "$script" || failed=1
done
exit $failed
