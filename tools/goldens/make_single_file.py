#!/usr/bin/env python3
"""make_single_file.py - names of full-size single files, by the reference.

usage: make_single_file.py tests/data/single_file

For each kind the reference's classes are built without memory at full size.
Their names are turned into the original ones here, and back by the
reference's own conversion (diffusers.loaders.single_file_utils), which is the
judge: it must give exactly the names and shapes of the classes.  Values tell
where a tensor came from.  Written: KIND.json with a row for each original
tensor,

    [name, shape, part, [new names]]

(three new names: rows in three parts; a part "text_encoder_2" whose
"text_projection" is turned), and what a loader has to find out of the
configurations.

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import re
import sys

import diffusers
import torch
import transformers
from diffusers.loaders import single_file_utils as reference

VAE = dict(
    block_out_channels=[128, 256, 512, 512],
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    latent_channels=4, layers_per_block=2,
)
CLIP_L = dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12,
              num_hidden_layers=12, hidden_act="quick_gelu", projection_dim=768)
CLIP_H = dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16,
              num_hidden_layers=23, hidden_act="gelu", projection_dim=1024)
CLIP_G = dict(hidden_size=1280, intermediate_size=5120, num_attention_heads=20,
              num_hidden_layers=32, hidden_act="gelu", projection_dim=1280)
ATTN4 = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
UP4 = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
SD = dict(block_out_channels=[320, 640, 1280, 1280], down_block_types=ATTN4,
          up_block_types=UP4, layers_per_block=2)
KINDS = {
    "sd1": dict(
        unet=dict(SD, in_channels=4, cross_attention_dim=768, attention_head_dim=[8] * 4,
                  use_linear_projection=False, transformer_layers_per_block=[1] * 4),
        vae=dict(VAE, scaling_factor=0.18215), text_encoder=CLIP_L),
    "sd2_inpaint": dict(
        unet=dict(SD, in_channels=9, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20],
                  use_linear_projection=True, transformer_layers_per_block=[1] * 4),
        vae=dict(VAE, scaling_factor=0.18215), text_encoder=CLIP_H),
    "sdxl": dict(
        unet=dict(block_out_channels=[320, 640, 1280],
                  down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
                  up_block_types=["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
                  layers_per_block=2, in_channels=4, cross_attention_dim=2048,
                  attention_head_dim=[5, 10, 20], use_linear_projection=True,
                  transformer_layers_per_block=[1, 2, 10], addition_embed_type="text_time",
                  addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816),
        vae=dict(VAE, scaling_factor=0.13025), text_encoder=CLIP_L, text_encoder_2=CLIP_G),
    "refiner": dict(
        unet=dict(block_out_channels=[384, 768, 1536, 1536],
                  down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"],
                  up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
                  layers_per_block=2, in_channels=4, cross_attention_dim=1280,
                  attention_head_dim=[6, 12, 24, 24], use_linear_projection=True,
                  transformer_layers_per_block=[1, 4, 4, 4], addition_embed_type="text_time",
                  addition_time_embed_dim=256, projection_class_embeddings_input_dim=2560),
        vae=dict(VAE, scaling_factor=0.13025), text_encoder_2=CLIP_G),
}
RESNET = [("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("norm2", "out_layers.0"),
          ("conv2", "out_layers.3"), ("time_emb_proj", "emb_layers.1"),
          ("conv_shortcut", "skip_connection")]
UNET = [("time_embedding.linear_1.", "time_embed.0."), ("time_embedding.linear_2.", "time_embed.2."),
        ("add_embedding.linear_1.", "label_emb.0.0."), ("add_embedding.linear_2.", "label_emb.0.2."),
        ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."),
        ("mid_block.attentions.0.", "middle_block.1."), ("mid_block.resnets.0.", "middle_block.0."),
        ("mid_block.resnets.1.", "middle_block.2.")]


def swap(name, table):
    for new, old in table:
        name = name.replace(new, old)
    return name


def original_unet(name, config):
    per_level = config["layers_per_block"] + 1
    m = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    if not m:
        for new, old in UNET:
            if name.startswith(new):
                name = old + name[len(new):]
                break
        return swap(name, RESNET) if re.match(r"middle_block\.[02]\.", name) else name
    side, level, what, j, rest = m[1], int(m[2]), m[3], int(m[4]), m[5]
    index = level * per_level + j + (side == "down")
    block = "input_blocks" if side == "down" else "output_blocks"
    if what == "resnets":
        return f"{block}.{index}.0.{swap(rest, RESNET)}"
    if what == "attentions":
        return f"{block}.{index}.1.{rest}"
    if what == "downsamplers":
        return f"input_blocks.{(level + 1) * per_level}.0.op.{rest.split('.')[-1]}"
    at = 2 if config["up_block_types"][level].startswith("CrossAttn") else 1
    return f"output_blocks.{level * per_level + per_level - 1}.{at}.conv.{rest.split('.')[-1]}"


def original_vae(name, config):
    levels = len(config["block_out_channels"])
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", name)
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    return swap(name, [("mid_block.attentions.0.", "mid.attn_1."), ("attn_1.group_norm", "attn_1.norm"),
                       ("attn_1.to_q", "attn_1.q"), ("attn_1.to_k", "attn_1.k"), ("attn_1.to_v", "attn_1.v"),
                       ("attn_1.to_out.0", "attn_1.proj_out")])


def original_open_clip(name):
    name = re.sub(r"self_attn\.[qkv]_proj\.", "attn.in_proj_", name)
    return swap(name, [("text_model.embeddings.position_embedding.weight", "positional_embedding"),
                       ("text_model.embeddings.token_embedding", "token_embedding"),
                       ("text_model.final_layer_norm", "ln_final"),
                       ("text_model.encoder.layers.", "transformer.resblocks."),
                       ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"),
                       ("mlp.fc2", "mlp.c_proj"), ("self_attn.out_proj", "attn.out_proj"),
                       ("text_projection.weight", "text_projection")])


def marked(index, shape):
    """No memory but its rows: value = 1e6 * index + row."""
    rows = torch.arange(shape[0], dtype=torch.float64) + 1e6 * index
    return rows.reshape([-1] + [1] * (len(shape) - 1)).expand(shape)


def with_prefix(state):
    """Names with "text_model.", as original files have them."""
    return {k if k.startswith("text_") else "text_model." + k: v for k, v in state.items()}


def build(kind):
    c = KINDS[kind]
    with torch.device("meta"):
        parts = {"unet": diffusers.UNet2DConditionModel(**c["unet"]).state_dict(),
                 "vae": diffusers.AutoencoderKL(**{k: v for k, v in c["vae"].items()}).state_dict()}
        if "text_encoder" in c:
            parts["text_encoder"] = with_prefix(transformers.CLIPTextModel(
                transformers.CLIPTextConfig(**c["text_encoder"])).state_dict())
        if "text_encoder_2" in c:
            parts["text_encoder_2"] = with_prefix(transformers.CLIPTextModelWithProjection(
                transformers.CLIPTextConfig(**c["text_encoder_2"])).state_dict())
    return {p: {k: list(v.shape) for k, v in s.items() if not k.endswith("position_ids")}
            for p, s in parts.items()}


def originals(kind, parts):
    c, rows = KINDS[kind], {}

    def add(name, shape):
        rows[name] = shape

    for name, shape in parts["unet"].items():
        add("model.diffusion_model." + original_unet(name, c["unet"]), shape)
    for name, shape in parts["vae"].items():
        is_linear = "attentions.0.to_" in name and name.endswith("weight")
        add("first_stage_model." + original_vae(name, c["vae"]), shape + ([1, 1] if is_linear else []))
    for part in ("text_encoder", "text_encoder_2"):
        is_open = part == "text_encoder_2" or kind.startswith("sd2")
        prefix = {"sd1": "cond_stage_model.transformer.", "sd2_inpaint": "cond_stage_model.model.",
                  "sdxl": "conditioner.embedders.1.model." if is_open else "conditioner.embedders.0.transformer.",
                  "refiner": "conditioner.embedders.0.model."}[kind]
        for name, shape in parts.get(part, {}).items():
            if not is_open:
                add(prefix + name, shape)
                continue
            if re.search("self_attn.[qkv]_proj", name):
                shape = [3 * shape[0]] + shape[1:]
            add(prefix + original_open_clip(name), shape)
    if kind.startswith("sd2"):
        for name in [n for n in rows if "resblocks.22." in n]:
            rows[name.replace("resblocks.22.", "resblocks.23.")] = rows[name]
        rows["cond_stage_model.model.text_projection"] = [1024, 1024]
        rows["cond_stage_model.model.logit_scale"] = [1]
    if "text_encoder" in parts and kind in ("sd1", "sdxl"):
        p = "cond_stage_model.transformer." if kind == "sd1" else "conditioner.embedders.0.transformer."
        rows[p + "text_model.embeddings.position_ids"] = [1, 77]
    rows["alphas_cumprod"] = [1000]
    rows["model_ema.decay"] = [1]
    return rows


class Stub:
    def __init__(self, hidden):
        self.config = type("config", (), {"hidden_size": hidden})


def convert(kind, parts, checkpoint):
    c = KINDS[kind]
    out = {"unet": reference.convert_ldm_unet_checkpoint(dict(checkpoint), dict(c["unet"])),
           "vae": reference.convert_ldm_vae_checkpoint(dict(checkpoint), dict(c["vae"]))}
    if kind == "sd1":
        out["text_encoder"] = reference.convert_ldm_clip_checkpoint(dict(checkpoint))
    elif kind == "sd2_inpaint":
        out["text_encoder"] = reference.convert_open_clip_checkpoint(
            Stub(1024), dict(checkpoint), prefix="cond_stage_model.model.")
    elif kind == "sdxl":
        out["text_encoder"] = reference.convert_ldm_clip_checkpoint(
            {k: v for k, v in checkpoint.items() if "embedders.0" in k})
        out["text_encoder_2"] = reference.convert_open_clip_checkpoint(
            Stub(1280), dict(checkpoint), prefix="conditioner.embedders.1.model.")
    else:
        out["text_encoder_2"] = reference.convert_open_clip_checkpoint(
            Stub(1280), dict(checkpoint), prefix="conditioner.embedders.0.model.")
    for part, tensors in out.items():
        tensors.pop("text_model.embeddings.position_ids", None)
        want, got = parts[part], {k: list(v.shape) for k, v in tensors.items()}
        if want != got:
            sys.exit(f"{kind} {part}: the conversion gives other names or shapes: "
                     f"{sorted(set(map(str, want.items())) ^ set(map(str, got.items())))[:6]}")
    return out


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        parts = build(kind)
        rows = originals(kind, parts)
        names = list(rows)
        checkpoint = {n: marked(i, rows[n]) for i, n in enumerate(names)}
        targets = {}
        for part, tensors in convert(kind, parts, checkpoint).items():
            for name, t in tensors.items():
                value = float(t.flatten()[0])
                index = int(value // 1e6)
                targets.setdefault(index, []).append((value - 1e6 * index, part, name))
        lines = []
        for i, n in enumerate(names):
            found = sorted(targets.get(i, []))
            lines.append(json.dumps([n, rows[n], found[0][1] if found else None, [f[2] for f in found]],
                                    separators=(",", ":")))
        made = f"diffusers {diffusers.__version__}, transformers {transformers.__version__}"
        with open(folder / f"{kind}.json", "w", encoding="utf-8") as f:
            f.write('{"made_with":%s,\n"configs":%s,\n"tensors":[\n%s\n]}\n' % (
                json.dumps(made), json.dumps(KINDS[kind]), ",\n".join(lines)))
        print(kind, len(names), "tensors")


if __name__ == "__main__":
    main()
