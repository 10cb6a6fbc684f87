#!/usr/bin/env python3
"""config_keys.py - no key of a reference's configuration is passed over.

    python tools/goldens/config_keys.py [--unstir build/unstir]

The constructors of the reference's classes say which keys a configuration may
have.  Each of them is read by us, or refused with a reason when it is set, or
inert: listed here with why it changes nothing.  Checked:

  - a key of the reference that is not inert stands in our sources, and an
    inert one does not (or stands there for another class);
  - no inert key has gone from the reference;
  - each of REFUSED, set in a configuration, makes `unstir inspect` fail with
    words that name the key.

SPDX-License-Identifier: MIT
"""
import argparse
import glob
import inspect
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import diffusers
from diffusers.schedulers.deprecated import ScoreSdeVpScheduler
from diffusers.utils import logging

import make_text_pipelines

F32 = "how some of the reference's types are computed; f32 is computed in f32"
TRAINING = "of training alone"
SHIFT = "of runs that are told a shift, which must be \"exponential\""
VARIANCE = "whether a network's variance is dropped, which has one by its width"

# class: {key: why it changes nothing}
INERT = {
    "UNet2DModel": {"dropout": TRAINING},
    "UNet2DConditionModel": {
        "dropout": TRAINING, "upcast_attention": F32,
        "mid_block_only_cross_attention":
            "of UNetMidBlock2DSimpleCrossAttn alone, which is refused",
        "addition_embed_type_num_heads":
            "of addition_embed_type \"text\" alone, which is refused"},
    "AutoencoderKL": {
        "force_upcast": F32,
        "shift_factor": "these pipelines do not read it (SD3's and Flux' do)"},
    "AutoencoderTiny": {
        "force_upcast": F32,
        "latent_magnitude": "of scale_latents(), which no pipeline calls",
        "latent_shift": "of scale_latents(), which no pipeline calls",
        "shift_factor": "these pipelines do not read it"},
    "VQModel": {"force_upcast": F32},
    "DiTTransformer2DModel": {
        "dropout": TRAINING, "upcast_attention": F32,
        "norm_num_groups": "of networks without patches alone"},
    "DPMSolverSDEScheduler": {
        "noise_sampler_seed": "our noise is the request's"},
    "UniPCMultistepScheduler": {
        "solver_p": "another scheduler as an object; files hold null",
        "time_shift_type": SHIFT},
    "DEISMultistepScheduler": {
        "time_shift_type": SHIFT, "algorithm_type": "\"deis\", whatever it says",
        "solver_type": "\"logrho\", whatever it says"},
    "DPMSolverMultistepScheduler": {"time_shift_type": SHIFT,
                                    "variance_type": VARIANCE},
    "DPMSolverSinglestepScheduler": {"time_shift_type": SHIFT,
                                     "variance_type": VARIANCE},
}
SCHEDULERS = ["CMStochasticIterative", "DDIMInverse", "DDIM", "DDPM",
              "DEISMultistep", "DPMSolverMultistep", "DPMSolverSDE",
              "DPMSolverSinglestep", "EDMDPMSolverMultistep", "EDMEuler",
              "EulerAncestralDiscrete", "EulerDiscrete",
              "FlowMatchEulerDiscrete", "HeunDiscrete", "IPNDM",
              "KDPM2AncestralDiscrete", "KDPM2Discrete", "LCM",
              "LMSDiscrete", "PNDM", "ScoreSdeVe", "TCD", "UnCLIP",
              "UniPCMultistep"]

UNET2D = {"_class_name": "UNet2DModel", "sample_size": 8,
          "block_out_channels": [32, 32],
          "down_block_types": ["DownBlock2D", "DownBlock2D"],
          "up_block_types": ["UpBlock2D", "UpBlock2D"]}
COND = {"_class_name": "UNet2DConditionModel", "sample_size": 8,
        "block_out_channels": [32, 32], "cross_attention_dim": 16,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}

