# t_b_models_memory.sh - several models under one ceiling: loaded when they are
# wanted, unloaded by least recent use.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh

copy_model tests/data/models/tiny third

weight_bytes() {
    "$BUILD/unstir" inspect "$1" --json | jq .weight_bytes
}
tiny=$(weight_bytes tests/data/models/tiny)
rgb=$(weight_bytes tests/data/models/tiny-rgb)
largest=$((tiny > rgb ? tiny : rgb))
smallest=$((tiny < rgb ? tiny : rgb))
# Predicted sizes count biases that an f32 file has in place: a little more
# than two models, never three.
start_server -m tests/data/models/tiny-rgb -m "$TMP/third" \
    --models-memory $((2 * largest + smallest / 2))

state() {
    get "/v1/models/$1" | jq -r .status
}
states() {
    get /v1/models | jq -r '[.data[].status]|join(" ")'
}
# paint MODEL OUT
paint() {
    post /generate "{\"model\":\"$1\",\"seed\":3,\"steps\":2}" -o "$2" -w '%{http_code}'
}
# wait_model ID STATE
wait_model() {
    until [ "$(state "$1")" = "$2" ]; do :; done
}

is "start: those that fit, in the order given" "$(states)" "ready ready unloaded"
get /v1/models/third >"$TMP/j"
is "unloaded: everything is told" "$(jq -c '[.labels.sneaker,.limits.max_size,(.bytes > 0),(.sha256|length),.loaded_at]' "$TMP/j")" '[7,64,true,64,null]'
is "unloaded: wrong values are told at once" "$(post /generate '{"model":"third","steps":0}' | jq -r .status)" 422
is "unloaded: nothing was loaded for that" "$(state third)" unloaded
is "first" "$(paint tiny "$TMP/tiny.png")" 200
is "a request loads its model" "$(paint third "$TMP/third.png") $(is_png "$TMP/third.png")" "200 png"
is "least recently used: unloaded" "$(states)" "ready unloaded ready"
is "the other one was left alone" "$(paint tiny "$TMP/again.png") $(sha "$TMP/again.png")" "200 $(sha "$TMP/tiny.png")"
is "another one" "$(paint tiny-rgb "$TMP/rgb.png")" 200
is "least recently used again" "$(states)" "ready ready unloaded"
is "back" "$(paint third "$TMP/back.png") $(sha "$TMP/back.png")" "200 $(sha "$TMP/third.png")"
is "unload and load change no byte" "$(paint tiny "$TMP/again.png") $(sha "$TMP/again.png")" "200 $(sha "$TMP/tiny.png")"

# All models busy: who wants another one waits in the queue until a running job
# is done; its stage says for what.
wait_model tiny-rgb unloaded
a=$(new_job "{$SLOW,\"model\":\"tiny\"}")
wait_state "$a" running
b=$(new_job "{$SLOW,\"model\":\"third\"}")
c=$(new_job '{"model":"tiny-rgb","steps":2}')
while [ "$(get "/v1/jobs/$c" | jq -r .progress.stage)" != loading ]; do :; done
is "waits for its model" "$(get "/v1/jobs/$c" | jq -r .status)" queued
is "polls are answered meanwhile" "$(status "$URL/health/ready")" 200
curl -s -m 60 -X POST "$URL/v1/jobs/$a/cancel" >/dev/null
curl -s -m 60 -X POST "$URL/v1/jobs/$b/cancel" >/dev/null
is "it is painted at last" "$(wait_job "$c" | jq -r .status)" succeeded

# Canceled before its model is there.
a=$(new_job "{$SLOW,\"model\":\"tiny\"}")
wait_state "$a" running
gone=$(get /v1/models | jq -r '[.data[]|select(.status == "unloaded")][0].id')
c=$(new_job "{\"model\":\"$gone\",\"steps\":2}")
curl -s -m 60 -X POST "$URL/v1/jobs/$c/cancel" >/dev/null
is "cancel while it waits" "$(wait_job "$c" | jq -r .status)" canceled
curl -s -m 60 -X POST "$URL/v1/jobs/$a/cancel" >/dev/null
is "the other one goes on" "$(wait_job "$a" | jq -r .status)" canceled

# Many at once, all models: each gets its picture.
ids=
for i in 1 2 3; do
    for m in tiny tiny-rgb third; do
        ids="$ids $(new_job "{\"model\":\"$m\",\"steps\":1,\"seed\":$i}")"
    done
done
# shellcheck disable=SC2086 # words
is "nine jobs of three models" "$(n_succeeded $ids)" 9

# Files that are replaced while their model is not in memory: half of one is
# refused, other weights are not served under the old name, and the right ones
# serve again.
send_away() {
    paint tiny "$TMP/again.png" >"$TMP/s"
    paint tiny-rgb "$TMP/again.png" >"$TMP/s"
    wait_model third unloaded
}
why() {
    post /generate '{"model":"third","seed":3,"steps":2}' | jq -r '.code+" "+.detail'
}
file=$TMP/third/unet/diffusion_pytorch_model.safetensors
cp "$file" "$TMP/weights"
send_away
head -c 3000 "$TMP/weights" >"$file"
like "half a file" "$(why)" "no_model *server's log says why"
like "and asked again" "$(why)" "no_model *server's log says why"
{
    head -c -4 "$TMP/weights"
    printf '\1\2\3\4'
} >"$file"
like "other weights" "$(why)" "no_model *have changed since the server started*"
cp "$TMP/weights" "$file"
is "the right ones again" "$(paint third "$TMP/back.png") $(sha "$TMP/back.png")" "200 $(sha "$TMP/third.png")"
stop_server
is "ends well" "$CODE" 0

# A ceiling below the models: said at once, the others go on.
start_server -m models/fashion --models-memory $((largest + largest / 2))
is "the small one is ready" "$(state tiny)" ready
like "too large: said" "$(get /v1/models/fashion | jq -r '[.status,.error]|join(" ")')" "failed its weights take * MiB of memory; --models-memory allows * MiB*"
is "too large: refused" "$(post /generate '{"model":"fashion"}' | jq -r .code)" no_model
finish
