"""differ_pipelines.py - drawn pipelines, saved to disk and run, for differ.py.

A case is a pipeline of the reference with drawn parts, a layout in which it is
saved, and requests.  run_*() make the reference's last sample and picture of a
request; `unstir generate --raw` makes ours.

SPDX-License-Identifier: MIT
"""
import inspect
import json
import os
import pathlib
import shutil
import subprocess

import diffusers
import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import diff_samplers as methods
import differ_networks as nets
import make_text_pipelines as text
from rule import draw_weights

TOLERANCE = 1e-3  # of the largest value, over a whole trajectory
SHARE = 0.01  # of a picture's bytes that may be off by more than a level
# Where a run amplifies rounding, two ways to sum in f32 are as far from the
# exact run as each other; the largest of many errors scatters, hence the factor.
ROUNDINGS = 4
WORDS = ["a", "cat", "photo", "of", "red", "dog", "in", "at", "hot", "x1"]
TIMEOUT_S = 120
DRAWS = 4  # of a case, until the reference can run one


def drawn(model, r):
    """Random weights by rule.py, from one seed for all parts."""
    seed = r.randrange(2**31)
    for part in ["decode", "encode"] if hasattr(model, "decoder") else [None]:
        draw_weights(model, seed, part)
    return model.eval()


def build(make):
    """Parts of a configuration that the reference accepts."""
    for _ in range(20):
        try:
            return make()
        except (ValueError, NotImplementedError, TypeError, AssertionError,
                AttributeError, RuntimeError, AttributeError):
            continue
    raise ValueError("no configuration in twenty that the reference accepts")


# -- schedulers ----------------------------------------------------------------

# Of diff_samplers.py's, without what pipelines do not give a noise to (or
# what asks the network for a variance).
NOT_HERE = ("DDIMInverse", "DPMSolverSDE")
CLASSES = [c for c in methods.BETAS if c not in NOT_HERE]
METHODS = {name for name, (cls, _, _) in methods.NAMES.items()
           if cls not in NOT_HERE}
# Those that draw nothing while they step, whatever the file says.
STILL = ("DDIM", "PNDM", "LMSDiscrete", "EulerDiscrete", "HeunDiscrete",
         "KDPM2Discrete", "UniPCMultistep", "DEISMultistep",
         "DPMSolverMultistep", "DPMSolverSinglestep", "TCD")
# And leave the network's input as it is, which DiTPipeline wants.
UNSCALED = tuple(c for c in STILL if not c.startswith(("LMS", "Euler", "Heun",
                                                       "KDPM2")))


def target_of(case):
    name = case.get("sampler")
    return methods.NAMES[name][0] if name else case["class"]


def is_sde(case):
    name = case.get("sampler")
    return bool(methods.NAMES[name][2]) if name and methods.NAMES[name][1] \
        else case["config"].get("algorithm_type", "").startswith("sde")


def draw_method(r, classes, most=6):
    """A case of diff_samplers.py: a file's scheduler and a sampler's name."""
    while True:
        case = methods.draw_case(r, classes)
        config = case["config"]
        if case.get("sampler", "ddim") not in METHODS \
                or (config.get("variance_type") or "").startswith("learned") \
                or config.get("use_flow_sigmas") or "mu" in case \
                or case.get("schedule") in methods.AYS:  # a list of sigmas,
            continue  # which diff_samplers.py gives to the scheduler itself
        case["steps"] = 1 + case["steps"] % most
        return case


def draw_still(r, targets):
    """The same, of methods that draw no noise of their own."""
    while True:
        case = draw_method(r, CLASSES)
        if target_of(case) in targets and not is_sde(case):
            if target_of(case) in ("DDIM", "TCD"):
                case["eta"] = 0.0
            return case


def add_method(pipe, request, case):
    """The case's method in the request; the pipeline saved with its file's.

    Pipelines change what is in the file as they are made, so the method is
    made from what they have."""
    request["steps"] = case["steps"]
    for key in ("sampler", "schedule"):
        if key in case:
            request[key] = case[key]
    if target_of(case) in ("DDIM", "TCD") and case["seed"] % 3:
        request["eta"] = case.get("eta", 0.0)  # else by default
    pipe.method = dict(case, config={
        k: v for k, v in pipe.scheduler.config.items() if k[0] != "_"})


CUT = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep",
       "DEISMultistep")


def settle_first(scheduler):
    """Solvers cut timesteps to whole numbers.  The first, T - 1 by its making,
    is T - 2 where the CPU's logarithm and power round so: not a difference."""
    set_timesteps, last = scheduler.set_timesteps, \
        scheduler.config.num_train_timesteps - 1

    def set_settled(*args, **kwargs):
        set_timesteps(*args, **kwargs)
        top = ((1 - scheduler.alphas_cumprod[-1])
               / scheduler.alphas_cumprod[-1]) ** 0.5
        if scheduler.timesteps[0] == last - 1 \
                and scheduler.sigmas[0] >= top * (1 - 1e-6):
            scheduler.timesteps[0] = last

    scheduler.set_timesteps = set_settled


