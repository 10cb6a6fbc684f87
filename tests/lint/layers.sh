# layers.sh - who may include whom (CONTRIBUTING.md, "Layers").
#
# Sourced by run.sh.  The table gives, for each folder of the engine, the
# folders it may include besides itself.
#
# SPDX-License-Identifier: MIT

engine_layers='
base:
tensor: base
kernels: base tensor
ops: base tensor kernels
nn: base tensor kernels ops
sample: base tensor format
text: base tensor format
format: base tensor
image: base tensor
model: base tensor kernels ops nn sample text format image
pipeline: base tensor kernels ops nn sample text format image model
train: base tensor kernels ops nn sample text format image model pipeline
'

: >"$tmp/layers"
for dir in engine/*/; do
    layer=$(basename "$dir")
    allowed=$(printf '%s\n' "$engine_layers" | sed -n "s/^$layer://p")
    if ! printf '%s\n' "$engine_layers" | grep -q "^$layer:"; then
        echo "engine/$layer: a folder that tests/lint/layers.sh does not know" >>"$tmp/layers"
        continue
    fi
    grep -rn --include='*.[ch]' '^ *# *include "' "$dir" | while IFS= read -r line; do
        inc=$(printf '%s' "$line" | sed 's/.*include "\([^"]*\)".*/\1/')
        top=${inc%%/*}
        case $inc in
        unstir.h | unstir_train.h | unstir_bench.h) continue ;;
        esac
        [ "$top" = "$layer" ] && continue
        case " $allowed " in
        *" $top "*) ;;
        *) echo "$line: $layer may include:$allowed" ;;
        esac
    done >>"$tmp/layers"
done
verdict layers_engine "$tmp/layers"

# Doors to libraries: one named file each.
: >"$tmp/doors"
door() {
    header=$1
    shift
    grep -rln --include='*.[ch]' "include <$header" engine server cli | while read -r f; do
        case " $* " in
        *" $f "*) ;;
        *) echo "$f includes <$header>; only: $*" ;;
        esac
    done >>"$tmp/doors"
}
door microhttpd.h server/http.c
door uv.h server/loop.c server/http.c
door jansson.h server/json.c engine/format/json.c
door cblas.h engine/ops/gemm_blas.c
door nettle/ engine/format/digest.c
door utf8proc.h engine/text/words.c
door png.h engine/image/png.c engine/image/png_text.c
door turbojpeg.h engine/image/jpeg.c
door webp/ engine/image/webp.c
verdict layers_doors "$tmp/doors"

# Intrinsics stay in kernels/<isa>/, which includes nothing but contracts.
grep -rln --include='*.[ch]' 'immintrin.h\|__AVX\|_mm256\|_mm512' engine server cli |
    grep -v '^engine/kernels/[a-z0-9]*/' >"$tmp/isa"
grep -rn --include='*.[ch]' '^ *# *include "' engine/kernels/*/ |
    grep -v '"kernels/\|"tensor/\|"ops/op.h"' >>"$tmp/isa"
verdict layers_isa "$tmp/isa"

# The server and the command line see public headers only.
grep -rn --include='*.[ch]' '^ *# *include "\(base\|tensor\|kernels\|ops\|nn\|model\|format\|text\|image\|sample\|pipeline\|train\)/' \
    server cli >"$tmp/public"
grep -rn --include='*.[ch]' 'include "\.\./' engine server cli include >>"$tmp/public"
verdict layers_public "$tmp/public"

# The HTTP library's names stay in http.c, the loop's there and in loop.c.
ls server/*.[ch] | grep -v '^server/\(http\|loop\|connection\)\.' |
    xargs grep -ln 'MHD_\|uv_[a-z]' >"$tmp/handlers"
verdict layers_handlers "$tmp/handlers"
