#!/usr/bin/env python3
"""Make the goldens of latent pipelines: tests/data/latent/*.safetensors.

Needs python with torch, diffusers and safetensors (made with diffusers 0.42.1
and torch 2.15.0); run from the root of the project:

    python tools/goldens/make_latents.py tests/data/latent

Both networks' weights are drawn from one seed by the rule that make_unet2d.py
states; the picture is that of the reference's own pipeline.  A golden holds
the configurations, the request and the picture's bytes.

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import numpy
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, DiTPipeline,
                       DiTTransformer2DModel, LDMPipeline, UNet2DModel,
                       VQModel)
from diffusers.utils import logging
from safetensors.torch import save_file

from rule import draw_weights

SEED = 77
VAE = {"block_out_channels": [16, 16, 16], "norm_num_groups": 8,
       "layers_per_block": 1,
       "down_block_types": ["DownEncoderBlock2D"] * 3,
       "up_block_types": ["UpDecoderBlock2D"] * 3}
UNET = {"sample_size": 8, "block_out_channels": [16, 32],
        "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 8}
DIT = {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4,
       "out_channels": 8, "num_layers": 2, "sample_size": 8,
       "num_embeds_ada_norm": 10}


def drawn(model):
    parts = ["decode", "encode"] if hasattr(model, "decoder") else [None]
    for part in parts:
        draw_weights(model, SEED, part)
    return model.eval()


def save(path, image, metadata):
    image = torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1)[None]
    save_file({"image": image.float().contiguous()}, path,
              metadata={k: v if isinstance(v, str) else json.dumps(v)
                        for k, v in metadata.items()})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity_error()
    torch.set_num_threads(1)

    vq = {**VAE, "latent_channels": 3, "num_vq_embeddings": 40,
          "scaling_factor": 0.8}
    scheduler = DDIMScheduler(beta_start=0.0015, beta_end=0.0195,
                              beta_schedule="scaled_linear", clip_sample=False)
    pipe = LDMPipeline(vqvae=drawn(VQModel(**vq)),
                       unet=drawn(UNet2DModel(**UNET)), scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    image = pipe(generator=torch.Generator().manual_seed(5), eta=0.0,
                 num_inference_steps=6).images[0]
    save(folder / "ldm.safetensors", image, {
        "net": {"_class_name": "UNet2DModel", **UNET},
        "vae": {"_class_name": "VQModel", **vq},
        "scheduler": dict(scheduler.config), "weight_seed": SEED, "seed": 5,
        "steps": 6, "class": -1, "guidance": 1})

    kl = {**VAE, "latent_channels": 4, "scaling_factor": 1.3}
    scheduler = DDIMScheduler(clip_sample=False)
    pipe = DiTPipeline(transformer=drawn(DiTTransformer2DModel(**DIT)),
                       vae=drawn(AutoencoderKL(**kl)), scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    # The pipeline's null class is 1000 whatever the table: give the table's.
    image = dit_picture(pipe, 3, 4.0, 7, 9)
    save(folder / "dit.safetensors", image, {
        "net": {"_class_name": "DiTTransformer2DModel", **DIT},
        "vae": {"_class_name": "AutoencoderKL", **kl},
        "scheduler": dict(scheduler.config), "weight_seed": SEED, "seed": 9,
        "steps": 7, "class": 3, "guidance": 4})


def dit_picture(pipe, label, guidance, steps, seed):
    """DiTPipeline's loop with the null class of a small table."""
    gen = torch.Generator().manual_seed(seed)
    null = pipe.transformer.config.num_embeds_ada_norm
    latents = torch.randn((1, 4, 8, 8), generator=gen)
    pipe.scheduler.set_timesteps(steps)
    labels = torch.tensor([label, null])
    with torch.no_grad():
        for t in pipe.scheduler.timesteps:
            pair = torch.cat([latents, latents])
            out = pipe.transformer(pair, timestep=t.expand(2),
                                   class_labels=labels).sample[:, :4]
            cond, uncond = out.chunk(2)
            eps = uncond + guidance * (cond - uncond)
            latents = pipe.scheduler.step(eps, t, latents).prev_sample
        x = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    x = (x / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    return (x * 255).round().astype("uint8")


if __name__ == "__main__":
    main()