def use_method(pipe):
    """What the request's method makes of the saved scheduler."""
    case = getattr(pipe, "method", None)
    if not case:
        return
    _, pipe.scheduler = methods.scheduler_of(case)
    if target_of(case) in CUT:
        settle_first(pipe.scheduler)
    if "generator" not in inspect.signature(pipe.scheduler.step).parameters \
            and is_sde(case):
        raise ValueError("a noise that nobody seeds")
    again = methods.scheduler_of(case)[1]
    again.set_timesteps(case["steps"])
    if methods.is_odd(again, case):
        raise ValueError("the reference does not run what was asked for")


def draw_scheduler(r):
    case = draw_method(r, CLASSES)
    scheduler = methods.class_of(case["class"])(**case["config"])
    scheduler.case = case
    return scheduler


# -- text --------------------------------------------------------------------

def draw_text(r, is_second, is_only):
    heads = r.choice([1, 2, 4])
    config = {"hidden_size": heads * r.choice([4, 7, 8, 12]),
              "intermediate_size": r.choice([16, 37, 40]),
              "num_attention_heads": heads,
              "num_hidden_layers": r.choice([2, 3]),
              "vocab_size": text.N_TOKENS, "max_position_embeddings": 77,
              "hidden_act": r.choice(["quick_gelu", "gelu"]),
              "layer_norm_eps": r.choice([1e-5, 1e-6]),
              "bos_token_id": text.N_TOKENS - 2,
              "eos_token_id": r.choice([2, text.N_TOKENS - 1]),
              "projection_dim": r.choice([8, 20])}
    kind = (transformers.CLIPTextModelWithProjection if is_second
            else transformers.CLIPTextModel)
    return drawn(kind(transformers.CLIPTextConfig(**config)), r)


def draw_vae(r, latents=4, levels=(2, 3, 4)):
    n = r.choice(levels)
    if r.random() < 0.3:
        config = nets.draw_tiny(r)
        for side in ("encoder", "decoder"):
            width = config[f"{side}_block_out_channels"][0]
            config[f"{side}_block_out_channels"] = [width] * n
            config[f"num_{side}_blocks"] = [
                r.randint(1, 2) for _ in range(n)]
        config["latent_channels"] = latents
        return drawn(diffusers.AutoencoderTiny(**config), r)
    config = {**nets.coder_fields(r, n), "latent_channels": latents,
              "in_channels": 3, "out_channels": 3,
              "use_quant_conv": r.random() < 0.8,
              "use_post_quant_conv": r.random() < 0.8,
              "scaling_factor": r.choice([0.18215, 0.13025, 1.3]),
              "shift_factor": r.choice([None, None, 0.1]),
              "mid_block_add_attention": r.random() < 0.8}
    return drawn(diffusers.AutoencoderKL(**config), r)


def draw_unet(r, width, **fixed):
    """A UNet2DConditionModel that a text of this width drives."""
    def make():
        config = nets.draw_cond(r)
        for key in ("num_class_embeds", "class_embed_type",
                    "addition_embed_type", "time_cond_proj_dim",
                    "encoder_hid_dim", "encoder_hid_dim_type",
                    "dual_cross_attention", "resnet_skip_time_act",
                    "cross_attention_norm", "time_embedding_type",
                    "timestep_post_act", "time_embedding_act_fn",
                    "class_embeddings_concat", "attention_type",
                    "addition_time_embed_dim",
                    "projection_class_embeddings_input_dim"):
            config.pop(key, None)
        if not any("Cross" in b for b in config["down_block_types"]):
            config["down_block_types"][0] = "CrossAttnDownBlock2D"
        config.update(in_channels=4, out_channels=4, sample_size=8,
                      cross_attention_dim=width, time_embedding_dim=None)
        config.update(fixed)
        return drawn(diffusers.UNet2DConditionModel(**config), r)
    return build(make)


def words(r, most=12):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(0, most)))


def draw_request(r, unit, has_guidance=True):
    request = {"prompt": words(r), "steps": r.choice([2, 3, 5]),
               "seed": draw_seed(r), "n": r.choice([1, 1, 1, 2, 3]),
               "width": unit * r.randint(2, 5),
               "height": unit * r.randint(2, 5)}
    if has_guidance:
        request["guidance"] = r.choice([0.0, 0.5, 1.0, 1.5, 3.0, 7.5, 20.0])
        if r.random() < 0.6:
            is_long = request["guidance"] > 1 and r.random() < 0.2
            request["negative_prompt"] = text.LONG if is_long else words(r, 5)
        if r.random() < 0.3:
            request["guidance_rescale"] = r.choice([0.2, 0.7, 1.0])
    if r.random() < 0.25:
        request["clip_skip"] = r.choice([1, 2, 2, 3])
    if r.random() < 0.2:
        request["prompt"] = text.LONG
    if text.LONG in request.values() and r.random() < 0.5:
        request["syntax"] = "plain"
        request.pop("clip_skip", None)
    return request


