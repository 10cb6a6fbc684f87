# bodies.sh - polls while clients post pictures of 6 MB (bodies of 8 MB) at full
# speed, and every core infers.
#
# POSTERS (4) connections post to /v1/estimate, which reads a body as /generate
# does and makes no job of it, each as fast as it is answered.  Meanwhile 1,000
# polls of /health/live a second come in on 64, then 512 connections, for
# SECONDS_EACH (3) each.  Wanted: 99 of 100 answered within 50 ms, none refused.
#
# SPDX-License-Identifier: MIT
. tests/bench/service.sh

# The head of a PNG of 1416 x 1416 pixels and 6 MB that are none: what is read
# of a picture before a job of it begins.
{
    printf '\211PNG\r\n\032\n\000\000\000\015IHDR'
    printf '\000\000\005\210\000\000\005\210\010\002\000\000\000\220\267\267\340'
    printf '\000\134\123\100IDAT'
    head -c 6050624 /dev/urandom
} >"$TMP/p.png"
{
    printf '{"prompt":"sneaker","seed":1,"init_image":"'
    base64 -w 0 "$TMP/p.png"
    printf '"}'
} >"$TMP/body"
is "a body of 8 MB is read" "$(status "$URL/v1/estimate" --json "@$TMP/body")" 200

for c in 64 512; do
    is_working
    "$BUILD/tests/bench/body_load" "$PORT" /v1/estimate "$TMP/body" \
        "${POSTERS:-4}" $((MS + 500)) >"$TMP/posts" &
    load=$!
    line=$("$BUILD/tests/bench/http_load" "$PORT" /health/live $c $MS 1000)
    wait $load
    echo "$line" | jq -c --slurpfile posts "$TMP/posts" \
        '{what: "bodies"} + . + {posts: $posts[0].statuses, posts_per_s: $posts[0].posts_per_s, mb_per_s: $posts[0].mb_per_s}'
    is "bodies $c connections: p99 within 50 ms, none refused" \
        "$(echo "$line" | jq '.p99_ms <= 50 and .refused == 0')" true
    is "bodies: every one was read" "$(jq -c '.statuses | keys' "$TMP/posts")" '["200"]'
done
end_work
finish
