#!/usr/bin/env python3
"""Make the goldens of UNet2DModel: tests/data/unet2d/*.safetensors.

Needs python with torch, diffusers and safetensors (made with diffusers 0.42.1
and torch 2.15.0); run from the root of the project:

    python tools/goldens/make_unet2d.py tests/data/unet2d [name ...]

A golden holds a configuration, seeds and the outputs of the reference; no
weights and no inputs, for both are drawn by a rule from the generator that
the engine reproduces bit for bit:

  weights   rule.py
  inputs    one generator seeded with `input_seed`: sample = randn of
            [n][c][h][w]; then, for class_embed_type identity, label = randn of
            [n][time_embedding_dim].  Timesteps and other labels are listed.

The outputs are computed in f64 from the f32 weights where the reference can
(sinusoids stay f32), else in f32; `computed` says which, `f32_error` how far
the reference's own f32 is from that, relative to the largest output.

SPDX-License-Identifier: MIT
"""
import json
import math
import pathlib
import sys

import torch
from diffusers import UNet2DModel
from diffusers.utils import logging
from safetensors.torch import save_file

from rule import draw_weights

PLAIN = {"down_block_types": ["DownBlock2D", "DownBlock2D"],
         "up_block_types": ["UpBlock2D", "UpBlock2D"],
         "block_out_channels": [16, 32], "layers_per_block": 1,
         "norm_num_groups": 8}
ATTN = {**PLAIN, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 8}
ONE = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
       "block_out_channels": [16], "layers_per_block": 1,
       "norm_num_groups": 4}
SKIP = {"down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D",
                             "SkipDownBlock2D"],
        "up_block_types": ["SkipUpBlock2D", "AttnSkipUpBlock2D",
                           "SkipUpBlock2D"],
        "block_out_channels": [32, 32, 64], "layers_per_block": 1,
        "norm_num_groups": None, "norm_eps": 1e-6,
        "attention_head_dim": None}

# name: (configuration, n, h, w, timesteps, labels)
NETWORKS = {
    "plain": (PLAIN, 2, 8, 8, [3, 977], None),
    "attention": (ATTN, 2, 8, 8, [0, 500], None),
    "one_head": ({**ATTN, "attention_head_dim": None}, 2, 8, 8, [10, 20], None),
    "head_dim_uneven": ({**ATTN, "block_out_channels": [24, 40],
                         "attention_head_dim": 16}, 1, 8, 8, [123], None),
    "class_table": ({**ATTN, "in_channels": 1, "out_channels": 1,
                     "num_class_embeds": 11, "attention_head_dim": 16},
                    2, 28, 28, [999, 1], [10, 0]),
    "class_timestep": ({**PLAIN, "class_embed_type": "timestep"},
                       2, 8, 8, [7, 70], [3, 250]),
    "class_identity": ({**PLAIN, "class_embed_type": "identity"},
                       2, 8, 8, [7, 70], "identity"),
    "scale_shift": ({**ATTN, "resnet_time_scale_shift": "scale_shift"},
                    2, 8, 8, [40, 41], None),
    "resnet_samplers": ({**ATTN,
                         "down_block_types": ["ResnetDownsampleBlock2D",
                                              "AttnDownBlock2D",
                                              "DownBlock2D"],
                         "up_block_types": ["UpBlock2D", "AttnUpBlock2D",
                                            "ResnetUpsampleBlock2D"],
                         "block_out_channels": [16, 24, 32],
                         "downsample_type": "resnet",
                         "upsample_type": "resnet",
                         "attn_norm_num_groups": 4,
                         "resnet_time_scale_shift": "scale_shift"},
                        2, 8, 16, [600, 6], None),
    "ncsnpp": ({**SKIP, "time_embedding_type": "fourier",
                "mid_block_scale_factor": math.sqrt(2.0),
                "center_input_sample": True},
               2, 16, 16, [0.05, 12.5], None),
    "skip_positional": ({**SKIP, "layers_per_block": 2}, 1, 8, 24, [321], None),
    "skip_mixed": ({**PLAIN,
                    "down_block_types": ["SkipDownBlock2D", "DownBlock2D"],
                    "up_block_types": ["UpBlock2D", "SkipUpBlock2D"],
                    "block_out_channels": [32, 32]}, 1, 8, 8, [1], None),
    "rectangular": ({**ATTN,
                     "down_block_types": ["DownBlock2D", "AttnDownBlock2D",
                                          "DownBlock2D"],
                     "up_block_types": ["UpBlock2D", "AttnUpBlock2D",
                                        "UpBlock2D"],
                     "block_out_channels": [16, 24, 32]},
                    2, 12, 28, [90, 900], None),
    "odd": (ONE, 2, 7, 9, [15, 16], None),
    "one_pixel": ({**ONE, "norm_num_groups": 1}, 1, 1, 1, [5], None),
    "mish": ({**ATTN, "act_fn": "mish"}, 1, 8, 8, [111], None),
    "gelu": ({**ATTN, "act_fn": "gelu"}, 1, 8, 8, [112], None),
    "relu_no_mid_attention": ({**PLAIN, "act_fn": "relu",
                               "add_attention": False}, 1, 8, 8, [113], None),
    "mid_null": ({**ATTN, "mid_block_type": None}, 1, 8, 8, [114], None),
    "learned_time": ({**PLAIN, "time_embedding_type": "learned",
                      "num_train_timesteps": 40}, 2, 8, 8, [0, 39], None),
    "channels": ({**PLAIN, "in_channels": 4, "out_channels": 8,
                  "time_embedding_dim": 48, "center_input_sample": True,
                  "sample_size": [8, 4]}, 2, 8, 4, [2, 4], None),
    "ddpm": ({**ATTN, "down_block_types": ["DownBlock2D", "AttnDownBlock2D",
                                           "DownBlock2D"],
              "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
              "block_out_channels": [16, 32, 32], "layers_per_block": 2,
              "downsample_padding": 0, "flip_sin_to_cos": False,
              "freq_shift": 1, "norm_eps": 1e-6, "attention_head_dim": None},
             2, 16, 16, [250, 750], None),
    "old_names": ({**ONE, "down_block_types": ["UNetResDownBlock2D"],
                   "up_block_types": ["UNetResUpBlock2D"]},
                  1, 5, 4, [8], None),
    "wide": ({**ATTN, "block_out_channels": [64, 96], "norm_num_groups": 32,
              "attention_head_dim": 32}, 1, 32, 32, [640], None),
    "ddpm_small": ({**PLAIN, "sample_size": 8,
                    "down_block_types": ["DownBlock2D", "AttnDownBlock2D",
                                         "DownBlock2D"],
                    "up_block_types": ["UpBlock2D", "AttnUpBlock2D",
                                       "UpBlock2D"],
                    "block_out_channels": [16, 32, 32], "layers_per_block": 2,
                    "downsample_padding": 0, "flip_sin_to_cos": False,
                    "freq_shift": 1, "norm_eps": 1e-6},
                   2, 8, 8, [10, 500], None),
    "ldm": ({**ATTN, "sample_size": 8}, 2, 8, 8, [10, 500], None),
    "consistency": ({**ATTN, "sample_size": 8, "num_class_embeds": 10,
                     "down_block_types": ["ResnetDownsampleBlock2D",
                                          "AttnDownBlock2D"],
                     "up_block_types": ["AttnUpBlock2D",
                                        "ResnetUpsampleBlock2D"],
                     "resnet_time_scale_shift": "scale_shift",
                     "attn_norm_num_groups": 8, "upsample_type": "resnet",
                     "downsample_type": "resnet"},
                    2, 8, 8, [10, 500], [3, 7]),
}