def draw_seed(r):
    return r.choice([r.randrange(2**32), r.randrange(2**32),
                     r.randrange(2**64), 0])


def text_args(pipe, request):
    is_own = "clip_skip" in request or "syntax" not in request \
        and text.LONG in request.values()
    args = {}
    if is_own and not (hasattr(pipe, "tokenizer_2")
                       and pipe.text_encoder is None):
        with torch.no_grad():
            args.update(text.embeddings(pipe, request))
        if "negative_prompt" not in request \
                and pipe.config.get("force_zeros_for_empty_prompt"):
            for key in ("negative_prompt_embeds",
                        "negative_pooled_prompt_embeds"):
                args[key] = torch.zeros_like(args[key])
    else:
        request.pop("clip_skip", None)
        for key in ("prompt", "negative_prompt"):
            if request.get(key) == text.LONG and "syntax" not in request:
                request[key] = "red"
        args["prompt"] = request["prompt"]
        if "negative_prompt" in request:
            args["negative_prompt"] = request["negative_prompt"]
    if "guidance" in request:
        args["guidance_scale"] = request["guidance"]
    if "guidance_rescale" in request:
        args["guidance_rescale"] = request["guidance_rescale"]
    return args


# What SDXL is told, as our option says it: width x height, left and top.
MICRO = {"original_size": "original_size", "target_size": "target_size",
         "crop_at": "crops_coords_top_left",
         "negative_original_size": "negative_original_size",
         "negative_target_size": "negative_target_size",
         "negative_crop_at": "negative_crops_coords_top_left"}
SCORES = ("aesthetic_score", "negative_aesthetic_score")


def draw_micro(r, request, has_score=False, has_picture=False):
    """Some of it, but nothing that the reference takes and passes over."""
    def size(sign):
        return f"{r.randint(1, 2000)}{sign}{r.randint(1, 2000)}"

    keys = {"original_size": "x", "crop_at": ","}
    if not has_score:
        keys["target_size"] = "x"
    away = {"negative_" + k: v for k, v in keys.items()}
    if has_picture and not has_score:
        del away["negative_crop_at"]
    if not has_picture and r.random() < 0.5:
        away = {}
    whole = not has_picture  # both negative sizes or none
    for key, sign in {**keys, **away}.items():
        if r.random() < 0.6 or whole and key.endswith("size") and away:
            request[key] = size(sign)
    for key in SCORES if has_score else ():
        if r.random() < 0.5:
            request[key] = r.choice([-1.0, 0.0, 2.5, 6.0, 7.25])


def micro_args(request):
    args = {key: request[key] for key in SCORES if key in request}
    for key, name in MICRO.items():
        if key in request:
            a, b = request[key].replace("x", ",").split(",")
            args[name] = (int(b), int(a))
    return args


def generator(request, i=0):
    return torch.Generator().manual_seed((request["seed"] + i) % 2**64)


def run_text(pipe, request, **more):
    """Picture by picture: ours are as if each were made alone."""
    kept, images = [], []

    def keep(_pipe, _i, _t, now):
        kept[-1] = now["latents"].clone()
        return now

    def keep_old(_i, _t, latents):
        kept[-1] = latents.clone()

    args = {**text_args(pipe, request), **micro_args(request)}
    for key in ("denoising_start", "denoising_end"):
        if key in request:
            args[key] = request[key]
    known = inspect.signature(pipe.__call__).parameters
    if "callback_on_step_end" in known:
        args["callback_on_step_end"] = keep
    else:
        args["callback"] = keep_old
    if "eta" in request and "eta" in known:
        args["eta"] = request["eta"]
    if "guidance_rescale" in args and "guidance_rescale" not in known:
        del args["guidance_rescale"], request["guidance_rescale"]
    for i in range(request["n"]):
        kept.append(None)
        images.append(pipe(num_inference_steps=request["steps"],
                           generator=generator(request, i), output_type="np",
                           **args, **more).images)
    return torch.cat(kept), numpy.concatenate(images)


def run_sized(pipe, request):
    return run_text(pipe, request, width=request["width"],
                    height=request["height"])


def vae_unit(vae):
    return max(8, 2 ** (len(vae.config.get("block_out_channels")
                            or vae.config.encoder_block_out_channels) - 1))


def text_parts(r, has_two, is_alone):
    parts, width = {}, 0
    length = r.choice([77, 77, 77, 24])
    for suffix in ["_2"] if is_alone else ["", "_2"] if has_two else [""]:
        encoder = draw_text(r, suffix == "_2", is_alone)
        parts["text_encoder" + suffix] = encoder
        parts["tokenizer" + suffix] = text.tokenizer(
            r.choice(["!", "<|endoftext|>"]), length)
        width += encoder.config.hidden_size
    if is_alone:
        parts.update(text_encoder=None, tokenizer=None)
    return parts, width


def not_checked(parts):
    return dict(parts, safety_checker=None, feature_extractor=None,
                requires_safety_checker=False)


