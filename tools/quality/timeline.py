"""timeline.py - the picture of pictures coming out of static.

    python tools/quality/timeline.py models/fashion -o timeline.png \
        --prompts "sneaker,dress,bag" --seed 7 --sampler ddim --steps 24

A row for each prompt: the sample before the first step, then evenly spaced
steps, the last one at the end.  Samples are shown as they are, not as the
network believes they will end; what leaves black and white is cut.

SPDX-License-Identifier: MIT
"""
import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file


def samples_of(options, prompt, folder):
    """Every step's sample of one picture [steps + 1][height][width]."""
    raw = Path(folder) / "steps.safetensors"
    subprocess.run([options.unstir, "generate", "-q", "--force", "-m",
                    options.model, "-p", prompt, "--seed", str(options.seed),
                    "--sampler", options.sampler, "--steps",
                    str(options.steps), "--raw", raw, "--raw-steps", "-o",
                    Path(folder) / "picture.png"],
                   check=True, stdout=subprocess.DEVNULL)
    steps = load_file(raw)
    return np.stack([steps["step.%04d" % k][0, 0]
                     for k in range(options.steps + 1)])


def as_bytes(x):
    return np.rint(np.clip((x + 1) * 127.5, 0, 255)).astype(np.uint8)


def paste(page, picture, row, column, zoom, gap):
    big = Image.fromarray(picture).resize(
        (picture.shape[1] * zoom, picture.shape[0] * zoom), Image.NEAREST)
    page.paste(big, (gap + column * (big.width + gap),
                     gap + row * (big.height + gap)))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model")
    ap.add_argument("-o", "--output", default="timeline.png")
    ap.add_argument("--prompts", required=True, help="labels, with commas")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--sampler", default="ddim")
    ap.add_argument("--steps", type=int, default=24)
    ap.add_argument("--columns", type=int, default=13)
    ap.add_argument("--zoom", type=int, default=2)
    ap.add_argument("--unstir", default="build/unstir")
    options = ap.parse_args()
    if not 2 <= options.columns <= options.steps + 1:
        ap.error("--columns %d: 2 to %d, one more than --steps"
                 % (options.columns, options.steps + 1))
    shown = [round(i * options.steps / (options.columns - 1))
             for i in range(options.columns)]
    gap = 2
    with tempfile.TemporaryDirectory() as folder:
        rows = [as_bytes(samples_of(options, p.strip(), folder)[shown])
                for p in options.prompts.split(",")]
    height, width = (gap + n * (edge * options.zoom + gap) for n, edge in
                     ((len(rows), rows[0].shape[1]),
                      (options.columns, rows[0].shape[2])))
    page = Image.new("L", (width, height), 255)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            paste(page, picture, row, column, options.zoom, gap)
    page.save(options.output, optimize=True)


if __name__ == "__main__":
    main()
