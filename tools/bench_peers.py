"""bench_peers.py - one table: unstir, PyTorch f32, OpenVINO f32, same run.

Run by tools/bench_peers.  Timing is fair by construction: same machine, same
number of threads, rounds alternate between the contestants, the best round
counts.  unstir is timed by `unstir bench eval`, which times evaluations alone,
as the loops for the others do.

SPDX-License-Identifier: MIT
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from diffusers import UNet2DModel

MODELS = {
    "ddpm": ("tests/bench/models/ddpm-cifar10", "DDPM CIFAR-10, 32x32"),
    "fashion": ("models/fashion", "models/fashion, 28x28"),
}


def load_config(folder):
    with open(os.path.join(folder, "unet", "config.json")) as f:
        config = json.load(f)
    return {k: v for k, v in config.items() if not k.startswith("_")}


def unstir_eval(folder, threads, repeat):
    out = subprocess.run(
        ["build/unstir", "bench", "eval", "-m", folder, "--threads", str(threads),
         "--precision", "f32", "--repeat", str(repeat), "--json"],
        check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


class Torch:
    def __init__(self, config, threads, channels_last):
        torch.set_num_threads(threads)
        self.net = UNet2DModel(**config).eval()
        size = config["sample_size"]
        self.x = torch.randn(1, config["in_channels"], size, size)
        if channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
            self.x = self.x.to(memory_format=torch.channels_last)
        self.labels = torch.tensor([3]) if config.get("num_class_embeds") else None

    def once(self):
        with torch.inference_mode():
            self.net(self.x, 500, class_labels=self.labels)


class OpenVino:
    def __init__(self, config, threads):
        import openvino as ov

        class Door(torch.nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def forward(self, x, t, labels=None):
                return self.net(x, t, class_labels=labels, return_dict=False)[0]

        net = Door(UNet2DModel(**config).eval())
        size = config["sample_size"]
        self.inputs = [torch.randn(1, config["in_channels"], size, size), torch.tensor([500])]
        if config.get("num_class_embeds"):
            self.inputs.append(torch.tensor([3]))
        model = ov.convert_model(net, example_input=tuple(self.inputs))
        self.compiled = ov.Core().compile_model(model, "CPU", {
            "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads)})
        self.request = self.compiled.create_infer_request()
        self.inputs = [i.numpy() for i in self.inputs]

    def once(self):
        self.request.infer(self.inputs)


def time_rounds(contestant, repeat):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        contestant.once()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def bench_eval(what, threads, rounds, repeat):
    folder, title = MODELS[what]
    config = load_config(folder)
    print(f"# {title}, one evaluation, batch 1, f32, {threads} threads; best of {rounds} x {repeat}")
    peers = {"PyTorch f32": Torch(config, threads, False),
             "PyTorch f32 channels_last": Torch(config, threads, True)}
    try:
        peers["OpenVINO f32"] = OpenVino(config, threads)
    except Exception as e:  # conversion depends on the peer's version
        print(f"# OpenVINO left out: {e}")
    times = {name: [] for name in ["unstir f32", *peers]}
    for peer in peers.values():
        time_rounds(peer, 3)
    info = None
    for _ in range(rounds):
        info = unstir_eval(folder, threads, repeat)
        times["unstir f32"] += [info["ms_min"], info["ms_median"]]
        for name, peer in peers.items():
            times[name] += time_rounds(peer, repeat)
    base = min(min(times["PyTorch f32"]), min(times["PyTorch f32 channels_last"]))
    print(f"{'engine':28} {'best ms':>9} {'median':>9} {'to PyTorch':>11}")
    for name, t in times.items():
        print(f"{name:28} {min(t):9.2f} {statistics.median(t):9.2f} {min(t) / base:10.2f}x")
    print(f"# unstir: isa {info['isa']}, {info['gflop']:.2f} GFLOP, {info['gflops']:.0f} GFLOP/s")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--what", default="ddpm", choices=["ddpm", "fashion", "train"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--repeat", type=int, default=10)
    a = p.parse_args()
    print(f"# torch {torch.__version__}")
    if a.what == "train":
        os.execvp("python3", ["python3", "tools/bench_train_torch.py"])
    bench_eval(a.what, a.threads, a.rounds, a.repeat)


if __name__ == "__main__":
    main()
