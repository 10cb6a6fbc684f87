# t_b_generate.sh - POST /generate in every form.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server

for accept in none '*/*' image/png 'image/*' 'image/png;q=0.9, application/json;q=0.1'; do
    if [ "$accept" = none ]; then
        post /generate '{"prompt":"sneaker","seed":7}' -H 'Accept:' -D "$TMP/h" -o "$TMP/a.png"
    else
        post /generate '{"prompt":"sneaker","seed":7}' -H "Accept: $accept" -D "$TMP/h" -o "$TMP/a.png"
    fi
    is "one picture, Accept $accept: PNG" "$(header "$TMP/h" Content-Type) $(is_png "$TMP/a.png")" "image/png png"
done
is "size" "$(png_size "$TMP/a.png")" 16x16
hash=$(sha "$TMP/a.png")
like "X-Job-Id" "$(header "$TMP/h" X-Job-Id)" 'job_??????????????????????????'
is "X-Seed" "$(header "$TMP/h" X-Seed)" 7
is "X-Model" "$(header "$TMP/h" X-Model)" tiny
is "ETag is the hash" "$(header "$TMP/h" ETag)" "\"$hash\""
is "Content-Location" "$(header "$TMP/h" Content-Location)" "/v1/artifacts/$hash"
b64=$(printf %s "$hash" | tr a-f A-F | basenc -d --base16 | base64 -w0)
is "Repr-Digest" "$(header "$TMP/h" Repr-Digest)" "sha-256=:$b64:"
like "Server-Timing" "$(header "$TMP/h" Server-Timing)" 'queue;dur=*, text;dur=*, denoise;dur=*, png;dur=*'
is "Vary" "$(header "$TMP/h" Vary)" "Accept, Prefer"
is "an answer to POST is not cached" "$(header "$TMP/h" Cache-Control)" no-store
post /v1/generate '{"class":7,"seed":"7"}' -o "$TMP/b.png" -D "$TMP/h2"
is "alias, class by number, seed as text" "$(header "$TMP/h2" X-Seed) $(is_png "$TMP/b.png")" "7 png"

post /generate '{"prompt":"sneaker","seed":7}' -H 'Accept: application/json' >"$TMP/j"
for form in application/json multipart/mixed; do
    post /generate '{"prompt":"sneaker","seed":7}' -H "Accept: $form" -o /dev/null -D "$TMP/h"
    is "$form is not the picture: no digest, ETag, address of it" "$(tr -d '\r' <"$TMP/h" | grep -ciE '^(Repr-Digest|ETag|Content-Location):')" 0
done
is "JSON: a job that succeeded" "$(jq -r '.object+" "+.status' "$TMP/j")" "job succeeded"
is "JSON: seed" "$(jq -c '[.request.seed,.images[0].seed]' "$TMP/j")" "[7,7]"
jq -r '.images[0].b64_json' "$TMP/j" | base64 -d >"$TMP/c.png"
is "JSON: b64 holds the same bytes" "$(sha "$TMP/c.png")" "$hash"
post '/generate?image=url' '{"prompt":"sneaker","seed":7}' -H 'Accept: application/json' >"$TMP/j"
is "JSON ?image=url: no bytes" "$(jq '.images[0]|has("b64_json")' "$TMP/j")" false
get "$(jq -r '.images[0].url' "$TMP/j")" -o "$TMP/c.png"
is "JSON ?image=url: the link leads to the bytes" "$(sha "$TMP/c.png")" "$hash"
is "?image=other: 422" "$(status "$URL/generate?image=x" -d '{}')" 422
is "?preview=other: 422" "$(status "$URL/generate?preview=x" -d '{}')" 422

for accept in none '*/*' application/json 'text/html, */*;q=0.1'; do
    if [ "$accept" = none ]; then
        post /generate '{"prompt":"bag","seed":1,"n":2}' -H 'Accept:' -D "$TMP/h" -o "$TMP/j"
    else
        post /generate '{"prompt":"bag","seed":1,"n":2}' -H "Accept: $accept" -D "$TMP/h" -o "$TMP/j"
    fi
    is "two pictures, Accept $accept: JSON" "$(header "$TMP/h" Content-Type) $(jq -c '[.images[].seed]' "$TMP/j")" "application/json [1,2]"
done
post /generate '{"prompt":"bag","seed":1,"n":2}' -H 'Accept: image/png' -D "$TMP/h" -o "$TMP/j"
is "two pictures, Accept image/png: 406" "$(jq -r '.status,.code' "$TMP/j" | xargs)" "406 not_acceptable"
is "406 is a problem" "$(header "$TMP/h" Content-Type)" application/problem+json
is "406 for text/html" "$(status "$URL/generate" -d '{}' -H 'Accept: text/html')" 406
post /generate '{"prompt":"bag","seed":1,"n":2}' -H 'Accept: image/png, multipart/mixed' -D "$TMP/h" -o "$TMP/m"
like "two pictures as multipart" "$(header "$TMP/h" Content-Type)" 'multipart/mixed; boundary=*'
is "multipart: a part a picture" "$(grep -ac '^Content-Type: image/png' "$TMP/m")" 2
is "multipart: their seeds" "$(grep -a '^X-Seed' "$TMP/m" | tr -dc '0-9\n' | xargs)" "1 2"
is "multipart: its end" "$(tail -c 20 "$TMP/m" | tr -d '\r\n')" "--unstir-picture--"
post /generate '{"prompt":"bag","seed":1,"steps":3}' -N -H 'Accept: text/event-stream' -D "$TMP/h" >"$TMP/e"
is "events: their type" "$(header "$TMP/h" Content-Type)" text/event-stream
is "events: the last one is the job" "$(grep '^data' "$TMP/e" | tail -n 1 | cut -c7- | jq -r .status)" succeeded
is "events: job id in a header" "$(header "$TMP/h" X-Job-Id)" "$(grep '^data' "$TMP/e" | tail -n 1 | cut -c7- | jq -r .id)"

