# SPDX-License-Identifier: Apache-2.0
"""What the fuzz bars share: the build with the sanitizers, and drivers run side by side."""
import argparse
import concurrent.futures
import os
import random
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
TOLD = re.compile(r"(\d+) inputs replayed, (\d+) mutations, peak (\d+) MB")


def make_build(directory, wanted):
    """Builds the drivers of these names, or all when there is none, and returns their names."""
    if not os.path.isfile(os.path.join(directory, "build.ninja")):
        subprocess.run(["meson", "setup", directory, ROOT, "-Db_sanitize=address,undefined",
                        "-Db_lundef=false"], check=True, stdout=subprocess.DEVNULL)
    listed = subprocess.run(["ninja", "-C", directory, "-t", "targets", "all"], check=True,
                            capture_output=True, text=True).stdout
    names = sorted(set(re.findall(r"^tests/fuzz/fuzz-([a-z0-9-]+):", listed, re.M)))
    unknown = set(wanted) - set(names)
    if unknown:
        sys.exit(f"no such driver: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = list(wanted) or names
    subprocess.run(["ninja", "-C", directory, *(f"tests/fuzz/fuzz-{name}" for name in chosen)],
                   check=True, stdout=subprocess.DEVNULL)
    return chosen


def run_driver(build, name, options, memory_mb, further):
    corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", name.replace("-", "_"))
    limits = f":hard_rss_limit_mb={memory_mb}:max_allocation_size_mb={memory_mb}" if memory_mb \
        else ""
    environment = {**os.environ, "FUZZ_SECONDS": str(options.seconds),
                   "TROUPE_SEED": str(options.seed), "TROUPE_SOURCE_DIR": ROOT,
                   "FUZZ_CRASH_FILE": f"fuzz-{name}.crash",
                   "ASAN_OPTIONS":
                       "detect_leaks=1:abort_on_error=1:strict_string_checks=1" + limits,
                   "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
                   "LSAN_OPTIONS": f"suppressions={ROOT}/tests/support/lsan.supp"}
    run = subprocess.run([os.path.join(build, "tests", "fuzz", f"fuzz-{name}"), corpus,
                          *(os.path.join(ROOT, folder) for folder in further)],
                         capture_output=True, text=True, errors="replace", check=False,
                         env=environment, timeout=options.seconds * 4 + 180)
    return name, run


def run_bar(description, names, memory_mb=None, further=None):
    """`names` are those of the drivers that are run when none is asked for, `further` the folders
    beside its corpus of some."""
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**32))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    build = os.environ.get("TROUPE_FUZZ_BUILD_DIR", os.path.join(ROOT, "build-address"))
    drivers = make_build(build, options.names or names)
    broken, total, peak = [], 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(run_driver, build, name, options, memory_mb,
                            (further or {}).get(name, ())) for name in drivers]
        for one in concurrent.futures.as_completed(runs):
            name, run = one.result()
            told = TOLD.search(run.stdout)
            if run.returncode != 0 or not told:
                broken.append(name)
                print(f"BROKEN {name}: exit code {run.returncode}\n{run.stdout[-2000:]}\n"
                      f"{run.stderr[-6000:]}", flush=True)
                continue
            total += int(told[2])
            peak = max(peak, int(told[3]))
            print(f"  {name:16} {told[1]:>4} inputs, {told[2]:>10} mutations, peak {told[3]:>5} MB",
                  flush=True)
    print(f"{'MISSED' if broken else 'held'}: {len(drivers)} drivers, {options.seconds} s each, "
          f"{total} mutations, peak {peak} MB, seed {options.seed}, "
          f"broken: {', '.join(broken) or 'none'}")
    sys.exit(1 if broken else 0)
