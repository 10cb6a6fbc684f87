# t_b_pictures.sh - pictures that come with a request, and the formats of those
# that go.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server

magic() {
    head -c 12 "$1" | od -An -tx1 | tr -d ' \n'
}
# body NAME REST: a JSON body with the file as init_image
body() {
    printf '{"init_image":"%s","prompt":"bag","seed":3,"steps":10%s}' "$(base64 -w0 "$1")" "$2"
}
# send FILE-OF-BODY [curl option ...]
send() {
    file=$1
    shift
    curl -s "$URL/generate" --data-binary "@$file" -H 'Content-Type: application/json' "$@"
}

# Formats
for type in png jpeg webp; do
    post /generate '{"prompt":"sneaker","seed":7}' -H "Accept: image/$type" -D "$TMP/h" -o "$TMP/a.$type"
    is "Accept image/$type" "$(header "$TMP/h" Content-Type)" "image/$type"
    post /generate "{\"prompt\":\"sneaker\",\"seed\":7,\"output\":{\"format\":\"$type\"}}" -D "$TMP/h" -o "$TMP/b.$type"
    is "output.format $type" "$(header "$TMP/h" Content-Type)" "image/$type"
    is "the same bytes, asked for either way" "$(sha "$TMP/a.$type")" "$(sha "$TMP/b.$type")"
    hash=$(sha "$TMP/a.$type")
    get "/v1/artifacts/$hash" -D "$TMP/h" -o "$TMP/c"
    is "its artifact" "$(header "$TMP/h" Content-Type) $(sha "$TMP/c")" "image/$type $hash"
done
is "a JPEG" "$(magic "$TMP/a.jpeg" | cut -c1-6)" ffd8ff
is "a WebP" "$(magic "$TMP/a.webp" | cut -c17-24)" 57454250
"$BUILD/unstir" generate -m "$MODEL" -p sneaker --seed 7 -o "$TMP/cli.jpg" -q >/dev/null
is "the command line's bytes" "$(sha "$TMP/cli.jpg")" "$(sha "$TMP/a.jpeg")"
is "a format that is not accepted: 406" "$(status "$URL/generate" -d '{"output":{"format":"webp"}}' -H 'Accept: image/png')" 406
post /generate '{"output":{"format":"gif"}}' >"$TMP/j"
is "an unknown format" "$(jq -c '[.errors[].pointer]' "$TMP/j")" '["/output/format"]'
post /generate '{"prompt":"sneaker","seed":7,"output":{"format":"webp","quality":100}}' -o "$TMP/lossless.webp"
post /generate '{"prompt":"bag","seed":1,"n":2,"output":{"format":"jpeg"}}' >"$TMP/j"
is "JSON tells the format" "$(jq -rc '[.images[].content_type,.request.output.format]' "$TMP/j")" '["image/jpeg","image/jpeg","jpeg"]'

# A picture to begin with
body "$TMP/a.png" ',"strength":0.5' >"$TMP/body"
send "$TMP/body" -o "$TMP/1.png" -D "$TMP/h"
is "picture to picture" "$(is_png "$TMP/1.png")" png
"$BUILD/unstir" generate -m "$MODEL" -p bag --seed 3 --steps 10 --init "$TMP/a.png" --strength 0.5 -o "$TMP/cli.png" -q >/dev/null
is "the command line's bytes" "$(sha "$TMP/cli.png")" "$(sha "$TMP/1.png")"
send "$TMP/body" -H 'Accept: application/json' >"$TMP/j"
is "steps that are run" "$(jq -c '[.progress.steps,.request.steps,.request.strength]' "$TMP/j")" '[5,10,0.5]'
id=$(jq -r .id "$TMP/j")
is "previews of those" "$(status "$URL/v1/jobs/$id/preview?step=5") $(status "$URL/v1/jobs/$id/preview?step=6")" "200 404"
printf '{"init_image":"data:image/png;base64,%s","strength":0.5,"prompt":"bag","seed":3,"steps":10}' "$(base64 -w0 "$TMP/a.png")" >"$TMP/body"
send "$TMP/body" -o "$TMP/2.png"
is "as a data: URL" "$(sha "$TMP/2.png")" "$(sha "$TMP/1.png")"
printf '{"init_image":"/v1/artifacts/%s","strength":0.5,"prompt":"bag","seed":3,"steps":10}' "$(sha "$TMP/a.png")" >"$TMP/body"
send "$TMP/body" -o "$TMP/3.png"
is "as an artifact" "$(sha "$TMP/3.png")" "$(sha "$TMP/1.png")"
body "$TMP/lossless.webp" ',"strength":0.5' >"$TMP/body"
send "$TMP/body" -o "$TMP/4.png"
is "a WebP" "$(is_png "$TMP/4.png")" png
body "$TMP/a.jpeg" ",\"mask\":\"$(base64 -w0 "$TMP/a.png")\"" >"$TMP/body"
send "$TMP/body" -H 'Accept: application/json' >"$TMP/j"
is "a JPEG and a mask" "$(jq -rc '[.status,.request.strength]' "$TMP/j")" '["succeeded",1]'
body "$TMP/a.png" ',"n":2,"strength":0.3' >"$TMP/body"
send "$TMP/body" >"$TMP/j"
is "two of it" "$(jq -c '[.images[].seed]' "$TMP/j")" "[3,4]"

