# calls.sh - who may call whom: the layers again, by functions.
#
# Sourced by run.sh after layers.sh and exports.sh; needs the objects of a release build.  A
# header may stand low while its function is defined high: includes do not
# show that, the object files do.  A call is a reference from code; tables of
# functions (routes, samplers, parts) are data and may point upwards.

# From each object: what it defines, and what its code refers to.
#     d object symbol type     (a capital: others may refer to it)
#     r object symbol
# An object whose source is gone is of an older build.
find engine server cli -name '*.c' | sort | while read -r source; do
    object=$build/obj/${source%.c}.o
    [ -f "$object" ] && echo "$object"
done >"$tmp/objects"
{
    xargs nm -A --defined-only <"$tmp/objects" |
        awk '{ sub(/:.*/, "", $1); print "d", $1, $NF, $(NF - 1) }'
    xargs readelf -rW <"$tmp/objects" | awk '
        /^File: / { object = $2 }
        /^Relocation section/ { is_code = /\.rela?\.text/ }
        is_code && $3 ~ /^R_/ { print "r", object, $5 }'
} | sed "s|$build/obj/||; s|\.o | |" >"$tmp/symbols"

# Pairs of files: caller, callee, function.  A static function is its own
# file's, whoever else has one of that name.
awk '$1 == "d" { defined[$2, $3] = 1; if ($4 ~ /[A-Z]/) home[$3] = $2; next }
    !(($2, $3) in defined) && ($3 in home) && !seen[$2, $3]++ {
        print $2, home[$3], $3
    }' "$tmp/symbols" >"$tmp/calls"

# Folders of the engine, by the table of layers.sh.  The public doors
# (engine/*.c) stand above all of them.
: >"$tmp/calls_engine"
[ -s "$tmp/calls" ] || echo "$build/obj: not built" >"$tmp/calls_engine"
printf '%s\n' "$engine_layers" | awk '
    function layer(file, part) {
        return split(file, part, "/") > 2 ? part[2] : "the public doors"
    }
    NR == FNR {
        if (split($0, half, ":") == 2) {
            n = split(half[2], below, " ")
            for (i = 1; i <= n; i++) may[half[1], below[i]] = 1
        }
        next
    }
    $1 ~ /^engine\// {
        from = layer($1); to = layer($2)
        if (from != "the public doors" && from != to && !((from, to) in may))
            printf "%s.c calls %s() of %s.c: %s may not call %s\n", $1, $3, $2, from, to
    }' - "$tmp/calls" >>"$tmp/calls_engine"
verdict calls_engine "$tmp/calls_engine"

# The server: files call downwards, never in circles.
awk '$1 ~ /^server\// && $2 ~ /^server\// { print $1, $2 }' "$tmp/calls" |
    sort -u | tsort 2>"$tmp/calls_server" >/dev/null
verdict calls_server "$tmp/calls_server"

# So do the engine below its pipeline, and the command line but for generate's
# files, which share its table of options.  Lowering an operation first lowers
# what that needs: the one recursion through two files.
awk '$3 != "lower_op" &&
    (($1 ~ /^engine\// && $1 !~ /^engine\/(pipeline|api_)/ && $2 !~ /^engine\/(pipeline|api_)/) ||
     ($1 ~ /^cli\// && $2 ~ /^cli\// && $1 !~ /generate/)) { print $1, $2 }' "$tmp/calls" |
    sort -u | tsort 2>"$tmp/calls_circles" >/dev/null
verdict calls_circles "$tmp/calls_circles"

# What jobs and models are made of knows no request and no answer.
awk '$1 ~ /^server\/(job|model|genreq|scheduler|progress|warm|queue|worker|artifacts|upload)/ &&
    $2 ~ /^server\/(h_|http$|request$|reply$|stream$|intake$|hangup$|connection$|gate$|head$)/ {
        printf "%s.c calls %s() of %s.c: jobs and models know no HTTP\n", $1, $3, $2
    }' "$tmp/calls" >"$tmp/calls_http"
verdict calls_http "$tmp/calls_http"
