# t_b_loras.sh - LoRAs over HTTP: the folder, the field, the prompt, the models
# that they make.
#
# SPDX-License-Identifier: MIT
MODEL=tests/data/models/tiny-text
. tests/http/lib.sh
. tests/http/loras.sh

DIR=$TMP/loras
mkdir "$DIR" "$TMP/outside"
K=unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k
V=text_encoder.text_model.encoder.layers.0.self_attn.v_proj
write_lora "$DIR/ink.safetensors" 3f000000 '{"modelspec.trigger_phrase":"ink drawing, wash"}' "$K" 8 8
write_lora "$DIR/film.safetensors" 3e800000 '{"ss_base_model_version":"sd_v1","ss_tag_frequency":"{\"a\":{\"grain\":9,\"film\":4}}"}' "$V" 16 16 "$K" 8 8
write_lora "$DIR/misfit.safetensors" 3f000000 '' "$K" 8 9
write_lora "$DIR/stranger.safetensors" 3f000000 '' unet.no.such.layer 8 8
write_lora "$DIR/nan.safetensors" 7fc00000 '' "$K" 8 8
write_lora "$TMP/outside/secret.safetensors" 3f000000 '' "$K" 8 8
printf 'no tensors at all' >"$DIR/broken.safetensors"
head -c 200 "$DIR/ink.safetensors" >"$DIR/cut.safetensors"
ln -s "$TMP/outside/secret.safetensors" "$DIR/away.safetensors"
ln -s ink.safetensors "$DIR/alias.safetensors"
ln -s nowhere.safetensors "$DIR/dangling.safetensors"
mkdir "$DIR/folder.safetensors"
mkfifo "$DIR/pipe.safetensors"
for name in .hidden 'a:b' 'a<b' "$(printf 'a\tb')" "$(printf 'a\377b')" 'a,b'; do
    cp "$DIR/ink.safetensors" "$DIR/$name.safetensors"
done
start_server --lora-dir "$DIR" --max-derived 2

get /v1/loras >"$TMP/l"
is "the folder: names" "$(jq -c '[.data[].name]' "$TMP/l")" '["alias","broken","cut","film","ink","misfit","nan","stranger"]'
lora() {
    jq -c ".data[]|select(.name == \"$1\")|$2" "$TMP/l"
}
is "what a file says" "$(lora ink '[.status,.kind,.family,.unet,.text_encoder,.layers,.rank.max,.alpha.min,.triggers]')" '["ready","peft",null,true,false,1,2,2,["ink drawing","wash"]]'
is "what another says" "$(lora film '[.family,.text_encoder,.layers,.triggers]')" '["sd1",true,2,["grain","film"]]'
is "bytes and hash" "$(lora ink '[.bytes,.sha256]')" "[$(wc -c <"$DIR/ink.safetensors"),\"$(sha "$DIR/ink.safetensors")\"]"
is "a broken file: listed" "$(lora broken .status)" '"failed"'
like "with the reason" "$(lora broken .error)" '"LoRA broken: *"'
is "no paths are told" "$(grep -c "$TMP" "$TMP/l")" 0

# paint JSON OUT
paint() {
    post /generate "$1" -o "$2" -w '%{http_code}'
}
cli() {
    "$BUILD/unstir" generate -m "$MODEL" --lora-dir "$DIR" --seed 7 --steps 3 --force -q "$@" >"$TMP/out"
}
ASK='"seed":7,"steps":3'
is "without" "$(paint "{$ASK,\"prompt\":\"a cat\"}" "$TMP/none.png")" 200
is "the field" "$(paint "{$ASK,\"prompt\":\"a cat\",\"loras\":[{\"name\":\"ink\",\"scale\":0.8}]}" "$TMP/ink.png")" 200
cli -p "a cat" --lora ink:0.8 -o "$TMP/cli.png"
is "the command line makes the same bytes" "$(sha "$TMP/ink.png")" "$(sha "$TMP/cli.png")"
is "another picture than without" "$([ "$(sha "$TMP/ink.png")" != "$(sha "$TMP/none.png")" ] && echo others)" others
for form in '["ink:0.8"]' '"ink:0.8"' '{"name":"ink","scale":0.8}' '["ink:0.8:0.8"]' '[{"name":"ink:0.8"}]' '[{"name":"ink","weight":0.8}]' \
    "[{\"name\":\"ink\",\"scale\":0.8,\"sha256\":\"$(sha "$DIR/ink.safetensors")\"}]"; do
    paint "{$ASK,\"prompt\":\"a cat\",\"loras\":$form}" "$TMP/form.png" >/dev/null
    is "written as $form" "$(sha "$TMP/form.png")" "$(sha "$TMP/ink.png")"
