#!/usr/bin/env python3
"""make_tiny_models.py - the random models that the tests of the command line
and of the service run: tests/data/models/tiny (grey, ten classes and a null
class), tiny-rgb (RGB, no classes, half precision) and tiny-text (text to
picture through latents, half precision); and tests/data/edit, what a model that
edits pictures by instruction has other than tiny-text, and tests/data/vae_tiny,
a small decoder of the latents of tiny-text.

Development-time only; needs torch, diffusers and transformers.  Weights are random: the
pictures mean nothing, but every byte of them is reproducible.

usage: tools/make_tiny_models.py [FOLDER]

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import torch
import transformers
from diffusers import (AutoencoderKL, AutoencoderTiny, DDIMScheduler, DDPMPipeline,
                       DDPMScheduler, EulerDiscreteScheduler,
                       StableDiffusionPipeline, UNet2DConditionModel,
                       UNet2DModel)

sys.path.insert(0, str(pathlib.Path(__file__).parent / "goldens"))
from make_text_pipelines import N_TOKENS, tokenizer

LABELS = ["t-shirt", "trousers", "pullover", "dress", "coat", "sandal",
          "shirt", "sneaker", "bag", "ankle boot"]
COMMON = dict(sample_size=16, layers_per_block=1, block_out_channels=(8, 16),
              norm_num_groups=4, attention_head_dim=8)


def write(folder, unet, scheduler, card):
    DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(folder)
    text = json.dumps(card, indent=2)
    (folder / "unstir.json").write_text(text + "\n")


def main(root):
    torch.manual_seed(1)
    unet = UNet2DModel(in_channels=1, out_channels=1, num_class_embeds=11,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"), **COMMON)
    schedule = DDIMScheduler(beta_schedule="squaredcos_cap_v2",
                             prediction_type="v_prediction",
                             timestep_spacing="trailing")
    write(root / "tiny", unet, schedule, {
        "id": "tiny",
        "title": "Random weights, grey, ten classes",
        "labels": {name: i for i, name in enumerate(LABELS)},
        "null_class": 10,
        "defaults": {"steps": 4, "sampler": "ddim", "guidance_scale": 1.5,
                     "width": 16, "height": 16},
        "limits": {"min_size": 8, "max_size": 64, "size_multiple": 2,
                   "max_steps": 1000},
        "licence": "MIT",
        "source": "tools/make_tiny_models.py",
    })
    unet = UNet2DModel(in_channels=3, out_channels=3,
                       down_block_types=("DownBlock2D", "DownBlock2D"),
                       up_block_types=("UpBlock2D", "UpBlock2D"), **COMMON)
    write(root / "tiny-rgb", unet.half(), DDPMScheduler(), {
        "id": "tiny-rgb",
        "title": "Random weights, RGB, no classes",
        "defaults": {"steps": 4, "sampler": "ddpm"},
        "limits": {"min_size": 8, "max_size": 64, "size_multiple": 2},
        "licence": "MIT",
        "source": "tools/make_tiny_models.py",
    })
    write_text_model(root / "tiny-text")
    write_editor(root.parent / "edit", root / "tiny-text")
    write_tiny_decoder(root.parent / "vae_tiny")


def write_text_model(folder):
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, attention_head_dim=2, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2)
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_attention_heads=2,
        num_hidden_layers=2, vocab_size=N_TOKENS, bos_token_id=N_TOKENS - 2,
        eos_token_id=N_TOKENS - 1))
    StableDiffusionPipeline(
        unet=unet.half(), vae=vae.half(), text_encoder=text.half(),
        tokenizer=tokenizer("<|endoftext|>"), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            steps_offset=1)).save_pretrained(folder)
    (folder / "unstir.json").write_text(json.dumps({
        "id": "tiny-text",
        "title": "Random weights, text to picture",
        "defaults": {"steps": 3, "guidance_scale": 4, "width": 16,
                     "height": 16},
        "limits": {"min_size": 8, "max_size": 64},
        "licence": "MIT",
        "source": "tools/make_tiny_models.py",
    }, indent=2) + "\n")


def write_editor(folder, text_model):
    """The folder of tests/data/edit: beside its files lie those of tiny-text."""
    torch.manual_seed(2)
    UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")
    ).half().save_pretrained(folder / "unet")
    index = json.loads((text_model / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInstructPix2PixPipeline"
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    card = json.loads((text_model / "unstir.json").read_text())
    card.update(id="tiny-edit", title="Random weights, edits by instruction")
    (folder / "unstir.json").write_text(json.dumps(card, indent=2) + "\n")


def write_tiny_decoder(folder):
    torch.manual_seed(3)
    AutoencoderTiny(
        encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)
    ).half().save_pretrained(folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                      "tests/data/models"))
