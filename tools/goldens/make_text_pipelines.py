#!/usr/bin/env python3
"""Make the goldens of text to picture: tests/data/text_pipelines/.

Needs python with torch, diffusers, transformers and safetensors (made with
diffusers 0.42.1, transformers 5.24.0 and torch 2.15.0); run from the root of
the project:

    python tools/goldens/make_text_pipelines.py tests/data/text_pipelines [DIR
        [NAME ...]]

Tiny pipelines with weights drawn from one seed by the rule that make_unet2d.py
states, and a vocabulary of a few hundred tokens in both kinds of files.  A
golden holds the configurations, the requests and, for each, the latents after
every step and the picture, as the reference's own pipeline makes them.  Where
that cannot say what is asked (clip skip for both texts, texts in pieces,
weights), the embeddings are put together here and handed to it.  DIR: where
save_pretrained() leaves the pipelines ("": nowhere).

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import numpy
import torch
import transformers
from diffusers import (AutoencoderKL, AutoencoderTiny, DDIMScheduler,
                       EulerDiscreteScheduler, LatentConsistencyModelPipeline,
                       LCMScheduler, PNDMScheduler, StableDiffusionPipeline,
                       StableDiffusionXLPipeline, UNet2DConditionModel)
from diffusers.utils import logging
from safetensors.torch import save_file

from make_clip_tokens import byte_symbols
from make_families import SMALL, draw_weights

SEED = 31
MERGES = [("a", "t</w>"), ("c", "at</w>"), ("h", "o"), ("ho", "t"),
          ("p", "hot"), ("phot", "o</w>"), ("o", "f</w>"), ("d", "o"),
          ("do", "g</w>"), ("r", "e"), ("re", "d</w>"), ("i", "n</w>")]
VAE = {"block_out_channels": [16, 16, 16], "norm_num_groups": 8,
       "layers_per_block": 1, "latent_channels": 4,
       "down_block_types": ["DownEncoderBlock2D"] * 3,
       "up_block_types": ["UpDecoderBlock2D"] * 3}
TINY = {"encoder_block_out_channels": [16] * 3,
        "decoder_block_out_channels": [16] * 3,
        "num_encoder_blocks": [1, 2, 3], "num_decoder_blocks": [3, 2, 1]}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012,
         "beta_schedule": "scaled_linear"}
UNET = {**SMALL, "cross_attention_dim": 32}
LONG = " ".join(["a photo of a red cat in a red dog"] * 10)


def vocabulary():
    tokens = byte_symbols()
    tokens += [t + "</w>" for t in tokens]
    tokens += ["".join(m) for m in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {t: i for i, t in enumerate(tokens)}


N_TOKENS = len(vocabulary())
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
        "num_hidden_layers": 3, "vocab_size": N_TOKENS,
        "max_position_embeddings": 77, "hidden_act": "quick_gelu",
        "bos_token_id": N_TOKENS - 2, "eos_token_id": N_TOKENS - 1}
TOKENIZER = {"model_max_length": 77, "bos_token": "<|startoftext|>",
             "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
             "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer"}

XL = {**SMALL, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
      "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
      "attention_head_dim": [2, 4], "use_linear_projection": True,
      "transformer_layers_per_block": [1, 2], "cross_attention_dim": 72,
      "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
      "projection_class_embeddings_input_dim": 72}
XL_TEXTS = [TEXT, {**TEXT, "hidden_size": 40, "hidden_act": "gelu",
                   "projection_dim": 24}]
XL_VAE = {**VAE, "scaling_factor": 0.13025}
# Of XL's pipelines alone; shift_factor is of none of these.
XL_MEANS = {**XL_VAE, "latents_mean": [0.3, -0.5, 0.2, 0.7],
            "latents_std": [1.5, 0.7, 2.0, 1.1], "shift_factor": 0.4}

# name: (pipeline, unet, vae, text encoders, scheduler, requests)
PIPELINES = {
    "sd1": (StableDiffusionPipeline, UNET, VAE, [TEXT],
            PNDMScheduler(**BETAS, skip_prk_steps=True), [
                {"prompt": "a photo of a cat", "steps": 6, "seed": 1},
                {"prompt": "a red dog", "negative_prompt": "cat, at",
                 "steps": 5, "seed": 2, "guidance": 4.0, "width": 48},
                {"prompt": "", "steps": 3, "seed": 3, "guidance": 1.0},
                {"prompt": "red", "negative_prompt": "dog", "clip_skip": 2,
                 "steps": 4, "seed": 4},
                {"prompt": LONG, "negative_prompt": "dog", "steps": 4,
                 "seed": 5},
                {"prompt": "a (red:1.3) cat", "steps": 4, "seed": 6,
                 "weights": {"red": 1.3}},
                {"prompt": "a (red:1.3) cat", "syntax": "plain", "steps": 3,
                 "seed": 6},
            ]),
    "sd2": (StableDiffusionPipeline,
            {**UNET, "use_linear_projection": True,
             "attention_head_dim": [2, 4]}, VAE,
            [{**TEXT, "hidden_act": "gelu", "eos_token_id": 2}],
            DDIMScheduler(**BETAS, prediction_type="v_prediction",
                          set_alpha_to_one=False, steps_offset=1,
                          clip_sample=False), [
                {"prompt": "a photo of a cat", "steps": 6, "seed": 7},
                {"prompt": "in at", "negative_prompt": "photo", "steps": 5,
                 "seed": 8, "guidance": 3.0},
            ]),
    "sdxl": (StableDiffusionXLPipeline, XL, XL_VAE, XL_TEXTS,
             EulerDiscreteScheduler(**BETAS, timestep_spacing="leading",
                                    steps_offset=1), [
                 {"prompt": "a photo of a cat", "steps": 5, "seed": 9},
                 {"prompt": "a red dog", "negative_prompt": "", "steps": 4,
                  "seed": 10, "guidance": 3.0},
                 {"prompt": "a red dog", "negative_prompt": "cat", "steps": 4,
                  "seed": 11, "height": 48},
                 {"prompt": "a dog", "negative_prompt": "cat",
                  "clip_skip": 2, "steps": 3, "seed": 12},
                 {"prompt": "dog", "guidance": 1.0, "steps": 3, "seed": 13},
             ]),
    "sdxl_tiny": (StableDiffusionXLPipeline, XL, TINY, XL_TEXTS,
                  EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
                  [{"prompt": "a photo of a cat", "steps": 3, "seed": 17}]),
    "sdxl_means": (StableDiffusionXLPipeline, XL, XL_MEANS, XL_TEXTS,
                   EulerDiscreteScheduler(**BETAS, timestep_spacing="leading",
                                          steps_offset=1),
                   [{"prompt": "a photo of a cat", "steps": 3, "seed": 18}]),
    "sd1_short": (StableDiffusionPipeline, UNET, VAE, [TEXT],
                  PNDMScheduler(**BETAS, skip_prk_steps=True), [
                      {"prompt": "a photo of a cat", "steps": 2, "seed": 19},
                      {"prompt": "a red dog in a photo of a cat at a hot dog",
                       "syntax": "plain", "steps": 2, "seed": 20}]),
    "lcm": (LatentConsistencyModelPipeline,
            {**UNET, "time_cond_proj_dim": 32}, TINY, [TEXT],
            LCMScheduler(**BETAS), [
                {"prompt": "a photo of a cat", "steps": 4, "seed": 14},
                {"prompt": "a dog", "steps": 2, "seed": 15, "guidance": 1.0},
                {"prompt": "red", "steps": 3, "seed": 16, "guidance": 3.5},
            ]),
}

# Of pieces, where a tokenizer cuts them shorter than the encoder could read.
LENGTHS = {"sd1_short": 10}


def drawn(model):
    parts = ["decode", "encode"] if hasattr(model, "decoder") else [None]
    for part in parts:
        draw_weights(model, SEED, part)
    return model.eval()


def tokenizer(pad, length=77):
    t = transformers.CLIPTokenizer(vocab=vocabulary(), merges=MERGES,
                                   pad_token=pad)
    t.model_max_length = length
    return t


def build(name):
    kind, unet, vae, texts, scheduler, _ = PIPELINES[name]
    is_tiny = "encoder_block_out_channels" in vae
    parts = {"unet": drawn(UNet2DConditionModel(**unet)),
             "vae": drawn((AutoencoderTiny if is_tiny else
                           AutoencoderKL)(**vae)),
             "scheduler": scheduler}
    for i, config in enumerate(texts):
        if config is None:  # of two, the second alone
            parts.update(text_encoder=None, tokenizer=None)
            continue
        is_second = "projection_dim" in config
        model = (transformers.CLIPTextModelWithProjection if is_second
                 else transformers.CLIPTextModel)
        suffix = "_2" if i else ""
        parts["text_encoder" + suffix] = drawn(
            model(transformers.CLIPTextConfig(**config)))
        pad = "!" if is_second or name == "sd2" else "<|endoftext|>"
        parts["tokenizer" + suffix] = tokenizer(pad, LENGTHS.get(name, 77))
    if not name.startswith("sdxl"):
        parts.update(safety_checker=None, feature_extractor=None,
                     requires_safety_checker=False)
    pipe = kind(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# -- what the pipelines cannot say --------------------------------------------

def pieces(t, text, weights):
    """ids and weights [n][77] of a text without its brackets."""
    ids, strength, most = [], [], t.model_max_length - 2
    for word in text.replace("(", "").replace(":1.3)", "").split():
        new = t(word, add_special_tokens=False).input_ids
        ids += new
        strength += [weights.get(word, 1.0)] * len(new)
    rows = []
    for at in range(0, max(len(ids), 1), most):
        row, w = ids[at:at + most], strength[at:at + most]
        pad = most - len(row)
        rows.append(([t.bos_token_id] + row + [t.eos_token_id]
                     + [t.pad_token_id] * pad, [1.0] + w + [1.0] * (1 + pad)))
    return rows


def encode(pipe, suffix, text, request, n_pieces):
    """Hidden states [1][77 n][c] and the first piece's pooled text."""
    t = getattr(pipe, "tokenizer" + suffix)
    model = getattr(pipe, "text_encoder" + suffix)
    is_xl = hasattr(pipe, "tokenizer_2")
    skip = request.get("clip_skip", 1) + is_xl
    rows = pieces(t, text, request.get("weights", {}))
    while len(rows) < n_pieces:
        rows += pieces(t, "", {})
    states, pooled = [], None
    for ids, weights in rows:
        out = model(torch.tensor([ids]), output_hidden_states=True)
        x = out.hidden_states[-skip]
        if not is_xl:
            x = model.final_layer_norm(x)
        before = x.mean()
        x = x * torch.tensor(weights)[None, :, None]
        states.append(x * (before / x.mean()))
        pooled = out[0] if pooled is None else pooled
    return torch.cat(states, 1), pooled


