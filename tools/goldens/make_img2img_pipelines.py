#!/usr/bin/env python3
"""Make the goldens of latent picture to picture: tests/data/img2img_pipelines/.

usage: python tools/goldens/make_img2img_pipelines.py OUT_FOLDER [NAME ...]

The reference's own pipelines (diffusers 0.42.1), tiny, with the parts, weights
and vocabulary of make_text_pipelines.py: picture to picture of Stable
Diffusion 1.x, 2.x, XL and its refiner and of a latent consistency model, with
AutoencoderKL and AutoencoderTiny; inpainting
with 4 and with 9 channels; edits by instruction (8 channels), of 1.x, of XL
and of CosXL; XL and its refiner handing over a part of the way, and what they
are told of a picture's making.  Latents that a run begins with are
1.5 cos(37 c + 5 y + 1.7 x) in f64, rounded.  The picture of 40 x 36 pixels has the colours
(7 x + 13 y + 50 c + x y mod 32) mod 256, the mask 255 where (x + 2 y) mod 40 is
below 18; both are resized by the pipelines.  A golden holds the latents after
every evaluation and the picture.

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sys

import numpy
import torch
from diffusers import (DDIMScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, HeunDiscreteScheduler,
                       LatentConsistencyModelImg2ImgPipeline, PNDMScheduler,
                       StableDiffusionImg2ImgPipeline,
                       StableDiffusionInpaintPipeline,
                       StableDiffusionInstructPix2PixPipeline,
                       StableDiffusionXLImg2ImgPipeline,
                       StableDiffusionXLInpaintPipeline,
                       StableDiffusionXLPipeline,
                       StableDiffusionXLInstructPix2PixPipeline)
from diffusers.utils import logging
from PIL import Image
from safetensors.torch import save_file

import make_text_pipelines as text

DDIM = DDIMScheduler(**text.BETAS, set_alpha_to_one=False, steps_offset=1,
                     clip_sample=False)
EULER = EulerDiscreteScheduler(**text.BETAS, timestep_spacing="leading",
                               steps_offset=1)
ANCESTRAL = EulerAncestralDiscreteScheduler(
    **text.BETAS, timestep_spacing="leading", steps_offset=1)
INPAINT_UNET = {**text.UNET, "in_channels": 9, "out_channels": 4}
INPAINT_XL_UNET = {**text.PIPELINES["sdxl"][1], "in_channels": 9,
                   "out_channels": 4}
EDIT_UNET = {**text.UNET, "in_channels": 8, "out_channels": 4}
EDIT_XL_UNET = {**text.PIPELINES["sdxl"][1], "in_channels": 8,
                "out_channels": 4}

REFINER_UNET = {**text.PIPELINES["sdxl"][1], "cross_attention_dim": 40,
                "projection_class_embeddings_input_dim": 40 + 5 * 8}
REFINER_TEXT = {**text.PIPELINES["sdxl"][3][1], "projection_dim": 40}
REFINER = {"requires_aesthetics_score": True,
           "force_zeros_for_empty_prompt": False}

# name: (parts of, pipeline, scheduler, changes, requests)
PIPELINES = {
    "sd1": ("sd1", StableDiffusionImg2ImgPipeline,
            PNDMScheduler(**text.BETAS, skip_prk_steps=True), {}, [
                {"prompt": "a photo of a cat", "steps": 8, "seed": 1,
                 "strength": 0.6},
                {"prompt": "a red dog", "negative_prompt": "cat", "steps": 6,
                 "seed": 2, "strength": 1.0, "guidance": 3.0},
            ]),
    "sd2": ("sd2", StableDiffusionImg2ImgPipeline, None, {}, [
        {"prompt": "a photo of a cat", "steps": 8, "seed": 3,
         "strength": 0.5},
    ]),
    "sdxl": ("sdxl", StableDiffusionXLImg2ImgPipeline, None, {}, [
        {"prompt": "a photo of a cat", "steps": 7, "seed": 4,
         "strength": 0.5},
    ]),
    "refiner": ("sdxl", StableDiffusionXLImg2ImgPipeline, None,
                {"unet": REFINER_UNET,
                 "texts": [None, REFINER_TEXT],
                 "arguments": REFINER}, [
                     {"prompt": "a photo of a cat", "negative_prompt": "dog",
                      "steps": 6, "seed": 16, "strength": 0.5},
                     {"prompt": "a red dog", "steps": 5, "seed": 17,
                      "strength": 0.3, "guidance": 3.0},
                 ]),
    # Five numbers beside a text of fewer channels than its tokens have.
    "refiner_narrow": (
        "sdxl_means", StableDiffusionXLImg2ImgPipeline, None,
        {"unet": {**text.XL, "cross_attention_dim": 40,
                  "projection_class_embeddings_input_dim": 64},
         "texts": [None, text.XL_TEXTS[1]], "arguments": REFINER}, [
             {"prompt": "a photo of a cat", "steps": 6, "seed": 12,
              "strength": 0.5},
             {"prompt": "a red dog", "negative_prompt": "cat", "steps": 5,
              "seed": 13, "strength": 0.6, "guidance": 2.5},
         ]),
    "means": ("sdxl_means", StableDiffusionXLImg2ImgPipeline, None, {}, [
        {"prompt": "a photo of a cat", "steps": 6, "seed": 11,
         "strength": 0.5},
    ]),
    "tiny": ("sd1", StableDiffusionImg2ImgPipeline, EULER,
             {"vae": text.TINY}, [
                 {"prompt": "a photo of a cat", "steps": 8, "seed": 5,
                  "strength": 0.4},
             ]),
    # Which runs all steps, whatever the strength.
    "lcm": ("lcm", LatentConsistencyModelImg2ImgPipeline, None, {}, [
        {"prompt": "a photo of a cat", "steps": 4, "seed": 20,
         "strength": 0.5},
        {"prompt": "a red dog", "steps": 3, "seed": 21, "strength": 0.29,
         "guidance": 3.0},
    ]),
    "inpaint4": ("sd1", StableDiffusionInpaintPipeline, DDIM, {}, [
        {"prompt": "a photo of a cat", "steps": 8, "seed": 6,
         "strength": 0.7},
        {"prompt": "a red dog", "steps": 5, "seed": 7, "strength": 1.0},
    ]),
    # Which encodes without the means and decodes with them.
    "inpaint_means": ("sdxl_means", StableDiffusionXLInpaintPipeline, None,
                      {}, [{"prompt": "a photo of a cat", "steps": 5,
                            "seed": 19, "strength": 0.6, "guidance": 3.0}]),
    # Draws after those of the two posteriors, one of which is not used.
    "inpaint_a": ("sd1", StableDiffusionInpaintPipeline, ANCESTRAL, {}, [
        {"prompt": "a photo of a cat", "steps": 6, "seed": 10,
         "strength": 0.7},
    ]),
    "inpaint9": ("sd1", StableDiffusionInpaintPipeline, EULER,
                 {"unet": INPAINT_UNET}, [
                     {"prompt": "a photo of a cat", "steps": 8, "seed": 8,
                      "strength": 0.7},
                     {"prompt": "a red dog", "steps": 5, "seed": 9,
                      "strength": 1.0},
                 ]),
    "handover_base": ("sdxl", StableDiffusionXLPipeline, None, {}, [
        {"prompt": "a photo of a cat", "negative_prompt": "dog", "steps": 7,
         "seed": 22, "denoising_end": 0.7, "from_noise": True,
         "micro": {"original": [30, 51], "crop": [3, 7], "target": [90, 80]}},
        {"prompt": "a red dog", "steps": 4, "seed": 23, "guidance": 3.0,
         "from_noise": True,
         "micro": {"crop": [5, 2]},
         "negative_micro": {"original": [12, 34], "target": [56, 78]}},
    ]),
    "handover_refiner": (
        "sdxl", StableDiffusionXLImg2ImgPipeline, EULER,
        {"unet": REFINER_UNET, "texts": [None, REFINER_TEXT],
         "arguments": REFINER}, [
             {"prompt": "a photo of a cat", "steps": 8, "seed": 24,
              "latents": True, "denoising_start": 0.6, "aesthetic_score": 7.5,
              "micro": {"original": [30, 51], "crop": [3, 7]},
              "negative_micro": {"crop": [1, 9]}},
             {"prompt": "a red dog", "steps": 8, "seed": 25,
              "denoising_start": 0.3, "denoising_end": 0.8,
              "negative_aesthetic_score": 1.0},
             {"prompt": "a red dog", "steps": 6, "seed": 26, "latents": True,
              "strength": 0.5},
         ]),
    # Of two evaluations a step, ended within one.
    "handover_heun": (
        "sdxl", StableDiffusionXLImg2ImgPipeline,
        HeunDiscreteScheduler(**text.BETAS, timestep_spacing="leading",
                              steps_offset=1), {}, [
            {"prompt": "a photo of a cat", "steps": 8, "seed": 27,
             "latents": True, "denoising_start": 0.3, "denoising_end": 0.7,
             "evaluations": 2,
             "negative_micro": {"original": [12, 34], "target": [56, 78]}},
        ]),
    # Of which only the first step has two, and none where one is left.
    "handover_pndm": (
        "sdxl", StableDiffusionXLImg2ImgPipeline,
        PNDMScheduler(**text.BETAS, skip_prk_steps=True, steps_offset=1), {}, [
            {"prompt": "a red dog", "steps": 8, "seed": 30, "latents": True,
             "denoising_start": 0.6},
            {"prompt": "a photo of a cat", "steps": 8, "seed": 31,
             "latents": True, "denoising_start": 0.9},
        ]),
    # A part of the way with a mask: what is kept is noised again and again.
    "inpaint_part": (
        "sdxl", StableDiffusionXLInpaintPipeline, ANCESTRAL, {}, [
            {"prompt": "a photo of a cat", "steps": 7, "seed": 32,
             "guidance": 3.0, "denoising_start": 0.3},
            {"prompt": "a red dog", "steps": 7, "seed": 33, "guidance": 3.0,
             "latents": True, "denoising_start": 0.4, "denoising_end": 0.8},
            {"prompt": "a red dog", "steps": 6, "seed": 34, "guidance": 3.0,
             "strength": 1.0, "denoising_end": 0.6},
        ]),
    "inpaint9_part": (
        "sdxl", StableDiffusionXLInpaintPipeline, EULER,
        {"unet": INPAINT_XL_UNET}, [
            {"prompt": "a photo of a cat", "steps": 6, "seed": 35,
             "guidance": 3.0, "denoising_start": 0.4},
        ]),
    "edit": ("sd1", StableDiffusionInstructPix2PixPipeline, ANCESTRAL,
             {"unet": EDIT_UNET}, [
                 {"prompt": "a red dog", "steps": 6, "seed": 11},
                 {"prompt": "a photo of a cat", "negative_prompt": "dog",
                  "steps": 5, "seed": 12, "guidance": 4.0,
                  "image_guidance": 1.0},
                 {"prompt": "a red dog", "steps": 4, "seed": 13,
                  "guidance": 1.0, "image_guidance": 3.0},
             ]),
    "edit_xl": ("sdxl", StableDiffusionXLInstructPix2PixPipeline, None,
                {"unet": EDIT_XL_UNET}, [
                    {"prompt": "a red dog", "steps": 5, "seed": 14,
                     "image_guidance": 2.5, "rescale": 0.6},
                ]),
    "edit_cosxl": ("sdxl", StableDiffusionXLInstructPix2PixPipeline, None,
                   {"unet": EDIT_XL_UNET, "is_cosxl_edit": True}, [
                       {"prompt": "a red dog", "steps": 4, "seed": 15},
                   ]),
}


# One behind the other: base, refiner, and what both are asked.
PAIRS = {
    "handover_both": ("handover_base", "handover_refiner", [
        {"prompt": "a photo of a cat", "negative_prompt": "dog", "steps": 6,
         "seed": 28, "border": 0.7, "aesthetic_score": 7.5,
         "micro": {"original": [30, 51], "crop": [3, 7], "target": [90, 80]}},
        {"prompt": "a red dog", "steps": 5, "seed": 29, "guidance": 3.0},
        {"prompt": "a red dog", "steps": 6, "seed": 36, "guidance": 3.0,
         "border": 0.5, "mask": True},
    ]),
}


def picture():
    y, x = numpy.mgrid[0:36, 0:40]
    planes = [(7 * x + 13 * y + 50 * c + x * y % 32) % 256 for c in range(3)]
    return Image.fromarray(numpy.stack(planes, -1).astype(numpy.uint8))


def mask():
    y, x = numpy.mgrid[0:36, 0:40]
    return Image.fromarray(((x + 2 * y) % 40 < 18).astype(numpy.uint8) * 255)


def latents():
    c, y, x = numpy.mgrid[0:4, 0:8, 0:8]
    values = 1.5 * numpy.cos(37 * c + 5 * y + 1.7 * x)
    return torch.from_numpy(values.astype(numpy.float32))[None]


# The reference's names of what is told, height and top first.
MICRO = {"original": "original_size", "crop": "crops_coords_top_left",
         "target": "target_size"}
AS_IT_IS = ("denoising_start", "denoising_end", "aesthetic_score",
            "negative_aesthetic_score")


def told(request):
    args = {key: request[key] for key in AS_IT_IS if key in request}
    for side in ("", "negative_"):
        for key, (a, b) in request.get(side + "micro", {}).items():
            args[side + MICRO[key]] = (b, a)
    return args


def build(name):
    base, kind, scheduler, changes, _ = PIPELINES[name]
    kept = text.PIPELINES[base]
    row = list(kept)
    row[1] = changes.get("unet", row[1])
    row[2] = changes.get("vae", row[2])
    row[3] = changes.get("texts", row[3])
    row[4] = scheduler or row[4]
    text.PIPELINES[base] = tuple(row)
    parts = text.build(base).components
    text.PIPELINES[base] = kept
    keep = {k: v for k, v in parts.items()
            if k not in ("image_encoder", "safety_checker",
                         "feature_extractor")}
    if not base.startswith("sdxl"):
        keep.update(safety_checker=None, feature_extractor=None,
                    requires_safety_checker=False)
    if "is_cosxl_edit" in changes:
        keep["is_cosxl_edit"] = changes["is_cosxl_edit"]
    pipe = kind(**keep, **changes.get("arguments", {}))
    pipe.set_progress_bar_config(disable=True)
    return pipe, row


def run(pipe, request):
    steps = []

    def keep(_pipe, _i, _t, kept):
        steps.append(kept["latents"].clone())
        return kept

    def keep_old(_i, _t, latents):
        steps.append(latents.clone())

    is_inpainting = "Inpaint" in type(pipe).__name__
    is_edit = "InstructPix2Pix" in type(pipe).__name__
    is_edit_xl = is_edit and hasattr(pipe, "tokenizer_2")
    image = picture() if is_inpainting else picture().resize(
        (32, 32), Image.LANCZOS)
    args = {"prompt": request["prompt"], "image": image,
            "num_inference_steps": request["steps"],
            "generator": torch.Generator().manual_seed(request["seed"]),
            "output_type": "np"}
    if is_edit_xl:
        args.update(callback=keep_old, width=32, height=32)
    else:
        args["callback_on_step_end"] = keep
    if not is_edit and "strength" in request:
        args["strength"] = request["strength"]
    if request.get("latents"):
        args["image"] = latents()
    if type(pipe) is StableDiffusionXLPipeline:
        args.update(width=32, height=32)
        del args["image"]
    args.update(told(request))
    if "image_guidance" in request:
        args["image_guidance_scale"] = request["image_guidance"]
    if "rescale" in request:
        args["guidance_rescale"] = request["rescale"]
    if is_inpainting:
        args.update(mask_image=mask(), width=32, height=32)
    if "guidance" in request:
        args["guidance_scale"] = request["guidance"]
    if "negative_prompt" in request:
        args["negative_prompt"] = request["negative_prompt"]
    image = pipe(**args).images[0]
    bytes_ = torch.from_numpy((image * 255).round()).permute(2, 0, 1)[None]
    return torch.cat(steps), bytes_.float().contiguous()


def inpainting(pipe):
    """The same parts, told what to paint."""
    told = {key: pipe.config[key] for key in
            ("requires_aesthetics_score", "force_zeros_for_empty_prompt")
            if key in pipe.config}
    pipe = StableDiffusionXLInpaintPipeline(**pipe.components, **told)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run_pair(base, refiner, request):
    """All latents, the base's and then the refiner's, and the picture."""
    steps = []

    def keep(_pipe, _i, _t, kept):
        steps.append(kept["latents"].clone())
        return kept

    border = request.get("border", 0.8)
    both = {"prompt": request["prompt"],
            "negative_prompt": request.get("negative_prompt"),
            "num_inference_steps": request["steps"],
            "guidance_scale": request.get("guidance", 5.0),
            "callback_on_step_end": keep}
    start = {}
    if request.get("mask"):
        base, refiner = inpainting(base), inpainting(refiner)
        both.update(mask_image=mask(), width=32, height=32)
        start = {"image": picture(), "strength": 1.0}
    micro = told({k: v for k, v in request.items() if k == "micro"})
    half = base(**{**both, "width": 32, "height": 32}, **start, **micro,
                denoising_end=border,
                generator=torch.Generator().manual_seed(request["seed"]),
                output_type="latent").images
    micro.pop("target_size", None)
    score = {k: v for k, v in request.items() if k == "aesthetic_score"}
    image = refiner(**both, **micro, **score, image=half,
                    denoising_start=border,
                    generator=torch.Generator().manual_seed(request["seed"]),
                    output_type="np").images[0]
    bytes_ = torch.from_numpy((image * 255).round()).permute(2, 0, 1)[None]
    return torch.cat(steps), bytes_.float().contiguous()


def make_pair(name, folder):
    base, refiner, requests = PAIRS[name]
    pipes = build(base)[0], build(refiner)[0]
    tensors = {}
    for i, request in enumerate(requests):
        steps, image = run_pair(*pipes, request)
        tensors[f"{i}.steps"] = steps.contiguous()
        tensors[f"{i}.image"] = image
        print(f"{name} {i}: {len(steps)} evaluations")
    save_file(tensors, folder / f"{name}.safetensors",
              metadata={"requests": json.dumps(requests)})


def make(name, folder):
    pipe, row = build(name)
    kind, unet, vae, texts, scheduler, _ = row
    requests = PIPELINES[name][4]
    tensors = {}
    for i, request in enumerate(requests):
        steps, image = run(pipe, request)
        tensors[f"{i}.steps"] = steps.contiguous()
        tensors[f"{i}.image"] = image
        print(f"{name} {i}: {len(steps)} evaluations, largest "
              f"{steps.abs().max().item():.3g}")
    is_tiny = "encoder_block_out_channels" in vae
    own = (StableDiffusionInpaintPipeline if name == "inpaint9"
           else kind).__name__
    index = {"_class_name": own,
             "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers",
                     "AutoencoderTiny" if is_tiny else "AutoencoderKL"],
             "scheduler": ["diffusers", type(scheduler).__name__],
             "safety_checker": [None, None]}
    if getattr(pipe, "is_cosxl_edit", False):
        index["is_cosxl_edit"] = True
    if hasattr(pipe, "tokenizer_2"):
        index["force_zeros_for_empty_prompt"] = True
    index.update(PIPELINES[name][3].get("arguments", {}))
    for i, config in enumerate(texts):
        if config is None:
            index["text_encoder"] = index["tokenizer"] = [None, None]
            continue
        suffix = "_2" if i else ""
        encoder = pipe.components["text_encoder" + suffix]
        index["text_encoder" + suffix] = ["transformers",
                                          type(encoder).__name__]
        index["tokenizer" + suffix] = ["transformers", "CLIPTokenizer"]
    metadata = {"index": index, "requests": requests,
                "unet": {"_class_name": "UNet2DConditionModel", **unet},
                "vae": {"_class_name": index["vae"][1], **vae},
                "scheduler": {"_class_name": type(scheduler).__name__,
                              **{k: v for k, v in scheduler.config.items()
                                 if not k.startswith("_")}},
                "seed": text.SEED}
    for i, config in enumerate(texts):
        if config is None:
            continue
        metadata["text_encoder" + ("_2" if i else "")] = config
    save_file(tensors, folder / f"{name}.safetensors",
              metadata={k: json.dumps(v) for k, v in metadata.items()})


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in sys.argv[2:] or [*PIPELINES, *PAIRS]:
        (make_pair if name in PAIRS else make)(name, folder)


if __name__ == "__main__":
    main()
