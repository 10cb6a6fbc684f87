#!/usr/bin/env python3
"""make_lora_names.py - where the layers of kohya's LoRA files belong.

usage: make_lora_names.py tests/data/lora_names.json

Layers of SD 1.x (the reference's names, flattened) and of SDXL (the original
names, flattened) as kohya's trainer calls them, and what the reference's
conversion (diffusers.loaders.lora_conversion_utils) makes of them.  Every
seventh layer is kept, and only those that the conversion maps to a layer of
the model.

SPDX-License-Identifier: MIT
"""
import json
import re
import sys

import diffusers
import torch
from diffusers.loaders import lora_conversion_utils as reference

import make_single_file as names

PARTS = {"unet": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
PREFIX = {"sd1": {"unet": "lora_unet_", "text_encoder": "lora_te_"},
          "sdxl": {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}}


def layers(kind):
    """(part, layer, kohya's name) of every matrix and kernel."""
    parts = names.build(kind)
    for part, tensors in parts.items():
        if part == "vae":
            continue
        for name, shape in tensors.items():
            if len(shape) < 2 or not name.endswith(".weight") or "embedding" in name:
                continue
            layer = name[:-len(".weight")]
            flat = layer
            if part == "unet" and kind == "sdxl":
                flat = names.original_unet(name, names.KINDS[kind]["unet"])[:-len(".weight")]
            yield part, layer, PREFIX[kind][part] + flat.replace(".", "_")


def converted(kind, rows):
    state = {}
    for _, _, kohya in rows:
        state[kohya + ".lora_down.weight"] = torch.zeros(1, 1)
        state[kohya + ".lora_up.weight"] = torch.zeros(1, 1)
        state[kohya + ".alpha"] = torch.tensor(1.0)
    if kind == "sdxl":
        config = type("config", (), {"layers_per_block": 2})
        state = reference._maybe_map_sgm_blocks_to_diffusers(state, config)
    return reference._convert_non_diffusers_lora_to_diffusers(state)[0]


def today(name):
    """The conversion still gives attention layers the names of processors."""
    name = re.sub(r"self_attn\.to_([qkv])_lora\.", r"self_attn.\1_proj.", name)
    name = re.sub(r"self_attn\.to_out_lora\.", "self_attn.out_proj.", name)
    name = re.sub(r"processor\.to_out_lora\.", "to_out.0.", name)
    return re.sub(r"processor\.to_([qkv])_lora\.", r"to_\1.", name)


def main():
    out = []
    for kind in PREFIX:
        rows = list(layers(kind))
        kept = 0
        for i, row in enumerate(rows[::7]):
            part, layer, kohya = row
            try:
                got = [today(k) for k in converted(kind, [row]) if k.startswith(part + ".")]
            except Exception as e:  # the reference refuses some layers
                print("refused", kohya, e)
                continue
            want = f"{part}.{layer}."
            bare = want.replace("text_model.", "")
            if any(k.startswith(want) or k.replace("text_model.", "").startswith(bare) for k in got):
                out.append([kohya, part, layer])
                kept += 1
            else:
                print("elsewhere", kohya, got[:1])
        print(kind, len(rows), "layers,", kept, "kept")
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write('{"made_with":"diffusers %s","layers":[\n%s\n]}\n' % (
            diffusers.__version__, ",\n".join(json.dumps(r, separators=(",", ":")) for r in out)))


if __name__ == "__main__":
    main()
