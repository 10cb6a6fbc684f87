# t_b_refiner.sh - one picture by two models: a base and its refiner.
#
# SPDX-License-Identifier: MIT
MODEL=tests/data/models/tiny-text
. tests/http/lib.sh
. tests/http/loras.sh

text=$MODEL
copy_model "$text" finer
copy_model "$text" third
start_server -m "$TMP/finer"

ask='"prompt":"a cat","seed":5,"steps":6,"sampler":"dpmpp_2m"'
cli() {
    "$BUILD/unstir" generate -m "$text" -p "a cat" --seed 5 --steps 6 --sampler dpmpp_2m --force -q "$@" >/dev/null
}

post /generate "{$ask,\"refiner\":\"finer\"}" -o "$TMP/a.png" -D "$TMP/h"
is "a picture by two models" "$(is_png "$TMP/a.png")" png
cli --refiner "$TMP/finer" -o "$TMP/cli.png"
is "the command line's bytes" "$(sha "$TMP/cli.png")" "$(sha "$TMP/a.png")"
post /generate "{$ask}" -o "$TMP/one.png"
is "not those of one model" "$([ "$(sha "$TMP/one.png")" != "$(sha "$TMP/a.png")" ] && echo other)" other
post /generate "{$ask,\"refiner\":{\"model\":\"finer\",\"steps\":12},\"denoising_end\":0.5}" -o "$TMP/b.png"
cli --denoising-end 0.5 --raw "$TMP/half.safetensors" -o "$TMP/half.png"
"$BUILD/unstir" generate -m "$TMP/finer" -p "a cat" --seed 5 --steps 12 --sampler dpmpp_2m --init "$TMP/half.safetensors" --denoising-start 0.5 -o "$TMP/hand.png" --no-metadata -q >/dev/null
post /generate "{$ask,\"refiner\":{\"model\":\"finer\",\"steps\":12},\"denoising_end\":0.5,\"output\":{\"metadata\":false}}" -o "$TMP/plain.png"
is "two commands by hand" "$(tail -c 400 "$TMP/hand.png" | sha256sum)" "$(tail -c 400 "$TMP/plain.png" | sha256sum)"

# Company, progress, previews, events
post /generate "{$ask,\"n\":3,\"refiner\":\"finer\"}" >"$TMP/j"
is "the first of three" "$(jq -r '.images[0].sha256' "$TMP/j")" "$(sha "$TMP/a.png")"
is "it tells both" "$(jq -c '[.model.id,.refiner.id,.request.refiner.model,.request.denoising_end]' "$TMP/j")" '["tiny-text","finer","finer",0.8]'
steps=$(jq .progress.steps "$TMP/j")
is "steps of both" "$(jq '.request.steps' "$TMP/j") $steps" "6 6"
id=$(jq -r .id "$TMP/j")
is "a preview of each step" "$(for k in 0 1 2 3 4 5 6 7; do status "$URL/v1/jobs/$id/preview?step=$k&image=2"; echo; done | tr '\n' ' ')" "200 200 200 200 200 200 200 404 "
jq -c .request "$TMP/j" | jq -c 'del(.label,.n,.seed)+{seed:5}' >"$TMP/again"
is "the canonical request asks for the same" "$(post /generate "$(cat "$TMP/again")" -H 'Accept: image/png' | sha256sum | cut -c1-64)" "$(sha "$TMP/a.png")"
is "metadata tells both" "$(grep -ac '"refiner":{"model":"finer"' "$TMP/a.png") $(grep -ac 'Refiner: finer \[' "$TMP/a.png")" "1 1"
is "an estimate counts both" "$(jq -n "$(post /v1/estimate "{$ask,\"refiner\":\"finer\"}" | jq .peak_bytes) > $(post /v1/estimate "{$ask}" | jq .peak_bytes)")" true

