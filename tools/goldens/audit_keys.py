#!/usr/bin/env python3
"""audit_keys.py - every key of a configuration, set to other values, run.

    python tools/goldens/audit_keys.py [--build build] [--class NAME ...]
        [--seed N] [-v]

A key that we passed over in silence would make a wrong picture.  So each key
of the constructors of the reference's networks and schedulers is given other
values, in each of a few configurations in which it may matter; the reference
and we run both, and a row a key says how many values

    same       gave the reference's numbers, and how many of these moved them
    refused    were refused by us (our words: -v)
    no run     the reference itself did not run
    DIFFERS    gave other numbers, with the value: a wrong picture

A key of which no value moved a number or was refused says "nothing moved": it
is of INERT (config_keys.py), where its reason stands, or these configurations
did not try it.  Keys that a whole pipeline reads
(scaling factors, sizes, those of the text encoder and of model_index.json) are
audit_pipelines.py's.

UNSTIR_RUNG=avx2 in the environment: networks on that rung alone, and their
numbers alone (not each thread count for the same bytes).

SPDX-License-Identifier: MIT
"""
import argparse
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

import diffusers
import torch
from diffusers.schedulers.deprecated import ScoreSdeVpScheduler
from diffusers.utils import logging

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import config_keys  # noqa: E402
import diff_samplers  # noqa: E402
import differ  # noqa: E402
import differ_networks as nets  # noqa: E402
import make_samplers  # noqa: E402
from make_families import (COND, CROSS, DIT, KL, LEVELS, PATCHES,  # noqa: E402
                           RESAMPLED, SMALL, STAGES, THREE, TINY, VQ)

ACTS = ["swish", "mish", "gelu", "relu", "leaky_relu", "tanh"]
NETWORK_VALUES = {  # of keys with one meaning in all networks
    "in_channels": [1, 5], "out_channels": [1, 6], "act_fn": ACTS,
    "norm_num_groups": [1, 4, 16, None, 3], "norm_eps": [0.1, 1e-3],
    "freq_shift": [1, 0.5, -1], "dropout": [0.1],
    "time_embedding_dim": [20, 33, 64], "sample_size": [None, 4, [8, 12]],
    "mid_block_scale_factor": [1.5, 0.5, 0.0], "downsample_padding": [0, 2],
    "resnet_time_scale_shift": ["scale_shift", "ada_group", "spatial"],
    "num_class_embeds": [1, 9], "layers_per_block": [2, 3, [1, 2]],
    "class_embed_type": ["timestep", "identity", "projection",
                         "simple_projection", "other"],
    "time_embedding_type": ["fourier", "learned", "other"],
    "force_upcast": [False, True], "upcast_attention": [True],
    "latent_channels": [1, 16], "mid_block_add_attention": [False],
    "scaling_factor": [0.5], "shift_factor": [0.3],
    "down_block_types": None, "up_block_types": None,  # drawn by differ.py
}
VALUES = {
    "UNet2DModel": {
        "attention_head_dim": [None, 1, 3, 16], "num_train_timesteps": [1000],
        "attn_norm_num_groups": [4, 8], "block_out_channels": [[32, 16]],
        "mid_block_type": [None, "UNetMidBlock2DCrossAttn"],
        "downsample_type": ["resnet", "fir"],
        "upsample_type": ["resnet", "fir"]},
    COND: {
        "attention_head_dim": [1, 2, 16, [4, 8], [8, 4], None],
        "num_attention_heads": [2, [4, 8]], "block_out_channels": [[32, 16]],
        "addition_embed_type": ["text", "image", "text_image", "text_time",
                                "image_hint", "other"],
        "addition_embed_type_num_heads": [4],
        "addition_time_embed_dim": [4, 6],
        "attention_type": ["gated", "gated-text-image", "other"],
        "mid_block_type": [None, "UNetMidBlock2D",
                           "UNetMidBlock2DSimpleCrossAttn", "other"],
        "cross_attention_dim": [8, [24, 24], [24, 8]],
        "cross_attention_norm": ["layer_norm", "group_norm"],
        "only_cross_attention": [True, [True, False], [False, True]],
        "transformer_layers_per_block": [2, [1, 2], [[1], [2]]],
        "reverse_transformer_layers_per_block": [[[1, 2], [2, 1]], 2],
        "encoder_hid_dim": [10], "conv_in_kernel": [1, 5],
        "conv_out_kernel": [1, 5], "time_cond_proj_dim": [8],
        "encoder_hid_dim_type": ["text_proj", "text_image_proj", "image_proj",
                                 "ip_image_proj", "other"],
        "projection_class_embeddings_input_dim": [20, 68],
        "time_embedding_act_fn": ["silu", "gelu"],
        "timestep_post_act": ["silu", "gelu"], "resnet_out_scale_factor": [2.],
        "mid_block_only_cross_attention": [True, False]},
    KL: {"block_out_channels": [[16, 8, 32]], "latents_mean": [[1.0] * 4],
         "latents_std": [[2.0] * 4]},
    VQ: {"block_out_channels": [[16, 8, 32]], "num_vq_embeddings": [7],
         "vq_embed_dim": [2, 5], "norm_type": ["spatial", "other"]},
    TINY: {"encoder_block_out_channels": [[8, 8, 8], [8, 16, 16], [16]],
           "decoder_block_out_channels": [[8, 8, 8], [8, 16, 16], [16]],
           "num_encoder_blocks": [[2, 1, 1], [1]],
           "num_decoder_blocks": [[2, 1, 1], [1]],
           "upsample_fn": ["bilinear", "bicubic", "nearest-exact", "other"],
           "upsampling_scaling_factor": [1, 3],
           "latent_magnitude": [1], "latent_shift": [0.1]},
    DIT: {"num_attention_heads": [1, 4], "attention_head_dim": [8],
          "out_channels": [None, 4], "num_layers": [1, 3], "patch_size": [1, 4],
          "num_embeds_ada_norm": [7],
          "norm_type": ["ada_norm", "layer_norm", "ada_norm_single", "other"],
          "activation_fn": ["gelu", "geglu", "geglu-approximate", "silu",
                            "swiglu", "linear-silu", "other"]},
}