def sd_parts(r, **unet):
    parts, width = text_parts(r, False, False)
    return not_checked(dict(parts, unet=draw_unet(r, width, **unet),
                            vae=draw_vae(r), scheduler=draw_scheduler(r)))


def xl_parts(r, is_refiner, **more):
    parts, width = text_parts(r, True, is_refiner)
    dim = r.choice([4, 8])
    projection = parts["text_encoder_2"].config.projection_dim
    unet = draw_unet(r, width, addition_embed_type="text_time",
                     addition_time_embed_dim=dim,
                     projection_class_embeddings_input_dim=projection
                     + (5 if is_refiner else 6) * dim, **more)
    vae = draw_vae(r)
    if r.random() < 0.4 and not isinstance(vae, diffusers.AutoencoderTiny):
        vae.register_to_config(
            latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.9, 1.1, 1.3, 0.8])
    parts.update(unet=unet, vae=vae, scheduler=draw_scheduler(r),
                 force_zeros_for_empty_prompt=r.random() < 0.6)
    if is_refiner:
        parts["requires_aesthetics_score"] = True
    return parts


def with_case(kind, parts):
    """A pipeline whose scheduler still says what it was drawn as."""
    pipe = kind(**parts)
    pipe.scheduler.case = parts["scheduler"].case
    return pipe


def embedded_guidance(r):
    """At times a network that is told the guidance scale."""
    return {"time_cond_proj_dim": r.choice([8, 17, 32])} \
        if r.random() < 0.12 else {}


def drop_unread(pipe, request):
    """What a pipeline whose network is told the scale passes over."""
    if pipe.unet.config.time_cond_proj_dim:
        for key in ("negative_prompt", "guidance_rescale"):
            request.pop(key, None)


def make_text(r, kind, parts):
    pipe = with_case(kind, parts)
    request = draw_request(r, vae_unit(pipe.vae))
    drop_unread(pipe, request)
    add_method(pipe, request, pipe.scheduler.case)
    return pipe, request, run_sized


def make_sd(r):
    return make_text(r, diffusers.StableDiffusionPipeline,
                     sd_parts(r, **embedded_guidance(r)))


def make_sdxl(r):
    pipe, request, run = make_text(
        r, diffusers.StableDiffusionXLPipeline,
        xl_parts(r, False, **embedded_guidance(r)))
    if r.random() < 0.5:
        draw_micro(r, request)
    return pipe, request, run


def make_ending(r):
    """A run that leaves the rest to another."""
    pipe, request, run = make_sdxl(r)
    request["steps"] = pipe.method["steps"] = r.choice([3, 5, 8, 10])
    request["denoising_end"] = r.choice([0.33, 0.5, 0.7, 0.8, 0.95])
    return pipe, request, run


def draw_lcm_scheduler(r):
    while True:
        config = methods.draw_config(r, "LCM")
        if config.get("num_train_timesteps", 1000) >= 100:
            return diffusers.LCMScheduler(**config)


def lcm_parts(r):
    parts, width = text_parts(r, False, False)
    return not_checked(dict(
        parts, vae=draw_vae(r), scheduler=draw_lcm_scheduler(r),
        unet=draw_unet(r, width, time_cond_proj_dim=r.choice([8, 17, 32]))))


def lcm_request(r, pipe):
    request = draw_request(r, vae_unit(pipe.vae), False)
    request["guidance"] = r.choice([1.0, 1.5, 4.0, 8.5])
    request["steps"] = r.choice([1, 2, 4])
    return request


def make_lcm(r):
    pipe = diffusers.LatentConsistencyModelPipeline(**lcm_parts(r))
    return pipe, lcm_request(r, pipe), run_sized


# -- without a text ----------------------------------------------------------

def draw_pixel_net(r, **fixed):
    def make():
        config = nets.draw_unet2d(r)
        for key in ("class_embed_type", "num_class_embeds"):
            config.pop(key, None)
        size = 2 ** (len(config["block_out_channels"]) - 1) * r.randint(2, 4)
        pixels = 3 if "Skip" in "".join(config["down_block_types"]
                                        + config["up_block_types"]) \
            else r.choice([1, 3])
        config.update(sample_size=size, in_channels=pixels,
                      out_channels=pixels, num_train_timesteps=1000,
                      time_embedding_dim=None)
        config.update(fixed)
        net = drawn(diffusers.UNet2DModel(**config), r)
        x = torch.zeros(1, config["in_channels"], config["sample_size"],
                        config["sample_size"])
        label = torch.tensor([0]) if config.get("num_class_embeds") else None
        with torch.no_grad():
            net(x, 3, class_labels=label)
        return net
    return build(make)


def plain_request(r, net, steps=(2, 3, 5)):
    return {"steps": r.choice(steps), "seed": draw_seed(r),
            "n": r.choice([1, 1, 2])}


def run_pixels(pipe, request, **more):
    images = [pipe(generator=generator(request, i),
                   num_inference_steps=request["steps"], output_type="np",
                   **more).images for i in range(request["n"])]
    return None, numpy.concatenate(images)


