"""differ_networks.py - drawn networks as goldens, for differ.py.

Each draw_*() makes the constructor's arguments of one class of networks; what
the reference cannot build or run with them is drawn anew.  Weights and inputs
follow rule.py and make_families.py, so that a golden holds neither, and
`build/tests/golden/t_families FILE...` holds the engine to it on every rung,
fused and plain.

SPDX-License-Identifier: MIT
"""
import json

import diffusers
import torch
from safetensors.torch import save_file

from make_families import COND, DIT, KL, TINY, VQ, draw_args, evaluate
from rule import draw_weights

UNET2D = "UNet2DModel"
ACTS = ["silu", "silu", "swish", "mish", "gelu", "relu"]
# A network that f32 sums in the reference's own order lose more of than this
# amplifies rounding, and says nothing about ours.
LARGEST_F32_ERROR = 3e-6


def widths(r, n, groups, most=48):
    return [groups * r.randint(1, max(1, most // groups)) for _ in range(n)]


def time_fields(r):
    return {"freq_shift": r.choice([0, 0, 1, 0.5]),
            "flip_sin_to_cos": r.random() < 0.5,
            "time_embedding_dim": r.choice([None, None, 20, 33]),
            "center_input_sample": r.random() < 0.3,
            "act_fn": r.choice(ACTS), "norm_eps": r.choice([1e-5, 1e-6, 1e-3]),
            "mid_block_scale_factor": r.choice([1, 1, 1.4142, 0.5]),
            "resnet_time_scale_shift": r.choice(["default", "scale_shift"])}


def draw_unet2d(r):
    n = r.choice([1, 2, 2, 3, 3, 4])
    plain = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
    skip = ["SkipDownBlock2D", "AttnSkipDownBlock2D"]
    n_skip_down = r.choice([0, 0, 0, n, r.randint(0, n)])
    n_skip_up = n_skip_down if r.random() < 0.7 else r.randint(0, n)
    down = [r.choice(skip if i < n_skip_down else plain) for i in range(n)]
    up = [r.choice(skip if i >= n - n_skip_up else plain) for i in range(n)]
    up = [b.replace("Down", "Up").replace("Upsample", "Upsample")
          for b in up]
    groups = r.choice([1, 2, 3, 4, 5, 7, 8, 16])
    channels = widths(r, n, groups)
    if n_skip_down + n_skip_up:
        channels = [r.choice([8, 16, 32, 36, 64]) for _ in range(n)]
        groups = r.choice([4, None]) if n_skip_down == n else 4
    pixels = 3 if n_skip_down + n_skip_up else r.choice([1, 2, 3, 4])
    kind = r.choice(["positional", "positional", "fourier", "learned"])
    classes = r.choice([{}, {}, {"num_class_embeds": 9},
                        {"class_embed_type": "timestep"},
                        {"class_embed_type": "identity"}])
    return {"in_channels": pixels,
            "out_channels": pixels if r.random() < 0.6 or pixels == 3
            else r.randint(1, 8),
            "block_out_channels": channels, "down_block_types": down,
            "up_block_types": up, "layers_per_block": r.choice([1, 1, 2, 3]),
            "norm_num_groups": groups,
            "attention_head_dim": r.choice([None, 3, 4, 8]),
            "attn_norm_num_groups": r.choice([None, None, groups]),
            "add_attention": r.random() < 0.7,
            "mid_block_type": r.choice(["UNetMidBlock2D"] * 4 + [None]),
            "downsample_padding": r.choice([0, 1]),
            "downsample_type": r.choice(["conv", "resnet"]),
            "upsample_type": r.choice(["conv", "resnet"]),
            "time_embedding_type": kind, "num_train_timesteps": 40,
            "dropout": r.choice([0.0, 0.1]), **classes, **time_fields(r)}


def transformer_layers(r, layers):
    one = r.choice([1, 1, 2, 3])
    kind = r.choice(["number", "list", "nested"])
    if kind == "number":
        up = [[r.choice([1, 2]) for _ in range(n + 1)]
              for n in reversed(layers)] if r.random() < 0.3 else None
        return {"transformer_layers_per_block": one,
                "reverse_transformer_layers_per_block": up}
    if kind == "list":
        return {"transformer_layers_per_block":
                [r.choice([1, 1, 2, 3]) for _ in layers]}
    return {"transformer_layers_per_block":
            [[r.choice([1, 2]) for _ in range(n)] for n in layers],
            "reverse_transformer_layers_per_block":
            [[r.choice([1, 2]) for _ in range(n + 1)]
             for n in reversed(layers)]}


def widest(value):
    return max(value) if isinstance(value, list) else value


def draw_cond_extras(r, config):
    """Fields of some checkpoints: those that we run, and those we refuse."""
    width = r.choice([12, 21])
    kind = r.choice(["plain"] * 4 + ["rows", "timestep", "identity",
                                     "projection", "simple_projection",
                                     "text_time", "lcm", "beside", "acts",
                                     "text_proj", "fourier", "refused"])
    if kind == "rows":
        return {"num_class_embeds": 30}
    if kind in ("timestep", "identity"):
        return {"class_embed_type": kind}
    if "projection" in kind:
        return {"class_embed_type": kind,
                "projection_class_embeddings_input_dim": width}
    if kind == "text_time":
        # The class says how many numbers there are beside the text; its width
        # could be read with five of them, too, if it were the tokens'.
        dim = r.choice([d for d in (2, 4, 8)
                        if width + d != widest(config["cross_attention_dim"])])
        return {"addition_embed_type": kind, "addition_time_embed_dim": dim,
                "projection_class_embeddings_input_dim": 6 * dim + width}
    if kind == "lcm":
        return {"time_cond_proj_dim": r.choice([6, 17, 32])}
    if kind == "refused":
        return r.choice([
            {"dual_cross_attention": True}, {"addition_embed_type": "text"},
            {"attention_type": "gated"}])
    if kind == "beside":
        return {"class_embeddings_concat": True, "num_class_embeds": 30}
    if kind == "acts":
        return {"timestep_post_act": r.choice([None, "silu", "gelu"]),
                "time_embedding_act_fn": r.choice(["silu", "mish"])}
    if kind == "text_proj":
        return {"encoder_hid_dim": 10, "encoder_hid_dim_type": r.choice(
            [None, "text_proj"])}
    if kind == "fourier":
        return {"time_embedding_type": kind, "time_embedding_dim": r.choice(
            [None, 24])}
    return {}


UP_OF = {"CrossAttnDownBlock2D": "CrossAttnUpBlock2D",
         "DownBlock2D": "UpBlock2D", "AttnDownBlock2D": "AttnUpBlock2D",
         "ResnetDownsampleBlock2D": "ResnetUpsampleBlock2D"}


def draw_cond(r):
    n = r.choice([1, 2, 2, 3, 3, 4])
    groups = r.choice([1, 2, 3, 4, 5, 8])
    channels = widths(r, n, groups)
    kinds = ["CrossAttnDownBlock2D", "DownBlock2D"]
    if r.random() < 0.3:
        kinds += ["AttnDownBlock2D", "ResnetDownsampleBlock2D"]
    down = [r.choice(kinds) for _ in range(n)]
    up = [UP_OF[b] for b in reversed(down)]
    if r.random() < 0.3:
        up = [UP_OF[r.choice(kinds)] for _ in range(n)]
    layers = [r.choice([1, 1, 2]) for _ in range(n)]
    if r.random() < 0.6:
        layers = [layers[0]] * n
    heads = [r.choice([h for h in (1, 2, 3, 4, 5, 8) if h <= c])
             for c in channels]
    is_one = r.random() < 0.5
    cross = r.choice([5, 16, 24])
    config = {"in_channels": r.choice([4, 4, 9, 3]),
              "out_channels": r.choice([4, 4, 8, 1]),
              "block_out_channels": channels, "down_block_types": down,
              "up_block_types": up, "norm_num_groups": groups,
              "layers_per_block": layers[0] if len(set(layers)) == 1
              else layers,
              "attention_head_dim": min(heads) if is_one else heads,
              "cross_attention_dim": cross if r.random() < 0.7
              else [cross] * n,
              "use_linear_projection": r.random() < 0.5,
              "only_cross_attention": r.choice(
                  [False, False, True, [r.random() < 0.5 for _ in range(n)]]),
              "upcast_attention": r.random() < 0.2,
              "mid_block_type": r.choice(["UNetMidBlock2DCrossAttn"] * 4
                                         + ["UNetMidBlock2D", None]),
              "downsample_padding": r.choice([1, 1, 0]),
              "conv_in_kernel": r.choice([3, 3, 1, 5]),
              "conv_out_kernel": r.choice([3, 3, 1]),
              "resnet_out_scale_factor": r.choice([1.0, 1.0, 2.0]),
              "resnet_skip_time_act": r.random() < 0.2,
              "dropout": r.choice([0.0, 0.1]),
              **transformer_layers(r, layers), **time_fields(r)}
    config.update(draw_cond_extras(r, config))
    return config


def coder_fields(r, n):
    groups = r.choice([1, 2, 3, 4, 8])
    attn = r.choice(["", "", "Attn"])
    return {"block_out_channels": widths(r, n, groups, 32),
            "norm_num_groups": groups, "layers_per_block": r.choice([1, 2]),
            "in_channels": r.choice([3, 3, 1]),
            "out_channels": r.choice([3, 3, 1]),
            "down_block_types": [r.choice(["", attn]) + "DownEncoderBlock2D"
                                 for _ in range(n)],
            "up_block_types": [r.choice(["", attn]) + "UpDecoderBlock2D"
                               for _ in range(n)],
            "act_fn": r.choice(["silu", "silu", "gelu", "mish", "relu"])}


def draw_kl(r):
    has_quant = r.random() < 0.6
    return {**coder_fields(r, r.choice([1, 2, 3, 4])),
            "latent_channels": r.choice([1, 4, 4, 16]),
            "use_quant_conv": has_quant,
            "use_post_quant_conv": has_quant if r.random() < 0.7
            else not has_quant,
            "mid_block_add_attention": r.random() < 0.7}


def draw_vq(r):
    width = r.choice([None, 2, 5])
    return {**coder_fields(r, r.choice([1, 2, 3])),
            "latent_channels": r.choice([3, 4]), "vq_embed_dim": width,
            "num_vq_embeddings": r.choice([7, 64]),
            "mid_block_add_attention": r.random() < 0.8}


def draw_tiny(r):
    n = r.choice([1, 2, 3, 4])
    width = r.choice([4, 8, 20])
    return {"in_channels": 3, "out_channels": 3,
            "encoder_block_out_channels": [width] * n,
            "decoder_block_out_channels": [width] * n,
            "num_encoder_blocks": [r.randint(1, 3) for _ in range(n)],
            "num_decoder_blocks": [r.randint(1, 3) for _ in range(n)],
            "latent_channels": r.choice([4, 4, 16]),
            "act_fn": r.choice(["relu", "relu", "gelu", "silu", "mish"])}


def draw_dit(r):
    patch = r.choice([1, 2, 2, 4])
    channels = r.choice([3, 4])
    return {"num_attention_heads": r.choice([1, 2, 3]),
            "attention_head_dim": r.choice([4, 8, 12]),
            "in_channels": channels,
            "out_channels": r.choice([channels, 2 * channels]),
            "num_layers": r.choice([1, 2, 3]), "patch_size": patch,
            "sample_size": patch * r.choice([2, 3, 4]),
            "num_embeds_ada_norm": r.choice([10, 100]),
            "attention_bias": r.random() < 0.7,
            "activation_fn": r.choice(["gelu-approximate", "gelu", "geglu"]),
            "norm_elementwise_affine": r.random() < 0.2,
            "upcast_attention": r.random() < 0.2,
            "norm_eps": r.choice([1e-5, 1e-6])}


# kind: (class, draw, parts)
KINDS = {"unet2d": (UNET2D, draw_unet2d, [None]),
         "cond": (COND, draw_cond, [None]),
         "kl": (KL, draw_kl, ["decode", "encode"]),
         "vq": (VQ, draw_vq, ["decode", "encode"]),
         "tiny": (TINY, draw_tiny, ["decode", "encode"]),
         "dit": (DIT, draw_dit, [None])}


def draw_size(r, class_name, config, part):
    if class_name == DIT:
        return config["sample_size"], config["sample_size"]
    if class_name in (UNET2D, COND):
        unit = 2 ** (len(config["block_out_channels"]) - 1)
        h, w = unit * r.randint(1, 3), unit * r.randint(1, 4)
        doubles = "ResnetUpsampleBlock2D" in config["up_block_types"]
        if class_name == COND and r.random() < 0.3 and not doubles:
            h, w = h + r.randint(0, unit - 1), w + r.randint(0, unit - 1)
        return h, w
    if part == "decode":
        return r.randint(1, 5), r.randint(1, 5)
    unit = 2 ** (len(config.get("block_out_channels")
                     or config["encoder_block_out_channels"]) - 1)
    return unit * r.randint(1, 4), unit * r.randint(1, 4)


def draw_more(r, class_name, config, part, n):
    more = {"timesteps": [r.randint(0, 999) for _ in range(n)], "labels": [],
            "time_ids": [], "context_len": r.choice([1, 7, 77]), "part": part}
    kind = config.get("time_embedding_type")
    if kind == "fourier":
        more["timesteps"] = [round(r.uniform(0.01, 40), 3) for _ in range(n)]
    if kind == "learned":
        more["timesteps"] = [r.randint(0, 39) for _ in range(n)]
    rows = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
    if rows:
        more["labels"] = [r.randint(0, rows - 1) for _ in range(n)]
    if config.get("class_embed_type"):  # which goes before a table
        more["labels"] = []
    if config.get("class_embed_type") == "timestep":
        more["labels"] = [r.randint(0, 999) for _ in range(n)]
    if config.get("addition_embed_type") == "text_time":
        more["time_ids"] = [r.choice([0, 8, 512, 1024])
                            for _ in range(6 * n)]
    return more


def unet2d_args(model, config, n, h, w, more, gen):
    args = {"sample": torch.randn((n, config["in_channels"], h, w),
                                  generator=gen),
            "timestep": torch.tensor(more["timesteps"])}
    if more["labels"]:
        args["class_labels"] = torch.tensor(more["labels"])
    elif config.get("class_embed_type") == "identity":
        dim = model.config.time_embedding_dim \
            or 4 * config["block_out_channels"][0]
        args["class_labels"] = torch.randn((n, dim), generator=gen)
    return args


def in_f64(config):
    """The reference computes some embeddings in f32 whatever it is told."""
    return (config.get("time_embedding_type") != "fourier"
            and config.get("class_embed_type") != "timestep")


def draw_network(r, kind):
    """(class, config, part, sizes, more) of one network."""
    class_name, draw, parts = KINDS[kind]
    part = r.choice(parts)
    config = draw(r)
    h, w = draw_size(r, class_name, config, part)
    n = r.choice([1, 1, 2])
    return class_name, config, part, (n, h, w), draw_more(
        r, class_name, config, part, n)


def write_golden(class_name, config, part, sizes, more, seeds, path):
    """One golden: (None, its numbers) or (why there is none, None)."""
    (n, h, w), (seed, input_seed) = sizes, seeds
    try:
        model = getattr(diffusers, class_name)(**config).eval()
        draw_weights(model, seed, part)
        gen = torch.Generator().manual_seed(input_seed)
        if class_name == UNET2D:
            args = unet2d_args(model, config, n, h, w, more, gen)
        else:
            args = draw_args(model, class_name, n, h, w, more, gen)
        f32 = out = evaluate(model, part, args, torch.float32)
        if in_f64(config):
            out = evaluate(model, part, args, torch.float64).float()
    except Exception as e:  # whatever the reference says of it
        return f"the reference refuses: {str(e)[:90]}", None
    error = ((f32 - out).abs().max() / out.abs().max()).item()
    if not error <= LARGEST_F32_ERROR:
        return f"the reference's own f32 is off by {error:.1e}", None
    metadata = {"class": class_name, "config": json.dumps(config),
                "seed": str(seed), "input_seed": str(input_seed), "n": str(n),
                "h": str(h), "w": str(w),
                "context_len": str(more["context_len"]),
                "f32_error": f"{error:.1e}"}
    for key in ("timesteps", "labels", "time_ids"):
        metadata[key] = json.dumps(more[key])
    if part:
        metadata["part"] = part
    save_file({"out": out.contiguous()}, path, metadata=metadata)
    return None, out


def make_network(r, kind, path):
    """A drawn one: None, or why there is none, and its configuration."""
    class_name, config, part, sizes, more = draw_network(r, kind)
    seeds = r.randrange(2**31), r.randrange(2**31)
    why, _ = write_golden(class_name, config, part, sizes, more, seeds, path)
    return why, config
