"""bench_peers.py - one table: unstir beside OpenVINO and PyTorch, same run.

Run by tools/bench_peers.  Timing is fair by construction: same machine, same
number of threads, same networks (weights are random, of the same shapes),
rounds alternate between the contestants, the best round counts.  unstir is
timed by `unstir bench eval`, which times evaluations alone, as the loops for
the others do.  Stable Diffusion has modules of its own: peers/layers.py,
peers/sd.py, peers/whole.py.

bf16 rows need a CPU that multiplies bf16 (avx512_bf16); elsewhere they are
named as not measured, since a peer would emulate them.  --isa avx2 holds
everybody to AVX2.

SPDX-License-Identifier: MIT
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

from peers import layers, machine, sd, whole

MODELS = {
    "ddpm": ("tests/bench/models/ddpm-cifar10", "DDPM CIFAR-10, 32x32"),
    "ddpm-256": ("tests/bench/models/ddpm-256", "DDPM CelebA-HQ, 256x256"),
    "fashion": ("models/fashion", "models/fashion, 28x28"),
}
TRAIN_BATCH = 128


def load_config(folder):
    with open(os.path.join(folder, "unet", "config.json")) as f:
        config = json.load(f)
    return {k: v for k, v in config.items() if not k.startswith("_")}


class Unstir:
    """Times itself: a round is a run of the program."""

    def __init__(self, folder, a, precision):
        self.command = ["build/unstir", "bench", "eval", "-m", folder, "--threads", str(a.threads),
                        "--batch", str(a.batch), "--precision", precision,
                        "--repeat", str(a.repeat), "--json"]
        if a.isa:
            self.command += ["--isa", a.isa]

    def round(self, repeat):
        out = subprocess.run(self.command, check=True, capture_output=True, text=True)
        self.info = json.loads(out.stdout)
        return [self.info["ms_min"], self.info["ms_median"]]


class Peer:
    def warm_up(self):
        for _ in range(3):
            self.once()

    def round(self, repeat):
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            self.once()
            times.append((time.perf_counter() - start) * 1e3)
        return times


def inputs(config, batch):
    import torch

    size = config["sample_size"]
    x = torch.randn(batch, config["in_channels"], size, size)
    labels = torch.full((batch,), 3) if config.get("num_class_embeds") else None
    return x, torch.full((batch,), 500), labels


class Torch(Peer):
    def __init__(self, config, a, dtype, is_compiled):
        import torch
        from diffusers import UNet2DModel

        torch.set_num_threads(a.threads)
        self.torch = torch
        net = UNet2DModel(**config).eval().to(memory_format=torch.channels_last)
        self.x, self.t, self.labels = inputs(config, a.batch)
        self.x = self.x.to(memory_format=torch.channels_last)
        if dtype == "bf16":
            net, self.x = net.to(torch.bfloat16), self.x.to(torch.bfloat16)
        self.net = torch.compile(net) if is_compiled else net

    def once(self):
        with self.torch.inference_mode():
            self.net(self.x, self.t, class_labels=self.labels)


class OpenVino(Peer):
    def __init__(self, config, a, dtype):
        import openvino as ov
        import torch
        from diffusers import UNet2DModel

        class Door(torch.nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def forward(self, x, t, labels=None):
                return self.net(x, t, class_labels=labels, return_dict=False)[0]

        given = [i for i in inputs(config, a.batch) if i is not None]
        model = ov.convert_model(Door(UNet2DModel(**config).eval()), example_input=tuple(given))
        compiled = ov.Core().compile_model(model, "CPU", {
            "INFERENCE_PRECISION_HINT": dtype, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(a.threads)})
        self.request = compiled.create_infer_request()
        self.inputs = [i.numpy() for i in given]

    def once(self):
        self.request.infer(self.inputs)


def contestants(folder, config, a, precisions):
    """Those that start; the others are named with their reason."""
    makers = []
    for p in precisions:
        makers += [(f"unstir {p}", lambda p=p: Unstir(folder, a, p)),
                   (f"OpenVINO {p}", lambda p=p: OpenVino(config, a, p)),
                   (f"PyTorch {p}", lambda p=p: Torch(config, a, p, False))]
        if not a.no_compile:
            makers.append((f"PyTorch {p} compiled", lambda p=p: Torch(config, a, p, True)))
    found = {}
    for name, make in makers:
        print(f"# {name}", file=sys.stderr)
        try:
            found[name] = make()
            if isinstance(found[name], Peer):
                found[name].warm_up()
        except Exception as e:  # conversion and compilation depend on the peer's version
            found.pop(name, None)
            print(f"# {name} left out: {str(e).splitlines()[0]}", file=sys.stderr)
    return found


def bench_eval(what, a):
    folder, title = MODELS[what]
    config = load_config(folder)
    precisions = ["f32"] + (["bf16"] if machine.has_bf16() and not a.isa else [])
    if a.no_f32 and "bf16" in precisions:
        precisions = ["bf16"]
    runners = contestants(folder, config, a, precisions)
    times = {name: [] for name in runners}
    for _ in range(a.rounds):
        for name, runner in runners.items():
            times[name] += runner.round(a.repeat)
    bases = {p: min(times[f"OpenVINO {p}"], default=None) if times.get(f"OpenVINO {p}") else None
             for p in precisions}
    print(f"\n{title}, one evaluation, batch {a.batch}, {a.threads} threads, "
          f"{a.isa or 'best rung'}; best of {a.rounds} x {a.repeat}. {machine.cpu_name()}; {machine.versions()}\n")
    print("| engine | best ms | median ms | times as fast as OpenVINO of this precision |\n|---|---|---|---|")
    for name, t in times.items():
        base = bases[name.split()[1]]
        print(f"| {name} | {min(t):.2f} | {statistics.median(t):.2f} | "
              f"{base / min(t):.2f}x |" if base else f"| {name} | {min(t):.2f} | {statistics.median(t):.2f} | |")
    if "bf16" not in precisions:
        print("| all in bf16 | not measured: needs avx512_bf16 | | |" if not a.isa else
              f"| all in bf16 | not measured: held to {a.isa} | | |")


class UnstirTrain:
    """A round is a run of the program, which leaves its first steps out: pairs
    of milliseconds, of the clock and of all CPUs."""

    def __init__(self, a, precision):
        self.command = ["build/unstir", "bench", "train", "-m", "models/fashion", "--batch",
                        str(TRAIN_BATCH), "--threads", str(a.threads), "--precision", precision,
                        "--warmup", "1", "--repeat", "2", "--json"]
        if a.isa:
            self.command += ["--isa", a.isa]

    def round(self):
        out = subprocess.run(self.command, check=True, capture_output=True, text=True)
        info = json.loads(out.stdout)
        return [(info["ms_min"], info["cpu_ms_min"])]


class TorchTrain:
    def __init__(self, a, precision, is_channels_last, is_compiled):
        import torch
        from bench_train_torch import Trainer

        torch.set_num_threads(a.threads)
        self.trainer = Trainer("models/fashion", TRAIN_BATCH, precision, is_channels_last, is_compiled)
        self.trainer.once()

    def round(self):
        return [(1e3 * s, 1e3 * cpu) for s, cpu in self.trainer.time(2)]


def train_contestants(a, precisions):
    """Those that start; PyTorch as it likes it best is among them."""
    makers = []
    for p in precisions:
        makers += [(f"unstir {p}", lambda p=p: UnstirTrain(a, p)),
                   (f"PyTorch {p}", lambda p=p: TorchTrain(a, p, False, False)),
                   (f"PyTorch {p} channels_last", lambda p=p: TorchTrain(a, p, True, False))]
        if not a.no_compile:
            makers.append((f"PyTorch {p} compiled", lambda p=p: TorchTrain(a, p, True, True)))
    found = {}
    for name, make in makers:
        print(f"# {name}", file=sys.stderr)
        try:
            found[name] = make()
        except Exception as e:  # compilation depends on the peer's version
            print(f"# {name} left out: {str(e).splitlines()[0]}", file=sys.stderr)
    return found


def bench_train(a):
    precisions = ["f32"] + (["bf16"] if machine.has_bf16() and not a.isa else [])
    runners = train_contestants(a, precisions)
    times = {name: [] for name in runners}
    for _ in range(a.rounds):
        for name, runner in runners.items():
            times[name] += runner.round()
    best = {name: [min(t) for t in zip(*pairs)] for name, pairs in times.items()}
    bases = {p: [min(t) for t in zip(*(best[n] for n in best if n in (f"PyTorch {p}", f"PyTorch {p} channels_last")))]
             for p in precisions}
    print(f"\nA training step, models/fashion, batch {TRAIN_BATCH}, {a.threads} threads, "
          f"{a.isa or 'best rung'}; best of {a.rounds} rounds; bf16: f32 weights, PyTorch's autocast. "
          f"{machine.cpu_name()}; {machine.versions()}\n")
    print("PyTorch's best of each precision, compiled ones aside, is 1.00x.\n")
    print("| engine | best ms | pictures/s | times as fast | CPU ms | by CPU time |\n|---|---|---|---|---|---|")
    for name, (ms, cpu) in best.items():
        base = bases[name.split()[1]]
        print(f"| {name} | {ms:.0f} | {1e3 * TRAIN_BATCH / ms:.0f} | {base[0] / ms:.2f}x | {cpu:.0f} | {base[1] / cpu:.2f}x |")
    if "bf16" not in precisions:
        print("| all in bf16 | not measured: needs avx512_bf16 | | | | |" if not a.isa else
              f"| all in bf16 | not measured: held to {a.isa} | | | | |")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--what", default="ddpm", choices=["ddpm", "ddpm-256", "fashion", "train", "conv", "all", "sd", "sdxl", "sd-whole"],
                   help="all: what takes minutes, the first five without ddpm-256")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--rounds", type=int, help="default 5, Stable Diffusion 2")
    p.add_argument("--repeat", type=int, help="default 10, Stable Diffusion 2")
    p.add_argument("--isa", choices=["avx2"], help="hold everybody to this instruction set")
    p.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes a minute each")
    p.add_argument("--no-f32", action="store_true", help="bf16 alone, where the CPU has it: networks and Stable Diffusion")
    g = p.add_argument_group("Stable Diffusion: sd, sdxl, sd-whole")
    g.add_argument("--edge", type=int, help="pixels; default 512, XL 1024")
    g.add_argument("--parts", default="eval,eval2,decode,text")
    g.add_argument("--rivals", default="openvino,torch")
    g.add_argument("--sdcpp", metavar="BINARY", help="stable-diffusion.cpp's sd-cli, run on the same file")
    g.add_argument("--model", metavar="FILE", help="a checkpoint of the same shapes, in place of a drawn one")
    g.add_argument("--cache", default="build/bench/peers", help="for checkpoints; they are kept")
    g.add_argument("--steps", type=int, default=20)
    a = p.parse_args()
    is_sd = a.what.startswith("sd")
    a.rounds = a.rounds or (2 if is_sd else 5)
    a.repeat = a.repeat or (2 if is_sd else 10)
    warnings.filterwarnings("ignore")  # tracing warns of what is true here
    if a.isa:  # read when the libraries are loaded
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
    for what in ["ddpm", "fashion", "train", "conv"] if a.what == "all" else [a.what]:
        if what == "train":
            bench_train(a)
        elif what == "conv":
            layers.bench(a)
        elif what == "sd-whole":
            whole.bench(a)
        elif is_sd:
            sd.bench("sd15" if what == "sd" else what, a)
        else:
            bench_eval(what, a)


if __name__ == "__main__":
    main()
