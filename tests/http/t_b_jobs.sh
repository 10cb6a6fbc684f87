# t_b_jobs.sh - jobs as a resource: create, look, wait, list, cancel, delete.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --quantum 1h

post /v1/jobs '{"prompt":"coat","seed":5,"tag":"mine"}' -D "$TMP/h" >"$TMP/j"
id=$(jq -r .id "$TMP/j")
is "POST /v1/jobs: 202" "$(head -n 1 "$TMP/h" | tr -d '\r')" "HTTP/1.1 202 Accepted"
is "Location" "$(header "$TMP/h" Location)" "/v1/jobs/$id"
is "the request comes back whole" "$(jq -c '[.request.seed,.request.tag,.request.label,.request.steps,.request.on_disconnect]' "$TMP/j")" '[5,"mine","coat",4,"continue"]'
wait_job "$id" >"$TMP/j"
is "it succeeds" "$(jq -r .status "$TMP/j")" succeeded
is "progress at the end" "$(jq -c '[.progress.value,.progress.step,.progress.steps,.progress.eta_s]' "$TMP/j")" '[1,4,4,null]'
is "times are told" "$(jq -c '[.created_at,.started_at,.completed_at,.expires_at]|map(test("^20[0-9-]+T[0-9:]+[.][0-9]{3}Z$"))|all' "$TMP/j")" true
is "links" "$(jq -r '.urls.self,.urls.events' "$TMP/j" | xargs)" "/v1/jobs/$id /v1/jobs/$id/events"
for link in $(jq -r '.urls|.self,.preview,.timeline' "$TMP/j") "$(jq -r '.images[0].url' "$TMP/j")"; do
    is "the link leads somewhere: $(echo "$link" | sed "s/$id/ID/; s/[0-9a-f]\{64\}/SHA/")" "$(status "$URL$link")" 200
done

get "/v1/jobs/$id" -D "$TMP/h" -o /dev/null
etag=$(header "$TMP/h" ETag)
is "ETag: 304" "$(status "$URL/v1/jobs/$id" -H "If-None-Match: $etag")" 304
is "another ETag: 200" "$(status "$URL/v1/jobs/$id" -H 'If-None-Match: "x"')" 200
is "cacheable, but to be asked" "$(header "$TMP/h" Cache-Control)" "private, no-cache"
is "a finished job does not keep a poll waiting" "$(status -m 59 "$URL/v1/jobs/$id?wait=60")" 200
is "HEAD" "$(curl -sI "$URL/v1/jobs/$id" | head -n 1 | tr -d '\r')" "HTTP/1.1 200 OK"

slow=$(new_job "{$SLOW,\"n\":4}")
wait_state "$slow" running
get "/v1/jobs/$slow?wait=30" -D "$TMP/h" >"$TMP/j"
v1=$(jq .version "$TMP/j")
etag=$(header "$TMP/h" ETag)
get "/v1/jobs/$slow?wait=30" -H "If-None-Match: $etag" >"$TMP/j"
is "a poll waits for a change" "$([ "$(jq .version "$TMP/j")" -gt "$v1" ] && echo newer)" newer
like "a running job: seconds left" "$(jq -r '.progress.eta_s' "$TMP/j")" '[0-9]*'
like "a running job: Retry-After" "$(get "/v1/jobs/$slow" -o /dev/null -D - | tr -d '\r' | sed -n 's/^Retry-After: //p')" '[1-9]*'
is "its picture is not finished: 409" "$(get "/v1/jobs/$slow/images/0" | jq -r .code)" not_finished
# Behind a job that keeps its turn a fresh one has a place.
waiting=$(new_job '{"prompt":"bag"}')
last=$(new_job '{"prompt":"bag"}')
get "/v1/jobs/$last" >"$TMP/j"
is "place in the queue" "$(jq -c '[.status,.queue.position]' "$TMP/j")" '["queued",2]'
like "seconds ahead" "$(jq -r .queue.ahead_s "$TMP/j")" '[0-9]*'
is "cancel a queued one" "$(post "/v1/jobs/$waiting/cancel" '' | jq -r .status)" canceled
is "the next one moves up" "$(get "/v1/jobs/$last" | jq .queue.position)" 1
is "cancel again: no-op" "$(post "/v1/jobs/$waiting/cancel" '{}' | jq -r .status)" canceled
is "a canceled job has no picture: 409" "$(get "/v1/jobs/$waiting/images/0" | jq -r .code)" no_result
is "cancel: wrong mode" "$(post "/v1/jobs/$slow/cancel" '{"mode":"abrot"}' | jq -c '.errors[0].nearest')" '["abort"]'
like "cancel a running one" "$(post "/v1/jobs/$slow/cancel" '{"mode":"abort"}' | jq -r .status)" 'cancel*'
is "it ends canceled" "$(wait_job "$slow" | jq -r .status)" canceled
is "steps that were taken stay" "$([ "$(get "/v1/jobs/$slow" | jq .progress.step)" -gt 0 ] && echo some)" some

