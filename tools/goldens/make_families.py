#!/usr/bin/env python3
"""Make the goldens of latent models' networks: tests/data/families/*.

Needs python with torch, diffusers and safetensors (made with diffusers 0.42.1
and torch 2.15.0); run from the root of the project:

    python tools/goldens/make_families.py tests/data/families [name ...]

A golden holds class, part, configuration, seeds and the outputs of the
reference; no weights (rule.py) and no inputs: both are drawn.  Inputs are drawn in this order, as far as the network
has them: sample, label (unless listed), context, text_embeds, timestep_cond.
Timesteps, other labels and time_ids are listed.

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import diffusers
import torch
from diffusers.utils import logging
from safetensors.torch import save_file

from rule import draw_weights

COND = "UNet2DConditionModel"
KL, VQ, TINY = "AutoencoderKL", "VQModel", "AutoencoderTiny"
DIT = "DiTTransformer2DModel"
SMALL = {"sample_size": 8, "block_out_channels": [16, 32],
         "layers_per_block": 1, "norm_num_groups": 8,
         "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
         "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
         "cross_attention_dim": 24, "attention_head_dim": 4}
THREE = {**SMALL, "block_out_channels": [16, 32, 32],
         "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                              "DownBlock2D"],
         "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D",
                            "CrossAttnUpBlock2D"]}
CROSS = {**SMALL, "down_block_types": ["CrossAttnDownBlock2D"] * 2,
         "up_block_types": ["CrossAttnUpBlock2D"] * 2}

LEVELS = {"block_out_channels": [16, 32, 32], "layers_per_block": 2,
          "norm_num_groups": 8, "latent_channels": 4,
          "down_block_types": ["DownEncoderBlock2D"] * 3,
          "up_block_types": ["UpDecoderBlock2D"] * 3}
# As VQ-f8 has it: the levels near the latent attend.
ATTENDS = {**LEVELS, "block_out_channels": [8, 16, 32], "layers_per_block": 1,
           "down_block_types": ["DownEncoderBlock2D",
                                "AttnDownEncoderBlock2D",
                                "AttnDownEncoderBlock2D"],
           "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D",
                              "AttnUpDecoderBlock2D"]}
STAGES = {"encoder_block_out_channels": [16] * 3,
          "decoder_block_out_channels": [16] * 3,
          "num_encoder_blocks": [1, 2, 3], "num_decoder_blocks": [3, 2, 1]}
PATCHES = {"num_attention_heads": 2, "attention_head_dim": 20,
           "in_channels": 4, "out_channels": 8, "num_layers": 2,
           "sample_size": 8, "num_embeds_ada_norm": 10}

# Blocks of pixel networks, resampled by residual blocks, in a text's network.
RESAMPLED = {**THREE, "down_block_types": [
    "ResnetDownsampleBlock2D", "AttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "CrossAttnUpBlock2D",
                       "ResnetUpsampleBlock2D"],
    "resnet_skip_time_act": True, "resnet_out_scale_factor": 1.5}
# Widths of heads that the way up does not read in reverse.
HEADS = {**RESAMPLED, "attention_head_dim": [4, 3, 5], "resnet_skip_time_act":
         False}
EMBEDDED = {**SMALL, "encoder_hid_dim": 10, "timestep_post_act": "gelu",
            "time_embedding_act_fn": "silu", "num_class_embeds": 9,
            "class_embeddings_concat": True}

# name: (class, part, configuration, n, h, w, more)
NETWORKS = {
    "unetc_sd1": (COND, None, SMALL, 2, 8, 8, {}),
    "unetc_sd1_odd": (COND, None, THREE, 2, 10, 14, {"context_len": 77}),
    "unetc_one_pixel": (COND, None, THREE, 1, 1, 1, {"context_len": 1}),
    "unetc_sd2": (COND, None,
                  {**SMALL, "layers_per_block": 2, "attention_head_dim": [2, 4],
                   "use_linear_projection": True}, 2, 8, 8, {}),
    "unetc_nomid": (COND, None, {**CROSS, "mid_block_type": None}, 2, 8, 8, {}),
    "unetc_small": (COND, None,
                    {**SMALL, "mid_block_type": "UNetMidBlock2D"}, 1, 8, 12,
                    {}),
    "unetc_inpaint": (COND, None, {**SMALL, "in_channels": 9}, 1, 8, 8, {}),
    "unetc_upscaler": (COND, None,
                       {**CROSS, "in_channels": 7, "num_class_embeds": 50,
                        "only_cross_attention": [True, False],
                        "use_linear_projection": True,
                        "attention_head_dim": [4, 5]},
                       2, 8, 8, {"labels": [20, 49]}),
    "unetc_projection": (COND, None,
                         {**SMALL, "class_embed_type": "projection",
                          "projection_class_embeddings_input_dim": 20},
                         2, 8, 8, {}),
    "unetc_simple_projection": (
        COND, None, {**SMALL, "class_embed_type": "simple_projection",
                     "projection_class_embeddings_input_dim": 20},
        1, 8, 8, {}),
    "unetc_acts": (COND, None,
                   {**SMALL, "act_fn": "gelu", "class_embed_type": "timestep",
                    "resnet_time_scale_shift": "scale_shift",
                    "resnet_out_scale_factor": 2.0,
                    "mid_block_scale_factor": 1.5, "freq_shift": 1,
                    "flip_sin_to_cos": False, "center_input_sample": True,
                    "conv_in_kernel": 1, "conv_out_kernel": 5},
                   2, 8, 8, {"labels": [3, 250]}),
    "unetc_layers": (COND, None,
                     {**THREE, "layers_per_block": [1, 2, 1],
                      "downsample_padding": 0, "sample_size": 12,
                      "transformer_layers_per_block": [1, 2, 3],
                      "attention_head_dim": [2, 4, 8]}, 1, 12, 8, {}),
    "unetc_reversed": (COND, None,
                       {**CROSS, "transformer_layers_per_block": [[1], [2]],
                        "reverse_transformer_layers_per_block":
                            [[2, 1], [1, 3]]}, 1, 8, 8, {}),
    "unetc_xl": (COND, None,
                 {**SMALL,
                  "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                  "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
                  "attention_head_dim": [2, 4], "use_linear_projection": True,
                  "transformer_layers_per_block": [1, 2],
                  "addition_embed_type": "text_time",
                  "addition_time_embed_dim": 8,
                  "projection_class_embeddings_input_dim": 68},
                 2, 8, 8, {"time_ids": [1024, 768, 0, 8, 1024, 1024,
                                        512, 512, 16, 0, 900, 700]}),
    "unetc_refiner": (COND, None,
                      {**SMALL, "addition_embed_type": "text_time",
                       "addition_time_embed_dim": 4,
                       "projection_class_embeddings_input_dim": 1300},
                      1, 8, 8, {"time_ids": [1024, 768, 0, 8, 6]}),
    "unetc_lcm": (COND, None, {**SMALL, "time_cond_proj_dim": 32}, 2, 8, 8,
                  {}),
    "vae_decode": (KL, "decode", LEVELS, 2, 3, 5, {}),
    "vae_encode": (KL, "encode", LEVELS, 1, 20, 12, {}),
    "vae_plain": (KL, "decode",
                  {**LEVELS, "latent_channels": 16, "act_fn": "relu",
                   "use_quant_conv": False, "use_post_quant_conv": False,
                   "mid_block_add_attention": False}, 1, 4, 4, {}),
    "vq_decode": (VQ, "decode", {**LEVELS, "vq_embed_dim": 3,
                                 "num_vq_embeddings": 50}, 2, 4, 6, {}),
    "vq_encode": (VQ, "encode", {**LEVELS, "vq_embed_dim": 3}, 1, 16, 16, {}),
    "tiny_decode": (TINY, "decode", STAGES, 2, 3, 4, {}),
    "tiny_encode": (TINY, "encode", STAGES, 1, 16, 24, {}),
    "dit_wide": (DIT, None, PATCHES, 2, 12, 12, {"labels": [10, 3]}),
    "dit_geglu": (DIT, None,
                  {**PATCHES, "activation_fn": "geglu", "patch_size": 1,
                   "attention_bias": False, "norm_eps": 1e-3,
                   "norm_elementwise_affine": True},
                  1, 4, 4, {"labels": [0]}),
    "unetc_xl_ends": (COND, None,
                      {**SMALL,
                       "down_block_types": ["DownBlock2D",
                                            "CrossAttnDownBlock2D"],
                       "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
                       "attention_head_dim": [2, 4],
                       "use_linear_projection": True,
                       "transformer_layers_per_block": [1, 2],
                       "addition_embed_type": "text_time",
                       "addition_time_embed_dim": 8,
                       "projection_class_embeddings_input_dim": 68},
                      2, 8, 8, {"timesteps": [999, 1],
                                "time_ids": [64, 64, 0, 0, 64, 64] * 2}),
    "unetc_lcm_ends": (COND, None, {**SMALL, "time_cond_proj_dim": 32},
                       2, 8, 8, {"timesteps": [999, 1]}),
    "vq_attends_decode": (VQ, "decode", ATTENDS, 1, 4, 3, {}),
    "vq_attends_encode": (VQ, "encode", ATTENDS, 2, 8, 12, {}),
    "unetc_resampled": (COND, None, RESAMPLED, 1, 8, 12, {}),
    "unetc_heads": (COND, None, HEADS, 1, 8, 4, {}),
    "unetc_embedded": (COND, None, EMBEDDED, 2, 8, 8, {"labels": [2, 8]}),
    "unetc_fourier": (COND, None, {**SMALL, "time_embedding_type": "fourier"},
                      1, 8, 8, {"timesteps": [0.7]}),
    "unetc_up_alone": (COND, None,
                       {**CROSS, "transformer_layers_per_block": 2,
                        "reverse_transformer_layers_per_block":
                            [[1, 2], [2, 1]]}, 1, 8, 8, {}),
}


def label_width(config):
    kind = config.get("class_embed_type")
    if kind == "identity":
        return config.get("time_embedding_dim") \
            or 4 * config["block_out_channels"][0]
    if kind in ("projection", "simple_projection"):
        return config["projection_class_embeddings_input_dim"]
    return 0


def draw_unet(model, n, h, w, more, gen):
    """Keyword arguments of a UNet2DConditionModel."""
    config = model.config

    def randn(*shape):
        return torch.randn(shape, generator=gen)

    args = {"sample": randn(n, config.in_channels, h, w),
            "timestep": torch.tensor(more["timesteps"])}
    if more["labels"]:
        args["class_labels"] = torch.tensor(more["labels"])
    elif label_width(config):
        args["class_labels"] = randn(n, label_width(config))
    width = config.encoder_hid_dim or config.cross_attention_dim
    args["encoder_hidden_states"] = randn(
        n, more["context_len"], width if isinstance(width, int) else width[0])
    if more["time_ids"]:
        ids = torch.tensor(more["time_ids"], dtype=torch.float32).reshape(n, -1)
        width = config.projection_class_embeddings_input_dim \
            - ids.shape[1] * config.addition_time_embed_dim
        args["added_cond_kwargs"] = {"text_embeds": randn(n, width),
                                     "time_ids": ids}
    if config.time_cond_proj_dim:
        args["timestep_cond"] = randn(n, config.time_cond_proj_dim)
    return args


def draw_args(model, class_name, n, h, w, more, gen):
    config = model.config
    if class_name == COND:
        return draw_unet(model, n, h, w, more, gen)
    if class_name == DIT:
        return {"hidden_states": torch.randn((n, config.in_channels, h, w),
                                             generator=gen),
                "timestep": torch.tensor(more["timesteps"]),
                "class_labels": torch.tensor(more["labels"])}
    channels = config.in_channels
    if more["part"] == "decode":
        channels = config.get("vq_embed_dim") or config.latent_channels
    return {"x": torch.randn((n, channels, h, w), generator=gen)}


def to_dtype(args, dtype):
    if isinstance(args, dict):
        return {k: to_dtype(v, dtype) for k, v in args.items()}
    return args.to(dtype) if args.is_floating_point() else args


def evaluate(model, part, args, dtype):
    model = model.to(dtype)
    args = to_dtype(args, dtype)
    with torch.no_grad():
        if part == "decode":
            return model.decode(args["x"]).sample
        if part == "encode":
            coded = model.encode(args["x"])
            if hasattr(coded, "latent_dist"):
                return coded.latent_dist.parameters
            return coded.latents
        return model(**args).sample


def make(name, folder):
    class_name, part, config, n, h, w, given = NETWORKS[name]
    seed, input_seed = 2000 + list(NETWORKS).index(name), 7
    more = {"timesteps": [3, 977][:n], "labels": [], "time_ids": [],
            "context_len": 7, "part": part, **given}
    model = getattr(diffusers, class_name)(**config).eval()
    draw_weights(model, seed, part)
    gen = torch.Generator().manual_seed(input_seed)
    args = draw_args(model, class_name, n, h, w, more, gen)
    f32 = evaluate(model, part, args, torch.float32)
    if config.get("time_embedding_type") == "fourier":
        out = f32  # the reference embeds in f32 whatever it is told
    else:
        out = evaluate(model, part, args, torch.float64).float()
    error = ((f32 - out).abs().max() / out.abs().max()).item()
    metadata = {"class": class_name, "config": json.dumps(config),
                "seed": str(seed), "input_seed": str(input_seed), "n": str(n),
                "h": str(h), "w": str(w),
                "context_len": str(more["context_len"]),
                "f32_error": f"{error:.1e}"}
    for key in ("timesteps", "labels", "time_ids"):
        metadata[key] = json.dumps(more[key])
    if part:
        metadata["part"] = part
    save_file({"out": out.contiguous()}, folder / f"{name}.safetensors",
              metadata=metadata)
    print(f"{name}: largest {out.abs().max().item():.3g}, "
          f"f32 off by {error:.1e}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in sys.argv[2:] or NETWORKS:
        make(name, folder)


if __name__ == "__main__":
    main()
