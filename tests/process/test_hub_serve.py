# SPDX-License-Identifier: Apache-2.0
"""Gateways as hubs: the real client, and our own downloader, pull from two nodes of which one has
the model."""
import hashlib
import http.client
import os
import sys

import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
from cluster import DEMO_MODEL, Cluster, wait_for  # noqa: E402

hub = pytest.importorskip("huggingface_hub")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", name="cluster")
def cluster_():
    with Cluster(["holder", "other"]) as cluster:
        cluster.start()
        cluster.wait_in_view()
        cluster.nodes[0].troupe("add", DEMO_MODEL, "--name", "org/demo")
        # Its state has the model, and where the holder's gateway is, when a head is answered.
        wait_for("the model at the other node",
                 lambda: ask(cluster.nodes[1], "HEAD", WEIGHTS)[0] == 200)
        yield cluster


def endpoint(node):
    return f"http://127.0.0.1:{node.port}"


def ask(node, method, name, kind="resolve", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    connection.request(method, f"/org/demo/{kind}/main/{name}",
                       headers={key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def of_model(name):
    with open(os.path.join(DEMO_MODEL, name), "rb") as file:
        return file.read()


@pytest.mark.parametrize("which", [0, 1], ids=["holder", "other"])
def test_the_client_pulls_from_any_node(cluster, tmp_path, which):
    node = cluster.nodes[which]
    path = hub.snapshot_download("org/demo", endpoint=endpoint(node), cache_dir=tmp_path)
    assert WEIGHTS in os.listdir(path)
    for name in os.listdir(path):
        blob = os.path.basename(os.path.realpath(os.path.join(path, name)))
        with open(os.path.join(path, name), "rb") as file:
            content = file.read()
        kind = hashlib.sha256(content) if len(blob) == 64 else \
            hashlib.sha1(b"blob %d\0" % len(content) + content)
        assert kind.hexdigest() == blob and content == of_model(name), name
    errors = hub.errors if hasattr(hub, "errors") else hub.utils
    for kind, repository, name, more in (
            (errors.EntryNotFoundError, "org/demo", "none.json", {}),
            (errors.RepositoryNotFoundError, "org/none", "config.json", {}),
            (errors.RevisionNotFoundError, "org/demo", "config.json", {"revision": "v2"})):
        with pytest.raises(kind):
            hub.hf_hub_download(repository, name, endpoint=endpoint(node), cache_dir=tmp_path,
                                **more)


@pytest.mark.parametrize("which", [0, 1], ids=["holder", "other"])
def test_the_clients_questions_are_answered(cluster, which):
    """As it asks today: forms, expansions, checks, and files it reads in parts."""
    interface = hub.HfApi(endpoint=endpoint(cluster.nodes[which]), token="hf_not_a_secret")
    commit = interface.model_info("org/demo").sha
    assert interface.repo_info("org/demo", revision=commit[:10]).sha == commit
    infos = interface.get_paths_info("org/demo", ["config.json", WEIGHTS, "none"], expand=True)
    assert {info.path: info.size for info in infos} == {
        name: len(of_model(name)) for name in ("config.json", WEIGHTS)}
    assert interface.list_repo_files("org/demo", revision=commit)
    assert [ref.target_commit for ref in interface.list_repo_refs("org/demo").branches] == [commit]
    assert [one.commit_id for one in interface.list_repo_commits("org/demo")] == [commit]
    assert [one.commit_id for one in interface.list_repo_commits(
        "org/demo", revision=commit[:10], formatted=True)] == [commit]
    errors = hub.errors if hasattr(hub, "errors") else hub.utils
    with pytest.raises(errors.RevisionNotFoundError):
        interface.list_repo_commits("org/demo", revision="v9")
    with pytest.raises(errors.RepositoryNotFoundError):
        interface.list_repo_commits("org/none")
    assert interface.whoami()["name"] == "troupe"
    assert interface.auth_check("org/demo") is None
    assert interface.file_exists("org/demo", "config.json")
    assert not interface.file_exists("org/demo", "none.json")
    assert not interface.repo_exists("org/none")
    assert not interface.repo_exists("org/demo", repo_type="dataset")
    assert not interface.revision_exists("org/demo", "v9")
    assert [model.id for model in interface.list_models(search="demo")] == ["org/demo"]
    assert list(interface.list_models(author="nobody")) == []
    assert interface.get_safetensors_metadata("org/demo").weight_map
    status, _, content = ask(cluster.nodes[which], "GET", "config.json", If_None_Match=ask(
        cluster.nodes[which], "HEAD", "config.json")[1]["ETag"])
    assert (status, content) == (304, b"")


@pytest.mark.parametrize("which", [0, 1], ids=["holder", "other"])
def test_what_git_has_of_a_file(cluster, which):
    """Small files themselves, of large ones the lines that name them, as the client reads them."""
    node = cluster.nodes[which]
    assert ask(node, "GET", "config.json", kind="raw")[2] == of_model("config.json")
    status, head, content = ask(node, "GET", WEIGHTS, kind="raw")
    (known,) = hub.HfApi(endpoint=endpoint(node)).get_paths_info("org/demo", [WEIGHTS])
    assert status == 200 and len(content) == known.lfs.pointer_size
    assert head["ETag"] == f'"{known.blob_id}"' == '"%s"' % hashlib.sha1(
        b"blob %d\0" % len(content) + content).hexdigest()
    assert f"oid sha256:{known.lfs.sha256}\nsize {known.size}\n" in content.decode()
    assert ask(node, "GET", "none", kind="raw")[0] == 404


def test_ranges_and_heads_of_a_file(cluster):
    node = cluster.nodes[0]
    whole = of_model(WEIGHTS)
    etag = f'"{hashlib.sha256(whole).hexdigest()}"'
    status, head, content = ask(node, "GET", WEIGHTS)
    assert (status, head["ETag"], content) == (200, etag, whole)
    for range_, expected in (("bytes=0-99", whole[:100]), ("bytes=1000000-", whole[1000000:]),
                             ("bytes=-1000", whole[-1000:])):
        status, head, content = ask(node, "GET", WEIGHTS, Range=range_, If_Range=etag)
        assert (status, content) == (206, expected)
        assert head["Content-Range"].endswith(f"/{len(whole)}")
    assert ask(node, "GET", WEIGHTS, Range="bytes=0-9", If_Range='"old"')[2] == whole
    status, head, _ = ask(node, "GET", WEIGHTS, Range=f"bytes={len(whole)}-")
    assert (status, head["Content-Range"]) == (416, f"bytes */{len(whole)}")
    status, head, content = ask(node, "HEAD", WEIGHTS)
    assert (status, head["Content-Length"], content) == (200, str(len(whole)), b"")
    assert head["X-Linked-Etag"] == etag and head["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("path", ["..%2f..%2fholdings/x.json", "../../../etc/passwd",
                                  "%2fetc/passwd", "a//b.json", ".hidden", "config.json%00",
                                  "%2e%2e/%2e%2e/config.json", "..%252f..%252fconfig.json",
                                  "//config.json", "a/../config.json", "x" * 7000,
                                  "x" * 20000, "config.json%2f", "config.json%c0%ae"])
def test_only_files_of_the_model_are_sent(cluster, path):
    for node in cluster.nodes:
        status, _, content = ask(node, "GET", path)
        assert status in (400, 404, 414) and len(content) < 1000


def test_our_own_downloader_pulls_from_a_gateway(cluster):
    with Cluster(["outside"]) as another:
        another.environment["HF_ENDPOINT"] = endpoint(cluster.nodes[1])
        another.start()
        node = another.nodes[0]
        node.troupe("pull", "org/demo")
        (model,) = node.json("models")["models"]
        (known,) = cluster.nodes[0].json("models")["models"]
        assert model["revision"] == known["revision"] and model["commit"] == known["commit"]


def test_a_file_that_changed_on_the_disk_is_not_sent(cluster):
    node = cluster.nodes[0]
    path = os.path.realpath(os.path.join(node.stored("org/demo"), "generation_config.json"))
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "r+b") as file:
        file.write(b" ")
    status, _, answer = ask(node, "GET", "generation_config.json")
    assert status in (404, 503) and b"generation_config.json" in answer
    with open(path, "r+b") as file:
        file.write(content)
