#!/usr/bin/env python3
"""make_exif.py - PNG files that EXIF says to turn, JPEG files of inks, and the
pictures they show.

usage: python tools/goldens/make_exif.py tests/data/exif.json \\
           tests/data/inks.json

Written and turned (ImageOps.exif_transpose) by Pillow; the last row's chunk
is damaged, and its picture is good as it lies.  Inks: CMYK, with and without
subsampling (Pillow's, of the first ink alone, has no name).

SPDX-License-Identifier: MIT
"""
import io
import json
import sys
import zlib

from PIL import Image, ImageOps

ORIENTATION = 0x0112


def row(orientation, colours):
    size = (5, 3)
    n = size[0] * size[1] * len(colours)
    image = Image.frombytes(colours, size, bytes(i * 5 % 251 for i in range(n)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    image.save(file, "png", exif=exif)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    return {"file": file.getvalue().hex(), "width": turned.width,
            "height": turned.height, "pixels": turned.tobytes().hex()}


def damaged():
    good = row(6, "L")
    file = bytearray.fromhex(good["file"])
    at = file.index(b"eXIf")
    length = int.from_bytes(file[at - 4:at], "big")
    file[at + 4:at + 6] = b"??"
    body = bytes(file[at:at + 4 + length])
    file[at + 4 + length:at + 8 + length] = zlib.crc32(body).to_bytes(4, "big")
    image = Image.open(io.BytesIO(bytes.fromhex(row(1, "L")["file"])))
    return {"file": file.hex(), "width": image.width, "height": image.height,
            "pixels": image.tobytes().hex()}


def inks(subsampling):
    n = 8 * 8 * 4
    image = Image.frombytes("CMYK", (8, 8), bytes(i * 7 % 251 // (1 + i % 3)
                                                  for i in range(n)))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=95, subsampling=subsampling,
               optimize=True)
    seen = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    return {"file": file.getvalue().hex(), "pixels": seen.tobytes().hex()}


def write(path, rows):
    with open(path, "w", encoding="ascii") as out:
        out.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(sys.argv[1], [row(o, "L") for o in range(1, 9)]
          + [row(8, "RGB"), damaged()])
    write(sys.argv[2], [inks(0), inks(2)])


if __name__ == "__main__":
    main()
