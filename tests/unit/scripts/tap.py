# SPDX-License-Identifier: Apache-2.0
"""Runs the functions test_* of a module and prints TAP, so that meson counts each."""
import sys
import traceback


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


def run(module):
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}")
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}")
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}")
            traceback.print_exc()
    print(f"1..{len(tests)}")
    sys.stdout.flush()
    return 1 if failed else 0
