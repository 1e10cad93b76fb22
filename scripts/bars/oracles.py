# SPDX-License-Identifier: Apache-2.0
"""Reference fixtures and what troupe-engine makes of their prompts, for the bars of the engine.

A directory of fixtures holds models/FAMILY/VARIANT and fixtures/FAMILY__VARIANT.safetensors, or
NAME and NAME.oracle beside each other.  A fixture has four prompts (1, 7, 33 and 150 ids), logits
of the last position, 64 greedy tokens with the margin each won by, and the residual stream after
every layer at the last position of prompt 1.
"""
import argparse
import json
import os
import struct
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ.get("TROUPE_BUILD_DIR", os.path.join(ROOT, "build"))
ENGINE = os.path.join(BUILD, "actors", "runner", "engine", "troupe-engine")
OWN = os.path.join(ROOT, "tests", "engine", "models")
PROMPTS = 4
HIDDEN_PROMPT = 1
# Between two implementations in fp32, and where a recurrence has two formulas (reference: the
# spread of three implementations, times four).
LOGIT_BOUND, LOGIT_BOUND_DELTA = 3e-4, 1e-3
HIDDEN_BOUND, HIDDEN_BOUND_LONG = 1e-4, 3e-4


class Refused(Exception):
    """The engine says why."""


class Fixture:
    def __init__(self, name, model, path):
        self.name, self.model, self.path = name, model, path
        with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.config = {**config, **config.get("text_config", {})}
        self.family = config["model_type"]
        self.tensors = read_tensors(path)
        self.has_delta = "linear_num_key_heads" in self.config
        self.has_latent = bool(self.config.get("kv_lora_rank"))

    @property
    def logit_bound(self):
        return LOGIT_BOUND_DELTA if self.has_delta else LOGIT_BOUND

    @property
    def hidden_bound(self):
        return HIDDEN_BOUND_LONG if self.has_delta or self.has_latent else HIDDEN_BOUND

    def prompt(self, number):
        return self.tensors[f"prompt.{number}"]

    def greedy(self, number):
        return self.tensors[f"greedy.{number}"]

    def margin(self, number):
        return self.tensors.get(f"margin.{number}")

    def last(self, number):
        return self.tensors[f"last.{number}"]

    def hidden(self):
        """A list of the residual stream after each layer."""
        flat = self.tensors[f"hidden.{HIDDEN_PROMPT}"]
        width = self.config["hidden_size"]
        return [flat[i:i + width] for i in range(0, len(flat), width)]

    def has_experts(self):
        names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
        return any(self.config.get(name) for name in names)


def read_tensors(path):
    with open(path, "rb") as file:
        content = file.read()
    size = struct.unpack("<Q", content[:8])[0]
    tensors = {}
    for name, entry in json.loads(content[8:8 + size]).items():
        kind = {"F32": "f", "I32": "i"}.get(entry.get("dtype"))
        if name == "__metadata__" or kind is None:
            continue
        first, end = entry["data_offsets"]
        tensors[name] = struct.unpack("<%d%s" % ((end - first) // 4, kind),
                                      content[8 + size + first:8 + size + end])
    return tensors


def find_fixtures(folder, only=""):
    models = os.path.join(folder, "models")
    found = []
    if os.path.isdir(models):
        for family in sorted(os.listdir(models)):
            for variant in sorted(os.listdir(os.path.join(models, family))):
                path = os.path.join(folder, "fixtures", f"{family}__{variant}.safetensors")
                found.append((f"{family}__{variant}", os.path.join(models, family, variant), path))
    else:
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                found.append((name, path, path + ".oracle"))
    return [Fixture(*one) for one in found if os.path.exists(one[2]) and only in one[0]]


def evaluate(model, ids, options=(), environment=None):
    """What troupe-engine eval answers; raises Refused."""
    command = [ENGINE, "eval", "--json", "--model", model, "--ids", ",".join(map(str, ids)),
               *map(str, options)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900,
                         env={**os.environ, **(environment or {})})
    if run.returncode != 0:
        raise Refused(run.stderr.strip() or f"ended with {run.returncode}")
    return json.loads(run.stdout)


def worst(left, right):
    """The largest difference; infinity where there is one that is no number."""
    if len(left) != len(right):
        return float("inf")
    return max((abs(a - b) if a == a and b == b else float("inf") for a, b in zip(left, right)),
               default=0.0)


def agreed(left, right):
    """How many are equal from the start."""
    for i, (a, b) in enumerate(zip(left, right)):
        if a != b:
            return i
    return min(len(left), len(right))


def build(*targets):
    """What the bar runs, from the present sources."""
    subprocess.run(["ninja", "-C", BUILD, *targets], check=True, stdout=subprocess.DEVNULL)


def parser_of(text):
    """A parser with the options all these bars have."""
    parser = argparse.ArgumentParser(description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", metavar="DIR", default=OWN,
                        help="fixtures (default: those of the tests)")
    parser.add_argument("--only", metavar="TEXT", default="", help="fixtures whose name has it")
    return parser


def fixtures_of(options):
    found = find_fixtures(options.oracles, options.only)
    if not found:
        sys.exit(f"{options.oracles} holds no fixtures")
    build("actors/runner/engine/troupe-engine")
    return found


def end(held, figure):
    print(f"{'held' if held else 'MISSED'}: {figure}")
    sys.exit(0 if held else 1)
