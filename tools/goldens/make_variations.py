#!/usr/bin/env python3
"""make_variations.py - goldens of the noise that variations begin with.

usage: python tools/goldens/make_variations.py OUT.json

Both noises are torch.randn() of the shape of one picture, each with a generator
of its own, as the reference's pipelines draw it; between them numpy
interpolates on the sphere, in f64 and over the whole tensor.  A row holds every
n/16-th number of the result.

SPDX-License-Identifier: MIT
"""
import json
import sys

import numpy
import torch

SHAPES = ((1, 16, 16), (4, 8, 8), (3, 5, 7), (4, 64, 64))
ROWS = ((11, 12, 0.1), (11, 12, 0.5), (11, 12, 1.0), (7, 4294967295, 0.35),
        (123456789, 5, 0.9), (9, 9, 0.5))


def noise(seed, shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, *shape), generator=generator).numpy().ravel()


def between(a, b, t):
    a, b = a.astype(numpy.float64), b.astype(numpy.float64)
    cosine = a @ b / (numpy.linalg.norm(a) * numpy.linalg.norm(b))
    angle = numpy.arccos(numpy.clip(cosine, -1, 1))
    if numpy.sin(angle) < 1e-6:
        return a + t * (b - a)
    return (numpy.sin((1 - t) * angle) * a +
            numpy.sin(t * angle) * b) / numpy.sin(angle)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows = []
    for shape in SHAPES:
        for seed, other, strength in ROWS:
            x = between(noise(seed, shape), noise(other, shape), strength)
            some = x.astype(numpy.float32)[::len(x) // 16]
            rows.append({"n": len(x), "seed": seed, "variation_seed": other,
                         "strength": strength,
                         "noise": [float(f"{v:.9g}") for v in some]})
    with open(sys.argv[1], "w", encoding="ascii") as out:
        out.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
