"""make_samplers.py - goldens of every sampler, step by step.

usage: python tools/goldens/make_samplers.py OUT.json

Made by the reference implementation (diffusers 0.42.1, torch 2.15.0): name x
prediction type x spacing, sigma schedules, orders, algorithms, endings.  The
network is the stand-in x * t / (t + 1) of make_schedulers.py.  The first sample
is randn(1, 1, 4, 4) of a generator seeded with `seed`, times init_noise_sigma;
the generator then gives the noise of the steps.  The sample after every
evaluation stands in the file.

DPMSolverSDEScheduler asks a Brownian tree for its noise; here it is given two
draws of the generator a step instead, joined by the law of Brownian motion
(engine/sample/dpmpp_sde.c).  ScoreSdeVe is run as its pipeline runs it.

SPDX-License-Identifier: MIT
"""
import json
import sys

import diffusers
import torch
from diffusers.schedulers.deprecated import ScoreSdeVpScheduler

SEED = 9
STEPS = 6
LATENT = dict(beta_start=0.00085, beta_end=0.012,
              beta_schedule="scaled_linear")
SPACINGS = ("leading", "linspace", "trailing")
EULERS = ("LMSDiscrete", "EulerDiscrete", "HeunDiscrete", "KDPM2Discrete",
          "KDPM2AncestralDiscrete", "DPMSolverSDE")
SOLVERS = ("DPMSolverMultistep", "UniPCMultistep", "DEISMultistep",
           "DPMSolverSinglestep")
NO_SAMPLE = ("EulerAncestralDiscrete", "KDPM2Discrete",
             "KDPM2AncestralDiscrete", "DPMSolverSDE", "PNDM")
MULTI, SINGLE = "DPMSolverMultistep", "DPMSolverSinglestep"


