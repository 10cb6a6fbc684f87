#!/usr/bin/env python3
"""diff_pictures.py - drawn picture files, read by Pillow and by libunstir.

usage: python tools/goldens/diff_pictures.py SEED COUNT [build/libunstir.so]

PNG written here, of every kind of pixels (1 to 16 bits, palettes, tRNS, all
filters, interlaced) among ancillary chunks whole and broken; JPEG and WebP of
Pillow's with every option it has; each turned by EXIF at random, some cut,
some with a byte changed.  What Pillow reads must be read alike, over white:
equal bytes, to one level where 16 bits become 8, and to what two libraries'
upsampling differs by in JPEG (2) and lossy WebP (1).  What Pillow refuses must
be refused; a file that was cut or changed may be.

Names the cases that differ; exit 1 if any did.

SPDX-License-Identifier: MIT
"""
import ctypes
import io
import random
import struct
import sys
import warnings
import zlib

import numpy
from PIL import Image, ImageFile, ImageOps

ORIENTATION = 0x112
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
          (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16),
          6: (8, 16)}


class Picture(ctypes.Structure):
    _fields_ = [("width", ctypes.c_uint32), ("height", ctypes.c_uint32),
                ("channels", ctypes.c_uint32),
                ("pixels", ctypes.POINTER(ctypes.c_uint8))]


class Error(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 4096)]


class Library:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)

    def read(self, raw):
        """An array, or what is said against the file."""
        picture, error = Picture(), Error()
        status = self.lib.unstir_image_decode(
            raw, ctypes.c_size_t(len(raw)), 4096, ctypes.byref(picture),
            ctypes.byref(error))
        if status:
            text = bytes(error)
            found = [p for p in text.split(b"\0") if len(p) > 12]
            return found[0].decode(errors="replace") if found else "?"
        shape = picture.height, picture.width, picture.channels
        flat = numpy.ctypeslib.as_array(picture.pixels,
                                        (shape[0] * shape[1] * shape[2],))
        copy = flat.reshape(shape).copy()
        self.lib.unstir_image_fini(ctypes.byref(picture))
        return copy


# -- PNG ----------------------------------------------------------------------

def chunk(kind, data=b""):
    return (struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data)))


def pack_rows(samples, depth):
    """[h, w * n] of integers as bytes a row."""
    if depth == 16:
        return samples.astype(">u2").view(numpy.uint8)
    if depth == 8:
        return samples.astype(numpy.uint8)
    bits = ((samples[:, :, None] >> numpy.arange(depth - 1, -1, -1)) & 1)
    return numpy.packbits(bits.reshape(len(samples), -1).astype(numpy.uint8),
                          axis=1)


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def filtered(r, rows, step):
    out = b""
    before = [0] * rows.shape[1]
    for row in rows.tolist():
        kind = r.randint(0, 4)
        line = []
        for i, v in enumerate(row):
            a = row[i - step] if i >= step else 0
            b = before[i]
            c = before[i - step] if i >= step else 0
            guess = (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]
            line.append((v - guess) & 255)
        out += bytes([kind]) + bytes(line)
        before = row
    return out


def ancillary(r):
    """A chunk that changes no pixel, whole or not."""
    junk = bytes(r.randint(0, 255) for _ in range(r.randint(0, 40)))
    return r.choice([
        chunk(b"gAMA", struct.pack(">I", r.choice((45455, 100000, 0, 1)))),
        chunk(b"cHRM", struct.pack(">8I", *[r.randint(0, 99999)
                                            for _ in range(8)])),
        chunk(b"sRGB", bytes([r.randint(0, 9)])),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(junk)),
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        chunk(b"tEXt", b"Comment\0" + junk.replace(b"\0", b"x")),
        chunk(b"tIME", struct.pack(">HBBBBB", 2024, 13, 1, 1, 1, 1)),
        chunk(b"sBIT", bytes([9, 9, 9, 9][:r.randint(0, 4)])),
        chunk(b"bKGD", junk[:6]), chunk(b"hIST", junk[:8]),
        chunk(b"prVt", junk)])


