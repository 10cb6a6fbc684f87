# t_a_same_bytes.sh - same request and seed, same bytes: with any number of
# threads, alone or among others, over any door.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --threads 1
body='{"prompt":"ankle boot","seed":42,"steps":9,"sampler":"ddpm"}'
post /generate "$body" -o "$TMP/1"
post /generate "$body" -o "$TMP/2"
is "twice" "$(sha "$TMP/2")" "$(sha "$TMP/1")"
for seed in 42 43 44; do
    post /generate "{\"prompt\":\"ankle boot\",\"seed\":$seed,\"steps\":9,\"sampler\":\"ddpm\"}" -o "$TMP/s$seed"
done
post '/generate?image=url' '{"prompt":"ankle boot","seed":42,"steps":9,"sampler":"ddpm","n":3}' >"$TMP/j"
is "n=3 is three alone with seeds s, s+1, s+2" "$(jq -r '.images[].sha256' "$TMP/j" | xargs)" \
    "$(sha "$TMP/s42") $(sha "$TMP/s43") $(sha "$TMP/s44")"
post '/generate?image=url' '{"prompt":"ankle boot","seed":40,"steps":9,"sampler":"ddpm","n":6}' >"$TMP/j"
is "in two batches as well" "$(jq -r '.images[2].sha256,.images[4].sha256' "$TMP/j" | xargs)" "$(sha "$TMP/s42") $(sha "$TMP/s44")"
is "other seeds give other pictures" "$(jq -r '.images[].sha256' "$TMP/j" | sort -u | wc -l | tr -d ' ')" 6
again=$(jq -c '{prompt:.request.prompt,class:.request.class,seed:42,steps:.request.steps,sampler:.request.sampler,guidance_scale:.request.guidance_scale,eta:.request.eta,width:.request.width,height:.request.height}' "$TMP/j")
post /generate "$again" -o "$TMP/3"
is "the canonical request makes it again" "$(sha "$TMP/3")" "$(sha "$TMP/1")"
post /generate '{"prompt":"ankle boot","seed":42,"steps":9,"sampler":"ddpm","tag":"x","priority":1,"preview":{"every":3},"ttl_s":5,"deadline_s":100}' -o "$TMP/4"
is "what does not make the picture does not change its bytes" "$(sha "$TMP/4")" "$(sha "$TMP/1")"
post /generate '{"class":"Ankle Boot ","seed":"42","steps":9,"sampler":"ddpm"}' -o "$TMP/4" -D "$TMP/h"
is "class in another spelling, seed as text" "$(header "$TMP/h" X-Seed) $(is_png "$TMP/4")" "42 png"
big='{"prompt":"bag","seed":"18446744073709551615","n":2,"steps":2}'
post '/generate?image=url' "$big" -H 'Accept: application/json' >"$TMP/j"
is "seeds wrap at 2^64; above 2^53-1 they are text" "$(jq -c '[.images[].seed]' "$TMP/j")" '["18446744073709551615",0]'
post /generate '{"prompt":"bag","seed":9007199254740992,"steps":2}' -o /dev/null -D "$TMP/h"
is "a seed above 2^53 as a number" "$(header "$TMP/h" X-Seed)" 9007199254740992
stop_server
is "the first server ends with 0" "$CODE" 0

start_server --threads 2 --quantum 1ms
post /generate "$body" -o "$TMP/5"
is "with two threads, in turns of a millisecond, by another process" "$(sha "$TMP/5")" "$(sha "$TMP/1")"
slow=$(new_job "{$SLOW,\"n\":4}")
post /generate "$body" -o "$TMP/6"
is "while another job takes turns" "$(sha "$TMP/6")" "$(sha "$TMP/1")"
is "which is still at it" "$(get "/v1/jobs/$slow" | jq -r .status)" running
get "/v1/jobs/$slow" -X DELETE
finish
