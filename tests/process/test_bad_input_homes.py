# SPDX-License-Identifier: Apache-2.0
"""Tokens, ports, disks and directories that are not as they should be."""
import os
import subprocess
import tempfile

import pytest

from bad_input import (CONFIGURATION, FAILED, MODEL, NOT_ADMITTED, NOT_FOUND, TROUPE, UNREACHABLE,
                       USAGE, Node, refused, run, troupe, wait_for)


@pytest.fixture(scope="module")
def node():
    with Node("--name", "one") as opened:
        yield opened


@pytest.fixture
def scratch():
    """A directory that another user may enter."""
    with tempfile.TemporaryDirectory(prefix="troupe-bad-") as path:
        os.chmod(path, 0o755)
        yield path
        for home in os.listdir(path):
            troupe("stop", "--home", os.path.join(path, home))


def token_of(node):
    return node.does("token").splitlines()[0]


def joins(token, home, code, names):
    return refused(code, "join", token, "--home", home, "--http", "127.0.0.1:0", names=names)


# ---- tokens ----

def test_mistyped_tokens(node, scratch):
    token = token_of(node)
    home = os.path.join(scratch, "home")
    other = "A" if token[60] != "A" else "B"
    for wrong in ("abc", "", token[:50], token[:-4] + "abcd", token[:60] + other + token[61:],
                  token + "x", "troupe1-", "x" * 100000, "☃"):
        joins(wrong, home, USAGE, "no join token")
    assert not os.path.exists(home)


def test_a_token_used_twice(node, scratch):
    token = token_of(node)
    first, second = (os.path.join(scratch, name) for name in ("first", "second"))
    code, out, err = troupe("join", token, "--home", first, "--http", "127.0.0.1:0", "--name",
                            "two")
    assert code == 0, (out, err)
    joins(token, second, NOT_ADMITTED, "used")
    assert troupe("ps", "--home", second)[0] == UNREACHABLE, "nothing may run there"
    # A node that runs, in this cluster or in its own, is not joined.
    fresh = token_of(node)
    joins(fresh, first, FAILED, "a node runs in " + first)
    joins(fresh, node.home, FAILED, "a node runs in " + node.home)
    assert troupe("stop", "--home", first)[0] == 0
    # What was refused is in nobody's way: the same directory joins with a good token.
    code, out, err = troupe("join", fresh, "--home", second, "--http", "127.0.0.1:0", "--name",
                            "three")
    assert code == 0, (out, err)
    assert troupe("stop", "--home", second)[0] == 0
    for name in ("two", "three"):
        node.does("remove-node", name)


def test_a_home_with_a_life_of_its_own(node, scratch):
    home = os.path.join(scratch, "own")
    with Node(home=home) as own:
        own.does("add", MODEL, "--name", "mine")
    joins(token_of(node), home, FAILED, home)
    with Node(home=home) as own:
        assert [model["model_id"] for model in own.shows("models")] == ["mine"]
        own.verified()


# ---- ports ----

def test_ports_in_use(node, scratch):
    http = node.address()
    with_http = os.path.join(scratch, "http")
    refused(CONFIGURATION, "up", "--home", with_http, "--http", http,
            names=[http.rsplit(":", 1)[1], "use", "setting http"])
    with open(os.path.join(node.home, "run", "listen"), encoding="ascii") as file:
        listen = file.read().strip()
    with_listen = os.path.join(scratch, "listen")
    refused(CONFIGURATION, "up", "--home", with_listen, "--http", "127.0.0.1:0", "--listen", listen,
            names=[listen, "in use"])
    for wrong in ("nonsense", "127.0.0.1:99999", "127.0.0.1"):
        refused(CONFIGURATION, "up", "--home", with_http, "--http", wrong, names=["http", wrong])
    refused(CONFIGURATION, "up", "--home", with_http, "--http", "0.0.0.0:0", names="API key")
    refused(CONFIGURATION, "up", "--home", with_listen, "--http", "127.0.0.1:0", "--listen",
            "nonsense", names=["listen", "nonsense"])


def test_a_kept_port_taken_meanwhile(node, scratch):
    """The free port a node once chose belongs to another process now: it takes another."""
    home = os.path.join(scratch, "kept")
    with Node(home=home):
        pass
    with open(os.path.join(node.home, "run", "listen"), encoding="ascii") as file:
        taken = file.read()
    with open(os.path.join(home, "run", "listen"), "w", encoding="ascii") as file:
        file.write(taken)
    with Node(home=home) as again:
        again.does("nodes")
        with open(os.path.join(home, "run", "listen"), encoding="ascii") as file:
            assert file.read() != taken


# ---- directories ----

