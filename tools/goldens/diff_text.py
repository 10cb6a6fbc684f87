"""diff_text.py - tokens and prompts against the reference, at random texts.

usage: python tools/goldens/diff_text.py SEED COUNT TOKENS.json PROMPTS.json
       build/tests/unit/t_bpe TOKENS.json
       build/tests/unit/t_prompt PROMPTS.json

Texts are drawn by seed: words, contractions, numbers, entities, every plane of
Unicode, combining marks, emoji joined to others, control characters, what ftfy
would mend, special tokens in odd case, very long ones.  Their ids are those of
transformers' CLIPTokenizer.

Prompts are such texts among brackets, weights, BREAK, escapes and commas.  The
webui's rules stand here once more, after modules/prompt_parser.py and
modules/sd_hijack_clip.py as engine/text/prompt.h tells them, with the one
difference it names: BREAK keeps its meaning within brackets.

SPDX-License-Identifier: MIT
"""
import json
import random
import re
import sys
import unicodedata

from make_clip_tokens import tokenizer

WORDS = """a cat, sat on the mat photo of an astronaut riding horse
    don't I'm we've they'll it's she'd you're 'tis rock'n'roll O'Neill's
    1girl 2.5 1,000,000 3rd 007 ½ x² Ⅷ ٣ &amp; &lt;b&gt; &#39; &eacute;
    schÃ¶n â€œquotedâ€\x9d Ã© naïve café CAFÉ İstanbul ΣΊΣΥΦΟΣ ß ẞ ǅ ﬁne
    <|startoftext|> <|endoftext|> <|ENDOFTEXT|> <|endoftext |> !!! ... --
    can’t it`s o'' 's 'S 'LL masterpiece, best_quality snake_case kebab-case
    http://a.b/c?d=e#f user@example.org C++ #hashtag @name $5 50% 10°C
    日本語 한국어 ไทย हिन्दी עברית العربية 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪""".split()
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003",
          "\u3000", "\u200b", "\ufeff", "", "\x0b", "\x1c", "\x85", "\u2028"]


def draw_char(r):
    kind = r.random()
    if kind < 0.3:
        return chr(r.randint(0x20, 0x7e))
    if kind < 0.35:
        return chr(r.randint(1, 0x1f))
    if kind < 0.45:
        return chr(r.randint(0x300, 0x36f))
    if kind < 0.55:
        return chr(r.randint(0x80, 0x24f))
    if kind < 0.85:
        point = r.randint(0x250, 0xffff)
    else:
        point = r.choice((0, 1, 1, 1, 2, 3, 14, 15, 16)) * 0x10000 \
            + r.randint(0, 0xffff)
    return chr(point) if not 0xd800 <= point < 0xe000 else "\ud7ff"


def is_known(text):
    """Characters that are assigned in every Unicode table in play."""
    return all(unicodedata.category(c) != "Cn" for c in text)


def draw_text(r, most=12):
    parts = []
    for _ in range(r.randint(0, most)):
        kind = r.random()
        if kind < 0.6:
            word = r.choice(WORDS)
            if r.random() < 0.2:
                word = r.choice((word.upper(), word.title(), word[::-1],
                                 unicodedata.normalize("NFD", word)))
            parts.append(word)
        elif kind < 0.9:
            parts.append("".join(draw_char(r)
                                 for _ in range(r.randint(1, 6))))
        else:
            parts.append(r.choice(WORDS) * r.randint(2, 9))
        parts.append(r.choice(SPACES))
    text = "".join(parts)
    return text if is_known(text) else draw_text(r, most)


# -- the prompt language ------------------------------------------------------

