# t_b_queue.sh - a bounded queue, fair turns, and those who hang up.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-queue 2 --quantum 50ms

# One runs for long; with turns of 50 ms the others do not wait for its end.
slow=$(new_job "{$SLOW,\"n\":4}")
wait_step "$slow" 1
is "a short job is done while a long one runs" "$(status "$URL/generate" -d '{"prompt":"bag"}')" 200
is "the long one still runs" "$(get "/v1/jobs/$slow" | jq -r .status)" running
post "/v1/jobs/$slow/cancel" '' >/dev/null
is "a job handed back stays running" "$(get "/v1/jobs/$slow/events" | grep -A1 '^event: status' | sed -n 's/^data: //p' | jq -r .status | xargs)" "queued running canceling canceled"

# on_disconnect: the one who waits hangs up.
hang() { # JSON: starts a waiting request and hangs up once the job runs
    curl -s -m 60 "$URL/generate" -d "$1" -H 'Accept: application/json' >/dev/null &
    client=$!
    until [ "$(get '/v1/jobs?status=running&limit=1' | jq '.data|length')" = 1 ]; do :; done
    id=$(get '/v1/jobs?status=running&limit=1' | jq -r '.data[0].id')
    wait_step "$id" 1
    kill -KILL $client
    wait $client 2>/dev/null
}
hang "{$SLOW,\"n\":4}"
is "hang-up cancels" "$(wait_job "$id" | jq -r .status)" canceled
is "hang-up is counted" "$(get /v1/status | jq .jobs.hangups)" 1
hang "{$SLOW,\"n\":4,\"on_disconnect\":\"continue\"}"
until [ "$(get /v1/status | jq .jobs.hangups)" = 2 ]; do :; done
is "on_disconnect continue: goes on" "$(get "/v1/jobs/$id" | jq -r .status)" running
get "/v1/jobs/$id" -X DELETE
curl -s -m 60 -N "$URL/generate" -d "{$SLOW}" -H 'Accept: text/event-stream' >"$TMP/e" &
client=$!
until grep -q '^event: progress' "$TMP/e"; do :; done
id=$(get '/v1/jobs?limit=1' | jq -r '.data[0].id')
kill -KILL $client
wait $client 2>/dev/null
is "hang-up of a reader of POST /generate's events cancels" "$(wait_job "$id" | jq -r .status)" canceled
curl -s -m 60 "$URL/generate" -d "{$SLOW}" -H 'Idempotency-Key: two' >/dev/null &
client=$!
until [ "$(get '/v1/jobs?status=running&limit=1' | jq '.data|length')" = 1 ]; do :; done
id=$(get '/v1/jobs?status=running&limit=1' | jq -r '.data[0].id')
curl -s -m 60 "$URL/generate" -d "{$SLOW}" -H 'Idempotency-Key: two' -o "$TMP/two" -w '%{http_code}' >"$TMP/code" &
other=$!
until [ "$(get /v1/status | jq .jobs.replayed)" = 1 ]; do :; done
kill -KILL $client
wait $client 2>/dev/null
until [ "$(get /v1/status | jq .jobs.hangups)" = 4 ]; do :; done
is "one of two who wait hangs up: goes on" "$(get "/v1/jobs/$id" | jq -r .status)" running
post "/v1/jobs/$id/cancel" '' >/dev/null
wait $other
is "canceled by another: those who wait are told" "$(cat "$TMP/code") $(jq -r .code "$TMP/two")" "409 job_canceled"
stop_server
is "the server ends with 0" "$CODE" 0

