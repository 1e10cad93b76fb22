#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizers/variants.jsonl: forms of tokenizer.json that other models have,
as changes of the committed ones, and strings with the ids and the text the reference gives.

usage: scripts/make_tokenizer_variants.py > tests/golden/tokenizers/variants.jsonl
needs: pip install tokenizers (0.23.3 made the committed file)
"""
import json
from pathlib import Path

from tokenizers import Tokenizer

FOLDER = Path(__file__).resolve().parent.parent / "tests/golden/tokenizers"
MARK = "\u2581"
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
STRINGS = {
    "gemma": ["", "Hello world", " Hello", "  two", "a\u2581b", "<bos>Hi<eos> x", "x <eos>",
              "\n é日😀 ", "<mask> <mask>y"],
    "added": [f"x{MARK}<l> a", f"<r>{MARK} a", f"a <l>{MARK}<r> {MARK}<r>", f"a y{MARK}y y",
              f"a{MARK}qz qz{MARK}qza", f"<w> {MARK}a_<w>", f" {MARK}<r>\n{MARK}<l>", "<r>  x <l>"],
    # Marks in the wrong order, of Unicode 9 and later; two later characters that now compose.
    "qwen": ["a12³b٣45", "it's  1234\n\n56", "e\u1dfa\u0323", "a\u0301\u089b\u0323o\u0302",
             "\U00011935\U00011930", "e\u1ac1\u0301", "x.y/z 日本"],
}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior,
            "invert": invert}


def sequence(*steps, regex=False):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": regex}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, byte_level]}}


def added(content, **more):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": True, "special": False, **more}


def with_added(changes, *tokens):
    """Beside those the base has; a Metaspace tells marks from spaces until these are found."""
    root = json.loads((FOLDER / "gemma/tokenizer.json").read_text())
    known = root["added_tokens"]
    first = max([*root["model"]["vocab"].values(), *(one["id"] for one in known)]) + 1
    return {**changes, "added_tokens": known + [{"id": first + at, **one}
                                                for at, one in enumerate(tokens)]}


def variants():
    yield "gemma", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": MARK}, REPLACE]}, "pre_tokenizer": None,
                    "decoder": DECODER}
    for scheme, splits in (("first", False), ("always", True), ("never", True)):
        yield "gemma", {"normalizer": None, "decoder": DECODER, "pre_tokenizer": {
            "type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": splits}}
    tokens = [added("<l>", lstrip=True), added("<r>", rstrip=True), added(" y"),
              added(MARK + "qz", single_word=True),
              added("<w>", single_word=True, normalized=False, rstrip=True)]
    for scheme in ("first", "always", "never"):
        yield "gemma", with_added({"normalizer": None, "decoder": DECODER, "pre_tokenizer": {
            "type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme,
            "split": scheme == "always"}}, *tokens)
    yield "gemma", with_added({}, *tokens)
    for alone in (True, False):
        yield "qwen", {"normalizer": None,
                       **sequence({"type": "Digits", "individual_digits": alone}, regex=True)}
    yield "qwen", sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                           split("[一-龥ࠀ-一가-퟿]+"))
    pattern = json.loads((FOLDER / "llama3/tokenizer.json").read_text())
    pattern = pattern["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    yield "qwen", sequence(split(pattern, "Removed", True))


def main():
    for base, changes in variants():
        root = json.loads((FOLDER / base / "tokenizer.json").read_text())
        root.update(changes)
        tokenizer = Tokenizer.from_str(json.dumps(root))
        print(json.dumps({"base": base, "changes": changes}, ensure_ascii=False,
                         separators=(",", ":")))
        for text in STRINGS["added" if "added_tokens" in changes else base]:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            print(json.dumps({"text": text, "ids": ids,
                              "decoded": tokenizer.decode(ids, skip_special_tokens=False)},
                             ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