def evaluate(model, dtype, sample, timesteps, labels):
    model = model.to(dtype)
    if labels is not None and labels.is_floating_point():
        labels = labels.to(dtype)
    with torch.no_grad():
        return model(sample.to(dtype), timesteps, class_labels=labels).sample


def make(name, folder):
    config, n, h, w, timesteps, labels = NETWORKS[name]
    seed, input_seed = 1000 + list(NETWORKS).index(name), 7
    model = UNet2DModel(**config).eval()
    draw_weights(model, seed)
    gen = torch.Generator().manual_seed(input_seed)
    sample = torch.randn((n, model.config.in_channels, h, w), generator=gen)
    listed = []
    if labels == "identity":
        dim = model.config.time_embedding_dim
        dim = dim or 4 * model.config.block_out_channels[0]
        labels = torch.randn((n, dim), generator=gen)
    elif labels is not None:
        listed, labels = labels, torch.tensor(labels)
    t = torch.tensor(timesteps)
    f32 = evaluate(model, torch.float32, sample, t, labels)
    computed, out = "f32", f32
    if (config.get("time_embedding_type") != "fourier"
            and config.get("class_embed_type") != "timestep"):
        out = evaluate(model, torch.float64, sample, t, labels).float()
        computed = "f64"
    error = ((f32 - out).abs().max() / out.abs().max()).item()
    save_file({"out": out.contiguous()}, folder / f"{name}.safetensors",
              metadata={"config": json.dumps(config), "seed": str(seed),
                        "input_seed": str(input_seed),
                        "n": str(n), "h": str(h), "w": str(w),
                        "timesteps": json.dumps(timesteps),
                        "labels": json.dumps(listed),
                        "computed": computed, "f32_error": f"{error:.1e}"})
    print(f"{name}: {computed}, largest {out.abs().max().item():.3g}, "
          f"f32 off by {error:.1e}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    for name in sys.argv[2:] or NETWORKS:
        make(name, folder)


if __name__ == "__main__":
    main()
