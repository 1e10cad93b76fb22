#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Qwen3 model of random 4-bit weights in the MLX layout, for measurements of loading.

usage: scripts/bars/random_model.py DIRECTORY [--layers N] [--hidden N] [--intermediate N]
                                              [--vocab N]

The standard shape is that of Qwen3-0.6B.  There is no tokenizer: nothing can be asked of it.
"""
import argparse
import json
import os
import struct

GROUP = 64
BITS = 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--intermediate", type=int, default=3072)
    parser.add_argument("--vocab", type=int, default=151936)
    return parser.parse_args()


def quantised(name, rows, columns):
    """The three tensors of one matrix: name, type, shape."""
    yield f"{name}.weight", "U32", [rows, columns * BITS // 32]
    yield f"{name}.scales", "BF16", [rows, columns // GROUP]
    yield f"{name}.biases", "BF16", [rows, columns // GROUP]


def tensors(shape, heads, kv_heads, head_dim):
    yield from quantised("model.embed_tokens", shape.vocab, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        attention = f"{prefix}.self_attn"
        yield f"{prefix}.input_layernorm.weight", "BF16", [shape.hidden]
        yield f"{prefix}.post_attention_layernorm.weight", "BF16", [shape.hidden]
        yield f"{attention}.q_norm.weight", "BF16", [head_dim]
        yield f"{attention}.k_norm.weight", "BF16", [head_dim]
        yield from quantised(f"{attention}.q_proj", heads * head_dim, shape.hidden)
        yield from quantised(f"{attention}.k_proj", kv_heads * head_dim, shape.hidden)
        yield from quantised(f"{attention}.v_proj", kv_heads * head_dim, shape.hidden)
        yield from quantised(f"{attention}.o_proj", shape.hidden, heads * head_dim)
        yield from quantised(f"{prefix}.mlp.gate_proj", shape.intermediate, shape.hidden)
        yield from quantised(f"{prefix}.mlp.up_proj", shape.intermediate, shape.hidden)
        yield from quantised(f"{prefix}.mlp.down_proj", shape.hidden, shape.intermediate)
    yield "model.norm.weight", "BF16", [shape.hidden]


def main():
    shape = arguments()
    heads, kv_heads, head_dim = 16, 8, 128
    os.makedirs(shape.directory, exist_ok=True)
    header = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, kind, extent in tensors(shape, heads, kv_heads, head_dim):
        size = {"U32": 4, "BF16": 2}[kind]
        for length in extent:
            size *= length
        header[name] = {"dtype": kind, "shape": extent, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(shape.directory, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, offset, 1 << 24):
            file.write(os.urandom(min(1 << 24, offset - start)))
    config = {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_dim, "vocab_size": shape.vocab,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "max_position_embeddings": 40960,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "quantization": {"group_size": GROUP, "bits": BITS},
    }
    with open(os.path.join(shape.directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)


if __name__ == "__main__":
    main()
