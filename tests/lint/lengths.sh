# lengths.sh - functions of at most 100 lines (CONTRIBUTING.md wants far less;
# this is where reasons end).
#
# Sourced by run.sh.  A function starts at a brace in the first column below a
# line that ends its parameters; tables and kernels/<isa> are no matter here.
#
# SPDX-License-Identifier: MIT

: >"$tmp/lengths"
for f in $(sources); do
    awk '
        /^\{/ && prev ~ /\)$/ { start = FNR; name = head }
        /^[a-zA-Z_].*\(/ { head = $0; sub(/\(.*/, "", head); sub(/.*[ *]/, "", head) }
        /^\}/ && start {
            if (FNR - start > 101 && FILENAME !~ /^engine\/kernels\//)
                printf "%s:%d: %s has %d lines, at most 100\n", FILENAME, start, name, FNR - start - 1
            start = 0
        }
        { prev = $0 }' "$f" >>"$tmp/lengths"
done
verdict lengths "$tmp/lengths"
