#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our engine and llama.cpp side by side, of one shape, in one interleaved run.

usage: scripts/bench --against llama [--json] [--threads N] [--prompt N] [--decode N]
                     [--rounds N] [--formats q4_0,q4_1,q4_k] [--like SHAPE] [--group N]

The Python package of llama.cpp is installed once, from the package registry, into an environment
under the user's cache directory; building it takes some minutes.  Both sides get random weights in
4 bits and as many threads.  A round measures each side once, in a process of its own; the best of
the rounds counts, because whatever else runs on the machine only takes away.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv

PACKAGES = ["llama-cpp-python==0.3.36", "gguf==0.19.0"]
HERE = os.path.dirname(os.path.abspath(__file__))
SIDE = os.path.join(HERE, "bench_llama.py")
ENGINE = os.path.join(os.environ.get("TROUPE_BUILD_DIR", os.path.join(HERE, "..", "build")),
                      "actors", "runner", "engine", "troupe-engine")
FIGURES = ("prompt_tokens_per_second", "decode_tokens_per_second")


def output_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command[:3])} ended with {done.returncode}")
    return done.stdout.decode()


def python_with_llama():
    """The Python of an environment that has the package, made when there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = os.path.join(cache, "troupe", "bench-llama")
    python = os.path.join(directory, "bin", "python")
    imports = [python, "-c", "import gguf, llama_cpp, numpy"]
    if os.path.exists(python) and subprocess.run(imports, stderr=subprocess.DEVNULL,
                                                 check=False).returncode == 0:
        return python
    print(f"installing {' '.join(PACKAGES)} into {directory}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory, with_pip=True)
    environment = dict(os.environ, CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                    *PACKAGES], env=environment, stdin=subprocess.DEVNULL, check=True)
    return python


def shape_of(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    return {"hidden": config["hidden_size"], "layers": config["num_hidden_layers"],
            "intermediate": config["intermediate_size"], "heads": config["num_attention_heads"],
            "kv_heads": config["num_key_value_heads"], "head_dim": config["head_dim"],
            "vocab": config["vocab_size"]}


def measure(arguments, python, work):
    """Figures of every round, by side, and the bytes each reads for a token."""
    ours = os.path.join(work, "ours")
    output_of([ENGINE, "shape", "--like", arguments.like, "--group", str(arguments.group), "--out",
               ours])
    sides, sizes = {}, {}
    for name in arguments.formats:
        path = os.path.join(work, name + ".gguf")
        sizes[name] = int(output_of([python, SIDE, "make", path, name,
                                     json.dumps(shape_of(ours))]))
        sides[name] = [python, SIDE, "run", path, str(arguments.threads), str(arguments.prompt),
                       str(arguments.decode)]
    sides["troupe"] = [ENGINE, "bench", "--json", "--model", ours, "--threads",
                       str(arguments.threads), "--prompt", str(arguments.prompt), "--decode",
                       str(arguments.decode)]
    runs = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, command in sides.items():
            runs[name].append(json.loads(output_of(command)))
    sizes["troupe"] = runs["troupe"][0]["bytes_per_token"]
    return runs, sizes


def summary(arguments, runs, sizes):
    result = {"threads": arguments.threads, "prompt": arguments.prompt,
              "decode": arguments.decode, "rounds": arguments.rounds, "sides": {}}
    for name, some in runs.items():
        side = {"bytes_per_token": sizes[name]}
        for figure in FIGURES:
            values = [run[figure] for run in some]
            side[figure] = max(values)
            side["median_" + figure] = statistics.median(values)
        result["sides"][name] = side
    for key in ("bandwidth_bytes_per_second", "products_per_second"):
        result[key] = max(run[key] for run in runs["troupe"])
    result["products_per_token"] = runs["troupe"][0]["products_per_token"]
    result["kernels"] = runs["troupe"][0]["kernels"]
    ours = result["sides"]["troupe"]
    for name, side in result["sides"].items():
        side["prompt_ratio"] = ours[FIGURES[0]] / side[FIGURES[0]]
        side["decode_ratio"] = ours[FIGURES[1]] / side[FIGURES[1]]
    return result


def show(result):
    print(f"{result['threads']} threads, {result['kernels']} kernels, prompt of "
          f"{result['prompt']}, decode of {result['decode']}, best (median) of "
          f"{result['rounds']} rounds")
    print(f"{'':16}{'MB a token':>11}{'prompt, tokens/s':>22}{'decode, tokens/s':>22}"
          f"{'ours is':>20}")
    for name, side in result["sides"].items():
        label = name if name == "troupe" else "llama.cpp " + name.upper()
        print(f"{label:16}{side['bytes_per_token'] / 1e6:11.1f}"
              f"{side[FIGURES[0]]:12.1f} ({side['median_' + FIGURES[0]]:7.1f})"
              f"{side[FIGURES[1]]:12.1f} ({side['median_' + FIGURES[1]]:7.1f})"
              f"{side['prompt_ratio']:9.2f} x, {side['decode_ratio']:5.2f} x")
    ours = result["sides"]["troupe"]
    limit = result["bandwidth_bytes_per_second"] / ours["bytes_per_token"]
    peak = result["products_per_second"] / result["products_per_token"]
    print(f"memory reads at {result['bandwidth_bytes_per_second'] / 1e9:.1f} GB/s, which allows "
          f"{limit:.0f} tokens/s of decoding: we are at {ours[FIGURES[1]] / limit:.0%}")
    print(f"the cores multiply {result['products_per_second'] / 1e9:.0f} thousand million bytes a "
          f"second, which allows {peak:.0f} tokens/s of a prompt: we are at "
          f"{ours[FIGURES[0]] / peak:.0%}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --against llama", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", choices=["llama"], required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", type=lambda text: text.split(","),
                        default=["q4_0", "q4_1", "q4_k"])
    parser.add_argument("--like", default="qwen3-0.6b")
    parser.add_argument("--group", type=int, default=64)
    arguments = parser.parse_args()
    python = python_with_llama()
    with tempfile.TemporaryDirectory() as work:
        result = summary(arguments, *measure(arguments, python, work))
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
