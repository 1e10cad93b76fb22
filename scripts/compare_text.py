#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares tokenizing and rendering with the reference libraries on random input.

usage: scripts/compare_text.py --engine troupe-engine [--count 2000] [--seed 1]
                               TOKENIZER_DIR... TEMPLATE_DIR_OR_FILE...
needs: pip install tokenizers transformers jinja2

A directory with tokenizer.json is a tokenizer: --count strings are encoded and decoded, and a
stream of their ids must give out whole characters only.  Any other directory holds *.jinja, among
which --count conversations are spread.  Exit code 0 when nothing differed.
"""
import argparse
import datetime
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

import transformers.utils.chat_template_utils as renderer
from tokenizers import Tokenizer

SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>"}
SPACES = list(" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u180e\u2003\u2008\u200a\u200b\u2028\u2029"
              "\u202f\u205f\u2060\u3000\ufeff")
EMOJI = ["👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷", "❤️", "1️⃣", "🧑🏿‍🚀", "\u200d", "\ufe0f", "😀", "👍🏽"]
ENDINGS = ["'s", "'S", "'t", "'RE", "'rE", "'ve", "'VE", "'m", "'LL", "'lL", "'d", "'ſ", "’s",
           "'K", "''s", "'"]
WORDS = ["hello", "World", "HTTPServer", "camelCase", "naïve", "Größe", "ПРИВЕТ", "Привет",
         "日本語", "한국어",
         "العربية", "עברית", "हिन्दी", "ไทย", "ǅungla", "ᾼbc", "ﬁn", "Ⅷ", "x²", "foo_bar", "i̇",
         "İst", "ΟΔΟΣ", "ʰa", "ªb", "ⓐⒶ", "𝐀𝐛", "ﾊﾝｶｸ", "ゟ゠ヿ", "龥龦〇", "𠀀々ー"]
CODE = ["def f(x):\n    return x\n", "\t\tif (a) {\n", "/// \r\n", '{"k": [1, 2.5]}', "&&||",
        ";;\n\n", "a/b/c\n", "!!\n/\n", "-/\r\n/", "C:\\x", "$x_1", "`a`"]
CATEGORIES = {}
for code in range(0x110000):
    if not 0xd800 <= code < 0xe000:
        CATEGORIES.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
MARKS = CATEGORIES["Mn"] + CATEGORIES["Mc"] + CATEGORIES["Me"]


def some(chosen, letters, most):
    return "".join(chosen.choice(letters) for _ in range(chosen.randint(1, most)))


def special_piece(chosen, specials):
    one = chosen.choice(specials)
    cut = chosen.randint(1, len(one))
    return chosen.choice([one, one, one[:cut], one[cut:], " " + one + "\n", one + one[:cut],
                          one.swapcase()])


def string_piece(chosen, specials):
    kinds = [
        lambda: some(chosen, CATEGORIES[chosen.choice(list(CATEGORIES))], 3),
        lambda: some(chosen, SPACES, 5),
        lambda: some(chosen, " \n\r\t", 6),
        lambda: chosen.choice("aeoAEñcC각がक\u1100") + some(chosen, MARKS, 4),
        lambda: unicodedata.normalize(chosen.choice(["NFD", "NFKD"]), chosen.choice(WORDS)),
        lambda: chosen.choice(WORDS) + chosen.choice(ENDINGS),
        lambda: chosen.choice(ENDINGS) + chosen.choice(["", "x", " ", "A", "1"]),
        lambda: some(chosen, "0123456789012345678901234567890123456789٣४²½Ⅷ①三,._", 9),
        lambda: chosen.choice(CODE),
        lambda: some(chosen, EMOJI, 3),
        lambda: some(chosen, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 5) + "\n",
        lambda: " " + chosen.choice(WORDS),
        lambda: special_piece(chosen, specials) if specials else "",
        lambda: chosen.choice("aAzZ_éßΣ ") * chosen.randint(1, 12),
    ]
    return chosen.choice(kinds)()


def random_string(chosen, specials=()):
    return "".join(string_piece(chosen, specials)
                   for _ in range(chosen.choice([1, 1, 2, 2, 3, 4, 6, 12])))


TEXTS = ["", "Hello", "  padded \n", "a\n\nb", "é日本😀", "<b>'q' \"d\" & \\ </b>",
         "<think>\nx\n</think>\n\nanswer", "<think>a</think>b<think>c</think>", "</think>",
         "{{ x }}", "\u00a0nb\u3000", "42", "<tool_response>\nr\n</tool_response>", "<tool_call>",
         "/no_think", "<|im_end|>", "\n"]
VALUES = [None, True, False, 0, -7, 3, 2.5, 1e20, 1e-7, 1.0, -0.0, 123456789012, 0.1, 1e16, "s", "",
          "é😀", "a'b", 'a"b', "back\\s", "<&>", "\u2028", "\x7f\x01"]
KEYS = ["a", "b", "x", "city", "é k", "x'y", "type", "items", "keys", "1"]


def text_of(chosen):
    return chosen.choice(TEXTS) if chosen.random() < 0.75 else random_string(chosen)


def value_of(chosen, depth=0):
    kind = chosen.random()
    if depth < 3 and kind < 0.2:
        return {chosen.choice(KEYS): value_of(chosen, depth + 1)
                for _ in range(chosen.randint(0, 3))}
    if depth < 3 and kind < 0.35:
        return [value_of(chosen, depth + 1) for _ in range(chosen.randint(0, 3))]
    return chosen.choice(VALUES)


def schema_of(chosen, depth=0):
    schema = {"type": chosen.choice(["string", "integer", "number", "boolean", "array", "object",
                                     ["string", "null"]])}
    if chosen.random() < 0.5:
        schema["description"] = text_of(chosen)
    if chosen.random() < 0.2:
        schema["enum"] = [value_of(chosen, 3)]
    if chosen.random() < 0.2:
        schema["default"] = value_of(chosen, 2)
    if schema["type"] == "object" and depth < 3:
        schema["properties"] = {chosen.choice(KEYS): schema_of(chosen, depth + 1)
                                for _ in range(chosen.randint(0, 3))}
        schema["required"] = list(schema["properties"])[:1]
    if schema["type"] == "array" and depth < 3:
        schema["items"] = schema_of(chosen, depth + 1)
    return schema


def tool_of(chosen):
    function = {"name": chosen.choice(["get_weather", "add", "é"]), "description": text_of(chosen),
                "parameters": {**schema_of(chosen), "type": "object", "properties": {
                    chosen.choice(KEYS): schema_of(chosen) for _ in range(chosen.randint(0, 3))}}}
    if chosen.random() < 0.1:
        del function[chosen.choice(["description", "parameters"])]
    return {"type": "function", "function": function} if chosen.random() < 0.9 else function


def call_of(chosen):
    arguments = {chosen.choice(KEYS): value_of(chosen) for _ in range(chosen.randint(0, 3))}
    if chosen.random() < 0.2:
        arguments = json.dumps(arguments)
    call = {"id": some(chosen, "abc123", 1) * 9, "type": "function",
            "function": {"name": chosen.choice(["get_weather", "add"]), "arguments": arguments}}
    return call if chosen.random() < 0.9 else call["function"]


def content_of(chosen):
    kind = chosen.random()
    if kind < 0.86:
        return text_of(chosen)
    if kind < 0.94:
        return [chosen.choice([{"type": "text", "text": text_of(chosen)},
                               {"type": "image", "image": "x"}])
                for _ in range(chosen.randint(0, 3))]
    return chosen.choice([None, 5, {"a": 1}, ["x"]])


def message_of(chosen, role):
    message = {"role": role, "content": content_of(chosen)}
    if role == "assistant" and chosen.random() < 0.3:
        message["tool_calls"] = [call_of(chosen) for _ in range(chosen.randint(0, 2))]
    if role == "assistant" and chosen.random() < 0.3:
        message[chosen.choice(["reasoning_content", "thinking", "reasoning"])] = \
            chosen.choice([text_of(chosen), None])
    if role == "tool" and chosen.random() < 0.5:
        message.update(tool_call_id="a" * 9, name="get_weather")
    if chosen.random() < 0.03:
        del message["content"]
    return message


def conversation_of(chosen):
    roles = ["system"] if chosen.random() < 0.4 else []
    for _ in range(chosen.randint(1, 3)):
        roles += chosen.choice([["user", "assistant"], ["user", "assistant"],
                                ["user", "assistant", "tool", "assistant"]])
    if chosen.random() < 0.5:
        roles.append("user")
    if chosen.random() < 0.25:
        chosen.shuffle(roles)
    messages = [message_of(chosen, role) for role in roles]
    arguments = {}
    if chosen.random() < 0.3:
        arguments["enable_thinking"] = chosen.random() < 0.5
    if chosen.random() < 0.1:
        arguments["documents"] = [{"title": text_of(chosen), "text": text_of(chosen)}]
    continues = chosen.random() < 0.08
    return {"messages": messages, "kwargs": arguments, "continue_final_message": continues,
            "add_generation_prompt": not continues and chosen.random() < 0.6,
            "tools": [tool_of(chosen) for _ in range(chosen.randint(0, 2))]
                     if chosen.random() < 0.5 else None}


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 20, 12, 34, 56)


def rendered(template, one):
    """The reference's text, or None when it fails."""
    try:
        arguments = {**SPECIAL, **one["kwargs"]}
        texts, _ = renderer.render_jinja_template(
            [one["messages"]], tools=one["tools"], chat_template=template,
            add_generation_prompt=one["add_generation_prompt"],
            continue_final_message=one["continue_final_message"], **arguments)
        return texts[0]
    except Exception:  # whatever Python refuses
        return None


