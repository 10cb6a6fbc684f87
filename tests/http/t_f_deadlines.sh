# t_f_deadlines.sh - slow clients are cut within a second of their limit;
# limits are read again at SIGHUP.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
cat >"$TMP/conf" <<'CONF'
header-timeout = 1h
body-timeout = 1500ms
CONF
start_server --config "$TMP/conf" --write-timeout 1500ms --keep-alive 1500ms \
    --drain-timeout 0
sed -i 's/1h/1500ms/' "$TMP/conf"
kill -HUP "$SERVER"
until grep -q 'options reloaded' "$TMP/log"; do :; done
id=$(new_job '{"steps":1000,"n":16}')
"$BUILD/tests/http/rawclient" deadlines "${URL##*:}" 1500 "/v1/jobs/$id/events" || FAILED=1
echo 'header-timeout = soon' >"$TMP/conf"
kill -HUP "$SERVER"
until grep -q 'options not reloaded' "$TMP/log"; do :; done
is "f_deadlines: wrong options are not taken" "$(status "$URL/health/live")" 200
# Each cut came at the first round after its limit, and rounds are less than a
# second apart (the shortest tells: on a busy machine one may start late).
cuts=$(grep '"msg":"connection cut"' "$TMP/log" | jq -s 'map(select(.reason != "closing"))')
is "f_deadlines: each cut is in the log" "$(echo "$cuts" | jq 'length >= 100')" true
is "f_deadlines: none came before its limit" "$(echo "$cuts" | jq -c 'map(select(.after_ms <= .limit_ms))')" '[]'
is "f_deadlines: each came at the first round after it" "$(echo "$cuts" | jq -c 'map(select(.after_ms - .round_ms > .limit_ms))')" '[]'
is "f_deadlines: rounds are less than a second apart" "$(echo "$cuts" | jq 'map(.round_ms) | min < 1000')" true
for reason in 'header deadline' 'body deadline' 'write deadline' idle; do
    is "f_deadlines: a $reason" "$(echo "$cuts" | jq --arg r "$reason" 'any(.reason == $r and .limit_ms == 1500)')" true
done
stop_server
is "f_deadlines: exit code" "$CODE" 0
finish
