"""sdcpp.py - stable-diffusion.cpp: a binary somebody built, run on the same file.

Without guidance a step is one evaluation.  Its own log tells what each took,
of which the least counts, as weights may be read during the first.

SPDX-License-Identifier: MIT
"""

import os
import re

from peers import machine

STEPS = 3


def step_seconds(log):
    found = re.findall(rf"\b\d+/{STEPS} - ([0-9.]+)(s/it|it/s)", log)
    if not found:
        raise RuntimeError("stable-diffusion.cpp does not tell what a step took")
    return min(float(x) if unit == "s/it" else 1 / float(x) for x, unit in found)


def seconds(log, what):
    found = re.findall(what + r" completed, taking ([0-9.]+)s", log)
    return float(found[-1]) if found else None


def times(binary, model, edge, threads, cache):
    """Seconds of an evaluation, decoder, text; and the run."""
    picture = os.path.join(cache, "sdcpp.png")
    run = machine.run([binary, "-m", model, "-p", "a photo of an astronaut riding a horse on mars",
                       "--cfg-scale", "1", "--steps", str(STEPS), "-W", str(edge), "-H", str(edge),
                       "-t", str(threads), "--seed", "1", "-o", picture, "-v"])
    return {"eval": step_seconds(run.output), "decode": seconds(run.output, "decode_first_stage"),
            "text": seconds(run.output, "get_learned_condition")}, run