def is_learned(config):
    return (config.get("variance_type") or "").startswith("learned")


def make_ddpm(r):
    while True:
        config = methods.draw_config(r, "DDPM")
        if is_learned(config) == (r.random() < 0.2):
            break
    net = draw_pixel_net(r)
    if is_learned(config):
        pixels = r.choice([1, 3])
        net = draw_pixel_net(r, in_channels=pixels, out_channels=2 * pixels,
                             down_block_types=["DownBlock2D", "AttnDownBlock2D"],
                             up_block_types=["AttnUpBlock2D", "UpBlock2D"],
                             block_out_channels=[8, 16], norm_num_groups=4,
                             attn_norm_num_groups=None)
    return (diffusers.DDPMPipeline(
        unet=net, scheduler=diffusers.DDPMScheduler(**config)),
        plain_request(r, net), run_pixels)


def make_ddim(r):
    net = draw_pixel_net(r)
    scheduler = diffusers.DDIMScheduler(**methods.draw_config(r, "DDIM"))
    request = plain_request(r, net)
    if r.random() < 0.7:
        request["eta"] = r.choice([0.0, 0.5, 1.0])
    return (diffusers.DDIMPipeline(unet=net, scheduler=scheduler), request,
            lambda pipe, q: run_pixels(pipe, q, eta=q.get("eta", 0.0)))


def run_steps(pipe, request, labels=None):
    """What people write who give a network of pixels another scheduler."""
    net, s = pipe.unet, pipe.scheduler
    shape = (1, net.config.in_channels, net.config.sample_size,
             net.config.sample_size)
    known = inspect.signature(s.step).parameters
    latents = []
    for i in range(request["n"]):
        gen = generator(request, i)
        args = {"generator": gen} if "generator" in known else {}
        if "eta" in request and "eta" in known:
            args["eta"] = request["eta"]
        s.set_timesteps(request["steps"])
        x = torch.randn(shape, generator=gen, dtype=net.dtype)
        x = x * getattr(s, "init_noise_sigma", 1.0)
        with torch.no_grad():
            for t in s.timesteps:
                out = net(s.scale_model_input(x, t), t,
                          class_labels=labels).sample
                x = s.step(out, t, x, **args).prev_sample
        latents.append(x)
    x = torch.cat(latents)
    image = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return x, image


def make_pixels(r):
    net = draw_pixel_net(r)
    pipe = diffusers.DDPMPipeline(unet=net, scheduler=draw_scheduler(r))
    request = plain_request(r, net)
    add_method(pipe, request, pipe.scheduler.case)
    if target_of(pipe.method) == "TCD":
        request.setdefault("eta", 0.3)
    return pipe, request, run_steps


def make_score(r):
    net = draw_pixel_net(r, time_embedding_type="fourier", in_channels=3,
                         out_channels=3)
    scheduler = diffusers.ScoreSdeVeScheduler(
        **{**methods.draw_config(r, "ScoreSdeVe"), "num_train_timesteps": 1000,
           "sigma_max": r.choice([50.0, 348.0])})
    return (diffusers.ScoreSdeVePipeline(unet=net, scheduler=scheduler),
            plain_request(r, net, (3, 6)), run_pixels)


def make_consistency(r):
    classes = {"num_class_embeds": 9} if r.random() < 0.5 else {}
    net = draw_pixel_net(r, in_channels=3, out_channels=3,
                         time_embedding_type="positional", **classes)
    config = {**methods.draw_config(r, "CMStochasticIterative"),
              "num_train_timesteps": r.choice([40, 201])}
    scheduler = diffusers.CMStochasticIterativeScheduler(**config)
    request = plain_request(r, net, (1, 2, 4))
    more = {}
    if classes:
        request["class"] = more["class_labels"] = r.randrange(9)
    return (diffusers.ConsistencyModelPipeline(unet=net, scheduler=scheduler),
            request, lambda pipe, q: run_pixels(pipe, q, **more))


def make_ldm(r):
    width = r.choice([2, 3, 4])
    net = draw_pixel_net(r, in_channels=width, out_channels=width,
                         down_block_types=["DownBlock2D", "AttnDownBlock2D"],
                         up_block_types=["AttnUpBlock2D", "UpBlock2D"],
                         block_out_channels=[16, 32], norm_num_groups=4,
                         attn_norm_num_groups=None, sample_size=8)
    config = nets.draw_vq(r)
    config.update(vq_embed_dim=width, in_channels=3, out_channels=3,
                  scaling_factor=r.choice([0.18215, 1.0, 0.8]))
    vq = drawn(diffusers.VQModel(**config), r)
    case = draw_still(r, STILL)
    scheduler = methods.class_of(case["class"])(**case["config"])
    pipe = diffusers.LDMPipeline(vqvae=vq, unet=net, scheduler=scheduler)
    request = plain_request(r, net)
    add_method(pipe, request, case)
    request.pop("eta", None)
    return pipe, request, run_ldm