post /generate '{"prompt":"bag"}' -H 'Prefer: respond-async' -D "$TMP/h" >"$TMP/j"
is "respond-async: 202" "$(head -n 1 "$TMP/h" | tr -d '\r')" "HTTP/1.1 202 Accepted"
is "respond-async: Location" "$(header "$TMP/h" Location)" "/v1/jobs/$(jq -r .id "$TMP/j")"
is "respond-async: applied" "$(header "$TMP/h" Preference-Applied)" respond-async
like "respond-async: Retry-After" "$(header "$TMP/h" Retry-After)" '[1-9]*'
is "respond-async: a seed was drawn and told" "$(jq '.request.seed|type' "$TMP/j")" '"number"'
is "respond-async: the job ends" "$(wait_job "$(jq -r .id "$TMP/j")" | jq -r .status)" succeeded
post /generate "{$SLOW,\"n\":4}" -H 'Accept: application/json' -H 'Prefer: wait=1' -D "$TMP/h" >"$TMP/j"
is "wait=1 on a long job: 202" "$(head -n 1 "$TMP/h" | tr -d '\r')" "HTTP/1.1 202 Accepted"
is "wait=1: applied" "$(header "$TMP/h" Preference-Applied)" wait=1
is "wait=1: the job goes on" "$(get "/v1/jobs/$(jq -r .id "$TMP/j")" | jq -r .status)" running
get "/v1/jobs/$(jq -r .id "$TMP/j")" -X DELETE
is "wait=30 on a short job: 200" "$(status "$URL/generate" -d '{"prompt":"bag"}' -H 'Prefer: wait=30')" 200
is "respond-async with wait=30: 200" "$(status "$URL/generate" -d '{"prompt":"bag"}' -H 'Prefer: respond-async, wait=30')" 200
is "a wait that is no number is passed over" "$(status "$URL/generate" -d '{"prompt":"bag"}' -H 'Prefer: wait=soon')" 200

is "a request without any field" "$(status "$URL/generate" -d '{}')" 200
is "a drawn seed is told" "$(post /generate '{}' -o /dev/null -D - | tr -d '\r' | grep -c '^X-Seed: [0-9]*$')" 1
post /generate '{"prompt":"bag","output":{"png_level":9,"metadata":false}}' -o "$TMP/d.png"
is "without metadata there is no parameters text" "$(grep -ac parameters "$TMP/d.png")" 0
is "with it there is" "$(grep -ac parameters "$TMP/a.png")" 1
post /generate '{"prompt":"bag","width":32,"height":24}' -o "$TMP/d.png"
is "asked size" "$(png_size "$TMP/d.png")" 32x24

key='Idempotency-Key: k-1'
post /generate '{"prompt":"bag"}' -H "$key" -o "$TMP/1" -D "$TMP/h"
first=$(header "$TMP/h" X-Job-Id)
post /generate '{"prompt":"bag"}' -H "$key" -o "$TMP/2" -D "$TMP/h"
is "same key, same body: the same job" "$(header "$TMP/h" X-Job-Id)" "$first"
is "same key: told as a replay" "$(header "$TMP/h" Idempotency-Replayed)" true
is "same key: the same bytes of a drawn seed" "$(sha "$TMP/2")" "$(sha "$TMP/1")"
is "same key, other body: 422" "$(post /generate '{"prompt":"coat"}' -H "$key" | jq -r .code)" idempotency_key_reuse
is "same key by /v1/jobs: the same job" "$(post /v1/jobs '{"prompt":"bag","on_disconnect":"cancel"}' -H "$key" | jq -r .id)" "$first"
post /v1/jobs '{"prompt":"bag"}' -H 'Idempotency-Key: k-3' >"$TMP/j"
post /generate '{"prompt":"bag"}' -H 'Idempotency-Key: k-3' -o "$TMP/1" -D "$TMP/h"
is "a key of /v1/jobs by /generate, which waits" "$(header "$TMP/h" X-Job-Id) $(is_png "$TMP/1")" "$(jq -r .id "$TMP/j") png"
is "and by respond-async" "$(post /generate '{"prompt":"bag"}' -H 'Idempotency-Key: k-3' -H 'Prefer: respond-async' | jq -r .id)" "$(jq -r .id "$TMP/j")"
is "a key is not used up by a refused request" "$(status "$URL/generate" -d '{"steps":0}' -H 'Idempotency-Key: k-2'; status "$URL/generate" -d '{}' -H 'Idempotency-Key: k-2')" 422200
is "a key too long: 400" "$(status "$URL/generate" -d '{}' -H "Idempotency-Key: $(printf '%0256d' 0)")" 400
finish
