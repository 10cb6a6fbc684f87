"""make_img2img.py - goldens of runs that begin from a picture, step by step.

usage: python tools/goldens/make_img2img.py OUT.json

Made by the reference implementation (diffusers 0.42.1, torch 2.15.0): the list
of timesteps is cut by StableDiffusionImg2ImgPipeline.get_timesteps, noise is
added by the scheduler, and with a mask the sample is mixed with the picture
after every evaluation as in StableDiffusionInpaintPipeline's loop.  The network
is the stand-in x * t / (t + 1) of make_samplers.py.  The picture is
cos(i) and the mask 1 at i % 3 == 0, of 16 numbers; the first noise is the first
draw of a generator seeded with `seed`.

SPDX-License-Identifier: MIT
"""
import json
import math
import sys
import types

import diffusers
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from make_samplers import LATENT, SEED, brownian, floats, network

CLASSES = ("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete",
           "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2Discrete",
           "KDPM2AncestralDiscrete", "DPMSolverSDE", "DPMSolverMultistep",
           "UniPCMultistep", "DEISMultistep", "DPMSolverSinglestep", "LCM",
           "TCD", "EDMEuler", "EDMDPMSolverMultistep")


def cases():
    for cls in CLASSES:
        own = {} if cls.startswith("EDM") else dict(LATENT)
        if cls == "PNDM":
            own["skip_prk_steps"] = True
        strengths = (0.15, 0.35, 0.5, 0.6, 0.85, 1.0)
        for strength in strengths:
            yield cls, 10, strength, False, own
        for strength in (0.3, 0.7, 1.0):
            yield cls, 7, strength, True, own
        if not cls.startswith("EDM") and cls not in ("LCM", "TCD"):
            more = {**own, "prediction_type": "v_prediction"}
            yield cls, 8, 0.5, True, more
    for cls in ("EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep",
                "HeunDiscrete"):
        more = {**LATENT, "use_karras_sigmas": True}
        yield cls, 9, 0.45, True, more
    for order in (1, 3):
        for cls in ("DPMSolverMultistep", "DPMSolverSinglestep",
                    "UniPCMultistep", "DEISMultistep"):
            yield cls, 9, 0.7, True, {**LATENT, "solver_order": order}
    yield ("DPMSolverMultistep", 9, 0.7, True,
           {**LATENT, "algorithm_type": "sde-dpmsolver++"})
    for spacing in ("leading", "trailing"):
        for cls in ("DDIM", "EulerDiscrete", "PNDM"):
            more = {**LATENT, "timestep_spacing": spacing, "steps_offset": 1}
            if cls == "PNDM":
                more["skip_prk_steps"] = True
            yield cls, 8, 0.6, True, more


def run(cls, steps, strength, has_mask, config):
    s = getattr(diffusers, cls + "Scheduler")(**config)
    generator = torch.Generator().manual_seed(SEED)
    picture = torch.tensor([math.cos(i) for i in range(16)]).view(1, 1, 4, 4)
    mask = torch.tensor([float(i % 3 == 0) for i in range(16)])
    mask = mask.view(1, 1, 4, 4)
    s.set_timesteps(steps)
    cut = StableDiffusionImg2ImgPipeline.get_timesteps
    timesteps, _ = cut(types.SimpleNamespace(scheduler=s), steps, strength,
                       "cpu")
    noise = torch.randn(1, 1, 4, 4, generator=generator)
    if has_mask and strength == 1:
        x = noise * s.init_noise_sigma
    else:
        x = s.add_noise(picture, noise, timesteps[:1])
    extra = {}
    if cls == "DPMSolverSDE":
        s.noise_sampler = brownian(s, generator, x.shape)
    elif "generator" in s.step.__code__.co_varnames[
            :s.step.__code__.co_argcount]:
        extra["generator"] = generator
    xs = [x]
    for i, t in enumerate(timesteps):
        x = s.step(network(s.scale_model_input(x, t), t), t, x,
                   **extra).prev_sample
        if has_mask:
            known = picture
            if i < len(timesteps) - 1:
                after = torch.tensor([timesteps[i + 1]])
                known = s.add_noise(picture, noise, after)
            x = (1 - mask) * known + mask * x
        xs.append(x)
    name = f"{cls} {steps} {strength}" + (" mask" if has_mask else "")
    more = [f"{k}={v}" for k, v in config.items() if LATENT.get(k) != v]
    return {"name": " ".join([name] + more), "steps": steps,
            "strength": strength, "has_mask": has_mask, "seed": SEED,
            "config": {"_class_name": cls + "Scheduler", **config},
            "timesteps": [float(f"{float(t):.9g}") for t in timesteps],
            "x": [floats(x) for x in xs]}


def main():
    rows = [run(*case) for case in cases()]
    rows = [r for r in rows
            if all(math.isfinite(v) for x in r["x"] for v in x)]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(len(rows), "cases")


if __name__ == "__main__":
    main()