def run_ldm(pipe, request):
    """LDMPipeline scales its noise before it sets the timesteps: by the levels
    of the run before.  Here those of a run like this one."""
    pipe.scheduler.set_timesteps(request["steps"])
    return run_pixels(pipe, request)


def run_dit(pipe, request):
    if pipe.transformer.config.num_embeds_ada_norm == 1000:
        return run_pixels(pipe, request, class_labels=[request["class"]],
                          guidance_scale=request["guidance"])
    runs = [run_one_dit(pipe, request, i) for i in range(request["n"])]
    return (torch.cat([x for x, _ in runs]),
            numpy.concatenate([image for _, image in runs]))


def run_one_dit(pipe, request, i):
    """DiTPipeline's loop with the null class of a small table."""
    net, vae, scheduler = pipe.transformer, pipe.vae, pipe.scheduler
    c = net.config.in_channels
    shape = (1, c, net.config.sample_size, net.config.sample_size)
    x = torch.randn(shape, generator=generator(request, i), dtype=net.dtype)
    labels = torch.tensor([request["class"], net.config.num_embeds_ada_norm])
    scheduler.set_timesteps(request["steps"])
    args = {"eta": request["eta"]} if "eta" in request else {}
    with torch.no_grad():
        for t in scheduler.timesteps:
            pair = scheduler.scale_model_input(torch.cat([x, x]), t)
            cond, away = net(pair, timestep=t.expand(2),
                             class_labels=labels).sample[:, :c].chunk(2)
            eps = cond
            if request["guidance"] > 1:
                eps = away + request["guidance"] * (cond - away)
            x = scheduler.step(eps, t, x, **args).prev_sample
        image = vae.decode(x / vae.config.scaling_factor).sample
    image = (image / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return x, image


def make_ditpipe(r):
    config = nets.draw_dit(r)
    config.update(in_channels=4, out_channels=r.choice([4, 8]),
                  num_embeds_ada_norm=r.choice([10, 100, 1000, 1000]))
    net = drawn(diffusers.DiTTransformer2DModel(**config), r)
    case = draw_still(r, UNSCALED)
    pipe = diffusers.DiTPipeline(
        transformer=net, vae=draw_vae(r),
        scheduler=methods.class_of(case["class"])(**case["config"]))
    request = plain_request(r, net)
    add_method(pipe, request, case)
    request.pop("eta", None)
    if target_of(case) == "TCD":  # whose default draws
        request["eta"] = 0.0
    request.update(guidance=r.choice([0.5, 1.0, 1.5, 4.0]), **{
        "class": r.randrange(config["num_embeds_ada_norm"])})
    return pipe, request, run_dit


KINDS = {"ddpm": make_ddpm, "ddim": make_ddim, "pixels": make_pixels,
         "score": make_score,
         "consistency": make_consistency, "ldm": make_ldm,
         "ditpipe": make_ditpipe, "sd": make_sd, "sdxl": make_sdxl,
         "lcm": make_lcm, "ending": make_ending}


# -- layouts -----------------------------------------------------------------

ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value",
             "to_out.0": "proj_attn"}


def rewrite(path, change):
    tensors = load_file(path)
    save_file({k: v.contiguous() for k, v in change(tensors).items()}, path)


def old_attention(tensors):
    """Names of the first attention class, weights as convolutions."""
    out = {}
    for name, t in tensors.items():
        if "attentions." in name and "transformer_blocks" not in name:
            for new, old in ATTENTION.items():
                name = name.replace(f".{new}.", f".{old}.")
            if t.ndim == 2 and name.endswith("weight"):
                t = t[:, :, None, None]
        out[name] = t
    return out


def prefixed(tensors):
    return {k if k.startswith("text_") else "text_model." + k: v
            for k, v in tensors.items()}


def age(r, folder):
    """Names of old files, where one file holds a network's weights."""
    stem = "diffusion_pytorch_model.safetensors"
    for part in ("unet", "vae", "vqvae"):
        path = folder / part / stem
        if not path.exists() or r.random() < 0.5:
            continue
        config = json.loads((folder / part / "config.json").read_text())
        if config["_class_name"] in ("UNet2DModel", "AutoencoderKL",
                                     "VQModel"):
            rewrite(path, old_attention)
    for part in ("text_encoder", "text_encoder_2"):
        path = folder / part / "model.safetensors"
        if path.exists() and r.random() < 0.5:
            rewrite(path, prefixed)


def to_root(folder):
    """As the first repositories of one network have it."""
    for path in [*(folder / "unet").iterdir(), *(folder / "scheduler").iterdir()]:
        shutil.move(path, folder / path.name)
    (folder / "unet").rmdir()
    (folder / "scheduler").rmdir()


F8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def network_files(pipe, folder):
    """(network, its file), where that is one."""
    for name, m in pipe.components.items():
        if isinstance(m, torch.nn.Module):
            for path in (pathlib.Path(folder) / name).glob("*.safetensors"):
                yield m, path


