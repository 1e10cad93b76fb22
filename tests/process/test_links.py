# SPDX-License-Identifier: Apache-2.0
"""Real nodes know which of them reach each other, and show it; the log does not grow by it."""
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "scripts", "bars"))

from cluster import Cluster, wait_for  # noqa: E402  (the path comes first)


def test_links_are_proven_measured_and_shown_at_every_node():
    with Cluster(("n1", "n2")) as cluster:
        cluster.start()
        cluster.wait_in_view()

        def are_proven(node):
            _, told = node.request("GET", "/links")
            return [link["state"] for link in told["links"]] == ["proven", "proven"]

        for node in cluster.nodes:
            wait_for(f"proven links at {node.name}", lambda at=node: are_proven(at))
        node = cluster.nodes[0]
        links = node.json("nodes", "--links")["links"]
        ids = {one["node_id"] for one in node.listed("nodes")}
        assert {(link["from"], link["to"]) for link in links} == {
            (one, other) for one in ids for other in ids if one != other}
        for link in links:
            assert link["latency_us"] > 0
            assert link["address"].startswith("tcp://127.0.0.1:")
        told = node.request("GET", "/links")[1]
        assert [entry["kind"] for entry in told["nodes"]] == ["loopback", "loopback"]
        shown = node.troupe("nodes", "--links").stdout
        assert "ms" in shown and "unknown" not in shown
        assert not [event for event in node.events() if "link" in str(event.get("kind", ""))]