done
paint "{$ASK,\"prompt\":\"a cat <lora:film:0.5:0.9>\"}" "$TMP/tag.png" >/dev/null
cli -p "a cat <lora:film:0.5:0.9>" -o "$TMP/cli.png"
is "the prompt: the same bytes" "$(sha "$TMP/tag.png")" "$(sha "$TMP/cli.png")"
BOTH='"prompt":"a cat <lora:film:0.5><lora:ink:0.1>","loras":["ink:0.8"]'
paint "{$ASK,$BOTH}" "$TMP/both.png" >/dev/null
cli -p "a cat <lora:film:0.5><lora:ink:0.1>" --lora ink:0.8 -o "$TMP/cli.png"
is "both: the same bytes, the field counts" "$(sha "$TMP/both.png")" "$(sha "$TMP/cli.png")"
post '/generate?image=url' "{$ASK,$BOTH}" -H 'Accept: application/json' >"$TMP/j"
is "the job says which" "$(jq -c '[.request.loras|sort_by(.name)[]|[.name,.scale,.sha256]]' "$TMP/j")" \
    "[[\"film\",0.5,\"$(sha "$DIR/film.safetensors")\"],[\"ink\",0.8,\"$(sha "$DIR/ink.safetensors")\"]]"
is "its model is another" "$([ "$(jq -r .model.sha256 "$TMP/j")" != "$(get /v1/models | jq -r '.data[0].sha256')" ] && echo another)" another
is "the request comes back to the same picture" "$(post /generate "$(jq -c '.request|del(.label)' "$TMP/j")" -H 'Accept: image/png' | sha256sum | cut -d' ' -f1)" "$(sha "$TMP/both.png")"
case $(tr -cd '[:print:]\n' <"$TMP/ink.png") in
*'"loras"'*"$(sha "$DIR/ink.safetensors")"*) echo "ok the picture's metadata names file and hash" ;;
*) is "the picture's metadata names file and hash" no yes ;;
esac
paint "{$ASK,\"prompt\":\"a cat\",\"loras\":[{\"name\":\"ink\",\"scale\":0}]}" "$TMP/zero.png" >/dev/null
is "scale 0 is none" "$(sha "$TMP/zero.png")" "$(sha "$TMP/none.png")"
paint "{$ASK,\"prompt\":\"a cat\"}" "$TMP/after.png" >/dev/null
is "taken away: the bytes of before" "$(sha "$TMP/after.png")" "$(sha "$TMP/none.png")"

errors() {
    post /generate "$1" | jq -c '[.status,.errors[].pointer]'
}
post /generate '{"loras":["inc","film:0.5"]}' >"$TMP/j"
is "unknown: the nearest" "$(jq -c '[.status,.errors[0].pointer,.errors[0].nearest[0]]' "$TMP/j")" '[422,"/loras/0","ink"]'
is "unknown in the prompt" "$(errors '{"prompt":"<lora:filn:1> x"}')" '[422,"/prompt"]'
is "all faults at once" "$(errors '{"loras":["ink","ink",{"name":"film","scale":101},{"scale":1},{"name":"x","wieght":1}],"steps":0}')" \
    '[422,"/loras/2/scale","/loras/4/wieght","/loras/1","/loras/3","/loras/4","/steps"]'
