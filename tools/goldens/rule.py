"""rule.py - the rule by which goldens draw weights, for the scripts beside it.

Parameters in order of name (bytewise); one generator seeded with `seed`; for
each x = randn of its element count, then

    convolutions and linear layers   x / sqrt(fan_in)
    tables (nn.Embedding)            x
    norm weights                     1 + 0.1 x
    biases                           0.1 x
    Fourier frequencies              16 x

The engine does the same (network_draw), so no golden holds weights.

SPDX-License-Identifier: MIT
"""
import math

import torch

SIDES = {"decode": ("decoder.", "post_quant_conv.", "quantize."),
         "encode": ("encoder.", "quant_conv."), None: ("",)}


def draw_weights(model, seed, part=None):
    """Fill the parameters of a part of the model by the rule above."""
    gen = torch.Generator().manual_seed(seed)
    owner = {f"{path}.{name}" if path else name: module
             for path, module in model.named_modules()
             for name, _ in module.named_parameters(recurse=False)}
    norms = (torch.nn.GroupNorm, torch.nn.LayerNorm)
    for name, p in sorted(model.named_parameters(),
                          key=lambda item: item[0].encode()):
        if not name.startswith(SIDES[part]):
            continue
        x = torch.randn(p.numel(), generator=gen, dtype=torch.float32)
        if isinstance(owner[name], (torch.nn.Conv2d, torch.nn.Linear)) \
                and name.endswith(".weight"):
            fan_in = p.numel() // p.shape[0]
            x = x / torch.tensor(math.sqrt(fan_in), dtype=torch.float32)
        elif name.endswith(".bias"):
            x = 0.1 * x
        elif isinstance(owner[name], norms):
            x = 1 + 0.1 * x
        elif not isinstance(owner[name], torch.nn.Embedding):
            assert name == "time_proj.weight", name
            x = 16 * x
        p.data.copy_(x.reshape(p.shape))
