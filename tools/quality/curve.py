"""curve.py - the picture of what measure.py found: quality over cost.

    python tools/quality/measure.py MODEL --judge judge.pt --per-class 100 \
        --steps 10,20,30 --guidance 1,1.4 --json curve.json
    python tools/quality/curve.py curve.json [more.json ...] -o curve.png

One line for each setting but the number of steps; across, how many network
evaluations a picture takes (a guided step takes two), so that settings are
compared at equal cost.  Above the Frechet distance over its floor, below the
share of pictures that the judge recognises, with real pictures' own share.

Needs matplotlib and Pillow.

SPDX-License-Identifier: MIT
"""
import argparse
import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (after the choice of backend)
from PIL import Image  # noqa: E402

NOT_A_SETTING = {"steps", "per_class", "first_seed", "accuracy", "by_class",
                 "worst", "frechet", "floor", "ratio", "in_means", "mended",
                 "variance", "nearest_rms_min", "nearest_rms_median",
                 "test_rms_min", "test_rms_median"}
COLOURS = 256  # of the file, which is half of what it is with all


MARKERS = "os^D"  # ten colours each

# Evaluations of a step, where they are not one.
PER_STEP = {"heun": 2, "dpm2": 2, "dpm2_a": 2, "dpmpp_sde": 2, "score_ve": 2,
            "annealed_langevin": 5}


def evaluations(point):
    """Of one picture: guided steps cost two where a sampler costs one."""
    steps = int(point["steps"])
    per_step = PER_STEP.get(point.get("sampler"), 1)
    if float(point.get("guidance", 1)) <= 1:
        return steps * per_step
    first = int(float(point.get("guidance-start", 0)) * steps)
    last = int(float(point.get("guidance-end", 1)) * steps)
    return (steps + last - first) * per_step


def name_of(point):
    parts = [point.get("sampler", "default sampler")]
    if "schedule" in point:
        parts.append(point["schedule"])
    parts.append("guidance " + point.get("guidance", "default"))
    if "guidance-start" in point or "guidance-end" in point:
        parts.append("%s to %s" % (point.get("guidance-start", "0"),
                                   point.get("guidance-end", "1")))
    return ", ".join(parts)


def lines_of(results):
    """Points of equal settings, in order of their cost."""
    lines = {}
    for point in results:
        key = tuple(sorted((k, str(v)) for k, v in point.items()
                           if k not in NOT_A_SETTING))
        lines.setdefault(key, []).append(point)
    for points in lines.values():
        points.sort(key=evaluations)
        yield name_of(points[0]), points


def draw(real, results, path):
    fig, (top, low) = plt.subplots(2, 1, sharex=True, figsize=(7, 8),
                                   layout="constrained")
    for i, (name, points) in enumerate(lines_of(results)):
        cost = [evaluations(p) for p in points]
        look = {"marker": MARKERS[i // 10 % len(MARKERS)]}
        top.plot(cost, [p["ratio"] for p in points], label=name, **look)
        low.plot(cost, [100 * p["accuracy"] for p in points], **look)
    top.set_ylabel("Frechet distance / floor")
    top.set_ylim(bottom=0)
    fig.legend(fontsize="small", loc="outside lower center", ncols=2)
    low.axhline(100 * sum(real) / len(real), color="grey", linestyle=":")
    low.set_ylabel("recognised, % (dotted: real pictures)")
    low.set_xlabel("network evaluations a picture")
    for axes in (top, low):
        axes.grid(alpha=0.3)
    fig.savefig(path, dpi=100)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("files", nargs="+")
    p.add_argument("-o", "--output", required=True)
    a = p.parse_args()
    results, counts = [], set()
    for name in a.files:
        with open(name) as f:
            one = json.load(f)
        results += one["results"]
        counts |= {r["per_class"] for r in one["results"]}
    if len(counts) != 1:
        p.error("points of %s pictures a class do not compare: the floor "
                "depends on the number" % sorted(counts))
    draw(one["real"], results, a.output)


if __name__ == "__main__":
    main()
