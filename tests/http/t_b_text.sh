# t_b_text.sh - a model that reads a text, over HTTP.
#
# SPDX-License-Identifier: MIT
MODEL=tests/data/models/tiny-text
. tests/http/lib.sh
start_server

ASK='"prompt":"a photo of a (red:1.3) cat","negative_prompt":"dog","clip_skip":2,"seed":7'
post /generate "{$ASK}" -o "$TMP/a.png" -D "$TMP/h"
is "a picture of a text" "$(header "$TMP/h" Content-Type) $(png_size "$TMP/a.png")" "image/png 16x16"
"$BUILD/unstir" generate -m "$MODEL" -p "a photo of a (red:1.3) cat" --negative dog --clip-skip 2 --seed 7 -o "$TMP/cli.png" -q >"$TMP/out"
is "the command line makes the same bytes" "$(sha "$TMP/cli.png")" "$(sha "$TMP/a.png")"
post /generate "{$ASK,\"n\":2}" -H 'Accept: application/json' >"$TMP/j"
is "two at once: the first is the same" "$(jq -r '.images[0].b64_json' "$TMP/j" | base64 -d | sha256sum | cut -d' ' -f1)" "$(sha "$TMP/a.png")"
is "the job tells what was asked" "$(jq -c '.request|[.prompt,.negative_prompt,.clip_skip,.class]' "$TMP/j")" '["a photo of a (red:1.3) cat","dog",2,null]'
is "the request comes back to the same picture" "$(post /generate "$(jq -c '.request|.n=1|del(.label)' "$TMP/j")" -H 'Accept: image/png' | sha256sum | cut -d' ' -f1)" "$(sha "$TMP/a.png")"

other() {
    post /generate "$1" -o "$TMP/other.png"
    sha "$TMP/other.png"
}
n=$({
    sha "$TMP/a.png"
    other '{"prompt":"a photo of a cat","negative_prompt":"dog","clip_skip":2,"seed":7}'
    other '{"prompt":"a photo of a (red:1.3) cat","negative_prompt":"dog","seed":7}'
    other '{"prompt":"a photo of a (red:1.3) cat","clip_skip":2,"seed":7}'
    other '{"prompt":"a photo of a (red:1.3) cat","negative_prompt":"dog","clip_skip":2,"seed":7,"prompt_syntax":"plain"}'
    other '{"seed":7}'
} | sort -u | wc -l)
is "each field changes the picture" "$n" 6
is "an absent prompt is an empty one" "$(other '{"seed":7}')" "$(other '{"prompt":"","seed":7,"negative_prompt":""}')"

strings=$(tr -cd '[:print:]\n' <"$TMP/a.png")
case $strings in
*"Negative prompt: dog"*"Clip skip: 2"*) echo "ok metadata tells both texts and the layer" ;;
*) is "metadata tells both texts and the layer" no yes ;;
esac

errors() {
    post /generate "$1" | jq -c '[.status,.errors[].pointer]'
}
is "clip_skip above the layers" "$(errors '{"prompt":"cat","clip_skip":4}')" '[422,"/clip_skip"]'
is "the nearest right one" "$(post /generate '{"prompt":"cat","clip_skip":4}' | jq -c '.errors[0].nearest')" '[3]'
is "a class" "$(errors '{"prompt":"cat","class":3}')" '[422,"/class"]'
is "another syntax" "$(errors '{"prompt":"cat","prompt_syntax":"webui"}')" '[422,"/prompt_syntax"]'
is "brackets beyond the ceiling" "$(errors "{\"prompt\":\"$(printf '(%.0s' $(seq 200))x\"}")" '[422,"/prompt"]'
is "a text beyond the pieces" "$(errors "{\"negative_prompt\":\"$(printf 'a %.0s' $(seq 3000))\"}")" '[422,"/negative_prompt"]'

get /v1/models | jq -c '.data[0]|[.takes_text,.takes_negative_prompt,.max_clip_skip,.pipeline,.autoencoder]' >"$TMP/m"
is "the model says what it takes" "$(cat "$TMP/m")" '[true,true,3,"StableDiffusionPipeline","AutoencoderKL"]'
is "so do the capabilities" "$(get /v1/capabilities | jq -c '.models[0]|[.text,.negative_prompt,.guidance]')" '[true,true,true]'

id=$(new_job "{$ASK,\"steps\":4}")
wait_job "$id" >/dev/null
n=0
for step in 0 1 2 3 4; do
    get "/v1/jobs/$id/preview?step=$step" -o "$TMP/p.png"
    [ "$(png_size "$TMP/p.png")" = 16x16 ] && n=$((n + 1))
done
is "every step has a preview of the picture's size" "$n" 5
finish