def as_nobody(*arguments):
    return ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", TROUPE, *arguments)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_directory(node, scratch):
    mine = os.path.join(scratch, "mine")
    os.mkdir(mine, 0o700)
    readable = os.path.join(scratch, "readable")
    os.mkdir(readable, 0o755)
    os.chmod(node.path, 0o755)
    if run(*as_nobody("--version"))[0] != 0 or "may not run" in run(
            *as_nobody("up", "--home", mine))[2]:
        pytest.skip("another user cannot reach the programs of this build")
    for arguments, code, names in (
            (("up", "--home", mine), CONFIGURATION, [mine, "Permission denied", "--home"]),
            (("up", "--home", os.path.join(mine, "deeper")), CONFIGURATION, [mine, "--home"]),
            (("up", "--home", readable), CONFIGURATION, [readable, "--home"]),
            (("ps", "--home", node.home), CONFIGURATION, [node.home, "Permission denied"]),
            (("token", "--home", node.home), CONFIGURATION, [node.home, "Permission denied"]),
            (("stop", "--home", node.home), CONFIGURATION, [node.home, "another user"])):
        program, *rest = as_nobody(*arguments)
        refused(code, *rest, program=program, names=names)
    assert os.listdir(mine) == [] and os.listdir(readable) == []
    node.does("nodes")


def test_an_identity_others_can_read(scratch):
    home = os.path.join(scratch, "read")
    with Node(home=home):
        pass
    key = os.path.join(home, "identity", "node.key")
    for path, wrong, right in ((key, 0o644, 0o600), (os.path.dirname(key), 0o755, 0o700)):
        os.chmod(path, wrong)
        refused(CONFIGURATION, "up", "--home", home, "--http", "127.0.0.1:0",
                names=[path, f"chmod {right:o}"])
        os.chmod(path, right)
    with Node(home=home) as again:
        again.does("nodes")


def test_no_directory_at_all(scratch):
    refused(CONFIGURATION, "up", "--home", "/etc/passwd", names="/etc/passwd")
    refused(NOT_FOUND, "up", "--home", "/proc/nope", names="/proc/nope")
    nothing = os.path.join(scratch, "nothing")
    for command in (("ps",), ("token",), ("models",), ("nodes",), ("place", "x"), ("delete", "x"),
                    ("add", MODEL), ("run", "x", "hi"), ("events",)):
        refused(UNREACHABLE, *command, "--home", nothing, names=[nothing, "troupe up"])
    refused(NOT_FOUND, "stop", "--home", nothing, names=nothing)
    assert not os.path.exists(nothing)


def test_two_ups_on_one_home(scratch):
    home = os.path.join(scratch, "twice")
    ups = [subprocess.Popen([TROUPE, "up", "--home", home, "--http", "127.0.0.1:0"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
           for _ in range(2)]
    said = [up.communicate(timeout=60)[1] for up in ups]
    assert sorted(up.returncode for up in ups) == [0, FAILED], said
    assert any("a node runs in " + home in text for text in said), said
    refused(FAILED, "up", "--home", home, names=["a node runs in " + home, "troupe stop"])
    assert troupe("nodes", "--home", home)[0] == 0


# ---- disks ----

@pytest.fixture
def disk():
    """A disk of 12 MB of its own."""
    with tempfile.TemporaryDirectory(prefix="troupe-bad-") as path:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", path],
                              capture_output=True, check=False)
        if made.returncode != 0:
            pytest.skip("this user cannot mount a disk")
        yield path
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk):
    path = os.path.join(disk, "filling")
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return path


def test_a_full_disk(disk):
    with Node(home=os.path.join(disk, "home")) as node:
        node.does("add", MODEL, "--name", "demo")
        node.does("place", "demo", "--wait")
        assert node.serves("demo")
        before = node.processes()
        filling = fill(disk)
        # The store is full.
        node.refuses(FAILED, "add", MODEL, "--name", "more", names=["more", "free"])
        assert node.store() == ["demo"]
        # So is the log, once its last block is: commands get a typed answer, answers go on.
        said = ""
        for _ in range(200):
            code, _, err = node.troupe("token")
            if code != 0:
                said = err
                break
        assert code == FAILED and "disk of the event log is full" in said, (code, said)
        error = node.http("POST", "/instance", {"model_id": "demo"})
        assert error[0] in (503, 507) and error[1]["error"]["code"] == "no_space", error
        assert node.chat("demo")[0] == 200
        os.unlink(filling)
        wait_for("commands taken again", lambda: node.troupe("token")[0] == 0)
        node.does("place", "demo", "--wait")
        assert node.processes()["troupe-master"] == before["troupe-master"]
        node.verified()
    node.verified()
    filling = fill(disk)
    code, _, err = troupe("up", "--home", os.path.join(disk, "fresh"), "--http", "127.0.0.1:0")
    assert code == FAILED and ("disk" in err or "space" in err), (code, err)
    os.unlink(filling)
    with Node(home=os.path.join(disk, "fresh")) as fresh:
        fresh.does("nodes")
    with Node(home=os.path.join(disk, "home")) as again:
        wait_for("the instance back", lambda: again.chat("demo")[0] == 200)
