# SPDX-License-Identifier: Apache-2.0
"""The command line against real nodes: every process from the build tree, homes in scratch
directories, everything stopped and looked for afterwards."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SOURCE = pathlib.Path(os.environ.get("TROUPE_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("TROUPE_BUILD_DIR", SOURCE / "build"))
TROUPE = BUILD / "runtime/tools/troupe"
MASTER = BUILD / "actors/master/troupe-master"
MODEL = SOURCE / "scripts/demo-model/model"


def troupe(*words, home=None, code=0, text_in=None, timeout=90):
    """Runs a command; its output when the exit code is as expected."""
    arguments = [str(TROUPE), *map(str, words)]
    if home is not None:
        arguments += ["--home", str(home)]
    done = subprocess.run(arguments, input=text_in, capture_output=True, text=True,
                          timeout=timeout)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def document(*words, home):
    return json.loads(troupe(*words, "--json", home=home).stdout)


def shown(what, home, condition, limit_s=20):
    """What a node lists, as soon as that holds: a follower hears of it after the leader."""
    end = time.monotonic() + limit_s
    while True:
        listed = document(what, home=home)[what if what != "ps" else "instances"]
        if condition(listed) or time.monotonic() > end:
            return listed
        time.sleep(0.05)


def processes_of(home):
    """Of our programs that have this home on their command line."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(home).encode() in word for word in words) and b"troupe" in words[0]:
            found.append((entry.parent.name, words))
    return found


@pytest.fixture
def homes(tmp_path):
    """Makes homes; stops whatever runs in them and checks that nothing is left."""
    made = []

    def make(name):
        made.append(tmp_path / name)
        return made[-1]

    yield make
    for home in reversed(made):
        subprocess.run([str(TROUPE), "stop", "--home", str(home)], capture_output=True, timeout=90)
    for home in made:
        assert processes_of(home) == []
        assert list(home.glob("run/*.sock")) == []


