# t_r_many_waiters.sh - hundreds who wait at once are all answered, and polls
# are served meanwhile (a multiple of 128 connections once stalled the server's
# library).
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server
id=$(new_job "{$SLOW,\"n\":4}")
wait_step "$id" 1
for n in 127 128 129; do
    args=
    i=0
    while [ $i -lt $n ]; do
        args="$args -o /dev/null $URL/v1/jobs/$id/events?preview=none"
        i=$((i + 1))
    done
    # shellcheck disable=SC2086
    curl -s -N -Z --parallel-immediate --parallel-max 200 -m 60 -w '%{http_code}\n' $args >"$TMP/codes$n" &
    eval "client$n=$!"
done
until [ "$(get /v1/status | jq .streams)" = 384 ]; do :; done
is "384 streams are open" "$(get /v1/status | jq .streams)" 384
is "a poll is served meanwhile" "$(status "$URL/v1/jobs/$id")" 200
post "/v1/jobs/$id/cancel" '' >/dev/null
# shellcheck disable=SC2154
wait $client127 $client128 $client129
is "all of them got their end" "$(cat "$TMP"/codes* | sort | uniq -c | xargs)" "384 200"
is "none is left" "$(get /v1/status | jq .streams)" 0
finish
