"""chance.py - how far apart are real pictures, by chance alone?

The floor that measure.py divides by is one set of real test pictures.  Here
stand beside it random sets of as many training pictures (against all others,
so that none meets itself) and halves of the test set, class by class: how far
such distances wander says what a difference of two of them is worth.

    python tools/quality/chance.py --judge judge.pt [--per-class 1000]
        [--sets 5] [--data DIR]

SPDX-License-Identifier: MIT
"""
import argparse
import json
import statistics

import torch

from classifier import DATA
from measure import N_CLASSES, Judge, balanced, frechet


def draw(labels, per_class, rng):
    """per_class places of each label, none twice."""
    out = []
    for c in range(N_CLASSES):
        places = torch.where(labels == c)[0]
        out.append(places[torch.randperm(len(places), generator=rng)
                          [:per_class]])
    return torch.cat(out)


def against_the_rest(judge, per_class, rng):
    place = draw(judge.train_y, per_class, rng)
    rest = torch.ones(len(judge.train_y), dtype=torch.bool)
    rest[place] = False
    return frechet(judge.train_f[rest], judge.train_f[place])


def of_half(judge, features, labels, per_class, rng):
    return frechet(judge.train_f, features[draw(labels, per_class // 2, rng)])


def spread(values):
    return dict(values=[round(v, 4) for v in values],
                mean=round(statistics.mean(values), 4),
                deviation=round(statistics.stdev(values), 4))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--judge", required=True)
    p.add_argument("--data", default=DATA)
    p.add_argument("--per-class", type=int, default=1000)
    p.add_argument("--sets", type=int, default=5)
    a = p.parse_args()
    if a.sets < 2 or a.per_class < 2:
        p.error("a deviation needs two sets, a half two pictures a class")
    torch.set_num_threads(2)
    judge = Judge(a.judge, a.data, a.per_class)
    rng = torch.Generator().manual_seed(1)
    index = balanced(judge.test_y, a.per_class)
    features, labels = judge.features(judge.test_x[index]), judge.test_y[index]
    print(json.dumps(dict(
        per_class=a.per_class, floor=round(judge.floor, 4),
        training=spread([against_the_rest(judge, a.per_class, rng)
                         for _ in range(a.sets)]),
        half_of_test=spread([of_half(judge, features, labels, a.per_class, rng)
                             for _ in range(a.sets)]))))


if __name__ == "__main__":
    main()
