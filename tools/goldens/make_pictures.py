"""make_pictures.py - whole pictures: model, settings and seed in, bytes out.

usage: python tools/goldens/make_pictures.py tests/data/pictures.json

The reference's own DDPMPipeline and DDIMPipeline run the tiny models of
tests/data/models (in f32); a class-conditional model, which they cannot run,
goes through the reference's network and scheduler in the same loop, guidance
as u + g (c - u).

SPDX-License-Identifier: MIT
"""
import json
import sys

import torch
from diffusers import (DDIMPipeline, DDIMScheduler, DDPMPipeline,
                       DDPMScheduler, UNet2DModel)

ROOT = "tests/data/models/"
NULL_CLASS = 10


def generator(seed):
    return torch.Generator().manual_seed(seed)


def to_bytes(pil):
    return {"width": pil.width, "height": pil.height,
            "channels": len(pil.getbands()), "pixels": pil.tobytes().hex()}


def by_pipeline(model, sampler, steps, seed, eta=0.0, size=None):
    unet = UNet2DModel.from_pretrained(ROOT + model, subfolder="unet",
                                       torch_dtype=torch.float32)
    config = DDPMScheduler.load_config(ROOT + model, subfolder="scheduler")
    if size:
        unet.register_to_config(sample_size=size)
    if sampler == "ddpm":
        pipe = DDPMPipeline(unet, DDPMScheduler.from_config(config))
        extra = {}
    else:
        pipe = DDIMPipeline(unet, DDIMScheduler.from_config(config))
        extra = {"eta": eta}
    pipe.set_progress_bar_config(disable=True)
    image = pipe(generator=generator(seed), num_inference_steps=steps,
                 **extra).images[0]
    return {"model": model, "sampler": sampler, "steps": steps, "seed": seed,
            "eta": eta, **to_bytes(image)}


@torch.no_grad()
def by_class(model, sampler, steps, seed, label, guidance, eta=0.0, size=16):
    unet = UNet2DModel.from_pretrained(ROOT + model, subfolder="unet")
    config = DDIMScheduler.load_config(ROOT + model, subfolder="scheduler")
    cls = DDPMScheduler if sampler == "ddpm" else DDIMScheduler
    scheduler = cls.from_config(config)
    scheduler.set_timesteps(steps)
    draw = generator(seed)
    x = torch.randn(1, unet.config.in_channels, size, size, generator=draw)
    for t in scheduler.timesteps:
        if t < 0:  # trailing spacing lists one too many for some counts
            break
        if guidance > 1:
            both = unet(torch.cat([x, x]), t, torch.tensor(
                [NULL_CLASS, label])).sample
            u, c = both.chunk(2)
            output = u + guidance * (c - u)
        else:
            output = unet(x, t, torch.tensor([label])).sample
        extra = {"eta": eta} if sampler == "ddim" else {}
        x = scheduler.step(output, t, x, generator=draw, **extra).prev_sample
    image = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    pil = DDPMPipeline.numpy_to_pil(image)[0]
    return {"model": model, "sampler": sampler, "steps": steps, "seed": seed,
            "eta": eta, "class": label, "guidance_scale": guidance,
            **to_bytes(pil)}


def main():
    rows = [
        by_pipeline("tiny-rgb", "ddpm", 20, 0),
        by_pipeline("tiny-rgb", "ddpm", 7, 123456789012345),
        by_pipeline("tiny-rgb", "ddim", 10, 1),
        by_pipeline("tiny-rgb", "ddim", 10, 2, eta=1.0),
        by_pipeline("tiny-rgb", "ddim", 5, 3, eta=0.5, size=(24, 16)),
        by_class("tiny", "ddim", 4, 7, 7, 1.5),
        by_class("tiny", "ddim", 10, 8, 3, 1.0),
        by_class("tiny", "ddim", 6, 9, 0, 7.5, eta=0.5),
        by_class("tiny", "ddpm", 12, 10, 9, 2.0),
        by_class("tiny", "ddim", 61, 11, NULL_CLASS, 1.0),
    ]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
    print(len(rows), "pictures")


if __name__ == "__main__":
    main()
