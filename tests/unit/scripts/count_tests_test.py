# SPDX-License-Identifier: Apache-2.0
"""scripts/count_tests must count each test once and must not take silence for success."""
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import tap  # noqa: E402

ROOT = os.environ["TROUPE_SOURCE_DIR"]


def count(kind, path):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/count_tests"), kind, path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *names = done.stdout.splitlines()
    return [int(number) for number in first.split()], names


def count_meson(entries, suites):
    """`suites`: label of a program -> results of the tests inside it."""
    marks = {"passed": "", "failed": "<failure/>", "skipped": "<skipped/>"}
    with tempfile.TemporaryDirectory() as build:
        os.mkdir(os.path.join(build, "meson-logs"))
        with open(os.path.join(build, "meson-logs/testlog.json"), "w", encoding="utf-8") as file:
            for entry in entries:
                file.write(json.dumps(entry) + "\n")
        text = "".join('<testsuite name="troupe.%s">%s</testsuite>' % (program, "".join(
            '<testcase name="%d">%s</testcase>' % (i, marks[result])
            for i, result in enumerate(results))) for program, results in suites.items())
        with open(os.path.join(build, "meson-logs/testlog.junit.xml"), "w",
                  encoding="utf-8") as file:
            file.write(f"<testsuites>{text}</testsuites>")
        return count("meson", build)


def entry(name, result, code=0, said=""):
    return {"name": name, "result": result, "returncode": code, "stdout": said}


def test_tests_inside_a_program_count_singly():
    counts, names = count_meson(
        [entry("troupe:unit / a", "FAIL", 1), entry("troupe:unit / b", "OK")],
        {"troupe:unit / a": ["passed", "failed", "skipped"],
         "troupe:unit / b": ["passed", "passed"]})
    assert counts == [3, 1, 1] and names == ["troupe:unit / a: 1"], (counts, names)


def test_a_program_without_inner_tests_counts_once():
    counts, names = count_meson([entry("a", "OK"), entry("b", "FAIL", 1)], {})
    assert counts == [1, 1, 0] and names == ["b: FAIL (exit code 1)"], (counts, names)


def test_a_program_that_crashes_after_good_tests_fails():
    for result in ("ERROR", "TIMEOUT", "INTERRUPT"):
        counts, _ = count_meson([entry("a", result, -11)], {"a": ["passed", "passed"]})
        assert counts == [2, 1, 0], (result, counts)


def test_a_program_that_says_nothing_fails():
    counts, names = count_meson([entry("a", "SKIP")], {})
    assert counts == [0, 1, 0] and names == ["a: ran no test"], (counts, names)


def test_a_skip_with_a_reason_is_a_skip():
    counts, _ = count_meson([entry("a", "SKIP", 77), entry("b", "SKIP", 0, "1..0 # SKIP no AVX2")],
                            {})
    assert counts == [0, 0, 2], counts


def test_programs_of_one_name_in_two_suites_both_count():
    counts, _ = count_meson([entry("troupe:unit / a", "OK"), entry("troupe:mpi / a", "FAIL", 1)],
                            {})
    assert counts == [1, 1, 0], counts


def test_pytest_reports_are_counted():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "junit.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write('<testsuites><testsuite name="pytest"><testcase name="a"/>'
                       '<testcase name="b"><failure/></testcase><testcase name="c"><error/>'
                       '</testcase><testcase name="d"><skipped/></testcase></testsuite>'
                       '</testsuites>')
        counts, names = count("pytest", path)
    assert counts == [1, 2, 1] and names == ["b", "c"], (counts, names)


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