class Comparison:
    def __init__(self, engine):
        self.engine = engine
        self.wrong = 0

    def ask(self, lines, *arguments):
        asked = "".join(json.dumps(line) + "\n" for line in lines)
        run = subprocess.run([self.engine, *arguments], input=asked.encode(), capture_output=True,
                             check=False)
        answers = [json.loads(line) for line in run.stdout.decode().split("\n") if line]
        if len(answers) != len(lines):
            sys.exit(f"{' '.join(arguments)}: {run.stderr.decode(errors='replace')}")
        return answers

    def expect(self, what, given, got, wanted):
        if got == wanted:
            return
        self.wrong += 1
        if self.wrong <= 10:
            print(f"{what}: {given!a:.800}\n  got {got!a:.500}\n  for {wanted!a:.500}", flush=True)

    def tokenizer(self, model, chosen, count):
        reference = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        specials = [one.content for one in reference.get_added_tokens_decoder().values()]
        texts = [random_string(chosen, specials) for _ in range(count)]
        encoded = [one.ids for one in reference.encode_batch(texts, add_special_tokens=False)]
        for text, got, ids in zip(texts, self.ask(texts, "tokenize", "--model", model), encoded,
                                  strict=True):
            self.expect(model, text, got["ids"], ids)
        known = sorted(reference.get_vocab().values())
        lists = encoded + [chosen.choices(known, k=chosen.randint(1, 8)) for _ in range(count // 4)]
        decoded = reference.decode_batch(lists, skip_special_tokens=False)
        for ids, got, text in zip(lists, self.ask(lists, "detokenize", "--model", model), decoded,
                                  strict=True):
            self.expect(model, ids, got, text)
        streams = self.ask(encoded, "detokenize", "--pieces", "--model", model)
        for ids, pieces, text in zip(encoded, streams, decoded, strict=False):
            self.expect(f"{model} stream", ids, "".join(pieces), text)
        print(f"{os.path.basename(model)}: {count} strings, {len(lists)} lists of ids", flush=True)

    def template(self, path, chosen, count):
        with open(path, encoding="utf-8", newline="") as file:
            template = file.read()
        asked = [conversation_of(chosen) for _ in range(count)]
        with tempfile.TemporaryDirectory(prefix="troupe-text-") as model:
            with open(os.path.join(model, "chat_template.jinja"), "w", encoding="utf-8",
                      newline="") as file:
                file.write(template)
            with open(os.path.join(model, "tokenizer_config.json"), "w", encoding="utf-8") as file:
                json.dump(SPECIAL, file)
            answers = self.ask(asked, "render", "--lines", "--now", "2026-11-20 12:34:56",
                               "--model", model)
        failing = 0
        for one, got in zip(asked, answers, strict=True):
            wanted = rendered(template, one)
            failing += wanted is None
            self.expect(path, one, got if isinstance(got, str) else None, wanted)
        print(f"{os.path.basename(path)}: {count} conversations, {failing} fail", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("paths", nargs="+")
    options = parser.parse_args()
    renderer.datetime = Frozen
    comparison = Comparison(options.engine)
    templates = []
    for path in options.paths:
        if os.path.isfile(os.path.join(path, "tokenizer.json")):
            comparison.tokenizer(path, random.Random(options.seed), options.count)
        elif os.path.isdir(path):
            templates += sorted(os.path.join(path, name) for name in os.listdir(path)
                                if name.endswith(".jinja"))
        else:
            templates.append(path)
    for path in templates:
        comparison.template(path, random.Random(options.seed), options.count // len(templates))
    print(f"{comparison.wrong} differ, seed {options.seed}")
    sys.exit(1 if comparison.wrong else 0)


if __name__ == "__main__":
    main()
