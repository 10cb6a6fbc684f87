#!/usr/bin/env python3
"""audit_pipelines.py - every key of a folder's files, set to other values, run.

    python tools/goldens/audit_pipelines.py [--unstir build/unstir]
        [--pipeline sd sdxl refiner inpaint ddpm ldm dit] [--file PART ...] [-v]

As audit_keys.py does for networks alone, here for what a whole pipeline makes
of its files: model_index.json, the configurations of text encoders,
tokenizers, autoencoders, networks and schedulers.  A small pipeline is saved
once; then one key at a time is changed on disk, and the folder is read by the
reference (from_pretrained) and by `unstir generate`.  A row a key, as there;
a value that gave the numbers of before counts as "same", one that gave others
as "moved".

Two differences are the reference's: DDPMPipeline scales neither its noise nor
what the network sees, and DiTPipeline not its noise, so that
EulerDiscreteScheduler in their index paints static (we scale); and transformers computes a text in the type that its config.json
says (`dtype`), so that a file in f32 which says float16 or bfloat16 is rounded
there (ours stays f32).

SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import warnings

import diffusers
import torch
from diffusers.utils import logging

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import differ_pipelines as run  # noqa: E402
import make_text_pipelines as text  # noqa: E402
from make_families import PATCHES  # noqa: E402
from rule import draw_weights  # noqa: E402

GONE = object()  # in place of a value: the key is taken away

SPECIAL = {"content": "<|endoftext|>", "lstrip": False, "normalized": True,
           "rstrip": False, "single_word": False, "__type": "AddedToken"}
TEXT = {
    "hidden_act": ["gelu", "quick_gelu", "gelu_new", "gelu_pytorch_tanh",
                   "gelu_fast", "relu", "silu", "tanh", "other"],
    "layer_norm_eps": [0.1, GONE], "num_hidden_layers": [1, 2, 4],
    "num_attention_heads": [1, 2, 8, 5], "max_position_embeddings": [50, 90],
    "eos_token_id": [2, 5, text.N_TOKENS - 2, GONE, None, [2]],
    "bos_token_id": [0, 7, GONE], "pad_token_id": [0, 1, 7, None, GONE],
    "attention_dropout": [0.3], "dropout": [0.3], "initializer_range": [1.0],
    "initializer_factor": [2.0], "projection_dim": [12, GONE],
    "vocab_size": [100, 1000], "intermediate_size": [32],
    "dtype": ["float16", "bfloat16", GONE], "torch_dtype": ["float16"],
    "model_type": ["clip", "clip_text_model", "other", GONE],
    "architectures": [["CLIPModel"], ["CLIPTextModelWithProjection"], GONE],
    "output_hidden_states": [True], "output_attentions": [True],
    "return_dict": [False], "chunk_size_feed_forward": [4],
    "attention_bias": [False], "_attn_implementation": ["eager"],
    "use_return_dict": [False], "tie_word_embeddings": [False],
}
TOKENS = {
    "pad_token": ["!", "a", "<|startoftext|>", None, GONE, SPECIAL],
    "bos_token": ["<|endoftext|>", "a", GONE, {**SPECIAL, "content": "a"}],
    "eos_token": ["<|startoftext|>", "a", GONE, SPECIAL],
    "unk_token": ["!", GONE, SPECIAL],
    "model_max_length": [77, 20, 10, 1000, GONE],
    "add_prefix_space": [True], "errors": ["ignore"],
    "do_lower_case": [False, True], "padding_side": ["left"],
    "truncation_side": ["left"], "add_bos_token": [False],
    "add_eos_token": [False], "clean_up_tokenization_spaces": [True, False],
    "tokenizer_class": ["CLIPTokenizerFast", "GPT2Tokenizer", GONE],
    "added_tokens_decoder": [{"5": {**SPECIAL, "content": "cat"}}],
    "split_special_tokens": [True], "additional_special_tokens": [["cat"], ["a"], [SPECIAL, "o"]],
    "extra_special_tokens": [["cat"], ["o"], {"x_token": "o"}], "backend": [GONE],
    "is_local": [GONE],
}
VAE = {
    "scaling_factor": [0.5, 1.0, None, GONE], "shift_factor": [0.3, 0.0],
    "latents_mean": [[0.3, -0.5, 0.2, 0.7], [0.3]],
    "latents_std": [[1.5, 0.7, 2.0, 1.1], 2.0],
    "force_upcast": [True, False, GONE], "sample_size": [64, 16, [32, 16]],
    "act_fn": ["gelu", GONE], "norm_num_groups": [4], "in_channels": [GONE],
    "mid_block_add_attention": [GONE], "use_quant_conv": [GONE],
    "latent_magnitude": [1], "latent_shift": [0.2],
    "layers_per_block": [GONE], "use_tiling": [True], "use_slicing": [True],
    "_class_name": ["AutoencoderTiny", "AsymmetricAutoencoderKL", "VQModel",
                    GONE],
}
UNET = {
    "sample_size": [4, 16, [8, 12], [12, 8], None, GONE],
    "center_input_sample": [True], "time_cond_proj_dim": [8],
    "class_embed_type": ["timestep"], "num_class_embeds": [5],
    "in_channels": [9], "out_channels": [8], "upcast_attention": [True],
    "_class_name": ["UNet2DModel", GONE], "dual_cross_attention": [True],
    "_diffusers_version": ["0.6.0", "0.8.1", "0.10.0", GONE],
    "requires_safety_checker": [True], "scaling_factor": [0.5],
    "conv_out_kernel": [1], "encoder_hid_dim_type": ["text_proj"],
}
SCHEDULER = {
    "steps_offset": [0, 1, 5, GONE], "clip_sample": [True, False, GONE],
    "set_alpha_to_one": [True, GONE], "skip_prk_steps": [False, True, GONE],
    "prediction_type": ["v_prediction", "sample", GONE],
    "timestep_spacing": ["trailing", "linspace", GONE],
    "beta_start": [GONE, 0.002], "beta_end": [GONE], "thresholding": [True],
    "beta_schedule": ["linear", GONE], "trained_betas": [[0.1, 0.2]],
    "rescale_betas_zero_snr": [True], "num_train_timesteps": [100, GONE],
    "_class_name": ["DDIMScheduler", "EulerDiscreteScheduler",
                    "EulerDiscrete", GONE], "unknown_key": [1],
    "_diffusers_version": ["0.2.0"], "use_karras_sigmas": [True],
    "final_sigmas_type": ["sigma_min"], "interpolation_type": ["log_linear"],
    "sample_max_value": [0.5], "clip_sample_range": [0.5],
    "variance_type": ["fixed_large"],
}
INDEX = {
    "requires_safety_checker": [True, False, GONE],
    "force_zeros_for_empty_prompt": [True, False, GONE],
    "requires_aesthetics_score": [True, False, GONE],
    "add_watermarker": [True], "feature_extractor": [[None, None], GONE],
    "safety_checker": [[None, None], GONE],
    "image_encoder": [[None, None], GONE, ["transformers", "CLIPVisionModel"]],
    "unknown_key": [1], "is_cosxl_edit": [True], "_diffusers_version": ["0.6"],
    "scheduler": [["diffusers", "DDIMScheduler"],
                  ["diffusers", "EulerDiscreteScheduler"],
                  ["diffusers", "DPMSolverMultistepScheduler"],
                  ["diffusers", "NoScheduler"]],
    "controlnet": [["diffusers", "ControlNetModel"], [None, None]],
    "text_encoder": [["transformers", "CLIPTextModelWithProjection"],
                     ["transformers", "CLIPTextModel"],
                     ["transformers", "T5EncoderModel"],
                     ["transformers", "BertModel"], [None, None]],
    "text_encoder_2": [["transformers", "CLIPTextModel"], [None, None]],
    "tokenizer": [["transformers", "CLIPTokenizerFast"],
                  ["transformers", "T5Tokenizer"]],
    "vae": [["diffusers", "AutoencoderTiny"],
            ["diffusers", "AsymmetricAutoencoderKL"]],
    "unet": [["diffusers", "UNet2DModel"], ["diffusers", "UNetFlatCondition"]],
    "_class_name": ["StableDiffusionImg2ImgPipeline",
                    "StableDiffusionInpaintPipeline", "LDMTextToImagePipeline",
                    "StableDiffusionControlNetPipeline", "PNDMPipeline",
                    "StableDiffusionXLPipeline", "FluxPipeline",
                    "DDIMPipeline", "LatentConsistencyModelPipeline",
                    "StableDiffusionXLImg2ImgPipeline", "DDPMPipeline"],
}
KEYS = {"model_index.json": INDEX, "text_encoder/config.json": TEXT,
        "text_encoder_2/config.json": TEXT,
        "tokenizer/tokenizer_config.json": TOKENS,
        "tokenizer_2/tokenizer_config.json": TOKENS,
        "vae/config.json": VAE, "vqvae/config.json": VAE,
        "unet/config.json": UNET, "transformer/config.json": UNET,
        "scheduler/scheduler_config.json": SCHEDULER}


# -- pipelines to change ------------------------------------------------------

REQUEST = {"prompt": "a photo of a cat", "negative_prompt": "red dog in",
           "steps": 4, "seed": 92, "guidance": 3.0, "n": 1}


def drawn(model):
    for part in ["decode", "encode"] if hasattr(model, "decoder") else [None]:
        draw_weights(model, 31, part)
    return model.eval()


def make_text_pipe(name):
    return lambda: text.build(name)


def make_ddpm():
    net = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), layers_per_block=1)
    return diffusers.DDPMPipeline(
        unet=drawn(net), scheduler=diffusers.DDPMScheduler())


def make_ldm():
    net = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), layers_per_block=1)
    vq = diffusers.VQModel(**{**text.VAE, "latent_channels": 3},
                           num_vq_embeddings=30)
    return diffusers.LDMPipeline(
        vqvae=drawn(vq), unet=drawn(net),
        scheduler=diffusers.DDIMScheduler(clip_sample=False))


def make_dit():
    return diffusers.DiTPipeline(
        transformer=drawn(diffusers.DiTTransformer2DModel(
            **{**PATCHES, "num_embeds_ada_norm": 1000})),
        vae=drawn(diffusers.AutoencoderKL(**text.VAE)),
        scheduler=diffusers.DDIMScheduler(clip_sample=False))


def run_text(pipe, request):
    return run.run_text(pipe, dict(request))


def run_picture(pipe, request):
    return run.run_text(pipe, dict(request), image=request["picture"],
                        strength=request["strength"])


def run_dit(pipe, request):
    return run.run_pixels(pipe, request, class_labels=[request["class"]],
                          guidance_scale=request["guidance"])


PLAIN = {"steps": 4, "seed": 92, "n": 1}
# name: (make, request, run)
PIPELINES = {
    "sd": (make_text_pipe("sd1"), REQUEST, run_text),
    "sdxl": (make_text_pipe("sdxl"), REQUEST, run_text),
    "zeros": (make_text_pipe("sdxl"),
              {k: v for k, v in REQUEST.items() if k != "negative_prompt"},
              run_text),
    "ddpm": (make_ddpm, PLAIN, run.run_pixels),
    "ldm": (make_ldm, PLAIN, run.run_ldm),
    "dit": (make_dit, {**PLAIN, "class": 3, "guidance": 2.0}, run_dit),
}


# -- one change ---------------------------------------------------------------

def change(path, key, value):
    config = json.loads(path.read_text())
    before = config.get(key, GONE)
    if value is GONE:
        config.pop(key, None)
    else:
        config[key] = value
    path.write_text(json.dumps(config))
    return before is not value and before != value


def reference(folder, request, go):
    """(numbers, None) or (None, why there are none)."""
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        for m in run.networks_of(pipe):
            m.eval()
        got = run.finite(*go(pipe, request))
    except Exception as e:
        return None, f"{type(e).__name__}: {str(e)[:160]}"
    return (got, None) if got else (None, "NaN")


def distance(a, b):
    return run.Distance(a, b)


def has_moved(a, b):
    off = distance(a, b)
    return off.odd is not None or (off.sample or 0) > 1e-4 or off.share > 0 \
        or off.worst > 0


def audit_value(a, name, folder, was):
    """(verdict, words) of a changed folder."""
    _, request, go = PIPELINES[name]
    want, why = reference(folder, request, go)
    got, refused = run.run_ours(a.unstir, folder, request)
    ours = f"exit {refused[0]}: {refused[1][:300]}" if refused else "it runs"
    if not want:
        return "no run", f"{why}; ours: {ours}"
    if refused:
        return "refused" if refused[0] in (1, 2, 3, 4) else "DIFFERS", ours
    off = distance(want, got)
    if not off.is_small():
        return "DIFFERS", str(off)
    return "moved" if has_moved(want, was) else "same", str(off)


def audit(a, name, file, tally):
    make, request, go = PIPELINES[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pipe = make()
        pipe.save_pretrained(folder)
        if not (folder / file).exists():
            return
        kept = (folder / file).read_text()
        was, why = reference(folder, request, go)
        assert was, why
        for key, values in KEYS[file].items():
            found = []
            for value in values:
                if not change(folder / file, key, value):
                    continue
                shown = "gone" if value is GONE else json.dumps(value)
                found.append((shown, *audit_value(a, name, folder, was)))
                (folder / file).write_text(kept)
            tally.add(f"{name} {file}: {key}", found)


class Tally:
    def __init__(self, is_verbose):
        self.is_verbose, self.n_wrong = is_verbose, 0

    def add(self, what, found):
        n = {}
        for _, verdict, _ in found:
            n[verdict] = n.get(verdict, 0) + 1
        is_wrong = "DIFFERS" in n
        self.n_wrong += is_wrong
        print(f"{'not ok' if is_wrong else 'ok'} {what}: "
              + ", ".join(f"{c} {v}" for v, c in n.items()))
        for shown, verdict, says in found:
            if self.is_verbose or verdict == "DIFFERS":
                print(f"    {shown[:60]}: {verdict}: {says}")
        sys.stdout.flush()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--unstir", default="build/unstir")
    p.add_argument("--pipeline", nargs="*", choices=[*PIPELINES],
                   default=[*PIPELINES])
    p.add_argument("--file", nargs="*", choices=[*KEYS], default=[*KEYS])
    p.add_argument("-v", "--verbose", action="store_true")
    a = p.parse_args()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tally = Tally(a.verbose)
    for name in a.pipeline:
        for file in a.file:
            audit(a, name, file, tally)
    print("not ok audit_pipelines" if tally.n_wrong else "ok audit_pipelines")
    sys.exit(tally.n_wrong > 0)


if __name__ == "__main__":
    main()
