# service.sh - a service at work, for the loads of http.sh and bodies.sh to be put
# beside; sourced, not run.
#
# It has the shipped model and its own niceness (or NICE), where the tests' has
# 0.  Each load lasts SECONDS_EACH (3): MS.  A job of 16,000 steps keeps every
# computing thread busy throughout: ID.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
MODEL=models/fashion
NICE=${NICE:-$("$BUILD/unstir" serve --print-config | sed -n 's/^nice = //p')}
start_server --max-queue 64 --no-log-requests --quantum 1h --nice "$NICE"
MS=$((${SECONDS_EACH:-3} * 1000))
PORT=${URL##*:}

start_work() {
    ID=$(new_job '{"prompt":"sneaker","steps":1000,"n":16}')
    wait_step "$ID" 1
}
is_working() {
    [ "$(get "/v1/jobs/$ID" | jq -r .status)" = running ] || start_work
}
end_work() {
    get "/v1/jobs/$ID" -X DELETE
    wait_job "$ID" >/dev/null
}
start_work
