# t_f_connections.sh - limits, large heads and bodies, hosts, hang-ups.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-connections 24 --body-bytes 1M --host-name paint.local
"$BUILD/tests/http/rawclient" connections "${URL##*:}" 24 || FAILED=1
stop_server
is "f_connections exit code" "$CODE" 0
is "f_connections log holds no escape bytes" \
    "$(tr -d -c '\033' <"$TMP/log" | wc -c)" 0
finish
