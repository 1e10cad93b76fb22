# SPDX-License-Identifier: Apache-2.0
"""scripts/check_symbols must see a name that two objects of one program define, and only that."""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import tap  # noqa: E402

ROOT = os.environ["TROUPE_SOURCE_DIR"]


def check(sources, links):
    """`sources`: object -> C text; `links`: lines of build.ninja.  Returns (exit code, output)."""
    with tempfile.TemporaryDirectory() as build:
        for name, text in sources.items():
            subprocess.run(["cc", "-x", "c", "-c", "-o", os.path.join(build, name), "-"],
                           input=text, text=True, check=True)
        with open(os.path.join(build, "build.ninja"), "w", encoding="utf-8") as file:
            file.write("\n".join(links) + "\n")
        done = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/check_symbols"), build],
                              capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


LIBRARIES = ["build one.a: STATIC_LINKER a.o", "build two.a: STATIC_LINKER b.o"]


def test_a_name_in_two_libraries_of_one_program_is_found():
    code, said = check({"a.o": "int pool_close(void) { return 1; }",
                        "b.o": "int pool_close(void) { return 2; }",
                        "m.o": "int main(void) { return 0; }"},
                       LIBRARIES + ["build program: c_LINKER m.o | one.a two.a /usr/lib/libx.so"])
    assert code == 1 and "pool_close: in a.o and again in b.o" in said, said


def test_a_name_a_program_defines_over_its_library_is_found():
    code, said = check({"a.o": "int pool_size = 1;", "b.o": "int other;",
                        "m.o": "int pool_size = 2; int main(void) { return 0; }"},
                       LIBRARIES + ["build program: c_LINKER m.o | one.a two.a"])
    assert code == 1 and "pool_size" in said, said


def test_names_of_programs_apart_static_names_and_main_may_repeat():
    code, said = check({"a.o": "int shared(void) { return 1; } int main(void) { return 0; }",
                        "b.o": "int shared(void) { return 2; }",
                        "m.o": "static int inner; int main(void) { return inner; }"},
                       LIBRARIES + ["build first: c_LINKER m.o | one.a",
                                    "build second: c_LINKER m.o | two.a"])
    assert code == 0, said


def test_an_unbuilt_directory_is_not_success():
    code, said = check({}, LIBRARIES + ["build program: c_LINKER m.o | one.a"])
    assert code == 2 and "not built" in said, said


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
