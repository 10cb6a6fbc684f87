"""make_score_run.py - a run of a score network with predictor and corrector.

usage: python tools/goldens/make_score_run.py tests/data/traj/score_ve.safetensors

Made by the reference implementation (diffusers 0.42.1, torch 2.15.0) in the
order of its ScoreSdeVePipeline.  The weights are drawn by the rule of
make_unet2d.py, so the file holds x_init and the sample after every step.

SPDX-License-Identifier: MIT
"""
import json
import sys

import torch
from diffusers import ScoreSdeVeScheduler, UNet2DModel
from safetensors.torch import save_file

from rule import draw_weights

WEIGHTS_SEED, SEED, STEPS = 3, 0, 10
UNET = {
    "sample_size": 8, "in_channels": 3, "out_channels": 3,
    "layers_per_block": 1, "block_out_channels": [32, 64],
    "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
    "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"],
    "time_embedding_type": "fourier", "norm_eps": 1e-6,
    "norm_num_groups": None, "attention_head_dim": None,
    "mid_block_scale_factor": 2 ** 0.5, "center_input_sample": True,
}
SCHEDULER = {"num_train_timesteps": STEPS, "snr": 0.15, "sigma_min": 0.01,
             "sigma_max": 50.0, "sampling_eps": 1e-5, "correct_steps": 1}


@torch.no_grad()
def main(path):
    net = UNet2DModel(**UNET).eval()
    draw_weights(net, WEIGHTS_SEED)
    s = ScoreSdeVeScheduler(**SCHEDULER)
    gen = torch.Generator().manual_seed(SEED)
    x = torch.randn(1, 3, 8, 8, generator=gen) * s.init_noise_sigma
    out = {"x_init": x.clone()}
    s.set_timesteps(STEPS)
    s.set_sigmas(STEPS)
    for i, t in enumerate(s.timesteps):
        level = s.sigmas[i] * torch.ones(1)
        for _ in range(s.config.correct_steps):
            x = s.step_correct(net(x, level).sample, x,
                               generator=gen).prev_sample
        x = s.step_pred(net(x, level).sample, t, x, generator=gen).prev_sample
        out[f"x.{i:02d}"] = x.clone()
    assert torch.isfinite(x).all()
    save_file(out, path, {
        "unet": json.dumps({"_class_name": "UNet2DModel", **UNET}),
        "scheduler": json.dumps({"_class_name": "ScoreSdeVeScheduler",
                                 **SCHEDULER}),
        "seed": str(SEED), "steps": str(STEPS)})


if __name__ == "__main__":
    main(sys.argv[1])