start_server --max-queue 2 --quantum 1h
slow=$(new_job "{$SLOW,\"n\":4}")
wait_step "$slow" 1
one=$(new_job '{"priority":-1}')
two=$(new_job '{}')
post /v1/jobs '{}' -D "$TMP/h" >"$TMP/j"
is "the third that waits: 429" "$(jq -r '.status,.code' "$TMP/j" | xargs)" "429 queue_full"
is "type resolves" "$(status "$URL$(jq -r .type "$TMP/j")")" 200
# The body carries the prediction that Retry-After was made from, and the work
# it was made from: all of one moment, so the checks are exact on any machine.
is "Retry-After is in the body" "$(jq .retry_after_s "$TMP/j")" "$(header "$TMP/h" Retry-After)"
is "Retry-After is the prediction, rounded up, and up to a tenth ($(jq -c '[.predicted_s,.retry_after_s]' "$TMP/j"))" \
    "$(jq '(.predicted_s|ceil|if . < 1 then 1 else . end) as $whole
        | .retry_after_s >= $whole and .retry_after_s <= $whole + ($whole * 0.1 + 0.5|floor)' "$TMP/j")" true
is "a place is free when the running job ends" "$(jq '.predicted_s == .queue.running_s' "$TMP/j")" true
is "those that wait come on top ($(jq -c .queue "$TMP/j"))" "$(jq '.queue.length == 2 and .queue.running_s > 0 and .queue.backlog_s > .queue.running_s' "$TMP/j")" true
is "POST /generate as well" "$(status "$URL/generate" -d '{}')" 429
is "refusals are counted" "$(get /v1/status | jq .jobs.refused)" 2
is "the urgent one stands before the batch one" "$(get "/v1/jobs/$two" | jq .queue.position),$(get "/v1/jobs/$one" | jq .queue.position)" "1,2"
is "status: length" "$(get /v1/status | jq -c '[.queue.length,.queue.limit]')" "[2,2]"
is "estimate says so too" "$(post /v1/estimate '{}' | jq -c '[.admitted,.refusal]')" '[false,"queue_full"]'
post "/v1/jobs/$two/cancel" '' >/dev/null
is "a place is free again" "$(status "$URL/v1/jobs" -d '{}')" 202
get "/v1/jobs/$slow" -X DELETE
is "all that waited is done" "$(wait_job "$one" | jq -r .status)" succeeded
# Requests that come in one turn of the loop, before the store has answered for
# any of them: each sees the places that those before it took.
wait_job "$(get /v1/jobs | jq -r '.data[0].id')" >/dev/null
accepted=$("$BUILD/tests/http/rawclient" burst "${URL##*:}" "$SERVER" 50 /v1/jobs "{$SLOW}")
is "fifty at once: one may run, two wait ($accepted)" $((accepted >= 2 && accepted <= 3)) 1
for id in $(get /v1/jobs | jq -r '.data[].id'); do
    get "/v1/jobs/$id" -X DELETE
done
stop_server

# Short turns: whoever has begun is no longer among those that the queue counts,
# but is still one of all.
start_server --max-jobs 16 --quantum 1ms
for i in $(seq 40); do
    post /v1/jobs "{$SLOW,\"tag\":\"$i\"}" -o "$TMP/j$i" -w '%{http_code}\n'
done >"$TMP/codes"
is "as many jobs as are kept, no more" "$(sort "$TMP/codes" | uniq -c | xargs)" "16 202 24 429"
like "the others are told" "$(jq -r '"\(.code) \(.detail)"' "$TMP/j40")" "queue_full 16 jobs wait or have begun, *"
is "none of them is kept" "$(get /v1/status | jq -c '[.jobs.active,.jobs.remembered]')" '[16,16]'
post "/v1/jobs/$(jq -r .id "$TMP/j1")/cancel" '' -o /dev/null
wait_job "$(jq -r .id "$TMP/j1")" >/dev/null
is "one has ended, one may come" "$(post /v1/jobs "{$SLOW}" -o /dev/null -w '%{http_code}')" 202
for id in $(get '/v1/jobs?limit=100' | jq -r '.data[].id'); do
    curl -s -X DELETE "$URL/v1/jobs/$id" -o /dev/null
done
finish
