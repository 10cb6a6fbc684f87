"""weights.py - checkpoints of the right shapes with random weights, in f16.

    PYTHONPATH=tools python -m peers.weights FAMILY CACHE     FAMILY: sd15, lcm or sdxl

makes the diffusers folder CACHE/FAMILY, and of sd15 the single file
CACHE/sd15.safetensors instead.  Time and memory do not depend on values, but
pictures should not overflow: matrices keep the variance of what they
multiply.

SPDX-License-Identifier: MIT
"""

import json
import math
import os
import shutil
import subprocess
import sys

from peers import configs

N_DRAWN = 1 << 22  # numbers that are drawn; tensors repeat them


def write_safetensors(path, shapes):
    """One tensor after another: memory for the largest alone."""
    import numpy as np

    drawn = np.random.default_rng(1).standard_normal(N_DRAWN, dtype=np.float32)
    header, at = {}, 0
    for name, shape in shapes.items():
        n_bytes = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for i, (name, shape) in enumerate(shapes.items()):
            x = np.resize(np.roll(drawn, 7919 * i), math.prod(shape))
            if len(shape) >= 2 and "embedding" not in name:
                x /= math.sqrt(math.prod(shape[1:]))
            elif name.endswith(".weight") and "embedding" not in name:
                x = 1 + 0.02 * x
            else:
                x *= 0.02
            x.astype(np.float16).tofile(f)


def write_part(family, part, folder):
    name, config = configs.FAMILIES[family][part]
    net = configs.build(family, part)
    os.makedirs(folder)
    is_text = name.startswith("CLIP")
    if is_text:
        net.config.architectures = [name]
        net.config.save_pretrained(folder)
    else:
        net.save_config(folder)
    stem = "model" if is_text else "diffusion_pytorch_model"
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items() if v.is_floating_point()}
    write_safetensors(os.path.join(folder, stem + ".safetensors"), shapes)


def write_tokenizer(folder):
    """CLIP's, whose numbers follow from the table of merges."""
    os.makedirs(folder)
    shutil.copy("models/clip-bpe/merges.txt", folder)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    with open("models/clip-bpe/merges.txt", encoding="utf-8") as f:
        merges = [line.split() for line in list(f)[1:]]  # the first names its version
    words = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges if m]
    words += ["<|startoftext|>", "<|endoftext|>"]
    put_json(os.path.join(folder, "vocab.json"), {w: i for i, w in enumerate(words)})
    put_json(os.path.join(folder, "tokenizer_config.json"), {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})


def put_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f)


def write_folder(family, folder):
    spec = configs.FAMILIES[family]
    index = {"_class_name": spec["pipeline"], "scheduler": ["diffusers", spec["scheduler"]["_class_name"]]}
    os.makedirs(os.path.join(folder, "scheduler"))
    put_json(os.path.join(folder, "scheduler", "scheduler_config.json"), spec["scheduler"])
    for part in configs.PARTS:
        if part not in spec:
            continue
        print(f"# writing {folder}/{part}", file=sys.stderr)
        write_part(family, part, os.path.join(folder, part))
        is_text = part.startswith("text")
        index[part] = ["transformers" if is_text else "diffusers", spec[part][0]]
        if is_text:
            tokenizer = part.replace("text_encoder", "tokenizer")
            write_tokenizer(os.path.join(folder, tokenizer))
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
    put_json(os.path.join(folder, "model_index.json"), index)


def checkpoint(family, cache):
    """The path of the family's checkpoint; made when it is not there."""
    final = os.path.join(cache, family + (".safetensors" if family == "sd15" else ""))
    if not os.path.exists(final):
        subprocess.run([sys.executable, "-m", "peers.weights", family, cache], check=True)
    return final


def main(family, cache):
    final = os.path.join(cache, family)
    part = final + ".part"
    shutil.rmtree(part, ignore_errors=True)
    write_folder(family, part)
    if family != "sd15":
        os.rename(part, final)
        return
    subprocess.run(["build/unstir", "convert", part, final + ".part.safetensors", "--dtype", "f16", "-q"],
                   check=True)
    os.rename(final + ".part.safetensors", final + ".safetensors")
    shutil.rmtree(part)


if __name__ == "__main__":
    main(*sys.argv[1:])
