"""differ_files.py - drawn model files, read by the reference and by us, for
differ.py.

single     one file of SD 1.x, 2.x, SDXL, the refiner, inpainting and editing
           models, original or diffusers names, f32, f16, bf16 or f8; the
           reference reads it by from_single_file
lora       LoRAs of every naming, several at once, any weight
inversion  textual inversions, SDXL's two-part files too
gguf       a UNet in GGUF beside its other parts
convert    what `unstir convert` makes of a folder or a single file, read by
           both

Pipelines are as small as both sides' rules about single files allow: the
standard tokenizer, heads of 64, 32 groups.

SPDX-License-Identifier: MIT
"""
import json
import os
import shutil
import subprocess

import diffusers
import gguf
import numpy
import peft
import torch
import transformers
from safetensors.torch import save_file

import differ_pipelines as pipes
import differ_starts as starts
import make_single_file as names
from make_gguf import random_blocks
from make_clip_tokens import tokenizer as standard_tokenizer

MERGES = "models/clip-bpe/merges.txt"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012,
         "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
         "steps_offset": 1}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
          "f8": torch.float8_e4m3fn}


# -- pipelines as single files have them --------------------------------------

def tokenizer(pad):
    t = standard_tokenizer(MERGES)
    t.pad_token = pad
    t.model_max_length = 77
    return t


def text_encoder(r, act, projects, width=64):
    config = transformers.CLIPTextConfig(
        hidden_size=width, intermediate_size=r.choice([64, 96]),
        num_attention_heads=width // 64, num_hidden_layers=r.choice([2, 3]),
        vocab_size=49408, max_position_embeddings=77, hidden_act=act,
        projection_dim=r.choice([32, 64]) if projects else width,
        bos_token_id=49406, eos_token_id=49407)
    kind = (transformers.CLIPTextModelWithProjection if projects
            else transformers.CLIPTextModel)
    return pipes.drawn(kind(config), r)


def draw_unet(r, kind, channels, width, pooled):
    n = r.choice([2, 3])
    is_linear = kind != "sd1"
    unit = 64 if is_linear else 32
    outs = [unit * r.choice([1, 2]) for _ in range(n)]
    attends = [r.random() < 0.7 for _ in range(n)]
    attends[r.randrange(n)] = True
    depths = [r.choice([1, 2]) if kind == "sdxl" else 1 for _ in range(n)]
    more = {}
    if kind in ("sdxl", "refiner"):
        ids = 5 if kind == "refiner" else 6
        more = {"addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": pooled + ids * 256}
    return pipes.drawn(diffusers.UNet2DConditionModel(
        in_channels=channels, out_channels=4, sample_size=8,
        block_out_channels=outs, layers_per_block=r.choice([1, 2]),
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D"
                          for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D"
                        for a in reversed(attends)],
        cross_attention_dim=width, use_linear_projection=is_linear,
        transformer_layers_per_block=depths,
        attention_head_dim=[o // 64 for o in outs] if is_linear else 8,
        **more), r)


def draw_vae(r, scale):
    n = r.choice([2, 3])
    return pipes.drawn(diffusers.AutoencoderKL(
        block_out_channels=[32 * r.choice([1, 2]) for _ in range(n)],
        layers_per_block=r.choice([1, 2]), latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * n,
        up_block_types=["UpDecoderBlock2D"] * n, scaling_factor=scale), r)


