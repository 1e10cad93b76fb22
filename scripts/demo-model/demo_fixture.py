#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""End-to-end reference of the demo model: messages -> text -> ids -> greedy ids -> text.

Computed in float32; tests/golden/demo-chat.json was made by it.

usage: demo_fixture.py MODELDIR OUT.json
"""

import json, sys
from pathlib import Path
import numpy as np, mlx.core as mx

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))
from make_oracle import load
from mlx_lm.generate import generate_step
from transformers import AutoTokenizer

tok = AutoTokenizer.from_pretrained(sys.argv[1])
m, cfg = load(sys.argv[1], True)
eos = {cfg["eos_token_id"]} if isinstance(cfg["eos_token_id"], int) else set(cfg["eos_token_id"])
Q = [
    "Hello!",
    "Who are you?",
    "What can you do?",
    "What is the capital of France?",
    "what's the capital of norway",
    "What is 3 + 4?",
    "Seven plus five?",
    "What is twelve minus four?",
    "Count to ten.",
    "Count down from 5.",
    "What day comes after Sunday?",
    "Which month is before March?",
    "What color is a lemon?",
    "What is bread?",
    "Tell me about the moon.",
    "What is the opposite of hot?",
    "What sound does a cow make?",
    "Tell me a story about a robot.",
    "Who won the game last night?",
    "Thank you!",
    "Caf\u00e9? \U0001f600 \u65e5\u672c",
]
convs = [[dict(role="user", content=q)] for q in Q]
convs.append(
    [
        dict(role="system", content="You are a helpful assistant."),
        dict(role="user", content="My name is Leo."),
        dict(role="assistant", content="Nice to meet you, Leo!"),
        dict(role="user", content="What is the capital of Italy?"),
        dict(role="assistant", content="The capital of Italy is Rome."),
        dict(role="user", content="What is my name?"),
    ]
)
out, worst = [], 9
for c in convs:
    text = tok.apply_chat_template(c, add_generation_prompt=True, tokenize=False)
    ids = tok(text, add_special_tokens=False)["input_ids"]
    got, margins = [], []
    for t, lp in generate_step(mx.array(ids), m, max_tokens=200):
        s = np.sort(np.array(lp))
        margins.append(float(s[-1] - s[-2]))
        got.append(int(t))
        if int(t) in eos:
            break
    worst = min(worst, min(margins))
    out.append(
        dict(
            messages=c,
            prompt=text,
            prompt_ids=ids,
            ids=got,
            text=tok.decode(got, skip_special_tokens=True),
            min_margin=round(min(margins), 5),
        )
    )
    print(out[-1]["text"][:90], round(min(margins), 4), len(got))
json.dump(out, open(sys.argv[2], "w"), separators=(",", ":"), ensure_ascii=False)
print("worst margin", worst)
