#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizers/added.jsonl: added tokens with every flag, and strings with the
ids the reference gives when they are added to tests/golden/tokenizers/qwen.

usage: scripts/make_added_token_cases.py > tests/golden/tokenizers/added.jsonl
needs: pip install tokenizers (0.23.3 made the committed file)
"""
import json
import random
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

SOURCE = Path(__file__).resolve().parent.parent / "tests/golden/tokenizers/qwen/tokenizer.json"
FIRST_ID = 2048
ADDED = [  # content, flags
    ("<L>", "lstrip"), ("<R>", "rstrip"), ("<B>", "lstrip rstrip"), ("<W>", "single_word"),
    ("wörd", "single_word normalized"), ("Ne\u0301", "normalized"), ("<S>", "special lstrip"),
    ("<P", ""), ("<PQ>", "rstrip"), ("<PQRS>", "special"), ("q9q", "single_word lstrip rstrip"),
    ("日本", "normalized lstrip"), ("\u00a0!", "rstrip"), ("<X>", "special single_word rstrip")]
FLAGS = ["lstrip", "rstrip", "single_word", "normalized", "special"]


def strings():
    r = random.Random(3)
    parts = [content for content, _ in ADDED] + [
        " ", "  ", "\n", "\t", "\u00a0", "\u3000", "a", "b", "_", "é", "e\u0301", "o\u0308", "w",
        "rd", ".", "1", "²", "ⓐ", "\u200d", "-", "<", "<P", "q", "9q",
        "QRS>", "Q>", "!", "N", "\u0301",
        "Né", "wo\u0308rd", "<|im_end|>", "日", "本", "word", "x y"]
    for _ in range(400):
        yield "".join(r.choice(parts) for _ in range(r.randint(1, 9)))


def main():
    root = json.loads(SOURCE.read_text())
    added = []
    for at, (content, flags) in enumerate(ADDED):
        row = dict(id=FIRST_ID + at, content=content)
        row.update({flag: flag in flags.split() for flag in FLAGS})
        added.append(row)
    root["added_tokens"] += added
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(root, file)
        file.flush()
        tokenizer = Tokenizer.from_file(file.name)
    rows = []
    for text in strings():
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append(dict(text=text, ids=ids, ids_special_as_text=plain))
    print(json.dumps(added, ensure_ascii=False, separators=(",", ":")))
    for row in rows:
        print(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