PLAIN = {"sample_size": 8, "in_channels": 3, "block_out_channels": [16, 32],
         "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8,
         "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
         "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
SKIPS = {**PLAIN, "norm_num_groups": 4, "block_out_channels": [32, 64],
         "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
         "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"]}
# Of which pipelines alone make something (audit_pipelines.py).
OF_PIPELINES = ("sample_size", "scaling_factor", "latents_mean", "latents_std",
                "base_shift", "max_shift", "base_image_seq_len",
                "max_image_seq_len")
BASES = {  # class: configurations in which its keys are tried
    "UNet2DModel": [
        PLAIN, SKIPS,
        {**PLAIN, "down_block_types": ["ResnetDownsampleBlock2D",
                                       "AttnDownBlock2D"],
         "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"]},
        {**PLAIN, "time_embedding_type": "fourier"},
        {**PLAIN, "time_embedding_type": "learned",
         "num_train_timesteps": 40, "num_class_embeds": 5}],
    COND: [
        SMALL, CROSS, RESAMPLED,
        {**CROSS, "attention_head_dim": [4, 8], "encoder_hid_dim": 12,
         "use_linear_projection": True},
        {**SMALL, "class_embed_type": "projection",
         "projection_class_embeddings_input_dim": 12},
        {**CROSS, "addition_embed_type": "text_time",
         "addition_time_embed_dim": 8, "transformer_layers_per_block": [1, 2],
         "projection_class_embeddings_input_dim": 68},
        {**CROSS, "mid_block_type": "UNetMidBlock2D", "num_class_embeds": 3}],
    KL: [LEVELS, {**LEVELS, "block_out_channels": [16, 24, 32]}],
    VQ: [LEVELS, {**LEVELS, "vq_embed_dim": 3}],
    TINY: [STAGES, {}], DIT: [PATCHES],
}


