#!/bin/sh
# container.sh - build and try the container image without a Docker engine.
#
#   sudo deploy/container.sh build [DIR]   image into DIR (default ./build/container)
#   sudo deploy/container.sh try [DIR]     run it read-only, without root or
#                                          capabilities, fetch a picture, stop it
#   sudo deploy/container.sh size [DIR]    megabytes of the image
#   sudo deploy/container.sh base [DIR]    make the base image only
#   sudo deploy/container.sh clean [DIR]   unmount what it mounted, remove DIR
#
# TESTS="unit golden" in the environment says which families of tests the build
# stage passes, none that it passes none.
#
# What is mounted below DIR (root file systems, /proc and /dev bound into
# them) is unmounted whenever the script ends, also by a signal.  Nothing is
# ever removed from a folder below which something is still mounted, and no
# removal crosses into another file system: the devices of this machine may
# hang there.
#
# Uses buildah and runc from the system's packages and makes the base image
# debian:bookworm-slim itself with debootstrap, so that nothing but the
# package mirror is needed.  Where Docker or podman runs, the Dockerfile is
# all you need.
#
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/.."
what=${1:-build}
dir=$(mkdir -p "${2:-build/container}" && cd "${2:-build/container}" && pwd)
image=localhost/unstir:latest
base_image=docker.io/library/debian:bookworm-slim
mark=.unstir-container
[ -n "$(ls -A "$dir")" ] || : >"$dir/$mark"

say() {
    printf 'container: %s\n' "$*" >&2
}

b() {
    buildah --storage-driver "${STORAGE_DRIVER:-overlay}" --root "$dir/store" --runroot "$dir/run" "$@"
}

# Mount points at or below $1, deepest first, as mountinfo writes them (\040 is
# a blank).
mounts_at() {
    awk -v top="$1" 'BEGIN { gsub(/ /, "\\040", top) }
        $5 == top || index($5, top "/") == 1 { print length($5), $5 }' \
        "${MOUNTINFO:-/proc/self/mountinfo}" | sort -rn | cut -d' ' -f2-
}

# Unmount what is mounted below $1, the folder itself and what was mounted
# before this script began excepted.
unmount_below() {
    mounts_at "$1" | while IFS= read -r point; do
        printf '%s\n' "$before" | grep -qxF -- "$point" && continue
        point=$(printf '%b' "$point")
        [ "$point" = "$1" ] || umount "$point" 2>/dev/null || umount -l "$point" || true
    done
}

# remove PATH ...: all of it, unless anything is mounted there: behind a mount
# may be the devices of this machine.
remove() {
    for r in "$@"; do
        if [ -n "$(mounts_at "$r")" ]; then
            say "$r is not removed: mounted there are $(mounts_at "$r" | xargs)"
            say "'$0 clean' unmounts what an earlier run left behind"
            exit 1
        fi
        rm -rf --one-file-system "$r"
    done
}

# On every way out.
leave() {
    code=$?
    trap - EXIT
    [ -z "${runc_id:-}" ] || runc --root "$dir/runc" delete -f "$runc_id" 2>/dev/null || true
    unmount_below "$dir"
    exit "$code"
}

need() {
    missing=
    for p in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
    done
    [ -z "$missing" ] && return 0
    say "installing$missing"
    # shellcheck disable=SC2086
    apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2
}

# The mirror this machine uses itself.
mirror() {
    sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\(http[^ ]*\) .*/\2/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1
}