ATTENTION = re.compile(r"\\\(|\\\)|\\\[|\\\]|\\\\|\\|\(|\[|"
                       r":\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
BREAK = re.compile(r"\s*\bBREAK\b\s*")


def parse(prompt):
    spans, rounds, squares = [], [], []

    def multiply(start, factor):
        for span in spans[start:]:
            span[1] *= factor

    for m in ATTENTION.finditer(prompt):
        text, weight = m.group(0), m.group(1)
        if text.startswith("\\"):
            spans.append([text[1:], 1.0])
        elif text == "(":
            rounds.append(len(spans))
        elif text == "[":
            squares.append(len(spans))
        elif weight is not None and rounds:
            multiply(rounds.pop(), float(weight))
        elif text == ")" and rounds:
            multiply(rounds.pop(), 1.1)
        elif text == "]" and squares:
            multiply(squares.pop(), 1 / 1.1)
        else:
            for i, part in enumerate(BREAK.split(text)):
                if i:
                    spans.append([None, 1.0])
                spans.append([part, 1.0])
    for start in rounds:
        multiply(start, 1.1)
    for start in squares:
        multiply(start, 1 / 1.1)
    joined = []
    for text, weight in spans:
        if text is None:
            joined.append([None, 1.0])
        elif text == "":
            continue
        elif joined and joined[-1][0] is not None \
                and joined[-1][1] == weight:
            joined[-1][0] += text
        else:
            joined.append([text, weight])
    return joined


def chunks_of(spans, ids_of, comma, room):
    chunks, chunk, last_comma = [], [], -1

    def next_chunk():
        nonlocal chunk, last_comma
        chunks.append(chunk)
        chunk, last_comma = [], -1

    for text, weight in spans:
        if text is None:
            next_chunk()
            continue
        for token in ids_of(text):
            if token == comma:
                last_comma = len(chunk)
            elif len(chunk) == room and last_comma != -1 \
                    and len(chunk) - last_comma <= 20:
                moved = chunk[last_comma + 1:]
                chunk = chunk[:last_comma + 1]
                next_chunk()
                chunk = moved
            if len(chunk) == room:
                next_chunk()
            chunk.append((token, weight))
    if chunk or not chunks:
        next_chunk()
    return chunks


def draw_prompt(r):
    marks = ["(", ")", "[", "]", ":", ":1.2)", ":0.8)", ": 1.5 )", ":-1)",
             ":.5)", ":1.)", ":1.2000000000000002)", " BREAK ", "BREAK",
             "\\(", "\\)", "\\[", "\\]", "\\\\", "\\", ",", ", ", ", ",
             "((", "))", "[[", "]]", ":abc)", "(:1.3)", "(a:1.1)",
             "、BREAK。", "éBREAK", "BREAK_", "\nBREAK\n"]
    parts = []
    for _ in range(r.randint(1, 25)):
        if r.random() < 0.5:
            parts.append(r.choice(marks))
        else:
            words = [r.choice(WORDS) for _ in range(r.choice((1, 2, 9)))]
            parts.append(r.choice((" ", ", ")).join(words))
    text = "".join(parts)
    if r.random() < 0.3:
        text += ", ".join(" ".join(r.choice(("red", "x", "tree"))
                                   for _ in range(r.randint(1, 30)))
                          for _ in range(r.randint(1, 12)))
    return text.replace("<|", "< |")


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    t = tokenizer("models/clip-bpe/merges.txt")

    def ids_of(text):
        return t(text, add_special_tokens=False).input_ids

    rows = []
    for i in range(count):
        r = random.Random(f"{seed} {i}")
        text = draw_text(r, 40 if i % 50 == 0 else 12)
        rows.append({"hex": text.encode().hex(),
                     "ids": t(text, truncation=True,
                              max_length=77).input_ids})
    with open(sys.argv[3], "w", encoding="ascii") as f:
        f.write('{"texts": [\n'
                + ",\n".join(json.dumps(e) for e in rows) + "\n]}\n")
    comma = t.convert_tokens_to_ids(",</w>")
    rows = []
    for i in range(count):
        prompt = draw_prompt(random.Random(f"{seed} prompt {i}"))
        spans = parse(prompt)
        chunks = chunks_of(spans, ids_of, comma, 75)
        rows.append({"prompt": prompt, "spans": spans,
                     "ids": [[k for k, _ in c] for c in chunks],
                     "weights": [[w for _, w in c] for c in chunks]})
    with open(sys.argv[4], "w", encoding="ascii") as f:
        f.write("[\n" + ",\n".join(json.dumps(e) for e in rows) + "\n]\n")
    print(count, "texts,", len(rows), "prompts")


if __name__ == "__main__":
    main()