def draw_pipe(r, kind, channels, prediction):
    is_xl = kind in ("sdxl", "refiner")
    parts, width, pooled = {}, 0, 0
    if kind != "refiner":
        parts["text_encoder"] = text_encoder(
            r, "gelu" if kind == "sd2" else "quick_gelu", False)
        parts["tokenizer"] = tokenizer("!" if kind == "sd2"
                                       else "<|endoftext|>")
        width += 64
    if is_xl:
        # The reference tells the two of a single file by their widths.
        parts["text_encoder_2"] = text_encoder(r, "gelu", True, 128)
        parts["tokenizer_2"] = tokenizer("!")
        pooled = parts["text_encoder_2"].config.projection_dim
        width += 128
    parts["unet"] = draw_unet(r, kind, channels, width, pooled)
    parts["vae"] = draw_vae(r, 0.13025 if is_xl else 0.18215)
    common = {**BETAS, "prediction_type": prediction}
    if is_xl:
        parts["scheduler"] = diffusers.EulerDiscreteScheduler(
            **common, timestep_spacing="leading")
    elif kind == "sd2":
        parts["scheduler"] = diffusers.DDIMScheduler(
            **common, clip_sample=False, set_alpha_to_one=False)
    else:
        parts["scheduler"] = diffusers.PNDMScheduler(
            **common, skip_prk_steps=True)
    if kind == "refiner":
        return diffusers.StableDiffusionXLImg2ImgPipeline(
            **parts, text_encoder=None, tokenizer=None,
            requires_aesthetics_score=True,
            force_zeros_for_empty_prompt=False)
    if is_xl:
        return diffusers.StableDiffusionXLPipeline(**parts)
    classes = {4: diffusers.StableDiffusionPipeline,
               9: diffusers.StableDiffusionInpaintPipeline,
               8: diffusers.StableDiffusionInstructPix2PixPipeline}
    return classes[channels](**pipes.not_checked(parts))


# -- one file -----------------------------------------------------------------

def original_text(state, is_open):
    state = names.with_prefix(state)
    if not is_open:
        return state
    out = {}
    for name, t in state.items():
        if "self_attn.q_proj" in name:
            t = torch.cat([state[name.replace("q_proj", x)]
                           for x in ("q_proj", "k_proj", "v_proj")])
        elif "self_attn.k_proj" in name or "self_attn.v_proj" in name:
            continue
        new = names.original_open_clip(name)
        if new.startswith("transformer.resblocks.") and "in_proj_." in new:
            new = new.replace("in_proj_.", "in_proj_")
        if new == "text_projection":
            t = t.T
        out[new] = t
    return out


def original_names(pipe, kind):
    """Every tensor under its original name."""
    unet, vae = pipe.unet, pipe.vae
    out = {}
    for name, t in unet.state_dict().items():
        out["model.diffusion_model."
            + names.original_unet(name, unet.config)] = t
    for name, t in vae.state_dict().items():
        if "attentions.0.to_" in name and name.endswith("weight"):
            t = t[:, :, None, None]
        out["first_stage_model." + names.original_vae(name, vae.config)] = t
    prefixes = {"sd1": ["cond_stage_model.transformer."],
                "sd2": ["cond_stage_model.model."],
                "sdxl": ["conditioner.embedders.0.transformer.",
                         "conditioner.embedders.1.model."],
                "refiner": ["conditioner.embedders.0.model."]}[kind]
    encoders = [e for e in (pipe.components.get("text_encoder"),
                            pipe.components.get("text_encoder_2")) if e]
    for prefix, e in zip(prefixes, encoders):
        for name, t in original_text(e.state_dict(),
                                     prefix.endswith("model.")).items():
            out[prefix + name] = t
    return out


def own_names(pipe):
    return {f"{part}.{name}": t for part in ("unet", "vae", "text_encoder",
                                             "text_encoder_2")
            if pipe.components.get(part) is not None
            for name, t in pipe.components[part].state_dict().items()}


def rounded(pipe, dtype):
    for m in pipes.networks_of(pipe):
        for p in m.parameters():
            p.data = p.data.to(dtype).to(torch.float32)


def request_of(r, pipe, kind, channels):
    request = pipes.draw_request(r, pipes.vae_unit(pipe.vae))
    request.pop("clip_skip", None)
    if request["prompt"] == pipes.text.LONG:
        request["prompt"] = "a red cat"
    if kind == "refiner":
        return starts.with_picture(r, request), starts.run_img2img
    if channels == 9:
        return starts.with_picture(r, request, True), starts.run_inpaint
    if channels == 8:
        starts.with_picture(r, request)
        del request["strength"]
        request.update(n=1, guidance=r.choice([3.0, 7.5]),
                       image_guidance=r.choice([1.5, 2.0]))
        return request, starts.run_edit
    return request, pipes.run_sized


