# t_b_drain.sh - SIGTERM: what was accepted is finished, nothing new comes in.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh

start_server --drain-grace 30 --drain-timeout 300
slow=$(new_job "{\"prompt\":\"bag\",\"width\":$EDGE,\"height\":$EDGE,\"steps\":60}")
queued=$(new_job '{"prompt":"bag","seed":1}')
wait_step "$slow" 1
curl -s -m 60 "$URL/generate" -d '{"prompt":"bag","seed":1}' -o "$TMP/waiting.png" &
client=$!
until [ "$(get /v1/status | jq .jobs.submitted)" = 3 ]; do :; done
kill -TERM "$SERVER"
until [ "$(status "$URL/health/ready")" = 503 ]; do :; done
is "draining: alive" "$(status "$URL/health/live")" 200
post /generate '{}' -D "$TMP/h" >"$TMP/j"
is "draining: new work gets 503" "$(jq -r '.status,.code' "$TMP/j" | xargs)" "503 draining"
is "draining: Retry-After is the work that is left" "$(jq --arg after "$(header "$TMP/h" Retry-After)" '.predicted_s == .queue.backlog_s and .predicted_s > 0 and ($after|tonumber) == .retry_after_s and .retry_after_s >= .predicted_s' "$TMP/j")" true
is "draining: forward as well" "$(curl -s "$URL/v1/forward" --data-binary 'x' | jq -r '.status,.code' | xargs)" "503 draining"
is "draining: polls are served" "$(wait_job "$slow" | jq -r .status)" succeeded
is "draining: queued work is finished" "$(wait_job "$queued" | jq -r .status)" succeeded
wait $client
is "draining: who waits gets the picture" "$(is_png "$TMP/waiting.png")" png
get "/v1/jobs/$queued/images/0" -o "$TMP/q.png"
is "grace: results are served" "$(sha "$TMP/q.png")" "$(sha "$TMP/waiting.png")"
stop_server
is "a second signal ends it at once, with 0" "$CODE" 0

start_server --drain-timeout 200ms
slow=$(new_job "{$SLOW,\"n\":4}")
wait_step "$slow" 1
curl -s -m 60 -N "$URL/v1/jobs/$slow/events" >"$TMP/e" &
reader=$!
curl -s -m 60 "$URL/generate" -d "{$SLOW}" -o "$TMP/j" -w '%{http_code}' >"$TMP/code" &
client=$!
until [ "$(get /v1/status | jq '.streams * 10 + .jobs.submitted')" = 12 ]; do :; done
stop_server
wait $reader $client
is "over the timeout: ends with 0" "$CODE" 0
is "who waits gets 503 shutting_down" "$(cat "$TMP/code") $(jq -r .code "$TMP/j")" "503 shutting_down"
is "the stream ends with the failed job" "$(sed -n 's/^data: //p' "$TMP/e" | tail -n 1 | jq -r '.status,.error.code' | xargs)" "failed shutting_down"

start_server
kill -TERM "$SERVER"
stop_server
is "with nothing to do: ends with 0" "$CODE" 0
exit $FAILED
