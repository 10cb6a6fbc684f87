"""diff_samplers.py - samplers against the reference at random configurations.

usage: python tools/goldens/diff_samplers.py SEED COUNT OUT.json [CLASS ...]
       build/tests/golden/t_samplers OUT.json

Draws scheduler_config.json by seed, every class and every option that it
documents, 1 to 2000 steps, half of the rows under the name of another sampler
(from_config), a quarter with a schedule asked for (karras, trailing), a third
begun in a picture, and runs the reference's step() loop with a stand-in
network.  The C program runs the same rows and compares every
sample to 1e-3 of the largest value.

What the reference refuses or turns into NaN (`is_nan`) must be refused here
with a reason, or be finite.  So may be what it runs, but not as asked: levels
that do not fall, other numbers of steps, a timestep -1.

A row in which samples grow a thousandfold says nothing where it fails: the
network of such a run multiplies roundings, the reference's too.  Row 515 of
seed 4242 (dpmpp_3m_sde, 250 steps) grows to 6e5, and its f32 leaves its f64
there by 4e-3 of the largest value.

SPDX-License-Identifier: MIT
"""
import inspect
import json
import math
import random
import sys
import types
import warnings

import diffusers
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from diffusers.schedulers import AysSchedules
from diffusers.schedulers.deprecated import ScoreSdeVpScheduler

import make_samplers
from make_samplers import brownian, floats, score_ve, score_vp

TOLERANCE = 1e-3
N = 16
MAX_KEPT = 24  # samples of a row that stand in the file

# name: class, order of the solver (0: as configured), draws noise
NAMES = {
    "ddim": ("DDIM", 0, None), "ddpm": ("DDPM", 0, None),
    "pndm": ("PNDM", 0, None), "lms": ("LMSDiscrete", 0, None),
    "euler": ("EulerDiscrete", 0, None),
    "euler_a": ("EulerAncestralDiscrete", 0, None),
    "heun": ("HeunDiscrete", 0, None), "dpm2": ("KDPM2Discrete", 0, None),
    "dpm2_a": ("KDPM2AncestralDiscrete", 0, None),
    "dpmpp_2m": ("DPMSolverMultistep", 2, False),
    "dpmpp_3m": ("DPMSolverMultistep", 3, False),
    "dpmpp_2m_sde": ("DPMSolverMultistep", 2, True),
    "dpmpp_3m_sde": ("DPMSolverMultistep", 3, True),
    "dpmpp_2m_sde_heun": ("DPMSolverMultistep", 2, True),
    "dpmpp_2s": ("DPMSolverSinglestep", 2, False),
    "dpmpp_3s": ("DPMSolverSinglestep", 3, False),
    "dpmpp_sde": ("DPMSolverSDE", 0, None),
    "unipc": ("UniPCMultistep", 0, None),
    "deis": ("DEISMultistep", 0, None), "lcm": ("LCM", 0, None),
    "tcd": ("TCD", 0, None), "ddim_inverse": ("DDIMInverse", 0, None),
}
BETAS = sorted({cls for cls, _, _ in NAMES.values()})
OTHERS = ["UnCLIP", "IPNDM", "EDMEuler", "EDMDPMSolverMultistep",
          "FlowMatchEulerDiscrete", "CMStochasticIterative", "ScoreSdeVe",
          "ScoreSdeVp"]
FROM_PICTURE = ["DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete",
                "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2Discrete",
                "KDPM2AncestralDiscrete", "DPMSolverSDE",
                "DPMSolverMultistep", "UniPCMultistep", "DEISMultistep",
                "DPMSolverSinglestep", "LCM", "TCD", "EDMEuler",
                "EDMDPMSolverMultistep"]
SCHEDULES = {"karras": "use_karras_sigmas", "beta": "use_beta_sigmas",
             "exponential": "use_exponential_sigmas", "lu": "use_lu_lambdas"}
CURVES = tuple(SCHEDULES.values())
AYS = {"align_your_steps": "StableDiffusionSigmas",
       "align_your_steps_xl": "StableDiffusionXLSigmas"}


def class_of(name):
    if name == "ScoreSdeVp":
        return ScoreSdeVpScheduler
    return getattr(diffusers, name + "Scheduler")


