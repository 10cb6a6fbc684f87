"""hostile_folders.py - damaged model folders must end in an error that names
the file, never in a crash, a hang or a picture of nonsense sizes.

    python3 tests/python/hostile_folders.py build/unstir [first [count]]

Copies tests/data/models/tiny-text (or tiny), damages one file by seed: a field
of absurd value, a missing or doubled key, a truncation, flipped bytes; then
runs `unstir inspect` and `unstir generate`.  No package is needed.

SPDX-License-Identifier: MIT
"""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

MODELS = pathlib.Path("tests/data/models")
TIMEOUT_S = 60
ABSURD = [-1, 0, 1, 3, 7, 1e308, -1e308, 1e-300, 2**31, 2**32, 2**53, 2**63,
          2**64, -2**63, 0.5, "", "x", "x" * 5000, "\u0000", "../../etc",
          None, True, False, [], {}, [[]], [0], [1, 2, 3, 4, 5, 6, 7, 8, 9],
          [-1], [2**40] * 3, [None], ["x"], {"a": 1}, [[[[]]]], [1e308] * 4]


def places(value, at=()):
    """Paths of all values below an object or a list, up to 200."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    out = []
    for key, v in list(items)[:40]:
        out.append(at + (key,))
        if isinstance(v, (dict, list)):
            out += places(v, at + (key,))
    return out[:200]


def damage_json(r, path):
    root = json.loads(path.read_text())
    place = r.choice(places(root))
    owner = root
    for key in place[:-1]:
        owner = owner[key]
    kind = r.choice(["absurd"] * 6 + ["missing", "doubled", "deep", "NaN"])
    if kind == "missing":
        del owner[place[-1]]
    elif kind in ("absurd", "doubled"):
        owner[place[-1]] = r.choice(ABSURD)
    elif kind == "deep":
        for _ in range(r.choice([10, 500])):
            owner[place[-1]] = [owner[place[-1]]]
    else:
        owner[place[-1]] = float(r.choice(["nan", "inf", "-inf"]))
    text = json.dumps(root)
    if kind == "doubled":
        text = text[:-1] + "," + text[1:]
    path.write_text(text)
    return f"{kind} {'.'.join(map(str, place))[:60]}"


def damage_bytes(r, path):
    data = bytearray(path.read_bytes())
    kind = r.choice(["cut", "flip", "flip", "empty", "longer", "gone",
                     "folder"])
    if kind == "cut":
        del data[r.randrange(len(data)):]
    elif kind == "flip":
        # headers and the beginnings of files decide most
        most = r.choice([16, 1000, len(data)])
        for _ in range(r.choice([1, 1, 3, 20])):
            data[r.randrange(min(most, len(data)))] ^= 1 << r.randrange(8)
    elif kind == "empty":
        data = bytearray()
    elif kind == "longer":
        data += bytes(r.randrange(256) for _ in range(r.choice([1, 1000])))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.write_bytes(data)
    return kind


def damage(r, folder):
    """(file, what was done to it)."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    path = r.choice(files)
    has_fields = path.suffix == ".json" and r.random() < 0.8
    done = damage_json(r, path) if has_fields else damage_bytes(r, path)
    return path.relative_to(folder), done


def names_it(text, file, done):
    """File and part; what a whole model lacks names the part or the key.  A
    model without unstir.json is another, and none of its errors is about it;
    which of the folder's config.json is meant is always told."""
    if str(file) == "unstir.json" and done in ("gone", "folder"):
        return True
    if re.search(r"(?<![/\w])\w*config\.json: ", text):
        return False
    words = [file.name, file.parts[0], *done.split(" ")[-1].split(".")]
    return any(w in text for w in words if len(w) > 1)


def run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              errors="replace", timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None, "took more than %d s" % TIMEOUT_S
    return done.returncode, done.stderr


def check(unstir, seed):
    r = random.Random(seed)
    with tempfile.TemporaryDirectory() as base:
        folder = pathlib.Path(base) / "model"
        shutil.copytree(MODELS / r.choice(["tiny-text"] * 3 + ["tiny"]),
                        folder)
        file, done = damage(r, folder)
        commands = [[unstir, "inspect", str(folder)],
                    [unstir, "generate", "-m", str(folder), "--steps", "1",
                     "--seed", "1", "--width", "16", "--height", "16", "-q",
                     "--threads", "1", "-o", os.path.join(base, "o.png")]]
        for command in commands:
            code, text = run(command)
            if code is None or not 0 <= code < 100:
                return f"{command[1]} of {file} ({done}): exit {code} {text}"
            if code and not names_it(text.replace(str(folder), ""), file,
                                     done):
                return f"{file} ({done}) is not named: {text}"
    return None


def main():
    unstir = sys.argv[1]
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 150
    failed = 0
    for seed in range(first, first + count):
        says = check(unstir, seed)
        failed += says is not None
        if says:
            print(f"not ok hostile_folder_{seed}\n    {says[:600]}")
    if not failed:
        print(f"ok hostile_folders_{first}_to_{first + count - 1}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
