# t_b_previews.sh - every denoising step as a picture: one, live, side by side.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --preview-bytes 64KiB --quantum 1h

id=$(new_job '{"prompt":"dress","seed":3,"steps":10,"n":2}')
wait_job "$id" >/dev/null
n=0
for step in $(seq 0 10); do
    for view in estimate sample; do
        for image in 0 1; do
            get "/v1/jobs/$id/preview?step=$step&view=$view&image=$image" -o "$TMP/$image-$view-$step.png"
            [ "$(is_png "$TMP/$image-$view-$step.png") $(png_size "$TMP/$image-$view-$step.png")" = "png 16x16" ] && n=$((n + 1))
        done
    done
done
is "11 steps, two views, two pictures: all are there" "$n" 44
is "every step looks different" "$(for s in $(seq 0 10); do sha "$TMP/0-sample-$s.png"; done | sort -u | wc -l | tr -d ' ')" 11
is "before the first step the estimate is the noise" "$(sha "$TMP/0-estimate-0.png")" "$(sha "$TMP/0-sample-0.png")"
is "after the last one the sample is the estimate" "$(sha "$TMP/0-estimate-10.png")" "$(sha "$TMP/0-sample-10.png")"
get "/v1/jobs/$id/preview" -D "$TMP/h" -o "$TMP/p.png"
is "without step: the newest" "$(sha "$TMP/p.png") $(header "$TMP/h" X-Step)" "$(sha "$TMP/0-estimate-10.png") 10"
etag=$(header "$TMP/h" ETag)
like "ETag" "$etag" "\"$id-*\""
is "304" "$(status "$URL/v1/jobs/$id/preview" -H "If-None-Match: $etag")" 304
is "another step has another ETag" "$(status "$URL/v1/jobs/$id/preview?step=9" -H "If-None-Match: $etag")" 200
is "HEAD" "$(curl -sI "$URL/v1/jobs/$id/preview" | head -n 1 | tr -d '\r')" "HTTP/1.1 200 OK"
get "/v1/jobs/$id/preview?zoom=4" -o "$TMP/p.png"
is "zoom" "$(png_size "$TMP/p.png")" 64x64
is "a step that is none: 404" "$(get "/v1/jobs/$id/preview?step=11" | jq -r .code)" preview_not_found
is "an image that is none: 422" "$(get "/v1/jobs/$id/preview?image=2" | jq -r '.errors[0].pointer')" "?image"
is "a view that is none: 422" "$(status "$URL/v1/jobs/$id/preview?view=x")" 422
is "a format that is none: 422" "$(status "$URL/v1/jobs/$id/preview?format=gif")" 422
for what in preview timeline; do
    for type in png jpeg webp; do
        get "/v1/jobs/$id/$what?format=$type" -D "$TMP/h" -o "$TMP/f.$type"
        is "$what?format=$type" "$(header "$TMP/h" Content-Type)" "image/$type"
        get "/v1/jobs/$id/$what" -H "Accept: image/$type" -D "$TMP/h" -o "$TMP/g.$type"
        is "$what, Accept: image/$type" "$(header "$TMP/h" Content-Type) $(header "$TMP/h" Vary) $(sha "$TMP/g.$type")" "image/$type Accept $(sha "$TMP/f.$type")"
    done
    is "$what: begins like a JPEG, a WebP" "$(head -c 3 "$TMP/f.jpeg" | od -An -tx1 | tr -d ' ') $(head -c 12 "$TMP/f.webp" | tail -c 4)" "ffd8ff WEBP"
    get "/v1/jobs/$id/$what?format=jpeg&quality=5" -o "$TMP/low.jpeg"
    is "$what: quality" "$([ "$(wc -c <"$TMP/low.jpeg")" -lt "$(wc -c <"$TMP/f.jpeg")" ] && echo smaller)" smaller
    is "$what: as a browser asks" "$(curl -s -o /dev/null -w '%{content_type}' -H 'Accept: image/avif,image/webp;q=0.9,image/*,*/*;q=0.8' "$URL/v1/jobs/$id/$what")" image/png
    is "$what: nothing acceptable: 406" "$(status "$URL/v1/jobs/$id/$what" -H 'Accept: text/html')" 406
    is "$what: ?format wins" "$(status "$URL/v1/jobs/$id/$what?format=png" -H 'Accept: text/html')" 200
done
is "another format has another ETag" "$(status "$URL/v1/jobs/$id/preview?format=webp" -H "If-None-Match: $etag")" 200

get "/v1/jobs/$id/timeline" -o "$TMP/t.png"
is "timeline: 11 of 16 pixels doubled, gaps of 2" "$(png_size "$TMP/t.png")" "$((11 * 32 + 10 * 2))x32"
get "/v1/jobs/$id/timeline?max=4&zoom=1" -o "$TMP/t.png"
is "timeline: four of them" "$(png_size "$TMP/t.png")" "$((4 * 16 + 3 * 2))x16"
get "/v1/jobs/$id/timeline?max=6&zoom=1&columns=3&view=estimate&image=1" -o "$TMP/t.png"
is "timeline: in rows" "$(png_size "$TMP/t.png")" "$((3 * 16 + 2 * 2))x$((2 * 16 + 2))"
get "/v1/jobs/$id/timeline?max=1&zoom=1" -o "$TMP/t.png"
is "timeline of one: the last" "$(sha "$TMP/t.png")" "$(sha "$TMP/0-sample-10.png")"
is "timeline: max too large" "$(status "$URL/v1/jobs/$id/timeline?max=65")" 422

