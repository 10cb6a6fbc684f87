# http.sh - polls per second and their latency while every core infers.
#
# Jobs of many steps keep the workers busy; a client polls one of them on 64,
# 127, 128, 129, 256 and 512 kept connections for SECONDS (3) each.  Wanted at
# each: at least 5,000 polls a second, 99 of 100 within 50 ms, none refused.
# 128 and its multiples are there for a reason (server/http.c, head).
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-queue 64 --no-log-requests
MS=$((${SECONDS_EACH:-3} * 1000))

submit() {
    curl -sf "$URL/v1/jobs" --json '{"prompt":"sneaker","steps":1000,"n":16}'
}
ID=$(submit | jq -r .id)
jobs=1
while [ $jobs -lt 6 ]; do
    submit >/dev/null
    jobs=$((jobs + 1))
done
for c in 64 127 128 129 256 512; do
    line=$("$BUILD/tests/bench/http_load" "${URL##*:}" "/v1/jobs/$ID" $c $MS)
    running=$(curl -sf "$URL/v1/jobs" | jq '[.data[]|select(.status=="running")]|length')
    echo "$line" | jq -c ". + {running: $running}"
    is "http_load $c connections" \
        "$(echo "$line" | jq '.polls_per_s >= 5000 and .p99_ms <= 50 and .refused == 0')" true
done
kill -TERM "$SERVER" # the second signal does not wait for the jobs
stop_server
finish
