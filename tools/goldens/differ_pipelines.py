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
WORDS = ["a", "cat", "photo", "of", "red", "dog", "in", "at", "hot", "x1"]
TIMEOUT_S = 120


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
CLASSES = [c for c in methods.BETAS if c not in ("DDIMInverse", "DPMSolverSDE",
                                                 "LCM")]
METHODS = {name for name, (cls, _, _) in methods.NAMES.items()
           if cls not in ("DDIMInverse", "DPMSolverSDE", "LCM")}


def draw_method(r, classes, most=6):
    """A case of diff_samplers.py: a file's scheduler and a sampler's name."""
    while True:
        case = methods.draw_case(r, classes)
        config = case["config"]
        if case.get("sampler", "ddim") not in METHODS \
                or config.get("variance_type", "").startswith("learned") \
                or config.get("use_flow_sigmas") or "mu" in case \
                or config.get("num_train_timesteps", 1000) != 1000:
            continue
        case["steps"] = 1 + case["steps"] % most
        return case


def add_method(pipe, request, case):
    """The case's method in the request; the pipeline saved with its file's.

    Pipelines change what is in the file as they are made, so the method is
    made from what they have."""
    request["steps"] = case["steps"]
    if "sampler" in case:
        request["sampler"] = case["sampler"]
    kind = NAMES_OF_ETA.get(case.get("sampler", case["class"]))
    if kind:
        request["eta"] = case.get("eta", 0.0)
    pipe.method = dict(case, config={
        k: v for k, v in pipe.scheduler.config.items() if k[0] != "_"})


NAMES_OF_ETA = {"ddim": True, "tcd": True, "DDIM": True, "TCD": True}


def use_method(pipe):
    """What the request's method makes of the saved scheduler."""
    case = getattr(pipe, "method", None)
    if not case:
        return
    _, pipe.scheduler = methods.scheduler_of(case)
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
    config = {"hidden_size": heads * r.choice([4, 8, 12]),
              "intermediate_size": r.choice([16, 40]),
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
              "use_quant_conv": True, "use_post_quant_conv": True,
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
               "seed": r.randrange(2**32), "n": r.choice([1, 1, 2]),
               "width": unit * r.randint(2, 5),
               "height": unit * r.randint(2, 5)}
    if has_guidance:
        request["guidance"] = r.choice([1.0, 3.0, 7.5])
        if r.random() < 0.6:
            request["negative_prompt"] = words(r, 5)
        if r.random() < 0.2:
            request["guidance_rescale"] = 0.7
    if r.random() < 0.2:
        request["clip_skip"] = 2
    if r.random() < 0.2:
        request["prompt"] = text.LONG
    return request


def text_args(pipe, request):
    is_own = "clip_skip" in request or request["prompt"] == text.LONG
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
        if request["prompt"] == text.LONG:
            request["prompt"] = "red"
        args["prompt"] = request["prompt"]
        if "negative_prompt" in request:
            args["negative_prompt"] = request["negative_prompt"]
    if "guidance" in request:
        args["guidance_scale"] = request["guidance"]
    if "guidance_rescale" in request:
        args["guidance_rescale"] = request["guidance_rescale"]
    return args


def generator(request, i=0):
    return torch.Generator().manual_seed(request["seed"] + i)


def run_text(pipe, request, **more):
    """Picture by picture: ours are as if each were made alone."""
    kept, images = [], []

    def keep(_pipe, _i, _t, now):
        kept[-1] = now["latents"].clone()
        return now

    def keep_old(_i, _t, latents):
        kept[-1] = latents.clone()

    args = text_args(pipe, request)
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
    for suffix in ["_2"] if is_alone else ["", "_2"] if has_two else [""]:
        encoder = draw_text(r, suffix == "_2", is_alone)
        parts["text_encoder" + suffix] = encoder
        parts["tokenizer" + suffix] = text.tokenizer(
            r.choice(["!", "<|endoftext|>"]))
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


def make_text(r, kind, parts):
    pipe = with_case(kind, parts)
    request = draw_request(r, vae_unit(pipe.vae))
    add_method(pipe, request, pipe.scheduler.case)
    return pipe, request, run_sized


def make_sd(r):
    return make_text(r, diffusers.StableDiffusionPipeline, sd_parts(r))


def make_sdxl(r):
    return make_text(r, diffusers.StableDiffusionXLPipeline,
                     xl_parts(r, False))


def draw_lcm_scheduler(r):
    while True:
        config = methods.draw_config(r, "LCM")
        if config.get("num_train_timesteps", 1000) == 1000:
            return diffusers.LCMScheduler(**config)


