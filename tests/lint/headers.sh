# headers.sh - every header compiles alone: the public ones as C11 and C++,
# the inner ones as C11.
#
# Sourced by run.sh.
#
# SPDX-License-Identifier: MIT

cc=${CC:-gcc}
: >"$tmp/alone"
for h in include/*.h; do
    $cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c "$h" 2>>"$tmp/alone" ||
        echo "$h: does not compile alone as C11" >>"$tmp/alone"
    if command -v g++ >/dev/null 2>&1; then
        g++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only -x c++ "$h" 2>>"$tmp/alone" ||
            echo "$h: does not compile alone as C++" >>"$tmp/alone"
    fi
done
verdict headers_public "$tmp/alone"

: >"$tmp/inner"
server_flags=$(pkg-config --cflags libmicrohttpd libuv jansson)
for h in $(find engine server cli -name '*.h' | sort); do
    case $h in
    *_table.h | */job_states.h | */errors_table.h) continue ;; # X-macros
    esac
    # shellcheck disable=SC2086
    $cc -std=c11 -D_GNU_SOURCE -Iinclude -Iengine -Iserver -Icli $server_flags \
        -mavx2 -mfma -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -fsyntax-only -x c "$h" 2>>"$tmp/inner" ||
        echo "$h: does not compile alone" >>"$tmp/inner"
done
verdict headers_inner "$tmp/inner"

: >"$tmp/guards"
for h in $(find engine server cli include -name '*.h' | sort); do
    guard=$(printf '%s' "${h#*/}" | tr 'a-z/.' 'A-Z__')
    full=$(printf '%s' "$h" | tr 'a-z/.' 'A-Z__')
    case $h in
    *_table.h | */job_states.h | */errors_table.h) continue ;;
    esac
    grep -qE "^#ifndef ($guard|$full)$" "$h" || echo "$h: guard is not $guard" >>"$tmp/guards"
done
verdict headers_guards "$tmp/guards"