get "/v1/jobs/$id/preview.mjpg" -D "$TMP/h" -o "$TMP/film"
like "film: type" "$(header "$TMP/h" Content-Type)" 'multipart/x-mixed-replace; boundary=*'
is "film: a part a step, and the finished picture" "$(grep -ac '^Content-Type: image/png' "$TMP/film")" 12
is "film: its steps" "$(grep -a '^X-Step' "$TMP/film" | tr -d '\r' | cut -d' ' -f2 | xargs)" "$(seq 0 10 | xargs) final"
slow=$(new_job "{\"prompt\":\"bag\",\"width\":32,\"height\":32,\"steps\":60}")
get "/v1/jobs/$slow/preview.mjpg?zoom=2" -N -o "$TMP/film"
is "film of a running job: to the end" "$(grep -a '^X-Step' "$TMP/film" | tr -d '\r' | cut -d' ' -f2 | tail -n 1)" final
is "film of a running job: steps rise" "$(grep -a '^X-Step: [0-9]' "$TMP/film" | tr -d '\r' | cut -d' ' -f2 | sort -nC && echo rise)" rise

# 64 KiB hold about 30 steps of two 32x32 views: the oldest fell out on the
# way, and the job before this one lost all of its own first.
is "a step that had to make room: 410" "$(get "/v1/jobs/$slow/preview?step=3" | jq -r '.status,.code' | xargs)" "410 gone"
is "the newest is there" "$(status "$URL/v1/jobs/$slow/preview")" 200
is "the finished job lost its steps first: 410" "$(get "/v1/jobs/$id/preview?step=3" | jq -r .code)" gone
is "its timeline too: 410" "$(status "$URL/v1/jobs/$id/timeline")" 410
is "its pictures stay" "$(status "$URL/v1/jobs/$id/images/0")" 200
is "the budget is kept" "$([ "$(get /v1/status | jq '.bytes.previews <= .bytes.previews_limit')" = true ] && echo kept)" kept

own=$(new_job '{"prompt":"bag","steps":2,"preview":{"format":"webp","quality":40},"output":{"format":"jpeg"}}')
wait_job "$own" >/dev/null
is "preview.format: without Accept" "$(curl -s -o /dev/null -w '%{content_type}' "$URL/v1/jobs/$own/preview")" image/webp
is "preview.format: in events" "$(get "/v1/jobs/$own/events?preview=inline" | sed -n 's/^data: //p' | jq -rc 'select(.data_base64)|[.content_type,.data_base64[0:5]]' | sort -u)" '["image/webp","UklGR"]'
get "/v1/jobs/$own/preview.mjpg" -o "$TMP/film"
is "preview.format: in a film, which ends with the picture itself" "$(grep -a '^Content-Type' "$TMP/film" | tr -d '\r' | cut -d' ' -f2 | xargs)" "image/webp image/webp image/webp image/jpeg"

keep=$(new_job '{"prompt":"bag","steps":5,"preview":{"keep":false}}')
wait_job "$keep" >/dev/null
is "keep:false: an older step is 410" "$(status "$URL/v1/jobs/$keep/preview?step=2")" 410
is "keep:false: the newest is there" "$(status "$URL/v1/jobs/$keep/preview?step=5")" 200
every=$(new_job '{"prompt":"bag","steps":5,"preview":{"every":2}}')
wait_job "$every" >/dev/null
is "every:2: 0, 2, 4 and the last" "$(for s in 0 1 2 3 4 5; do status "$URL/v1/jobs/$every/preview?step=$s"; done)" 200404200404200200
is "every:2: only those are told" "$(get "/v1/jobs/$every/events" | grep -c '^event: preview')" 4
is "every:2: progress for every step all the same" "$(get "/v1/jobs/$every/events" | grep -c '^event: progress')" 6
small=$(new_job '{"prompt":"bag","steps":2,"width":32,"height":16,"preview":{"max_edge":16}}')
wait_job "$small" >/dev/null
get "/v1/jobs/$small/preview" -o "$TMP/p.png"
is "max_edge" "$(png_size "$TMP/p.png")" 16x8
many=$(new_job '{"prompt":"bag","steps":70}')
wait_job "$many" >/dev/null
is "a timeline as wide as a picture may be" "$(status "$URL/v1/jobs/$many/timeline?max=64&zoom=16")" 200
is "one that would be higher: 422" "$(get "/v1/jobs/$many/timeline?max=64&zoom=16&columns=1" | jq -r '.errors[0]|.pointer,.nearest[0]' | xargs)" "?zoom 15"
busy=$(new_job "{$SLOW}")
queued=$(new_job '{"prompt":"bag"}')
is "a job that has not begun has no preview: 404" "$(status "$URL/v1/jobs/$queued/preview")" 404
get "/v1/jobs/$busy" -X DELETE
finish
