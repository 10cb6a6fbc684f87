"""measure.py - how good are the garments that a model makes?

Makes N pictures a class with `unstir generate`, and asks the independent
judge (classifier.py):

  accuracy   share of pictures that the judge takes for the class asked for
  frechet    Frechet distance between judge features of the pictures and of
             the 60,000 training pictures, and its ratio to the floor: the
             same distance for as many real test pictures, class by class;
             in_means is its part in the means of all features, mended what
             would be left if the mean of each class were right, variance
             that of each class's features, real ones having 1
  nearest    distance to the nearest training picture (pixels), compared with
             the same for test pictures: a copy would stand out

    python tools/quality/measure.py MODEL --judge judge.pt [--per-class 100]
        [--steps 25,50] [--guidance 1,1.5,2] [--sampler ddim,ddpm]
        [--first-seed 0,90000] [--sheet samples.png]
        [--neighbours neighbours.png]
        [--json out.json]

Lists are measured in every combination: a curve.  What is not given is the
model's default, but --guidance-start and --guidance-end belong together: where
one is given, the other is 0 or 1, as `unstir generate` has it.  Seeds are fixed
(class * 100,000 + first seed + i), so that two models or settings can be
compared, and a last figure can be taken on seeds by which nothing was chosen.

SPDX-License-Identifier: MIT
"""
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

from classifier import DATA, Classifier, load, run

HERE = os.path.dirname(os.path.abspath(__file__))
UNSTIR = os.path.join(HERE, "..", "..", "build", "unstir")
N_CLASSES = 10
# Options of `unstir generate` that a curve may run over; where one is not
# given, the model's default holds.
SETTINGS = ["sampler", "schedule", "steps", "guidance", "guidance-start",
            "guidance-end", "eta"]


def generate(model, per_class, point, first_seed, unstir, folder):
    """f32 [10 * per_class][1][28][28], classes one after the other, from the
    pictures themselves: samplers differ in the range of their tensors."""
    out = []
    for c in range(N_CLASSES):
        cmd = [unstir, "generate", "-m", model, "--class", str(c), "-n",
               str(per_class), "--seed", str(c * 100000 + first_seed),
               "-o", os.path.join(folder, "{i}.png"), "--force",
               "--no-metadata", "-q"]
        for name, value in point.items():
            cmd += ["--" + name, value]
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
        for i in range(1, per_class + 1):
            with Image.open(os.path.join(folder, f"{i}.png")) as im:
                out.append(np.asarray(im, np.float32) / 127.5 - 1)
    return torch.from_numpy(np.stack(out)[:, None])


def moments(f):
    return f.mean(0), torch.cov(f.T)


def frechet(a, b):
    """Between two sets of features, in double, symmetric square root."""
    (m1, c1), (m2, c2) = moments(a.double()), moments(b.double())
    w, v = torch.linalg.eigh(c1)
    root = (v * w.clamp(min=0).sqrt()) @ v.T
    cross = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    return ((m1 - m2).square().sum() + c1.trace() + c2.trace()
            - 2 * cross).item()


def balanced(labels, per_class):
    return torch.cat([torch.where(labels == c)[0][:per_class]
                      for c in range(N_CLASSES)])


class Judge:
    def __init__(self, path, data, per_class):
        self.path = path
        self.net = Classifier()
        self.net.load_state_dict(torch.load(path))
        self.net.eval()
        self.train_x, self.train_y = load("train", data)
        test_x, self.test_y = load("test", data)
        self.test_index = balanced(self.test_y, per_class)
        self.test_x = test_x
        self.train_f = self.train_features(path + ".features")
        test_f = self.features(test_x[self.test_index])
        self.floor = frechet(self.train_f, test_f)
        self.real = self.by_class(test_x, self.test_y)

    def train_features(self, cache):
        """Of all training pictures; kept beside the judge (30 MB)."""
        if (os.path.exists(cache)
                and os.path.getmtime(cache) > os.path.getmtime(self.path)):
            return torch.load(cache)
        f = self.features(self.train_x)
        torch.save(f, cache)
        return f

    def features(self, x):
        return run(self.net, x, self.net.features)

    def by_class(self, x, y):
        hit = (run(self.net, x, self.net).argmax(1) == y).float()
        return [round(hit[y == c].mean().item(), 4) for c in range(N_CLASSES)]

    def parts(self, f):
        """Of the distance: by means and covariances, by class."""
        real = [self.train_f[self.train_y == c].double()
                for c in range(N_CLASSES)]
        made = f.double().chunk(N_CLASSES)
        off = self.train_f.double().mean(0) - f.double().mean(0)
        mended = torch.cat([m - m.mean(0) + r.mean(0)
                            for m, r in zip(made, real)])
        variance = [(m.var(0).sum() / r.var(0).sum()).item()
                    for m, r in zip(made, real)]
        return dict(in_means=round(off.square().sum().item(), 4),
                    mended=round(frechet(self.train_f, mended), 4),
                    variance=[round(v, 3) for v in variance])

    def measure(self, x, per_class):
        y = torch.arange(N_CLASSES).repeat_interleave(per_class)
        acc, f = self.by_class(x, y), self.features(x)
        fd = frechet(self.train_f, f)
        return dict(accuracy=round(sum(acc) / N_CLASSES, 4), by_class=acc,
                    worst=min(acc), frechet=round(fd, 4),
                    floor=round(self.floor, 4), ratio=round(fd / self.floor, 2),
                    **self.parts(f))

    def nearest(self, x, block=200):
        """Index and RMS pixel distance (0..255) of the nearest neighbour."""
        t = self.train_x.flatten(1)
        t2 = t.square().sum(1)
        index, dist = [], []
        for b in x.flatten(1).split(block):
            d = t2[None] - 2 * b @ t.T + b.square().sum(1)[:, None]
            v, i = d.min(1)
            index.append(i)
            dist.append((v.clamp(min=0) / t.shape[1]).sqrt() * 127.5)
        return torch.cat(index), torch.cat(dist)