def from_single_file(pipe, kind, path, folder):
    """(pipeline, what happened): by the reference if it can."""
    more = {"safety_checker": None} if kind in ("sd1", "sd2") else {}
    try:
        return type(pipe).from_single_file(
            path, config=os.path.join(folder, "folder"), local_files_only=True,
            **more), "from_single_file"
    except Exception as e:
        return pipe, str(e)[:250]


def run_single(r, unstir, folder):
    kind = r.choice(["sd1", "sd1", "sd2", "sd2", "sdxl", "refiner"])
    channels = r.choice([4, 4, 9, 8]) if kind in ("sd1", "sd2") else 4
    prediction = r.choice(["epsilon", "v_prediction"])
    naming = r.choice(["original", "original", "own"])
    if kind == "sd2" and naming == "own":
        naming = "original"  # told by OpenCLIP's names alone at this size
    dtype = r.choice(list(DTYPES))
    pipe = draw_pipe(r, kind, channels, prediction)
    rounded(pipe, DTYPES[dtype])
    path = os.path.join(folder, "model.safetensors")
    told = {"kind": kind, "channels": channels, "naming": naming,
            "dtype": dtype, "prediction": prediction}
    pipe.save_pretrained(os.path.join(folder, "folder"))
    state = original_names(pipe, kind) if naming == "original" \
        else own_names(pipe)
    save_file({k: v.to(DTYPES[dtype]).contiguous() for k, v in state.items()},
              path, metadata={"modelspec.prediction_type":
                              "v" if prediction[0] == "v" else "epsilon"})
    if naming == "original" and dtype != "f8":
        pipe, told["reader"] = from_single_file(pipe, kind, path, folder)
    request, run = request_of(r, pipe, kind, channels)
    return pipe, request, run, {"-m": path}, told


# -- LoRAs --------------------------------------------------------------------

def layers_of(model):
    """(name, module) of what LoRAs change."""
    return [(n, m) for n, m in model.named_modules()
            if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))
            and any(w in n for w in ("attn", "mlp.fc", "proj_in", "proj_out",
                                     "ff.net", "conv1", "conv2",
                                     "conv_shortcut", "samplers"))]


def halves(r, m, rank):
    s = 0.3 / rank ** 0.5
    if isinstance(m, torch.nn.Conv2d):
        down = torch.randn(rank, m.in_channels, *m.kernel_size)
        up = torch.randn(m.out_channels, rank, 1, 1)
    else:
        down = torch.randn(rank, m.in_features)
        up = torch.randn(m.out_features, rank)
    fan = down[0].numel()
    return down / fan ** 0.5, up * s


def kohya_name(r, part, name, unet, is_xl):
    """Trainers of SDXL keep the original names of the network."""
    if part == "unet":
        if is_xl and unet.config.layers_per_block == 2:
            name = names.original_unet(name + ".weight",
                                       unet.config).removesuffix(".weight")
        return "lora_unet_" + name.replace(".", "_")
    prefix = {"text_encoder": "lora_te1_" if is_xl else "lora_te_",
              "text_encoder_2": "lora_te2_"}[part]
    return prefix + with_text_prefix(name).replace(".", "_")


def with_text_prefix(name):
    return name if name.startswith("text_model.") else "text_model." + name


def processor_name(part, name):
    """Of files of the first attention processors; None: they had no such."""
    unet = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v",
            "to_out.0": "to_out"}
    text = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v",
            "out_proj": "to_out"}
    for last, old in (unet if part == "unet" else text).items():
        if "attn" in name and name.endswith("." + last):
            owner = name.removesuffix(last) + \
                ("processor." if part == "unet" else "")
            return f"{owner}{old}_lora"
    return None