make_base() {
    if b inspect --type image "$base_image" >/dev/null 2>&1; then
        return 0
    fi
    say "making $base_image"
    remove "$dir/rootfs"
    debootstrap --variant=minbase bookworm "$dir/rootfs" "$(mirror)" >&2
    (
        cd "$dir/rootfs"
        rm -rf usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/* \
            usr/share/lintian/* var/lib/apt/lists/* var/cache/apt/*.bin \
            var/cache/apt/archives/*.deb var/log/*.log var/log/apt/*
        mkdir -p etc/dpkg/dpkg.cfg.d etc/apt/apt.conf.d
        cat >etc/dpkg/dpkg.cfg.d/docker <<CFG
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
CFG
        cat >etc/apt/apt.conf.d/docker-clean <<CFG
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CFG
    )
    unmount_below "$dir/rootfs" # debootstrap leaves /proc when it is cut short
    tar --one-file-system -C "$dir/rootfs" -cf "$dir/base.tar" .
    c=$(b from scratch)
    b add "$c" "$dir/base.tar" / >/dev/null
    b config --cmd '["/bin/bash"]' --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$c"
    b commit --rm "$c" "$base_image" >/dev/null
    remove "$dir/rootfs" "$dir/base.tar"
}

base() {
    need buildah debootstrap uidmap runc
    make_base
}

build() {
    base
    say "building $image (tests of the build stage: ${TESTS-all})"
    remove "$dir/context"
    mkdir -p "$dir/context"
    git ls-files -z | xargs -0 -I{} cp --parents {} "$dir/context/"
    b bud --isolation chroot --pull-never --format docker ${TESTS+--build-arg "TESTS=$TESTS"} \
        -t "$image" "$dir/context" >&2
    remove "$dir/context"
    size
}

size() {
    c=$(b from --pull-never "$image")
    m=$(b mount "$c")
    echo "image: $(du -sm --apparent-size "$m" | cut -f1) MB on disk"
    b push "$image" "oci-archive:$dir/unstir.oci.tar" >&2
    echo "image: $(($(stat -c %s "$dir/unstir.oci.tar") / 1000000)) MB compressed"
    rm -f "$dir/unstir.oci.tar"
    b umount "$c" >/dev/null
    b rm "$c" >/dev/null
}

# A runc bundle as a careful orchestrator would make it: read-only root, the
# image's user, no capabilities, no new privileges, the host's network.
bundle() {
    python3 - "$1" "$2" <<'PY'
import json, sys
root, out = sys.argv[1:]
spec = json.load(open(out + "/config.json"))
p = spec["process"]
p["terminal"] = False
p["user"] = {"uid": 10001, "gid": 10001}
p["args"] = ["/usr/bin/unstir", "serve"]
p["env"] = ["PATH=/usr/bin:/bin", "UNSTIR_LISTEN=127.0.0.1:18080", "UNSTIR_INSECURE_NO_AUTH=1"]
p["capabilities"] = {}
p["noNewPrivileges"] = True
p.pop("rlimits", None)
spec["root"] = {"path": root, "readonly": True}
spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] not in ("network", "cgroup")]
spec["mounts"] = [m for m in spec["mounts"] if m["type"] not in ("cgroup", "sysfs")]
json.dump(spec, open(out + "/config.json", "w"))
PY
}

try_it() {
    need runc curl
    c=$(b from --pull-never "$image")
    m=$(b mount "$c")
    remove "$dir/bundle"
    mkdir -p "$dir/bundle"
    (cd "$dir/bundle" && runc spec)
    bundle "$m" "$dir/bundle"
    runc --root "$dir/runc" run -b "$dir/bundle" unstir-try >"$dir/try.log" 2>&1 &
    pid=$!
    runc_id=unstir-try
    tries=0
    until curl -sf http://127.0.0.1:18080/health/ready >/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { cat "$dir/try.log"; say "not ready after 10 s"; exit 1; }
        sleep 0.1
    done
    curl -sf -o "$dir/try.png" -d '{"prompt":"sneaker","seed":7}' http://127.0.0.1:18080/generate
    head -c 8 "$dir/try.png" | od -An -tx1 | grep -q '89 50 4e 47' || { say "no PNG came"; exit 1; }
    runc --root "$dir/runc" exec unstir-try /usr/bin/unstir healthcheck http://127.0.0.1:18080/health/ready
    runc --root "$dir/runc" kill unstir-try TERM
    rc=0
    wait "$pid" || rc=$?
    runc_id=
    b umount "$c" >/dev/null
    b rm "$c" >/dev/null
    say "picture in $dir/try.png; exit code after SIGTERM: $rc"
    [ "$rc" -eq 0 ]
}

# Only what this script made, with what it left mounted.
clean() {
    if [ ! -e "$dir/$mark" ]; then
        say "$dir was not made by this script (no $mark in it)"
        exit 1
    fi
    before=
    unmount_below "$dir"
    remove "$dir"
}

before=$(mounts_at "$dir")
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
case $what in
base) base ;;
clean) clean ;;
build) build ;;
try) try_it ;;
size) size ;;
*)
    say "unknown command '$what'; allowed: base, build, try, size, clean"
    exit 2
    ;;
esac