def betas_of(r, config):
    """A table of betas, or its ends."""
    kind = r.random()
    if kind < 0.1:
        n = r.choice((20, 40, 100))
        config["num_train_timesteps"] = n
        config["trained_betas"] = [
            round(0.001 + 0.1 * (i / n) ** 2 * r.uniform(0.8, 1), 6)
            for i in range(n)]
    elif kind < 0.5:
        config.update(beta_start=0.00085, beta_end=0.012)
    elif kind < 0.7:
        config.update(beta_start=r.choice((1e-4, 5e-4, 0.0015)),
                      beta_end=r.choice((0.02, 0.0195, 0.015)))


OPTIONS = {
    "num_train_timesteps": lambda r: r.choice(
        (1000, 1000, 1000, 1000, 100, 250, 997, 2000, 3, 10, 31)),
    "beta_schedule": lambda r: r.choice(
        ("linear", "scaled_linear", "scaled_linear", "squaredcos_cap_v2")),
    "prediction_type": lambda r: r.choice(
        ("epsilon", "epsilon", "v_prediction", "sample")),
    "timestep_spacing": lambda r: r.choice(
        ("leading", "linspace", "trailing")),
    "steps_offset": lambda r: r.choice((0, 1, 1, 2, 7, 40)),
    "clip_sample": lambda r: r.random() < 0.5,
    "clip_denoised": lambda r: r.random() < 0.5,
    "clip_sample_range": lambda r: r.choice((1.0, 0.5, 3.0)),
    "thresholding": lambda r: r.random() < 0.4,
    "dynamic_thresholding_ratio": lambda r: r.choice(
        (0.995, 0.9, 0.5, 1.0, 0.0)),
    "sample_max_value": lambda r: r.choice((1.0, 1.5, 4.0, 0.5)),
    "rescale_betas_zero_snr": lambda r: r.random() < 0.4,
    "set_alpha_to_one": lambda r: r.random() < 0.5,
    "skip_prk_steps": lambda r: r.random() < 0.7,
    "variance_type": lambda r: r.choice(
        ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log",
         "learned", "learned_range")),
    "final_sigmas_type": lambda r: r.choice(("zero", "sigma_min")),
    "sigma_min": lambda r: r.choice((0.05, 0.3)),
    "sigma_max": lambda r: r.choice((5.0, 12.0)),
    "sigma_data": lambda r: r.choice((0.5, 1.0)),
    "rho": lambda r: r.choice((7.0, 5.0)),
    "sigma_schedule": lambda r: r.choice(("karras", "exponential")),
    "interpolation_type": lambda r: r.choice(("linear", "log_linear")),
    "timestep_type": lambda r: r.choice(("discrete", "continuous")),
    "solver_order": lambda r: r.choice((1, 2, 2, 3)),
    "algorithm_type": lambda r: r.choice(
        ("dpmsolver++", "dpmsolver++", "sde-dpmsolver++", "dpmsolver",
         "sde-dpmsolver")),
    "shift_terminal": lambda r: r.choice((0.1, 0.02)),
    "solver_type": lambda r: r.choice(("midpoint", "heun", "bh1", "bh2")),
    "lower_order_final": lambda r: r.random() < 0.6,
    "euler_at_final": lambda r: r.random() < 0.4,
    "predict_x0": lambda r: r.random() < 0.7,
    "disable_corrector": lambda r: r.choice(([], [0], [0, 2], [1, 3, 4])),
    "lambda_min_clipped": lambda r: r.choice((-5.1, -3.0)),
    "flow_shift": lambda r: r.choice((1.0, 2.0, 3.0)),
    "original_inference_steps": lambda r: r.choice((50, 20, 100)),
    "timestep_scaling": lambda r: r.choice((10.0, 1.0)),
    "shift": lambda r: r.choice((1.0, 3.0, 0.5)),
    "use_dynamic_shifting": lambda r: r.random() < 0.3,
    "time_shift_type": lambda r: r.choice(("exponential", "linear")),
    "shift_terminal": lambda r: r.choice((0.1, 0.02)),
    "invert_sigmas": lambda r: r.random() < 0.3,
    "stochastic_sampling": lambda r: r.random() < 0.3,
    "s_noise": lambda r: r.choice((1.0, 0.5)),
    "snr": lambda r: r.choice((0.15, 0.05)),
    "correct_steps": lambda r: r.choice((0, 1, 2)),
    "sampling_eps": lambda r: r.choice((1e-5, 1e-3)),
    "beta_min": lambda r: r.choice((0.1, 0.2)),
    "beta_max": lambda r: r.choice((20, 15)),
}