def make_lcm(r):
    parts, width = text_parts(r, False, False)
    parts = not_checked(dict(
        parts, vae=draw_vae(r), scheduler=draw_lcm_scheduler(r),
        unet=draw_unet(r, width, time_cond_proj_dim=r.choice([8, 17, 32]))))
    pipe = diffusers.LatentConsistencyModelPipeline(**parts)
    request = draw_request(r, vae_unit(pipe.vae), False)
    request["guidance"] = r.choice([1.0, 4.0, 8.5])
    request["steps"] = r.choice([1, 2, 4])
    return pipe, request, run_sized


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
    return {"steps": r.choice(steps), "seed": r.randrange(2**32),
            "n": 1}


def run_pixels(pipe, request, **more):
    images = pipe(generator=generator(request),
                  num_inference_steps=request["steps"], output_type="np",
                  **more).images
    return None, images


def pixel_scheduler(r, kind, **more):
    return kind(beta_schedule=r.choice(["linear", "squaredcos_cap_v2"]),
                prediction_type=r.choice(["epsilon", "sample",
                                          "v_prediction"]),
                clip_sample=r.random() < 0.6, **more)


def make_ddpm(r):
    net = draw_pixel_net(r)
    scheduler = pixel_scheduler(r, diffusers.DDPMScheduler,
                                variance_type=r.choice(["fixed_small",
                                                        "fixed_large"]))
    return (diffusers.DDPMPipeline(unet=net, scheduler=scheduler),
            plain_request(r, net), run_pixels)


def make_ddim(r):
    net = draw_pixel_net(r)
    scheduler = pixel_scheduler(r, diffusers.DDIMScheduler)
    request = plain_request(r, net)
    request["eta"] = r.choice([0.0, 0.5, 1.0])
    return (diffusers.DDIMPipeline(unet=net, scheduler=scheduler), request,
            lambda pipe, q: run_pixels(pipe, q, eta=q["eta"]))


def make_score(r):
    net = draw_pixel_net(r, time_embedding_type="fourier", in_channels=3,
                         out_channels=3)
    scheduler = diffusers.ScoreSdeVeScheduler(
        snr=r.choice([0.075, 0.15]), sigma_min=0.01,
        sigma_max=r.choice([50.0, 348.0]), correct_steps=r.choice([1, 2]))
    return (diffusers.ScoreSdeVePipeline(unet=net, scheduler=scheduler),
            plain_request(r, net, (3, 6)), run_pixels)


def make_consistency(r):
    classes = {"num_class_embeds": 9} if r.random() < 0.5 else {}
    net = draw_pixel_net(r, in_channels=3, out_channels=3, **classes)
    scheduler = diffusers.CMStochasticIterativeScheduler(
        num_train_timesteps=r.choice([40, 201]))
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
    scheduler = diffusers.DDIMScheduler(**text.BETAS, clip_sample=False)
    return (diffusers.LDMPipeline(vqvae=vq, unet=net, scheduler=scheduler),
            plain_request(r, net), run_pixels)


