# SPDX-License-Identifier: Apache-2.0
"""Files that a node does not hold pass through it: clients of the hub's protocol talk to a node
whose model lies on others, whose HTTP listens on the loopback alone."""
import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys

import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
from cluster import DEMO_MODEL, Cluster, engine_tool, wait_for  # noqa: E402

hub = pytest.importorskip("huggingface_hub")
WEIGHTS = "model.safetensors"
PATH = f"/org/big/resolve/main/{WEIGHTS}"
CHUNK = 8 << 20


def make_model(place):
    """Several chunks of random weights in a shape that can be taken in."""
    subprocess.run([engine_tool(), "shape", "--out", place, "--like", "qwen3-0.6b", "--bits", "2",
                    "--group", "128", "--layers", "1"], check=True, stdout=subprocess.DEVNULL)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(os.path.join(DEMO_MODEL, name), place)


@pytest.fixture(scope="module", name="cluster")
def cluster_():
    """Two hold the model; the node that is asked holds nothing."""
    with Cluster(["asked", "first", "second"]) as cluster:
        source = os.path.join(cluster.place, "model")
        cluster.start()
        cluster.wait_in_view()
        make_model(source)
        for holder in cluster.nodes[1:]:
            holder.troupe("add", source, "--name", "org/big")
        with open(os.path.join(source, WEIGHTS), "rb") as file:
            cluster.whole = file.read()
        assert len(cluster.whole) > 4 * CHUNK
        cluster.source = source
        wait_for("both holders at the node that is asked", lambda: len(holders(cluster)) == 2)
        yield cluster


def holders(cluster):
    return [holder for model in cluster.nodes[0].listed("models") for holder in model["holders"]
            if model["model_id"] == "org/big"]


def endpoint(node):
    return f"http://127.0.0.1:{node.port}"


def begin(node, method="GET", path=PATH, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    connection.request(method, path,
                       headers={key.replace("_", "-"): value for key, value in headers.items()})
    return connection, connection.getresponse()


def ask(node, method="GET", path=PATH, **headers):
    connection, answer = begin(node, method, path, **headers)
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def kill(node):
    """Without a word to anybody: its transferer, and its supervisor so that nothing comes back."""
    for role in ("supervisor", "transferer", "master", "gateway"):
        pid = node.processes().get(role)
        if pid:
            os.kill(pid, signal.SIGKILL)
    wait_for(f"the end of {node.name}", lambda: not node.processes())


def test_a_head_is_answered_and_nothing_is_sent_elsewhere(cluster):
    asked = cluster.nodes[0]
    etag = f'"{hashlib.sha256(cluster.whole).hexdigest()}"'
    for method in ("HEAD", "GET"):
        status, head, content = ask(asked, method)
        assert (status, head["ETag"], head["Location"]) == (200, etag, None)
        assert head["Content-Length"] == head["X-Linked-Size"] == str(len(cluster.whole))
        assert content == (cluster.whole if method == "GET" else b"")
    assert asked.stored("org/big") is None  # it keeps nothing


@pytest.mark.parametrize("first, end", [(0, 100), (CHUNK - 5, CHUNK + 5), (CHUNK, CHUNK + 1),
                                        (CHUNK - 1, 3 * CHUNK + 1), (-10, None)])
def test_ranges_across_chunks(cluster, first, end):
    words = f"bytes={first}" if first < 0 else f"bytes={first}-{end - 1}"
    status, head, content = ask(cluster.nodes[0], Range=words)
    assert (status, content) == (206, cluster.whole[first:end])
    assert head["Content-Range"].endswith(f"/{len(cluster.whole)}")


def test_the_real_client_pulls_all_files_at_once(cluster, tmp_path):
    path = hub.snapshot_download("org/big", endpoint=endpoint(cluster.nodes[0]),
                                 cache_dir=tmp_path)
    for name in os.listdir(cluster.source):
        with open(os.path.join(cluster.source, name), "rb") as wanted, \
                open(os.path.join(path, name), "rb") as got:
            assert got.read() == wanted.read(), name


def test_a_client_that_leaves_ends_its_own_request_alone(cluster):
    asked = cluster.nodes[0]
    open_ones = [begin(asked) for _ in range(12)]
    for connection, answer in open_ones:
        assert answer.read(1000) == cluster.whole[:1000]
        connection.sock.close() if connection.sock else answer.close()
        connection.close()
    assert ask(asked, Range="bytes=0-9")[2] == cluster.whole[:10]


def test_a_holder_that_dies_costs_a_pause(cluster):
    asked, first, _ = cluster.nodes
    # Both kinds of request, so that each holder is the one that is asked first.
    streams = [begin(asked) for _ in range(2)]
    parts = [answer.read(1000) for _, answer in streams]
    kill(first)
    for (connection, answer), part in zip(streams, parts):
        assert part + answer.read() == cluster.whole
        connection.close()


def test_when_the_last_holder_dies_the_client_resumes_later(cluster, tmp_path):
    """Comes after the one above.  What was sent is right, and seen to be not all."""
    asked, _, second = cluster.nodes
    target = os.path.join(tmp_path, "file")
    connection, answer = begin(asked)
    got = answer.read(1000)
    kill(second)
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    got += cut.value.partial
    connection.close()
    assert got == cluster.whole[:len(got)] and len(got) < len(cluster.whole)
    status, head, _ = ask(asked)
    assert status == 503 and head["Retry-After"] and "org/big" in head["X-Error-Message"]
    with open(target, "wb") as file:
        file.write(got)
    second.up()
    wait_for("the holder again", lambda: ask(asked, Range="bytes=0-9")[0] == 206)
    subprocess.run(["curl", "-sS", "--fail", "-C", "-", "-o", target, endpoint(asked) + PATH],
                   check=True)
    with open(target, "rb") as file:
        assert file.read() == cluster.whole
