#!/usr/bin/env python3
"""Make the golden of LoRAs in use: tests/data/lora/.

Needs what make_text_pipelines.py needs, and peft (made with peft 0.21.2,
diffusers 0.42.1); run from the root of the project:

    python tools/goldens/make_lora.py tests/data/lora

style.safetensors is a LoRA of rank 2 for the tiny SD 1.x pipeline of
make_text_pipelines.py, under PEFT's names.  It touches attention, feed-forward
and convolutions of the UNet, attention and MLP of the text encoder.  sd1.safetensors has
the latents after every step and the picture that the reference's own
load_lora_weights() and set_adapters() give for the requests in its metadata.

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import torch
from diffusers.utils import logging
from safetensors.torch import save_file

from make_text_pipelines import build, run

RANK = 2
ENDS = (".attn1.to_q", ".attn1.to_v", ".attn2.to_k", ".attn2.to_out.0",
        ".ff.net.2", ".conv1")
TEXT_ENDS = (".self_attn.q_proj", ".mlp.fc1")
REQUESTS = [
    {"prompt": "a photo of a cat", "steps": 5, "seed": 21, "weight": 0.7},
    {"prompt": "a red dog", "negative_prompt": "cat", "steps": 4, "seed": 22,
     "weight": -0.5, "guidance": 4.0},
]


def layers(pipe):
    for part, model, ends in (("unet", pipe.unet, ENDS),
                              ("text_encoder", pipe.text_encoder, TEXT_ENDS)):
        for name, module in model.named_modules():
            if name.endswith(ends) and "up_blocks.1" not in name:
                yield f"{part}.{name}", module


def lora(pipe):
    g = torch.Generator().manual_seed(5)
    state = {}
    for name, module in layers(pipe):
        w = module.weight
        a = torch.randn(RANK, *w.shape[1:], generator=g)
        b = torch.randn(w.shape[0], RANK, *[1] * (w.dim() - 2), generator=g)
        state[name + ".lora_A.weight"] = a / w[0].numel() ** 0.5
        state[name + ".lora_B.weight"] = 0.3 * b
    return state


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    state = lora(build("sd1"))
    save_file(state, folder / "style.safetensors")
    tensors = {}
    for i, request in enumerate(REQUESTS):
        pipe = build("sd1")
        plain, _ = run(pipe, request)
        pipe.load_lora_weights(dict(state), adapter_name="style")
        pipe.set_adapters(["style"], [request["weight"]])
        steps, image = run(pipe, request)
        moved = (steps[-1] - plain[-1]).abs().max().item()
        tensors[f"{i}.steps"] = steps[len(steps) - request["steps"]:].contiguous()
        tensors[f"{i}.image"] = image
        print(f"{i}: largest {steps.abs().max().item():.3g}, moved by {moved:.3g}")
    save_file(tensors, folder / "sd1.safetensors",
              metadata={"requests": json.dumps(REQUESTS)})


if __name__ == "__main__":
    main()