def run_dit(pipe, request):
    """DiTPipeline's loop with the null class of a small table."""
    net, vae, scheduler = pipe.transformer, pipe.vae, pipe.scheduler
    c = net.config.in_channels
    shape = (1, c, net.config.sample_size, net.config.sample_size)
    x = torch.randn(shape, generator=generator(request))
    labels = torch.tensor([request["class"], net.config.num_embeds_ada_norm])
    scheduler.set_timesteps(request["steps"])
    with torch.no_grad():
        for t in scheduler.timesteps:
            pair = scheduler.scale_model_input(torch.cat([x, x]), t)
            cond, away = net(pair, timestep=t.expand(2),
                             class_labels=labels).sample[:, :c].chunk(2)
            eps = cond
            if request["guidance"] > 1:
                eps = away + request["guidance"] * (cond - away)
            x = scheduler.step(eps, t, x).prev_sample
        image = vae.decode(x / vae.config.scaling_factor).sample
    image = (image / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return x, image


def make_ditpipe(r):
    config = nets.draw_dit(r)
    config.update(in_channels=4, out_channels=r.choice([4, 8]))
    net = drawn(diffusers.DiTTransformer2DModel(**config), r)
    vae = draw_vae(r)
    pipe = diffusers.DiTPipeline(transformer=net, vae=vae,
                                 scheduler=diffusers.DDIMScheduler(
                                     clip_sample=False))
    request = plain_request(r, net)
    request.update(guidance=r.choice([1.0, 4.0]), **{
        "class": r.randrange(config["num_embeds_ada_norm"])})
    return pipe, request, run_dit


KINDS = {"ddpm": make_ddpm, "ddim": make_ddim, "score": make_score,
         "consistency": make_consistency, "ldm": make_ldm,
         "ditpipe": make_ditpipe, "sd": make_sd, "sdxl": make_sdxl,
         "lcm": make_lcm}


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


def networks_of(pipe):
    return [m for m in pipe.components.values()
            if isinstance(m, torch.nn.Module)]


def save(r, pipe, folder):
    """Save; the pipeline keeps what the file holds.  The layout's name."""
    kind = r.choice(["plain", "plain", "old", "fp16", "bf16", "sharded",
                     "root"])
    args = {}
    if kind in ("fp16", "bf16"):
        args["variant"] = kind
        dtype = torch.float16 if kind == "fp16" else torch.bfloat16
        for m in networks_of(pipe):
            m.to(dtype)
    if kind == "sharded":
        args["max_shard_size"] = r.choice(["20KB", "60KB"])
    pipe.save_pretrained(folder, **args)
    for m in networks_of(pipe):
        m.to(torch.float32)
    if getattr(pipe, "is_cosxl_edit", False):  # which no save writes down
        index = pathlib.Path(folder) / "model_index.json"
        told = json.loads(index.read_text())
        index.write_text(json.dumps({**told, "is_cosxl_edit": True}))
    if kind == "old":
        age(r, pathlib.Path(folder))
    if kind == "root" and set(pipe.components) == {"unet", "scheduler"}:
        to_root(pathlib.Path(folder))
    return kind


# -- ours --------------------------------------------------------------------

FLAGS = {"prompt": "-p", "negative_prompt": "--negative", "steps": "--steps",
         "seed": "--seed", "n": "-n", "width": "--width",
         "height": "--height", "guidance": "--guidance",
         "guidance_rescale": "--guidance-rescale", "clip_skip": "--clip-skip",
         "strength": "--strength", "eta": "--eta", "class": "--class",
         "sampler": "--sampler", "image_guidance": "--image-guidance"}


def run_ours(unstir, folder, request, model=None, more=()):
    """(result, None) or (None, (exit code, words)); the model is the folder
    itself or another."""
    folder = pathlib.Path(folder)
    raw = folder / "raw.safetensors"
    cmd = [unstir, "generate", "-m", str(model or folder), *more,
           "--raw", str(raw), "-o",
           str(folder / "out-{i}.png"), "-q", "--precision", "f32",
           "--threads", "1"]
    for key, value in request.items():
        if key in FLAGS:
            cmd += [FLAGS[key], str(value)]
    if "class" not in request and "prompt" not in request \
            and "guidance" not in request:
        cmd += ["--guidance", "1"]
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


def judge(want, got):
    """(is the same, words)."""
    latents, image = want
    says = []
    ok = True
    if latents is not None:
        if latents.shape != got[0].shape:
            return False, f"shapes {latents.shape} and {got[0].shape}"
        error = ((latents - got[0]).abs().max() / latents.abs().max()).item()
        ok = error <= TOLERANCE
        says.append(f"sample {error:.1e}")
    if image.ndim == 3:
        image = image[..., None]
    if image.shape != got[1].shape:
        return False, f"pictures {image.shape} and {got[1].shape}"
    off = numpy.abs(image.astype(int) - got[1].astype(int))
    share = (off > 1).mean()
    says.append(f"{100 * share:.2g} % of bytes off, worst {off.max()}")
    return ok and share <= 0.01, ", ".join(says)


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
    return latents.float() if latents is not None else None, image


def own_error(pipe, request, run, want):
    """By how much the reference's f32 is off, as judge() measures; None if
    it cannot say."""
    try:
        exact = finite(*in_f64(pipe, request, run))
    except Exception:
        return None
    return exact and judge(exact, want)[1]


def tell(pipe, layout, request):
    """What a case is, in a line."""
    shown = {k: v if not isinstance(v, Image.Image) else (v.mode, *v.size)
             for k, v in request.items()}
    return {"pipeline": type(pipe).__name__, "layout": layout,
            "request": shown, "scheduler": type(pipe.scheduler).__name__,
            "method": getattr(pipe, "method", None)}


def compare(r, make, unstir, folder, forgets):
    """(verdict, detail, configuration) of one case."""
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
        if forgets:
            shutil.rmtree(folder, ignore_errors=True)
        return "skipped", f"the reference refuses: {str(e)[:200]}", told
    if want is None:
        return "skipped", "the reference gives NaN", told
    got, refused = run_ours(unstir, folder, request)
    if forgets:
        shutil.rmtree(folder)
    if refused:
        code, says = refused
        return "refused" if code in (2, 3, 4) else "DIFFERS", \
            f"exit {code}: {says}", told
    same, says = judge(want, got)
    if same:
        return "same", says, told
    return "DIFFERS", f"{says}; the reference's own f32: " \
        f"{own_error(pipe, request, run, want)}", told