def store_as(r, pipe, folder, dtypes):
    """Files in a type that the reference does not write; it has their
    numbers."""
    for m, path in network_files(pipe, folder):
        dtype = r.choice(dtypes)
        stored = {k: v.to(dtype) if v.ndim > 1 else v
                  for k, v in load_file(path).items()}
        save_file(stored, path)
        m.load_state_dict({k: v.to(torch.float32)
                           for k, v in stored.items()}, strict=False)


def add_decoys(pipe, folder):
    """A variant beside each file, which nobody asked for."""
    for _, path in list(network_files(pipe, folder)):
        save_file({k: torch.zeros_like(v, dtype=torch.float16)
                   for k, v in load_file(path).items()},
                  path.with_name(path.stem + ".fp16.safetensors"))


def networks_of(pipe):
    return [m for m in pipe.components.values()
            if isinstance(m, torch.nn.Module)]


def tables_of(model):
    """Numbers that no file holds (positions of patches): they are made anew
    when a file is read, never rounded with its weights."""
    kept = model.state_dict().keys()
    return [(module, key, table.clone())
            for name, module in model.named_modules()
            for key, table in module.named_buffers(recurse=False)
            if f"{name}.{key}".lstrip(".") not in kept]


def save(r, pipe, folder):
    """Save; the pipeline keeps what the file holds.  The layout's name."""
    kind = r.choice(["plain", "old", "fp16", "bf16", "sharded", "root", "f8",
                     "f64", "decoys", "sharded fp16", "sharded bf16"])
    args = {}
    made = [tables_of(m) for m in networks_of(pipe)]
    if kind.endswith("16"):
        args["variant"] = kind[-4:]
        dtype = torch.float16 if kind[-4:] == "fp16" else torch.bfloat16
        for m in networks_of(pipe):
            m.to(dtype)
    if kind.startswith("sharded"):
        args["max_shard_size"] = r.choice(["20KB", "60KB"])
    pipe.save_pretrained(folder, **args)
    for m, tables in zip(networks_of(pipe), made):
        m.to(torch.float32)
        for module, key, table in tables:
            setattr(module, key, table)
    if getattr(pipe, "is_cosxl_edit", False):  # which no save writes down
        index = pathlib.Path(folder) / "model_index.json"
        told = json.loads(index.read_text())
        index.write_text(json.dumps({**told, "is_cosxl_edit": True}))
    if kind in ("f8", "f64"):
        store_as(r, pipe, folder, F8 if kind == "f8" else [torch.float64])
    if kind == "decoys":
        add_decoys(pipe, folder)
    if kind == "old":
        age(r, pathlib.Path(folder))
    if kind == "root" and set(pipe.components) == {"unet", "scheduler"}:
        to_root(pathlib.Path(folder))
    return kind


# -- ours --------------------------------------------------------------------

FLAGS = {"prompt": "-p", "negative_prompt": "--negative", "steps": "--steps",
         "seed": "--seed", "n": "-n", "width": "--width",
         "height": "--height", "guidance": "--guidance",
         "syntax": "--prompt-syntax", "schedule": "--schedule",
         "guidance_rescale": "--guidance-rescale", "clip_skip": "--clip-skip",
         "strength": "--strength", "eta": "--eta", "class": "--class",
         "sampler": "--sampler", "image_guidance": "--image-guidance",
         **{key: "--" + key.replace("_", "-") for key in (
             *MICRO, *SCORES, "denoising_start", "denoising_end")}}


def run_ours(unstir, folder, request, model=None, more=()):
    """(result, None) or (None, (exit code, words)); the model is the folder
    itself or another."""
    folder = pathlib.Path(folder)
    raw = folder / "raw.safetensors"
    cmd = [unstir, "generate", "-m", str(model or folder), *more,
           "--force", "--raw", str(raw), "-o",
           str(folder / "out-{i}.png"), "-q", "--precision", "f32",
           "--threads", "1"]
    for key, value in request.items():
        if key in FLAGS:
            cmd += [FLAGS[key], str(value)]
    if "class" not in request and "prompt" not in request \
            and "guidance" not in request:
        cmd += ["--guidance", "1"]
    if "latents" in request:
        save_file({"sample": request["latents"]}, folder / "latents.st")
        cmd += ["--init", str(folder / "latents.st")]
    for key, flag in (("picture", "--init"), ("painted", "--mask")):
        if key in request:
            request[key].save(folder / f"{key}.png")
            cmd += [flag, str(folder / f"{key}.png")]
    done = subprocess.run(cmd, capture_output=True, text=True,
                          timeout=TIMEOUT_S)
    if done.returncode:
        return None, (done.returncode, done.stderr.strip()[-400:])
    names = sorted(folder.glob("out-*.png"))
    images = [numpy.asarray(Image.open(n)) for n in names]
    images = [i[..., None] if i.ndim == 2 else i for i in images]
    return (load_file(raw)["sample"], numpy.stack(images)), None