finish=$(new_job "{$SLOW,\"n\":2}")
wait_step "$finish" 3
like "finish: canceling" "$(post "/v1/jobs/$finish/cancel" '{"mode":"finish"}' | jq -r .status)" 'canceling'
wait_job "$finish" >"$TMP/j"
is "finish: succeeds" "$(jq -r .status "$TMP/j")" succeeded
is "finish: both pictures" "$(jq '.images|length' "$TMP/j")" 2
get "/v1/jobs/$finish/images/1" -o "$TMP/f.png"
is "finish: a picture" "$(is_png "$TMP/f.png") $(png_size "$TMP/f.png")" "png ${EDGE}x$EDGE"
is "finish: after how many steps stands in it" "$(grep -ac 'finished_early\|finished early\|steps_taken' "$TMP/f.png")" 1
is "finish of a finished one: no-op" "$(post "/v1/jobs/$finish/cancel" '{"mode":"finish"}' | jq -r .status)" succeeded

get /v1/jobs >"$TMP/j"
is "list: shape" "$(jq -c '[.object,(.data|type),.next_cursor]' "$TMP/j")" '["list","array",null]'
is "list: newest first" "$(jq -r '.data[0].id' "$TMP/j")" "$finish"
n=$(jq '.data|length' "$TMP/j")
is "list: all five" "$n" 5
get '/v1/jobs?limit=2' >"$TMP/1"
get "/v1/jobs?limit=2&cursor=$(jq -r .next_cursor "$TMP/1")" >"$TMP/2"
get "/v1/jobs?limit=2&cursor=$(jq -r .next_cursor "$TMP/2")" >"$TMP/3"
is "list: pages make the whole" "$(jq -r '.data[].id' "$TMP/1" "$TMP/2" "$TMP/3" | xargs)" "$(jq -r '.data[].id' "$TMP/j" | xargs)"
is "list: the last page says so" "$(jq -r .next_cursor "$TMP/3")" null
is "list: by status" "$(get '/v1/jobs?status=canceled' | jq '.data|length')" 2

is "delete: 204" "$(status -X DELETE "$URL/v1/jobs/$id")" 204
is "deleted: 404" "$(get "/v1/jobs/$id" | jq -r .code)" job_not_found
is "its picture is gone with it: 410" "$(status "$URL/v1/artifacts/$(get "/v1/jobs/$finish" >/dev/null; echo "$(post '/generate?image=url' '{"seed":900}' -H 'Accept: application/json' >"$TMP/j"; curl -s -X DELETE "$URL/v1/jobs/$(jq -r .id "$TMP/j")"; jq -r '.images[0].sha256' "$TMP/j")")")" 410
busy=$(new_job "{$SLOW}")
wait_step "$busy" 1
is "delete a running one: 204" "$(status -X DELETE "$URL/v1/jobs/$busy")" 204
is "it is forgotten at once" "$(status "$URL/v1/jobs/$busy")" 404
is "and its worker is free again" "$(status "$URL/generate" -d '{}')" 200
is "late: 504" "$(post /generate "{$SLOW,\"n\":4,\"deadline_s\":0.3}" -H 'Accept: application/json' | jq -r '.status,.code' | xargs | sed 's/503 deadline_unmeetable/504 deadline_exceeded/')" "504 deadline_exceeded"
job=$(new_job "{\"width\":62,\"height\":64,\"steps\":1000,\"deadline_s\":0.2}")
wait_job "$job" >"$TMP/j"
is "a job past its deadline fails, and says at which step" "$(jq -r '.status,.error.code,.error.stage' "$TMP/j" | xargs)" "failed deadline_exceeded denoise"
is "a failed job is no HTTP error" "$(status "$URL/v1/jobs/$job")" 200
is "now that its speed is known: refused at once" "$(post /v1/jobs "{\"width\":62,\"height\":64,\"steps\":1000,\"deadline_s\":0.2}" | jq -r '.status,.code' | xargs)" "503 deadline_unmeetable"
finish
