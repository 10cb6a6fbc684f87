# words.sh - banned calls and words; heads of files; unfinished work.
#
# Sourced by run.sh.
#
# SPDX-License-Identifier: MIT

: >"$tmp/calls"
for call in strcpy strcat sprintf vsprintf gets atoi atol atof strtok rand srand \
    localtime gmtime asctime alloca setjmp longjmp system popen tmpnam mktemp; do
    grep -rnE --include='*.[ch]' "(^|[^A-Za-z0-9_.>])$call *\(" include engine server cli |
        grep -vE ':[0-9]+: *(/?\*|//)' >>"$tmp/calls"
done
# libpng reports errors by longjmp: its one file may.
sed -i '/^engine\/image\/png\.c:.*setjmp(png_jmpbuf(/d' "$tmp/calls"
verdict banned_calls "$tmp/calls"

# Only these files name the heap.
grep -rnE --include='*.[ch]' '(^|[^A-Za-z0-9_.>])(malloc|calloc|realloc|aligned_alloc|posix_memalign|strdup|strndup|free) *\(' \
    engine | grep -vE '^engine/base/alloc.c:|:[0-9]+: *(/?\*|//)' >"$tmp/heap"
grep -rnE --include='*.[ch]' '(^|[^A-Za-z0-9_.>])(malloc|calloc|realloc|strdup|strndup) *\(' \
    server | grep -vE '^server/buf.c:|:[0-9]+: *(/?\*|//)' >>"$tmp/heap"
verdict heap_doors "$tmp/heap"

# The engine is silent and never ends the process.
grep -rnE --include='*.[ch]' '(^|[^A-Za-z0-9_.>])(printf|puts|putchar|perror|exit|_exit|abort|signal|sigaction) *\(|std(out|err)' \
    engine | grep -vE ':[0-9]+: *(/?\*|//)' >"$tmp/silent"
verdict engine_silent "$tmp/silent"

grep -rnE 'T[O]DO|F[I]XME|(^|[^A-Za-z.])X[X]X([^A-Za-z]|$)|#if 0|-ffast-[m]ath|-O[f]ast|march=[n]ative' \
    include engine server cli tools deploy tests/unit tests/kern tests/golden tests/server \
    tests/http Makefile run 2>/dev/null >"$tmp/words"
verdict unfinished "$tmp/words"

: >"$tmp/heads"
for f in $(sources); do
    base=$(basename "$f")
    head -n 1 "$f" | grep -qF "/* $base - " || echo "$f: line 1 is not \"/* $base - ...\"" >>"$tmp/heads"
    head -n 60 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f: no SPDX line" >>"$tmp/heads"
done
verdict heads "$tmp/heads"

sources | xargs wc -l | awk '$2 != "total" && $1 > 1000 { print $2 ": " $1 " lines (at most 1000)" }' >"$tmp/long"
verdict file_length "$tmp/long"
