# t_b_events.sh - server-sent events: every step, ids, replay.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server

id=$(new_job '{"prompt":"dress","seed":3,"steps":20}')
get "/v1/jobs/$id/events" -N -D "$TMP/h" >"$TMP/live"
is "type" "$(header "$TMP/h" Content-Type)" text/event-stream
is "retry is told once" "$(grep -c '^retry: ' "$TMP/live")" 1
ids=$(sed -n 's/^id: //p' "$TMP/live" | xargs)
last=$(sed -n 's/^id: //p' "$TMP/live" | tail -n 1)
is "ids rise by one from 1" "$ids" "$(seq 1 "$last" | xargs)"
is "a progress event for every step and the first noise" "$(grep -A1 '^event: progress' "$TMP/live" | sed -n 's/^data: //p' | jq .step | xargs)" "$(seq 0 20 | xargs)"
is "a preview event for every step and the first noise" "$(grep -A1 '^event: preview' "$TMP/live" | sed -n 's/^data: //p' | jq .step | xargs)" "$(seq 0 20 | xargs)"
is "in order" "$(sed -n 's/^event: //p' "$TMP/live" | grep -v 'progress\|preview' | xargs)" "status status image status done"
is "value rises to 1" "$(grep -A1 '^event: progress' "$TMP/live" | sed -n 's/^data: //p' | jq -s 'map(.value)|. == sort and .[-1] == 1')" true
is "a progress event tells when its step ended: rising, within the job's life" "$(grep -A1 '^event: progress' "$TMP/live" | sed -n 's/^data: //p' | jq -s --argjson job "$(get "/v1/jobs/$id")" 'map(.at)|. == sort and .[0] >= $job.created_at and .[-1] <= $job.completed_at')" true
is "the picture" "$(grep -A1 '^event: image' "$TMP/live" | sed -n 's/^data: //p' | jq -r .url)" "$(get "/v1/jobs/$id" | jq -r '.images[0].url')"
is "done is the job as a GET gives it" "$(sed -n 's/^data: //p' "$TMP/live" | tail -n 1)" "$(get "/v1/jobs/$id")"
link=$(grep -A1 '^event: preview' "$TMP/live" | sed -n 's/^data: //p' | sed -n 7p | jq -r .url)
get "$link" -o "$TMP/p.png"
is "a preview's link leads to a picture" "$(is_png "$TMP/p.png")" png

get "/v1/jobs/$id/events" >"$TMP/late"
is "a late reader sees the same stream" "$(cmp "$TMP/live" "$TMP/late" && echo same)" same
get "/v1/jobs/$id/events" -H 'Last-Event-ID: 10' >"$TMP/rest"
is "Last-Event-ID: 10 goes on with 11" "$(sed -n 's/^id: //p' "$TMP/rest" | xargs)" "$(seq 11 "$last" | xargs)"
is "the rest is the same, byte for byte" "$(sed '1,/^id: 11$/d' "$TMP/rest" | sha256sum)" "$(sed '1,/^id: 11$/d' "$TMP/live" | sha256sum)"
is "nothing left: 204" "$(status "$URL/v1/jobs/$id/events" -H "Last-Event-ID: $last")" 204
is "an id from another life: everything" "$(get "/v1/jobs/$id/events" -H 'Last-Event-ID: 99999' | grep -c '^id: ')" "$last"
is "an id that is none: everything" "$(get "/v1/jobs/$id/events" -H 'Last-Event-ID: abc' | grep -c '^id: ')" "$last"
is "preview=none leaves them out" "$(get "/v1/jobs/$id/events?preview=none" | grep -c '^event: preview')" 0
get "/v1/jobs/$id/events?preview=inline" >"$TMP/inline"
is "preview=inline: as many" "$(grep -c '^event: preview' "$TMP/inline")" 21
grep -A1 '^event: preview' "$TMP/inline" | sed -n 's/^data: //p' | sed -n 7p | jq -r .data_base64 | base64 -d >"$TMP/q.png"
is "preview=inline: the same picture" "$(sha "$TMP/q.png")" "$(sha "$TMP/p.png")"
is "preview=inline: ids rise by one" "$(sed -n 's/^id: //p' "$TMP/inline" | xargs)" "$ids"
is "preview=other: 422" "$(status "$URL/v1/jobs/$id/events?preview=x")" 422

# A whole job of 1,000 steps, read after its end.
id=$(new_job '{"prompt":"bag","steps":1000,"width":8,"height":8}')
wait_job "$id" >/dev/null
get "/v1/jobs/$id/events" >"$TMP/long"
is "1,000 steps: all of them from the start" "$(grep -A1 '^event: progress' "$TMP/long" | sed -n 's/^data: //p' | jq .step | sha256sum)" "$(seq 0 1000 | sha256sum)"

# Two readers of a running job, one of which goes away.
id=$(new_job "{$SLOW}")
get "/v1/jobs/$id/events" -N >"$TMP/a" &
reader=$!
wait_step "$id" 3
curl -s -m 60 -N "$URL/v1/jobs/$id/events" | head -n 1 >/dev/null
is "a reader of events that leaves does not end the job" "$(get "/v1/jobs/$id" | jq -r .status)" running
post "/v1/jobs/$id/cancel" '' >/dev/null
wait $reader
is "canceling and canceled are told" "$(grep -A1 '^event: status' "$TMP/a" | sed -n 's/^data: //p' | jq -r .status | tail -n 2 | xargs)" "canceling canceled"
is "done ends the stream" "$(sed -n 's/^event: //p' "$TMP/a" | tail -n 1)" done
id=$(new_job "{$SLOW}")
get "/v1/jobs/$id/events" -N >"$TMP/a" &
reader=$!
wait_step "$id" 3
get "/v1/jobs/$id" -X DELETE
wait $reader
is "deleting ends the stream too" "$(sed -n 's/^event: //p' "$TMP/a" | tail -n 1)" done

# A pause between steps of a job must not need a reader: stop reading, go on.
mkfifo "$TMP/fifo"
id=$(new_job '{"prompt":"bag","steps":300,"width":8,"height":8,"n":4}')
curl -s -m 60 -N "$URL/v1/jobs/$id/events" >"$TMP/fifo" &
exec 4<"$TMP/fifo"
wait_job "$id" >/dev/null
cat <&4 >"$TMP/slow"
exec 4<&-
last=$(sed -n 's/^id: //p' "$TMP/slow" | tail -n 1)
is "a slow reader misses nothing that the ring holds" "$(sed -n 's/^id: //p' "$TMP/slow" | sha256sum)" "$(seq 1 "$last" | sha256sum)"
stop_server
is "the server ends with 0" "$CODE" 0

start_server --max-streams 1
id=$(new_job "{$SLOW}")
get "/v1/jobs/$id/events" -N >"$TMP/a" &
reader=$!
until [ "$(get /v1/status | jq .streams)" = 1 ]; do :; done
get "/v1/jobs/$id/events" -D "$TMP/h" >"$TMP/j"
is "too many streams: 429" "$(jq -r '.status,.code' "$TMP/j" | xargs)" "429 too_many_streams"
is "with Retry-After" "$(header "$TMP/h" Retry-After)" 5
is "a stream of a new job: refused" "$(post /generate '{"steps":1}' -H 'Accept: text/event-stream' | jq -r .code)" too_many_streams
is "no job was made for nobody" "$(get /v1/jobs | jq '.data|length')" 1
get "/v1/jobs/$id" -X DELETE
wait $reader
finish
