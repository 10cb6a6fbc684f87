# lib.sh - what the HTTP tests share; sourced, not run.
#
#     . tests/http/lib.sh
#     start_server --max-queue 2
#     is "name" "$(curl ...)" "wanted"
#     finish
#
# The server runs build/unstir on the tiny random model, at a port that the
# system chooses and at the niceness of the tests: what else the machine does
# shall not starve it.  Nothing sleeps: the port comes through a pipe, readiness and
# jobs are asked for (?wait=).
#
# SPDX-License-Identifier: MIT
set -u
BUILD=${BUILD:-build}
MODEL=${MODEL:-tests/data/models/tiny}
TMP=$(mktemp -d)
SERVER=
FAILED=0
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:exitcode=99"
export TSAN_OPTIONS="${TSAN_OPTIONS:-}:exitcode=99:halt_on_error=1"

stop_server() {
    [ -n "$SERVER" ] || return 0
    kill -TERM "$SERVER" 2>/dev/null
    wait "$SERVER"
    CODE=$?
    SERVER=
    exec 3<&-
    return 0
}

clean_up() {
    [ -z "$SERVER" ] || kill -KILL "$SERVER" 2>/dev/null
    rm -rf "$TMP"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# start_server [option ...]: sets URL; returns when the model is ready.
start_server() {
    rm -f "$TMP/out"
    mkfifo "$TMP/out"
    "$BUILD/unstir" serve --port 0 -m "$MODEL" --drain-grace 0 --nice 0 \
        --max-queue-seconds 24h "$@" \
        >"$TMP/out" 2>"$TMP/log" 3>&- &
    SERVER=$!
    exec 3<"$TMP/out"
    URL=
    while read -r line <&3; do
        case $line in
        "listening on "*) URL=${line#listening on } && break ;;
        esac
    done
    if [ -z "$URL" ]; then
        echo "not ok the server starts"
        cat "$TMP/log"
        exit 1
    fi
    wait_ready
}

wait_ready() {
    tries=0
    until curl -sf "$URL/health/ready" >/dev/null || [ $tries -ge 3000 ]; do
        tries=$((tries + 1))
    done
}

# copy_model FOLDER ID: the same model under another id, at $TMP/ID
copy_model() {
    cp -r "$1" "$TMP/$2"
    jq --arg id "$2" '.id = $id' "$1/unstir.json" >"$TMP/$2/unstir.json"
}

# is NAME GOT WANTED
is() {
    if [ "$2" = "$3" ]; then
        echo "ok $1"
    else
        echo "not ok $1"
        echo "    wanted: $3"
        echo "    got:    $2"
        FAILED=1
    fi
}

# like NAME GOT PATTERN (of case)
like() {
    # shellcheck disable=SC2254
    case $2 in
    $3) echo "ok $1" ;;
    *)
        echo "not ok $1"
        echo "    wanted: $3"
        echo "    got:    $2"
        FAILED=1
        ;;
    esac
}

# finish: the server ends well (sanitizers say so by its exit code).
finish() {
    if [ -n "$SERVER" ]; then
        stop_server
        is "the server ends with 0" "$CODE" 0
        [ "$CODE" = 0 ] || tail -n 40 "$TMP/log"
    fi
    exit $FAILED
}

# post PATH JSON [curl option ...]
post() {
    path=$1
    json=$2
    shift 2
    curl -s -m 60 "$URL$path" -H 'Content-Type: application/json' -d "$json" "$@"
}

get() {
    path=$1
    shift
    curl -s -m 60 "$URL$path" "$@"
}

# status OPTION ...: the status code alone
status() {
    curl -s -m 60 -o /dev/null -w '%{http_code}' "$@"
}

# header FILE NAME: value of a header in a file written by curl -D
header() {
    tr -d '\r' <"$1" | sed -n "s/^$2: //Ip" | tail -n 1
}

# new_job JSON: its id
new_job() {
    post /v1/jobs "$1" | jq -r .id
}

# wait_job ID: until it has ended; prints the job
wait_job() {
    while :; do
        looked=$(get "/v1/jobs/$1?wait=30")
        case $(printf %s "$looked" | jq -r .status) in
        queued | running | canceling) ;;
        *)
            printf %s "$looked"
            return
            ;;
        esac
    done
}

# n_succeeded ID ...: how many of them do, once all have ended
n_succeeded() {
    for job in "$@"; do
        wait_job "$job" | jq -r .status
    done | grep -c '^succeeded$'
}

# wait_step ID N: until it has taken step N
wait_step() {
    while [ "$(get "/v1/jobs/$1?wait=30" | jq '.progress.step')" -lt "$2" ]; do
        :
    done
}

# wait_state ID STATE
wait_state() {
    while [ "$(get "/v1/jobs/$1?wait=30" | jq -r .status)" != "$2" ]; do
        :
    done
}

is_png() {
    [ "$(od -An -tx1 -N8 "$1" | tr -d ' \n')" = 89504e470d0a1a0a ] &&
        echo png || echo "not png"
}

# size of a PNG: 16x16
png_size() {
    # shellcheck disable=SC2046
    set -- $(od -An -tu1 -j16 -N8 "$1")
    echo "$(($3 * 256 + $4))x$(($7 * 256 + $8))"
}

sha() {
    sha256sum "$1" | cut -d' ' -f1
}

# Takes seconds on any machine: for what must be seen while it runs.  Built
# with a sanitizer a step takes twenty times as long, so it is a smaller one.
case $BUILD in
*san-*) EDGE=16 ;;
*) EDGE=64 ;;
esac
SLOW="\"prompt\":\"bag\",\"width\":$EDGE,\"height\":$EDGE,\"steps\":1000"
