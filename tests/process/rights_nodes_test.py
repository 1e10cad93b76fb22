# SPDX-License-Identifier: Apache-2.0
"""Two real nodes with a model across both: every process has dropped its rights, in every thread,
and no secret is in a command line, a log, or a file that outlives its use."""
import os
import sys

TOP = os.environ["TROUPE_SOURCE_DIR"]
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
import tap  # noqa: E402
from cluster import Cluster, wait_for  # noqa: E402

ALONE = {"supervisor", "master", "planner", "downloader", "transferer", "gateway"}
RANKED = ALONE | {"launcher", "runner"}


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def field(path, name):
    for line in read(path).decode().splitlines():
        if line.startswith(name + ":"):
            return line.split(":")[1].strip()
    return ""


def has_sanitizer(pid):
    return b"libasan" in read(f"/proc/{pid}/maps") or b"libtsan" in read(f"/proc/{pid}/maps")


def join_by_token(cluster):
    """Both nodes up; the token that let the second one in."""
    first, second = cluster.nodes
    first.up()
    run = first.troupe("token")
    token = run.stdout.splitlines()[0]
    assert token not in run.stderr
    second.join(first, token)
    return token


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
    with Cluster(["a", "b"]) as cluster:
        cluster.start()
        cluster.take_model()
        cluster.wait_in_view()
        cluster.place_model("tensor")
        for node in cluster.nodes:
            found = node.processes()
            assert set(found) >= RANKED, found
            for actor, pid in found.items():
                check_process(actor, pid)


def secrets_of(token):
    """The token and what could be cut out of it."""
    text = token.split("-", 1)[1]
    return [token.encode(), text.encode(), text[-32:].encode()]


def test_a_join_token_is_nowhere_but_on_standard_output():
    with Cluster(["a", "b"]) as cluster:
        wanted = secrets_of(join_by_token(cluster))
        joined = cluster.nodes[1]
        spent = os.path.join(joined.home, "run", "join.token")
        # The master takes it away at its first start as a member.
        joined.troupe("stop")
        joined.up()
        wait_for("the spent token gone", lambda: not os.path.exists(spent))
        for node in cluster.nodes:
            found = node.processes()
            assert set(found) == ALONE, found
            for pid in found.values():
                for name in ("cmdline", "environ"):
                    held = read(f"/proc/{pid}/{name}")
                    assert not any(secret in held for secret in wanted), (pid, name)
        for directory, _, names in os.walk(cluster.place):
            for name in names:
                path = os.path.join(directory, name)
                held = read(path) if os.path.isfile(path) else b""
                assert not any(secret in held for secret in wanted), path


def test_a_node_that_may_be_debugged_says_so_in_its_limits():
    with Cluster(["a"]) as cluster:
        node = cluster.nodes[0]
        node.up("--debuggable", "true")
        found = node.processes()
        assert set(found) == ALONE, found
        for actor, pid in found.items():
            mine = read("/proc/self/limits").decode().split("Max core file size")[1].split()
            its = read(f"/proc/{pid}/limits").decode().split("Max core file size")[1].split()
            assert its[:2] == mine[:2], (actor, its[:2])
            assert field(f"/proc/{pid}/status", "NoNewPrivs") == "1", actor


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
