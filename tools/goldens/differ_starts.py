"""differ_starts.py - drawn pipelines that begin with a picture, for differ.py.

Picture to picture, inpainting with 4 and with 9 channels and edits by
instruction, of Stable Diffusion and of XL.  Pictures and masks are drawn too:
of any size beside the one asked for, masks with hard and soft edges, grey or
coloured.

SPDX-License-Identifier: MIT
"""
import math

import diffusers
import numpy
import torch
from PIL import Image, ImageFilter

import differ_pipelines as p

STRENGTHS = [0.01, 0.3, 0.4, 0.5, 0.7, 0.9, 0.999, 1.0]


def draw_size(r, request):
    """Of a file: what is asked for, near it, or anything."""
    w, h = request["width"], request["height"]
    return r.choice([(w, h), (w + 3, h - 1), (2 * w, 2 * h),
                     (r.randint(5, 150), r.randint(5, 150))])


def draw_picture(r, size):
    y, x = numpy.mgrid[0:size[1], 0:size[0]]
    a, b = r.randint(1, 20), r.randint(1, 20)
    planes = [(a * x + b * y + 50 * c + x * y % 32) % 256 for c in range(3)]
    return Image.fromarray(numpy.stack(planes, -1).astype(numpy.uint8))


def draw_mask(r, size):
    y, x = numpy.mgrid[0:size[1], 0:size[0]]
    kind = r.choice(["stripes", "half", "ramp", "dot", "all", "none"])
    w, h = size
    plane = {"stripes": 255 * ((x + 2 * y) % r.randint(3, 50)
                               < r.randint(1, 20)),
             "half": 255 * (x < w * r.random()),
             "ramp": 255 * (x + y) // max(1, w + h - 2),
             "dot": 255 * ((x - w / 2) ** 2 + (y - h / 2) ** 2
                           < (min(w, h) * r.uniform(0.1, 0.6)) ** 2),
             "all": 255 + 0 * x, "none": 0 * x}[kind]
    mask = Image.fromarray(plane.astype(numpy.uint8))
    if r.random() < 0.4:
        mask = mask.filter(ImageFilter.GaussianBlur(r.choice([1, 3, 7])))
    if r.random() < 0.3:
        colour = Image.new("RGB", size, (r.choice([255, 200, 90]), 255, 30))
        mask = Image.composite(colour, Image.new("RGB", size), mask)
    return mask


def with_picture(r, request, has_mask=False):
    """A request that begins with a picture; the reference resizes all but
    the picture of plain picture to picture, whose size is the result's."""
    size = (request["width"], request["height"])
    request.pop("guidance_rescale", None)
    request["strength"] = r.choice(STRENGTHS)
    request["picture"] = draw_picture(r, draw_size(r, request))
    if has_mask:
        request["painted"] = draw_mask(r, draw_size(r, request))
    request["fitted"] = request["picture"].resize(size, Image.LANCZOS)
    return request


def run_img2img(pipe, request):
    return p.run_text(pipe, request, image=request["fitted"],
                      strength=request["strength"])


def run_inpaint(pipe, request):
    return p.run_text(pipe, request, image=request["picture"],
                      mask_image=request["painted"], width=request["width"],
                      height=request["height"], strength=request["strength"])


def run_edit(pipe, request):
    return p.run_text(pipe, request, image=request["fitted"],
                      image_guidance_scale=request["image_guidance"])


def finish(r, pipe, run, has_mask=False):
    request = p.draw_request(r, p.vae_unit(pipe.vae))
    p.drop_unread(pipe, request)
    with_picture(r, request, has_mask)
    case = pipe.scheduler.case
    p.add_method(pipe, request, dict(case, strength=request["strength"]))
    most = pipe.scheduler.config.num_train_timesteps
    few = 1 / request["strength"] if r.random() < 0.95 else 1
    request["steps"] = pipe.method["steps"] = min(most, r.choice(
        [n for n in (2, 3, 5, 8) if n >= few] or [math.ceil(few)]))
    return pipe, request, run


