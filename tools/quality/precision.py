"""precision.py - does training with bf16 operands end where f32 ends?

For each seed two trainings that differ in --precision alone see the same
pictures and the same noise; compared is the mean loss of the last steps.
Prints one JSON line a seed and exits 1 if one is off by more than --most.

    python3 tools/quality/precision.py [--unstir build/unstir] [--seeds 3]
        [--steps 2000] [--last 200] [--most 0.01] [-- options of unstir train]

Options behind -- replace the default network and data.

SPDX-License-Identifier: MIT
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile

SMALL = ["--data", "fashion-mnist", "--size", "14", "--channels", "8,16",
         "--head-dim", "8", "--norm-groups", "4", "--batch", "16"]


def losses(program, options, precision, seed, steps, folder):
    """The loss of each step, from the training's own table."""
    out = os.path.join(folder, "%s-%d" % (precision, seed))
    subprocess.run([program, "train", "-q", "-o", out, "--steps", str(steps),
                    "--seed", str(seed), "--precision", precision,
                    "--sample-every", "0", "--save-every", "100000"] + options,
                   check=True)
    with open(os.path.join(out, "training", "log.csv")) as f:
        rows = list(csv.DictReader(f))
    if len(rows) != steps:
        sys.exit("%s: %d rows for %d steps: at most 4096 steps keep one each"
                 % (out, len(rows), steps))
    return [float(r["loss"]) for r in rows]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--unstir", default="build/unstir")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--steps", type=int, default=2000)
    p.add_argument("--last", type=int, default=200)
    p.add_argument("--most", type=float, default=0.01)
    p.add_argument("options", nargs="*")
    a = p.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, a.seeds + 1):
            mean = {}
            for precision in ("f32", "bf16"):
                all_ = losses(a.unstir, a.options or SMALL, precision, seed,
                              a.steps, folder)
                mean[precision] = sum(all_[-a.last:]) / a.last
            off = mean["bf16"] / mean["f32"] - 1
            worst = max(worst, abs(off))
            print(json.dumps(dict(seed=seed, steps=a.steps, last=a.last,
                                  f32=round(mean["f32"], 6),
                                  bf16=round(mean["bf16"], 6),
                                  off=round(off, 6))), flush=True)
    sys.exit(worst > a.most)


if __name__ == "__main__":
    main()
