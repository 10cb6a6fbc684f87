# exports.sh - the library gives out unstir_* only, and keeps no mutable
# state of its own.
#
# Sourced by run.sh; needs a release build.
#
# SPDX-License-Identifier: MIT

build=${BUILD:-build}
: >"$tmp/exports"
if [ ! -f "$build/libunstir.a" ]; then
    echo "$build/libunstir.a: not built" >"$tmp/exports"
else
    nm -g --defined-only "$build/libunstir.a" | awk 'NF == 3 { print $3 }' |
        grep -v '^unstir_' >>"$tmp/exports"
    nm -D --defined-only "$build/libunstir.so" | awk 'NF == 3 { print $3 }' |
        grep -v '^unstir_\|^_init$\|^_fini$\|^__bss_start$\|^_edata$\|^_end$' >>"$tmp/exports"
fi
verdict exports "$tmp/exports"

# Declared but not defined, or the other way round.
grep -hoE '\bunstir_[a-z0-9_]+\(' include/*.h | tr -d '(' | sort -u |
    grep -v '_fn$' >"$tmp/declared"
nm -g --defined-only "$build/libunstir.a" | awk 'NF == 3 { print $3 }' | grep '^unstir_' |
    sort -u >"$tmp/defined"
: >"$tmp/api"
comm -3 "$tmp/declared" "$tmp/defined" >"$tmp/api"
verdict exports_match_headers "$tmp/api"

# Mutable data: the allocator's counters for tests, and nothing else.
# (.data.rel.ro holds constant tables of pointers.)
objdump -t "$build/libunstir.a" |
    awk '$4 ~ /^\.(data|bss|tdata|tbss)(\.|$)/ && $4 !~ /^\.data\.rel\.ro/ && $3 == "O" { print $4, $6 }' |
    grep -vE ' (n_allocations|fail_after|blas_lock)$' >"$tmp/mutable"
verdict no_mutable_globals "$tmp/mutable"
