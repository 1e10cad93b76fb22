# SPDX-License-Identifier: Apache-2.0
"""One cache for the hub's own client and for us: what one of them pulled is complete for the other,
with no byte fetched again; of a cache with holes the holes are fetched and nothing else."""
import os
import socket
import sys

import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "tests", "support"))
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
from cluster import DEMO_MODEL, Cluster  # noqa: E402
from hub_stage import MIB, Pulls, Repository, StubHub, is_fetched, some_files  # noqa: E402

client = pytest.importorskip("huggingface_hub")
SIZES = (MIB + 123, MIB)
WEIGHTS = "model-00001-of-00002.safetensors"
SMALL = "tokenizer.json"


@pytest.fixture(name="stage")
def stage_():
    repository = Repository("org/model", some_files(sizes=SIZES))
    with StubHub(repository) as hub, Pulls(hub) as pulls:
        yield hub, pulls, repository


def by_client(pulls, hub, offline=False):
    return client.snapshot_download(
        "org/model", cache_dir=pulls.cache, endpoint=hub.endpoint, local_files_only=offline,
        allow_patterns=["*.json", "*.jinja", "*.txt", "model-*.safetensors"],
        ignore_patterns=["original/*"], token=False)


def expect_whole(stage):
    hub, pulls, repository = stage
    assert pulls.pull()["status"] == "OK"
    assert pulls.faults_of_model(repository) == []
    asked = len(hub.rows)
    path = by_client(pulls, hub, offline=True)
    assert sorted(os.listdir(path)) == sorted(filter(is_fetched, repository.files))
    assert len(hub.rows) == asked


def test_what_we_pulled_is_whole_for_the_client_and_asks_for_no_byte(stage):
    hub, pulls, _ = stage
    expect_whole(stage)
    before = hub.bytes_sent()
    by_client(pulls, hub)  # it may ask whether it is the newest
    assert hub.bytes_sent() == before > 0
    for name in ("config.json", WEIGHTS):
        assert client.try_to_load_from_cache("org/model", name, cache_dir=pulls.cache)
    assert not client.scan_cache_dir(pulls.cache).warnings


def test_what_the_client_pulled_is_whole_for_us_and_asks_for_no_byte(stage):
    hub, pulls, _ = stage
    by_client(pulls, hub)
    before = hub.bytes_sent()
    assert before > sum(SIZES)
    expect_whole(stage)
    assert hub.bytes_sent() == before


def blob(path, name):
    return os.path.realpath(os.path.join(path, name))


def lacks_a_blob(path):
    os.remove(blob(path, WEIGHTS))
    return {WEIGHTS}


def lacks_a_small_blob(path):
    os.remove(blob(path, SMALL))
    return {SMALL}


