"""make_gradients.py - gradients of three small networks, by the reference.

Weights are drawn by the rule of network_draw() (engine/model/network.h), so a
golden is a configuration, a seed, inputs, and for each parameter the gradient
of the mean squared error.  Computed in double from single-precision weights
and inputs: the reference's own rounding is not in the goldens.

    python tools/goldens/make_gradients.py tests/data/gradients

SPDX-License-Identifier: MIT
"""
import json
import os
import sys

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

SEED = 11
PLAIN = dict(sample_size=12, in_channels=1, out_channels=1,
             layers_per_block=1, block_out_channels=[8, 12],
             down_block_types=["DownBlock2D", "DownBlock2D"],
             up_block_types=["UpBlock2D", "UpBlock2D"], norm_num_groups=4,
             add_attention=False)
NETWORKS = {
    "plain": PLAIN,
    "attention": dict(PLAIN, in_channels=3, out_channels=3, sample_size=8,
                      down_block_types=["DownBlock2D", "AttnDownBlock2D"],
                      up_block_types=["AttnUpBlock2D", "UpBlock2D"],
                      attention_head_dim=4, add_attention=True),
    "class_scale_shift": dict(PLAIN, num_class_embeds=5,
                              down_block_types=["DownBlock2D",
                                                "AttnDownBlock2D"],
                              up_block_types=["AttnUpBlock2D", "UpBlock2D"],
                              attention_head_dim=6, add_attention=True,
                              resnet_time_scale_shift="scale_shift"),
}


def draw(model, seed):
    """The rule of network_draw()."""
    tables = {n for n, m in model.named_modules()
              if isinstance(m, torch.nn.Embedding)}
    norms = {n for n, m in model.named_modules()
             if isinstance(m, torch.nn.GroupNorm)}
    gen = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        x = torch.randn(p.numel(), generator=gen).reshape(p.shape)
        layer = name.rsplit(".", 1)[0]
        if layer in tables:
            pass
        elif p.dim() >= 2:
            fan_in = torch.tensor(float(p[0].numel()))
            x = x / fan_in.sqrt()
        elif layer in norms and name.endswith("weight"):
            x = 1 + torch.tensor(0.1) * x
        else:
            x = torch.tensor(0.1) * x
        p.data.copy_(x)


def make(name, config, folder):
    model = UNet2DModel(**config)
    draw(model, SEED)
    gen = torch.Generator().manual_seed(SEED + 1)
    n, edge = 3, config["sample_size"]
    shape = (n, config["in_channels"], edge, edge)
    sample = torch.randn(shape, generator=gen)
    target = torch.randn(shape, generator=gen)
    t = torch.tensor([3.0, 250.0, 977.0])
    labels = torch.tensor([0, 4, 4]) if "num_class_embeds" in config else None
    model = model.double()
    # The time embedding is made in single precision and cast to the model's
    # type, as everywhere in the reference.
    out = model(sample.double(), t, labels).sample
    loss = ((out - target.double()) ** 2).mean((1, 2, 3))
    loss.mean().backward()
    tensors = {"grad." + k: p.grad.float().contiguous()
               for k, p in model.named_parameters()}
    tensors["in.sample"] = sample.permute(0, 2, 3, 1).contiguous()
    tensors["in.target"] = target.permute(0, 2, 3, 1).contiguous()
    tensors["in.timestep"] = t
    if labels is not None:
        tensors["in.label"] = labels.float()
    tensors["loss"] = loss.detach().float()
    path = os.path.join(folder, name + ".safetensors")
    config = dict(config, _class_name="UNet2DModel")
    save_file(tensors, path, {"config": json.dumps(config),
                              "seed": str(SEED)})
    print(name, sum(p.numel() for p in model.parameters()), "parameters",
          os.path.getsize(path), "bytes, loss", loss.tolist())


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.makedirs(sys.argv[1], exist_ok=True)
    for key, value in NETWORKS.items():
        make(key, value, sys.argv[1])
