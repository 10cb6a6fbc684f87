# t_f_connections.sh - limits, large heads and bodies, hosts, hang-ups.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-connections 24 --body-bytes 1M --host-name paint.local
"$BUILD/tests/http/rawclient" connections "${URL##*:}" 24 || FAILED=1
# The parser's own answers are counted too: 414 beyond its buffer, 505 of HTTP/2,
# a chunk size that is no number.
is "f_connections counted" "$(get /v1/status | jq -c '.problems | [.uri_too_long >= 2, .version_not_supported, .malformed_request >= 3, .headers_too_large >= 2]')" '[true,2,true,true]'
is "f_connections logged as refused, not as left" "$(grep -c '"target":"/generate","status":413,"bytes":0' "$TMP/log")" 1
stop_server
is "f_connections exit code" "$CODE" 0
is "f_connections log holds no escape bytes" \
    "$(tr -d -c '\033' <"$TMP/log" | wc -c)" 0
finish
