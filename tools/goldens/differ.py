#!/usr/bin/env python3
"""differ.py - drawn models, run by the reference and by us, compared.

    python tools/goldens/differ.py [--build build] [--kind KIND ...]
        [--seed N] [--count N] [--keep FOLDER] [-v]

Each case is drawn from one seed: a configuration, weights, a layout on disk
and a request.  Kinds: the networks alone (unet2d cond kl vq tiny dit; through
tests/golden/t_families, on every rung, within 2e-5 of the largest value) and
whole pipelines (ddpm ddim pixels ldm score consistency ditpipe sd sdxl lcm
ending, and from pictures refiner starting img2img inpaint edit lcmimg; through `unstir generate`: the last
sample within 1e-3 of the largest value, 99 of 100 bytes within one level of
the picture), and model files (single lora inversion gguf convert;
differ_files.py).
Without --kind all of them, COUNT cases of each.  A case is named by kind and
seed:

    python tools/goldens/differ.py --kind sd --seed 71 --count 1 -v

Says what agreed, what differed, what we refused (with our words: read them),
what the reference itself cannot run, and what amplifies rounding: where the
reference's own f32 is off from its f64 beyond the tolerances, and ours by no
more than some times as much.  Exit 1 if anything differed.

SPDX-License-Identifier: MIT
"""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import warnings

import torch
from diffusers.utils import logging

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import differ_networks  # noqa: E402
import differ_pipelines  # noqa: E402
import differ_starts  # noqa: E402

PIPELINES = {**differ_pipelines.KINDS, **differ_starts.KINDS}

try:  # peft and gguf may be missing
    import differ_files  # noqa: E402
except ImportError:
    differ_files = None

FILES = differ_files.KINDS if differ_files else {}
KINDS = [*differ_networks.KINDS, *PIPELINES, *FILES]
MOST_FILES = 60  # of one run of t_families


WORDS = {"same": "ok", "DIFFERS": "not ok"}  # as tests/run.sh counts


class Tally:
    def __init__(self, is_verbose):
        self.is_verbose = is_verbose
        self.counts = {"same": 0, "rounding": 0, "refused": 0, "skipped": 0,
                       "DIFFERS": 0}

    def add(self, kind, seed, verdict, detail, config):
        self.counts[verdict] += 1
        if verdict != "skipped" or self.is_verbose:
            print(f"{WORDS.get(verdict, verdict)} differ_{kind}_{seed}\n"
                  f"    {detail}")
        if verdict == "DIFFERS" or self.is_verbose:
            print(f"    {config}")
        sys.stdout.flush()


def is_refusal(detail):
    """Or is it a number that is off?"""
    return not re.search(r"error \d|differ", detail)


def verdicts(output, paths):
    """path: (verdict, detail) out of what t_families says."""
    found = {}
    for path in paths:
        lines = [line for line in output.splitlines() if path in line]
        says = [line for line in lines if line.startswith("ERROR")]
        if not any("[  FAILED  ]" in line for line in lines):
            found[path] = "same", ""
        elif not says:
            found[path] = "DIFFERS", "failed without a word"
        else:
            detail = says[0].replace(path, "").removeprefix("ERROR: ")
            is_ours = is_refusal(detail)
            found[path] = "refused" if is_ours else "DIFFERS", detail
    return found


def run_networks(build, cases, tally):
    """cases: (kind, seed, path, config)."""
    program = os.path.join(build, "tests/golden/t_families")
    for at in range(0, len(cases), MOST_FILES):
        part = cases[at:at + MOST_FILES]
        paths = [c[2] for c in part]
        done = subprocess.run([program, *paths], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        found = verdicts(done.stdout, paths)
        for kind, seed, path, config in part:
            verdict, detail = found[path]
            if done.returncode < 0:
                verdict, detail = "DIFFERS", "the program crashed"
            tally.add(kind, seed, verdict, detail, config)


def differ(a, tally, folder):
    cases = []
    for kind in a.kind or KINDS:
        for seed in range(a.seed, a.seed + a.count):
            r = random.Random(f"{kind} {seed}")
            torch.manual_seed(seed)
            where = os.path.join(folder, f"{kind}_{seed}")
            if kind in FILES:
                tally.add(kind, seed, *differ_files.compare(
                    r, kind, a.unstir, where, not a.keep))
                continue
            if kind in PIPELINES:
                tally.add(kind, seed, *differ_pipelines.compare(
                    r, PIPELINES[kind], a.unstir, where, not a.keep))
                continue
            path = os.path.join(folder, f"{kind}_{seed}.safetensors")
            why, config = differ_networks.make_network(r, kind, path)
            if why:
                tally.add(kind, seed, "skipped", why, config)
            else:
                cases.append((kind, seed, path, config))
    run_networks(a.build, cases, tally)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default="build")
    p.add_argument("--unstir", help="default: BUILD/unstir")
    p.add_argument("--kind", nargs="*", choices=KINDS)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--count", type=int, default=5)
    p.add_argument("--keep", help="leave the models there")
    p.add_argument("-v", "--verbose", action="store_true")
    a = p.parse_args()
    a.unstir = a.unstir or os.path.join(a.build, "unstir")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tally = Tally(a.verbose)
    if a.keep:
        os.makedirs(a.keep, exist_ok=True)
        differ(a, tally, a.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            differ(a, tally, folder)
    print(", ".join(f"{n} {what}" for what, n in tally.counts.items()))
    sys.exit(tally.counts["DIFFERS"] > 0)


if __name__ == "__main__":
    main()
