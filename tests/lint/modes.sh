# modes.sh - what the README tells people to start can be started.

for f in run .ci/run deploy/container.sh tools/bench_all tools/bench_peers; do
    [ -x "$f" ] || echo "$f: not executable: chmod +x $f"
done >"$tmp/modes"
verdict modes "$tmp/modes"