# Refusals
row() {
    is "$3" "$(post /generate "$1" | jq -c '[.errors[].pointer]')" "$2"
}
row "{$ask,\"refiner\":\"fine\"}" '["/refiner"]' "no such refiner"
is "and the nearest" "$(post /generate "{$ask,\"refiner\":\"fine\"}" | jq -rc '.errors[0].nearest')" '["finer"]'
row "{$ask,\"refiner\":{\"steps\":3}}" '["/refiner"]' "a refiner without its model"
row "{$ask,\"refiner\":{\"model\":\"finer\",\"steps\":0}}" '["/refiner/steps"]' "its steps"
row "{$ask,\"refiner\":{\"model\":\"finer\",\"sampler\":\"eulr\"}}" '["/refiner/sampler"]' "its sampler"
row "{$ask,\"refiner\":{\"model\":\"finer\",\"width\":16}}" '["/refiner/width"]' "what it has not"
row "{$ask,\"refiner\":[\"finer\",\"finer\"]}" '["/refiner"]' "two refiners"
row "{$ask,\"refiner\":\"finer\",\"denoising_end\":1}" '["/denoising_end"]' "nothing left to it"
row "{$ask,\"refiner\":\"finer\",\"denoising_end\":0.9999}" '["/refiner"]' "no step left to it"
finish_server() {
    stop_server
    is "ends well" "$CODE" 0
}
finish_server

# Under a ceiling: both are there at one time, or it is told at once
bytes=$("$BUILD/unstir" inspect "$text" --json | jq .weight_bytes)
start_server -m "$TMP/finer" -m "$TMP/third" --models-memory $((2 * bytes + bytes / 2))
state() {
    get "/v1/models/$1" | jq -r .status
}
is "third: no room" "$(state third)" unloaded
pair() {
    post /generate "{$ask,\"model\":\"$1\",\"refiner\":\"$2\"}" -o "$TMP/p.png" -w '%{http_code}'
}
is "a pair that is there" "$(pair tiny-text finer)" 200
is "another refiner comes, the base stays" "$(pair tiny-text third) $(state finer)" "200 unloaded"
is "another base comes, the refiner stays" "$(pair finer third) $(state tiny-text)" "200 unloaded"
is "both come" "$(pair tiny-text finer) $(state third)" "200 unloaded"
is "a model as its own refiner" "$(pair third third)" 200
jobs=
for i in 1 2 3 4; do
    for p in "tiny-text finer" "finer third" "third tiny-text"; do
        jobs="$jobs $(new_job "{$ask,\"model\":\"${p% *}\",\"refiner\":\"${p#* }\"}")"
    done
done
# shellcheck disable=SC2086
is "pairs in turns all end" "$(n_succeeded $jobs)" 12
finish_server

# LoRAs are the base's, also where the prompt names them, and count as well
mkdir "$TMP/loras"
write_lora "$TMP/loras/ink.safetensors" 3f000000 '' unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k 8 8
start_server -m "$TMP/finer" --lora-dir "$TMP/loras" --models-memory $((4 * bytes))
post /generate "{$ask,\"loras\":[\"ink:0.7\"],\"refiner\":\"finer\"}" -o "$TMP/ink.png" -w '%{http_code}' >"$TMP/code"
cli --refiner "$TMP/finer" --lora "$TMP/loras/ink.safetensors:0.7" -o "$TMP/cli.png"
is "a LoRA of the base" "$(cat "$TMP/code") $(sha "$TMP/ink.png")" "200 $(sha "$TMP/cli.png")"
is "named in the prompt" "$(post /generate '{"prompt":"a cat <lora:ink:0.7>","seed":5,"steps":6,"refiner":"finer"}' -o "$TMP/p.png" -w '%{http_code}')" 200
finish_server
start_server -m "$TMP/finer" --lora-dir "$TMP/loras" --models-memory $((2 * bytes + 64))
is "no room for all three: told" "$(post /generate "{$ask,\"loras\":[\"ink\"],\"refiner\":\"finer\"}" | jq -r '.status')" 503
is "the pair alone has it" "$(pair tiny-text finer)" 200
finish_server
start_server -m "$TMP/finer" --models-memory $((bytes + bytes / 2))
row "{$ask,\"refiner\":\"finer\"}" '["/refiner"]' "more than the ceiling"
is "and why" "$(post /generate "{$ask,\"refiner\":\"finer\"}" | jq -r '.errors[0].detail' | sed 's/[0-9][0-9]*/N/g')" "tiny-text and finer together take N MiB of memory; --models-memory allows N MiB for all models"
finish
