# t_f_drain.sh - SIGTERM finishes what is accepted and refuses what is new;
# a second signal and the time limit end it at once; always with exit 0.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh

# The exit code of the server once it has ended by itself.
await_end() {
    wait "$SERVER"
    CODE=$?
    SERVER=
    exec 3<&-
}
now_ms() {
    echo $(($(date +%s%N) / 1000000))
}
submit() { # PICTURES STEPS
    new_job "{\"prompt\":\"sneaker\",\"steps\":$2,\"n\":$1}"
}

start_server --drain-grace 5m --drain-timeout 5m
id=$(submit 2 300)
queued=$(submit 1 300)
kill -TERM "$SERVER"
until [ "$(curl -s -o /dev/null -w '%{http_code}' "$URL/health/ready")" = 503 ]; do :; done
is "f_drain: ready says draining" "$(curl -s "$URL/health/ready" | jq -r .status)" draining
is "f_drain: live stays" "$(curl -s -o /dev/null -w '%{http_code}' "$URL/health/live")" 200
curl -s -D "$TMP/h" "$URL/v1/jobs" --json '{"prompt":"sneaker"}' >"$TMP/j"
is "f_drain: new work is refused" "$(jq -r '.status,.code' "$TMP/j" | xargs)" "503 draining"
is "f_drain: with Retry-After" "$(grep -ci '^Retry-After: [0-9]' "$TMP/h")" 1
is "f_drain: POST /generate too" "$(curl -s -o /dev/null -w '%{http_code}' "$URL/generate" --json '{}')" 503
is "f_drain: a poll is served" "$(curl -s -o /dev/null -w '%{http_code}' "$URL/v1/jobs/$id")" 200
for job in "$id" "$queued"; do
    state=
    until case $state in succeeded | failed | canceled | gone) true ;; *) false ;; esac do
        state=$(curl -s "$URL/v1/jobs/$job?wait=10" | jq -r .status)
        [ -n "$state" ] || state=gone
    done
    is "f_drain: accepted work is finished" "$state" succeeded
done
is "f_drain: its picture can be fetched" \
    "$(curl -s -o /dev/null -w '%{http_code}' "$URL/v1/jobs/$id/images/0")" 200
kill -TERM "$SERVER" # the grace is for slow machines
await_end
is "f_drain: exit code" "$CODE" 0

start_server
id=$(submit 16 1000)
curl -s "$URL/v1/jobs/$id/events" >"$TMP/events" &
reader=$!
curl -s -o /dev/null -w '%{http_code}' "$URL/generate" --json '{"steps":1000,"n":16}' >"$TMP/code" &
waiter=$!
until [ -s "$TMP/events" ] && [ "$(curl -s "$URL/v1/jobs" | jq '.data|length')" = 2 ]; do :; done
start=$(now_ms)
kill -TERM "$SERVER"
until grep -q draining "$TMP/log"; do :; done
kill -TERM "$SERVER"
await_end
took=$(($(now_ms) - start))
is "f_drain: second signal: exit code" "$CODE" 0
is "f_drain: second signal: at once" "$((took < 4000))" 1
wait $reader
is "f_drain: second signal: streams end" "$(grep -c '^event: done' "$TMP/events")" 1
wait $waiter
is "f_drain: second signal: waiting requests are answered" "$(cat "$TMP/code")" 503

start_server --drain-timeout 300ms
id=$(submit 16 1000)
start=$(now_ms)
kill -INT "$SERVER"
await_end
took=$(($(now_ms) - start))
is "f_drain: time limit: exit code" "$CODE" 0
is "f_drain: time limit: kept" "$((took >= 300 && took < 4500))" 1
finish
