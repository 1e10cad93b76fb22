# SPDX-License-Identifier: Apache-2.0
"""Two real nodes: a model is taken in whole, its small files reach the other node, no weights do.

Downloader and transferers are killed where it hurts most; the work goes on unaided.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.environ["TROUPE_SOURCE_DIR"]
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
import tap  # noqa: E402
from cluster import (DEMO_MODEL, Cluster, file_digest, stored_digests, tool,  # noqa: E402
                     wait_for)

WEIGHTS = "model.safetensors"


@contextlib.contextmanager
def running(*names):
    with Cluster(names) as cluster:
        cluster.start()
        if len(names) > 1:
            cluster.wait_in_view()
        yield cluster.nodes


def partials(node):
    return [name for _, _, names in os.walk(node.models) for name in names
            if name.endswith(".incomplete")]


def models(node):
    return [name for name in os.listdir(node.models) if name.startswith("models--")]


def source_files():
    return {name: file_digest(os.path.join(DEMO_MODEL, name)) for name in os.listdir(DEMO_MODEL)
            if name.endswith((".json", ".jinja", ".safetensors", ".txt", ".model"))}


def test_a_model_is_whole_on_one_node_and_small_on_the_other():
    with running("a", "b") as (first, second):
        first.troupe("add", DEMO_MODEL, "--name", "org/demo")
        whole = source_files()
        small = {name: value for name, value in whole.items()
                 if name not in (WEIGHTS, WEIGHTS + ".index.json")}
        assert stored_digests(first, "org/demo") == whole
        assert stored_digests(second, "org/demo") == {}
        # The one that serves is killed while it is asked: the other waits for its successor.
        holder = first.processes()["transferer"]
        os.kill(holder, signal.SIGSTOP)
        first.troupe("place", "org/demo", "--sharding", "pipeline", "--min-nodes", "2")
        time.sleep(0.5)
        assert stored_digests(second, "org/demo") == {}
        os.kill(holder, signal.SIGKILL)
        wait_for("small files", lambda: stored_digests(second, "org/demo") == small, 60)
        assert not partials(second)


def test_the_work_of_a_killed_downloader_is_done_by_its_successor():
    with running("a") as (node,):
        downloader = node.processes()["downloader"]
        os.kill(downloader, signal.SIGSTOP)
        with subprocess.Popen([tool("troupe"), "add", DEMO_MODEL, "--name", "demo", "--home",
                               node.home], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as adding:
            time.sleep(0.5)
            os.kill(downloader, signal.SIGKILL)
            assert adding.wait(30) == 0
        assert stored_digests(node, "demo") == source_files()


def test_a_spoilt_directory_is_refused_with_one_sentence():
    with running("a") as (node,), tempfile.TemporaryDirectory() as spoilt:
        for name in os.listdir(DEMO_MODEL):
            if name != "tokenizer.json":
                shutil.copy(os.path.join(DEMO_MODEL, name), spoilt)
        run = node.troupe("add", spoilt, "--name", "spoilt", check=False)
        said = run.stdout + run.stderr
        assert run.returncode != 0, said
        assert "tokenizer.json" in said, said
        assert models(node) == []


def test_a_removed_model_leaves_every_store():
    with running("a") as (node,):
        node.troupe("add", DEMO_MODEL, "--name", "demo")
        node.troupe("remove", "demo")
        wait_for("an empty store", lambda: models(node) == [])


def test_a_file_lost_while_the_node_was_down_is_told():
    with running("a") as (node,):
        node.troupe("add", DEMO_MODEL, "--name", "demo")
        node.troupe("stop")
        os.unlink(os.path.join(node.stored("demo"), WEIGHTS))
        node.up()
        wait_for("the loss in the state", lambda: not any(
            holder["has_weights"] for model in node.listed("models")
            for holder in model["holders"]))


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