def embeddings(pipe, request):
    """Arguments in place of prompt and negative prompt."""
    is_xl = hasattr(pipe, "tokenizer_2")
    args = {}
    texts = {"prompt": request["prompt"],
             "negative_prompt": request.get("negative_prompt", "")}
    n = max(len(pieces(pipe.tokenizer, t, {})) for t in texts.values())
    for name, text in texts.items():
        first, _ = encode(pipe, "", text, request, n)
        key = name + "_embeds"
        if not is_xl:
            args[key] = first
            continue
        second, pooled = encode(pipe, "_2", text, request, n)
        args[key] = torch.cat([first, second], -1)
        args[key.replace("prompt", "pooled_prompt")] = pooled
    return args


# -- runs ----------------------------------------------------------------------

def run(pipe, request):
    steps = []

    def keep(_pipe, _i, _t, kept):
        steps.append(kept["latents"].clone())
        return kept

    args = {"num_inference_steps": request["steps"],
            "generator": torch.Generator().manual_seed(request["seed"]),
            "width": request.get("width", 32),
            "height": request.get("height", 32),
            "output_type": "np", "callback_on_step_end": keep}
    if "guidance" in request:
        args["guidance_scale"] = request["guidance"]
    is_own = ("clip_skip" in request or "weights" in request
              or request["prompt"] == LONG)
    if is_own:
        with torch.no_grad():
            args.update(embeddings(pipe, request))
    else:
        args["prompt"] = request["prompt"]
        if "negative_prompt" in request:
            args["negative_prompt"] = request["negative_prompt"]
    image = pipe(**args).images[0]
    bytes_ = torch.from_numpy((image * 255).round()).permute(2, 0, 1)[None]
    return torch.cat(steps), bytes_.float().contiguous()


