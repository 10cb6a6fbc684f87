# t_container.sh - deploy/container.sh never removes what is mounted.
#
# Mounts are faked: a file in place of /proc/self/mountinfo and an `umount`
# that takes lines out of it, so that the test needs no rights and cannot harm
# the machine that it runs on.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
S=$PWD/deploy/container.sh
D="$W/some dir"
mkdir "$W/bin" "$D"
export MOUNTINFO="$W/mounts" PATH="$W/bin:$PATH" STUCK=

cat >"$W/bin/umount" <<'SH'
#!/bin/sh
# umount PATH: unless it is $STUCK
[ "$1" = -l ] && shift
echo "$1" >>"$MOUNTINFO.log"
[ "$1" = "$STUCK" ] && exit 32
at=$(printf '%s' "$1" | sed 's/ /\\040/g')
grep -vF " $at -" "$MOUNTINFO" >"$MOUNTINFO.new"
mv "$MOUNTINFO.new" "$MOUNTINFO"
SH
chmod +x "$W/bin/umount"

is() { # NAME GOT WANTED
    if [ "$2" = "$3" ]; then
        echo "ok container_$1"
    else
        printf 'not ok container_%s\n    wanted: %s\n    got:    %s\n' "$1" "$3" "$2"
    fi
}

# mounted PATH ...: the mounts of the machine from now on
mounted() {
    : >"$MOUNTINFO.log"
    for p in / /dev /proc "$@"; do
        printf '21 1 0:5 / %s - type src rw\n' "$(printf '%s' "$p" | sed 's/ /\\040/g')"
    done >"$MOUNTINFO"
}

run() {
    sh "$S" "$@" >"$W/out" 2>&1
    echo $?
}

mounted
is "a_folder_of_somebody_else" "$(touch "$D/mine"; run clean "$D") $(ls -A "$D")" "1 mine"
rm "$D/mine"
is "an_unknown_command_marks_a_new_folder" "$(run what "$D") $(ls -A "$D")" "2 .unstir-container"

mkdir -p "$D/rootfs/dev" "$D/rootfs/proc"
touch "$D/rootfs/dev/sda"
mounted "$D/rootfs/dev" "$D/rootfs/dev/pts" "$D/rootfs" "$D beside"
STUCK="$D/rootfs/dev"
is "what_cannot_be_unmounted_stays" "$(run clean "$D") $(ls "$D/rootfs/dev")" "1 sda"
is "and_is_named" "$(grep -c 'not removed: mounted there are .*some.*dir/rootfs/dev' "$W/out")" 1
STUCK=
mounted "$D/rootfs/dev" "$D/rootfs/dev/pts" "$D/rootfs" "$D beside"
is "clean_unmounts_then_removes" "$(run clean "$D") $(ls -d "$D" 2>/dev/null)" "0 "
is "deepest_first" "$(sed 's/.*some dir//' "$MOUNTINFO.log" | xargs)" "/rootfs/dev/pts /rootfs/dev /rootfs"
is "others_are_left_alone" "$(cut -d' ' -f5 "$MOUNTINFO" | xargs -d '\n')" "/ /dev /proc $(printf '%s' "$D beside" | sed 's/ /\\040/g')"

run what "$D" >/dev/null
mounted "$D"
is "a_mount_point_itself_is_not_unmounted" "$(run clean "$D") $(cat "$MOUNTINFO.log")" "1 "
mounted "$D/theirs"
is "what_was_mounted_before_stays_so" "$(run what "$D") $(cat "$MOUNTINFO.log")" "2 "

# A step that mounts and fails: unmounted on the way out.
cat >"$W/bin/dpkg-query" <<'SH'
#!/bin/sh
echo installed
SH
cat >"$W/bin/buildah" <<'SH'
#!/bin/sh
exit 1
SH
cat >"$W/bin/debootstrap" <<'SH'
#!/bin/sh
printf '21 1 0:5 / %s - proc proc rw\n' "$(printf '%s' "$3/proc" | sed 's/ /\\040/g')" >>"$MOUNTINFO"
mkdir -p "$3/proc"
exit 7
SH
chmod +x "$W"/bin/*
mounted
is "a_step_that_fails" "$(run base "$D") $(cat "$MOUNTINFO.log")" "7 $D/rootfs/proc"
is "nothing_is_left_mounted" "$(wc -l <"$MOUNTINFO")" 3
