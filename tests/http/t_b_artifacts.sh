# t_b_artifacts.sh - finished pictures by hash: forever the same, for a while.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --result-bytes 4KiB

post /generate '{"prompt":"bag","seed":1}' -o "$TMP/a.png"
hash=$(sha "$TMP/a.png")
size=$(wc -c <"$TMP/a.png" | tr -d ' ')
get "/v1/artifacts/$hash" -D "$TMP/h" -o "$TMP/b.png"
is "the bytes" "$(sha "$TMP/b.png")" "$hash"
is "type" "$(header "$TMP/h" Content-Type)" image/png
is "ETag" "$(header "$TMP/h" ETag)" "\"$hash\""
is "cacheable for ever" "$(header "$TMP/h" Cache-Control)" "private, max-age=31536000, immutable"
like "Repr-Digest" "$(header "$TMP/h" Repr-Digest)" 'sha-256=:*=:'
is "304" "$(status "$URL/v1/artifacts/$hash" -H "If-None-Match: \"$hash\"")" 304
is "HEAD tells the length" "$(curl -sI "$URL/v1/artifacts/$hash" | tr -d '\r' | sed -n 's/^Content-Length: //p')" "$size"

range() { # NAME RANGE STATUS FIRST LENGTH
    get "/v1/artifacts/$hash" -H "Range: $2" -D "$TMP/h" -o "$TMP/r" -w '%{http_code}' >"$TMP/s"
    is "$1: $2" "$(cat "$TMP/s") $(sha "$TMP/r")" "$3 $(tail -c +$(($4 + 1)) "$TMP/a.png" | head -c "$5" | sha256sum | cut -d' ' -f1)"
}
range "the first 100 bytes" bytes=0-99 206 0 100
is "Content-Range" "$(header "$TMP/h" Content-Range)" "bytes 0-99/$size"
range "one byte" bytes=7-7 206 7 1
range "from the 100th on" bytes=100- 206 100 "$size"
range "the last 50" bytes=-50 206 $((size - 50)) 50
range "more than there is" bytes=10-99999 206 10 "$size"
range "the last of more than there is" bytes=-99999 206 0 "$size"
range "several ranges are passed over" bytes=0-1,4-5 200 0 "$size"
is "HEAD has no ranges" "$(curl -sI -m 60 "$URL/v1/artifacts/$hash" -H 'Range: bytes=0-9' -o /dev/null -w '%{http_code}')" 200
range "BYTES is the same unit" BYTES=0-9 206 0 10
range "another unit is passed over" rows=0-1 200 0 "$size"
range "an upside-down range is passed over" bytes=9-3 200 0 "$size"
get "/v1/artifacts/$hash" -H 'Range: bytes=99999-' -D "$TMP/h" -o /dev/null
is "beyond the end: 416" "$(head -n 1 "$TMP/h" | tr -d '\r') $(header "$TMP/h" Content-Range)" "HTTP/1.1 416 Range Not Satisfiable bytes */$size"
is "If-Range that holds: 206" "$(status "$URL/v1/artifacts/$hash" -H 'Range: bytes=0-1' -H "If-Range: \"$hash\"")" 206
is "If-Range that does not: 200" "$(status "$URL/v1/artifacts/$hash" -H 'Range: bytes=0-1' -H 'If-Range: "x"')" 200

id=$(new_job '{"prompt":"bag","seed":1}')
wait_job "$id" >/dev/null
get "/v1/jobs/$id/images/0" -D "$TMP/h" -o "$TMP/b.png"
is "by job and number" "$(sha "$TMP/b.png") $(header "$TMP/h" Content-Location)" "$hash /v1/artifacts/$hash"
is "its seed" "$(header "$TMP/h" X-Seed)" 1
is "a number that is none: 404" "$(status "$URL/v1/jobs/$id/images/1")" 404
is "another spelling of a number: 404" "$(status "$URL/v1/jobs/$id/images/x")" 404
is "equal pictures are kept once" "$(get /v1/status | jq .bytes.results)" "$size"

# Newer ones take the room; the budget holds.
for seed in 2 3 4 5 6 7; do
    post /generate "{\"prompt\":\"bag\",\"seed\":$seed}" -o /dev/null
done
is "the budget is kept" "$(get /v1/status | jq '.bytes.results <= .bytes.results_limit and .bytes.results > 0')" true
is "the oldest had to go: 410" "$(get "/v1/artifacts/$hash" | jq -r '.status,.code' | xargs)" "410 gone"
is "by its job as well: 410" "$(status "$URL/v1/jobs/$id/images/0")" 410
is "the job is still told" "$(get "/v1/jobs/$id" | jq -r .status)" succeeded
post /generate '{"prompt":"bag","seed":1}' -o "$TMP/c.png"
is "made again, it is the same" "$(sha "$TMP/c.png")" "$hash"
is "and there again" "$(status "$URL/v1/artifacts/$hash")" 200

# Time to live.
post '/generate?image=url' '{"prompt":"bag","seed":77,"ttl_s":0.05}' -H 'Accept: application/json' >"$TMP/j"
id=$(jq -r .id "$TMP/j")
until [ "$(status "$URL/v1/jobs/$id")" = 410 ]; do :; done
is "after its ttl the job is gone: 410" "$(get "/v1/jobs/$id" | jq -r .code)" gone
until [ "$(status "$URL$(jq -r '.images[0].url' "$TMP/j")")" = 410 ]; do :; done
is "and its picture: 410" "$(get "$(jq -r '.images[0].url' "$TMP/j")" | jq -r .code)" gone
is "counted" "$(get /v1/status | jq '.jobs.expired >= 1')" true
stop_server
is "the server ends with 0" "$CODE" 0

start_server --max-jobs 16 --max-ttl 30 --ttl 20
is "a ttl above the limit: 422" "$(post /generate '{"ttl_s":31}' | jq -c '.errors[0].nearest')" '[30]'
first=$(new_job '{}')
wait_job "$first" >"$TMP/j"
is "ttl of the server" "$(jq -c '(.expires_at[0:19]+"Z"|fromdate) - (.completed_at[0:19]+"Z"|fromdate)' "$TMP/j")" 20
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do
    post /generate '{}' -o /dev/null
done
is "only so many jobs are remembered" "$(get /v1/status | jq '.jobs.remembered <= 17')" true
is "the first one had to go: 410" "$(status "$URL/v1/jobs/$first")" 410
finish
