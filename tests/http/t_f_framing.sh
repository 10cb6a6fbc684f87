# t_f_framing.sh - malformed requests are refused, nothing is smuggled.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server
"$BUILD/tests/http/rawclient" framing "${URL##*:}" || FAILED=1
stop_server
is "f_framing exit code" "$CODE" 0
finish
