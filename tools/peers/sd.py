"""sd.py - Stable Diffusion, part by part: unstir beside its rivals.

A round runs every contestant once, each in a process of its own: one
evaluation before the timed ones.  Peak memory is the whole process's, with
weights, and of unstir with the pages of the mapped file.

SPDX-License-Identifier: MIT
"""

import json
import os
import statistics
import sys

from peers import configs, machine, sdcpp, weights

# What unstir calls it: folders of the parts, batch, title
ROWS = {
    "eval": (["unet"], 1, "network, one evaluation, batch 1"),
    "eval2": (["unet"], 2, "network, one evaluation, batch 2 (with guidance)"),
    "decode": (["vae"], 1, "decoder, one picture"),
    "text": (["text_encoder", "text_encoder_2"], 2, "text encoders, two texts"),
}


def unstir(row, family, a, precision):
    _, batch, _ = ROWS[row]
    command = ["build/unstir", "bench", row.rstrip("2"), "-m", a.model or weights.checkpoint(family, a.cache),
               "--width", str(a.edge), "--height", str(a.edge), "--batch", str(batch),
               "--threads", str(a.threads), "--precision", precision, "--warmup", "1",
               "--repeat", str(a.repeat), "--pack-cache", os.path.join(a.cache, "packs"), "--json"]
    if a.isa:
        command += ["--isa", a.isa]
    told, _ = machine.run_json(command)
    return [told["ms_min"], told["ms_median"]], told["peak_rss_bytes"]


def rival(engine, row, family, a, precision):
    parts, batch, _ = ROWS[row]
    told = []
    for part in parts:
        if part not in configs.FAMILIES[family]:
            continue
        spec = {"engine": engine, "family": family, "part": part, "batch": batch, "edge": a.edge,
                "threads": a.threads, "precision": precision, "repeat": a.repeat, "cache": a.cache}
        told.append(machine.run_json([sys.executable, "-m", "peers.rival", json.dumps(spec)])[0])
    return [sum(ms) for ms in zip(*(t["ms"] for t in told))], max(t["peak_rss_bytes"] for t in told)


def contestants(row, family, a, precisions):
    found = {}
    for p in precisions:
        found[f"unstir {p}"] = lambda p=p: unstir(row, family, a, p)
        if row.startswith("eval"):
            found["unstir int8"] = lambda: unstir(row, family, a, "int8")
        if "openvino" in a.rivals:
            found[f"OpenVINO {p}"] = lambda p=p: rival("openvino", row, family, a, p)
        if "torch" in a.rivals:
            found[f"PyTorch {p}"] = lambda p=p: rival("torch", row, family, a, p)
    return found


def sdcpp_rows(a, family):
    """Its times of all rows come from one run."""
    model = a.model or weights.checkpoint(family, a.cache)
    told = [sdcpp.times(a.sdcpp, model, a.edge, a.threads, a.cache) for _ in range(a.rounds)]
    return {row: ([1e3 * t[row] for t, _ in told if t[row] is not None], max(r.peak_rss for _, r in told))
            for row in ["eval", "decode", "text"]}


def print_row(row, family, a, results):
    ours = {n.split()[1]: min(t) for n, (t, _) in results.items() if n.startswith("unstir")}
    print(f"\n{family}, {ROWS[row][2]}, {a.edge} px, {a.threads} threads, {a.isa or 'best rung'}; "
          f"best of {a.rounds} x {a.repeat}. {machine.cpu_name()}; {machine.versions()}\n")
    print("| engine | best s | median s | peak GB | unstir of this precision is |\n|---|---|---|---|---|")
    for name, (t, peak) in results.items():
        mine = ours.get(name.split()[1], min(ours.values(), default=0))
        ratio = "" if name.startswith("unstir") or not mine else f"{min(t) / mine:.2f}x as fast"
        print(f"| {name} | {min(t) / 1e3:.3f} | {statistics.median(t) / 1e3:.3f} | {machine.gb(peak)} | {ratio} |")
    if "unstir bf16" not in results:
        print("| all in bf16 | not measured: needs avx512_bf16 | | | |", flush=True)


def measure(row, family, a, precisions):
    """name -> (times, peak); who fails is named with the reason."""
    results = {}
    failed = set()
    for _ in range(a.rounds):
        for name, run in contestants(row, family, a, precisions).items():
            if name in failed:
                continue
            print(f"# {row}: {name}", file=sys.stderr)
            try:
                times, peak = run()
            except Exception as e:  # each engine has reasons of its own
                failed.add(name)
                print(f"# {name} left out: {e}", file=sys.stderr)
                continue
            old = results.get(name, ([], 0))
            results[name] = (old[0] + times, max(old[1], peak))
    return results


def bench(family, a):
    a.edge = a.edge or configs.FAMILIES[family]["edge"]
    precisions = ["f32"] + (["bf16"] if machine.has_bf16() and not a.isa else [])
    if a.no_f32 and len(precisions) > 1:
        precisions.remove("f32")
    os.makedirs(a.cache, exist_ok=True)
    theirs = sdcpp_rows(a, family) if a.sdcpp else {}
    for row in a.parts.split(","):
        results = measure(row, family, a, precisions)
        if theirs.get(row, ([],))[0]:
            results["stable-diffusion.cpp default"] = theirs[row]
        if results:
            print_row(row, family, a, results)
