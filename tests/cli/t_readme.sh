# t_readme.sh - commands of the README do what they say, as they are written.
#
# Those that need a server are tests/http's; those that need a model of the
# reader's own cannot be tried.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
ROOT=$PWD
BUILD=${BUILD:-build}
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
unset UNSTIR_MODEL UNSTIR_THREADS UNSTIR_PRECISION UNSTIR_ISA

# The first block of commands below a heading.
commands() {
    awk -v heading="## $1" '$0 == heading { is_in = 1 }
        is_in && /^```sh/ { is_block = 1; next }
        is_block && /^```/ { exit }
        is_block' "$ROOT/README.md"
}

# verdict NAME CODE: prints what was written where it failed
verdict() {
    if [ "$2" -eq 0 ]; then
        echo "ok readme_$1"
    else
        echo "not ok readme_$1"
        echo "    exit $2: $(head -c 600 "$W/out")"
    fi
}

# As if cloned and built: the reader stands in the clone.
mkdir "$W/clone"
ln -s "$ROOT/models" "$ROOT/docs" "$W/clone"
ln -s "$ROOT/$BUILD" "$W/clone/build"
cd "$W/clone" || exit 1
commands "On the command line" >"$W/commands"
[ -s "$W/commands" ] || echo "not ok readme_has_commands"
n=0
while IFS= read -r line; do
    n=$((n + 1))
    sh -c "$line" >"$W/out" 2>&1 </dev/null
    verdict "command_$n" $?
done <"$W/commands"
for f in sneaker.png dress.png dress-8.png dresses.png nears.png bag-steps.png dress.webp boot.jpg mended.png strip.png; do
    [ -s "$f" ] && echo "ok readme_$f" || echo "not ok readme_$f"
done

case $BUILD in
*san-*)
    echo "skip the library of the README: the release build tries it"
    exit 0
    ;;
esac
cd "$ROOT" || exit 1
commands "As a library" |
    sed "s|^make install|BUILD=$BUILD sh deploy/install.sh #|" >"$W/library"
mkdir "$W/home"
sed "s|-o app && ./app > sneaker.png|-o '$W/app' \&\& '$W/app' >'$W/sneaker.png'|" "$W/library" >"$W/script"
HOME=$W/home PREFIX=$W/home/.local sh -e "$W/script" >"$W/out" 2>&1
verdict library $?
head -c 8 "$W/sneaker.png" | od -An -tx1 | grep -q '89 50 4e 47'
verdict library_makes_a_picture $?

# A package, at a path with a blank; what the clone has beside the shipped
# models stays out of it; nothing of it is left behind.
package() {
    BUILD=$BUILD DESTDIR="$W/pack age" PREFIX=/usr sh deploy/install.sh "$@" >"$W/out" 2>&1
}
package install
verdict package $?
models=$(cd "$W/pack age/usr/share/unstir/models" && echo *)
[ "$models" = "clip-bpe fashion fashion-score" ]
verdict package_models $?
grep -q '^ExecStart="/usr/bin/unstir" serve$' "$W/pack age/usr/lib/systemd/system/unstir.service"
verdict package_unit $?
package uninstall
verdict package_removed $?
find "$W/pack age" ! -type d >"$W/out"
[ ! -s "$W/out" ]
verdict package_leaves_nothing $?