def others(name, key, default):
    """Values of a key that are not its default; None: drawn elsewhere."""
    values = VALUES.get(name, {}).get(key, NETWORK_VALUES.get(key, ()))
    if values is None:
        return None
    if not values and isinstance(default, bool):
        return [not default]
    return [v for v in values if v != default]


class Row:
    """What became of the values of a key."""

    def __init__(self, name, key):
        self.name, self.key = name, key
        self.count = {"same": 0, "moved": 0, "refused": 0, "no run": 0}
        self.wrong = []

    def add(self, verdict, value, detail, has_moved=False):
        if verdict in ("same", "refused", "no run"):
            self.count[verdict] += 1
            self.count["moved"] += has_moved
        else:
            self.wrong.append(f"{value}: {detail}")

    def is_untried(self):
        inert = {**config_keys.INERT.get(self.name, {}),
                 **config_keys.INERT.get(self.name + "Scheduler", {})}
        return self.key not in inert and self.key not in OF_PIPELINES \
            and not self.wrong \
            and not self.count["moved"] and not self.count["refused"] \
            and (self.count["same"] or not self.count["no run"])

    def show(self):
        says = "DIFFERS " if self.wrong else \
            "nothing moved, " if self.is_untried() else ""
        shown = ", ".join(f"{n} {k}" for k, n in self.count.items() if n)
        print(f"{'not ok' if self.wrong else 'ok'} {self.name}.{self.key}: "
              f"{says}{shown}")
        for line in self.wrong:
            print("    ", line)
        sys.stdout.flush()
        return bool(self.wrong)


def trials(name, kind, bases):
    """(key, value, configuration) of a class; values that stand in its
    configuration already left out."""
    for key, p in inspect.signature(kind.__init__).parameters.items():
        if key == "self" or p.kind is p.VAR_KEYWORD:
            continue
        values = others(name, key, p.default)
        for base in bases if values is not None else ():
            for value in values:
                if base.get(key, p.default) != value:
                    yield key, value, base, {**base, key: value}


# -- networks ----------------------------------------------------------------

def golden(name, config, part, seed, path):
    sizes = (1, 8, 16)
    if name == DIT:
        sizes = (1, config["sample_size"] or 8, config["sample_size"] or 8)
    more = nets.draw_more(random.Random(seed), name, config, part, 1)
    try:
        return nets.write_golden(name, config, part, sizes, more,
                                 (seed, seed + 1), path)
    except Exception as e:  # where our own code does not know the value
        return f"not made: {e}", None


def audit_network(a, name, folder):
    kind = getattr(diffusers, name)
    rows = {k: Row(name, k) for k in config_keys.keys_of(kind)
            if NETWORK_VALUES.get(k, ()) is not None}
    before, waiting = {}, []
    parts = [None] if name in ("UNet2DModel", COND, DIT) else ["decode",
                                                               "encode"]
    for key, value, base, config in trials(name, kind, BASES[name]):
        for part in parts:
            mark = json.dumps([base, part])
            if mark not in before:
                path = os.path.join(folder, "base.safetensors")
                why, before[mark] = golden(name, base, part, a.seed, path)
                assert not why, (base, why)
            path = os.path.join(folder, f"{name}_{len(waiting)}.safetensors")
            why, out = golden(name, config, part, a.seed, path)
            if why:
                rows[key].add("no run", value, why)
                if a.verbose:
                    print(f"  {key} {value!r}: {why}")
                continue
            was = before[mark]
            has_moved = was.shape != out.shape \
                or bool((was - out).abs().max() > 1e-4 * out.abs().max())
            waiting.append((key, value, part, config, path, has_moved))
    run_goldens(a, rows, waiting)
    return rows.values()


