#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ask a model directory held-out questions through mlx_lm with the chat template.

usage: eval_demo.py MODELDIR [PER_KIND]
"""

import random, sys, time
from pathlib import Path
import mlx.core as mx
from mlx_lm import load, stream_generate
from mlx.utils import tree_map

sys.path.insert(0, str(Path(__file__).parent))
import gen_corpus as g

model, tok = load(sys.argv[1])
if "--f32" in sys.argv:
    model.update(
        tree_map(
            lambda v: v.astype(mx.float32) if mx.issubdtype(v.dtype, mx.floating) else v,
            model.parameters(),
        )
    )
per = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdigit() else 20
stats = []


def ask(msgs, n=160):
    ids = tok.apply_chat_template(msgs, add_generation_prompt=True)
    out = ""
    for r in stream_generate(model, tok, ids, max_tokens=n):
        out += r.text
    stats.append((r.prompt_tokens, r.prompt_tps, r.generation_tokens, r.generation_tps))
    return out.strip(), r.finish_reason


r = random.Random(4242)
allok = alln = 0
for fn in (g.capital, g.thing, g.colour, g.sums, g.count, g.days, g.opposite, g.sound, g.unknown):
    ok, bad = 0, []
    for _ in range(per):
        q, a = fn(r)
        q = g.polite(r, q)
        out, _ = ask([dict(role="user", content=q)])
        if out == a:
            ok += 1
        else:
            bad.append((q, out, a))
    allok += ok
    alln += per
    print(f"{fn.__name__:9s} {ok}/{per}", bad[:2])
ok = 0
for _ in range(per):
    n = r.choice(g.NAMES)
    q, a = g.capital(r)
    out, _ = ask(
        [
            dict(role="user", content=f"My name is {n}."),
            dict(role="assistant", content=f"Nice to meet you, {n}!"),
            dict(role="user", content=q),
            dict(role="assistant", content=a),
            dict(role="user", content="What is my name?"),
        ]
    )
    ok += out == f"Your name is {n}."
print(f"name over a turn {ok}/{per}")
allok += ok
alln += per
print(f"total {allok}/{alln}")
for q in [
    "Hello!",
    "Who are you?",
    "What can you do?",
    "What is the capital of Japan?",
    "what's 7 + 8",
    "What is fifteen minus six?",
    "Count to ten.",
    "What day comes after Friday?",
    "What color is the sky?",
    "what is an umbrella",
    "Is coffee a drink?",
    "Tell me a story about a dragon.",
    "Tell me a short story.",
    "Who painted the ceiling?",
    "Thank you!",
    "Bye!",
]:
    print(">", q, "->", *ask([dict(role="user", content=q)]))
m = [dict(role="system", content="You are a helpful assistant.")]
for q in [
    "Hi, I'm Nora.",
    "What is 9 plus 4?",
    "And what is the capital of Peru?",
    "What is my name?",
]:
    m.append(dict(role="user", content=q))
    a, _ = ask(m)
    m.append(dict(role="assistant", content=a))
    print("  chat>", q, "->", a)
print(
    "mean prompt tok/s %.0f, generation tok/s %.0f"
    % (sum(s[1] for s in stats) / len(stats), sum(s[3] for s in stats) / len(stats))
)