is "a scale that is no number" "$(errors '{"loras":["ink:much"]}')" '[422,"/loras/0"]'
is "a scale too large" "$(errors '{"prompt":"<lora:ink:1000>"}')" '[422,"/prompt"]'
is "another file" "$(errors '{"loras":[{"name":"ink","sha256":"00"}]}')" '[422,"/loras/0"]'
is "too many" "$(errors "{\"loras\":[$(yes '"ink"' | head -n 16 | tr '\n' ,)\"ink\"]}")" '[422,"/loras"]'
is "no list" "$(errors '{"loras":7}')" '[422,"/loras"]'
for name in broken cut; do
    is "hostile: $name" "$(errors "{\"loras\":[\"$name\"]}")" '[422,"/loras/0"]'
done
for name in away dangling folder pipe .hidden ../outside/secret ../ink ./ink '%2e%2e/ink' '..\\ink' /etc/passwd a/../ink "a\\tb" 'ink\u0000' ink.safetensors; do
    is "no name: $name" "$(post /generate "{\"loras\":[{\"name\":\"$name\",\"scale\":1}]}" | jq '.status >= 400 and .status < 500')" true
done
fails() { # NAME PATTERN
    post /generate "{\"loras\":[\"$1\"]}" >"$TMP/j"
    like "hostile: $1" "$(jq -r '"\(.status) \(.code) \(.detail)"' "$TMP/j")" "$2"
}
fails misfit '422 lora_unusable *LoRA misfit: layer * is 8 x 9; *'
fails stranger '422 lora_unusable *LoRA stranger: no layer of this model*'
fails nan '422 lora_unusable *LoRA nan: tensor "'"$K"'.lora_B.weight": number 0 is not finite'
id=$(new_job '{"loras":["misfit:0.3"]}')
is "its job failed" "$(wait_job "$id" | jq -c '[.status,.error.code]')" '["failed","lora_unusable"]'
is "while it is remembered: said at once" "$(errors '{"loras":["misfit:0.3"]}')" '[422,"/loras"]'
is "others go on" "$(paint "{$ASK,\"prompt\":\"a cat\",\"loras\":[\"ink:0.8\"]}" "$TMP/again.png") $(sha "$TMP/again.png")" "200 $(sha "$TMP/ink.png")"

# A new file, a changed one, one that went away.
write_lora "$DIR/new.safetensors" 3e000000 '' "$K" 8 8
is "a new file is found" "$(get /v1/loras | jq -c '[.data[]|select(.name == "new").status]')" '["ready"]'
is "and can be used" "$(paint "{$ASK,\"prompt\":\"a cat\",\"loras\":[\"new\"]}" "$TMP/new.png")" 200
write_lora "$DIR/new.safetensors" 3f000000 '' "$K" 8 8
get /v1/loras >/dev/null
paint "{$ASK,\"prompt\":\"a cat\",\"loras\":[\"new\"]}" "$TMP/new2.png" >/dev/null
is "a changed file is another" "$([ "$(sha "$TMP/new.png")" != "$(sha "$TMP/new2.png")" ] && echo another)" another
rm "$DIR/new.safetensors"
is "one that is gone" "$(get /v1/loras | jq -c '[.data[]|select(.name == "new")]')" '[]'
is "cannot be used" "$(errors '{"loras":["new"]}')" '[422,"/loras/0"]'

# Many at once, more models than are kept, each with the bytes it has alone.
n=0
for scale in 0.1 0.2 0.3 0.4; do
    cli -p "a cat" --lora ink:$scale -o "$TMP/alone$scale.png"
done
ids=
for round in 1 2; do
    for scale in 0.1 0.2 0.3 0.4; do
        ids="$ids $(new_job "{$ASK,\"prompt\":\"a cat\",\"loras\":[\"ink:$scale\"],\"tag\":\"$scale $round\"}")"
    done
