# SPDX-License-Identifier: Apache-2.0
"""Placements that cannot be, over HTTP and on the command line, asked for and only looked at: one
sentence each, with the node, need and have, and what would be possible; nothing is left behind."""
import json
import os
import sys
import urllib.parse

import pytest

from bad_input import (CONFIGURATION, FAILED, NO_CAPACITY, NOT_FOUND, TROUPE, USAGE, refused, run)

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))

from cluster import Cluster, wait_for  # noqa: E402  (the path comes first)

SMALL = 34 << 20  # of which 32 MiB are head-room


class Placed:
    """Three nodes of one machine, of which n3 may use next to nothing."""

    def __init__(self, cluster):
        self.nodes = cluster.nodes

    def place(self, *words):
        done = self.nodes[0].troupe(*words, check=False)
        return done.returncode, done.stderr.strip().splitlines()[-1:], done.stdout

    def instances(self):
        return self.nodes[0].json("ps")["instances"]


@pytest.fixture(scope="module")
def placed():
    with Cluster(("n1", "n2", "n3")) as cluster:
        cluster.nodes[2].own = {"TROUPE_MEMORY_MAX": str(SMALL)}
        cluster.start()
        cluster.wait_in_view()
        cluster.take_model()

        def are_heard():
            status, told = cluster.nodes[0].request(
                "GET", "/instance/previews?model_id=demo&min_nodes=3&sharding=pipeline")
            return status == 200 and told["previews"]
        wait_for("all nodes to tell what they have", are_heard)
        yield Placed(cluster)


def query(fields):
    """The fields of a body, as those of a query."""
    def text(value):
        if isinstance(value, list):
            return ",".join(str(one) for one in value)
        return json.dumps(value) if isinstance(value, dict) else str(value)
    return urllib.parse.urlencode({name: text(value) for name, value in fields.items()})


def words_of(fields, tmp_path):
    """The same as options of the command line."""
    words = []
    for name, value in fields.items():
        if name == "table":
            path = tmp_path / "table.json"
            path.write_text(json.dumps(value), encoding="utf-8")
            value = str(path)
        elif isinstance(value, list):
            value = ",".join(str(one) for one in value)
        words.append(f"--{name.replace('_', '-')}={value}")
    return words