# (configuration of a network, key, a value that we do not run)
REFUSED = [
    (UNET2D, "act_fn", "elu"), (UNET2D, "time_embedding_type", "other"),
    (UNET2D, "class_embed_type", "projection"),
    (UNET2D, "mid_block_type", "UNetMidBlock2DCrossAttn"),
    (UNET2D, "downsample_type", "fir"), (UNET2D, "upsample_type", "fir"),
    (UNET2D, "resnet_time_scale_shift", "ada_group"),
    (COND, "act_fn", "elu"), (COND, "attention_type", "gated"),
    (COND, "attention_type", "gated-text-image"),
    (COND, "addition_embed_type", "text"),
    (COND, "addition_embed_type", "image"),
    (COND, "addition_embed_type", "text_image"),
    (COND, "addition_embed_type", "image_hint"),
    (COND, "class_embed_type", "other"),
    (COND, "encoder_hid_dim_type", "image_proj"),
    (COND, "encoder_hid_dim_type", "text_image_proj"),
    (COND, "encoder_hid_dim_type", "ip_image_proj"),
    (COND, "mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
    (COND, "down_block_types", ["DownBlock2D", "SimpleCrossAttnDownBlock2D"]),
    (COND, "down_block_types", ["KDownBlock2D", "CrossAttnDownBlock2D"]),
    (COND, "up_block_types", ["SimpleCrossAttnUpBlock2D", "UpBlock2D"]),
    (COND, "dual_cross_attention", True),
    (COND, "cross_attention_norm", "layer_norm"),
    (COND, "cross_attention_norm", "group_norm"),
    (COND, "resnet_time_scale_shift", "spatial"),
    (COND, "norm_num_groups", None), (COND, "time_embedding_type", "learned"),
]


def class_of(name):
    return getattr(diffusers, name)


def keys_of(kind):
    names = inspect.signature(kind.__init__).parameters
    return [n for n in names if n not in ("self", "args", "kwargs")]


def sources():
    """All that stands between quotes in the engine."""
    text = ""
    for path in glob.glob("engine/**/*.c", recursive=True):
        with open(path, encoding="utf-8") as f:
            text += f.read()
    return text


def check_keys(text):
    wrong = []
    classes = {name: class_of(name) for name in INERT
               if not name.endswith("Scheduler")}
    for name in SCHEDULERS:
        classes[name + "Scheduler"] = class_of(name + "Scheduler")
    classes["ScoreSdeVpScheduler"] = ScoreSdeVpScheduler
    n = 0
    for name, kind in classes.items():
        if "dummy" in kind.__module__:  # a package that it needs is not here
            print(f"SKIP {name}: the reference lacks a package for it")
            continue
        keys, inert = keys_of(kind), INERT.get(name, {})
        n += len(keys)
        wrong += [f"{name}: {k} is passed over in silence" for k in keys
                  if k not in inert and f'"{k}"' not in text]
        wrong += [f"{name}: {k} is inert here and unknown there"
                  for k in inert if k not in keys]
    print(f"{n} keys of {len(classes)} classes")
    return wrong


def inspect_network(unstir, config, folder):
    """What is said of a pipeline with this network."""
    is_cond = config["_class_name"] == "UNet2DConditionModel"
    kind = "StableDiffusionPipeline" if is_cond else "DDPMPipeline"
    index = {"_class_name": kind, "scheduler": ["diffusers", "DDPMScheduler"],
             "unet": ["diffusers", config["_class_name"]]}
    files = {"unet/config.json": config,
             "scheduler/scheduler_config.json": {
                 "_class_name": "DDPMScheduler"}}
    if is_cond:
        index["vae"] = ["diffusers", "AutoencoderTiny"]
        index["text_encoder"] = ["transformers", "CLIPTextModel"]
        index["tokenizer"] = ["transformers", "CLIPTokenizer"]
        files["vae/config.json"] = {"_class_name": "AutoencoderTiny"}
        files["text_encoder/config.json"] = {
            "architectures": ["CLIPTextModel"], **make_text_pipelines.TEXT}
        make_text_pipelines.write_tokenizers(pathlib.Path(folder))
    files["model_index.json"] = index
    for name, value in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            json.dump(value, f)
    head = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for part in ["unet", "vae", "text_encoder"] if is_cond else ["unet"]:
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        weights = os.path.join(folder, part, name + ".safetensors")
        with open(weights, "wb") as f:
            f.write(len(head).to_bytes(8, "little") + head + bytes(4))
    done = subprocess.run([unstir, "inspect", folder], text=True,
                          capture_output=True)
    return done.returncode, done.stderr


def check_refusals(unstir):
    wrong = []
    for base, key, value in REFUSED:
        with tempfile.TemporaryDirectory() as folder:
            code, says = inspect_network(unstir, {**base, key: value}, folder)
        if code not in (2, 3) or key not in says:
            wrong.append(f"{base['_class_name']}: {key} {value!r}: exit "
                         f"{code}: {says.strip()[:200]}")
    print(f"{len(REFUSED)} values refused")
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--unstir", default="build/unstir")
    a = p.parse_args()
    logging.set_verbosity_error()
    wrong = check_keys(sources()) + check_refusals(a.unstir)
    for line in wrong:
        print("   ", line)
    print("not ok config_keys" if wrong else "ok config_keys")
    sys.exit(len(wrong) > 0)


if __name__ == "__main__":
    main()
