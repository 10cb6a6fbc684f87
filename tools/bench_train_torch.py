"""bench_train_torch.py - one training step in PyTorch f32, for the ratio.

The same network, batch and optimiser as `unstir bench train` times: forward,
mean squared error, backward, clipping, AdamW and the running mean.  Prints
one JSON line; --against also runs unstir in the same minute and adds the
ratio.

    python tools/bench_train_torch.py MODEL_FOLDER [--batch 128] [--threads 2]
        [--repeat 3] [--against build/unstir]

SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import subprocess
import time

import torch
from diffusers import UNet2DModel


def steps(model, batch, n):
    """Seconds of each of n steps."""
    c, edge = model.config.in_channels, model.config.sample_size
    h, w = edge if isinstance(edge, (list, tuple)) else (edge, edge)
    x, y = torch.randn(batch, c, h, w), torch.randn(batch, c, h, w)
    t = torch.arange(batch) * 1000 // batch
    labels = None
    if model.config.num_class_embeds:
        labels = torch.zeros(batch, dtype=torch.long)
    mean = [p.detach().clone() for p in model.parameters()]
    opt = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(n):
        start = time.perf_counter()
        loss = torch.nn.functional.mse_loss(model(x, t, labels).sample, y)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(mean, list(model.parameters()), 0.001)
        yield time.perf_counter() - start


def unstir(program, a):
    out = subprocess.run(
        [program, "bench", "train", "-m", a.model, "--batch", str(a.batch),
         "--threads", str(a.threads), "--repeat", str(a.repeat), "--json"],
        check=True, capture_output=True, text=True).stdout
    return json.loads(out)["ms_min"]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--against", metavar="UNSTIR")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    with open(os.path.join(a.model, "unet", "config.json")) as f:
        model = UNet2DModel.from_config(json.load(f))
    ms = sorted(1e3 * s for s in list(steps(model, a.batch, a.repeat + 1))[1:])
    r = dict(what="train", engine="torch " + torch.__version__, batch=a.batch,
             threads=a.threads, ms_min=round(ms[0], 1),
             ms_max=round(ms[-1], 1),
             images_per_s=round(1e3 * a.batch / ms[0], 1))
    if a.against:
        r["unstir_ms_min"] = round(unstir(a.against, a), 1)
        r["ratio"] = round(r["unstir_ms_min"] / r["ms_min"], 3)
    print(json.dumps(r))


if __name__ == "__main__":
    main()
