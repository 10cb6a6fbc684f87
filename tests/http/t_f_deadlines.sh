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
stop_server
is "f_deadlines: exit code" "$CODE" 0
finish
