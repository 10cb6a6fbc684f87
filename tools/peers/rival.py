"""rival.py - one network of another engine, timed in a process of its own.

    PYTHONPATH=tools python -m peers.rival '{"engine": "openvino", "family": "sd15", ...}'

prints {"ms": [...], "peak_rss_bytes"}.  A process each, since two engines with
a network of XL do not fit into one; rounds start them by turns.  OpenVINO
reads the reference's network converted by itself once, which is kept in
`cache`; PyTorch runs it as it is, channels last.

SPDX-License-Identifier: MIT
"""

import json
import os
import resource
import subprocess
import sys
import time
import warnings

from peers import configs

CONTEXT = 77


def module(family, part, torch):
    """The reference's network with drawn weights, and what is called of it."""
    net = configs.build(family, part).to_empty(device="cpu")
    for name, p in net.named_parameters():
        is_norm = p.ndim == 1 and name.endswith("weight")
        p.data.normal_(1 if is_norm else 0, 0.02)
    for name, b in net.named_buffers():
        if name.endswith("position_ids"):
            b.copy_(torch.arange(b.numel()).reshape(b.shape))

    class Unet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, t, context, pooled=None, time_ids=None):
            added = None if pooled is None else {"text_embeds": pooled, "time_ids": time_ids}
            return self.net(x, t, context, added_cond_kwargs=added, return_dict=False)[0]

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
            del net.encoder, net.quant_conv

        def forward(self, z):
            return self.net.decode(z, return_dict=False)[0]

    class Text(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, ids):
            return self.net(input_ids=ids, output_hidden_states=False, return_dict=False)[0]

    return (Unet if part == "unet" else Decoder if part == "vae" else Text)().eval()


def inputs(s, torch):
    config = configs.FAMILIES[s["family"]][s["part"]][1]
    n, latent = s["batch"], s["edge"] // 8
    if s["part"] == "vae":
        return [torch.randn(n, 4, latent, latent)]
    if s["part"] != "unet":
        return [(torch.arange(n * CONTEXT) * 7 % config["vocab_size"]).reshape(n, CONTEXT)]
    given = [torch.randn(n, 4, latent, latent), torch.full((n,), 500),
             torch.randn(n, CONTEXT, config["cross_attention_dim"])]
    if config.get("addition_embed_type"):
        given += [torch.randn(n, 1280), torch.full((n, 6), 1024.0)]
    return given


def torch_runner(s):
    import torch

    torch.set_num_threads(s["threads"])
    net = module(s["family"], s["part"], torch).to(memory_format=torch.channels_last)
    given = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs(s, torch)]
    if s["precision"] == "bf16":
        net = net.to(torch.bfloat16)
        given = [x.to(torch.bfloat16) if x.is_floating_point() else x for x in given]

    def once():
        with torch.inference_mode():
            net(*given)

    return once


def convert(s, path):
    import openvino as ov
    import torch

    small = dict(s, edge=64, batch=2)  # its own sizes are set when it is read
    with torch.no_grad():
        model = ov.convert_model(module(s["family"], s["part"], torch),
                                 example_input=tuple(inputs(small, torch)))
    ov.save_model(model, path, compress_to_fp16=True)


def openvino_runner(s):
    import numpy as np
    import openvino as ov

    path = os.path.join(s["cache"], f"openvino-{s['family']}-{s['part']}.xml")
    if not os.path.exists(path):  # elsewhere: its memory is not that of running
        subprocess.run([sys.executable, "-m", "peers.rival", json.dumps(dict(s, engine="convert", path=path))],
                       check=True)
    model = ov.Core().read_model(path)
    config = configs.FAMILIES[s["family"]][s["part"]][1]
    n, latent = s["batch"], s["edge"] // 8
    shapes = {"vae": [[n, 4, latent, latent]],
              "unet": [[n, 4, latent, latent], [n], [n, CONTEXT, config.get("cross_attention_dim")],
                       [n, 1280], [n, 6]]}.get(s["part"], [[n, CONTEXT]])
    model.reshape({i: shapes[k] for k, i in enumerate(model.inputs)})
    compiled = ov.Core().compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": s["precision"], "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(s["threads"])})
    request = compiled.create_infer_request()
    given = [np.ones(shapes[k], i.get_element_type().to_dtype()) for k, i in enumerate(model.inputs)]
    return lambda: request.infer(given)


def main(s):
    warnings.filterwarnings("ignore")  # tracing warns of what is true here
    if s["engine"] == "convert":
        convert(s, s["path"])
        return
    once = torch_runner(s) if s["engine"] == "torch" else openvino_runner(s)
    times = []
    for i in range(1 + s["repeat"]):
        start = time.perf_counter()
        once()
        times.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"ms": times[1:], "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
