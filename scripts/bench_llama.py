#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The side of scripts/bench that is llama.cpp, run by the Python it is installed for.

usage: bench_llama.py make FILE FORMAT SHAPE_JSON   a GGUF of random weights
       bench_llama.py run FILE THREADS PROMPT DECODE  one measurement; prints JSON
       bench_llama.py info FILE                     the bytes it reads for a token

FORMAT is q4_0, q4_1 or q4_k: every matrix in it, the embedding too, which is also the head.
"""
import ctypes
import json
import sys
import time

import numpy

# Bytes and elements of a block, where its scales (f16) lie, and what a scale of one is worth:
# the standard deviation of an element.
FORMATS = {
    "q4_0": ("Q4_0", 18, 32, (0,), 4.6),
    "q4_1": ("Q4_1", 20, 32, (0,), 4.6),
    "q4_k": ("Q4_K", 144, 256, (0, 2), 160.0),
}


def blocks(generator, rows, columns, name):
    """A matrix of random codes whose outputs keep the size of the inputs."""
    _, size, elements, scales, deviation = FORMATS[name]
    count = rows * columns // elements
    matrix = generator.integers(0, 256, size=(count, size), dtype=numpy.uint8)
    scale = numpy.array([1.0 / (deviation * columns ** 0.5)], dtype=numpy.float16)
    for at in scales:
        matrix[:, at:at + 2] = scale.view(numpy.uint8)
    if name == "q4_1":
        minimum = numpy.array([-7.5 * float(scale[0])], dtype=numpy.float16)
        matrix[:, 2:4] = minimum.view(numpy.uint8)
    return matrix.reshape(rows, -1)


def make(path, name, shape):
    import gguf

    kind = getattr(gguf.GGMLQuantizationType, FORMATS[name][0])
    generator = numpy.random.default_rng(20)
    hidden, layers, ffn = shape["hidden"], shape["layers"], shape["intermediate"]
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(layers)
    writer.add_context_length(40960)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(shape["vocab"])
    writer.add_tokenizer_model("none")

    def matrix(tensor, rows, columns):
        writer.add_tensor(tensor + ".weight", blocks(generator, rows, columns, name),
                          raw_dtype=kind)

    def norm(tensor, columns):
        writer.add_tensor(tensor + ".weight", numpy.ones(columns, dtype=numpy.float32))

    matrix("token_embd", shape["vocab"], hidden)
    norm("output_norm", hidden)
    for i in range(layers):
        block = f"blk.{i}."
        norm(block + "attn_norm", hidden)
        norm(block + "ffn_norm", hidden)
        norm(block + "attn_q_norm", shape["head_dim"])
        norm(block + "attn_k_norm", shape["head_dim"])
        matrix(block + "attn_q", queries, hidden)
        matrix(block + "attn_k", keys, hidden)
        matrix(block + "attn_v", keys, hidden)
        matrix(block + "attn_output", hidden, queries)
        matrix(block + "ffn_gate", ffn, hidden)
        matrix(block + "ffn_up", ffn, hidden)
        matrix(block + "ffn_down", hidden, ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bytes_a_token(path):
    """Every tensor is read once for a token; the embedding as the head."""
    import gguf

    return sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors)


def decode(library, context, tokens, first):
    batch = library.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i] = token
        batch.pos[i] = first + i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = i + 1 == len(tokens)
    start = time.perf_counter()
    code = library.llama_decode(context, batch)
    # Reading the logits waits for whatever is still under way.
    logits = library.llama_get_logits_ith(context, len(tokens) - 1)
    _ = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float))[0]
    took = time.perf_counter() - start
    library.llama_batch_free(batch)
    if code != 0:
        sys.exit(f"llama_decode answered {code}")
    return took


def run(path, threads, prompt, count):
    import llama_cpp as library

    silent = library.llama_log_callback(lambda level, text, user: None)
    library.llama_log_set(silent, ctypes.c_void_p(0))
    library.llama_backend_init()
    model = library.llama_model_load_from_file(path.encode(),
                                               library.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp does not load {path}")
    settings = library.llama_context_default_params()
    settings.n_ctx = prompt + count + 64
    settings.n_batch = settings.n_ubatch = 512
    settings.n_threads = settings.n_threads_batch = threads
    context = library.llama_init_from_model(model, settings)
    if not context:
        sys.exit("llama.cpp makes no context")
    vocab = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    tokens = [(i * 2654435761 + 12345) % vocab for i in range(prompt)]
    took = 0.0
    # Once through, so that the file is in memory, then what counts.
    for _ in range(2):
        library.llama_memory_clear(library.llama_get_memory(context), True)
        took = sum(decode(library, context, tokens[i:i + 512], i) for i in range(0, prompt, 512))
    steps = sum(decode(library, context, [(i * 48271) % vocab], prompt + i) for i in range(count))
    print(json.dumps({"prompt_tokens_per_second": prompt / took,
                      "decode_tokens_per_second": count / steps}))


def main():
    arguments = sys.argv[1:]
    if len(arguments) == 4 and arguments[0] == "make" and arguments[2] in FORMATS:
        make(arguments[1], arguments[2], json.loads(arguments[3]))
        print(bytes_a_token(arguments[1]))
    elif len(arguments) == 2 and arguments[0] == "info":
        print(bytes_a_token(arguments[1]))
    elif len(arguments) == 5 and arguments[0] == "run":
        run(arguments[1], *(int(number) for number in arguments[2:]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