def to_bytes(x):
    return ((x[:, 0] + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def sheet(rows, path, zoom=2, gap=2):
    """Rows of pictures [n][28][28] on white."""
    cols, edge = max(len(r) for r in rows), rows[0].shape[1]
    cell = edge * zoom + gap
    out = np.full((len(rows) * cell + gap, cols * cell + gap), 255, np.uint8)
    for j, row in enumerate(rows):
        for i, im in enumerate(row):
            big = im.repeat(zoom, 0).repeat(zoom, 1)
            y, x = gap + j * cell, gap + i * cell
            out[y:y + edge * zoom, x:x + edge * zoom] = big
    Image.fromarray(out).save(path)


def neighbour_report(judge, x, per_class, path):
    """The nearest pair of each class side by side, and how near they are."""
    per = min(per_class, 100)
    pick = torch.cat([torch.arange(c * per_class, c * per_class + per)
                      for c in range(N_CLASSES)])
    index, dist = judge.nearest(x[pick])
    _, real = judge.nearest(judge.test_x[judge.test_index[pick]])
    if path:
        rows = []
        for c in range(N_CLASSES):
            order = dist[c * per:(c + 1) * per].argsort()[:6] + c * per
            pairs = [v for i in order.tolist()
                     for v in (to_bytes(x[pick[i:i + 1]])[0],
                               to_bytes(judge.train_x[index[i:i + 1]])[0])]
            rows.append(np.stack(pairs))
        sheet(rows, path)
    return dict(nearest_rms_min=round(dist.min().item(), 2),
                nearest_rms_median=round(dist.median().item(), 2),
                test_rms_min=round(real.min().item(), 2),
                test_rms_median=round(real.median().item(), 2))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--judge", required=True)
    p.add_argument("--data", default=DATA)
    p.add_argument("--unstir", default=UNSTIR)
    p.add_argument("--per-class", type=int, default=100)
    p.add_argument("--first-seed", default="0", help="as those below")
    for name in SETTINGS:
        p.add_argument("--" + name, help="values, with commas between")
    p.add_argument("--sheet")
    p.add_argument("--neighbours")
    p.add_argument("--json")
    a = p.parse_args()
    torch.set_num_threads(2)
    judge = Judge(a.judge, a.data, a.per_class)
    print("real test pictures: accuracy %.4f by class %s" %
          (sum(judge.real) / N_CLASSES, judge.real), file=sys.stderr)
    results = []
    given = {name: getattr(a, name.replace("-", "_")) for name in SETTINGS}
    given = {name: v.split(",") for name, v in given.items() if v}
    seeds = [int(v) for v in a.first_seed.split(",")]
    for *values, first_seed in itertools.product(*given.values(), seeds):
        point = dict(zip(given, values))
        with tempfile.TemporaryDirectory() as folder:
            x = generate(a.model, a.per_class, point, first_seed, a.unstir,
                         folder)
        r = dict(point, per_class=a.per_class, first_seed=first_seed,
                 **judge.measure(x, a.per_class))
        if a.neighbours:
            r.update(neighbour_report(judge, x, a.per_class, a.neighbours))
        if a.sheet:
            rows = x.split(a.per_class)
            sheet([to_bytes(row[:10]) for row in rows], a.sheet)
        results.append(r)
        print(json.dumps(r), flush=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(dict(real=judge.real, results=results), f, indent=1)


if __name__ == "__main__":
    main()