def cases():
    rows = []

    def add(cls, steps=STEPS, **config):
        rows.append((cls, steps, config))

    for cls in (*EULERS, "EulerAncestralDiscrete", *SOLVERS, "PNDM",
                "DDIMInverse", "LCM", "TCD"):
        kinds = ["epsilon", "v_prediction"]
        if cls not in NO_SAMPLE:
            kinds.append("sample")
        spaced = cls not in (SINGLE, "LCM", "TCD")
        for kind in kinds:
            for spacing in SPACINGS if spaced else (None,):
                extra = {"timestep_spacing": spacing} if spaced else {}
                if cls == "DDIMInverse":
                    if spacing == "linspace":
                        continue
                    extra["set_alpha_to_one"] = kind != "sample"
                add(cls, prediction_type=kind, **extra, **LATENT)
    for cls in ("EulerDiscrete", "EulerAncestralDiscrete", "PNDM", MULTI,
                "UniPCMultistep", "DEISMultistep"):
        add(cls, timestep_spacing="leading", steps_offset=1, **LATENT)
    for cls in (*EULERS, *SOLVERS):
        for flag in ("karras", "exponential", "beta"):
            for kind in ("epsilon", "v_prediction"):
                add(cls, prediction_type=kind,
                    **{f"use_{flag}_sigmas": True}, **LATENT)
        add(cls, steps=1, **LATENT)
        add(cls, steps=2, **LATENT)
        add(cls, beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction")
    for cls in ("EulerDiscrete", "EulerAncestralDiscrete", MULTI,
                "UniPCMultistep", "LCM", "TCD"):
        add(cls, rescale_betas_zero_snr=True, prediction_type="v_prediction",
            **({} if cls in ("LCM", "TCD")
               else {"timestep_spacing": "trailing"}), **LATENT)
    for cls in (*SOLVERS, "LCM"):
        add(cls, thresholding=True, sample_max_value=1.5,
            dynamic_thresholding_ratio=0.9, **LATENT)
    for name, v in (("interpolation_type", "log_linear"),
                    ("final_sigmas_type", "sigma_min")):
        add("EulerDiscrete", **{name: v}, **LATENT)
    add("EulerDiscrete", timestep_type="continuous",
        prediction_type="v_prediction", **LATENT)
    add("EulerDiscrete", use_karras_sigmas=True, sigma_min=0.1, sigma_max=9.0,
        **LATENT)
    add("HeunDiscrete", clip_sample=True, clip_sample_range=0.8, **LATENT)
    add("HeunDiscrete", beta_schedule="exp")
    for cls in ("HeunDiscrete", "LMSDiscrete", SINGLE, MULTI):
        for flag in ("use_karras_sigmas", "use_exponential_sigmas"):
            add(cls, sigma_min=0.1, sigma_max=9.0, **{flag: True}, **LATENT)
    add(MULTI, sigma_min=0.1, sigma_max=9.0, use_lu_lambdas=True, **LATENT)
    for cls in ("DDIM", "DDPM"):
        add(cls, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    add("UniPCMultistep", steps=1, lower_order_final=False, **LATENT)
    for steps in (4, 9):
        add("PNDM", steps=steps, skip_prk_steps=True, **LATENT)
        add("PNDM", steps=steps, skip_prk_steps=True, set_alpha_to_one=True,
            prediction_type="v_prediction", **LATENT)
        add("PNDM", steps=steps, **LATENT)
    add("PNDM", steps=1, skip_prk_steps=True)
    add("PNDM", steps=2, skip_prk_steps=True)
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun"):
            for steps in (6, 16):
                for kind in ("dpmsolver++", "sde-dpmsolver++", "dpmsolver",
                             "sde-dpmsolver"):
                    if kind == "sde-dpmsolver" and order == 3:
                        continue
                    end = {} if "++" in kind else {
                        "final_sigmas_type": "sigma_min"}
                    add(MULTI, steps, solver_order=order, solver_type=solver,
                        algorithm_type=kind, **end, **LATENT)
                    if kind != "sde-dpmsolver" and steps == 6:
                        add(SINGLE, steps, solver_order=order,
                            solver_type=solver, algorithm_type=kind, **end,
                            **LATENT)
        for steps in (5, 7, 8, 9):
            for low in (False, True):
                add(SINGLE, steps, solver_order=order, lower_order_final=low,
                    final_sigmas_type="sigma_min", **LATENT)
        for low in (False, True):
            for steps in (6, 16):
                add("DEISMultistep", steps, solver_order=order,
                    lower_order_final=low, **LATENT)
                add("UniPCMultistep", steps, solver_order=order,
                    lower_order_final=low, final_sigmas_type="sigma_min",
                    solver_type="bh1", **LATENT)
        add("UniPCMultistep", solver_order=order, disable_corrector=[0, 2],
            **LATENT)
        add("UniPCMultistep", solver_order=order, predict_x0=False,
            final_sigmas_type="sigma_min", prediction_type="v_prediction",
            **LATENT)
    add(MULTI, use_lu_lambdas=True, **LATENT)
    add(MULTI, euler_at_final=True, steps=16, final_sigmas_type="sigma_min",
        **LATENT)
    add(MULTI, lambda_min_clipped=-5.1, beta_schedule="squaredcos_cap_v2")
    for cls in SOLVERS:
        add(cls, use_flow_sigmas=True, prediction_type="flow_prediction",
            flow_shift=3.0)
    add("UniPCMultistep", use_flow_sigmas=True, flow_shift=2.0,
        prediction_type="flow_prediction", shift_terminal=0.1)
    add("LCM", steps=4, original_inference_steps=20)
    add("LCM", steps=3, clip_sample=True, prediction_type="sample")
    for eta in (0.0, 0.3, 1.0):
        add("TCD", steps=4, eta=eta)
    add("IPNDM", steps=9)
    add("UnCLIP")
    add("UnCLIP", steps=1000 // 8, num_train_timesteps=125,
        prediction_type="sample")
    for kind in ("epsilon", "v_prediction"):
        for levels in ("karras", "exponential"):
            for end in ("zero", "sigma_min"):
                for cls in ("EDMEuler", "EDMDPMSolverMultistep"):
                    add(cls, prediction_type=kind, sigma_schedule=levels,
                        final_sigmas_type=end)
    add("EDMDPMSolverMultistep", solver_order=3, solver_type="heun")
    add("EDMDPMSolverMultistep", algorithm_type="sde-dpmsolver++")
    add("EDMDPMSolverMultistep", thresholding=True, sample_max_value=1.2)
    add("FlowMatchEulerDiscrete", shift=3.0)
    add("FlowMatchEulerDiscrete", shift=3.0, stochastic_sampling=True)
    add("FlowMatchEulerDiscrete", shift=2.0, shift_terminal=0.05)
    add("FlowMatchEulerDiscrete", use_dynamic_shifting=True, mu=0.7)
    add("FlowMatchEulerDiscrete", use_dynamic_shifting=True, mu=1.2,
        time_shift_type="linear")
    for flag in ("karras", "exponential", "beta"):
        add("FlowMatchEulerDiscrete", **{f"use_{flag}_sigmas": True})
    add("FlowMatchEulerDiscrete", invert_sigmas=True)
    for steps in (1, 2, 5):
        add("CMStochasticIterative", steps=steps)
        add("CMStochasticIterative", steps=steps, clip_denoised=False,
            s_noise=0.5)
    add("ScoreSdeVe", steps=10, sigma_max=50.0)
    add("ScoreSdeVe", steps=5, correct_steps=2, snr=0.1)
    add("ScoreSdeVe", steps=5, correct_steps=0)
    add("ScoreSdeVp", steps=10)
    return rows


def floats(tensor):
    return [float(f"{v:.9g}") for v in tensor.flatten().tolist()]


def network(x, t):
    return x * float(t) / float(t + 1)


def brownian(scheduler, generator, shape):
    """W over adjoining intervals, each length divided out; see dpmpp_sde.c."""
    state = {}

    def noise(start, end):
        z = torch.randn(shape, generator=generator)
        if "z" not in state:
            state.update(z=z, start=start, middle=end)
            return z
        first, middle = state.pop("z"), state["middle"]
        return ((start - middle).sqrt() * first + (middle - end).sqrt() * z) \
            / (start - end).sqrt()

    return noise


def score_ve(s, steps, generator):
    s.set_timesteps(steps)
    s.set_sigmas(steps)
    x = torch.randn(1, 1, 4, 4, generator=generator) * s.init_noise_sigma
    xs, times = [], []
    for i, t in enumerate(s.timesteps):
        level = s.sigmas[i]
        for _ in range(s.config.correct_steps):
            x = s.step_correct(network(x, level), x,
                               generator=generator).prev_sample
            xs.append(x)
        out = s.step_pred(network(x, level), t, x, generator=generator)
        x = out.prev_sample
        xs.append(x)
        times += [level] * (s.config.correct_steps + 1)
    return xs, times, out.prev_sample_mean


def score_vp(s, steps, generator):
    s.set_timesteps(steps)
    x = torch.randn(1, 1, 4, 4, generator=generator)
    xs, times = [], []
    for t in s.timesteps:
        x, mean = s.step_pred(network(x, 999 * t), x, t, generator=generator)
        xs.append(x)
        times.append(999 * t)
    return xs, times, mean


def steps_of(s, cls, steps, told, generator):
    set_to = {k: v for k, v in told.items() if k == "mu"}
    s.set_timesteps(steps, **set_to)
    x = torch.randn(1, 1, 4, 4, generator=generator)
    x = x * getattr(s, "init_noise_sigma", 1.0)
    extra = {"eta": told["eta"]} if "eta" in told else {}
    timesteps = s.timesteps
    if cls == "DPMSolverSDE":
        s.noise_sampler = brownian(s, generator, x.shape)
    elif "generator" in s.step.__code__.co_varnames[
            :s.step.__code__.co_argcount]:
        extra["generator"] = generator
    xs = []
    for i, t in enumerate(timesteps):
        scaled = s.scale_model_input(x, t) \
            if hasattr(s, "scale_model_input") else x
        if cls == "UnCLIP":
            after = timesteps[i + 1] if i + 1 < len(timesteps) else None
            extra["prev_timestep"] = after
        x = s.step(network(scaled, t), t, x, **extra).prev_sample
        xs.append(x)
    return xs, list(timesteps), None


def run(cls, steps, config):
    told = {k: config.pop(k) for k in ("mu", "eta") if k in config}
    if cls == "ScoreSdeVp":
        s = ScoreSdeVpScheduler(**config)
    else:
        s = getattr(diffusers, cls + "Scheduler").from_config(config)
    generator = torch.Generator().manual_seed(SEED)
    if cls == "ScoreSdeVe":
        xs, times, mean = score_ve(s, steps, generator)
    elif cls == "ScoreSdeVp":
        xs, times, mean = score_vp(s, steps, generator)
    else:
        xs, times, mean = steps_of(s, cls, steps, told, generator)
    row = {"config": {"_class_name": cls + "Scheduler", **config},
           "steps": steps, "seed": SEED, **told}
    row["name"] = " ".join([cls, str(steps)] + [
        f"{v}" if isinstance(v, str) else f"{k}={v}"
        for k, v in {**config, **told}.items()
        if k not in LATENT or config.get(k) != LATENT[k]])
    if not all(torch.isfinite(x).all() for x in xs):
        return {**row, "is_nan": True}
    row["timesteps"] = [float(f"{float(t):.9g}") for t in times]
    if mean is not None:
        row["mean"] = floats(mean)
    return {**row, "x": [floats(x) for x in xs]}


def main():
    rows = [run(cls, steps, dict(config)) for cls, steps, config in cases()]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(len(rows), "cases,", sum(r.get("is_nan", False) for r in rows),
          "of them not finite")


if __name__ == "__main__":
    main()
