"""reference_networks.py - drawn networks, saved by the reference, run by us.

For each seed a UNet2DModel, a DDPM or DDIM scheduler, a size, a number of
steps and a class are drawn, saved with save_pretrained(), and sampled both by
the reference and by `unstir generate --raw --raw-steps`.  Every step's sample
is compared: the first noise exactly, later ones within the drift allowed for
untrained networks (tests/golden/t_trajectories.c).

    python tests/python/reference_networks.py build/unstir [first [count]]

SPDX-License-Identifier: MIT
"""

import os
import random
import subprocess
import sys
import tempfile

import torch
from diffusers import (DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler,
                       UNet2DModel)
from safetensors.torch import load_file

TOLERANCE = 1e-3
DOWN = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
UP = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]


def draw_network(r):
    levels = r.choice([2, 3])
    groups = r.choice([4, 8])
    channels = r.choice([1, 3])
    height, width = r.choice([8, 12, 16, 20]), r.choice([8, 12, 16, 24])
    scale_shift = r.random() < 0.5
    return dict(
        sample_size=(height, width) if r.random() < 0.5 else height,
        in_channels=channels, out_channels=channels,
        block_out_channels=[r.choice([16, 24, 32, 40, 48]) for _ in range(levels)],
        down_block_types=[r.choice(DOWN) for _ in range(levels)],
        up_block_types=[r.choice(UP) for _ in range(levels)],
        norm_num_groups=groups, layers_per_block=r.choice([1, 2]),
        attention_head_dim=r.choice([None, 8]),
        downsample_padding=r.choice([0, 1]), freq_shift=r.choice([0, 1]),
        flip_sin_to_cos=r.choice([True, False]), norm_eps=r.choice([1e-5, 1e-6]),
        resnet_time_scale_shift="scale_shift" if scale_shift else "default",
        attn_norm_num_groups=groups if scale_shift else None,
        num_class_embeds=r.choice([None, None, 7]),
        act_fn=r.choice(["silu", "silu", "gelu", "mish"]),
        center_input_sample=r.choice([False, True]),
        mid_block_scale_factor=r.choice([1, 1.4142]),
        downsample_type=r.choice(["conv", "resnet"]),
        upsample_type=r.choice(["conv", "resnet"]),
        add_attention=r.choice([True, True, False]))


def draw_scheduler(r):
    common = dict(
        prediction_type=r.choice(["epsilon", "sample", "v_prediction"]),
        timestep_spacing=r.choice(["leading", "trailing", "linspace"]),
        steps_offset=r.choice([0, 1]), clip_sample=r.choice([True, False]))
    if r.random() < 0.5:
        return DDPMScheduler(
            beta_schedule=r.choice(["linear", "squaredcos_cap_v2", "sigmoid"]),
            variance_type=r.choice(["fixed_small", "fixed_large"]),
            clip_sample_range=r.choice([1.0, 1.5]), **common)
    return DDIMScheduler(
        beta_schedule=r.choice(["linear", "squaredcos_cap_v2", "scaled_linear"]),
        set_alpha_to_one=r.choice([True, False]),
        thresholding=r.choice([False, False, True]), **common)


def reference_steps(net, scheduler, size, steps, seed, eta, label):
    scheduler.set_timesteps(steps)
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn((1, net.config.in_channels, *size), generator=gen)
    out = [x]
    kwargs = {"eta": eta} if isinstance(scheduler, DDIMScheduler) else {}
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = net(x, t, class_labels=label).sample
            x = scheduler.step(y, t, x, generator=gen, **kwargs).prev_sample
            out.append(x)
    return out


def unstir_steps(unstir, folder, steps, seed, eta, label):
    raw = os.path.join(folder, "raw.safetensors")
    cmd = [unstir, "generate", "-m", folder, "--seed", str(seed), "--steps",
           str(steps), "--guidance", "1", "--raw", raw, "--raw-steps", "-o",
           os.path.join(folder, "out.png"), "-q"]
    if label is not None:
        cmd += ["--class", str(label.item())]
    if eta:
        cmd += ["--eta", str(eta)]
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
    tensors = load_file(raw)
    return [tensors["step.%04d" % i] for i in range(steps + 1)]


def compare(unstir, seed):
    r = random.Random(seed)
    torch.manual_seed(seed)
    config = draw_network(r)
    net = UNet2DModel(**config).eval()
    scheduler = draw_scheduler(r)
    is_ddim = isinstance(scheduler, DDIMScheduler)
    size = config["sample_size"]
    size = size if isinstance(size, tuple) else (size, size)
    steps, noise_seed = r.choice([3, 5, 7, 13]), r.randrange(2**33)
    eta = r.choice([0, 0.5, 1]) if is_ddim else 0
    label = torch.tensor([r.randrange(7)]) if config["num_class_embeds"] else None
    with tempfile.TemporaryDirectory() as folder:
        pipeline = DDIMPipeline if is_ddim else DDPMPipeline
        pipeline(unet=net, scheduler=scheduler).save_pretrained(folder)
        want = reference_steps(net, scheduler, size, steps, noise_seed, eta, label)
        got = unstir_steps(unstir, folder, steps, noise_seed, eta, label)
    worst = max(((a - b).abs().max() / b.abs().max()).item()
                for a, b in zip(got, want))
    ok = torch.equal(got[0], want[0]) and worst <= TOLERANCE
    print("%s reference_saves_network_%d" % ("ok" if ok else "not ok", seed))
    print("  %s %s %d steps: worst %.1e, wanted at most %g" % (
        type(scheduler).__name__, size, steps, worst, TOLERANCE))
    return ok


def main():
    unstir = sys.argv[1]
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    torch.set_num_threads(1)
    failed = sum(not compare(unstir, s) for s in range(first, first + count))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
