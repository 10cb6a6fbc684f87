"""split_trajectories.py - known sampling runs, their weights kept once.

usage: python tools/goldens/split_trajectories.py SOURCE_FOLDER tests/data/traj

SOURCE_FOLDER holds ddpm_20, ddim_20 and ddim_50_eta0.safetensors, and the
runs sd_cfg_* with a text (tensor ctx: [without; with]), as the reference implementation made them (tensors w.*, x_init, x.00 ...; one
generator, seeded with `seed`, draws x_init and then the noise of the steps).

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

UNET = {
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 3,
    "out_channels": 3, "layers_per_block": 1, "block_out_channels": [16, 32],
    "norm_num_groups": 8, "attention_head_dim": 8, "norm_eps": 1e-6,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}


CONDITIONAL = {
    "_class_name": "UNet2DConditionModel", "sample_size": 8,
    "block_out_channels": [16, 32], "layers_per_block": 1,
    "norm_num_groups": 8, "cross_attention_dim": 24, "attention_head_dim": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}


def split(source, target, names, unet, prefix):
    weights = None
    for name in names:
        with safe_open(source / f"{name}.safetensors", "pt") as file:
            keys = list(file.keys())
            meta = file.metadata()
            own = {k[2:]: file.get_tensor(k) for k in keys
                   if k.startswith("w.")}
            steps = {k: file.get_tensor(k) for k in keys
                     if k[0] == "x" or k == "ctx"}
        assert weights is None or all(torch.equal(own[k], weights[k])
                                      for k in own)
        weights = own
        scheduler = json.loads(meta["scheduler_config"])
        scheduler["_class_name"] = meta["scheduler"]
        save_file(steps, target / f"{name}.safetensors",
                  {"scheduler": json.dumps(scheduler), "seed": meta["seed"],
                   "steps": meta["steps"], "cfg": meta["cfg"]})
    save_file(weights, target / f"{prefix}weights.safetensors")
    text = json.dumps(unet, indent=1) + "\n"
    (target / f"{prefix}unet.json").write_text(text)


def main(source, target):
    target.mkdir(parents=True, exist_ok=True)
    split(source, target, ("ddpm_20", "ddim_20", "ddim_50_eta0"), UNET, "")
    split(source, target, [f"sd_cfg_{s}" for s in (
        "pndm", "euler", "eulera", "dpmpp2m_karras", "unipc", "lcm")],
        CONDITIONAL, "sd_")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
