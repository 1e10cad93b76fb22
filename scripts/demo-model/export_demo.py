#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn the trained weights into an MLX-format model directory.

usage: export_demo.py TRAINED.safetensors TOKENIZERDIR TEMPLATE OUTDIR [BITS|bf16]
"""

import json, shutil, sys
from pathlib import Path
import mlx.core as mx
from mlx_lm.models.qwen3 import Model, ModelArgs
from mlx_lm.utils import quantize_model, save_config, save_model

src, tokdir, tmpl, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
bits = sys.argv[5] if len(sys.argv) > 5 else "4"
tok = json.loads((tokdir / "tokenizer.json").read_text())
eos = next(a["id"] for a in tok["added_tokens"] if a["content"] == "<|im_end|>")
pad = next(a["id"] for a in tok["added_tokens"] if a["content"] == "<|endoftext|>")
cfg = dict(
    model_type="qwen3",
    architectures=["Qwen3ForCausalLM"],
    hidden_size=192,
    num_hidden_layers=5,
    intermediate_size=512,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=32,
    rms_norm_eps=1e-6,
    vocab_size=2048,
    rope_theta=10000.0,
    rope_scaling=None,
    max_position_embeddings=1024,
    attention_bias=False,
    attention_dropout=0.0,
    hidden_act="silu",
    tie_word_embeddings=True,
    torch_dtype="bfloat16",
    use_cache=True,
    use_sliding_window=False,
    bos_token_id=pad,
    eos_token_id=eos,
)
w = mx.load(src)
model = Model(ModelArgs.from_dict(cfg))
model.load_weights(list(w.items()))
model.eval()
if bits != "bf16":
    model, cfg = quantize_model(model, cfg, 64, int(bits))
if out.exists():
    shutil.rmtree(out)
save_model(out, model)
save_config(cfg, out / "config.json")
(out / "tokenizer.json").write_text(
    json.dumps(tok, ensure_ascii=False, separators=(",", ":")) + "\n"
)
t = json.loads((tokdir / "tokenizer_config.json").read_text())
t.update(
    eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=1024, add_bos_token=False
)
(out / "tokenizer_config.json").write_text(json.dumps(t, indent=1, ensure_ascii=False))
shutil.copy(tmpl, out / "chat_template.jinja")
(out / "generation_config.json").write_text(
    json.dumps(
        dict(
            bos_token_id=pad,
            eos_token_id=[eos, pad],
            pad_token_id=pad,
            do_sample=True,
            temperature=0.7,
            top_k=20,
            top_p=0.9,
        ),
        indent=1,
    )
)
print(
    {p.name: p.stat().st_size for p in sorted(out.iterdir())},
    sum(p.stat().st_size for p in out.iterdir()),
)
