#!/bin/sh
# install.sh - what `make install` does: program, library, headers, models,
# man page, shell completions, pkg-config file, systemd unit.
#
#   BUILD=build DESTDIR= PREFIX=/usr/local VERSION=0.1.0 sh deploy/install.sh
#
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
PREFIX=${PREFIX:-/usr/local}
root=${DESTDIR:-}$PREFIX

install -d "$root/bin" "$root/lib/pkgconfig" "$root/include" \
    "$root/share/man/man1" "$root/share/unstir/models" \
    "$root/share/bash-completion/completions" "$root/share/zsh/site-functions" \
    "$root/share/fish/vendor_completions.d" "$root/lib/systemd/system"
install -m 755 "$BUILD/unstir" "$root/bin/unstir"
install -m 644 "$BUILD/libunstir.a" "$root/lib/libunstir.a"
install -m 755 "$BUILD/libunstir.so" "$root/lib/libunstir.so.0"
ln -sf libunstir.so.0 "$root/lib/libunstir.so"
install -m 644 include/unstir.h include/unstir_train.h include/unstir_bench.h "$root/include/"
"$BUILD/unstir" help --man >"$root/share/man/man1/unstir.1"
"$BUILD/unstir" help --completion bash >"$root/share/bash-completion/completions/unstir"
"$BUILD/unstir" help --completion zsh >"$root/share/zsh/site-functions/_unstir"
"$BUILD/unstir" help --completion fish >"$root/share/fish/vendor_completions.d/unstir.fish"
sed "s|^ExecStart=/usr/|ExecStart=$PREFIX/|" deploy/unstir.service \
    >"$root/lib/systemd/system/unstir.service"
(cd models && find . -type f) | while IFS= read -r f; do
    install -D -m 644 "models/$f" "$root/share/unstir/models/$f"
done
cat >"$root/lib/pkgconfig/unstir.pc" <<PC
prefix=$PREFIX
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: unstir
Description: Pictures from noise by reverse diffusion
Version: ${VERSION:-0.1.0}
Libs: -L\${libdir} -lunstir
Libs.private: -lopenblas -ljansson -lpng -lturbojpeg -lwebpmux -lwebp -lz -lnettle -lutf8proc -lm -lpthread
Cflags: -I\${includedir}
PC