class Distance:
    """Of two runs: of the samples by the largest value, of the pictures the
    share of bytes that are off.  None where one has none, or shapes differ."""

    def __init__(self, want, got):
        self.sample = self.share = self.worst = None
        self.odd = None
        latents, image = want
        if latents is not None and got[0] is not None:
            if latents.shape != got[0].shape:
                self.odd = f"shapes {latents.shape} and {got[0].shape}"
                return
            far = (latents - got[0]).abs().max() / latents.abs().max()
            self.sample = far.item()
        a, b = (i[..., None] if i.ndim == 3 else i for i in (image, got[1]))
        if a.shape != b.shape:
            self.odd = f"pictures {a.shape} and {b.shape}"
            return
        off = numpy.abs(a.astype(int) - b.astype(int))
        self.share, self.worst = (off > 1).mean(), off.max()

    def is_small(self):
        return not self.odd and (self.sample or 0) <= TOLERANCE \
            and self.share <= SHARE

    def is_within(self, other):
        """As near as another run is, up to ROUNDINGS of its distances?"""
        return not self.odd and not other.odd and \
            (self.sample or 0) <= max(TOLERANCE,
                                      ROUNDINGS * (other.sample or 0)) \
            and self.share <= max(SHARE, ROUNDINGS * other.share)

    def __str__(self):
        if self.odd:
            return self.odd
        says = [] if self.sample is None else [f"sample {self.sample:.1e}"]
        says.append(f"{100 * self.share:.2g} % of bytes off, worst "
                    f"{self.worst}")
        return ", ".join(says)


def finite(latents, image):
    """Latents and bytes of a run; None if numbers ran away."""
    if latents is not None and not bool(latents.isfinite().all()):
        return None
    if not numpy.isfinite(image).all():
        return None
    return latents, (numpy.asarray(image) * 255).round().astype(numpy.uint8)


def in_f64(pipe, request, run):
    """The same run with the same noise, where rounding does not count."""
    randn = torch.randn

    def same_noise(*args, **kwargs):
        dtype = kwargs.pop("dtype", None)
        return randn(*args, **kwargs, dtype=torch.float32).to(dtype)

    for m in networks_of(pipe):
        m.to(torch.float64)
    torch.randn = same_noise
    try:
        use_method(pipe)
        latents, image = run(pipe, request)
    finally:
        torch.randn = randn
        for m in networks_of(pipe):
            m.to(torch.float32)
    return latents.float() if latents is not None else None, image


def judge(pipe, request, run, want, got):
    """(verdict, words).  A run that is off is held to the reference in f64,
    where the reference's own f32 may be off as well: then it says nothing."""
    off = Distance(want, got)
    if off.is_small():
        return "same", str(off)
    try:
        exact = finite(*in_f64(pipe, request, run))
    except Exception as e:
        return "DIFFERS", f"{off}; no f64: {str(e)[:80]}"
    if exact is None:
        return "DIFFERS", f"{off}; f64 gives NaN"
    own, ours = Distance(exact, want), Distance(exact, got)
    says = f"{off}; from f64: the reference's f32 {own}, ours {ours}"
    if ours.is_small():
        return "same", says
    return "rounding" if ours.is_within(own) else "DIFFERS", says


def tell(pipe, layout, request):
    """What a case is, in a line."""
    shown = {k: (v.mode, *v.size) if isinstance(v, Image.Image)
             else tuple(v.shape) if isinstance(v, torch.Tensor) else v
             for k, v in request.items()}
    return {"pipeline": type(pipe).__name__, "layout": layout,
            "request": shown, "scheduler": type(pipe.scheduler).__name__,
            "method": getattr(pipe, "method", None)}


class Unusable(Exception):
    """A case that says nothing: (why, configuration)."""


def draw_one(r, make, folder):
    """(pipeline, request, run, the reference's numbers, configuration)."""
    told = {}
    try:
        pipe, request, run = make(r)
        pipe.set_progress_bar_config(disable=True)
        layout = save(r, pipe, folder)
        told = tell(pipe, layout, request)
        use_method(pipe)
        want = finite(*run(pipe, request))
        told = tell(pipe, layout, request)
    except Exception as e:
        raise Unusable(f"the reference refuses: {str(e)[:200]}", told) from e
    if want is None:
        raise Unusable("the reference gives NaN", told)
    return pipe, request, run, want, told


def compare(r, make, unstir, folder, forgets):
    """(verdict, detail, configuration) of one case: the first of a few that
    the reference can run."""
    for attempt in range(DRAWS):
        try:
            pipe, request, run, want, told = draw_one(r, make, folder)
            break
        except Unusable as e:
            shutil.rmtree(folder, ignore_errors=True)
            if attempt + 1 == DRAWS:
                return "skipped", *e.args
    got, refused = run_ours(unstir, folder, request)
    if forgets:
        shutil.rmtree(folder)
    if refused:
        code, says = refused
        return "refused" if code in (2, 3, 4) else "DIFFERS", \
            f"exit {code}: {says}", told
    return *judge(pipe, request, run, want, got), told
