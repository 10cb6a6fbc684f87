# t_b_models.sh - models, capabilities, status, estimate, forward.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server -m tests/data/models/tiny-rgb

get /v1/models >"$TMP/j"
is "list: shape" "$(jq -c '[.object,.next_cursor,(.data|length)]' "$TMP/j")" '["list",null,2]'
is "list: OpenAI's fields" "$(jq -c '.data[0]|[.id,.object,.owned_by,(.created|type)]' "$TMP/j")" '["tiny","model","unstir","number"]'
get /v1/models/tiny >"$TMP/j"
is "one: labels" "$(jq -c '[.labels.sneaker,(.labels|length),.classes,.null_class]' "$TMP/j")" '[7,10,10,10]'
is "one: defaults and limits" "$(jq -c '[.defaults.steps,.defaults.sampler,.limits.max_size]' "$TMP/j")" '[4,"ddim",64]'
is "one: ready" "$(jq -r .status "$TMP/j")" ready
like "one: digest" "$(jq -r .sha256 "$TMP/j")" '????????????????????????????????????????????????????????????????'
is "one: its step time was measured" "$(jq '.step_ms > 0' "$TMP/j")" true
until [ "$(get /v1/models/tiny-rgb | jq -r .status)" = ready ]; do :; done
post /generate '{"model":"tiny-rgb","seed":2}' -o "$TMP/rgb.png" -D "$TMP/h"
is "another model makes pictures" "$(header "$TMP/h" X-Model) $(is_png "$TMP/rgb.png")" "tiny-rgb png"
is "no paths are told" "$(get /v1/models | grep -c "$(pwd)\|tests/data/models")" 0
is "a model without classes takes no prompt" "$(post /generate '{"model":"tiny-rgb","prompt":"bag"}' | jq -r '.errors[0].pointer')" /prompt

get /v1/capabilities -D "$TMP/h" >"$TMP/j"
is "capabilities: samplers" "$(jq -c '[.samplers[].name]|contains(["ddpm","ddim"])' "$TMP/j")" true
is "capabilities: limits" "$(jq -c '[.limits.n,.limits.queue,.limits.json_depth]' "$TMP/j")" '[16,64,8]'
is "capabilities: models" "$(jq -c '[.models[].id]' "$TMP/j")" '["tiny","tiny-rgb"]'
for path in /v1/models /v1/models/tiny / /openapi.json; do
    get "$path" -D "$TMP/h2" -o /dev/null
    is "$path: 304" "$(status "$URL$path" -H "If-None-Match: $(header "$TMP/h2" ETag)")" 304
done
is "capabilities: 304" "$(status "$URL/v1/capabilities" -H "If-None-Match: $(header "$TMP/h" ETag)")" 304
get /v1/status >"$TMP/j"
is "status" "$(jq -c '[.object,.status,.queue.length,.build.store]' "$TMP/j")" '["status","ready",0,"memory"]'
is "status: a worker" "$(jq -c '.workers|map(.threads > 0)' "$TMP/j")" '[true]'
post /v1/estimate '{"prompt":"bag","steps":100,"n":2}' >"$TMP/j"
is "estimate" "$(jq -c '[.object,.admitted,.refusal,.measured,(.run_s > 0),(.finish_s >= .run_s),(.peak_bytes > 0)]' "$TMP/j")" '["estimate",true,null,true,true,true,true]'
run_s() { post /v1/estimate "{\"prompt\":\"bag\",\"steps\":20,\"sampler\":\"ddim\",$1}" | jq .run_s; }
is "estimate: guidance is two evaluations" "$(jq -n "$(run_s '"guidance_scale":3') / $(run_s '"guidance_scale":1') | . * 100 | round")" 200
is "estimate: DeepCache takes less" "$(jq -n "$(run_s '"deep_cache":5') < 0.9 * $(run_s '"deep_cache":1')")" true
is "estimate ran nothing" "$(get /v1/status | jq .jobs.submitted)" 1
is "estimate: wrong values are told" "$(post /v1/estimate '{"steps":0}' | jq -r .status)" 422

