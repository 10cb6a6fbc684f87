"""whole.py - Stable Diffusion from prompt to PNG, and from start to ready.

Time is the wall time of the whole program, its stages as it tells them.  Peak
memory counts the mapped pages of the file and of the packed cache, which the
system may take back; what no file stands behind is told beside it.

SPDX-License-Identifier: MIT
"""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

from peers import machine, weights

PROMPT = "a photo of an astronaut riding a horse on mars"


def common(a, packs):
    options = ["--threads", str(a.threads), "--pack-cache", packs]
    return options + (["--isa", a.isa] if a.isa else [])


# -- start ---------------------------------------------------------------------

def is_ready(url):
    try:
        c = http.client.HTTPConnection(url.hostname, url.port, timeout=5)
        c.request("GET", "/health/ready")
        return c.getresponse().status == 200
    except OSError:
        return False


def ready_after(model, a, packs):
    """Seconds from start to ready; peak and anonymous bytes then."""
    log = open(os.path.join(a.cache, "serve.log"), "w")
    start = time.perf_counter()
    p = subprocess.Popen(["build/unstir", "serve", "-m", model, "--listen", "127.0.0.1:0", *common(a, packs)],
                         stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = p.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError("unstir serve does not listen; see " + log.name)
        url = urllib.parse.urlparse(line.split()[-1])
        while not is_ready(url):
            if p.poll() is not None:
                raise RuntimeError("unstir serve ended; see " + log.name)
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        return seconds, machine.status_bytes(p.pid, "VmHWM"), machine.status_bytes(p.pid, "RssAnon")
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait()
        log.close()


def bench_ready(title, model, a):
    packs = os.path.join(a.cache, "packs-of-start")
    shutil.rmtree(packs, ignore_errors=True)
    subprocess.run("cat " + ("'%s'/*/*.safetensors" if os.path.isdir(model) else "'%s'") % model + " >/dev/null",
                   shell=True, check=True)  # into the page cache
    print("\n| ready after start | s | peak GB | of it anonymous |\n|---|---|---|---|")
    for when in ["first time", "with the packed cache"]:
        seconds, peak, anon = ready_after(model, a, packs)
        print(f"| {title}, {when} | {seconds:.2f} | {machine.gb(peak)} | {machine.gb(anon)} |", flush=True)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(packs) for f in files)
    print(f"| packed cache on disk | | {machine.gb(size)} | |")
    return packs


# -- pictures ------------------------------------------------------------------

def bench_pictures(runs, a):
    print("\n| prompt to PNG | best s | stages, ms | peak GB | of it anonymous |\n|---|---|---|---|---|")
    for title, model, packs, options, rounds in runs:
        best = None
        for _ in range(rounds):
            print(f"# {title}", file=sys.stderr)
            told, run = machine.run_json([
                "build/unstir", "generate", "-m", model, "-p", PROMPT, "--seed", "1", "--width", str(a.edge),
                "--height", str(a.edge), "-o", os.path.join(a.cache, "whole.png"), "--force", "--json",
                *common(a, packs), *options])
            if not best or run.seconds < best[1].seconds:
                best = told, run
        told, run = best
        stages = ", ".join(f"{k} {v:.0f}" for k, v in told["ms"].items())
        print(f"| {title} | {run.seconds:.1f} | {stages} | {machine.gb(run.peak_rss)} | "
              f"{machine.gb(run.peak_anon)} |", flush=True)


def bench(a):
    a.edge = a.edge or 512
    os.makedirs(a.cache, exist_ok=True)
    sd15 = a.model or weights.checkpoint("sd15", a.cache)
    lcm = weights.checkpoint("lcm", a.cache)
    print(f"\nStable Diffusion 1.5, {a.edge} px, {a.threads} threads, precision "
          f"{'bf16' if machine.has_bf16() and not a.isa else 'f32'}; best of {a.rounds}. {machine.cpu_name()}")
    packs = bench_ready("SD 1.5 in f16", sd15, a)
    lcm_packs = os.path.join(a.cache, "packs-of-lcm")
    shutil.rmtree(lcm_packs, ignore_errors=True)
    few = ["--steps", "4"]
    guided = ["--steps", str(a.steps), "--guidance", "7.5", "--negative", "blurry"]
    bench_pictures([
        (f"{a.steps} steps with guidance", sd15, packs, guided, a.rounds),
        (f"{a.steps} steps with guidance, --low-memory", sd15, packs, [*guided, "--low-memory"], a.rounds),
        (f"{a.steps} steps with guidance, packs not cached", sd15, "none", guided, a.rounds),
        ("LCM, 4 steps, tiny decoder, first time", lcm, lcm_packs, few, 1),
        ("LCM, 4 steps, tiny decoder", lcm, lcm_packs, few, a.rounds),
    ], a)
    shutil.rmtree(packs, ignore_errors=True)
    shutil.rmtree(lcm_packs, ignore_errors=True)
