"""reference_export.py - does the reference load what `unstir train` exports,
and does it make the same picture?

Draws a toy set (bars, two classes), trains a tiny network for a few steps,
opens the folder with diffusers, and compares the reference's DDIM sample with
`unstir generate --raw`, same seed, for both classes and the null class.
With --golden FOLDER the model and the reference's samples are kept there, for
tests/golden/t_export.c, which needs no Python.

SPDX-License-Identifier: MIT
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file, save_file

EDGE, STEPS, SEED = 8, 6, 3
# Largest drift of deterministic trajectories of 10 to 50 steps, as a share of
# the largest value; see tests/golden/t_trajectories.c.
TOLERANCE = 1e-3


def draw_bars(folder):
    for name in ("lying", "upright"):
        os.makedirs(os.path.join(folder, name))
        for i in range(6):
            im = Image.new("L", (EDGE, EDGE), 20)
            for j in range(EDGE):
                im.putpixel((i + 1, j) if name == "upright" else (j, i + 1),
                            255)
            im.save(os.path.join(folder, name, "%d.png" % i))


def train(unstir, data, model):
    subprocess.run(
        [unstir, "train", "--data", data, "-o", model, "--channels", "8,16",
         "--norm-groups", "4", "--head-dim", "8", "--batch", "12", "--lr",
         "5e-3", "--steps", "60", "--warmup", "5", "--sample-every", "0", "-q"],
        check=True)
    shutil.rmtree(os.path.join(model, "training"))


def sample_reference(model, label):
    unet = UNet2DModel.from_pretrained(model, subfolder="unet").float().eval()
    scheduler = DDIMScheduler.from_pretrained(model, subfolder="scheduler")
    scheduler.set_timesteps(STEPS)
    gen = torch.Generator().manual_seed(SEED)
    x = torch.randn((1, 1, EDGE, EDGE), generator=gen)
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = unet(x, t, torch.tensor([label])).sample
            x = scheduler.step(out, t, x, eta=0.0).prev_sample
    return x


def sample_unstir(unstir, model, name, folder):
    raw = os.path.join(folder, "raw.safetensors")
    subprocess.run(
        [unstir, "generate", "-m", model, "--class", name, "--seed",
         str(SEED), "--steps", str(STEPS), "--guidance", "1", "--raw", raw,
         "-o", os.path.join(folder, "out.png"), "--force", "-q"],
        check=True, stdout=subprocess.DEVNULL)
    return load_file(raw)["sample"]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("unstir")
    p.add_argument("--golden")
    a = p.parse_args()
    torch.set_num_threads(1)
    failed, samples = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        model = os.path.join(folder, "bars")
        draw_bars(data)
        train(a.unstir, data, model)
        for label, name in enumerate(("lying", "upright", "none")):
            want = sample_reference(model, label)
            got = sample_unstir(a.unstir, model, name, folder)
            error = ((got - want).abs().max() / want.abs().max()).item()
            ok = error <= TOLERANCE
            failed += not ok
            samples[name] = want
            print("%s reference_samples_export_%s" % ("ok" if ok else "not ok",
                                                      name))
            print("  wanted at most %g, got %.2e" % (TOLERANCE, error))
        if a.golden:
            shutil.rmtree(a.golden, ignore_errors=True)
            shutil.copytree(model, os.path.join(a.golden, "bars"))
            save_file(samples, os.path.join(a.golden, "samples.safetensors"),
                      {"steps": str(STEPS), "seed": str(SEED)})
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
