# SPDX-License-Identifier: Apache-2.0
"""Two real nodes: a model is taken in whole, its small files reach the other node, no weights do.

Downloader and transferers are killed where it hurts most; the work goes on unaided.
"""
import hashlib
import json
import os
import shutil
import signal
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
WEIGHTS = "model.safetensors"


def troupe(*arguments, text=None, timeout=30, fails=False):
    done = subprocess.run([TROUPE, *arguments], input=text, capture_output=True, text=True,
                          timeout=timeout, check=False)
    assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
    return done.stdout + done.stderr


class Cluster:
    """Nodes in a directory of their own, stopped and removed at the end."""

    def __init__(self, count):
        self.path = tempfile.mkdtemp(prefix="troupe-store-")
        self.homes = [os.path.join(self.path, name) for name in ("a", "b")[:count]]

    def __enter__(self):
        troupe("up", "--home", self.homes[0], "--name", "a", "--http", "127.0.0.1:0")
        if len(self.homes) > 1:
            token = troupe("token", "--home", self.homes[0]).splitlines()[0]
            troupe("join", token, "--home", self.homes[1], "--name", "b", "--http",
                   "127.0.0.1:0")
            wait_for("both nodes up", lambda: sum(
                bool(node.get("in_view")) for node in self.state("nodes")) == 2)
        return self

    def __exit__(self, *_):
        for home in reversed(self.homes):
            subprocess.run([TROUPE, "stop", "--home", home], capture_output=True, timeout=30,
                           check=False)
        shutil.rmtree(self.path)

    def state(self, what):
        value = json.loads(troupe(what, "--home", self.homes[0], "--json"))
        return value[what] if isinstance(value, dict) and what in value else value

    def pid(self, node, actor):
        wanted = f"troupe-{actor}"
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode().split("\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == wanted and any(
                    word.endswith(self.homes[node]) for word in words[1:]):
                return int(entry)
        raise AssertionError(f"no {wanted} of {self.homes[node]}")

    def files(self, node, model):
        """Name -> digest of the files of a stored model, its manifest left out."""
        directory = os.path.join(self.homes[node], "models", model)
        if not os.path.isdir(directory):
            return {}
        return {name: digest(os.path.join(directory, name)) for name in os.listdir(directory)
                if not name.startswith(".")}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def source_files():
    return {name: digest(os.path.join(MODEL, name)) for name in os.listdir(MODEL)
            if name.endswith((".json", ".jinja", ".safetensors", ".txt", ".model"))}


def wait_for(what, condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def test_a_model_is_whole_on_one_node_and_small_on_the_other():
    with Cluster(2) as cluster:
        troupe("add", MODEL, "--name", "org/demo", "--home", cluster.homes[0])
        whole = source_files()
        small = {name: value for name, value in whole.items() if name != WEIGHTS}
        assert cluster.files(0, "org--demo") == whole
        assert cluster.files(1, "org--demo") == {}
        # The one that serves is killed while it is asked: the other waits for its successor.
        holder = cluster.pid(0, "transferer")
        os.kill(holder, signal.SIGSTOP)
        troupe("place", "org/demo", "--home", cluster.homes[0], "--sharding", "pipeline",
               "--min-nodes", "2")
        time.sleep(0.5)
        assert cluster.files(1, "org--demo") == {}
        os.kill(holder, signal.SIGKILL)
        wait_for("small files", lambda: cluster.files(1, "org--demo") == small, 60)
        for entry in os.listdir(os.path.join(cluster.homes[1], "models")):
            assert not entry.startswith(".partial"), entry


def test_the_work_of_a_killed_downloader_is_done_by_its_successor():
    with Cluster(1) as cluster:
        downloader = cluster.pid(0, "downloader")
        os.kill(downloader, signal.SIGSTOP)
        with subprocess.Popen([TROUPE, "add", MODEL, "--name", "demo", "--home",
                               cluster.homes[0]], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as adding:
            time.sleep(0.5)
            os.kill(downloader, signal.SIGKILL)
            assert adding.wait(30) == 0
        assert cluster.files(0, "demo") == source_files()


def test_a_spoilt_directory_is_refused_with_one_sentence():
    with Cluster(1) as cluster, tempfile.TemporaryDirectory() as spoilt:
        for name in os.listdir(MODEL):
            if name != "tokenizer.json":
                shutil.copy(os.path.join(MODEL, name), spoilt)
        said = troupe("add", spoilt, "--name", "spoilt", "--home", cluster.homes[0], fails=True)
        assert "tokenizer.json" in said, said
        assert os.listdir(os.path.join(cluster.homes[0], "models")) == []


def test_a_removed_model_leaves_every_store():
    with Cluster(1) as cluster:
        troupe("add", MODEL, "--name", "demo", "--home", cluster.homes[0])
        troupe("remove", "demo", "--home", cluster.homes[0])
        wait_for("an empty store", lambda: os.listdir(
            os.path.join(cluster.homes[0], "models")) == [])


def test_a_file_lost_while_the_node_was_down_is_told():
    with Cluster(1) as cluster:
        home = cluster.homes[0]
        troupe("add", MODEL, "--name", "demo", "--home", home)
        troupe("stop", "--home", home)
        os.unlink(os.path.join(home, "models", "demo", WEIGHTS))
        troupe("up", "--home", home, "--name", "a", "--http", "127.0.0.1:0")
        wait_for("the loss in the state", lambda: not any(
            holder["has_weights"] for model in cluster.state("models")
            for holder in model["holders"]))


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