post /generate '{"prompt":"bag","seed":1}' -o "$TMP/a.png"
forward() { # QUERY OUT
    curl -s -m 60 "$URL/v1/forward?$1" -H 'Content-Type: image/png' --data-binary "@$TMP/a.png" -o "$2" -D "$TMP/h" -w '%{http_code}'
}
is "forward: a picture" "$(forward 't=250&seed=1' "$TMP/f1") $(is_png "$TMP/f1") $(png_size "$TMP/f1")" "200 png 16x16"
forward 't=250&seed=1' "$TMP/f2" >/dev/null
forward 't=250&seed=2' "$TMP/f3" >/dev/null
is "forward: same seed, same bytes" "$(sha "$TMP/f2")" "$(sha "$TMP/f1")"
is "forward: another seed, others" "$([ "$(sha "$TMP/f3")" != "$(sha "$TMP/f1")" ] && echo others)" others
is "forward: seed is told" "$(header "$TMP/h" X-Seed)" 2
is "forward: a strip" "$(forward 'steps=8&zoom=2' "$TMP/f") $(png_size "$TMP/f")" "200 $((8 * 32 + 7 * 2))x32"
is "forward: one picture, enlarged" "$(forward 't=250&zoom=4' "$TMP/f") $(png_size "$TMP/f")" "200 64x64"
id=$(new_job '{"prompt":"bag","steps":8}')
wait_job "$id" >/dev/null
get "/v1/jobs/$id/timeline?columns=3&max=9&zoom=8" >"$TMP/large.png"
is "forward: a strip too large" "$(png_size "$TMP/large.png") $(curl -s "$URL/v1/forward?steps=16&zoom=8" --data-binary "@$TMP/large.png" | jq -c '[.status,.errors[0].pointer,.errors[0].nearest]')" '388x388 [422,"?zoom",[2]]'
is "forward: t beyond the chain" "$(forward 't=1000' "$TMP/f") $(jq -r '.errors[0].pointer' "$TMP/f")" "422 ?t"
is "forward: another model" "$(forward 'model=tiny-rgb&t=1' "$TMP/f")" 200
is "forward: no such model" "$(forward 'model=x' "$TMP/f")" 404
is "forward: no picture" "$(curl -s "$URL/v1/forward" -H 'Content-Type: image/png' --data-binary 'no png' | jq -r '.status,.code' | xargs)" "422 bad_picture"
is "forward: nothing" "$(curl -s "$URL/v1/forward" -X POST | jq -r '.code')" bad_picture
head -c 300 "$TMP/a.png" >"$TMP/cut.png"
is "forward: a cut picture" "$(curl -s "$URL/v1/forward" -H 'Content-Type: image/png' --data-binary "@$TMP/cut.png" | jq -r .code)" bad_picture

# The first of two models cannot be loaded: the other is served, and whoever
# names none is told so and what to name.
stop_server
copy_model tests/data/models/tiny broken
for file in $(find "$TMP/broken" -name '*.safetensors'); do
    head -c 2000 "$file" >"$TMP/half" && mv "$TMP/half" "$file"
done
MODEL=$TMP/broken start_server -m tests/data/models/tiny-rgb
says() { # JSON
    post /generate "$1" | jq -r '"\(.status) \(.code) \(.detail)"'
}
is "degraded: ready for work" "$(get /health/ready -o "$TMP/j" -w '%{http_code}')" 200
is "degraded: the word" "$(jq -r .status "$TMP/j")" degraded
like "degraded: the model" "$(jq -r .detail "$TMP/j")" '*model broken is failed*no model are for it, but may name tiny-rgb'
is "degraded: it has started" "$(get /health/startup | jq -r .status)" started
is "degraded: status" "$(get /v1/status | jq -r .status)" degraded
like "degraded: no model named" "$(says '{}')" "503 no_model model broken is failed: *; requests that name no model are for it, but may name tiny-rgb"
like "degraded: the failed one named" "$(says '{"model":"broken"}')" "503 no_model model broken is failed: *log says why"
like "degraded: forward" "$(curl -s "$URL/v1/forward" -X POST | jq -r .detail)" "model broken is failed*may name tiny-rgb"
is "degraded: no path is told" "$(grep -c "$TMP" "$TMP/j")" 0
is "degraded: the other one works" "$(post /generate '{"model":"tiny-rgb","steps":1}' -o /dev/null -w '%{http_code}')" 200
is "degraded: logged" "$(grep -c 'degraded' "$TMP/log")" 1
stop_server
MODEL=tests/data/models/tiny-rgb start_server -m "$TMP/broken"
is "degraded: not the first" "$(get /health/ready | jq -r '.status,.detail' | tr '\n' ' ' | grep -c 'degraded.*broken is failed.*why $')" 1
is "degraded: plain requests are served" "$(status "$URL/generate" -H 'Content-Type: application/json' -d '{"steps":1}')" 200

is "openapi lists the addresses" "$(get /openapi.json | jq '.paths|has("/generate") and has("/v1/jobs/{id}/preview.mjpg")')" true
finish
