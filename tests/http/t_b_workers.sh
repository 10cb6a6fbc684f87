# t_b_workers.sh - two workers: jobs advance at one time, queue, cancel, drain.
#
# With turns of an hour a worker keeps its job, so a second job that advances
# has a worker of its own.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --workers 2 --threads 2 --quantum 1h --max-queue 16

# lasting ID: takes steps now, whatever it took before
lasting() {
    at=$(get "/v1/jobs/$1" | jq '.progress.step * 16 + .progress.image')
    until [ "$(get "/v1/jobs/$1" | jq '.progress.step * 16 + .progress.image')" != "$at" ]; do :; done
    echo yes
}

is "status: two workers of two threads" "$(get /v1/status | jq -c '[.workers[].threads]')" "[2,2]"
alone=$(new_job '{"prompt":"dress","seed":5,"steps":9,"n":3}')
wait_job "$alone" >"$TMP/alone"
a=$(new_job "{$SLOW,\"n\":4}")
wait_step "$a" 1
b=$(new_job "{$SLOW,\"n\":4}")
wait_step "$b" 1
is "two jobs run" "$(get '/v1/jobs?status=running' | jq '.data|length')" 2
is "both advance" "$(lasting "$a") $(lasting "$b") $(lasting "$a")" "yes yes yes"
c=$(new_job '{"prompt":"dress","seed":5,"steps":9,"n":3}')
is "the third waits" "$(get "/v1/jobs/$c" | jq -c '[.status,.queue.position]')" '["queued",1]'
is "its forecast is a number" "$(get "/v1/jobs/$c" | jq '.progress.eta_s > 0')" true
post "/v1/jobs/$a/cancel" '' >/dev/null
is "cancelled: one ends" "$(wait_job "$a" | jq -r .status)" canceled
is "its worker takes the third" "$(wait_job "$c" | jq -r .status)" succeeded
is "beside another job: the same bytes" "$(get "/v1/jobs/$c" | jq -c '[.images[].sha256]')" "$(jq -c '[.images[].sha256]' "$TMP/alone")"
is "the other one still runs" "$(get "/v1/jobs/$b" | jq -r .status) $(lasting "$b")" "running yes"
post "/v1/jobs/$b/cancel" '{"mode":"finish"}' >/dev/null
is "finished early: with pictures" "$(wait_job "$b" | jq -c '[.status,(.images|length)]')" '["succeeded",4]'

# Short ones in a heap: each once, whoever takes it.
for seed in 1 2 3 4 5 6 7 8; do
    curl -s -m 60 "$URL/generate" \
        -d "{\"prompt\":\"bag\",\"seed\":$seed,\"steps\":5}" -o "$TMP/p$seed.png" &
    clients="${clients:-} $!"
done
# shellcheck disable=SC2086
wait $clients
for seed in 1 2 3 4 5 6 7 8; do
    sha "$TMP/p$seed.png"
done | sort -u >"$TMP/all"
is "eight requests at one time: eight pictures" "$(wc -l <"$TMP/all")" 8
post /generate '{"prompt":"bag","seed":3,"steps":5}' -o "$TMP/again.png"
is "made again: the same bytes" "$(sha "$TMP/again.png")" "$(sha "$TMP/p3.png")"
stop_server
is "the server ends with 0" "$CODE" 0

# Draining with both at work and one waiting.
start_server --workers 2 --threads 1 --quantum 50ms --drain-grace 30 --drain-timeout 300
a=$(new_job "{\"prompt\":\"bag\",\"width\":$EDGE,\"height\":$EDGE,\"steps\":60}")
b=$(new_job "{\"prompt\":\"bag\",\"width\":$EDGE,\"height\":$EDGE,\"steps\":60,\"seed\":1}")
c=$(new_job '{"prompt":"bag","seed":1}')
wait_step "$a" 1
wait_step "$b" 1
kill -TERM "$SERVER"
until [ "$(status "$URL/health/ready")" = 503 ]; do :; done
for id in $a $b $c; do
    is "draining: finished" "$(wait_job "$id" | jq -r .status)" succeeded
done
stop_server
is "a second signal ends it, with 0" "$CODE" 0

# Stopped with both at work.
start_server --workers 2 --threads 2 --quantum 1h --drain-timeout 100ms
a=$(new_job "{$SLOW,\"n\":4}")
b=$(new_job "{$SLOW,\"n\":4}")
wait_step "$a" 1
wait_step "$b" 1
finish
