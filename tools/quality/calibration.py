"""calibration.py - is a network's output as large as it should be?

At each level of Karras' schedule real test pictures get noise, the network
says what they were, and least squares ask by how much its answer should have
been multiplied (1: neither shrunk nor swollen, so that no correction by a
factor is to be had):

    output    what it predicts (noise, or v)
    picture   the picture, less its class's mean
    guidance  what is best added of its difference to the network without
              class, in shares of it: 0 if it believes its class enough

    python tools/quality/calibration.py MODEL [--per-class 50] [--levels 12]
        [--data DIR]

SPDX-License-Identifier: MIT
"""
import argparse
import json

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel

from classifier import DATA, load
from measure import N_CLASSES, balanced


def karras(most, least, n, rho=7):
    ends = np.array([most, least]) ** (1 / rho)
    return np.linspace(ends[0], ends[1], n) ** rho


def evaluate(net, x, t, labels, batch=100):
    with torch.no_grad():
        return torch.cat([
            net(b, torch.full((len(b),), t), class_labels=l).sample
            for b, l in zip(x.split(batch), labels.split(batch))])


def slope(wanted, said):
    """By what `said` should be multiplied, and how sure that is."""
    per = (wanted * said).flatten(1).sum(1)
    square = said.square().flatten(1).sum(1)
    best = per.sum() / square.sum()
    off = (per - best * square).square().sum().sqrt() / square.sum()
    return [round(best.item(), 4), round(off.item(), 4)]


def centred(x, per_class):
    rows = x.view(N_CLASSES, per_class, *x.shape[1:])
    return (rows - rows.mean(1, keepdim=True)).view(x.shape)


def measure(net, is_v, x, y, sigma, t, per_class, rng):
    signal = 1 / (1 + sigma * sigma) ** 0.5
    noise = sigma * signal
    n = torch.randn(x.shape, generator=rng)
    z = signal * x + noise * n
    wanted = signal * n - noise * x if is_v else n

    def picture(output):
        return (signal * z - noise * output if is_v
                else (z - noise * output) / signal)

    said = evaluate(net, z, t, y)
    free = evaluate(net, z, t, torch.full_like(y, N_CLASSES))
    x0 = picture(said)
    return dict(sigma=round(sigma, 4), timestep=round(t, 2),
                loss=round((wanted - said).square().mean().item(), 4),
                output=slope(wanted, said),
                picture=slope(centred(x, per_class), centred(x0, per_class)),
                guidance=slope(x - x0, x0 - picture(free)))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--data", default=DATA)
    p.add_argument("--per-class", type=int, default=50)
    p.add_argument("--levels", type=int, default=12)
    a = p.parse_args()
    torch.set_num_threads(2)
    net = UNet2DModel.from_pretrained(a.model, subfolder="unet").float().eval()
    schedule = DDIMScheduler.from_pretrained(a.model, subfolder="scheduler")
    kind = schedule.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        p.error("prediction_type is %s, not epsilon or v_prediction" % kind)
    alpha = schedule.alphas_cumprod.double().numpy()
    table = np.log((1 - alpha) / alpha) / 2
    x, y = load("test", a.data)
    index = balanced(y, a.per_class)
    x, y = x[index], y[index]
    rng = torch.Generator().manual_seed(1)
    least = float(getattr(schedule.config, "sigma_min", np.exp(table[0])))
    most = float(getattr(schedule.config, "sigma_max", np.exp(table[-1])))
    for sigma in karras(most, least, a.levels):
        t = float(np.interp(np.log(sigma), table, np.arange(len(table))))
        print(json.dumps(measure(net, kind == "v_prediction", x, y,
                                 float(sigma), t, a.per_class, rng)),
              flush=True)


if __name__ == "__main__":
    main()