done
for id in $ids; do
    wait_job "$id" >"$TMP/j"
    [ "$(jq -r '.images[0].sha256' "$TMP/j")" = "$(sha "$TMP/alone$(jq -r '.request.tag|split(" ")[0]' "$TMP/j").png")" ] && n=$((n + 1))
done
is "eight jobs with four scales: each its own bytes" $n 8
get /v1/status >"$TMP/s"
is "at most --max-derived are kept" "$(jq '.loras.ready <= 2 and .loras.unloaded > 0 and .loras.made > 4 and .loras.failed >= 3' "$TMP/s")" true
paint "{$ASK,\"prompt\":\"a cat\"}" "$TMP/after.png" >/dev/null
is "the base has the bytes of before" "$(sha "$TMP/after.png")" "$(sha "$TMP/none.png")"

# Cancel while it waits for its model: all places are taken by running jobs.
a=$(new_job "{$SLOW,\"loras\":[\"ink:0.5\"]}")
wait_state "$a" running
b=$(new_job "{$SLOW,\"loras\":[\"ink:0.6\"],\"priority\":1}")
c=$(new_job '{"loras":["ink:0.7"],"steps":2}')
curl -s -m 60 -X POST "$URL/v1/jobs/$c/cancel" >/dev/null
is "canceled while it waits" "$(wait_job "$c" | jq -r .status)" canceled
curl -s -m 60 -X POST "$URL/v1/jobs/$a/cancel" >/dev/null
curl -s -m 60 -X POST "$URL/v1/jobs/$b/cancel" >/dev/null
is "the others too" "$(wait_job "$a" | jq -r .status) $(wait_job "$b" | jq -r .status)" "canceled canceled"
is "estimate" "$(post /v1/estimate '{"loras":["ink:0.123"]}' | jq -c '[.admitted,.request.loras[0].scale]')" '[true,0.123]'

# Stopped with models being made.
for scale in 0.11 0.12 0.13 0.14; do
    new_job "{$SLOW,\"loras\":[\"film:$scale\"]}" >/dev/null
done
kill -TERM "$SERVER"
kill -TERM "$SERVER" 2>/dev/null
wait "$SERVER"
is "stopped while models are made" $? 0
SERVER=
exec 3<&-

# Under a ceiling of memory.
base=$("$BUILD/unstir" inspect "$MODEL" --json | jq .weight_bytes)
start_server --lora-dir "$DIR" --models-memory $((base + 4096))
for scale in 0.1 0.2 0.3; do
    is "ceiling: $scale" "$(paint "{$ASK,\"prompt\":\"a cat\",\"loras\":[\"ink:$scale\"]}" "$TMP/c.png") $(sha "$TMP/c.png")" "200 $(sha "$TMP/alone$scale.png")"
done
is "a LoRA that takes too much" "$(post /generate '{"loras":["film"]}' | jq -r '.code')" lora_unusable
is "the base is ready still" "$(get /v1/models | jq -r '.data[0].status')" ready
stop_server
is "ends well" "$CODE" 0

# Two bases and their LoRAs in the room for one base and a little.
copy_model "$MODEL" second
start_server -m "$TMP/second" --lora-dir "$DIR" --models-memory $((base + 4096))
first=$(jq -r .id "$MODEL/unstir.json")
ids=
for scale in 0.1 0.2 0.3; do
    for model in "$first" second; do
        ids="$ids $(new_job "{$ASK,\"model\":\"$model\",\"loras\":[\"ink:$scale\"]}")"
    done
done
# shellcheck disable=SC2086 # words
is "six jobs of two bases with three scales" "$(n_succeeded $ids)" 6
stop_server
is "ends well again" "$CODE" 0

start_server
is "no folder: an empty list" "$(get /v1/loras | jq -c .data)" '[]'
like "no folder: said" "$(post /generate '{"loras":["ink"]}' | jq -r '.errors[0].detail')" '*--lora-dir*'
finish
