#!/usr/bin/env python3
"""reference_uploads.py - uploaded pictures, decoded by Pillow and by us.

    python tests/python/reference_uploads.py build/unstir

Starts `unstir serve` on models/fashion and repaints nothing of each picture
(a black mask), so that what comes back is the upload as the server read it:
PNG of every kind of pixels, JPEG and WebP, each turned as EXIF says.  It must
be Pillow's reading over white, to one grey level.  Files that are no pictures,
cut, films or too large get 422 with words that say so.

SPDX-License-Identifier: MIT
"""
import base64
import io
import json
import re
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib

import numpy
from PIL import Image, ImageOps

EDGE = 28
ORIENTATION = 0x112
y, x = numpy.mgrid[0:EDGE, 0:EDGE]
COLOURS = Image.fromarray(numpy.stack(
    [x * 9 % 256, y * 9 % 256, (x + y) * 4 % 256], -1).astype(numpy.uint8))


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(kind, orientation, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(COLOURS, kind, exif=exif, **options)


def pictures():
    clear = COLOURS.convert("RGBA")
    clear.putalpha(Image.fromarray((x * 9).astype(numpy.uint8)))
    deep = Image.fromarray((x * 2000).astype(numpy.uint16))
    jpeg = {"quality": 95, "subsampling": 0}
    cases = {"png_" + mode: encoded(COLOURS.convert(mode), "PNG")
             for mode in ("RGB", "L", "P", "1")}
    cases.update(
        png_rgba=encoded(clear, "PNG"), png_16=encoded(deep, "PNG"),
        png_la=encoded(clear.convert("LA"), "PNG"),
        png_p_clear=encoded(COLOURS.convert("P"), "PNG", transparency=3),
        jpeg_grey=encoded(COLOURS.convert("L"), "JPEG"),
        jpeg_inks=encoded(COLOURS.convert("CMYK"), "JPEG", **jpeg),
        jpeg_progressive=encoded(COLOURS, "JPEG", progressive=True, **jpeg),
        webp_lossy=encoded(COLOURS, "WEBP"),
        webp_clear=encoded(clear, "WEBP", lossless=True, exact=True))
    for i in range(1, 9):
        cases[f"jpeg_exif_{i}"] = turned("JPEG", i, **jpeg)
        cases[f"png_exif_{i}"] = turned("PNG", i)
        cases[f"webp_exif_{i}"] = turned("WEBP", i, lossless=True)
    return cases


def chunk(kind, data):
    return (struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data)))


def wrong_files(cases):
    """name: (bytes, what is said of it)."""
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    wrong = {
        "bomb": (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge)
                 + chunk(b"IDAT", zlib.compress(bytes(1000)))
                 + chunk(b"IEND", b""), "60000 x 60000"),
        "empty": (b"", "init_image"), "text": (b"hello!", "init_image"),
        "gif": (encoded(COLOURS.convert("P"), "GIF"), "neither like PNG"),
        "film": (encoded(COLOURS, "WEBP", save_all=True,
                         append_images=[COLOURS.rotate(90)]), "film")}
    for name in ("png_RGB", "jpeg_exif_1", "webp_exif_1"):
        whole = cases[name]
        wrong[name + "_half"] = whole[:len(whole) // 2], "damaged"
        wrong[name + "_head"] = whole[:20], "init_image"
    return wrong


def wanted(raw):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    if image.mode == "I;16":
        return numpy.asarray(image).astype(int) // 257
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(
            Image.new("RGBA", image.size, "white"), image)
    return numpy.asarray(image.convert("RGB").convert("L")).astype(int)


class Server:
    def __init__(self, unstir):
        self.process = subprocess.Popen(
            [unstir, "serve", "-m", "models/fashion", "--port", "0",
             "--threads", "1"], stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                self.url = found.group(0)
            if "ready" in line and hasattr(self, "url"):
                return
        raise RuntimeError("the server ended")

    def post(self, raw):
        black = Image.new("L", (EDGE, EDGE))
        body = {"class": "bag", "steps": 2, "seed": 1, "width": EDGE,
                "height": EDGE, "mask": encoded(black, "PNG"),
                "init_image": raw}
        for key in ("mask", "init_image"):
            body[key] = base64.b64encode(body[key]).decode()
        request = urllib.request.Request(
            self.url + "/generate", json.dumps(body).encode(),
            {"Content-Type": "application/json", "Accept": "image/png"})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()


def main():
    server = Server(sys.argv[1])
    n_wrong = 0
    try:
        cases = pictures()
        for name, raw in cases.items():
            status, out = server.post(raw)
            says = f"{status} {out[:300]!r}"
            if status == 200:
                got = Image.open(io.BytesIO(out)).convert("L")
                off = numpy.abs(numpy.asarray(got) - wanted(raw)).max()
                says = f"off by {off}"
            ok = status == 200 and off <= 1
            n_wrong += not ok
            print(f"{'ok' if ok else 'not ok'} upload_{name}\n    {says}")
        for name, (raw, word) in wrong_files(cases).items():
            status, out = server.post(raw)
            ok = status == 422 and word in out.decode()
            n_wrong += not ok
            print(f"{'ok' if ok else 'not ok'} upload_{name}\n    {status} "
                  f"{out.decode()[:600] if not ok else ''}")
    finally:
        server.process.terminate()
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