def make_refiner(r):
    pipe = p.with_case(diffusers.StableDiffusionXLImg2ImgPipeline,
                       p.xl_parts(r, True))
    pipe, request, run = finish(r, pipe, run_img2img)
    request.pop("clip_skip", None)
    if r.random() < 0.6:
        p.draw_micro(r, request, True, True)
    return pipe, request, run


def make_starting(r):
    """What another model left is taken up, or a picture as if it were so."""
    pipe, request, _ = make_refiner(r) if r.random() < 0.5 else make_img2img(r)
    while "XL" not in type(pipe).__name__:
        pipe, request, _ = make_img2img(r)
    del request["strength"]
    pipe.method.pop("strength")
    request["steps"] = pipe.method["steps"] = r.choice([3, 5, 8, 10])
    request["denoising_start"] = r.choice([0.2, 0.33, 0.5, 0.7, 0.8])
    if r.random() < 0.4:
        request["denoising_end"] = r.choice([0.85, 0.9])
    if r.random() < 0.7:
        unit = 2 ** (len(pipe.vae.config.get("block_out_channels")
                         or pipe.vae.config.encoder_block_out_channels) - 1)
        gen = torch.Generator().manual_seed(r.randrange(2**31))
        request["latents"] = torch.randn(
            1, 4, request["height"] // unit, request["width"] // unit,
            generator=gen)
        del request["picture"]
    return pipe, request, run_starting


def run_starting(pipe, request):
    image = request.get("latents")
    if image is None:
        image = request["fitted"]
    else:
        image = image.to(pipe.unet.dtype)
    return p.run_text(pipe, request, image=image)


def make_img2img(r):
    if r.random() < 0.4:
        pipe = p.with_case(diffusers.StableDiffusionXLImg2ImgPipeline,
                           p.xl_parts(r, False, **p.embedded_guidance(r)))
        pipe, request, run = finish(r, pipe, run_img2img)
        if r.random() < 0.5:
            p.draw_micro(r, request, False, True)
        return pipe, request, run
    pipe = p.with_case(diffusers.StableDiffusionImg2ImgPipeline,
                       p.sd_parts(r, **p.embedded_guidance(r)))
    return finish(r, pipe, run_img2img)


def make_inpaint(r):
    nine = {"in_channels": 9} if r.random() < 0.5 else {}
    nine.update(p.embedded_guidance(r))
    if r.random() < 0.5:
        pipe = p.with_case(diffusers.StableDiffusionXLInpaintPipeline,
                           p.xl_parts(r, False, **nine))
    else:
        pipe = p.with_case(diffusers.StableDiffusionInpaintPipeline,
                           p.sd_parts(r, **nine))
    return finish(r, pipe, run_inpaint, True)


def run_lcm(pipe, request):
    return p.run_text(pipe, request, image=request["fitted"],
                      strength=request["strength"])


def make_lcmimg(r):
    pipe = diffusers.LatentConsistencyModelImg2ImgPipeline(**p.lcm_parts(r))
    request = with_picture(r, p.lcm_request(r, pipe))
    return pipe, request, run_lcm


def make_edit(r):
    is_xl = r.random() < 0.4
    if is_xl:
        parts = p.xl_parts(r, False, in_channels=8)
        parts["is_cosxl_edit"] = r.random() < 0.5
        pipe = p.with_case(diffusers.StableDiffusionXLInstructPix2PixPipeline,
                           parts)
    else:
        pipe = p.with_case(diffusers.StableDiffusionInstructPix2PixPipeline,
                           p.sd_parts(r, in_channels=8))
    pipe, request, run = finish(r, pipe, run_edit)
    del request["strength"]
    pipe.method.pop("strength")
    request.pop("clip_skip", None)
    if request["prompt"] == p.text.LONG:
        request["prompt"] = "red"
    request["image_guidance"] = r.choice([1.0, 1.5, 3.0])
    if is_xl:
        return pipe, request, run_edit_xl
    return pipe, request, run


def run_edit_xl(pipe, request):
    return p.run_text(pipe, request, image=request["fitted"],
                      width=request["width"], height=request["height"],
                      image_guidance_scale=request["image_guidance"])


KINDS = {"refiner": make_refiner, "starting": make_starting, "img2img": make_img2img,
         "inpaint": make_inpaint, "edit": make_edit, "lcmimg": make_lcmimg}
