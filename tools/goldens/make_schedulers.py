"""make_schedulers.py - goldens of schedules and sampler steps.

usage: python tools/goldens/make_schedulers.py OUT.json

Made by the reference implementation (diffusers 0.42.1, torch 2.15.0).  The
network is a stand-in that a test can repeat in f32:

    output   = x * t / (t + 1)
    variance = 0.01 * (1 + x * x)     (variance_type learned)
               x / (1 + x * x)        (variance_type learned_range)

The first sample is 1.5 * randn(1, 1, 4, 4) of a generator seeded with `seed`,
which then gives the noise of the steps.  A step stands in the file with its
input, so that each is judged alone.

SPDX-License-Identifier: MIT
"""
import json
import sys

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler

CLASSES = {"DDPMScheduler": DDPMScheduler, "DDIMScheduler": DDIMScheduler}
SEED = 5


def cases():
    rows = []

    def add(name, cls, steps=8, eta=0.0, clipped=False, **config):
        rows.append((name, cls, steps, eta, clipped, config))

    zero = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction",
                timestep_spacing="trailing")
    latent = dict(beta_start=0.00085, beta_end=0.012,
                  beta_schedule="scaled_linear")
    trained = np.linspace(0.002, 0.3, 40).astype(np.float32).tolist()
    ddim, ddpm = "DDIMScheduler", "DDPMScheduler"
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        add(f"ddim-{kind}", ddim, beta_schedule=kind)
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid",
                 "laplace"):
        add(f"ddpm-{kind}", ddpm, beta_schedule=kind)
    for spacing in ("leading", "linspace", "trailing"):
        for steps in (1, 2, 7, 61, 103, 121):
            add(f"ddim-{spacing}-{steps}", ddim, steps,
                timestep_spacing=spacing)
            add(f"ddpm-{spacing}-{steps}", ddpm, steps,
                timestep_spacing=spacing)
    for kind in ("epsilon", "sample", "v_prediction"):
        for eta in (0.5, 1.0):
            add(f"ddim-{kind}-eta{eta}", ddim, eta=eta, prediction_type=kind)
        add(f"ddim-{kind}-clipped", ddim, clipped=True, eta=0.3,
            prediction_type=kind, clip_sample_range=0.7)
        add(f"ddpm-{kind}", ddpm, prediction_type=kind)
    add("ddim-sample-noclip", ddim, prediction_type="sample",
        clip_sample=False)
    add("ddim-zero-snr", ddim, **zero)
    add("ddim-zero-snr-eta0.5", ddim, eta=0.5, clip_sample=False, **zero,
        **latent)
    add("ddpm-zero-snr", ddpm, **zero)
    add("ddpm-zero-snr-latent", ddpm, clip_sample=False, **zero, **latent)
    for ratio, most in ((0.995, 2.0), (0.7, 5.0), (0.0, 1.5), (1.0, 50.0)):
        add(f"ddim-threshold-{ratio}", ddim, thresholding=True,
            dynamic_thresholding_ratio=ratio, sample_max_value=most,
            prediction_type="v_prediction")
        add(f"ddpm-threshold-{ratio}", ddpm, thresholding=True,
            dynamic_thresholding_ratio=ratio, sample_max_value=most)
    for reach in (0.25, 3.0):
        add(f"ddim-clip-{reach}", ddim, clip_sample_range=reach)
        add(f"ddpm-clip-{reach}", ddpm, clip_sample_range=reach)
    add("ddim-alpha0", ddim, set_alpha_to_one=False)
    add("ddim-offset", ddim, set_alpha_to_one=False, steps_offset=1,
        clip_sample=False, **latent)
    add("ddpm-offset", ddpm, steps_offset=1)
    for kind in ("fixed_small", "fixed_small_log", "fixed_large", "learned",
                 "learned_range"):
        add(f"ddpm-{kind}", ddpm, variance_type=kind)
        add(f"ddpm-{kind}-cosine", ddpm, variance_type=kind,
            beta_schedule="squaredcos_cap_v2")
    add("ddim-trained", ddim, trained_betas=trained, num_train_timesteps=40)
    add("ddpm-trained", ddpm, trained_betas=trained, num_train_timesteps=40)
    add("ddim-1000of1000", ddim, 1000)
    add("ddpm-1000of1000", ddpm, 1000)
    add("ddpm-100", ddpm, 9, num_train_timesteps=100)
    add("ddim-from-4000", ddim, 9, num_train_timesteps=4000)
    return rows


def floats(tensor):
    return [float(f"{v:.9g}") for v in tensor.flatten().tolist()]


def wanted_steps(n):
    return sorted(set(range(min(n, 3))) | {n // 2} |
                  set(range(max(0, n - 2), n)))


def run(name, cls, steps, eta, clipped, config):
    scheduler = CLASSES[cls](**config)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()
    dropped = timesteps[-1] == -1
    if dropped:
        timesteps.pop()
    generator = torch.Generator().manual_seed(SEED)
    x = 1.5 * torch.randn(1, 1, 4, 4, generator=generator)
    kind = config.get("variance_type", "fixed_small")
    record = []
    keep = wanted_steps(len(timesteps))
    for i, t in enumerate(timesteps):
        output = x * float(t) / float(t + 1)
        if kind == "learned":
            output = torch.cat([output, 0.01 * (1 + x * x)], dim=1)
        elif kind == "learned_range":
            output = torch.cat([output, x / (1 + x * x)], dim=1)
        extra = dict(eta=eta, use_clipped_model_output=clipped) \
            if cls == "DDIMScheduler" else {}
        out = scheduler.step(output, scheduler.timesteps[i], x,
                             generator=generator, **extra)
        if i in keep:
            record.append({"step": i, "in": floats(x),
                           "out": floats(out.prev_sample),
                           "x0": floats(out.pred_original_sample)})
        x = out.prev_sample
    abar = scheduler.alphas_cumprod
    at = sorted({0, 1, len(abar) // 2, len(abar) - 2, len(abar) - 1})
    assert torch.isfinite(x).all(), name
    return {"name": name, "config": {"_class_name": cls, **config}, "steps": steps,
            "eta": eta, "clipped": clipped, "seed": SEED, "dropped": dropped,
            "timesteps": timesteps,
            "betas": [[i, float(f"{scheduler.betas[i]:.9g}")] for i in at],
            "abar": [[i, float(f"{abar[i]:.9g}")] for i in at],
            "abar_sum": float(abar.double().sum()),
            "record": record}


def main():
    rows = [run(*case) for case in cases()]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("[\n")
        file.write(",\n".join(json.dumps(r, separators=(",", ":"))
                              for r in rows))
        file.write("\n]\n")
    print(len(rows), "cases")


if __name__ == "__main__":
    main()
