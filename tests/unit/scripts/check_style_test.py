# SPDX-License-Identifier: Apache-2.0
"""scripts/check_style must refuse each bad sample, by name and line, and accept the good ones."""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import tap  # noqa: E402

ROOT = os.environ["TROUPE_SOURCE_DIR"]
LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
FUNCTION = "int f(void)\n{\n%s}\n"

# name of the sample, file, its content after the licence line, what the finding must say
BAD = [
    ("long line", "protocol/a.c", "int a; /* %s */\n" % ("x" * 90), ":2: line of 103"),
    ("tab", "protocol/a.c", "\tint a;\n", ":2: tab"),
    ("blank at the end", "protocol/a.c", "int a; \n", ":2: blank at the end"),
    ("no newline", "protocol/a.c", "int a;", ":2: no newline"),
    ("long function", "protocol/a.c", FUNCTION % ("    g();\n" * 68), ":2: function of 71"),
    ("signature over lines", "protocol/a.c",
     "int f(int a,\n      int b)\n{\n%s}\n" % ("    g();\n" * 67), ":2: function of 71"),
    ("brace of a function", "protocol/a.c", "int f(void) {\n}\n", "brace stands on its own line"),
    ("long file", "protocol/a.c", "int a;\n" * 800, "file of 801 lines"),
    ("unfinished", "protocol/a.c", "int a; /* TO" "DO later */\n", "TO" "DO"),
    ("strcpy", "protocol/a.c", FUNCTION % "    strcpy(a, b);\n", ":4: strcpy: use snprintf"),
    ("sprintf", "protocol/a.c", FUNCTION % "    sprintf(a, b);\n", "sprintf: use snprintf"),
    ("alloca", "protocol/a.c", FUNCTION % "    g(alloca(3));\n", "alloca: use a bounded"),
    ("strtok", "protocol/a.c", FUNCTION % "    strtok(a, b);\n", "strtok: use"),
    ("malloc", "runtime/a.c", FUNCTION % "    g(malloc(3));\n", "malloc: use protocol/memory.h"),
    ("free", "runtime/a.c", FUNCTION % "    free(a);\n", "free: use protocol/memory.h"),
    ("clock", "runtime/a.c", FUNCTION % "    clock_gettime(a, b);\n", "use runtime/clock.h"),
    ("assert", "runtime/a.c", FUNCTION % "    assert(a);\n", "ASSERT"),
    ("zmq", "actors/master/a.c", "#include <zmq.h>\n", "only by runtime/transport*.c"),
    ("msgpack", "runtime/a.c", "#include <msgpack.h>\n", "only by protocol/codec*.c"),
    ("msgpack below", "runtime/a.c", "#include <msgpack/pack.h>\n", "only by protocol/codec*.c"),
    ("mpi", "actors/runner/runner.c", "#include <mpi.h>\n", "only by actors/runner/collective.c"),
    ("pmix", "actors/runner/a.c", "#include <pmix_server.h>\n", "actors/launcher/pmix_host.c"),
    ("sodium", "runtime/a.c", "#include <sodium.h>\n", "runtime/crypto*.c"),
    ("back", "protocol/a.c", '#include "runtime/clock.h"\n', "never back"),
    ("back twice", "runtime/a.c", '#include "actors/actors.h"\n', "never back"),
    ("actor to actor", "actors/master/a.c", '#include "actors/planner/plan.h"\n',
     "an actor never includes another"),
    ("test in a product", "runtime/a.c", '#include "tests/support/seeded.h"\n', "never back"),
    ("include from aside", "protocol/a.c", '#include "status.h"\n', "from the top of the tree"),
    ("typedef", "protocol/a.c", "typedef struct a { int b; } a;\n", "no typedef"),
    ("empty name", "protocol/a.c", "int ctx;\n", "the name 'ctx' says nothing"),
    ("empty name within", "protocol/a.c", "int loop_manager;\n", "'loop_manager' says nothing"),
    ("file name", "protocol/net_util.c", "int a;\n", "the file's name says nothing"),
    ("machine path", "protocol/a.c", "/* see /ro" "ot/x */\n", "is a path of one machine"),
    ("machine path in text", "README.md", "see /ho" "me/me/x\n", "is a path of one machine"),
]

GOOD = [
    ("function of 70 lines", "protocol/a.c", FUNCTION % ("    g();\n" * 67)),
    ("words in comments", "protocol/a.c", "/* strcpy(a, b) is banned; no data, no info. */\n"),
    ("words in strings", "protocol/a.c", 'const char *a = "strcpy(a) data \\" free(b)";\n'),
    ("members of libraries", "runtime/a.c", FUNCTION % "    event.data.fd = a->info;\n"),
    ("names of libraries", "runtime/a.c", "int json_object_set_helper;\n"),
    ("allocator of a library", "runtime/a.c",
     FUNCTION % "    free(a); /* style allows free: the library allocated it */\n"),
    ("zmq at home", "runtime/transport_curve.c", "#include <zmq.h>\n"),
    ("own clock", "runtime/clock.c", FUNCTION % "    clock_gettime(a, b);\n"),
    ("down the layers", "actors/master/a.c",
     '#include "actors/actors.h"\n#include "actors/master/b.h"\n#include "protocol/c.h"\n'),
    ("tests include anything", "tests/unit/a.c",
     '#include <zmq.h>\n#include "actors/master/a.h"\n#include "actors/planner/a.h"\n'),
    ("memory_free is not free", "runtime/a.c", FUNCTION % "    memory_free(a);\n"),
]


def check(path, content, build="meson.build", executable=False):
    """Exit code and output of check_style on a tree of one file, listed in one meson.build."""
    with tempfile.TemporaryDirectory() as root:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(content)
        if executable:
            os.chmod(full, 0o755)
        if build:
            with open(os.path.join(root, build), "w", encoding="utf-8") as file:
                file.write("# SPDX-License-Identifier: Apache-2.0\nfiles('%s')\n" % path)
        done = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/check_style"),
                               "--root", root], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def refused(path, content, expected, **options):
    code, output = check(path, content, **options)
    assert code == 1 and expected in output, f"exit {code}, wanted '{expected}' in:\n{output}"


def test_every_bad_sample_is_refused():
    for name, path, content, expected in BAD:
        licence = "" if path.endswith(".md") else LICENCE
        try:
            refused(path, licence + content, expected)
        except AssertionError as error:
            raise AssertionError(f"sample '{name}': {error}") from None


def test_good_samples_are_accepted():
    for name, path, content in GOOD:
        code, output = check(path, LICENCE + content)
        assert code == 0, f"sample '{name}':\n{output}"


def test_a_licence_is_demanded():
    refused("protocol/a.c", "int a;\n", "a.c:1: the first line must be")
    refused("scripts/a", "#!/bin/sh\necho\n", "a:1: the first line must be", executable=True)


def test_a_source_nobody_builds_is_refused():
    refused("protocol/a.c", LICENCE + "int a;\n", "in no meson.build", build=None)


def test_a_script_must_be_executable():
    refused("scripts/a", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n", "not executable")


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
