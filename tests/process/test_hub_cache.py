# SPDX-License-Identifier: Apache-2.0
"""The hub's own client and a node use one cache: what one has, the other need not fetch.

Without a network: the client's cache is filled by its own functions of the layout.
"""
import hashlib
import json
import os
import shutil
import warnings

import pytest

from bad_input import MODEL, WEIGHTS, Node, wait_for

hub = pytest.importorskip("huggingface_hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def node():
    with Node("--name", "one") as opened:
        yield opened


def files_below(directory):
    return {os.path.relpath(os.path.join(place, name), directory): os.path.join(place, name)
            for place, _, names in os.walk(directory) for name in names}


def facts(path):
    """What tells a file that was copied or written from one that was only read."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def etag_of(name, content):
    """As the hub has it: large files by SHA-256, plain ones as git does."""
    if name.endswith((".safetensors", "tokenizer.json")):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pull_by_client(cache, repository):
    """What snapshot_download leaves behind, by the client's functions of the layout."""
    from huggingface_hub.file_download import _create_symlink, repo_folder_name
    storage = os.path.join(cache, repo_folder_name(repo_id=repository, repo_type="model"))
    os.makedirs(os.path.join(storage, "blobs"))
    os.makedirs(os.path.join(storage, "refs"))
    os.makedirs(os.path.join(storage, "snapshots", COMMIT))
    with open(os.path.join(storage, "refs", "main"), "w", encoding="ascii") as file:
        file.write(COMMIT)
    names = [name for name in os.listdir(MODEL) if not name.startswith(".")]
    for name in names + ["README.md"]:
        content = b"# a card\n"
        if name in names:
            with open(os.path.join(MODEL, name), "rb") as file:
                content = file.read()
        blob = os.path.join(storage, "blobs", etag_of(name, content))
        with open(blob, "wb") as file:
            file.write(content)
        _create_symlink(blob, os.path.join(storage, "snapshots", COMMIT, name), new_blob=True)
    return os.path.join(storage, "snapshots", COMMIT)


def share(storage, cache, name):
    """Newer clients put large blobs into one place for all models and link to it."""
    blob = os.path.realpath(os.path.join(storage, name))
    shared = "ab" + "0" * 62
    os.makedirs(os.path.join(cache, "blobs", "ab"))
    os.rename(blob, os.path.join(cache, "blobs", "ab", shared))
    os.symlink(os.path.join("..", "..", "blobs", "ab", shared), blob)
    with open(os.path.join(cache, "blobs", ".huggingface-shared-blobs"), "w",
              encoding="ascii") as file:
        file.write("1\n")


def test_what_a_node_took_in_is_complete_for_the_client(node):
    node.does("add", MODEL, "--name", "org/demo")
    path = hub.snapshot_download("org/demo", cache_dir=node.models, local_files_only=True)
    expected = {name for name in os.listdir(MODEL) if name.endswith((".json", ".jinja",
                                                                     ".safetensors"))}
    assert set(os.listdir(path)) == expected
    for name in expected:
        with open(os.path.join(path, name), "rb") as ours, \
                open(os.path.join(MODEL, name), "rb") as theirs:
            assert ours.read() == theirs.read(), name
    assert hub.try_to_load_from_cache("org/demo", "config.json", cache_dir=node.models)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hub.scan_cache_dir(node.models)
    assert not found.warnings, found.warnings
    (repository,) = found.repos
    (revision,) = repository.revisions
    assert repository.repo_id == "org/demo" and revision.refs == {"main"}
    assert revision.nb_files == len(expected)
    for name in expected:
        blob = os.path.realpath(os.path.join(path, name))
        with open(blob, "rb") as file:
            content = file.read()
        kind = hashlib.sha256(content) if len(os.path.basename(blob)) == 64 else \
            hashlib.sha1(b"blob %d\0" % len(content) + content)
        assert kind.hexdigest() == os.path.basename(blob), name
    node.does("remove", "org/demo")
    wait_for("an empty store", lambda: node.store() == [])
    assert not hub.scan_cache_dir(node.models).repos


def test_what_the_client_pulled_is_adopted_with_no_byte_copied(node):
    snapshot = pull_by_client(node.models, "org/pulled")
    share(snapshot, node.models, WEIGHTS)
    assert not hub.scan_cache_dir(node.models).warnings
    before = {name: facts(path) for name, path in files_below(node.models).items()}
    node.does("add", snapshot, "--name", "org/pulled")
    after = {name: facts(path) for name, path in files_below(node.models).items()}
    assert after == before
    node.does("place", "org/pulled", "--wait")
    assert node.serves("org/pulled")
    assert hub.snapshot_download("org/pulled", cache_dir=node.models,
                                 local_files_only=True) == snapshot
    assert not hub.scan_cache_dir(node.models).warnings


def test_a_blob_that_is_not_what_its_name_says_is_named(node):
    snapshot = pull_by_client(node.models, "org/flipped")
    blob = os.path.realpath(os.path.join(snapshot, WEIGHTS))
    with open(blob, "r+b") as file:
        file.seek(200000)
        byte = file.read(1)
        file.seek(200000)
        file.write(bytes([byte[0] ^ 1]))
    node.refuses(1, "add", snapshot, "--name", "org/flipped", names=[WEIGHTS, "hash"])
    assert node.shows("models") == []


def test_models_in_directories_of_the_user_are_used_in_place(tmp_path):
    place = tmp_path / "mine"
    shutil.copytree(MODEL, place / "org" / "mine")
    with Node("--name", "one", "--model-directories", str(place)) as node:
        before = {name: facts(path) for name, path in files_below(place).items()}
        node.does("add", str(place / "org" / "mine"), "--name", "org/mine")
        assert node.store() == []
        node.does("place", "org/mine", "--wait")
        assert node.serves("org/mine")
        node.does("delete", "org/mine")
        node.does("remove", "org/mine")
        wait_for("no holding", lambda: not [name for name in os.listdir(
            os.path.join(node.home, "holdings")) if name.endswith(".holding")])
        assert {name: facts(path) for name, path in files_below(place).items()} == before


def test_a_link_to_a_secret_is_refused(node, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"model_type": "qwen3"}))
    snapshot = pull_by_client(node.models, "org/evil")
    os.unlink(os.path.join(snapshot, "config.json"))
    os.symlink(secret, os.path.join(snapshot, "config.json"))
    node.refuses(1, "add", snapshot, "--name", "org/evil", names="symbolic link")
    blob = os.path.realpath(os.path.join(snapshot, WEIGHTS))
    os.unlink(blob)
    os.symlink(secret, blob)
    node.refuses(1, "add", snapshot, "--name", "org/evil", names="symbolic link")
    assert node.shows("models") == []
