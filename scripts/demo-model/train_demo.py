#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train a tiny Qwen3-architecture chat model on the synthetic corpus.

usage: train_demo.py TOKENIZER.json OUT.safetensors MINUTES [THREADS [INIT.safetensors]]

With INIT it goes on from those weights, quantising all along.
The last third of the run quantises the weights on the fly (4 bits, groups of 64, straight-through),
so that the 4-bit conversion loses almost nothing.
"""

import json, math, random, sys, time
from pathlib import Path
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
from tokenizers import Tokenizer
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
import gen_corpus

CFG = dict(
    hidden_size=192,
    num_hidden_layers=5,
    intermediate_size=512,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=32,
    rms_norm_eps=1e-6,
    vocab_size=2048,
    rope_theta=10000.0,
)
QAT = False


def fake_quant(w, bits=4, g=64):
    """mlx's affine rule: the end of the range that is farther from 0 is represented exactly."""
    x = w.reshape(-1, g)
    hi, lo = x.max(1, keepdim=True)[0], x.min(1, keepdim=True)[0]
    n = 2**bits - 1
    mask = lo.abs() > hi.abs()
    s = ((hi - lo) / n).clamp_min(1e-7)
    s = torch.where(mask, s, -s)
    edge = torch.where(mask, lo, hi)
    q0 = torch.round(edge / s)
    s = torch.where(q0 != 0, edge / q0, s)
    b = torch.where(q0 == 0, torch.zeros_like(edge), edge)
    s, b = s.bfloat16().float(), b.bfloat16().float()
    q = torch.clamp(torch.round((x - b) / s), 0, n)
    return w + ((q * s + b).reshape(w.shape) - w).detach()


class QLinear(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i) * 0.02)

    def forward(self, x):
        return F.linear(x, fake_quant(self.weight) if QAT else self.weight)


class Norm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, CFG["rms_norm_eps"])


class Attn(nn.Module):
    def __init__(self):
        super().__init__()
        c = CFG
        h, H, K, D = (
            c["hidden_size"],
            c["num_attention_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
        )
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            QLinear(h, H * D),
            QLinear(h, K * D),
            QLinear(h, K * D),
            QLinear(H * D, h),
        )
        self.q_norm, self.k_norm = Norm(D), Norm(D)

    def forward(self, x, cos, sin, bias):
        B, L, _ = x.shape
        D = CFG["head_dim"]
        q = self.q_norm(self.q_proj(x).view(B, L, -1, D)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(B, L, -1, D)).transpose(1, 2)
        v = self.v_proj(x).view(B, L, -1, D).transpose(1, 2)

        def rot(t):
            a, b = t.chunk(2, -1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

        r = q.shape[1] // k.shape[1]
        q, k = rot(q).to(v.dtype), rot(k).to(v.dtype)
        # written out: the fused CPU attention spends three times as long going backwards
        q = (q * D**-0.5).view(B, -1, r * L, D)
        s = (q @ k.transpose(-1, -2)).view(B, -1, L, L) + bias
        o = (s.softmax(-1, dtype=torch.float32).to(v.dtype).view(B, -1, r * L, L) @ v).view(
            B, -1, L, D
        )
        return self.o_proj(o.transpose(1, 2).reshape(B, L, -1))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        h, f = CFG["hidden_size"], CFG["intermediate_size"]
        self.gate_proj, self.up_proj, self.down_proj = QLinear(h, f), QLinear(h, f), QLinear(f, h)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn, self.mlp = Attn(), MLP()
        self.input_layernorm, self.post_attention_layernorm = Norm(CFG["hidden_size"]), Norm(
            CFG["hidden_size"]
        )

    def forward(self, x, cos, sin, bias):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, bias)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(CFG["vocab_size"], CFG["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Block() for _ in range(CFG["num_hidden_layers"]))
        self.norm = Norm(CFG["hidden_size"])
        for n, p in self.named_parameters():
            if n.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * CFG["num_hidden_layers"]))

    def forward(self, ids, where):
        D = CFG["head_dim"]
        inv = 1.0 / CFG["rope_theta"] ** (torch.arange(0, D, 2).float() / D)
        th = torch.arange(ids.shape[1]).float()[:, None] * inv
        w = fake_quant(self.embed_tokens.weight) if QAT else self.embed_tokens.weight
        x = F.embedding(ids, w)
        cos, sin = th.cos(), th.sin()
        bias = torch.full((ids.shape[1], ids.shape[1]), -1e9, dtype=torch.bfloat16).triu(1)
        for b in self.layers:
            x = b(x, cos, sin, bias)
        x = self.norm(x)[where]  # logits only where a loss is taken
        return F.linear(x, w)


