# t_f_listen.sh - addresses, sockets handed over, the service manager, and
# what is refused at the start.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
unstir="$BUILD/unstir"

# usage NAME WANTED-TEXT OPTION...: exit 2 and the text on stderr
usage() {
    name=$1
    text=$2
    shift 2
    "$unstir" serve -m "$MODEL" "$@" >"$TMP/out1" 2>"$TMP/err1"
    is "f_listen: $name: exit code" "$?" 2
    is "f_listen: $name: message" "$(grep -c -- "$text" "$TMP/err1")" 1
}
usage "all addresses without a word" '--insecure-no-auth' --listen 0.0.0.0:0
usage "all IPv6 addresses without a word" '--insecure-no-auth' --listen '[::]:0'
usage "no port" 'must be HOST:PORT' --listen 127.0.0.1
usage "large port" 'must be HOST:PORT' --listen 127.0.0.1:70000
usage "unknown option" 'did you mean --listen' --lisen x
is "f_listen: --check" "$("$unstir" serve --check -m "$MODEL"; echo $?)" "options and models are right
0"
usage "--check of a model that is not there" 'model nope: no such file or folder' --check -m nope
usage "--check of a folder that is no model" 'model tests/http: ' --check -m tests/http
usage "--check of an instruction set" '--isa avx9: this CPU has .*scalar' --check --isa avx9
usage "a folder as a file of options" 'tests: Is a directory' --config tests --check
printf '# mine\n\nmax-queue = many\n' >"$TMP/conf"
usage "a file's value" "$TMP/conf:3: max-queue many: must be a whole number, 1..4096" --config "$TMP/conf"
printf 'max-queu = 1\n' >"$TMP/conf"
usage "a file's name" "$TMP/conf:1: max-queu: unknown; did you mean max-queue?" --config "$TMP/conf"
is "f_listen: --print-config" \
    "$("$unstir" serve --print-config --header-timeout 5 | grep -c '^header-timeout = 5s$')" 1
printed=$("$unstir" serve --print-config)
printf "%s\\n" "$printed" >"$TMP/conf"
is "f_listen: what --print-config prints is read" \
    "$("$unstir" serve --config "$TMP/conf" --print-config)" "$printed"
is "f_listen: and asks for nothing but settings" \
    "$("$unstir" serve --config "$TMP/conf" --check -m "$MODEL")" "options and models are right"
printf 'print-config = true\n' >"$TMP/conf"
usage "what the command is to do, in a file" "$TMP/conf:1: print-config: unknown" --config "$TMP/conf"
is "f_listen: --help" "$("$unstir" serve --help | grep -c 'UNSTIR_DRAIN_TIMEOUT')" 1

start_server --listen 0.0.0.0:0 --insecure-no-auth
is "f_listen: all addresses, warned of" "$(grep -c 'other machines can reach' "$TMP/log")" 1
"$unstir" serve -m "$MODEL" --port "${URL##*:}" 2>"$TMP/err1"
is "f_listen: a port in use is named as it was given" \
    "$(grep -c -- "127.0.0.1:${URL##*:}: cannot listen: Address already in use" "$TMP/err1")" 1
"$unstir" healthcheck "http://127.0.0.1:${URL##*:}" 2>/dev/null
is "f_listen: healthcheck of a server that is ready" "$?" 0
stop_server
"$unstir" healthcheck "http://127.0.0.1:${URL##*:}" 2>/dev/null
is "f_listen: healthcheck of none" "$?" 1

if grep -q . /proc/net/if_inet6 2>/dev/null; then
    start_server --listen '[::1]:0'
    is "f_listen: IPv6" "$(curl -s -o /dev/null -w '%{http_code}' "$URL/health/live")" 200
    stop_server
else
    echo "skip f_listen: no IPv6 on this machine"
fi

# start_server waits by an http URL; here the socket is a file.
sock=$TMP/sock
for round in 1 2; do
    : >"$TMP/unix$round" # there before the server that writes it
    "$unstir" serve -m "$MODEL" --listen "unix:$sock" --drain-grace 0 >"$TMP/unix$round" 2>"$TMP/log" &
    SERVER=$!
    exec 3</dev/null
    until grep -q '^listening on unix:' "$TMP/unix$round"; do kill -0 $SERVER || break; done
    is "f_listen: unix socket, round $round" \
        "$(curl -s --unix-socket "$sock" -o /dev/null -w '%{http_code}' http://localhost/health/live)" 200
    if [ $round = 1 ]; then
        kill -KILL $SERVER # leaves the file behind: the next one takes its place
        wait $SERVER 2>/dev/null
        SERVER=
    fi
done
stop_server
is "f_listen: unix socket is removed" "$(ls "$sock" 2>/dev/null)" ""

python3 - "$unstir" "$MODEL" <<'PY'
import os, re, signal, socket, sys, tempfile
unstir, model = sys.argv[1:3]
# A listening socket at descriptor 3 and a datagram socket for the answers.
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
port = listener.getsockname()[1]
where = os.path.join(tempfile.mkdtemp(), "notify")
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(where)
notify.settimeout(20)
pid = os.fork()
if pid == 0:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    env = dict(os.environ, LISTEN_FDS="1", LISTEN_PID=str(os.getpid()),
               NOTIFY_SOCKET=where, WATCHDOG_USEC="400000")
    os.execve(unstir, [unstir, "serve", "-m", model, "--drain-grace", "0"], env)
seen = []
while not any(m.startswith("READY=1") for m in seen):
    seen.append(notify.recv(4096).decode())
print("ok f_listen: READY=1 is sent")
client = socket.create_connection(("127.0.0.1", port), 5)
client.settimeout(5)
client.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
ok = client.recv(4096).startswith(b"HTTP/1.1 200")
print(("ok" if ok else "not ok") + " f_listen: a socket handed over is served")
while "WATCHDOG=1" not in seen:
    seen.append(notify.recv(4096).decode())
print("ok f_listen: the watchdog is fed")
os.kill(pid, signal.SIGTERM)
while "STOPPING=1" not in seen:
    seen.append(notify.recv(4096).decode())
print("ok f_listen: STOPPING=1 is sent")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(("ok" if code == 0 else "not ok") + " f_listen: exit code, manager")
PY
[ $? -eq 0 ] || echo "not ok f_listen: manager"
finish
