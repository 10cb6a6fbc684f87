"""bench_train_torch.py - one training step in PyTorch, for the ratio.

The same network, batch and optimiser as `unstir bench train` times: forward,
mean squared error, backward, clipping, AdamW and the running mean.  --precision
bf16 is autocast: weights, their gradients and the optimiser stay f32.  Prints
one JSON line; --against also runs unstir in the same minute, in the same
precision, and adds the ratio.

    python tools/bench_train_torch.py MODEL_FOLDER [--batch 128] [--threads 2]
        [--repeat 3] [--precision f32|bf16] [--channels-last] [--compile]
        [--against build/unstir]

SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import subprocess
import time

import torch
from diffusers import UNet2DModel


class Trainer:
    """A network, its batch and its optimiser; once() is a step."""

    def __init__(self, folder, batch, precision="f32", is_channels_last=False,
                 is_compiled=False):
        with open(os.path.join(folder, "unet", "config.json")) as f:
            model = UNet2DModel.from_config(json.load(f))
        c, edge = model.config.in_channels, model.config.sample_size
        h, w = edge if isinstance(edge, (list, tuple)) else (edge, edge)
        form = torch.channels_last if is_channels_last else torch.contiguous_format
        self.params = list(model.to(memory_format=form).parameters())
        self.x = torch.randn(batch, c, h, w).to(memory_format=form)
        self.y = torch.randn(batch, c, h, w).to(memory_format=form)
        self.t = torch.arange(batch) * 1000 // batch
        self.labels = None
        if model.config.num_class_embeds:
            self.labels = torch.zeros(batch, dtype=torch.long)
        self.mean = [p.detach().clone() for p in self.params]
        self.opt = torch.optim.AdamW(self.params, lr=1e-4)
        self.model = torch.compile(model) if is_compiled else model
        self.is_bf16 = precision == "bf16"

    def once(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.is_bf16):
            out = self.model(self.x, self.t, self.labels).sample
        loss = torch.nn.functional.mse_loss(out.float(), self.y)
        self.opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, self.params, 0.001)

    def time(self, n):
        """Seconds, of the clock and of all CPUs, of each of n steps."""
        out = []
        for _ in range(n):
            start, cpu = time.perf_counter(), time.process_time()
            self.once()
            out.append((time.perf_counter() - start, time.process_time() - cpu))
        return out


def unstir(program, a):
    out = subprocess.run(
        [program, "bench", "train", "-m", a.model, "--batch", str(a.batch),
         "--threads", str(a.threads), "--repeat", str(a.repeat),
         "--precision", a.precision, "--json"],
        check=True, capture_output=True, text=True).stdout
    return json.loads(out)["ms_min"]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--against", metavar="UNSTIR")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    trainer = Trainer(a.model, a.batch, a.precision, a.channels_last, a.compile)
    trainer.once()
    times = trainer.time(a.repeat)
    ms = sorted(1e3 * s for s, _ in times)
    r = dict(what="train", engine="torch " + torch.__version__, batch=a.batch,
             threads=a.threads, precision=a.precision, ms_min=round(ms[0], 1),
             ms_max=round(ms[-1], 1),
             cpu_ms_min=round(1e3 * min(cpu for _, cpu in times), 1),
             images_per_s=round(1e3 * a.batch / ms[0], 1))
    if a.against:
        r["unstir_ms_min"] = round(unstir(a.against, a), 1)
        r["ratio"] = round(r["unstir_ms_min"] / r["ms_min"], 3)
    print(json.dumps(r))


if __name__ == "__main__":
    main()