# Variations: one seed, n other ones to go towards
post /generate '{"prompt":"bag","seed":3,"variation_seed":8,"variation_strength":0.25,"n":2}' -D "$TMP/h" >"$TMP/j"
is "seeds of variations" "$(jq -c '[(.images[]|[.seed,.variation_seed]),.request.variation_seed,.request.variation_strength]' "$TMP/j")" "[[3,8],[3,9],8,0.25]"
is "and as headers" "$(header "$TMP/h" X-Seed) $(header "$TMP/h" X-Variation-Seed)" "3 8"
post /generate '{"prompt":"bag","seed":3,"variation_seed":9,"variation_strength":0.25}' -o "$TMP/v.png"
is "the second one alone" "$(sha "$TMP/v.png")" "$(jq -r '.images[1].sha256' "$TMP/j")"
"$BUILD/unstir" generate -m "$MODEL" -p bag --seed 3 --variation-seed 9 --variation-strength 0.25 -o "$TMP/vc.png" -q >/dev/null
is "the command line's bytes" "$(sha "$TMP/vc.png")" "$(sha "$TMP/v.png")"
post /generate '{"prompt":"bag","variation_strength":0.5}' -H 'Accept: application/json' >"$TMP/j"
is "a drawn one is told" "$(jq -c '[.images[0].variation_seed==.request.variation_seed,.request.variation_seed!=null]' "$TMP/j")" "[true,true]"
post /generate '{"prompt":"bag","seed":3,"variation_seed":9}' -o "$TMP/v.png"
post /generate '{"prompt":"bag","seed":3}' -o "$TMP/vc.png"
is "without strength it is passed over" "$(sha "$TMP/vc.png")" "$(sha "$TMP/v.png")"
body "$TMP/a.png" ',"strength":0.5,"variation_strength":0.3,"variation_seed":1' >"$TMP/body"
send "$TMP/body" -o "$TMP/v.png"
"$BUILD/unstir" generate -m "$MODEL" -p bag --seed 3 --steps 10 --init "$TMP/a.png" --strength 0.5 --variation-seed 1 --variation-strength 0.3 -o "$TMP/vc.png" --force -q >/dev/null
is "of a picture: the command line's bytes" "$(sha "$TMP/vc.png")" "$(sha "$TMP/v.png")"

# What is wrong is told before anything is queued
row() {
    printf '%s' "$1" >"$TMP/body"
    send "$TMP/body" >"$TMP/j"
    is "$3" "$(jq -c '[.status,[.errors[].pointer]]' "$TMP/j")" "[422,$2]"
}
row '{"init_image":"data:"}' '["/init_image"]' "an empty data: URL"
row '{"init_image":"http://127.0.0.1/x.png"}' '["/init_image"]' "an address elsewhere"
row '{"init_image":"data:image/png,xxxxxxxxxxxxxxxxxx"}' '["/init_image"]' "a data: URL that is not base64"
row '{"init_image":"AAAA!AAAAAAAAAAAAAAAAAAA"}' '["/init_image"]' "broken base64"
row '{"init_image":"R0lGODlhAQABAIAAAAUEBAAAACw="}' '["/init_image"]' "a GIF"
row '{"init_image":"/v1/artifacts/00"}' '["/init_image"]' "no such artifact"
row '{"variation_strength":1.5}' '["/variation_strength"]' "varied too far"
row '{"variation_seed":-1,"variation_strength":0.5}' '["/variation_seed"]' "a seed below 0"
row '{"strength":0.5}' '["/strength"]' "a strength alone"
row "{\"mask\":\"$(base64 -w0 "$TMP/a.png")\"}" '["/mask"]' "a mask alone"
row "$(body "$TMP/a.png" ',"strength":0.01')" '["/strength"]' "no step left"
row "$(body "$TMP/a.png" ',"strength":2')" '["/strength"]' "too strong"
row '{"sampler":"ddim_inverse"}' '["/sampler"]' "an inversion of nothing"
# A PNG head that claims 5000 x 5000 pixels
printf '\211PNG\r\n\032\n\0\0\0\rIHDR\0\0\023\210\0\0\023\210\010\0\0\0\0' >"$TMP/bomb.png"
row "$(body "$TMP/bomb.png" '')" '["/init_image"]' "too large"
like "and why" "$(jq -r '.errors[0].detail' "$TMP/j")" '*5000 x 5000*4096*'

