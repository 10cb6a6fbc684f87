#!/usr/bin/env python3
"""diff_tokenizers.py - tokenizer folders against the reference, drawn.

usage: python tools/goldens/diff_tokenizers.py SEED COUNT FOLDER OUT.json
       build/tests/unit/t_bpe OUT.json

Folders of every layout under FOLDER (the standard vocabulary: 1.5 MB each):
tokenizer.json alone, as current releases save it; vocab.json and merges.txt
with special_tokens_map.json, added_tokens.json, or added_tokens_decoder in
tokenizer_config.json; both, which do not agree.  Words are added to each, special or not, of letters,
signs or with spaces, found before or after normalisation, as a word of its own
or anywhere; padding is drawn.  Texts are those of diff_text.py with the words
in them, in other case, glued to others, with wide spaces.

SPDX-License-Identifier: MIT
"""
import json
import os
import random
import sys

import transformers
from tokenizers import AddedToken

from diff_text import SPACES, draw_text
from make_clip_tokens import tokenizer

WORDS = ["<cat-toy>", "sks", "My Dog", "RAW", "zwx", "<s1> <s2>", "ünï", "!?",
         "a_b", "日本", "É", "'s", "12", "<|pad|>", "İx", "Ω"]


def draw_words(r):
    words = []
    for text in r.sample(WORDS, r.randint(0, 5)):
        words.append(AddedToken(
            text, single_word=r.random() < 0.3, lstrip=r.random() < 0.2,
            rstrip=r.random() < 0.2, normalized=r.random() < 0.6,
            special=r.random() < 0.2))
    return words


def write(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False)


def as_old(r, folder):
    """The layout of releases before: what it can say of added words."""
    with open(folder + "/tokenizer.json", encoding="utf-8") as f:
        whole = json.load(f)
    vocab = whole["model"]["vocab"]
    if r.random() < 0.4:
        vocab = {token: (i + 7) % 49406 if i < 49406 else i
                 for token, i in vocab.items()}
    else:
        os.remove(folder + "/tokenizer.json")
    write(folder + "/vocab.json", vocab)
    merges = [m if isinstance(m, str) else " ".join(m)
              for m in whole["model"]["merges"]]
    with open(folder + "/merges.txt", "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "\n".join(merges) + "\n")
    with open(folder + "/tokenizer_config.json", encoding="utf-8") as f:
        config = json.load(f)
    config.pop("backend", None)
    added = whole["added_tokens"]
    if r.random() < 0.5:
        write(folder + "/added_tokens.json", {
            a["content"]: a["id"] for a in added if a["id"] > 49407})
    else:
        config["added_tokens_decoder"] = {
            str(a["id"]): {k: v for k, v in a.items() if k != "id"}
            for a in added}
    if r.random() < 0.3:
        keys = ("bos_token", "eos_token", "unk_token", "pad_token")
        write(folder + "/special_tokens_map.json",
              {k: config[k] for k in keys if k in config})
    write(folder + "/tokenizer_config.json", config)


def draw_texts(r, t, words):
    rows = []
    for _ in range(40):
        parts = []
        for _ in range(r.randint(1, 6)):
            word = r.choice(words).content if words else "!"
            word = r.choice((word, word, word.upper(), word.lower(),
                             word.replace(" ", r.choice(SPACES))))
            parts += [draw_text(r, 2), r.choice(("", "", " ", "x", "_", "1")),
                      word, r.choice(("", "", " ", "s", "\u0301", "_", "."))]
        text = "".join(parts)
        rows.append({"hex": text.encode().hex(),
                     "ids": t(text, truncation=True,
                              max_length=77).input_ids})
    return rows


def draw_folder(r, standard, folder):
    t = tokenizer(standard)
    words = draw_words(r)
    t.add_tokens([w for w in words if not w.special])
    t.add_tokens([w for w in words if w.special], special_tokens=True)
    if r.random() < 0.4:
        t.pad_token = "!"
    t.save_pretrained(folder)
    if r.random() < 0.6:
        as_old(r, folder)
    t = transformers.CLIPTokenizer.from_pretrained(folder)
    return {"folder": folder, "pad": t.pad_token_id,
            "texts": draw_texts(r, t, words)}


def main():
    seed, count, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    rows = []
    for i in range(count):
        folder = f"{out}/{seed}_{i}"
        os.makedirs(folder, exist_ok=True)
        rows.append(draw_folder(random.Random(f"{seed} folder {i}"),
                                "models/clip-bpe/merges.txt", folder))
    with open(sys.argv[4], "w", encoding="ascii") as f:
        json.dump({"folders": rows}, f)
    print(count, "folders,", sum(len(r["texts"]) for r in rows), "texts")


if __name__ == "__main__":
    main()
