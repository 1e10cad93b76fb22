#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our engine and llama.cpp side by side, of one shape after the other, in one interleaved run.

usage: scripts/bench --against llama [--shape NAME,... | --all] [--layers N] [--json] [--threads N]
                     [--prompt N,...] [--context N,...] [--batch N,...] [--decode N]
                     [--rounds N] [--formats q4_0,q4_1,q4_k] [--group N]

The Python package of llama.cpp is installed once, from the package registry, into an environment
under the user's cache directory; building it takes some minutes.  Both sides get random weights in
4 bits and as many threads.  A round measures each side once, in a process of its own; the best of
the rounds counts, because whatever else runs on the machine only takes away.  Of llama.cpp's memory
what Python had before is taken away.
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
SHAPES = ["qwen3-0.6b", "qwen3-4b", "qwen3.5-2b", "llama-3.2-1b", "qwen3-30b-a3b"]
CUT = {"qwen3-30b-a3b": 8}  # layers that fit
FIGURES = ("prompt_tokens_per_second", "decode_tokens_per_second")
LISTS = {"prompts": "tokens", "decodes": "after_tokens", "batches": "requests"}


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


def config_of(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        return json.load(file)


def measure(arguments, python, shape, layers, work):
    """Figures of every round, by side, and the bytes each reads for a token."""
    ours = os.path.join(work, "ours")
    output_of([ENGINE, "shape", "--like", shape, "--group", str(arguments.group), "--out", ours,
               *(["--layers", str(layers)] if layers else [])])
    figures = json.dumps({"threads": arguments.threads, "decode": arguments.decode,
                          "prompts": arguments.prompt, "contexts": arguments.context,
                          "batches": arguments.batch})
    sides, sizes = {}, {}
    for name in arguments.formats:
        path = os.path.join(work, name + ".gguf")
        sizes[name] = int(output_of([python, SIDE, "make", path, name,
                                     json.dumps(config_of(ours))]))
        sides[name] = [python, SIDE, "run", path, figures]
    sides["troupe"] = [ENGINE, "bench", "--json", "--model", ours, "--threads",
                       str(arguments.threads), "--decode", str(arguments.decode)]
    for option in ("prompt", "context", "batch"):
        values = getattr(arguments, option)
        sides["troupe"] += ["--" + option, ",".join(map(str, values))] if values else []
    runs = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, command in sides.items():
            runs[name].append(json.loads(output_of(command)))
    sizes["troupe"] = runs["troupe"][0]["bytes_per_token"]
    return runs, sizes


def side_of(runs, size):
    """The best of the rounds, and the median, of one side."""
    side = {"bytes_per_token": size}
    for name, key in LISTS.items():
        side[name] = []
        for i, first in enumerate(runs[0][name]):
            rates = [run[name][i]["tokens_per_second"] for run in runs]
            row = {key: first[key], "tokens_per_second": max(rates),
                   "median_tokens_per_second": statistics.median(rates)}
            if name == "prompts":
                row["first_token_seconds"] = min(run[name][i]["first_token_seconds"]
                                                 for run in runs)
            side[name].append(row)
    for figure, name in zip(FIGURES, LISTS):
        side[figure] = side[name][0]["tokens_per_second"]
        side["median_" + figure] = side[name][0]["median_tokens_per_second"]
    for figure in ("load_seconds", "cold_first_token_seconds", "resident_bytes"):
        side[figure] = min(run[figure] for run in runs)
    return side


def summary(arguments, shape, runs, sizes):
    first = runs["troupe"][0]
    result = {"shape": shape, "layers": first["layers"], "threads": arguments.threads,
              "prompt": arguments.prompt[0], "decode": arguments.decode,
              "rounds": arguments.rounds, "sides": {}}
    for name, some in runs.items():
        result["sides"][name] = side_of(some, sizes[name])
    for key in ("bandwidth_bytes_per_second", "products_per_second"):
        result[key] = max(run[key] for run in runs["troupe"])
    result["products_per_token"] = first["products_per_token"]
    result["kernels"] = first["kernels"]
    ours = result["sides"]["troupe"]
    for name, side in result["sides"].items():
        side["prompt_ratio"] = ours[FIGURES[0]] / side[FIGURES[0]]
        side["decode_ratio"] = ours[FIGURES[1]] / side[FIGURES[1]]
    return result


def label_of(name):
    return name if name == "troupe" else "llama.cpp " + name.upper()


def show_figures(sides, title, values, unit):
    """One figure of all sides in a row; `values` gives a side's."""
    ours = values(sides["troupe"])
    print(f"  {title:28}" + "".join(
        f"{values(side):12.1f}{unit}" + (" " * 9 if name == "troupe" else
                                         f" ({ours / values(side):5.2f}x)")
        for name, side in sides.items()))


def show(result):
    order = ["troupe", *(name for name in result["sides"] if name != "troupe")]
    sides = {name: result["sides"][name] for name in order}
    ours = sides["troupe"]
    print(f"== {result['shape']}, {result['layers']} layers, {result['threads']} threads, "
          f"{result['kernels']} kernels, best of {result['rounds']} rounds; tokens/s, and how many "
          "times theirs ours is")
    print(" " * 30 + "".join(f"{label_of(name):>22}" for name in sides))
    for name, text in (("prompts", "prompt of"), ("decodes", "decode after"),
                       ("batches", "requests at once:")):
        for i, row in enumerate(ours[name]):
            show_figures(sides, f"{text} {row[LISTS[name]]}",
                         lambda side, name=name, i=i: side[name][i]["tokens_per_second"], " ")
    show_figures(sides, "MB of weights a token", lambda side: side["bytes_per_token"] / 1e6, " ")
    show_figures(sides, "load, ms", lambda side: side["load_seconds"] * 1e3, " ")
    show_figures(sides, "load and first token, ms",
                 lambda side: side["cold_first_token_seconds"] * 1e3, " ")
    show_figures(sides, "resident, MB", lambda side: side["resident_bytes"] / 1e6, " ")
    limit = result["bandwidth_bytes_per_second"] / ours["bytes_per_token"]
    peak = result["products_per_second"] / result["products_per_token"]
    print(f"memory reads at {result['bandwidth_bytes_per_second'] / 1e9:.1f} GB/s, which allows "
          f"{limit:.1f} tokens/s of decoding: we are at {ours[FIGURES[1]] / limit:.0%}")
    print(f"the cores multiply {result['products_per_second'] / 1e9:.0f} thousand million bytes a "
          f"second, which allows {peak:.0f} tokens/s of a prompt: we are at "
          f"{max(row['tokens_per_second'] for row in ours['prompts']) / peak:.0%}", flush=True)


def numbers(text):
    return [int(number) for number in text.split(",")]


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --against llama", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", choices=["llama"], required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=numbers, default=[512])
    parser.add_argument("--context", type=numbers)
    parser.add_argument("--batch", type=numbers, default=[])
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", type=lambda text: text.split(","),
                        default=["q4_0", "q4_1", "q4_k"])
    parser.add_argument("--shape", "--like", type=lambda text: text.split(","),
                        default=SHAPES[:1])
    parser.add_argument("--all", action="store_const", const=SHAPES, dest="shape")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--group", type=int, default=64)
    arguments = parser.parse_args()
    arguments.context = arguments.context or arguments.prompt[:1]
    python = python_with_llama()
    for shape in arguments.shape:
        layers = arguments.layers or CUT.get(shape)
        with tempfile.TemporaryDirectory() as work:
            result = summary(arguments, shape, *measure(arguments, python, shape, layers, work))
        if arguments.json:
            print(json.dumps(result), flush=True)
        else:
            show(result)


if __name__ == "__main__":
    main()
