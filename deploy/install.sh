#!/bin/sh
# install.sh - what `make install` and `make uninstall` do: program, library,
# headers, shipped models, man page, shell completions, pkg-config file,
# systemd unit.
#
#   BUILD=build DESTDIR= PREFIX=/usr/local sh deploy/install.sh [install|uninstall]
#
# Every file is named once, by a call of put; uninstall takes away what install
# of the same clone put there, and no folder but share/unstir.
#
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/.."
action=${1:-install}
BUILD=${BUILD:-build}
PREFIX=${PREFIX:-/usr/local}
root=${DESTDIR:-}$PREFIX
# Models of the reader's own may stand beside them.
shipped="clip-bpe fashion fashion-score"

case $PREFIX in
/*) ;;
*)
    echo "install: PREFIX=$PREFIX: must be an absolute path" >&2
    exit 2
    ;;
esac

# put MODE FILE COMMAND...: the file below the prefix holds what the command
# prints.  Renamed into place: a program that runs keeps its own.
case $action in
install)
    put() {
        mode=$1 file=$root/$2
        shift 2
        mkdir -p "${file%/*}"
        "$@" >"$file.new"
        chmod "$mode" "$file.new"
        mv -f "$file.new" "$file"
    }
    ;;
uninstall)
    put() {
        rm -f "$root/$2"
    }
    ;;
*)
    echo "install: unknown '$action'; allowed: install (default), uninstall" >&2
    exit 2
    ;;
esac

pkg_config() {
    cat <<PC
prefix=$(printf '%s' "$PREFIX" | sed 's/ /\\ /g')
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: unstir
Description: Pictures from noise by reverse diffusion
Version: $("$BUILD/unstir" version | sed -n '1s/^unstir //p')
Libs: -L\${libdir} -lunstir
Libs.private: -lopenblas -ljansson -lpng -lturbojpeg -lwebpmux -lwebp -lz -lnettle -lutf8proc -lm -lpthread
Cflags: -I\${includedir}
PC
}

unit() {
    sed "s|^ExecStart=/usr/bin/unstir|ExecStart=\"$PREFIX/bin/unstir\"|" deploy/unstir.service
}

put 755 bin/unstir cat "$BUILD/unstir"
put 644 lib/libunstir.a cat "$BUILD/libunstir.a"
put 755 lib/libunstir.so.0 cat "$BUILD/libunstir.so"
for header in unstir.h unstir_train.h unstir_bench.h; do
    put 644 "include/$header" cat "include/$header"
done
put 644 lib/pkgconfig/unstir.pc pkg_config
put 644 share/man/man1/unstir.1 "$BUILD/unstir" help --man
put 644 share/bash-completion/completions/unstir "$BUILD/unstir" help --completion bash
put 644 share/zsh/site-functions/_unstir "$BUILD/unstir" help --completion zsh
put 644 share/fish/vendor_completions.d/unstir.fish "$BUILD/unstir" help --completion fish
put 644 lib/systemd/system/unstir.service unit
for model in $shipped; do
    find "models/$model" -name training -prune -o -type f -print
done | while IFS= read -r file; do
    put 644 "share/unstir/$file" cat "$file"
done

if [ "$action" = install ]; then
    ln -sf libunstir.so.0 "$root/lib/libunstir.so"
else
    rm -f "$root/lib/libunstir.so"
    [ ! -d "$root/share/unstir" ] || find "$root/share/unstir" -depth -type d -empty -delete
fi