# Damage behind a good head is found by the worker
head -c 60 "$TMP/a.png" >"$TMP/cut.png"
body "$TMP/cut.png" '' >"$TMP/body"
send "$TMP/body" >"$TMP/j"
is "a cut file" "$(jq -r '"\(.status) \(.code)"' "$TMP/j")" "422 bad_picture"

# Bodies: 32 MiB, and no more
head -c 24000000 /dev/zero | base64 -w0 >"$TMP/zeros"
{ printf '{"init_image":"'; cat "$TMP/zeros"; printf '"}'; } >"$TMP/body"
is "a large body that is no picture: 422" "$(curl -s -o /dev/null -w '%{http_code}' "$URL/generate" -H 'Content-Type: application/json' --data-binary "@$TMP/body")" 422
{ printf '{"tag":"'; cat "$TMP/zeros"; cat "$TMP/zeros"; printf '"}'; } >"$TMP/body"
is "above 32 MiB: 413" "$(curl -s -o /dev/null -w '%{http_code}' "$URL/generate" -H 'Content-Type: application/json' -H 'Expect:' --data-binary "@$TMP/body")" 413

# An idempotency key knows pictures by their bytes
body "$TMP/a.png" '' >"$TMP/body"
send "$TMP/body" -H 'Idempotency-Key: k' -o "$TMP/5.png" -D "$TMP/h"
send "$TMP/body" -H 'Idempotency-Key: k' -o "$TMP/6.png" -D "$TMP/h"
is "the same picture: a replay" "$(header "$TMP/h" Idempotency-Replayed)" true
body "$TMP/1.png" '' >"$TMP/body"
send "$TMP/body" -H 'Idempotency-Key: k' -o "$TMP/j"
is "another one: 422" "$(jq -r .code "$TMP/j")" idempotency_key_reuse

# The other direction reads all formats
for type in png jpeg webp; do
    is "/v1/forward reads $type" "$(curl -s -o /dev/null -w '%{http_code} %{content_type}' --data-binary "@$TMP/a.$type" -H "Content-Type: image/$type" "$URL/v1/forward?t=100")" "200 image/png"
done

# Latent models: the encoder's latents, and its draws
stop_server
is "the first server ends with 0" "$CODE" 0
MODEL=tests/data/models/tiny-text
start_server
for more in ',"strength":0.5' ",\"mask\":\"$(base64 -w0 "$TMP/a.jpeg")\""; do
    printf '{"init_image":"%s","prompt":"a cat","seed":5,"steps":4%s}' "$(base64 -w0 "$TMP/a.webp")" "$more" >"$TMP/body"
    send "$TMP/body" -o "$TMP/7.png"
    case $more in
    *mask*) set -- --mask "$TMP/a.jpeg" ;;
    *) set -- --strength 0.5 ;;
    esac
    "$BUILD/unstir" generate -m "$MODEL" -p "a cat" --seed 5 --steps 4 --init "$TMP/a.webp" "$@" -o "$TMP/cli.png" --force -q >/dev/null
    is "a latent model, $1: the command line's bytes" "$(is_png "$TMP/7.png") $(sha "$TMP/cli.png")" "png $(sha "$TMP/7.png")"
done

