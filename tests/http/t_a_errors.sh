# t_a_errors.sh - what is wrong is told: all of it, with the nearest right value.
#
# SPDX-License-Identifier: MIT
UNSTIR_PRECISION=f32 # whatever this CPU would choose
export UNSTIR_PRECISION
. tests/http/lib.sh
start_server --max-n 4

# row JSON POINTER NEAREST: 422 with one violation at POINTER
row() {
    post /generate "$1" >"$TMP/j"
    is "422 $1" "$(jq -c '[.status,.errors[0].pointer,.errors[0].nearest,(.errors|length)]' "$TMP/j")" "[422,\"$2\",$3,1]"
}
row '{"prompt":"sneakr"}' /prompt '["sneaker"]'
row '{"class":"shrt"}' /class '["shirt"]'
row '{"class":99}' /class '[9]'
row '{"class":"18446744073709551616"}' /class '[9]'
row '{"class":-1}' /class '[0]'
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
row '{"seed":"18446744073709551616"}' /seed '["18446744073709551615"]'
row '{"seed":" 5"}' /seed null
row '{"stepz":4}' /stepz '["steps"]'
row '{"model":"tinny"}' /model '["tiny"]'
row '{"output":{"format":"gif"}}' /output/format '["png","jpeg","webp","safetensors"]'
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
row '{"clip_skip":2}' /clip_skip '[1]'
row '{"schedule":"karas"}' /schedule '["karras"]'
row '{"scheduler":"karas"}' /scheduler '["karras"]'
row '{"schedule":"karras","sampler":"ddim"}' /schedule null
row '{"loras":["x"]}' /loras/0 null
row '{"webhook":{}}' /webhook null
row '{"prompt":"bag","class":"coat"}' /class null
row '{"prompt":"a red bag"}' /prompt '["bag"]'
row '{"prompt":"a bagpipe"}' /prompt null
row '{"steps":-1}' /steps '[1]'
row '{"steps":1e18}' /steps '[1000]'
row '{"steps":-9223372036854775808}' /steps '[1]'
row '{"width":0}' /width '[8]'
row '{"width":-3}' /width '[8]'
row '{"height":100000000000}' /height '[64]'
row '{"n":1e30}' /n '[16]'

post /generate '{"prompt":"sneakr","steps":0,"n":99,"widht":3,"guidance":"x","seed":-1,"width":15}' >"$TMP/j"
is "all at once" "$(jq -r '.errors[].pointer' "$TMP/j" | sort | xargs)" "/guidance_scale /n /prompt /seed /steps /widht /width"
is "the problem" "$(jq -r '.type,.title,.code' "$TMP/j" | xargs)" "/problems/invalid-parameters Invalid parameters invalid_value"
is "OpenAI's shape in it" "$(jq -r '.error.type' "$TMP/j")" invalid_request_error
is "got is told" "$(jq -c '.errors[]|select(.pointer=="/steps").got' "$TMP/j")" 0
is "type resolves" "$(status "$URL$(jq -r .type "$TMP/j")")" 200
is "fields that change nothing pass" "$(status "$URL/generate" -d '{"prompt":"bag","negative_prompt":"","clip_skip":1,"model":null,"precision":"auto"}')" 200
is "null is as if not given" "$(status "$URL/generate" -d '{"prompt":null,"seed":null,"steps":null,"output":null}')" 200
is "handling=lenient passes over unknown fields" "$(status "$URL/generate" -d '{"stepz":4}' -H 'Prefer: handling=lenient')" 200

is "the labels are told" "$(post /generate '{"class":"hat"}' | jq -r '.errors[0].detail' | grep -c 'labels are t-shirt, trousers, .*ankle boot$')" 1
is "an unknown path: the nearest" "$(get /v1/job | jq -r .detail)" "there is nothing at this path; did you mean /v1/jobs? GET /openapi.json lists every path"
is "another host: named" "$(get /v1/jobs -H 'Host: evil.example' | jq -r '.status,.detail' | xargs | cut -c1-58)" "421 this server does not answer for the host evil.example;"
is "a coded body: 415" "$(post /generate '{}' -H 'Content-Encoding: gzip' -D "$TMP/h" | jq -r '.status,.detail' | xargs) $(header "$TMP/h" Accept-Encoding)" "415 Content-Encoding is gzip; bodies are taken as they are identity"
is "Content-Encoding: identity" "$(status "$URL/generate" -d '{}' -H 'Content-Encoding: identity')" 200
is "Prefer: wait=0 is respond-async" "$(status "$URL/generate" -d '{}' -H 'Prefer: wait=0')" 202

# Query arguments: all of them at once, as with fields.
get '/v1/jobs?stauts=done&limit=0&limit=3&cursor=x&status=failde' >"$TMP/j"
is "a wrong query" "$(jq -c '[.status,(.errors|map([.pointer,.nearest]))]' "$TMP/j")" '[422,[["?stauts",["status"]],["?limit",[1]],["?limit",null],["?cursor",null],["?status",["failed"]]]]'
is "given twice" "$(jq -r '.errors[2].detail' "$TMP/j")" "is given twice"
is "what was got" "$(jq -c '[.errors[].got]' "$TMP/j")" '["done","0","3","x","failde"]'
is "handling=lenient passes over unknown arguments" "$(status "$URL/v1/jobs?stauts=done" -H 'Prefer: handling=lenient')" 200
is "but not over wrong values" "$(status "$URL/v1/jobs?limit=0" -H 'Prefer: handling=lenient')" 422
is "the page takes any argument" "$(status "$URL/?from=mail")" 200
is "a POST as well" "$(post '/generate?imgae=url' '{}' | jq -c '.errors[0]|[.pointer,.nearest]')" '["?imgae",["image"]]'

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
is "no JSON at all: what it should look like" "$(curl -s "$URL/generate" -d 'prompt=sneaker' | jq -r .detail | grep -c 'such as {"prompt":"sneaker"}$')" 1
is "NUL in a string: said plainly" "$(post /generate '{"prompt":"\u0000"}' | jq -r .detail)" 'line 1, column 18: \u0000 is not allowed in a string'
is "another content type: named" "$(curl -s "$URL/generate" -H 'Content-Type: text/plain' -d '{}' | jq -r '.status,.detail' | xargs)" "415 Content-Type is text/plain; this path takes application/json"
is "a form of another origin" "$(status "$URL/generate" -H 'Origin: http://evil.example' -d '{}')" 415
head -c 70000 /dev/zero | tr '\0' ' ' >"$TMP/big"
is "a body too large" "$(status "$URL/v1/jobs/job_aaaaaaaaaaaaaaaaaaaaaaaaaa/cancel" -H 'Content-Type: application/json' --data-binary "@$TMP/big")" 413
is "another method" "$(curl -s -X PUT "$URL/generate" | jq -r '.status,.detail' | xargs)" "405 this path does not take PUT; it takes POST, OPTIONS"
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
