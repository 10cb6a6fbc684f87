# format.sh - layout by .clang-format.
#
# Sourced by run.sh.
#
# SPDX-License-Identifier: MIT

: >"$tmp/format"
if command -v clang-format >/dev/null 2>&1; then
    for f in $(sources); do
        clang-format "$f" | cmp -s - "$f" || echo "$f: not as clang-format writes it (make format)" >>"$tmp/format"
    done
else
    echo "clang-format is not installed" >"$tmp/format"
fi
verdict format "$tmp/format"
