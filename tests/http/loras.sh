# loras.sh - writes LoRA files; sourced behind lib.sh.
#
# SPDX-License-Identifier: MIT

# little ENDIAN 64-bit number as bytes
le64() {
    value=$1
    for _ in 1 2 3 4 5 6 7 8; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $((value % 256)))"
        value=$((value / 256))
    done
}

# floats N HEX: N equal numbers of f32, "3f000000" is 0.5
floats() {
    h=$2
    one="\\$(printf %03o "0x${h#??????}")"
    h=${h%??}
    one="$one\\$(printf %03o "0x${h#????}")"
    h=${h%??}
    one="$one\\$(printf %03o "0x${h#??}")\\$(printf %03o "0x${h%??}")"
    i=0
    while [ $i -lt "$1" ]; do
        # shellcheck disable=SC2059
        printf "$one"
        i=$((i + 1))
    done
}

# write_lora FILE HEX METADATA LAYER ROWS COLUMNS ...: rank 2, all numbers of
# the layers' halves are HEX; METADATA is a JSON object or empty.
write_lora() {
    file=$1
    hex=$2
    header="{\"__metadata__\":${3:-"{}"}"
    shift 3
    at=0
    while [ $# -gt 0 ]; do
        down=$((at + 8 * $3))
        up=$((down + 8 * $2))
        header="$header,\"$1.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,$3],\"data_offsets\":[$at,$down]}"
        header="$header,\"$1.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[$2,2],\"data_offsets\":[$down,$up]}"
        at=$up
        shift 3
    done
    {
        le64 $((${#header} + 1))
        printf '%s}' "$header"
        floats $((at / 4)) "$hex"
    } >"$file.part"
    mv "$file.part" "$file"
}