def run_goldens(a, rows, waiting):
    program = os.path.join(a.build, "tests/golden/t_families")
    for at in range(0, len(waiting), differ.MOST_FILES):
        some = waiting[at:at + differ.MOST_FILES]
        done = subprocess.run([program, *(w[4] for w in some)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        found = differ.verdicts(done.stdout, [w[4] for w in some])
        for key, value, part, config, path, has_moved in some:
            verdict, detail = found[path]
            if done.returncode < 0:
                verdict, detail = "DIFFERS", "the program crashed"
            if a.verbose and verdict == "refused":
                print(f"  {key} {value!r}: {detail}")
            shown = {k: v for k, v in config.items() if k != key}
            rows[key].add(verdict, f"{value!r} {part or ''} with {shown}",
                          detail, has_moved)


# -- schedulers --------------------------------------------------------------

CURVE = [round(0.001 + 0.02 * (i / 1000) ** 2, 6) for i in range(1000)]
SCHEDULER_VALUES = {
    "num_train_timesteps": [100, 997, 2000], "beta_start": [5e-4, 0.002],
    "beta_end": [0.015, 0.03], "trained_betas": [CURVE],
    "beta_schedule": ["linear", "scaled_linear", "squaredcos_cap_v2",
                      "sigmoid", "laplace", "exp", "other"],
    "prediction_type": ["v_prediction", "sample", "flow_prediction", "other"],
    "timestep_spacing": ["leading", "linspace", "trailing", "other"],
    "steps_offset": [1, 7], "clip_sample_range": [0.5, 3.0],
    "dynamic_thresholding_ratio": [0.9, 0.5], "sample_max_value": [1.5, 0.5],
    "variance_type": ["fixed_small", "fixed_small_log", "fixed_large",
                      "fixed_large_log", "learned", "learned_range", "other"],
    "final_sigmas_type": ["sigma_min", "zero", "other"],
    "sigma_min": [0.05, 0.3], "sigma_max": [5.0, 12.0], "sigma_data": [1.0],
    "rho": [5.0], "sigma_schedule": ["exponential", "other"],
    "interpolation_type": ["log_linear", "other"],
    "timestep_type": ["continuous", "other"], "solver_order": [1, 3, 4],
    "algorithm_type": ["sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis",
                       "other"],
    "solver_type": ["midpoint", "heun", "bh1", "logrho", "other"],
    "lambda_min_clipped": [-5.1, -1.0], "flow_shift": [2.0, 3.0],
    "disable_corrector": [[0], [1, 2]], "noise_sampler_seed": [3],
    "solver_p": [], "time_shift_type": ["linear", "other"],
    "shift_terminal": [0.1], "original_inference_steps": [20, 100],
    "timestep_scaling": [1.0, 5.0], "shift": [0.5, 3.0],
    "base_shift": [0.2, 0.8], "max_shift": [0.9, 2.0],
    "base_image_seq_len": [64], "max_image_seq_len": [1024],
    "s_noise": [0.5], "snr": [0.05], "correct_steps": [0, 2],
    "sampling_eps": [1e-3], "beta_min": [0.2], "beta_max": [15],
}
# What a key may need beside it, to matter.
BESIDE = [
    {}, {"timestep_spacing": "leading"}, {"timestep_spacing": "trailing"},
    {"use_karras_sigmas": True}, {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True}, {"use_flow_sigmas": True},
    {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    {"thresholding": True}, {"thresholding": True, "sample_max_value": 4.0},
    {"clip_sample": True}, {"clip_sample": False},
    {"use_dynamic_shifting": True}, {"rescale_betas_zero_snr": True},
    {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    {"algorithm_type": "sde-dpmsolver++"}, {"variance_type": "learned_range"},
    {"final_sigmas_type": "sigma_min"}, {"solver_order": 3},
    {"stochastic_sampling": True}, {"prediction_type": "v_prediction"},
    {"beta_schedule": "squaredcos_cap_v2"}, {"predict_x0": False},
    {"use_dynamic_shifting": True, "use_flow_sigmas": True,
     "prediction_type": "flow_prediction"},
]
STEPS = (7, 20)


def class_of(name):
    if name == "ScoreSdeVp":
        return ScoreSdeVpScheduler
    return getattr(diffusers, name + "Scheduler")


def values_of(key, default):
    if isinstance(default, bool):
        return [not default]
    return [v for v in SCHEDULER_VALUES.get(key, ()) if v != default]


def case_of(name, config, steps, seed):
    case = {"class": name, "config": config, "seed": seed,
            "steps": min(steps, config.get("num_train_timesteps", 1000))}
    if name in ("LCM", "TCD"):
        case["steps"] = steps // 2
    if config.get("use_dynamic_shifting"):
        case["mu"] = 0.7
    if name in ("DDIM", "TCD"):
        case["eta"] = 0.3
    return case


def scheduler_cases(name, seed):
    parameters = inspect.signature(class_of(name).__init__).parameters
    for key in config_keys.keys_of(class_of(name)):
        for value in values_of(key, parameters[key].default):
            for beside in BESIDE:
                if not set(beside) <= set(parameters) or key in beside:
                    continue
                steps = STEPS[BESIDE.index(beside) % 2]
                yield key, value, beside, case_of(
                    name, {**beside, key: value}, steps, seed)


def moved(row, was):
    return row.get("x") != was.get("x") or row.get("is_nan") \
        != was.get("is_nan")


def audit_scheduler(a, name, folder):
    rows = {k: Row(name, k) for k in config_keys.keys_of(class_of(name))}
    cases, before = [], {}
    for key, value, beside, case in scheduler_cases(name, a.seed):
        row = diff_samplers.row_of(case, len(cases))
        plain = {**case, "config": dict(beside)}
        mark = json.dumps([beside, case["steps"]])
        if mark not in before:
            before[mark] = diff_samplers.row_of(plain, 0)
        cases.append((key, value, beside, row, moved(row, before[mark])))
    path = os.path.join(folder, f"{name}.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump([c[3] for c in cases], f)
    done = subprocess.run([os.path.join(a.build, "tests/golden/t_samplers"),
                           path], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    judge_samplers(a, rows, cases, done)
    return rows.values()


def words_of(output):
    """name of a failed row: what was said."""
    lines = output.splitlines()
    said = {}
    for i, line in enumerate(lines):
        if "[ RUN      ]" in line:
            name, found = line.split("] ", 1)[1], ""
            for after in lines[i + 1:]:
                if after.startswith("["):
                    if "FAILED" in after:
                        said[name] = found
                    break
                found = found or after
    return said


def judge_samplers(a, rows, cases, done):
    said = words_of(done.stdout)
    for key, value, beside, row, has_moved in cases:
        name = row["name"]
        if row.get("is_nan") and name not in said:
            rows[key].add("no run", value, "")
            if a.verbose:
                print(f"  {key} {value!r} with {beside}: {row['why']}")
        elif done.returncode < 0:
            rows[key].add("DIFFERS", value, "the program crashed")
        elif name not in said:
            rows[key].add("same", value, "", has_moved)
        else:
            detail = said[name].removeprefix("ERROR: ").strip()
            is_ours = "wanted" not in detail and "is nan" not in detail
            if a.verbose and is_ours:
                print(f"  {key} {value!r} with {beside}: {detail}")
            rows[key].add("refused" if is_ours else "DIFFERS",
                          f"{str(value)[:40]} with {beside}, "
                          f"{row['steps']} steps", detail)


def main():
    classes = [*BASES, *config_keys.SCHEDULERS, "ScoreSdeVp"]
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default="build")
    p.add_argument("--class", dest="classes", nargs="*", choices=classes)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("-v", "--verbose", action="store_true")
    a = p.parse_args()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    make_samplers.network = diff_samplers.network
    n_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in a.classes or classes:
            audit = audit_network if name in BASES else audit_scheduler
            n_wrong += sum(row.show() for row in audit(a, name, folder))
    print("not ok audit_keys" if n_wrong else "ok audit_keys")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
