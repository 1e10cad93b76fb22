# SPDX-License-Identifier: Apache-2.0
"""Two real nodes with a model across both: every process has dropped its rights, in every thread,
and no secret is in a command line, a log, or a file that outlives its use."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

TOP = os.environ["TROUPE_SOURCE_DIR"]
BUILD = os.environ["TROUPE_BUILD_DIR"]
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
import tap  # noqa: E402

TROUPE = os.path.join(BUILD, "runtime", "tools", "troupe")
MODEL = os.path.join(TOP, "scripts", "demo-model", "model")
ALONE = {"supervisor", "master", "planner", "downloader", "transferer", "gateway"}
RANKED = ALONE | {"launcher", "runner"}


def troupe(*arguments, text=None):
    done = subprocess.run([TROUPE, *arguments], input=text, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, (arguments[0], done.stdout, done.stderr)
    return done.stdout, done.stderr


def wait_for(what, condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def processes(home):
    """Name of the actor -> pid, of those whose command line names the home directory."""
    found = {}
    for entry in os.listdir("/proc"):
        words = read(f"/proc/{entry}/cmdline").split(b"\0") if entry.isdigit() else [b""]
        name = os.path.basename(words[0]).decode()
        if name.startswith("troupe-") and any(word.endswith(home.encode()) for word in words[1:]):
            found[name.removeprefix("troupe-")] = int(entry)
    return found


def field(path, name):
    for line in read(path).decode().splitlines():
        if line.startswith(name + ":"):
            return line.split(":")[1].strip()
    return ""


def has_sanitizer(pid):
    return b"libasan" in read(f"/proc/{pid}/maps") or b"libtsan" in read(f"/proc/{pid}/maps")


class Cluster:
    """Two nodes in a directory of their own, stopped and removed at the end."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="troupe-rights-")
        self.homes = [os.path.join(self.path, name) for name in ("a", "b")]

    def __enter__(self):
        troupe("up", "--home", self.homes[0], "--name", "a", "--http", "127.0.0.1:0")
        said, beside = troupe("token", "--home", self.homes[0])
        self.token = said.splitlines()[0]
        assert self.token not in beside
        troupe("join", "-", "--home", self.homes[1], "--name", "b", "--http", "127.0.0.1:0",
               text=self.token + "\n")
        return self

    def __exit__(self, *_):
        for home in reversed(self.homes):
            subprocess.run([TROUPE, "stop", "--home", home], capture_output=True, timeout=30,
                           check=False)
        shutil.rmtree(self.path)

    def nodes(self):
        value = json.loads(troupe("nodes", "--home", self.homes[0], "--json")[0])
        return value["nodes"] if isinstance(value, dict) else value

    def place(self):
        troupe("add", MODEL, "--name", "demo", "--home", self.homes[0])
        wait_for("both nodes", lambda: sum(
            bool(node.get("in_view")) for node in self.nodes()) == 2)
        troupe("place", "demo", "--home", self.homes[0], "--sharding", "tensor", "--min-nodes",
               "2", "--wait")


def check_process(actor, pid):
    tasks = os.listdir(f"/proc/{pid}/task")
    for task in tasks:
        path = f"/proc/{pid}/task/{task}/status"
        assert field(path, "NoNewPrivs") == "1", (actor, task)
        if not has_sanitizer(pid):
            assert field(path, "Seccomp") == "2", (actor, task)
    limits = read(f"/proc/{pid}/limits").decode()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"], (actor, core)


def test_every_process_has_dropped_its_rights_in_every_thread():
    if not field("/proc/self/status", "Seccomp"):
        raise tap.Skip("this kernel has no seccomp")
    with Cluster() as cluster:
        cluster.place()
        for home in cluster.homes:
            found = processes(home)
            assert set(found) >= RANKED, found
            for actor, pid in found.items():
                check_process(actor, pid)


def secrets_of(token):
    """The token and what could be cut out of it."""
    text = token.split("-", 1)[1]
    return [token.encode(), text.encode(), text[-32:].encode()]


def test_a_join_token_is_nowhere_but_on_standard_output():
    with Cluster() as cluster:
        wanted = secrets_of(cluster.token)
        spent = os.path.join(cluster.homes[1], "run", "join.token")
        # The master takes it away at its first start as a member.
        troupe("stop", "--home", cluster.homes[1])
        troupe("up", "--home", cluster.homes[1], "--name", "b", "--http", "127.0.0.1:0")
        wait_for("the spent token gone", lambda: not os.path.exists(spent))
        for home in cluster.homes:
            for pid in processes(home).values():
                for name in ("cmdline", "environ"):
                    held = read(f"/proc/{pid}/{name}")
                    assert not any(secret in held for secret in wanted), (pid, name)
        for directory, _, names in os.walk(cluster.path):
            for name in names:
                path = os.path.join(directory, name)
                held = read(path) if os.path.isfile(path) else b""
                assert not any(secret in held for secret in wanted), path


def test_a_node_that_may_be_debugged_says_so_in_its_limits():
    with tempfile.TemporaryDirectory(prefix="troupe-rights-") as path:
        home = os.path.join(path, "a")
        troupe("up", "--home", home, "--http", "127.0.0.1:0", "--debuggable", "true")
        try:
            found = processes(home)
            assert set(found) == ALONE, found
            for actor, pid in found.items():
                mine = read("/proc/self/limits").decode().split("Max core file size")[1].split()
                its = read(f"/proc/{pid}/limits").decode().split("Max core file size")[1].split()
                assert its[:2] == mine[:2], (actor, its[:2])
                assert field(f"/proc/{pid}/status", "NoNewPrivs") == "1", actor
        finally:
            troupe("stop", "--home", home)


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
