#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The side of scripts/bench that is llama.cpp, run by the Python it is installed for.

usage: bench_llama.py make FILE FORMAT CONFIG_JSON   a GGUF of random weights in our model's shape
       bench_llama.py run FILE FIGURES_JSON         one measurement; prints JSON

FORMAT is q4_0, q4_1 or q4_k: every matrix in it, the embedding too, and the head where it is one of
its own; routers stay f32, as llama.cpp keeps them.  FIGURES_JSON has threads, decode, prompts,
contexts and batches.
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
ARCHITECTURES = {"qwen3": "qwen3", "llama": "llama", "qwen3_moe": "qwen3moe", "qwen3_5": "qwen35"}
SHORT_PROMPT = 16  # as ours, before a batch


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


class Maker:
    """Writes the tensors of one model."""

    def __init__(self, path, name, config):
        import gguf

        self.name, self.config = name, config
        self.kind = getattr(gguf.GGMLQuantizationType, FORMATS[name][0])
        self.generator = numpy.random.default_rng(20)
        self.writer = gguf.GGUFWriter(path, ARCHITECTURES[config["model_type"]])

    def matrix(self, tensor, rows, columns):
        self.writer.add_tensor(tensor + ".weight",
                               blocks(self.generator, rows, columns, self.name),
                               raw_dtype=self.kind)

    def stack(self, tensor, count, rows, columns):
        all_rows = blocks(self.generator, count * rows, columns, self.name)
        self.writer.add_tensor(tensor + ".weight", all_rows.reshape(count, rows, -1),
                               raw_dtype=self.kind)

    def vector(self, tensor, shape, value=1.0):
        self.writer.add_tensor(tensor, numpy.full(shape, value, dtype=numpy.float32))

    def attention(self, block, gated):
        config = self.config
        hidden, head = config["hidden_size"], config["head_dim"]
        queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
        if config["model_type"] != "llama":
            self.vector(block + "attn_q_norm.weight", head)
            self.vector(block + "attn_k_norm.weight", head)
        self.matrix(block + "attn_q", 2 * queries if gated else queries, hidden)
        self.matrix(block + "attn_k", keys, hidden)
        self.matrix(block + "attn_v", keys, hidden)
        self.matrix(block + "attn_output", hidden, queries)

    def delta(self, block):
        config = self.config
        hidden, heads = config["hidden_size"], config["linear_num_value_heads"]
        width = heads * config["linear_value_head_dim"]
        channels = width + 2 * config["linear_num_key_heads"] * config["linear_key_head_dim"]
        self.matrix(block + "attn_qkv", channels, hidden)
        self.matrix(block + "attn_gate", width, hidden)
        self.matrix(block + "ssm_alpha", heads, hidden)
        self.matrix(block + "ssm_beta", heads, hidden)
        self.matrix(block + "ssm_out", hidden, width)
        self.vector(block + "ssm_conv1d.weight", (channels, config["linear_conv_kernel_dim"]), 0.25)
        self.vector(block + "ssm_dt.bias", heads, 0.5)
        self.vector(block + "ssm_a", heads, -0.37)
        self.vector(block + "ssm_norm.weight", config["linear_value_head_dim"])

    def feed_forward(self, block):
        config = self.config
        hidden, ffn = config["hidden_size"], config["intermediate_size"]
        if config["model_type"] != "qwen3_moe":
            self.matrix(block + "ffn_gate", ffn, hidden)
            self.matrix(block + "ffn_up", ffn, hidden)
            self.matrix(block + "ffn_down", hidden, ffn)
            return
        experts, width = config["num_experts"], config["moe_intermediate_size"]
        self.vector(block + "ffn_gate_inp.weight", (experts, hidden), 0.0)
        self.stack(block + "ffn_gate_exps", experts, width, hidden)
        self.stack(block + "ffn_up_exps", experts, width, hidden)
        self.stack(block + "ffn_down_exps", experts, hidden, width)

    def keys(self):
        config, writer = self.config, self.writer
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_context_length(40960)
        writer.add_embedding_length(config["hidden_size"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_vocab_size(config["vocab_size"])
        writer.add_tokenizer_model("none")
        part = 4 if config["model_type"] == "qwen3_5" else 1
        writer.add_rope_dimension_count(config["head_dim"] // part)
        writer.add_rope_freq_base(1e6)
        if config["model_type"] == "qwen3_moe":
            writer.add_expert_count(config["num_experts"])
            writer.add_expert_used_count(config["num_experts_per_tok"])
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        if config["model_type"] == "qwen3_5":
            heads = config["linear_num_value_heads"]
            sections = config["head_dim"] // 8
            writer.add_rope_dimension_sections([sections - 2 * (sections // 3), sections // 3,
                                                sections // 3, 0])
            writer.add_ssm_conv_kernel(config["linear_conv_kernel_dim"])
            writer.add_ssm_state_size(config["linear_key_head_dim"])
            writer.add_ssm_group_count(config["linear_num_key_heads"])
            writer.add_ssm_time_step_rank(heads)
            writer.add_ssm_inner_size(heads * config["linear_value_head_dim"])
            writer.add_full_attention_interval(config["full_attention_interval"])

    def make(self):
        config, writer = self.config, self.writer
        hidden = config["hidden_size"]
        is_hybrid = config["model_type"] == "qwen3_5"
        self.keys()
        self.matrix("token_embd", config["vocab_size"], hidden)
        if not config["tie_word_embeddings"]:
            self.matrix("output", config["vocab_size"], hidden)
        self.vector("output_norm.weight", hidden)
        for i in range(config["num_hidden_layers"]):
            block = f"blk.{i}."
            self.vector(block + "attn_norm.weight", hidden)
            self.vector(block + ("post_attention_norm" if is_hybrid else "ffn_norm") + ".weight",
                        hidden)
            if is_hybrid and (i + 1) % config["full_attention_interval"] != 0:
                self.delta(block)
            else:
                self.attention(block, is_hybrid)
            self.feed_forward(block)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def bytes_a_token(path, config):
    """Every tensor is read once for a token, of the experts the chosen ones; the embedding counts
    where it is the head."""
    import gguf

    total = 0
    for tensor in gguf.GGUFReader(path).tensors:
        if "_exps." in tensor.name:
            total += int(tensor.n_bytes) * config["num_experts_per_tok"] // config["num_experts"]
        elif tensor.name != "token_embd.weight" or config["tie_word_embeddings"]:
            total += int(tensor.n_bytes)
    return total


def resident():
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


class Runner:
    """One model in llama.cpp."""

    def __init__(self, path, figures):
        import llama_cpp as library

        self.library, self.figures = library, figures
        self.before = resident()
        # Kept, or it would be collected while it is called.
        self.silent = library.llama_log_callback(lambda level, text, user: None)
        library.llama_log_set(self.silent, ctypes.c_void_p(0))
        library.llama_backend_init()
        start = time.perf_counter()
        model = library.llama_model_load_from_file(path.encode(),
                                                   library.llama_model_default_params())
        if not model:
            sys.exit(f"llama.cpp does not load {path}")
        width = max(figures["batches"], default=1)
        longest = max(figures["prompts"] + figures["contexts"], default=SHORT_PROMPT)
        settings = library.llama_context_default_params()
        settings.n_ctx = (longest + figures["decode"] + 64 +
                          (width - 1) * (SHORT_PROMPT + figures["decode"] + 64))
        settings.n_batch = settings.n_ubatch = 512
        settings.n_seq_max = width
        settings.kv_unified = True
        settings.n_threads = settings.n_threads_batch = figures["threads"]
        self.context = library.llama_init_from_model(model, settings)
        if not self.context:
            sys.exit("llama.cpp makes no context")
        self.load = time.perf_counter() - start
        self.vocab = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))

    def clear(self):
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)

    def decode(self, rows):
        """Rows of (sequence, position); logits of each sequence's last.  Returns the seconds."""
        library = self.library
        batch = library.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (sequence, position) in enumerate(rows):
            batch.token[i] = ((position + 7 * sequence) * 2654435761 + 12345) % self.vocab
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = i + 1 == len(rows) or rows[i + 1][0] != sequence
        start = time.perf_counter()
        code = library.llama_decode(self.context, batch)
        # Reading the logits waits for whatever is still under way.
        logits = library.llama_get_logits_ith(self.context, len(rows) - 1)
        _ = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float))[0]
        took = time.perf_counter() - start
        library.llama_batch_free(batch)
        if code != 0:
            sys.exit(f"llama_decode answered {code}")
        return took

    def prompt(self, length, sequence=0):
        return sum(self.decode([(sequence, at) for at in range(i, min(i + 512, length))])
                   for i in range(0, length, 512))

    def figures_of_prompts(self):
        rows = []
        for length in self.figures["prompts"]:
            self.clear()
            took = self.prompt(length)
            rows.append({"tokens": length, "tokens_per_second": length / took,
                         "first_token_seconds": took})
        return rows

    def figures_of_decodes(self):
        rows, count = [], self.figures["decode"]
        for length in self.figures["contexts"]:
            self.clear()
            self.prompt(length)
            took = sum(self.decode([(0, length + i)]) for i in range(count))
            rows.append({"after_tokens": length, "tokens_per_second": count / took})
        return rows

    def figures_of_batches(self):
        rows, count = [], self.figures["decode"]
        for width in self.figures["batches"]:
            self.clear()
            for sequence in range(width):
                self.prompt(SHORT_PROMPT, sequence)
            took = sum(self.decode([(sequence, SHORT_PROMPT + i) for sequence in range(width)])
                       for i in range(count))
            rows.append({"requests": width, "tokens_per_second": width * count / took})
        return rows

    def run(self):
        # Once through, so that the file is in memory, then what counts.
        start = time.perf_counter()
        self.prompt(self.figures["prompts"][0])
        cold = self.load + time.perf_counter() - start
        return {"prompts": self.figures_of_prompts(), "decodes": self.figures_of_decodes(),
                "batches": self.figures_of_batches(), "load_seconds": self.load,
                "cold_first_token_seconds": cold, "resident_bytes": resident() - self.before}


def main():
    arguments = sys.argv[1:]
    if len(arguments) == 4 and arguments[0] == "make" and arguments[2] in FORMATS:
        config = json.loads(arguments[3])
        Maker(arguments[1], arguments[2], config).make()
        print(bytes_a_token(arguments[1], config))
    elif len(arguments) == 3 and arguments[0] == "run":
        print(json.dumps(Runner(arguments[1], json.loads(arguments[2])).run()))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