def draw_config(r, cls):
    """Every option of the class, each left out half of the time."""
    known = inspect.signature(class_of(cls).__init__).parameters
    config = {}
    for key, draw in OPTIONS.items():
        if key in known and r.random() < 0.5:
            config[key] = draw(r)
    if "variance_type" in config and cls != "DDPM":
        config["variance_type"] = "learned_range" if cls == "UnCLIP" else None
    if cls == "UnCLIP":
        config.pop("beta_schedule", None)
    if cls == "IPNDM" and r.random() < 0.3:  # levels of a run, not betas
        n = r.randint(2, 12)
        config["trained_betas"] = [
            round(math.sin(math.pi / 2 * (1 - i / n) ** 1.2), 6)
            for i in range(n + 1)]
    if cls in ("DDPM", "HeunDiscrete") and r.random() < 0.2:
        config["beta_schedule"] = r.choice(
            ("sigmoid", "laplace") if cls == "DDPM" else ("exp",))
    if cls == "DEISMultistep" or r.random() < 0.5:
        config.pop("algorithm_type", None)
    if config.get("algorithm_type", "").endswith("dpmsolver"):
        config["final_sigmas_type"] = "sigma_min"
    if "beta_start" in known:
        betas_of(r, config)
    if r.random() < 0.4:
        curves = [c for c in CURVES if c in known]
        if curves:
            config[r.choice(curves)] = True
    elif "use_flow_sigmas" in known and r.random() < 0.1:
        config.update(use_flow_sigmas=True,
                      prediction_type="flow_prediction")
    elif cls == "UniPCMultistep":
        config.pop("shift_terminal", None)
    if cls in ("ScoreSdeVe", "CMStochasticIterative") \
            or cls.startswith("EDM"):
        for key, value in (("sigma_min", 0.01), ("sigma_max", 50.0)):
            if key in config:
                config[key] = value
    if cls.startswith("EDM") or cls == "CMStochasticIterative":
        config.pop("num_train_timesteps", None)
    if cls not in ("DPMSolverMultistep", "UniPCMultistep",
                   "FlowMatchEulerDiscrete", "DEISMultistep",
                   "DPMSolverSinglestep"):
        config.pop("use_dynamic_shifting", None)
    return config


