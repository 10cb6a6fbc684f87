#!/usr/bin/env python3
"""make_clip_tokens.py - ids of hard texts by the reference's CLIP tokenizer.

usage: make_clip_tokens.py tests/data/text/clip_tokens_unicode.json

Reads the texts of that list, encodes them anew with transformers (BOS and EOS
included, cut at 77) from the merges of models/clip-bpe, and writes it back.
A text with a NUL byte stands as "hex", since our JSON reader refuses NUL.

SPDX-License-Identifier: MIT
"""
import json
import sys

import tokenizers
import transformers


def byte_symbols():
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in own]
    return [chr(b) for b in own] + [chr(256 + i) for i in range(len(rest))]


def tokenizer(path):
    with open(path, encoding="utf-8") as f:
        merges = [tuple(line.split()) for line in f.read().split("\n")[1:] if line]
    tokens = byte_symbols()
    tokens += [t + "</w>" for t in tokens]
    tokens += ["".join(m) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {t: i for i, t in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=merges)


def text_of(entry):
    return bytes.fromhex(entry["hex"]).decode() if "hex" in entry else entry["text"]


def main():
    t = tokenizer("models/clip-bpe/merges.txt")
    with open(sys.argv[1], encoding="utf-8") as f:
        entries = json.load(f)["texts"]
    for e in entries:
        e["ids"] = t(text_of(e), truncation=True, max_length=77).input_ids
    made = f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}"
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        lines = ",\n".join(json.dumps(e) for e in entries)
        f.write('{"made_with": %s, "texts": [\n%s\n]}\n' % (json.dumps(made), lines))


if __name__ == "__main__":
    main()
