"""make_own_samplers.py - goldens of samplers that the reference lacks.

usage: python tools/goldens/make_own_samplers.py OUT.json

Written from the papers alone, in numpy; torch gives the random numbers and
nothing else.  The rows are those of make_samplers.py, with the sampler's name
in "sampler" and where it comes from in "source".  The network is the score of
a picture without any signal, -x / (1 + sigma^2), instead of the stand-in.

annealed_langevin   Song and Ermon, arXiv:1907.05600, algorithm 1, with the
                    step by technique 4 of arXiv:2006.09011 and its last
                    denoising

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


def main():
    rows = [langevin_row(4, 0.1, 5.0, 3), langevin_row(2, 0.01, 1.0, 1),
            langevin_row(10, 0.01, 1.0, 2, epsilon=2e-5),
            langevin_row(12, 0.01, 30.0, 2)]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(len(rows), "cases")


if __name__ == "__main__":
    main()
