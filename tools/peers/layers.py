"""layers.py - single layers of Stable Diffusion 1.5 on one thread, beside
OpenVINO's, whose products are oneDNN's.

3x3 convolutions in f32, both held to AVX2; the same and linear layers in bf16,
where the CPU multiplies it.  Both take and give f32.  Time is that of the
process on its CPUs, the best of some rounds.  OpenVINO runs in a process of
its own for each precision: instruction sets are chosen when it is loaded.

SPDX-License-Identifier: MIT
"""

import json
import math
import os
import subprocess
import sys
import time

from peers import machine


class Rival:
    """The child's end is below, in main()."""

    def __init__(self, precision, isa):
        env = dict(os.environ, **({"ONEDNN_MAX_CPU_ISA": "AVX2"} if isa else {}))
        self.child = subprocess.Popen([sys.executable, "-m", "peers.layers", precision], env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ms(self, **layer):
        self.child.stdin.write(json.dumps(layer) + "\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())

    def close(self):
        self.child.stdin.close()
        self.child.wait()


def unstir(what, key, a, isa):
    command = ["build/unstir", "bench", what, "--threads", "1", "--repeat", str(a.rounds), "--json"]
    out = subprocess.run(command + (["--isa", isa] if isa else []), check=True, capture_output=True, text=True)
    return json.loads(out.stdout)[key]


def put_mean(what, ratios):
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"| {what} | | | | geometric mean {mean:.2f}x, least {min(ratios):.2f}x |")


def conv(a, precision):
    isa = "avx2" if precision == "f32" else None
    print(f"\n3x3 convolutions of SD 1.5, {precision}, {isa or 'best rung'}, one thread, best of {a.rounds} by CPU time. "
          f"{machine.cpu_name()}; {machine.versions()}{', held to AVX2' if isa else ''}\n")
    rows = unstir("conv", "convolutions", a, isa)
    rival, ratios = Rival(precision, isa), []
    print("| shape | algorithm | unstir GFLOP/s | OpenVINO | times as fast |\n|---|---|---|---|---|")
    for c in rows:
        flop = 18.0 * c["size"] ** 2 * c["cin"] * c["cout"]
        ms = rival.ms(kind="conv", size=c["size"], cin=c["cin"], cout=c["cout"], up=c["upsampled"], repeat=a.rounds)
        ratio = c["gflops"] / (flop / ms * 1e-6)
        name = f"{c['size']}x{c['size']} {c['cin']}->{c['cout']}" + (" up" if c["upsampled"] else "")
        if c["size"] >= 16 and not c["upsampled"]:
            ratios.append(ratio)
        print(f"| {name} | {c['algorithm']} | {c['gflops']:.0f} | {flop / ms * 1e-6:.0f} | {ratio:.2f}x |", flush=True)
    rival.close()
    put_mean("16x16 and larger", ratios)


def linear(a):
    print(f"\nLinear layers of SD 1.5, bf16, one thread, best of {a.rounds} by CPU time. "
          f"{machine.cpu_name()}; {machine.versions()}\n")
    rows = unstir("linear", "layers", a, None)
    rival, ratios = Rival("bf16", None), []
    print("| rows x inputs -> outputs | unstir GFLOP/s | OpenVINO | times as fast | unstir in int8 against bf16 |\n"
          "|---|---|---|---|---|")
    for l in rows:
        flop = 2.0 * l["rows"] * l["cin"] * l["cout"]
        ms = rival.ms(kind="linear", rows=l["rows"], cin=l["cin"], cout=l["cout"], repeat=a.rounds)
        ratios.append(ms / l["bf16_cpu_ms"])
        print(f"| {l['rows']} x {l['cin']} -> {l['cout']} | {flop / l['bf16_cpu_ms'] * 1e-6:.0f} | "
              f"{flop / ms * 1e-6:.0f} | {ratios[-1]:.2f}x | {l['int8_over_bf16']:.2f}x |", flush=True)
    rival.close()
    put_mean("all", ratios)
    put_mean("int8 against bf16", [l["int8_over_bf16"] for l in rows])


def bench(a):
    conv(a, "f32")
    if not machine.has_bf16():
        print("\nLayers in bf16 were not measured: that needs avx512_bf16.")
        return
    conv(a, "bf16")
    linear(a)


# -- the rival's process -------------------------------------------------------


def model_of(ov, op, np, layer):
    if layer["kind"] == "linear":
        x = op.parameter([layer["rows"], layer["cin"]], np.float32)
        w = op.constant(np.random.randn(layer["cout"], layer["cin"]).astype(np.float32) * 0.01)
        return x, op.matmul(x, w, False, True)
    size = layer["size"]
    from_size = size // 2 if layer["up"] else size
    x = h = op.parameter([1, layer["cin"], from_size, from_size], np.float32)
    if layer["up"]:
        h = op.interpolate(h, np.array([size, size]), "nearest", "sizes", axes=np.array([2, 3]),
                           coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    w = op.constant(np.random.randn(layer["cout"], layer["cin"], 3, 3).astype(np.float32) * 0.01)
    return x, op.convolution(h, w, [1, 1], [1, 1], [1, 1], [1, 1])


def main(precision):
    import numpy as np
    import openvino as ov
    from openvino import opset13 as op

    core = ov.Core()
    for line in sys.stdin:
        layer = json.loads(line)
        x, y = model_of(ov, op, np, layer)
        request = core.compile_model(ov.Model([y], [x]), "CPU", {
            "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": "1"}).create_infer_request()
        data = np.random.randn(*x.shape).astype(np.float32)
        times = []
        for _ in range(layer["repeat"] + 2):  # two to warm up
            start = time.process_time()
            request.infer([data])
            times.append(time.process_time() - start)
        print(json.dumps(min(times[2:]) * 1e3), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