def draw_steps(r, total):
    kind = r.random()
    if kind < 0.2:
        return r.choice((1, 2, 3, 4))
    if kind < 0.85:
        return r.randint(5, 40)
    if kind < 0.95:
        return r.choice((61, 103, 121, 50, 100, 250))
    return r.choice((total, total - 1, total // 2))


def draw_schedule(r, case, target):
    """A schedule that the request asks for in place of the configured one."""
    known = inspect.signature(class_of(target).__init__).parameters
    if r.random() < 0.75 or target not in BETAS \
            or case["config"].get("use_flow_sigmas"):
        return
    if target == "EulerDiscrete" and r.random() < 0.3 \
            and case["config"].get("num_train_timesteps", 1000) >= 10:
        case.update(schedule=r.choice(sorted(AYS)), steps=10)
        return
    names = [name for name, key in SCHEDULES.items() if key in known]
    if "timestep_spacing" in known and target not in ("LCM", "TCD"):
        names += ["linspace", "leading", "trailing"]
    if target == "DDIMInverse" and names:
        names.remove("linspace")
    if names:
        case["schedule"] = r.choice(names)


def as_asked(schedule):
    """The configuration that a schedule stands for."""
    config = {c: False for c in CURVES}
    if schedule in AYS:
        config["interpolation_type"] = "linear"
    elif schedule in SCHEDULES:
        config[SCHEDULES[schedule]] = True
    else:
        config["timestep_spacing"] = schedule
    return config


def draw_case(r, classes):
    cls = r.choice(classes)
    case = {"class": cls, "config": draw_config(r, cls)}
    total = case["config"].get("num_train_timesteps", 1000)
    case["steps"] = min(total, max(1, draw_steps(r, total)))
    if cls in BETAS and r.random() < 0.5:
        case["sampler"] = r.choice(sorted(NAMES))
    target = NAMES[case["sampler"]][0] if "sampler" in case else cls
    if target == "LCM" or target == "TCD":
        case["steps"] = 1 + case["steps"] % 12
    if target in ("CMStochasticIterative",):
        case["steps"] = 1 + case["steps"] % 40
    if target == "DEISMultistep":  # its weights keep no digit of more
        case["steps"] = 1 + (case["steps"] - 1) % 120
    if target == "KDPM2AncestralDiscrete":  # nor its levels of 20,000
        if case["config"].get("beta_schedule") == "squaredcos_cap_v2":
            del case["config"]["beta_schedule"]
    draw_schedule(r, case, target)
    if target == "TCD":
        case["eta"] = r.choice((0.0, 0.3, 1.0))
    if target == "DDIM":
        case["eta"] = r.choice((0.0, 0.0, 0.5, 1.0))
        case["use_clipped_model_output"] = r.random() < 0.3
    if case["config"].get("use_dynamic_shifting"):
        case["mu"] = r.choice((0.7, 1.2))
    if target in FROM_PICTURE and r.random() < 0.33:
        case["strength"] = r.choice((0.15, 0.4, 0.6, 0.85, 1.0))
        case["has_mask"] = r.random() < 0.4
        if int(case["steps"] * case["strength"]) < 1:
            case["strength"] = 1.0
    case["seed"] = r.randint(0, 2**32 - 1)
    return case


def network(x, t):
    """The stand-in `wave`: not linear, no more than Lipschitz 1."""
    t = torch.as_tensor(t, dtype=torch.float32)
    return 0.7 * torch.cos(0.01 * t) * x + 0.3 * torch.sin(x)


def variance_of(x):
    return 1 / (1 + x * x)


def scheduler_of(case):
    cls, config = case["class"], dict(case["config"])
    if "sampler" not in case:
        s = class_of(cls)(**config)
        if "schedule" in case:
            s = class_of(cls).from_config(s.config,
                                          **as_asked(case["schedule"]))
        return cls, s
    target, order, is_sde = NAMES[case["sampler"]]
    more = {}
    if order:
        kind = config.get("algorithm_type", "dpmsolver++")
        if kind == "deis":
            kind = "dpmsolver++"
        base = kind.removeprefix("sde-")
        more["algorithm_type"] = ("sde-" if is_sde else "") + base
        wanted = config.get("solver_order", 2)
        more["solver_order"] = 3 if order == 3 else min(wanted, 2)
        if target == "DPMSolverSinglestep" and cls == target:
            more["algorithm_type"] = kind
    if case["sampler"].endswith("heun") and order:
        more["solver_type"] = "heun"
    if target == "PNDM" and cls != "PNDM":
        more["skip_prk_steps"] = True
    if "schedule" in case:
        more.update(as_asked(case["schedule"]))
    config["_class_name"] = cls + "Scheduler"
    return target, class_of(target).from_config(config, **more)


def is_odd(s, case):
    """Is this run not what was asked for?"""
    times = [float(t) for t in s.timesteps]
    total = s.config.get("num_train_timesteps", 1000)
    levels = [float(v) for v in getattr(s, "sigmas", [])][:-1]
    order = 2 if len(times) > case["steps"] + 1 else 1
    if order == 2:
        levels = levels[::2]
    falls = all(a > b for a, b in zip(levels, levels[1:]))
    rises = all(a < b for a, b in zip(levels, levels[1:]))
    is_cut = case["config"].get("lambda_min_clipped") \
        or "trained_betas" in case["config"]
    is_short = order == 1 and len(times) < case["steps"] and not is_cut
    has_prk = not s.config.get("skip_prk_steps", True)
    is_spaced = "timestep_spacing" in s.config
    return (-1 in times or not (falls or rises) or is_short
            or is_spaced and max(times) >= total
            or has_prk and "strength" in case)


def run_steps(case, cls, s, generator):
    n = case["steps"]
    told = inspect.signature(s.set_timesteps).parameters
    if case.get("schedule") in AYS:
        s.set_timesteps(sigmas=list(AysSchedules[AYS[case["schedule"]]]))
    else:
        s.set_timesteps(n, **({"mu": case["mu"]}
                              if "mu" in case and "mu" in told else {}))
    timesteps = s.timesteps
    case["is_odd"] = is_odd(s, case)
    x = torch.randn(1, 1, 4, 4, generator=generator)
    xs = []
    picture = torch.tensor([math.cos(i) for i in range(N)]).view(1, 1, 4, 4)
    mask = torch.tensor([float(i % 3 == 0) for i in range(N)])
    mask = mask.view(1, 1, 4, 4)
    noise, has_mask = x, case.get("has_mask", False)
    if "strength" in case:
        cut = StableDiffusionImg2ImgPipeline.get_timesteps
        timesteps, _ = cut(types.SimpleNamespace(scheduler=s), n,
                           case["strength"], "cpu")
        if has_mask and case["strength"] == 1:
            x = noise * s.init_noise_sigma
        else:
            x = s.add_noise(picture, noise, timesteps[:1])
        xs.append(x)
    else:
        x = x * getattr(s, "init_noise_sigma", 1.0)
    arguments = inspect.signature(s.step).parameters
    extra = {}
    if "eta" in case and "eta" in arguments:
        extra["eta"] = case["eta"]
    if "use_clipped_model_output" in case:
        extra["use_clipped_model_output"] = case["use_clipped_model_output"]
    if cls == "DPMSolverSDE":
        s.noise_sampler = brownian(s, generator, x.shape)
    elif "generator" in arguments:
        extra["generator"] = generator
    kind = getattr(s.config, "variance_type", None)
    learned = cls in ("DDPM", "UnCLIP") and kind in ("learned",
                                                     "learned_range")
    for i, t in enumerate(timesteps):
        scaled = s.scale_model_input(x, t) \
            if hasattr(s, "scale_model_input") else x
        if cls == "UnCLIP":
            after = timesteps[i + 1] if i + 1 < len(timesteps) else None
            extra["prev_timestep"] = after
        out = network(scaled, t)
        if learned:
            out = torch.cat([out, variance_of(scaled)], 1)
        x = s.step(out, t, x, **extra).prev_sample
        if has_mask:
            known = picture
            if i < len(timesteps) - 1:
                known = s.add_noise(picture, noise,
                                    torch.tensor([timesteps[i + 1]]))
            x = (1 - mask) * known + mask * x
        xs.append(x)
    return xs, list(timesteps), None


def run(case):
    cls, s = scheduler_of(case)
    generator = torch.Generator().manual_seed(case["seed"])
    if cls == "ScoreSdeVe":
        return score_ve(s, case["steps"], generator)
    if cls == "ScoreSdeVp":
        return score_vp(s, case["steps"], generator)
    return run_steps(case, cls, s, generator)


def row_of(case, number):
    row = {k: v for k, v in case.items() if k != "class"}
    row["config"] = {"_class_name": case["class"] + "Scheduler",
                     **case["config"]}
    told = {k: v for k, v in row.items() if k not in ("config", "seed")}
    short = {k: v if k != "trained_betas" else len(v)
             for k, v in case["config"].items()}
    row["name"] = f"{number} {case['class']} {json.dumps({**told, **short})}"
    row.update(network="wave", tolerance=TOLERANCE)
    try:
        xs, times, mean = run(case)
        if case.pop("is_odd", False):
            return {**row, "is_nan": True, "why": "not as asked"}
    except Exception as e:  # whatever the reference says no with
        return {**row, "is_nan": True, "why": repr(e)[:200]}
    if any(x.numel() != N for x in xs):
        return {**row, "is_nan": True, "why": "another shape"}
    if not all(torch.isfinite(x).all() for x in xs) \
            or any(x.abs().max() > 1e20 for x in xs):
        return {**row, "is_nan": True, "why": "not finite"}
    row["timesteps"] = [float(f"{float(t):.9g}") for t in times]
    if mean is not None:
        row["mean"] = floats(mean)
    skipped = max(0, len(xs) - MAX_KEPT)
    kept = [[] if 8 <= i < 8 + skipped else floats(x)
            for i, x in enumerate(xs)]
    return {**row, "x": kept}


def main():
    warnings.filterwarnings("ignore")
    diffusers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    make_samplers.network = network
    seed, count, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    classes = sys.argv[4:] or BETAS * 3 + OTHERS
    rows = [row_of(draw_case(random.Random(f"{seed} {i}"), classes), i)
            for i in range(count)]
    with open(out, "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(len(rows), "cases,", sum(r.get("is_nan", False) for r in rows),
          "of them without numbers")


if __name__ == "__main__":
    main()
