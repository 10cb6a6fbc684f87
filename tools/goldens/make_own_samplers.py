"""make_own_samplers.py - goldens of samplers that the reference lacks.

usage: python tools/goldens/make_own_samplers.py OUT.json

Written from the papers alone, in numpy; torch gives the random numbers and
nothing else.  The rows are those of make_samplers.py, with the sampler's name
in "sampler" and where it comes from in "source".  The network is the score of
a picture without any signal, -x / (1 + sigma^2), instead of the stand-in.

annealed_langevin   Song and Ermon, arXiv:1907.05600, algorithm 1, with the
                    step by technique 4 of arXiv:2006.09011 and its last
                    denoising
binomial            Sohl-Dickstein et al., arXiv:1503.03585, the chain of bits;
                    steps back by Bayes from the chances of both values of a
                    bit, where the house has a closed form

dpmpp_2s_a          Lu et al., arXiv:2211.01095, algorithm 1, with noise as
                    k-diffusion's sample_dpmpp_2s_ancestral() adds it: its
                    network predicts noise, as make_samplers.py's stand-in

SPDX-License-Identifier: MIT
"""
import json
import sys

import numpy as np
import torch

SEED = 9
F = np.float32


def floats(x):
    return [float(f"{v:.9g}") for v in x]


def score(x, sigma):
    return -x / (1 + sigma * sigma)


class Draw:
    """randn(1, 1, 4, 4) of a generator, as the others have it."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(SEED)

    def normal(self):
        return torch.randn(1, 1, 4, 4,
                           generator=self.generator).numpy().reshape(16)


def pace(ratio, walks):
    """e of technique 4: the variance after `walks` nearest to 1."""
    e = 10.0 ** (np.arange(-2400, 1) / 400)
    v = 2 / (2 - e)
    left = (1 - e) ** (2 * walks) * (ratio ** 2 - v) + v
    return e[np.argmin(np.abs(left - 1))]


def annealed_langevin(steps, low, high, walks, epsilon=None):
    draw = Draw()
    levels = np.exp(np.linspace(np.log(high), np.log(low), steps))
    e = epsilon / low ** 2 if epsilon else pace(
        (high / low) ** (1 / (steps - 1)), walks)
    x = (draw.normal() * F(high)).astype(F)
    xs, times = [], []
    for sigma in levels.astype(F):
        length = F(e) * sigma * sigma
        for _ in range(walks):
            z = draw.normal()
            x = x + length * score(x, sigma) + np.sqrt(F(2) * length) * z
            xs.append(x)
            times.append(sigma)
    x = x + sigma * sigma * score(x, sigma)
    return xs + [x], times + [sigma], x


def langevin_row(steps, low, high, walks, epsilon=None):
    xs, times, mean = annealed_langevin(steps, low, high, walks, epsilon)
    config = {"_class_name": "ScoreSdeVeScheduler", "sigma_min": low,
              "sigma_max": high, "langevin_steps": walks}
    if epsilon:
        config["langevin_epsilon"] = epsilon
    return {"sampler": "annealed_langevin", "source": "arXiv:1907.05600",
            "network": "score", "config": config, "steps": steps,
            "seed": SEED, "timesteps": floats(times), "mean": floats(mean),
            "x": [floats(x) for x in xs],
            "name": f"annealed_langevin {steps} of {walks}, {low}..{high}"
                    + (f", epsilon {epsilon}" if epsilon else "")}


def throw(kept):
    """2 x 2 chances from a bit (column) to a bit (row)."""
    return np.array([[1 + kept, 1 - kept], [1 - kept, 1 + kept]]) / 2


def binomial(steps, n):
    """Bits 0 and 1 in double; the network has them as -1 and 1."""
    draw = Draw()
    ends = [n * (steps - i) // steps for i in range(steps)] + [0]
    x = (draw.normal() > 0).astype(int)
    xs, times, estimate = [], [], None
    for now, then in zip(ends, ends[1:]):
        left, before = 1 - now / n, 1 - then / n
        head = score((2 * x - 1).astype(F), F(now - 1)).astype(float)
        p0 = np.stack([1 / (1 + np.exp(head)), 1 / (1 + np.exp(-head))])
        p0 = p0 * throw(left)[x].T              # and what x itself says
        p0 /= p0.sum(0)
        to = np.zeros((2, 16))
        for bit in (0, 1):                      # of x_0
            joint = throw(left / before)[x].T * throw(before)[:, [bit]]
            to += p0[bit] * joint / joint.sum(0)
        keep = to[x, np.arange(16)]
        u = torch.rand(16, generator=draw.generator).numpy()
        x = np.where(u < keep, x, 1 - x)
        xs.append(2 * x - 1)
        times.append(now - 1)
        estimate = p0[1] - p0[0]
    return xs, times, estimate


def binomial_row(steps, n):
    xs, times, mean = binomial(steps, n)
    return {"sampler": "binomial", "source": "arXiv:1503.03585",
            "network": "score", "steps": steps, "seed": SEED,
            "config": {"_class_name": "BinomialDiffusionScheduler",
                       "num_train_timesteps": n},
            "timesteps": floats(times), "mean": floats(mean),
            "x": [floats(x) for x in xs], "name": f"binomial {steps} of {n}"}


def table():
    """Levels of DPM++ SDE's default betas, as f32 has them."""
    betas = np.linspace(0.00085, 0.012, 1000).astype(F)
    kept = np.cumprod((1 - betas).astype(float)).astype(F)
    return np.sqrt((1 - kept) / kept).astype(float)