def encode(tok, d):
    """ChatML; the loss covers what the assistant says and its end marker."""
    ids, mask = [], []
    for m in d:
        head = tok.encode(f"<|im_start|>{m['role']}\n", add_special_tokens=False).ids
        body = tok.encode(m["content"] + "<|im_end|>", add_special_tokens=False).ids
        tail = tok.encode("\n", add_special_tokens=False).ids
        on = m["role"] == "assistant"
        ids += head + body + tail
        mask += [0] * len(head) + [int(on)] * len(body) + [0] * len(tail)
    return ids, mask


def batches(tok, seed, tokens_per_batch, n_dialogues):
    """Endless batches of dialogues of similar length."""
    rnd = random.Random(seed)
    while True:
        data = [encode(tok, d) for d in gen_corpus.generate(rnd.randrange(1 << 30), n_dialogues)]
        data = [d for d in data if len(d[0]) <= 384]
        data.sort(key=lambda d: len(d[0]))
        out, i = [], 0
        while i < len(data):
            j = i
            while j < len(data) and len(data[j][0]) * (j - i + 1) <= tokens_per_batch:
                j += 1
            out.append(data[i:j])
            i = j
        rnd.shuffle(out)
        for b in out:
            L = max(len(x) for x, _ in b)
            ids = torch.zeros(len(b), L, dtype=torch.long)
            tgt = torch.full((len(b), L), -100)
            for k, (x, m) in enumerate(b):
                ids[k, : len(x)] = torch.tensor(x)
                t = torch.tensor(x[1:])
                mm = torch.tensor(m[1:]).bool()
                tgt[k, : len(x) - 1][mm] = t[mm]
            yield ids, tgt


def main():
    global QAT
    tok = Tokenizer.from_file(sys.argv[1])
    out = sys.argv[2]
    minutes = float(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 2)
    torch.manual_seed(0)
    m = Model()
    init = sys.argv[5] if len(sys.argv) > 5 else None
    peak = 3e-3
    if init:
        m.load_state_dict({k.removeprefix("model."): v.float() for k, v in load_file(init).items()})
        peak = 8e-4
    print("parameters", sum(p.numel() for p in m.parameters()))
    decay = [p for p in m.parameters() if p.ndim > 1]
    rest = [p for p in m.parameters() if p.ndim == 1]
    opt = torch.optim.AdamW(
        [dict(params=decay, weight_decay=0.05), dict(params=rest, weight_decay=0.0)],
        lr=3e-3,
        betas=(0.9, 0.97),
        fused=True,
    )
    t0, seen, step, ema, last = time.time(), 0, 0, None, 0
    total = minutes * 60
    for ids, tgt in batches(tok, 2 if init else 1, 3072, 3000):
        el = time.time() - t0
        if el > total:
            break
        f = el / total  # the schedule follows the clock
        lr = (
            peak
            * min(1.0, (step + 1) / (20 if init else 100))
            * (0.5 * (1 + math.cos(math.pi * f)) * 0.98 + 0.02)
        )
        for g in opt.param_groups:
            g["lr"] = lr
        QAT = f > 0.66 or init is not None
        where = tgt != -100
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = m(ids, where)
        loss = F.cross_entropy(logits.float(), tgt[where])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        seen += ids.numel()
        step += 1
        ema = loss.item() if ema is None else 0.98 * ema + 0.02 * loss.item()
        if el - last > 20:
            last = el
            print(
                f"{el:6.0f}s step {step} tokens {seen} ({seen / el:.0f}/s) "
                f"loss {ema:.4f} lr {lr:.2e} qat {QAT}",
                flush=True,
            )
    sd = {
        "model." + k: v.detach().to(torch.bfloat16).contiguous() for k, v in m.state_dict().items()
    }
    save_file(sd, out, metadata={"format": "pt"})
    print(f"done: {time.time() - t0:.0f} s, {step} steps, {seen} tokens, loss {ema:.4f}")
    # held-out loss
    m.eval()
    QAT = True
    tot = n = 0
    with torch.no_grad():
        for k, (ids, tgt) in enumerate(batches(tok, 999, 3072, 300)):
            if k == 12:
                break
            where = tgt != -100
            l = F.cross_entropy(m(ids, where).float(), tgt[where], reduction="sum")
            tot += l.item()
            n += int(where.sum())
    print(f"held-out loss with 4-bit weights (f32 compute) {tot / n:.4f}")


if __name__ == "__main__":
    main()