@pytest.fixture
def master(tmp_path):
    """A master alone, without a supervisor."""
    home = tmp_path / "alone"
    process = subprocess.Popen([str(MASTER), "--home", str(home)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not (home / "run/master.sock").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    yield home
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def up(home, name):
    troupe("up", "--name", name, "--http", "127.0.0.1:0", "--store", str(home / "models"),
           home=home)
    return home


def join(home, name, token, code=0):
    return troupe("join", "-", "--name", name, "--http", "127.0.0.1:0", "--store",
                  str(home / "models"), home=home, code=code, text_in=token)


def test_help_of_every_command_names_its_options():
    page = troupe("--help").stdout
    for name in ("up", "stop", "token", "join", "nodes", "models", "add", "run", "ps", "place",
                 "delete", "events", "client", "previews", "retry", "remove", "remove-node"):
        assert f"  {name}" in page
        text = troupe(name, "--help").stdout
        assert "usage: troupe " + name in text and "--home" in text


def test_wrong_words_are_refused_with_what_was_meant():
    assert "did you mean place?" in troupe("plce", code=2).stderr
    assert "did you mean --sharding?" in troupe("place", "m", "--shardin", "none", code=2).stderr
    assert "an argument is missing" in troupe("place", code=2).stderr
    assert "too many" in troupe("nodes", "more", code=2).stderr
    assert "--minutes takes a number" in troupe("token", "--minutes", "x", code=2).stderr
    assert "needs a value" in troupe("nodes", "--home", code=2).stderr


def test_no_node_is_said_with_the_remedy(tmp_path):
    for words in (["nodes"], ["ps"], ["token"], ["place", "m"], ["events"]):
        done = troupe(*words, home=tmp_path / "nothing", code=4)
        assert "start it with troupe up" in done.stderr and done.stdout == ""
    assert not (tmp_path / "nothing").exists()


def test_a_master_alone_is_asked(master):
    nodes = document("nodes", home=master)["nodes"]
    assert len(nodes) == 1 and nodes[0]["is_leader"] and nodes[0]["is_here"]
    assert document("ps", home=master) == {"instances": []}
    assert document("models", home=master) == {"models": [], "imports": [],
                                                "ended_pulls": []}
    token = document("token", home=master)
    assert token["token"].startswith("troupe1-") and token["addresses"]
    assert "no model" in troupe("place", "none", home=master, code=3).stderr
    assert "no instance" in troupe("delete", "abcd", home=master, code=3).stderr
    lines = troupe("events", "--since", "1", "--json", home=master).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["name"] == "cluster_founded"
    assert "token_created" in [event["name"] for event in events]


def test_a_remote_client_has_the_rights_of_its_role(master, tmp_path):
    file = tmp_path / "reader.json"
    troupe("client", "add", "reader", "--role", "read", "--out", file, home=master)
    assert file.stat().st_mode & 0o077 == 0
    assert len(json.loads(troupe("nodes", "--json", "--connect", file).stdout)["nodes"]) == 1
    assert "role" in troupe("token", "--connect", file, code=1).stderr
    assert document("client", "list", home=master)["clients"][0]["name"] == "reader"
    troupe("client", "remove", "reader", home=master)
    troupe("nodes", "--connect", file, code=4)


def test_two_nodes_join_place_and_answer(homes):
    alpha, beta, gamma = homes("a"), homes("b"), homes("c")
    up(alpha, "alpha")
    token = document("token", home=alpha)["token"]
    assert "beta joined the cluster" in join(beta, "beta", token).stdout

    refused = join(gamma, "gamma", token, code=5)
    assert "used by another node" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert processes_of(gamma) == [] and not (gamma / "run/join.token").exists()
    assert not (gamma / "cluster").exists()
    up(gamma, "gamma")  # nothing of the failed try is in its way
    troupe("stop", home=gamma)
    other = join(gamma, "gamma", document("token", home=alpha)["token"], code=1)
    assert "cluster of its own" in other.stderr
    assert "a node runs in" in join(alpha, "alpha", token, code=1).stderr

    names = {node["name"]: node for node in shown("nodes", beta, lambda nodes: len(nodes) == 2)}
    assert set(names) == {"alpha", "beta"} and all(n["in_view"] for n in names.values())

    assert "config.json" in troupe("add", alpha / "run", "--name", "bad", home=alpha,
                                   code=3).stderr
    troupe("add", MODEL, "--name", "demo", home=alpha)
    model = shown("models", beta, lambda models: models)[0]
    assert model["model_id"] == "demo" and len(model["holders"]) == 1
    assert document("previews", "demo", home=beta)["candidates"][0]["is_possible"]

    placed = document("place", "demo", "--sharding", "pipeline", "--min-nodes", "2", "--wait",
                      home=beta)
    assert placed["sharding"] == 1 and placed["sharding_name"] == "pipeline"
    assert placed["mode"] == 2 and placed["mode_name"] == "fast"
    assert [rank["status_name"] for rank in placed["ranks"]] == ["ready", "ready"]
    instance = document("ps", home=alpha)["instances"][0]
    assert instance["instance_id"] == placed["instance_id"]
    assert instance["status_name"] == "ready" and instance["sharding_name"] == "pipeline"
    assert {rank["node"] for rank in instance["rank_names"]} == {"alpha", "beta"}
    answer = troupe("run", "demo", "What is the capital of France?", "--temperature", "0",
                    home=beta)
    assert "Paris" in answer.stdout
    piped = troupe("run", "demo", "--temperature", "0", "--json", home=alpha,
                   text_in="What is the capital of France?\n").stdout.splitlines()
    assert "Paris" in json.loads(piped[-1])["text"]

    assert "delete it first" in troupe("remove", "demo", home=alpha, code=1).stderr
    troupe("delete", placed["instance_id"][:6], home=alpha)
    assert shown("ps", beta, lambda instances: not instances) == []

    example = subprocess.run([sys.executable, str(SOURCE / "scripts/examples/place_and_watch.py"),
                              "--home", str(beta), "--sharding", "none", "demo"],
                             capture_output=True, text=True, timeout=60)
    assert example.returncode == 0, example.stderr
    assert example.stdout.splitlines()[-2].endswith("ready")
    assert document("ps", home=alpha)["instances"][0]["instance_id"] == \
        example.stdout.splitlines()[-1]

    for home in (beta, alpha):
        assert "has stopped" in troupe("stop", home=home).stdout
        assert "no node runs" in troupe("stop", home=home, code=3).stderr
