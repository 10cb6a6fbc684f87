"""join_schedulers.py - known whole runs of schedulers, ready for the tests.

usage: python tools/goldens/join_schedulers.py SOURCE.json OUT.json

SOURCE holds runs of the reference implementation (diffusers 0.40) with a
stand-in network x * t / (t + 1): name, cls, config, steps, timesteps, sigmas,
sums after every call, the first values of the result.  Here the class moves
into the configuration, as it stands in a folder's file, with what
set_timesteps() was told; runs that end in NaN keep their name and
configuration only, as refusals.

SPDX-License-Identifier: MIT
"""
import json
import math
import sys

CONFIG_KEYS = ("original_inference_steps",)


def short(v):
    return v if v is None or isinstance(v, int) else float(f"{v:.9g}")


def join(row):
    told = row["set_timesteps_kwargs"]
    config = {"_class_name": row["cls"], **row["config"]}
    config.update({k: v for k, v in told.items() if k in CONFIG_KEYS})
    out = {"name": row["name"], "config": config, "steps": row["steps"]}
    if row["steps"] is None:
        out["steps"] = len(row["timesteps"])
    if math.isnan(row["final_abs_sum"]):
        return {**out, "is_nan": True}
    rest = {k: v for k, v in told.items() if k not in CONFIG_KEYS}
    return {**out, "set_timesteps_kwargs": rest, "seed": row["seed"],
            "timesteps": [short(t) for t in row["timesteps"]],
            "sigmas": [short(s) for s in row["sigmas"] or []],
            "init_noise_sigma": short(row["init_noise_sigma"]),
            "abs_sums": [short(s) for s, _ in
                         row["traj_abs_sum_mean"]],
            "final_first8": [short(v) for v in row["final_first8"]]}


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        rows = json.load(file)
    with open(sys.argv[2], "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(
            json.dumps(join(r), separators=(",", ":")) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
