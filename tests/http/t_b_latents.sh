# t_b_latents.sh - latents in place of pictures: given, taken, refused.
#
# SPDX-License-Identifier: MIT
MODEL=tests/data/models/tiny-text
. tests/http/lib.sh

text=$MODEL
copy_model "$text" finer
start_server -m "$TMP/finer" -m tests/data/models/tiny

ask='"prompt":"a cat","seed":5,"steps":4,"sampler":"ddim"'
latents='"output":{"format":"safetensors"}'
cli() {
    "$BUILD/unstir" generate -m "$text" -p "a cat" --seed 5 --steps 4 --sampler ddim --force -q "$@" >/dev/null
}
numbers() {
    tail -c 1024 "$1" | sha256sum
}

# Given
post /generate "{$ask,\"denoising_end\":0.5,$latents}" -o "$TMP/half" -D "$TMP/h"
is "latents" "$(header "$TMP/h" Content-Type)" application/x-safetensors
cli --denoising-end 0.5 --raw "$TMP/cli.safetensors" -o "$TMP/cli.png"
"$BUILD/unstir" generate -m "$text" -p "a cat" --seed 5 --steps 4 --sampler ddim --init "$TMP/half" --denoising-start 0.5 -o "$TMP/back.png" -q >/dev/null
is "that the command line reads" "$(is_png "$TMP/back.png")" png
cli --init "$TMP/cli.safetensors" --denoising-start 0.5 --raw "$TMP/whole.safetensors" -o "$TMP/whole.png"
is "its numbers are those of --raw" "$(sha "$TMP/back.png")" "$(sha "$TMP/whole.png")"
is "with the request beside them" "$(head -c 600 "$TMP/half" | grep -ac '\\"denoising_end\\":0.5')" 1
post /generate "{$ask,\"denoising_end\":0.5,\"output\":{\"format\":\"safetensors\",\"metadata\":false}}" -o "$TMP/bare"
is "or without it" "$(grep -ac denoising "$TMP/bare") $(numbers "$TMP/bare")" "0 $(numbers "$TMP/half")"
hash=$(sha "$TMP/half")
get "/v1/artifacts/$hash" -D "$TMP/h" -o "$TMP/c"
is "as an artifact" "$(header "$TMP/h" Content-Type) $(sha "$TMP/c")" "application/x-safetensors $hash"
is "not as a picture: 406" "$(status "$URL/generate" -d "{$ask,$latents}" -H 'Accept: image/*')" 406
is "by its own type" "$(status "$URL/generate" -d "{$ask,$latents}" -H 'Accept: application/x-safetensors')" 200
post /generate "{$ask,\"n\":2,\"denoising_end\":0.5,$latents}" >"$TMP/j"
is "several, as JSON" "$(jq -c '[.request.output.format,.images[].content_type]' "$TMP/j")" '["safetensors","application/x-safetensors","application/x-safetensors"]'
is "the first is the one alone" "$(jq -r '.images[0].sha256' "$TMP/j")" "$hash"
jq -r '.images[1].b64_json' "$TMP/j" | base64 -d >"$TMP/second"
id=$(jq -r .id "$TMP/j")
is "its steps are pictures" "$(get "/v1/jobs/$id/preview" -o "$TMP/p"; is_png "$TMP/p")" png
post /generate '{"model":"tiny","class":3,"seed":2,"steps":2,"output":{"format":"safetensors"}}' -o "$TMP/pixels"
is "of a model of pixels its sample" "$(head -c 300 "$TMP/pixels" | grep -ac '"sample":{"dtype":"F32","shape":\[1,')" 1

# Taken
go_on="$ask,\"model\":\"finer\",\"denoising_start\":0.5"
post /generate "{$go_on,\"init_image\":\"/v1/artifacts/$hash\"}" -o "$TMP/1.png" -D "$TMP/h"
is "from an artifact" "$(is_png "$TMP/1.png")" png
"$BUILD/unstir" generate -m "$TMP/finer" -p "a cat" --seed 5 --steps 4 --sampler ddim --init "$TMP/cli.safetensors" --denoising-start 0.5 -o "$TMP/hand.png" -q >/dev/null
is "the command line's bytes" "$(sha "$TMP/1.png")" "$(sha "$TMP/hand.png")"
post /generate "{$go_on,\"init_image\":\"$(base64 -w0 "$TMP/cli.safetensors")\"}" -o "$TMP/2.png"
is "as base64" "$(sha "$TMP/2.png")" "$(sha "$TMP/1.png")"
post /generate "{$go_on,\"init_image\":\"data:application/x-safetensors;base64,$(base64 -w0 "$TMP/half")\"}" -o "$TMP/3.png"
is "as a data: URL" "$(sha "$TMP/3.png")" "$(sha "$TMP/1.png")"
post /generate "{$go_on,\"n\":2,\"init_image\":\"/v1/artifacts/$hash\"}" >"$TMP/j"
is "one for all pictures" "$(jq -r '.images[0].sha256' "$TMP/j")" "$(sha "$TMP/1.png")"
post /generate "{$ask,\"model\":\"finer\",\"strength\":0.5,\"init_image\":\"/v1/artifacts/$hash\"}" >"$TMP/4.png"
is "noised anew by strength" "$(is_png "$TMP/4.png") $([ "$(sha "$TMP/4.png")" != "$(sha "$TMP/1.png")" ] && echo other)" "png other"
post /generate "{$go_on,\"init_image\":\"/v1/artifacts/$hash\",$latents}" -o "$TMP/end"
is "and given again: those of --raw" "$(is_png "$TMP/whole.png")" png
post /generate "{$ask,\"seed\":6,$latents,\"denoising_end\":0.5}" -o "$TMP/other"

