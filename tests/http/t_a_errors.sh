# t_a_errors.sh - what is wrong is told: all of it, with the nearest right value.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-n 4

# row JSON POINTER NEAREST: 422 with one violation at POINTER
row() {
    post /generate "$1" >"$TMP/j"
    is "422 $1" "$(jq -c '[.status,.errors[0].pointer,.errors[0].nearest,(.errors|length)]' "$TMP/j")" "[422,\"$2\",$3,1]"
}
row '{"prompt":"sneakr"}' /prompt '["sneaker"]'
row '{"class":"shrt"}' /class '["shirt"]'
row '{"class":99}' /class null
row '{"steps":0}' /steps '[1]'
row '{"steps":1001}' /steps '[1000]'
row '{"steps":-5}' /steps '[1]'
row '{"steps":"4"}' /steps null
row '{"steps":1.5}' /steps '[1,2]'
row '{"n":0}' /n '[1]'
row '{"n":5}' /n '[4]'
row '{"n":17}' /n '[16]'
row '{"width":17}' /width '[18]'
row '{"height":66}' /height '[64]'
row '{"sampler":"dddim"}' /sampler '["ddim"]'
row '{"seed":-1}' /seed '[0]'
row '{"seed":"18446744073709551616"}' /seed null
row '{"stepz":4}' /stepz '["steps"]'
row '{"model":"tinny"}' /model '["tiny"]'
row '{"output":{"format":"gif"}}' /output/format '["png"]'
row '{"output":{"png_level":10}}' /output/png_level '[9]'
row '{"preview":{"every":0}}' /preview/every '[1]'
row '{"on_disconnect":"cansel"}' /on_disconnect '["cancel"]'
row '{"priority":2}' /priority '[1]'
row '{"deadline_s":0}' /deadline_s '[0.001]'
row '{"precision":"bf16"}' /precision '["f32"]'
row '{"eta":2}' /eta '[1]'
row '{"negative_prompt":"ugly"}' /negative_prompt null
row '{"init_image":"data:"}' /init_image null
row '{"strength":0.5}' /strength null
row '{"clip_skip":2}' /clip_skip null
row '{"schedule":"karas"}' /schedule '["karras"]'
row '{"scheduler":"karas"}' /scheduler '["karras"]'
row '{"schedule":"karras","sampler":"ddim"}' /schedule null
row '{"loras":[]}' /loras null
row '{"webhook":{}}' /webhook null
row '{"prompt":"bag","class":"coat"}' /class null

post /generate '{"prompt":"sneakr","steps":0,"n":99,"widht":3,"guidance":"x","seed":-1,"width":15}' >"$TMP/j"
is "all at once" "$(jq -r '.errors[].pointer' "$TMP/j" | sort | xargs)" "/guidance_scale /n /prompt /seed /steps /widht /width"
is "the problem" "$(jq -r '.type,.title,.code' "$TMP/j" | xargs)" "/problems/invalid-parameters Invalid parameters invalid_value"
is "OpenAI's shape in it" "$(jq -r '.error.type' "$TMP/j")" invalid_request_error
is "got is told" "$(jq -c '.errors[]|select(.pointer=="/steps").got' "$TMP/j")" 0
is "type resolves" "$(status "$URL$(jq -r .type "$TMP/j")")" 200
is "fields that change nothing pass" "$(status "$URL/generate" -d '{"prompt":"bag","negative_prompt":"","clip_skip":1,"model":null,"precision":"auto"}')" 200
is "null is as if not given" "$(status "$URL/generate" -d '{"prompt":null,"seed":null,"steps":null,"output":null}')" 200
is "handling=lenient passes over unknown fields" "$(status "$URL/generate" -d '{"stepz":4}' -H 'Prefer: handling=lenient')" 200

bad() { # NAME JSON WANTED
    is "$1" "$(post /generate "$2" | jq -r '.status,.code' | xargs)" "$3"
}
bad "broken JSON" '{"prompt":' "400 malformed_json"
bad "NaN" '{"eta":NaN}' "400 malformed_json"
bad "duplicate keys" '{"n":1,"n":2}' "400 malformed_json"
bad "too deep" '{"a":[[[[[[[[[1]]]]]]]]]}' "400 malformed_json"
bad "an array" '[1]' "422 invalid_value"
bad "a number" '3' "422 invalid_value"
bad "nothing" '' "400 malformed_json"
printf '{"prompt":"\377"}' >"$TMP/utf"
is "bad UTF-8" "$(curl -s "$URL/generate" --data-binary "@$TMP/utf" | jq -r .code)" malformed_json
is "another content type" "$(status "$URL/generate" -H 'Content-Type: text/plain' -d '{}')" 415
head -c 70000 /dev/zero | tr '\0' ' ' >"$TMP/big"
is "a body too large" "$(status "$URL/generate" -H 'Content-Type: application/json' --data-binary "@$TMP/big")" 413
is "another method" "$(status -X PUT "$URL/generate")" 405
is "OPTIONS lists" "$(curl -s -X OPTIONS -D - "$URL/v1/jobs/x" | tr -d '\r' | sed -n 's/^Allow: //p')" "GET, HEAD, DELETE, OPTIONS"
is "no such job" "$(get /v1/jobs/job_00000000000000000000000000 | jq -r .code)" job_not_found
is "no job id at all" "$(get /v1/jobs/7 | jq -r '.code')" job_not_found
for tail in events preview preview.mjpg timeline images/0; do
    is "no such job: $tail" "$(status "$URL/v1/jobs/job_00000000000000000000000000/$tail")" 404
done
is "no such job: cancel" "$(status -X POST "$URL/v1/jobs/job_00000000000000000000000000/cancel")" 404
is "no such artifact" "$(status "$URL/v1/artifacts/$(printf '%064d' 0)")" 404
is "no hash at all" "$(status "$URL/v1/artifacts/..%2f..%2fetc")" 404
is "no such model" "$(get /v1/models/tinny | jq -r .detail)" "there is no such model here; the nearest is tiny"
is "list: wrong limit" "$(get '/v1/jobs?limit=0' | jq -r '.errors[0].pointer')" "?limit"
is "list: wrong status" "$(get '/v1/jobs?status=done' | jq -r '.errors[0].pointer')" "?status"
is "poll: wrong wait" "$(status "$URL/v1/jobs/$(new_job '{}')?wait=x")" 422
finish