def has_a_short_blob(path):
    os.truncate(blob(path, WEIGHTS), MIB // 2)
    return {WEIGHTS}


def has_a_long_blob(path):
    with open(blob(path, WEIGHTS), "ab") as file:
        file.write(b"more")
    return {WEIGHTS}


def lacks_a_link(path):
    os.remove(os.path.join(path, WEIGHTS))
    return set()


def has_a_link_to_nothing(path):
    os.remove(os.path.join(path, SMALL))
    os.symlink("../../blobs/" + 40 * "a", os.path.join(path, SMALL))
    return set()


def lacks_its_branch(path):
    os.remove(os.path.join(path, "..", "..", "refs", "main"))
    return set()


def has_what_others_left(path):
    """Unfinished downloads and marks of absent files of the client, an old lock."""
    top = os.path.join(path, "..", "..")
    with open(blob(path, WEIGHTS) + ".0123abcd.incomplete", "wb") as file:
        file.write(b"half")
    os.makedirs(os.path.join(top, ".no_exist", os.path.basename(path)), exist_ok=True)
    for name in ("adapter_config.json", "config.json"):
        with open(os.path.join(top, ".no_exist", os.path.basename(path), name), "wb"):
            pass
    return set()


@pytest.mark.parametrize("spoil", [
    lacks_a_blob, lacks_a_small_blob, has_a_short_blob, has_a_long_blob, lacks_a_link,
    has_a_link_to_nothing, lacks_its_branch, has_what_others_left],
    ids=lambda function: function.__name__)
def test_of_a_cache_with_holes_the_holes_are_fetched(stage, spoil):
    hub, pulls, repository = stage
    path = by_client(pulls, hub)
    lacking = spoil(path)
    before = hub.bytes_sent()
    assert pulls.pull()["status"] == "OK"
    assert hub.bytes_sent() - before == sum(repository.files[name].size for name in lacking)
    theirs = [name for _, _, names in os.walk(pulls.cache) for name in names
              if name.endswith(".0123abcd.incomplete")]
    for name in theirs:  # the client's own, which it may still be writing
        os.remove(os.path.join(pulls.folder(), "blobs", name))
    assert len(theirs) == (spoil is has_what_others_left)
    expect_whole(stage)


def test_a_flipped_bit_of_the_clients_cache_is_found_when_it_is_taken_in():
    """It checks no hash itself; whatever it has, nothing wrong becomes a model of ours."""
    repository = Repository.of_directory("org/model", DEMO_MODEL)
    with StubHub(repository) as hub, Cluster(["one"]) as cluster:
        node = cluster.nodes[0]
        client.snapshot_download("org/model", cache_dir=node.models, endpoint=hub.endpoint,
                                 token=False)
        wrong = blob(node.stored("org/model"), "model.safetensors")
        with open(wrong, "r+b") as file:
            file.seek(200000)
            byte = file.read(1)
            file.seek(200000)
            file.write(bytes([byte[0] ^ 1]))
        cluster.environment.update({"HF_ENDPOINT": hub.endpoint, "HF_HOME": cluster.place})
        cluster.start()
        run = node.troupe("pull", "org/model", check=False)
        with open(blob(node.stored("org/model"), "model.safetensors"), "rb") as file, \
                open(os.path.join(DEMO_MODEL, "model.safetensors"), "rb") as right:
            is_right = file.read() == right.read()
        # Either it is fetched again, or it is named and there is no model.
        assert (run.returncode == 0) == is_right
        assert is_right or ("model.safetensors" in run.stderr and "hash" in run.stderr)
        assert bool(node.json("models")["models"]) == is_right


def test_offline_a_clients_cache_is_a_model_and_no_socket_is_opened_to_a_hub():
    """The hub is a bound port: whoever connects is counted, not only whoever asks."""
    repository = Repository.of_directory("org/model", DEMO_MODEL)
    with socket.socket() as listener, Cluster(["one"]) as cluster:
        node = cluster.nodes[0]
        with StubHub(repository) as hub:
            client.snapshot_download("org/model", cache_dir=node.models, endpoint=hub.endpoint,
                                     token=False)
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        listener.setblocking(False)
        cluster.environment.update({
            "HF_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "HF_HOME": cluster.place, "HF_HUB_OFFLINE": "1"})
        cluster.start()
        node.troupe("pull", "org/model")
        assert node.troupe("pull", "org/absent", check=False).returncode == 4
        node.troupe("place", "org/model", "--wait")
        status, answer = node.chat("hello", model="org/model", max_tokens=4)
        assert status == 200, answer
        with pytest.raises(BlockingIOError):
            listener.accept()


def of_others(place, hub, spoil):
    """A cache beside the node's own, pulled by the client."""
    cache = os.path.join(place, "theirs")
    path = client.snapshot_download("org/model", cache_dir=cache, endpoint=hub.endpoint,
                                    token=False)
    if spoil:
        spoil(path)
    return cache


def turn_a_bit(path):
    with open(blob(path, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def lacks_the_template(path):
    os.remove(os.path.join(path, "chat_template.jinja"))


@pytest.mark.parametrize("spoil", [None, turn_a_bit, lacks_the_template])
def test_what_a_further_cache_has_whole_is_used_there_and_asks_for_no_byte(tmp_path, spoil):
    repository = Repository.of_directory("org/model", DEMO_MODEL)
    with StubHub(repository) as hub, Cluster(["one", "two"]) as cluster:
        cache = of_others(str(tmp_path), hub, spoil)
        one, two = cluster.nodes
        cluster.environment.update({"HF_ENDPOINT": hub.endpoint, "HF_HOME": cluster.place})
        one.own["TROUPE_MODEL_DIRECTORIES"] = cache
        cluster.start()
        cluster.wait_in_view()
        before = hub.bytes_sent()
        one.troupe("pull", "org/model")
        assert (hub.bytes_sent() == before) == (spoil is None)
        assert (one.stored("org/model") is None) == (spoil is None)
        one.troupe("place", "org/model", "--wait")
        assert one.chat("hello", model="org/model", max_tokens=2)[0] == 200
        before = hub.bytes_sent()
        one.troupe("pull", "org/model", "--to", "one,two")
        assert hub.bytes_sent() == before
        assert "model.safetensors" in os.listdir(two.stored("org/model"))
