#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/sampler/cases.json: small sampling problems and their answers.

usage: scripts/make_sampler_cases.py > tests/golden/sampler/cases.json

The answers come from this file alone, which follows mlx-lm word by word on whole vectors (masks
and an ascending cumulative sum), where the engine walks a heap. Problems whose answer hangs on
less than MARGIN are drawn again. The same seed gives the same file.
"""
import json
import math
import random
import struct

MARGIN = 1e-4
SEEDS = 12
COUNT = 160
MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def mixed(x):
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK64
    return x ^ x >> 31


def uniform(seed, choice, position, token):
    state = mixed((seed + GOLDEN) & MASK64)
    state = mixed((state + GOLDEN * (choice + 1)) & MASK64)
    state = mixed((state + GOLDEN * (position + 1)) & MASK64)
    state = mixed((state + GOLDEN * (token + 1)) & MASK64)
    return ((state >> 12) + 0.5) / (1 << 52)


def processed(case):
    logits = list(case["logits"])
    for token, bias in case["logit_bias"]:
        logits[token] += bias
    tokens = case["prompt"] + case["answer"]
    window = case["repetition_window"]
    for token in set(tokens[-window:] if window else tokens):
        p = case["repetition_penalty"]
        logits[token] = logits[token] * p if logits[token] < 0 else logits[token] / p
    for token in set(case["answer"]):
        logits[token] -= case["presence_penalty"]
    for token in case["answer"]:
        logits[token] -= case["frequency_penalty"]
    return logits


def short(value):
    """The fewest digits that read as the same number of 32 bits."""
    if isinstance(value, dict):
        return {key: short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [short(one) for one in value]
    if isinstance(value, float) and f32(value) == value:
        return next(one for one in (float(f"{value:.{digits}g}") for digits in range(1, 10))
                    if f32(one) == value)
    return value


class TooClose(Exception):
    pass


def apart(a, b):
    if abs(a - b) < MARGIN:
        raise TooClose


def top_p_mask(logprobs, p):
    if not 0 < p < 1:
        return logprobs
    order = sorted(range(len(logprobs)), key=lambda i: logprobs[i])
    total, out = 0.0, list(logprobs)
    for i in order:
        total += math.exp(logprobs[i])
        apart(total, 1 - p)
        if not total > 1 - p:
            out[i] = -math.inf
    return out


def min_p_mask(logprobs, p, keep):
    if p == 0:
        return logprobs
    floor = max(logprobs) + math.log(p)
    order = sorted(range(len(logprobs)), key=lambda i: -logprobs[i])
    kept = set(order[:keep]) if keep > 1 else set()
    out = list(logprobs)
    for i, value in enumerate(logprobs):
        if value > -math.inf:
            apart(value, floor)
        if value < floor and i not in kept:
            out[i] = -math.inf
    return out


def top_k_mask(logprobs, k):
    if k == 0 or k >= len(logprobs):
        return logprobs
    kept = set(sorted(range(len(logprobs)), key=lambda i: -logprobs[i])[:k])
    return [v if i in kept else -math.inf for i, v in enumerate(logprobs)]


def drawn(logprobs, temperature, uniforms):
    """The largest of log weight plus a Gumbel number, as mlx draws."""
    scores = [v / temperature - math.log(-math.log1p(-u)) for v, u in zip(logprobs, uniforms)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    apart(scores[order[0]], scores[order[1]])
    return order[0]


def answers(case):
    logits = processed(case)
    for a, b in zip(sorted(logits), sorted(logits)[1:]):
        apart(a, b)
    sum_log = max(logits) + math.log(sum(math.exp(v - max(logits)) for v in logits))
    logprobs = [v - sum_log for v in logits]
    order = sorted(range(len(logits)), key=lambda i: -logprobs[i])
    kept = top_p_mask(logprobs, case["top_p"])
    kept = min_p_mask(kept, case["min_p"], case["min_keep"])
    kept = top_k_mask(kept, case["top_k"])
    ids = []
    for seed in range(SEEDS):
        if case["temperature"] == 0:
            ids.append(order[0])
        else:
            us = [uniform(seed, case["choice"], len(case["answer"]), i)
                  for i in range(len(kept))]
            ids.append(drawn(kept, case["temperature"], us))
    return dict(ids=ids, kept=sorted(i for i, v in enumerate(kept) if v > -math.inf),
                top=[[i, round(logprobs[i], 6)] for i in order[:5]])


def problem(r):
    rows = r.randint(6, 40)
    pick = lambda *values: f32(r.choice(values))
    history = lambda n: [r.randrange(rows) for _ in range(r.randint(0, n))]
    return dict(
        logits=[f32(round(r.gauss(0, 3), 3)) for _ in range(rows)],
        temperature=pick(0, 0.3, 0.7, 1, 1.6), top_p=pick(1, 1, 0.3, 0.8, 0.95),
        min_p=pick(0, 0, 0.02, 0.2), min_keep=r.choice([1, 1, 3]), top_k=r.choice([0, 0, 1, 4, 15]),
        repetition_penalty=pick(1, 1, 1.3, 0.8), repetition_window=r.choice([0, 3, 20]),
        presence_penalty=pick(0, 0, 0.7, -0.5), frequency_penalty=pick(0, 0, 0.4),
        logit_bias=[[t, pick(-5, 3, 100)] for t in r.sample(range(rows), r.choice([0, 0, 2]))],
        prompt=history(12), answer=history(30), choice=r.choice([0, 0, 3]))


def main():
    r = random.Random(11)
    cases = []
    while len(cases) < COUNT:
        case = problem(r)
        try:
            case["expected"] = answers(case)
        except TooClose:
            continue
        cases.append(case)
    print("[" + ",\n".join(json.dumps(short(case), separators=(",", ":")) for case in cases) + "]")


if __name__ == "__main__":
    main()