# Refused: made by hand, a header and floats
# file HEADER BYTES: a safetensors file of zeros
file() {
    n=${#1}
    printf "\\$(printf %o $((n % 256)))\\$(printf %o $((n / 256)))\0\0\0\0\0\0%s" "$1"
    head -c "$2" /dev/zero
}
row() {
    base64 -w0 "$TMP/bad" >"$TMP/b64"
    post /generate "{$go_on,\"init_image\":\"$(cat "$TMP/b64")\"}" >"$TMP/j"
    is "$1: where" "$(jq -c '[.errors[].pointer]' "$TMP/j")" '["/init_image"]'
    like "$1: why" "$(jq -r '.errors[0].detail' "$TMP/j")" "$2"
}
file '{"sample":{"dtype":"F32","shape":[1,4,8,8],"data_offsets":[0,1024]}}' 1024 >"$TMP/bad"
post /generate "{$go_on,\"init_image\":\"$(base64 -w0 "$TMP/bad")\"}" -o "$TMP/5.png"
is "made by hand, and right" "$(is_png "$TMP/5.png")" png
file '{"sample":{"dtype":"F64","shape":[4,8,8],"data_offsets":[0,2048]}}' 2048 >"$TMP/bad"
row "doubles" '*"sample" is F64*'
file '{"sample":{"dtype":"F32","shape":[8,8],"data_offsets":[0,256]}}' 256 >"$TMP/bad"
row "too flat" '*"sample" has 2 dimensions*'
file '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}' 8 >"$TMP/bad"
row "others" '*no tensor "sample" or "latents", and 2 others*'
file '{"sample":{"dtype":"F32","shape":[4,8,8],"data_offsets":[0,1024]}}' 1000 >"$TMP/bad"
row "cut" '*sample*'
file '{"sample":{"dtype":"F32","shape":[4,4294967295,4294967295],"data_offsets":[0,1024]}}' 1024 >"$TMP/bad"
row "larger than it is" '*sample*'
file '{"sample":{"dtype":"F16","shape":[1,4,1,5000],"data_offsets":[0,40000]}}' 40000 >"$TMP/bad"
row "too wide" '*at most 256 of 4096 x 4096*'
printf '\377\377\377\377\377\377\377\177{"sample":{}}' >"$TMP/bad"
row "a header without end" '*'
file '{"sample":{"dtype":"F32","shape":[1,3,8,8],"data_offsets":[0,768]}}' 768 >"$TMP/bad"
row "another model's" '*latents of 4 channels, not 3*'
file '{"sample":{"dtype":"F32","shape":[2,4,8,8],"data_offsets":[0,2048]}}' 2048 >"$TMP/bad"
post /generate "{$go_on,\"n\":3,\"init_image\":\"$(base64 -w0 "$TMP/bad")\"}" >"$TMP/j"
is "too few" "$(jq -r '.errors[0].detail' "$TMP/j")" "holds latents of 2 pictures, and 3 are to be made"
is "as many: each its own" "$(post /generate "{$go_on,\"n\":2,\"init_image\":\"$(base64 -w0 "$TMP/bad")\"}" | jq '.images|length')" 2
{
    file '{"sample":{"dtype":"F32","shape":[1,4,8,8],"data_offsets":[0,1024]}}' 1020
    printf '\0\0\300\177'
} >"$TMP/bad"
post /generate "{$go_on,\"init_image\":\"$(base64 -w0 "$TMP/bad")\"}" >"$TMP/j"
like "a number that is none" "$(jq -r .detail "$TMP/j")" '*tensor "sample" holds a number that is not finite, its 256-th*'
post /generate "{$go_on,\"init_image\":\"/v1/artifacts/$hash\",\"mask\":\"/v1/artifacts/$hash\"}" >"$TMP/j"
is "a mask of latents" "$(jq -r '.errors[0].detail' "$TMP/j")" "holds latents; a mask is a picture"
post /generate "{\"model\":\"tiny\",\"class\":3,\"init_image\":\"/v1/artifacts/$hash\"}" >"$TMP/j"
is "a model of pixels" "$(jq -c '[.errors[].pointer]' "$TMP/j")" '["/init_image"]'
post /generate "{$go_on,\"width\":32,\"init_image\":\"/v1/artifacts/$hash\"}" >"$TMP/j"
is "another size" "$(jq -r '.errors[0].detail' "$TMP/j")" "are those of a picture of 16 x 16, not 32 x 16"

# One after the other by hand, and by one request
post /generate "{$ask,\"refiner\":\"finer\",\"denoising_end\":0.5,\"output\":{\"format\":\"safetensors\",\"metadata\":false}}" -o "$TMP/both"
post /generate "{$go_on,\"init_image\":\"/v1/artifacts/$hash\",\"output\":{\"format\":\"safetensors\",\"metadata\":false}}" -o "$TMP/hand"
is "a refiner's latents" "$(sha "$TMP/both")" "$(sha "$TMP/hand")"
finish
