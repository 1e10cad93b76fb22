# SPDX-License-Identifier: Apache-2.0
"""A byte-level tokenizer of any size and a plain template, for the bars whose models have random
weights and for whom it matters only that every token has bytes of its own."""
import json
import os

TEMPLATE = ("{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}"
            "{% endfor %}")


def byte_letters():
    """The letters that stand for bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, more = {}, 256
    for byte in range(256):
        if byte in plain:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(more)
            more += 1
    return [letters[byte] for byte in range(256)]


def write_tokenizer(directory, vocabulary):
    """`vocabulary` tokens, all of them different bytes, and one more that ends a text, by merges as
    any BPE trainer could have found them."""
    tokens = byte_letters()[:vocabulary]  # the last bytes are in no text
    known = set(tokens)
    merges = []
    left, right = 0, 0
    while len(tokens) < vocabulary:
        word = tokens[left] + tokens[right % 256]
        if word not in known:
            known.add(word)
            merges.append(tokens[left] + " " + tokens[right % 256])
            tokens.append(word)
        right += 7
        if right >= 7 * 256:
            left, right = left + 1, 0
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+"
               r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    end = {"id": vocabulary, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
           "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                  "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
             "invert": False}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end],
                 "normalizer": {"type": "NFC"},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
                 "post_processor": byte_level, "decoder": byte_level,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None,
                           "continuing_subword_prefix": "", "end_of_word_suffix": "",
                           "fuse_unk": False, "byte_fallback": False,
                           "vocab": {token: i for i, token in enumerate(tokens)},
                           "merges": merges}}
    with open(os.path.join(directory, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False)
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"chat_template": TEMPLATE, "eos_token": "<|endoftext|>"}, file)
