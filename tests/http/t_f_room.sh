# t_f_room.sh - large answers share a room: what finds none is told, keeps its
# job, and costs nothing when it is over.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --answer-bytes 512KiB

# Sixteen pictures whose answer is above 100 KiB, with a sanitizer too: they are
# stopped after their first step.
MANY='"prompt":"bag","width":64,"height":64,"steps":1000,"n":16'

# Waiters of one job are answered in one turn of the loop, before any of them
# has taken a byte: each answer is above 100 KiB, and not all of them fit.
N=10
for i in $(seq $N); do
    curl -s -m 120 -D "$TMP/h$i" -o "$TMP/b$i" -H 'Idempotency-Key: one' \
        -H 'Accept: application/json' -H 'Content-Type: application/json' \
        -d "{$MANY}" "$URL/generate" &
    eval "waiter$i=$!"
done
until [ "$(get /v1/status | jq '.connections')" -gt $N ]; do :; done
until [ "$(get /v1/status | jq '.jobs.replayed')" -ge $((N - 1)) ]; do :; done
id=$(get '/v1/jobs?limit=1' | jq -r '.data[0].id')
wait_step "$id" 1
post "/v1/jobs/$id/cancel" '{"mode":"finish"}' >/dev/null
for i in $(seq $N); do
    eval "wait \$waiter$i"
done
job=$(wait_job "$id")
is "the job is done" "$(printf %s "$job" | jq -r .status)" succeeded

ok=0
crowded=0
wrong=
for i in $(seq $N); do
    case $(head -n 1 "$TMP/h$i" | cut -d' ' -f2) in
    200)
        ok=$((ok + 1))
        [ "$(jq '[.images[].b64_json | length > 0] | all' "$TMP/b$i")" = true ] ||
            wrong="$wrong $i"
        ;;
    503)
        crowded=$((crowded + 1))
        [ "$(header "$TMP/h$i" Retry-After) $(header "$TMP/h$i" X-Job-Id) $(jq -r .code "$TMP/b$i")" = "1 $id no_memory" ] ||
            wrong="$wrong $i"
        ;;
    *) wrong="$wrong $i" ;;
    esac
done
is "each has its picture or is told" "$wrong" ""
is "some had room" "$([ $ok -ge 1 ] && echo yes)" yes
is "not all of them" "$([ $crowded -ge 1 ] && echo yes)" yes
is "counted" "$(get /v1/status | jq .problems.no_memory)" $crowded
is "the room is free again" "$(get /v1/status | jq -c '[.bytes.answers, .bytes.answers_limit]')" '[0,524288]'
is "one more has room" "$(post /generate "{$MANY}" -H 'Idempotency-Key: one' -H 'Accept: application/json' -o /dev/null -w '%{http_code}')" 200

# The same as parts, and pictures as they are stored, which need no room.
first=$(printf %s "$job" | jq -r '.images[0].url')
is "stored pictures are served" "$(status "$URL$first")" 200
is "as parts too" "$(post /generate "{$MANY}" -H 'Idempotency-Key: one' -H 'Accept: multipart/mixed' -o "$TMP/parts" -w '%{http_code}')" 200
is "with each picture in them" "$(grep -a -c '^Content-Location: /v1/artifacts/' "$TMP/parts")" 16
stop_server

# Pictures that their store has dropped while slow clients take them: those that
# have room as answers are sent to the end, the readers of the others are cut.
cp -r tests/data/models/tiny-rgb "$TMP/large"
jq '.limits.max_size = 256' tests/data/models/tiny-rgb/unstir.json >"$TMP/large/unstir.json"
MODEL=$TMP/large start_server --answer-bytes 512KiB --result-bytes 450KiB --write-timeout 10m
pictures() { # SEED ...: two have room in the store, and two as answers
    for seed in "$@"; do
        post '/generate?image=url' "{\"seed\":$seed,\"steps\":1,\"width\":256,\"height\":256,\"output\":{\"png_level\":0}}" \
            -H 'Accept: application/json' | jq -r '.images[0].url'
    done
}
begin_to_read() { # NAME PATH ...
    name=$1
    shift
    mkfifo "$TMP/$name.end" "$TMP/$name.out"
    "$BUILD/tests/http/rawclient" readers "${URL##*:}" "$@" <"$TMP/$name.end" >"$TMP/$name.out" &
}
answers() { get /v1/status | jq .bytes.answers; }
early=$(pictures 1 2)
size=$(curl -sI "$URL$(echo "$early" | head -n 1)" | tr -d '\r' | sed -n 's/^Content-Length: //p')
# shellcheck disable=SC2086
begin_to_read early $early $early
exec 4>"$TMP/early.end" 5<"$TMP/early.out"
read -r line <&5
is "four read two pictures" "$line $(answers)" "reading 0"
late=$(pictures 3 4)
is "dropped, they are answers, each once" "$(answers)" $((2 * size))
is "and new ones find them gone" "$(status "$URL$(echo "$early" | head -n 1)")" 410
# shellcheck disable=SC2086
begin_to_read late $late
exec 6>"$TMP/late.end" 7<"$TMP/late.out"
read -r line <&7
pictures 5 6 >"$TMP/newest"
is "no more than there is room for" "$(answers)" $((2 * size))
is "the store has its own room" "$(get /v1/status | jq .bytes.results)" $((2 * size))
exec 6>&- 4>&-
is "readers without room are cut" "$(cut -d' ' -f3 <&7 | xargs)" "cut cut"
is "those with room have their pictures" "$(cut -d' ' -f2,3 <&5 | sort | uniq -c | xargs)" "4 $size whole"
until [ "$(get /v1/status | jq .connections)" = 1 ]; do :; done
is "all is over" "$(answers)" 0
is "the log says it" "$(grep -c '"reason":"answer dropped"' "$TMP/log")" 2
is "the newest are served" "$(status "$URL$(tail -n 1 "$TMP/newest")")" 200
finish