INVALID = (FAILED, 400)
# What is asked for, how it ends on the command line and over HTTP, and what the sentence holds.
WRONG = {
    "shares that do not sum to 100": (
        {"shares": [50, 40]}, INVALID, ["add up to 90, not to 100", "the nearest are 56,44"]),
    "a share of zero": (
        {"shares": [100, 0]}, INVALID, ["a share of 0", "leave that node out, or give 99,1"]),
    "a share below zero": (
        {"shares": [60, -20]}, (USAGE, 400), ["a share of -20", "leave that node out, or give"]),
    "more shares than nodes": (
        {"shares": [40, 30, 20, 10]}, (NO_CAPACITY, 503),
        ["4 shares, but only 3 nodes", "such as 45,33,22"]),
    "more shares than named nodes": (
        {"shares": [50, 30, 20], "nodes": ["n1", "n2"]}, INVALID,
        ["3 shares for 2 nodes", "one share for each node, such as 63,37"]),
    "fewer shares than named nodes": (
        {"shares": [50, 50], "nodes": ["n1", "n2", "n3"]}, INVALID,
        ["2 shares for 3 nodes", "such as 34,33,33"]),
    "shares for one node": (
        {"shares": [100]}, INVALID, ["at least two", "leave them out for one"]),
    "shares with a sharding of one node": (
        {"shares": [50, 50], "sharding": "none"}, INVALID,
        ["at least two", "leave them out for one"]),
    "more ranks than a pipeline has layers": (
        {"sharding": "pipeline", "min_nodes": 6}, INVALID,
        ["6 ranks are more than demo can be shared among by pipeline", "at most 5"]),
    "more ranks than nodes": (
        {"sharding": "tensor", "min_nodes": 4}, (NO_CAPACITY, 503),
        ["at least 4 were asked for and 3 can take part now", "ask for at most 3"]),
    "a table with a gap": (
        {"table": {"attention heads": [[0, 2], [6, 8]]}}, INVALID,
        ["a gap: rank 1 begins at 6, not at 2", "the nearest table is [[0, 4], [4, 8]]"]),
    "a table with an overlap": (
        {"table": {"attention heads": [[0, 6], [2, 8]]}}, INVALID,
        ["an overlap: rank 1 begins at 2, not at 6", "[[0, 4], [4, 8]]"]),
    "a table with a cut inside a group": (
        {"table": {"FFN columns": [[0, 100], [100, 512]]}}, INVALID,
        ["rank 0 is cut at 100, inside a group of 64", "[[0, 128], [128, 512]]"]),
    "a table of layers with a gap": (
        {"table": {"layers": [[0, 2], [3, 5]]}}, INVALID, ["a gap", "[[0, 2], [2, 5]]"]),
    "a table for more ranks than nodes": (
        {"table": {"layers": [[0, 1], [1, 2], [2, 3], [3, 5]]}}, (NO_CAPACITY, 503),
        ["for 4 ranks, but only 3 nodes"]),
    "a table of what the model has not": (
        {"table": {"expert columns": [[0, 1], [1, 2]]}}, INVALID,
        ["nothing this model shares so", "attention heads of 8"]),
    "a table and other shares": (
        {"table": {"layers": [[0, 2], [2, 5]]}, "shares": [50, 30, 20]}, INVALID,
        ["the table is for 2 ranks"]),
    "a table whose ranks of a stage have unlike layers": (
        {"stages": [2, 1], "table": {"layers": [[0, 3], [0, 2], [3, 5]]}}, INVALID,
        ["rank 1 of the same stage 0 to 2", "give all ranks of a stage [0, 3]"]),
    "a table of stages with a gap within one": (
        {"stages": [2, 1], "table": {"FFN columns": [[0, 64], [128, 512], [0, 512]]}}, INVALID,
        ["a gap: rank 1 begins at 128, not at 64", "[[0, 128], [128, 512], [0, 512]]"]),
    "a table of other ranks than the stages": (
        {"stages": [2, 1], "table": {"FFN columns": [[0, 64], [64, 512]]}}, INVALID,
        ["the stages have 3 ranks together", "2 ranks of a table"]),
    "a node named twice": (
        {"nodes": ["n1", "n1"]}, INVALID, ["n1 is named twice", "name it once"]),
    "an unknown node": (
        {"nodes": ["n1", "n9"]}, (NOT_FOUND, 404), ["here is no node n9", "n1, n2, n3"]),
    "two nodes for one": (
        {"nodes": ["n1", "n2"], "sharding": "none"}, INVALID, ["2 nodes are named", "ask for"]),
    "stages of one": ({"stages": [2]}, INVALID, ["one stage of all ranks is a tensor cut"]),
    "stages without a rank": ({"stages": [2, 0]}, (USAGE, 400), ["stages", "numbers"]),
    "more ranks in stages than nodes": (
        {"stages": [2, 2]}, (NO_CAPACITY, 503), ["4 ranks together, but only 3 nodes"]),
    "more context than the model has": (
        {"context": 2000}, INVALID, ["a context of 2000 is more than the 1024", "at most that"]),
    "exact mode with a small cache": (
        {"mode": "exact", "kv_cache": "int8"}, INVALID, ["f32 in exact mode", "leave its format"]),
    "a sharding nobody knows": (
        {"sharding": "round"}, (USAGE, 400), ["sharding", "pipeline", "tensor"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_with_what_can(placed, name, tmp_path):
    fields, (code, status), says = WRONG[name]
    for command in ("place", "previews"):
        got, said, out = placed.place(command, "demo", *words_of(fields, tmp_path))
        assert got == code and said, (name, got, said, out)
        assert all(word in said[0] for word in says), (said, says)
    node = placed.nodes[0]
    got, told = node.request("POST", "/instance", {"model_id": "demo", **fields})
    assert got == status, (name, got, told)
    assert all(word in told["error"]["message"] for word in says), (told, says)
    got, told = node.request("GET", "/instance/previews?" + query({"model_id": "demo", **fields}))
    assert got == status, (name, got, told)
    assert all(word in told["error"]["message"] for word in says), (told, says)
    assert placed.instances() == []


def test_a_node_without_room_is_named_with_need_and_have(placed):
    """On the command line, over HTTP, and in the previews: the same node and the same bytes."""
    node = placed.nodes[0]
    fields = {"nodes": ["n3"], "context": 1024}
    code, said, _ = placed.place("place", "demo", "--nodes", "n3", "--context", "1024")
    assert code == NO_CAPACITY
    status, told = node.request("POST", "/instance", {"model_id": "demo", **fields})
    assert status == 503, told
    got, listed = node.request("GET", "/instance/previews?" + query({"model_id": "demo", **fields}))
    assert got == 200, listed
    one = listed["previews"][0]
    rank = one["ranks"][0]
    need = rank["weight_bytes"] + rank["cache_bytes"] + rank["scratch_bytes"]
    have = SMALL - (32 << 20)
    assert not one["is_possible"] and rank["node"] == "n3"
    for sentence in (said[0], told["error"]["message"], one["why"]):
        assert f"n3 needs {need} bytes" in sentence, sentence
        assert f"and has {have} beside its head-room" in sentence, sentence
        assert f"free {need - have} there" in sentence, sentence
    assert placed.instances() == []


def test_previews_list_every_candidate_with_shares_bytes_prediction_and_reason(placed):
    node = placed.nodes[0]
    fields = {"model_id": "demo", "nodes": ["n1", "n2"], "shares": [75, 25], "context": 512,
              "sharding": "asymmetric", "mode": "exact", "requests": 2, "threads": 1}
    status, told = node.request("GET", "/instance/previews?" + query(fields))
    assert status == 200 and len(told["previews"]) == 1 and told["left_off"] == 0, told
    one = told["previews"][0]
    assert one["is_possible"] and one["is_asymmetric"] and one["mode"] == "exact"
    assert one["sharding"] == "tensor" and one["context"] == 512 and one["requests"] == 2
    assert one["tokens_per_s"] >= 0 and one["load_s"] >= 0
    assert [rank["node"] for rank in one["ranks"]] == ["n1", "n2"]
    assert [rank["threads"] for rank in one["ranks"]] == [1, 1]
    shares = [rank["share_percent"] for rank in one["ranks"]]
    assert abs(sum(shares) - 100) < 0.02 and shares[0] > 60
    for rank in one["ranks"]:
        assert rank["weight_bytes"] > 0 and rank["cache_bytes"] > 0 and rank["scratch_bytes"] > 0
        assert f"{rank['node']} has " in one["why"], one["why"]
    assert "6 of 8 attention heads" in one["why"] and "2 of 8 attention heads" in one["why"]
    shown = placed.place("previews", "demo", "--nodes=n1,n2", "--shares=75,25",
                         "--sharding=asymmetric", "--mode=exact")[2]
    assert "yes  asymmetric tensor" in shown and "6 of 8 attention heads" in shown, shown
    assert f"{shares[0]:.1f} %" in shown and f"{shares[1]:.1f} %" in shown, shown
    # Without a sharding every kind is there, and who is left out of the best is named.
    status, told = node.request("GET", "/instance/previews?model_id=demo")
    kinds = {one["sharding"] for one in told["previews"]}
    assert kinds >= {"none", "pipeline", "tensor"}, kinds
    assert all(one["why"] for one in told["previews"])
    best = told["previews"][0]
    for name in {"n1", "n2", "n3"} - {rank["node"] for rank in best["ranks"]}:
        assert f"{name} (" in best["why"].partition("left out: ")[2], best["why"]
    assert placed.instances() == []


@pytest.mark.parametrize("name", ["asymmetric_smallest", "asymmetric_cluster"])
def test_thresholds_outside_0_to_1(tmp_path, name):
    home = str(tmp_path / "home")
    for value, nearest in (("1.5", "the nearest is 1"), ("-0.5", "the nearest is 0"),
                           ("85", "85 % are 0.85"), ("much", "the nearest is 0.")):
        says = [name, value, nearest]
        refused(USAGE, "up", "--home", home, f"--{name.replace('_', '-')}={value}", names=says)
        code, _, err = run(TROUPE, "up", "--home", home,
                           env={**os.environ, f"TROUPE_{name.upper()}": value})
        assert code in (USAGE, CONFIGURATION) and all(word in err for word in says), (code, err)
        os.makedirs(home, exist_ok=True)
        with open(os.path.join(home, "config.ini"), "w", encoding="utf-8") as file:
            file.write(f"{name} = {value}\n")
        refused(CONFIGURATION, "up", "--home", home, names=says)
        os.unlink(os.path.join(home, "config.ini"))
    assert os.listdir(home) == []


def test_a_node_that_left_is_named(placed):
    """The last of those that share the cluster."""
    first, _, third = placed.nodes
    third.stop()
    wait_for("n3 away", lambda: not next(
        node for node in first.listed("nodes") if node["name"] == "n3").get("in_view"))
    says = "n3 is away or leaving; leave it out"
    code, said, _ = placed.place("place", "demo", "--nodes", "n1,n3")
    assert code == NO_CAPACITY and says in said[0], (code, said)
    code, said, _ = placed.place("previews", "demo", "--nodes", "n1,n3")
    assert code == NO_CAPACITY and says in said[0], (code, said)
    fields = {"model_id": "demo", "nodes": ["n1", "n3"]}
    status, told = first.request("POST", "/instance", fields)
    assert status == 503 and says in told["error"]["message"], told
    status, told = first.request("GET", "/instance/previews?" + query(fields))
    assert status == 503 and says in told["error"]["message"], told
    assert placed.instances() == []