def drawn_layers(r, pipe, naming):
    """(part, name, module) of what a LoRA changes."""
    has_conv = naming in ("kohya", "peft") and r.random() < 0.5
    parts = ["unet"]
    if r.random() < 0.6:
        parts += [p for p in ("text_encoder", "text_encoder_2")
                  if pipe.components.get(p) is not None]
    for part in parts:
        for name, m in layers_of(pipe.components[part]):
            is_conv = isinstance(m, torch.nn.Conv2d)
            if is_conv and m.kernel_size != (1, 1) and not has_conv:
                continue
            if naming == "processor" and not processor_name(part, name):
                continue
            if part == "unet" and "attn" not in name and not has_conv \
                    and "proj_" not in name and "ff.net" not in name:
                continue
            # Without one of these the reference drops q, k and v of a text
            # encoder that has kohya's names.
            if r.random() < 0.7 or name.endswith("out_proj"):
                yield part, name, m


def lora_state(r, pipe, naming):
    """(tensors, metadata)"""
    is_xl = pipe.components.get("text_encoder_2") is not None
    rank = r.choice([1, 2, 4])
    alpha = r.choice([None, 1.0, rank * 2.0])
    out, meta, found = {}, {}, {}
    for part, name, m in drawn_layers(r, pipe, naming):
        down, up = halves(r, m, rank)
        if naming == "kohya":
            key = kohya_name(r, part, name, pipe.unet, is_xl)
            out[key + ".lora_down.weight"] = down
            out[key + ".lora_up.weight"] = up
            if alpha:
                out[key + ".alpha"] = torch.tensor(alpha)
            continue
        full = name if part == "unet" else with_text_prefix(name)
        if naming == "processor":
            old = f"{part}.{processor_name(part, full)}"
            out[old + ".down.weight"] = down
            out[old + ".up.weight"] = up
            continue
        a, b = {"peft": (".lora_A.weight", ".lora_B.weight"),
                "diffusers": (".lora.down.weight", ".lora.up.weight")
                if part == "unet" else
                (".lora_linear_layer.down.weight",
                 ".lora_linear_layer.up.weight")}[naming]
        out[f"{part}.{full}{a}"] = down
        out[f"{part}.{full}{b}"] = up
        found.setdefault(part, []).append(name)
    if naming == "peft" and r.random() < 0.6:
        meta = {"lora_adapter_metadata": json.dumps(adapter(r, found, rank))}
    return out, meta


def adapter(r, found, rank):
    """What a PEFT adapter says of itself in the file's metadata."""
    said = {}
    for part, layers in found.items():
        said |= {f"{part}.r": rank, f"{part}.target_modules": layers,
                 f"{part}.lora_alpha": r.choice([1, 3, 8]),
                 f"{part}.use_rslora": r.random() < 0.4,
                 f"{part}.alpha_pattern":
                     {x: r.choice([2, 5]) for x in
                      r.sample(layers, min(2, len(layers)))}
                     if r.random() < 0.5 else {}}
    return said


def scaled(model, weight):
    for m in model.modules():
        for name in getattr(m, "scaling", {}):
            m.scaling[name] *= weight