def draw_png(r):
    colour = r.choice(list(SAMPLES))
    depth = r.choice(DEPTHS[colour])
    w, h = r.randint(1, 40), r.randint(1, 40)
    n = SAMPLES[colour]
    top = 1 << depth
    colours = r.randint(1, min(256, top)) if colour == 3 else top
    noise = numpy.random.RandomState(r.randint(0, 2**31))
    samples = noise.randint(0, colours, (h, w, n))
    is_woven = r.random() < 0.4
    data = b""
    for x0, y0, dx, dy in PASSES if is_woven else [(0, 0, 1, 1)]:
        part = samples[y0::dy, x0::dx]
        if part.size:
            rows = pack_rows(part.reshape(part.shape[0], -1), depth)
            data += filtered(r, rows, max(1, n * depth // 8))
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(
        ">IIBBBBB", w, h, depth, colour, 0, 0, is_woven))
    while r.random() < 0.4:
        out += ancillary(r)
    if colour == 3:
        out += chunk(b"PLTE", bytes(noise.randint(0, 256, 3 * colours,
                                                  numpy.uint8)))
    # Pillow looks for a clear grey or colour of other than 8 bits unscaled.
    if r.random() < 0.4 and (colour == 3 or colour < 3 and depth == 8):
        if colour == 3:
            out += chunk(b"tRNS", bytes(noise.randint(
                0, 256, r.randint(1, colours), numpy.uint8)))
        else:
            out += chunk(b"tRNS", struct.pack(
                ">%dH" % n, *samples[0, 0].tolist()))
    packed = zlib.compress(data, r.randint(0, 9))
    cut = r.randint(0, len(packed))
    out += chunk(b"IDAT", packed[:cut]) + chunk(b"IDAT", packed[cut:])
    while r.random() < 0.2:
        out += ancillary(r)
    return out + chunk(b"IEND"), f"{colour}/{depth}" + "i" * is_woven


# -- JPEG, WebP ---------------------------------------------------------------

def draw_image(r, modes):
    w, h = r.randint(1, 70), r.randint(1, 70)
    noise = numpy.random.RandomState(r.randint(0, 2**31))
    y, x = numpy.mgrid[0:h, 0:w]
    planes = [(r.randint(1, 9) * x + r.randint(1, 9) * y) % 256
              for _ in range(4)]
    whole = numpy.stack(planes, -1) + noise.randint(0, 9, (h, w, 4))
    whole = whole.clip(0, 255).astype(numpy.uint8)
    mode = r.choice(modes)
    n = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    return Image.fromarray(whole[:, :, 0] if n == 1 else
                           numpy.ascontiguousarray(whole[:, :, :n]), mode)


def exif_of(r):
    exif = Image.Exif()
    if r.random() < 0.5:
        exif[0x10f] = "maker" * r.randint(0, 9)
    exif[ORIENTATION] = r.choice((1, 2, 3, 4, 5, 6, 7, 8, 0, 9))
    return exif


def saved(r, image, kind, **options):
    out = io.BytesIO()
    if r.random() < 0.4:
        options["exif"] = exif_of(r)
    image.save(out, kind, **options)
    return out.getvalue()


def draw_jpeg(r):
    image = draw_image(r, ("L", "RGB", "RGB", "CMYK"))
    options = {"quality": r.randint(1, 100)}
    if image.mode != "L":
        options["subsampling"] = r.choice((0, 1, 2))
    for key in ("progressive", "optimize"):
        if r.random() < 0.4:
            options[key] = True
    if r.random() < 0.3:
        options["restart_marker_blocks"] = r.randint(1, 5)
    if r.random() < 0.2:
        options["comment"] = b"hello" * 99
    if r.random() < 0.2:
        options["icc_profile"] = b"profile" * 9000
    if r.random() < 0.2 and image.mode == "RGB":
        options["keep_rgb"] = True
        options.pop("subsampling")
    raw = saved(r, image, "JPEG", **options)
    if r.random() < 0.1:
        raw += b"behind the end"
    return raw, image.mode


def draw_webp(r):
    image = draw_image(r, ("RGB", "RGBA", "L"))
    options = {"lossless": r.random() < 0.5, "quality": r.randint(0, 100),
               "method": r.randint(0, 6), "exact": True}
    if r.random() < 0.2:
        options["icc_profile"] = b"profile" * 99
    return saved(r, image, "WEBP", **options), \
        image.mode + ("l" if options["lossless"] else "")


def over_white(image):
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return (numpy.asarray(image).astype(int) >> 8)[:, :, None]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(
            Image.new("RGBA", image.size, "white"), image)
    return numpy.asarray(image.convert("RGB")).astype(int)


def wanted(raw):
    """An array, or None where Pillow refuses."""
    try:
        image = Image.open(io.BytesIO(raw))
        image.load()
        return over_white(image)
    except Exception:  # whatever it refuses with
        return None


def verdict(raw, got, allowed, is_hurt):
    want = wanted(raw)
    if isinstance(got, str):
        is_fine = want is None or is_hurt
        return None if is_fine else f"refused: {got[:150]}"
    if want is None:
        return None if is_hurt else "read, but not by Pillow"
    if got.shape[:2] != want.shape[:2]:
        return None if is_hurt else f"{got.shape} against {want.shape}"
    off = numpy.abs(got - want).max()
    return None if off <= allowed or is_hurt else f"off by {off}"


def hurt(r, raw):
    kind = r.random()
    if kind < 0.7:
        return raw, False
    at = r.randrange(len(raw))
    if kind < 0.85:
        return raw[:at], True
    return raw[:at] + bytes([r.randint(0, 255)]) + raw[at + 1:], True


KINDS = [("png", draw_png, 1), ("png", draw_png, 1), ("jpeg", draw_jpeg, 2),
         ("webp", draw_webp, 1)]


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    library = Library(sys.argv[3] if len(sys.argv) > 3
                      else "build/libunstir.so")
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    n_wrong = 0
    for i in range(count):
        r = random.Random(f"{seed} {i}")
        kind, draw, allowed = r.choice(KINDS)
        raw, what = draw(r)
        raw, is_hurt = hurt(r, raw)
        said = verdict(raw, library.read(raw), allowed, is_hurt)
        n_wrong += said is not None
        if said:
            print(f"{seed} {i} {kind} {what}: {said}")
    print(f"{count} files, {n_wrong} differ")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
