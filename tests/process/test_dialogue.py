# SPDX-License-Identifier: Apache-2.0
"""Calls of tools as the templates render them are taken apart into the same calls."""
import json
import os
import random
import subprocess

import pytest

ROOT = os.environ.get("TROUPE_SOURCE_DIR",
                      os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
BUILD = os.environ.get("TROUPE_BUILD_DIR", os.path.join(ROOT, "build"))
SAMPLES = os.path.join(BUILD, "tests", "property", "dialogue-samples")
ENGINE = os.path.join(BUILD, "actors", "runner", "engine", "troupe-engine")
TEMPLATES = os.path.join(ROOT, "tests", "golden", "templates")
SEED = int(os.environ.get("TROUPE_SEED", "7"))
ROUNDS = int(os.environ.get("DIALOGUE_ROUNDS", "60"))

# What ends a turn; and how many calls one turn may have.
FAMILIES = {"qwen3-like": ("<|im_end|>", 3), "qwen35-like": ("<|im_end|>", 3),
            "glm4-like": ("", 3), "llama3-like": ("<|eot_id|>", 1),
            "harmony-like": ("<|call|>", 1)}
TYPES = ["string", "integer", "number", "boolean", "null", "array", "object", None,
         ["string", "null"], ["integer", "null"], ["string", "integer"]]
TEXTS = ["", "a", "7", "-0.5", "true", "null", "None", "1e5", "[1]", "{\"a\": 1}", "two\nlines",
         " led by a blank", "ends in one ", "\n", "tab\t", "<b>", "</", "</parameter", "\"quoted\"",
         "back\\slash", "\u00e9\u65e5\U0001f600", "{{ x }}", "<tool_cal", "a, b;", "'", "%s", "\\n"]


def value_of(source, kind, depth=2):
    if isinstance(kind, list):  # a text that looks like the other type is not told from it
        kind = source.choice(kind)
        if kind == "string":
            return source.choice(["a", "two\nlines", "x7", "<b>", "\u00e9"])
    if kind is None:
        kind = source.choice(["array", "object", "boolean"])
    if kind == "string":
        return source.choice(TEXTS) + source.choice(["", "", "x"])
    if kind == "integer":
        return source.choice([0, -1, 7, 10**15, source.randint(-99999, 99999)])
    if kind == "number":
        return source.choice([0.5, -2.25, 3, 1e-7, 1234567.125])
    if kind == "boolean":
        return source.random() < 0.5
    if kind == "null":
        return None
    inner = ["string", "integer", "number", "boolean", "null"] + ["array", "object"] * (depth > 0)
    if kind == "array":
        return [value_of(source, source.choice(inner), depth - 1)
                for _ in range(source.randint(0, 3))]
    return {source.choice(["k", "\u00e9", "two words", "7"]):
            value_of(source, source.choice(inner), depth - 1) for _ in range(source.randint(0, 2))}


def tools_of(source):
    tools = []
    for name in ("find", "do_it-now", "a.b"):
        properties = {key: {"type": kind, "description": "-"} if kind else {"description": "-"}
                      for key, kind in ((f"{letter}{number}", source.choice(TYPES))
                                        for number, letter in enumerate("abcde"))}
        tools.append({"type": "function", "function": {
            "name": name, "description": "-", "parameters": {
                "type": "object", "properties": properties, "required": []}}})
    return tools


def calls_of(source, tools, most):
    calls = []
    for _ in range(source.randint(1, most)):
        function = source.choice(tools)["function"]
        arguments = {key: value_of(source, schema.get("type"))
                     for key, schema in function["parameters"]["properties"].items()
                     if source.random() < 0.6}
        calls.append({"type": "function", "function": {"name": function["name"],
                                                       "arguments": arguments}})
    return calls


def run(command, lines):
    done = subprocess.run(command, input="".join(json.dumps(line) + "\n" for line in lines),
                          capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def cut(source, text):
    places = sorted(source.randrange(len(text) + 1) for _ in range(source.randint(0, 12)))
    return [text[a:b] for a, b in zip([0] + places, places + [len(text)])]


def same(left, right):
    """As JSON: 3 and 3.0 are one number, true and 1 are not."""
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) in (int, float) and type(right) in (int, float) and left == right or (
        isinstance(left, str) and left == right)


@pytest.mark.parametrize("family", FAMILIES)
def test_rendered_calls_come_back(family, tmp_path):
    end, most = FAMILIES[family]
    source = random.Random(SEED)
    with open(os.path.join(TEMPLATES, family + ".jinja"), encoding="utf-8") as file:
        template = file.read()
    rounds = []
    for _ in range(ROUNDS):
        tools = tools_of(source)
        rounds.append((tools, calls_of(source, tools, most), source.choice(["", "", "I look."])))
    requests = []
    for tools, calls, text in rounds:
        user = {"role": "user", "content": "Q"}
        turn = {"role": "assistant", "content": text, "tool_calls": calls}
        if family in ("harmony-like", "llama3-like"):
            del turn["content"]
        requests.append({"messages": [user], "tools": tools, "add_generation_prompt": True})
        requests.append({"messages": [user, turn], "tools": tools, "add_generation_prompt": False})
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    made = run([ENGINE, "render", "--model", str(tmp_path), "--lines"], requests)
    tasks = []
    for at, (tools, _, _) in enumerate(rounds):
        prompt, whole = made[2 * at], made[2 * at + 1]
        assert isinstance(prompt, str) and isinstance(whole, str), (prompt, whole)
        prompt = os.path.commonprefix([prompt, whole]).removesuffix("<")
        if whole.startswith(prompt + "</think>"):  # this template shows no more of the thinking
            prompt += "</think>"
        output = whole[len(prompt):]
        output = output[:output.rindex(end)] if end else output
        tasks.append({"template": template, "tail": prompt, "tools": tools,
                      "pieces": cut(source, output)})
    for (_, calls, text), task, said in zip(rounds, tasks, run([SAMPLES], tasks)):
        wanted = [call["function"] for call in calls]
        got = [{"name": call["name"], "arguments": json.loads(call["arguments"])}
               for call in said["calls"]]
        assert same(wanted, got), ("".join(task["pieces"]), wanted, got)
        if family not in ("harmony-like", "llama3-like"):  # a call is all they say
            assert said["content"].strip() == text, ("".join(task["pieces"]), said)