def karras(high, low, n):
    ramp = np.linspace(0, 1, n)
    return (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7


def time_of(levels, sigma):
    return np.interp(np.log(sigma), np.log(levels), np.arange(1000.0))


def two_s_ancestral(steps, schedule):
    draw, known = Draw(), table()
    times = np.linspace(0, 999, steps)[::-1]
    levels = np.interp(times, np.arange(1000), known)
    if schedule == "karras":
        levels = karras(levels[0], levels[-1], steps)
        times = [time_of(known, s) for s in levels]
    levels = [*levels, 0.0]
    xs, told = [], []

    def picture(x, sigma, t):
        told.append(t)
        seen = x / np.sqrt(sigma ** 2 + 1)
        return x - sigma * seen * t / (t + 1)

    x = draw.normal().astype(float) * levels[0]
    for sigma, then, t in zip(levels, levels[1:], times):
        up = min(then, np.sqrt(then ** 2 * (sigma ** 2 - then ** 2)
                               / sigma ** 2))
        down = np.sqrt(then ** 2 - up ** 2)
        x0 = picture(x, sigma, t)
        if then == 0:
            x = x + (x - x0) / sigma * (0 - sigma)
            xs.append(x)
            continue
        h = np.log(sigma / down)
        middle = sigma * np.exp(-h / 2)
        x2 = middle / sigma * x - np.expm1(-h / 2) * x0
        xs.append(x2)
        x0 = picture(x2, middle, time_of(known, middle))
        x = down / sigma * x - np.expm1(-h) * x0 + up * draw.normal()
        xs.append(x)
    return xs, told


def two_s_row(steps, schedule=None):
    xs, times = two_s_ancestral(steps, schedule)
    config = {"_class_name": "DPMSolverSDEScheduler"}
    if schedule:
        config[f"use_{schedule}_sigmas"] = True
    return {"sampler": "dpmpp_2s_a", "source": "k-diffusion",
            "config": config, "steps": steps, "seed": SEED,
            "timesteps": floats(times), "x": [floats(x) for x in xs],
            "name": f"dpmpp_2s_a {steps} {schedule or ''}".strip()}


def main():
    rows = [langevin_row(4, 0.1, 5.0, 3), langevin_row(2, 0.01, 1.0, 1),
            langevin_row(10, 0.01, 1.0, 2, epsilon=2e-5),
            langevin_row(12, 0.01, 30.0, 2),
            binomial_row(6, 6), binomial_row(7, 50), binomial_row(1, 10),
            two_s_row(8), two_s_row(6, "karras"), two_s_row(1)]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(len(rows), "cases")


if __name__ == "__main__":
    main()
