# http.sh - polls, their latency and that of events while every core infers.
#
# One job of many steps keeps the computing threads busy throughout.  A client
# polls it on 64, 127, 128, 129, 256 and 512 kept connections for SECONDS_EACH
# (3) each, as fast as answers come.  Wanted at each: at least 5,000 polls a
# second, 99 of 100 within 50 ms, none refused.  128 and its multiples are there
# for a reason (server/http.c, head).
#
# Then another reads the job's events while 5,000 polls a second come in on as
# many connections.  Wanted: 99 of 100 within 20 ms of the end of their step.
#
# Last, how long the README's picture takes by curl.
#
# SPDX-License-Identifier: MIT
. tests/bench/service.sh

for c in 64 127 128 129 256 512; do
    is_working
    line=$("$BUILD/tests/bench/http_load" "$PORT" "/v1/jobs/$ID" $c $MS)
    echo "$line"
    is "http_load $c connections: 5,000 a second, p99 within 50 ms, none refused" \
        "$(echo "$line" | jq '.polls_per_s >= 5000 and .p99_ms <= 50 and .refused == 0')" true
done
for c in 64 256 512; do
    is_working
    "$BUILD/tests/bench/http_load" "$PORT" "/v1/jobs/$ID" $c $((MS + 500)) 5000 >"$TMP/load" &
    load=$!
    line=$("$BUILD/tests/bench/event_lag" "$PORT" "/v1/jobs/$ID/events?preview=none" $MS)
    wait $load
    echo "$line" | jq -c --argjson load "$(cat "$TMP/load")" \
        "{connections: $c, polls_per_s: \$load.polls_per_s, polls_p99_ms: \$load.p99_ms} + ."
    is "event_lag $c connections: p99 within 20 ms" \
        "$(echo "$line" | jq '.events > 0 and .p99_ms <= 20')" true
done
end_work
for i in 1 2 3 4 5; do
    curl -s -o "$TMP/p.png" -w '%{time_total}\n' -d '{"prompt":"sneaker"}' "$URL/generate"
done | sort -n | head -n 1 >"$TMP/s"
echo "{\"what\":\"curl\",\"seconds\":$(cat "$TMP/s"),\"steps\":$(get /v1/models | jq '.data[0].defaults.steps')}"
finish