# Previews of latents by three decoders
is "no tiny decoder here" "$(get /v1/models | jq -c '.data[0].has_tiny_decoder')" false
row '{"prompt":"a cat","preview":{"decoder":"tiny"}}' '["/preview/decoder"]' "a tiny decoder that is not there"
row '{"prompt":"a cat","preview":{"decoder":"vae"}}' '["/preview/decoder"]' "a decoder of another name"
stop_server
is "the server of latents ends with 0" "$CODE" 0
start_server --tiny-decoder tests/data/vae_tiny
is "a tiny decoder" "$(get /v1/models | jq -c '.data[0].has_tiny_decoder')" true
for how in matrix tiny full; do
    post /generate "{\"prompt\":\"a cat\",\"seed\":5,\"preview\":{\"decoder\":\"$how\"}}" -D "$TMP/h" -o "$TMP/d-$how.png"
    id=$(header "$TMP/h" X-Job-Id)
    get "/v1/jobs/$id/preview?step=1" -o "$TMP/p-$how.png"
    get "/v1/jobs/$id/preview" -o "$TMP/l-$how.png"
done
is "three pictures of one step" "$(sha "$TMP/p-matrix.png") $(sha "$TMP/p-tiny.png") $(sha "$TMP/p-full.png")" "$(for h in matrix tiny full; do sha "$TMP/p-$h.png"; done | awk '!seen[$0]++' | xargs)"
is "of one picture" "$(for h in matrix tiny full; do sha "$TMP/d-$h.png"; done | sort -u | wc -l | tr -d ' ')" 1
is "told in the request" "$(post /generate '{"prompt":"a cat","preview":{"decoder":"full"}}' -H 'Accept: application/json' | jq -rc .request.preview.decoder)" full
post /generate '{"prompt":"a cat","seed":5,"output":{"metadata":false}}' -o "$TMP/plain.png"

# A part of the way, and what SDXL alone is told
post /generate '{"prompt":"a cat","seed":5,"steps":4,"denoising_end":0.5}' -o "$TMP/part.png"
"$BUILD/unstir" generate -m "$MODEL" -p "a cat" --seed 5 --steps 4 --denoising-end 0.5 -o "$TMP/cli.png" --force -q >/dev/null
is "half of the way: the command line's bytes" "$(is_png "$TMP/part.png") $(sha "$TMP/cli.png")" "png $(sha "$TMP/part.png")"
row '{"prompt":"a cat","denoising_start":0.5}' '["/denoising_start"]' "a start without a picture"
row '{"prompt":"a cat","denoising_end":1.5}' '["/denoising_end"]' "an end behind the end"
row '{"prompt":"a cat","micro_conditioning":{"crop_left":3}}' '["/micro_conditioning"]' "a network that is not told"
row '{"prompt":"a cat","aesthetic_score":3}' '["/aesthetic_score"]' "nor how beautiful it is"
row '{"prompt":"a cat","micro_conditioning":{"crop":3}}' '["/micro_conditioning/crop"]' "nor by another name"

# Models that edit by instruction
stop_server
is "the second server ends with 0" "$CODE" 0
mkdir "$TMP/edit"
cp -r tests/data/edit/. tests/data/models/tiny-text/vae tests/data/models/tiny-text/text_encoder \
    tests/data/models/tiny-text/tokenizer tests/data/models/tiny-text/scheduler "$TMP/edit"
MODEL=$TMP/edit
start_server
is "told by /v1/models" "$(get /v1/models | jq -c '[.data[0].edits_pictures,.data[0].pipeline]')" '[true,"StableDiffusionInstructPix2PixPipeline"]'
printf '{"init_image":"%s","prompt":"a red dog","seed":1,"steps":3,"n":2,"image_guidance_scale":2}' "$(base64 -w0 "$TMP/a.png")" >"$TMP/body"
send "$TMP/body" >"$TMP/j"
is "two edits" "$(jq -c '[.status,.request.image_guidance_scale,(.images|length)]' "$TMP/j")" '["succeeded",2,2]'
"$BUILD/unstir" generate -m "$MODEL" -p "a red dog" --seed 2 --steps 3 --init "$TMP/a.png" --image-guidance 2 -o "$TMP/cli.png" --force -q >/dev/null
is "the command line's bytes" "$(sha "$TMP/cli.png")" "$(jq -r '.images[1].sha256' "$TMP/j")"
row '{"prompt":"a red dog"}' '["/init_image"]' "an edit of nothing"
row "$(printf '{"init_image":"%s","strength":0.5,"image_guidance":0.5}' "$(base64 -w0 "$TMP/a.png")")" '["/strength","/image_guidance"]' "a strength, and a guidance below 1"
finish
