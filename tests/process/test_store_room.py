# SPDX-License-Identifier: Apache-2.0
"""A quota of the store: what was not used for longest goes, what is pinned or runs stays."""
import os
import shutil

from bad_input import MODEL, Node, wait_for

SIZE = sum(os.path.getsize(os.path.join(MODEL, name)) for name in os.listdir(MODEL)
           if name.endswith((".json", ".jinja", ".safetensors")))


def held(node):
    return {model["model_id"] for model in node.shows("models")
            if any(holder["has_weights"] for holder in model["holders"])}


def copies(tmp_path, names):
    """The same model, but for a byte, so that no two share a file's name for its content."""
    for name in names:
        shutil.copytree(MODEL, tmp_path / name)
        (tmp_path / name / "name.json").write_text(f'"{name}"')
    return [str(tmp_path / name) for name in names]


def test_the_quota_removes_what_was_not_used_for_longest(tmp_path):
    one, two, three, four = copies(tmp_path, ["one", "two", "three", "four"])
    with Node("--name", "alpha", "--store-quota", str(int(2.5 * SIZE))) as node:
        node.does("add", one, "--name", "one")
        node.does("add", two, "--name", "two")
        node.does("place", "one", "--wait")
        (instance,) = node.shows("ps")
        node.does("delete", instance["instance_id"])
        node.does("add", three, "--name", "three")
        assert held(node) == {"one", "three"}
        assert not [name for name in os.listdir(node.models) if name.endswith("--two")]
        node.does("pin", "one")
        node.does("place", "three")
        node.refuses(1, "add", four, "--name", "four", names=["four", "bytes", "pinned"])
        assert held(node) == {"one", "three"}
        node.does("unpin", "one")
        node.does("add", four, "--name", "four")
        assert held(node) == {"three", "four"}
        wait_for("the files to go", lambda: len([name for name in os.listdir(node.models)
                                                 if name.startswith("models--")]) == 2)
