# t_r_stop_while_computing.sh - the server is stopped while a step is being
# computed and a helper thread is at work: it ends well (closing parts once ran
# the loop with a timer whose data was gone).
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
for round in 1 2 3; do
    start_server --drain-timeout 0
    id=$(new_job "{\"prompt\":\"bag\",\"width\":64,\"height\":64,\"steps\":1000,\"n\":16}")
    post /generate '{"prompt":"bag"}' -H 'Prefer: respond-async' -o "$TMP/j"
    wait_state "$id" running
    get "/v1/jobs/$id/preview.mjpg" -o /dev/null &
    stop_server
    wait
    is "stopped while computing, round $round" "$CODE" 0
    [ "$CODE" = 0 ] || tail -n 40 "$TMP/log"
done
exit $FAILED
