# t_f_hangup.sh - a client that leaves while it waits is noticed; many that
# wait keep nobody else from being served.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-connections 512

# Descriptors of the server; waits until they are at most $1 again.
fds() {
    ls "/proc/$SERVER/fd" | wc -l
}
until_fds() {
    end=$(($(date +%s) + 3))
    while [ "$(fds)" -gt "$1" ] && [ "$(date +%s)" -lt "$end" ]; do :; done
    echo $(($(fds) <= $1))
}
base=$(($(fds) + 2))
curl -s "$URL/generate" --json '{"steps":1000,"n":16,"tag":"left"}' -o /dev/null &
client=$!
id=
until [ -n "$id" ]; do
    id=$(curl -s "$URL/v1/jobs" | jq -r '.data[]|select(.tag=="left" or .request.tag=="left" or true)|.id' | head -n 1)
done
kill -KILL $client
wait $client 2>/dev/null
state=
end=$(($(date +%s) + 5))
until [ "$state" = canceled ] || [ "$(date +%s)" -gt "$end" ]; do
    state=$(curl -s "$URL/v1/jobs/$id" | jq -r .status)
done
is "f_hangup: the job of a client that left is canceled" "$state" canceled
is "f_hangup: its connection is closed" "$(until_fds $base)" 1

id=$(curl -sf "$URL/v1/jobs" --json '{"steps":1000,"n":16}' | jq -r .id)
"$BUILD/tests/http/rawclient" waiters "${URL##*:}" 60 "/v1/jobs/$id/events" || FAILED=1
is "f_hangup: 60 streams are closed after their clients left" "$(until_fds $((base + 1)))" 1
"$BUILD/tests/http/rawclient" waiters "${URL##*:}" 300 "/v1/jobs/$id?wait=60" || FAILED=1
is "f_hangup: 300 long polls are closed after their clients left" "$(until_fds $((base + 1)))" 1
curl -s -o /dev/null -X DELETE "$URL/v1/jobs/$id"
stop_server
is "f_hangup: exit code" "$CODE" 0
finish
