# SPDX-License-Identifier: Apache-2.0
"""What the bars share that compare answers of the shipped model in one cut or another."""
import json
import os
import subprocess
import sys
import time

from cluster import DEMO_MODEL, ROOT, Failed, engine_tool

MARGIN = 0.004
TOKENS_MAX = 100


def make_prompts(count, seed):
    """Conversations that end with a question, by the generator of the training text."""
    text = subprocess.run([sys.executable, "-B",
                           os.path.join(ROOT, "scripts", "demo-model", "gen_corpus.py"), str(seed),
                           str(count * 4)], check=True, capture_output=True, text=True).stdout
    stories = [[{"role": "user", "content": f"Tell me a story about {who}."}]
               for who in ("a fox", "a girl", "a bird", "a king")]
    prompts = stories
    for line in text.splitlines():
        messages = json.loads(line)
        if messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        if messages and messages[-1]["role"] == "user" and messages not in prompts:
            prompts.append(messages)
    return prompts[:count]


def ask(node, messages, **settings):
    """[(bytes, log probability, margin)] of one answer, and its text."""
    body = {"model": "demo", "messages": messages, "max_tokens": TOKENS_MAX, "logprobs": True,
            "top_logprobs": 2, **settings}
    status, answer = node.request("POST", "/v1/chat/completions", body, timeout=120)
    if status != 200:
        raise Failed(f"{node.name} answers {status}: {answer}")
    choice = answer["choices"][0]
    tokens = []
    for token in choice["logprobs"]["content"]:
        best = [one["logprob"] for one in token["top_logprobs"]]
        margin = best[0] - best[1] if len(best) > 1 else float("inf")
        tokens.append((bytes(token["bytes"]), token["logprob"], margin))
    tokens.append((choice["finish_reason"].encode(), 0.0, float("inf")))
    return tokens, choice["message"]["content"]


def wait_gone(cluster):
    """The runners of a deleted instance end before the next is placed."""
    end = time.monotonic() + 20
    while any(row[0] == "runner" for row in cluster.processes().values()):
        if time.monotonic() > end:
            raise Failed("the runners of a deleted instance are still there after 20 s")
        time.sleep(0.05)


def check_left(left):
    if left:
        raise Failed(f"left behind: {'; '.join(left)}")


def engine(*words, text=None):
    run = subprocess.run([engine_tool(), *words], input=text, capture_output=True, text=True,
                         check=False)
    if run.returncode != 0:
        raise Failed(f"troupe-engine {words[0]}: {run.stderr.strip()}")
    return run.stdout


def prompt_ids(prompts):
    lines = "".join(json.dumps({"messages": one, "add_generation_prompt": True}) + "\n"
                    for one in prompts)
    texts = engine("render", "--model", DEMO_MODEL, "--lines", text=lines)
    ids = engine("tokenize", "--model", DEMO_MODEL, text=texts)
    return [json.loads(line)["ids"] for line in ids.splitlines()]


def ends_of_answer():
    with open(os.path.join(DEMO_MODEL, "generation_config.json"), encoding="utf-8") as file:
        return json.load(file)["eos_token_id"]