def add_adapter(r, pipe, weight, where):
    """A folder that PEFT wrote of one network, and what PEFT makes of it."""
    part = r.choice([p for p in ("unet", "unet", "text_encoder")
                     if pipe.components.get(p) is not None])
    model = pipe.components[part]
    chosen = [n for n, m in layers_of(model) if r.random() < 0.5]
    chosen = chosen or [layers_of(model)[0][0]]
    ends = [n.split(".", 1)[1] if r.random() < 0.5 else n for n in chosen]
    config = peft.LoraConfig(
        r=r.choice([1, 2, 4]), lora_alpha=r.choice([1, 3, 8]),
        target_modules=chosen, use_rslora=r.random() < 0.3,
        init_lora_weights=False,
        rank_pattern={n: r.choice([2, 3]) for n in r.sample(
            ends, len(ends) // 3)} if r.random() < 0.5 else {},
        alpha_pattern={n: r.choice([2, 5]) for n in r.sample(
            ends, len(ends) // 3)} if r.random() < 0.5 else {})
    made = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn_like(p) * 0.2)
    made.save_pretrained(where)
    model = made.unload()
    again = peft.PeftModel.from_pretrained(model, where)
    scaled(again, weight)
    setattr(pipe, part, again.merge_and_unload().eval())
    return part, config.rank_pattern, config.alpha_pattern, config.use_rslora


def run_lora(r, unstir, folder):
    is_xl = r.random() < 0.3
    pipe, request, run = pipes.make_sdxl(r) if is_xl else pipes.make_sd(r)
    request.pop("clip_skip", None)
    if request["prompt"] == pipes.text.LONG:
        request["prompt"] = "red"
    where = os.path.join(folder, "folder")
    pipe.save_pretrained(where)
    told = {"xl": is_xl, "loras": []}
    flags = []
    for i in range(r.choice([1, 1, 2, 3])):
        naming = r.choice(["kohya", "kohya", "peft", "diffusers",
                           "processor", "adapter", "adapter"])
        weight = r.choice([1.0, 0.7, 0.0, -0.5, 1.5])
        if naming == "adapter":
            path = os.path.join(folder, f"adapter{i}")
            told["loras"].append((naming, weight, *add_adapter(
                r, pipe, weight, path)))
            flags += ["--lora", f"{path}:{weight}"]
            continue
        state, meta = lora_state(r, pipe, naming)
        if not state:
            continue
        path = os.path.join(folder, f"lora{i}.safetensors")
        dtype = r.choice([torch.float32, torch.float16, torch.bfloat16])
        state = {k: v.to(dtype).contiguous() for k, v in state.items()}
        save_file(state, path, metadata={"format": "pt", **meta})
        # One after the other: text encoders that have a LoRA do not take
        # another.
        pipe.load_lora_weights(folder, weight_name=f"lora{i}.safetensors")
        pipe.fuse_lora(lora_scale=weight)
        pipe.unload_lora_weights()
        flags += ["--lora", f"{path}:{weight}"]
        told["loras"].append((naming, weight, str(dtype), len(state), meta))
        if naming == "processor" and r.random() < 0.5 \
                and all(k.startswith("unet.") for k in state):
            # The oldest have no prefix, which the reference reads no more.
            save_file({k.removeprefix("unet."): v for k, v in state.items()},
                      path)
    return pipe, request, run, {"-m": where, "more": flags}, told


# -- textual inversions -------------------------------------------------------

def run_inversion(r, unstir, folder):
    is_xl = r.random() < 0.4
    pipe, request, run = pipes.make_sdxl(r) if is_xl else pipes.make_sd(r)
    request.pop("clip_skip", None)
    where = os.path.join(folder, "folder")
    pipe.save_pretrained(where)
    os.makedirs(os.path.join(where, "embeddings"))
    n = r.choice([1, 2, 3])
    word = "zorgle"
    path = os.path.join(where, "embeddings", f"{word}.safetensors")
    width = pipe.text_encoder.config.hidden_size
    one = torch.randn(n, width)
    if is_xl:
        two = torch.randn(n, pipe.text_encoder_2.config.hidden_size)
        save_file({"clip_l": one, "clip_g": two}, path)
        pipe.load_textual_inversion(one, token=word,
                                    text_encoder=pipe.text_encoder,
                                    tokenizer=pipe.tokenizer)
        pipe.load_textual_inversion(two, token=word,
                                    text_encoder=pipe.text_encoder_2,
                                    tokenizer=pipe.tokenizer_2)
    else:
        key = r.choice([word, "emb_params"])
        save_file({key: one}, path)
        pipe.load_textual_inversion(one, token=word)
    request["prompt"] = f"a {word} cat {pipes.words(r, 3)}"
    request["negative_prompt"] = r.choice(["", word, f"red {word}"])
    return pipe, request, run, {"-m": where}, {"xl": is_xl, "n": n}


# -- GGUF ---------------------------------------------------------------------

def quantized(r, x, quant):
    """Blocks near x; of formats that the package does not write, random ones
    that are about as large."""
    try:
        return gguf.quantize(x, quant)
    except NotImplementedError:
        rng = numpy.random.default_rng(r.getrandbits(32))
        blocks = random_blocks(quant, x.size // x.shape[-1], x.shape[-1], rng,
                               1e-4)
        return blocks.reshape(*x.shape[:-1], -1)


def run_gguf(r, unstir, folder):
    pipe = draw_pipe(r, "sd1", 4, "epsilon")
    kind = r.choice(["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0",
                     "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
    quant = gguf.GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[quant][0]
    path = os.path.join(folder, "unet.gguf")
    writer = gguf.GGUFWriter(path, "sd1")
    is_own = r.random() < 0.5
    state = pipe.unet.state_dict()
    for name, t in state.items():
        x = t.numpy()
        q = quant if x.ndim > 1 and x.shape[-1] % size == 0 \
            else gguf.GGMLQuantizationType.F32
        data = quantized(r, x, q)
        state[name] = torch.from_numpy(
            gguf.dequantize(data, q).reshape(x.shape).astype(numpy.float32))
        new = name if is_own else names.original_unet(name, pipe.unet.config)
        writer.add_tensor(new, data, raw_dtype=q)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    pipe.unet.load_state_dict(state)
    where = os.path.join(folder, "folder")
    pipe.save_pretrained(where)
    request, run = request_of(r, pipe, "sd1", 4)
    return pipe, request, run, {
        "-m": path, "more": ["--vae", os.path.join(where, "vae"),
                             "--text-encoder",
                             os.path.join(where, "text_encoder")]}, \
        {"type": kind, "own names": is_own}


# -- converted models ---------------------------------------------------------

def convert(unstir, *words):
    done = subprocess.run([unstir, "convert", *words], text=True,
                          capture_output=True)
    if done.returncode:
        raise RuntimeError(f"convert {words}: {done.stderr}")


def run_convert(r, unstir, folder):
    """The reference reads what we wrote; we read it too."""
    kind = r.choice(["sd1", "sd2", "sdxl", "refiner"])
    channels = r.choice([4, 4, 9, 8]) if kind in ("sd1", "sd2") else 4
    pipe = draw_pipe(r, kind, channels, r.choice(["epsilon", "v_prediction"]))
    dtype = r.choice(["f32", "f16", "bf16"])
    target = r.choice(["file", "folder"])
    where = os.path.join(folder, "folder")
    path = os.path.join(folder, "model.safetensors")
    told = {"kind": kind, "channels": channels, "dtype": dtype, "to": target}
    pipe.save_pretrained(where)
    rounded(pipe, DTYPES[dtype])
    if target == "file":
        convert(unstir, where, path, "--dtype", dtype)
        pipe, told["reader"] = from_single_file(pipe, kind, path, folder)
        model = path
    else:
        model = os.path.join(folder, "converted")
        save_file({k: v.contiguous() for k, v in
                   original_names(pipe, kind).items()}, path,
                  metadata={"modelspec.prediction_type": "v" if
                            pipe.scheduler.config.prediction_type[0] == "v"
                            else "epsilon"})
        convert(unstir, path, model, "--dtype", dtype)
        pipe = type(pipe).from_pretrained(model, torch_dtype=torch.float32)
    request, run = request_of(r, pipe, kind, channels)
    return pipe, request, run, {"-m": model}, told


KINDS = {"single": run_single, "lora": run_lora, "inversion": run_inversion,
         "gguf": run_gguf, "convert": run_convert}


def compare(r, kind, unstir, folder, forgets):
    """(verdict, detail, configuration) of one case."""
    os.makedirs(folder, exist_ok=True)
    told = {}
    try:
        pipe, request, run, flags, told = KINDS[kind](r, unstir, folder)
        pipe.set_progress_bar_config(disable=True)
        if hasattr(pipe, "method"):
            pipes.use_method(pipe)
        want = pipes.finite(*run(pipe, request))
        told.update(pipes.tell(pipe, kind, request))
    except Exception as e:
        return "skipped", f"the reference refuses: {str(e)[:300]}", told
    if want is None:
        return "skipped", "the reference gives NaN", told
    got, refused = pipes.run_ours(unstir, folder, request, flags["-m"],
                                  flags.get("more", []))
    if forgets:
        shutil.rmtree(folder)
    if refused:
        code, says = refused
        return "refused" if code in (2, 3, 4) else "DIFFERS", \
            f"exit {code}: {says}", told
    return *pipes.judge(pipe, request, run, want, got), told