def make(name, folder, keep):
    kind, unet, vae, texts, scheduler, requests = PIPELINES[name]
    pipe = build(name)
    if keep:
        pipe.save_pretrained(pathlib.Path(keep) / name)
    tensors = {}
    for i, request in enumerate(requests):
        steps, image = run(pipe, request)
        # PNDM evaluates twice in its first step.
        steps = steps[len(steps) - request["steps"]:]
        tensors[f"{i}.steps"] = steps.contiguous()
        tensors[f"{i}.image"] = image
        print(f"{name} {i}: largest {steps.abs().max().item():.3g}")
    is_tiny = "encoder_block_out_channels" in vae
    index = {"_class_name": kind.__name__,
             "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers",
                     "AutoencoderTiny" if is_tiny else "AutoencoderKL"],
             "scheduler": ["diffusers", type(scheduler).__name__],
             "safety_checker": [None, None]}
    if name.startswith("sdxl"):
        index["force_zeros_for_empty_prompt"] = True
    for i, config in enumerate(texts):
        suffix = "_2" if i else ""
        index["text_encoder" + suffix] = ["transformers",
                                          type(pipe.components[
                                              "text_encoder" + suffix]).__name__]
        index["tokenizer" + suffix] = ["transformers", "CLIPTokenizer"]
    metadata = {"index": index, "requests": requests,
                "unet": {"_class_name": "UNet2DConditionModel", **unet},
                "vae": {"_class_name": index["vae"][1], **vae},
                "scheduler": {"_class_name": type(scheduler).__name__,
                              **{k: v for k, v in scheduler.config.items()
                                 if not k.startswith("_")}},
                "seed": SEED}
    for i, config in enumerate(texts):
        metadata["text_encoder" + ("_2" if i else "")] = config
    if name in LENGTHS:
        metadata["tokenizer_config"] = {**TOKENIZER,
                                        "model_max_length": LENGTHS[name]}
    save_file(tensors, folder / f"{name}.safetensors",
              metadata={k: json.dumps(v) for k, v in metadata.items()})


def write_tokenizers(folder):
    """Both kinds of files, with both paddings."""
    old = folder / "tokenizer"
    old.mkdir(parents=True, exist_ok=True)
    (old / "vocab.json").write_text(json.dumps(vocabulary(),
                                               ensure_ascii=False))
    (old / "merges.txt").write_text(
        "\n".join(["#version: 0.2"] + [" ".join(m) for m in MERGES]) + "\n")
    (old / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    tokenizer("!").save_pretrained(folder / "tokenizer_2")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    write_tokenizers(folder)
    keep = sys.argv[2] if len(sys.argv) > 2 else ""
    for name in sys.argv[3:] or PIPELINES:
        make(name, folder, keep)


if __name__ == "__main__":
    main()
