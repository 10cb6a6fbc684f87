# t_f_deadlines.sh - slow clients are cut within a second of their limit.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --header-timeout 1500ms --body-timeout 1500ms \
    --write-timeout 1500ms --keep-alive 1500ms
"$BUILD/tests/http/rawclient" deadlines "${URL##*:}" 1500 || FAILED=1
stop_server
is "f_deadlines exit code" "$CODE" 0
finish
