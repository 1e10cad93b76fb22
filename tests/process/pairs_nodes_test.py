# SPDX-License-Identifier: Apache-2.0
"""Three real nodes, each in a network namespace of its own, joined two by two by cables of which
each is a network of its own: they form a cluster, copy and compute, each two over their own cable,
also where all three share a wireless network beside.  A pair whose network nobody trusts with MPI
is refused by both names.

Skipped without the right to make network namespaces.
"""
import os
import sys

TOP = os.environ["TROUPE_SOURCE_DIR"]
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
sys.path.insert(0, os.path.join(TOP, "tests", "process"))
import tap  # noqa: E402
from cluster import Cluster, stored_digests, wait_for  # noqa: E402
from reach_nodes_test import MARK, ip, links, request  # noqa: E402
import subprocess  # noqa: E402

NAMES = ("n1", "n2", "n3")
# Cable: which two nodes, and the network, of which the first has .1 and the other .2.
CABLES = {"cab": (0, 1, "10.92.1"), "cbc": (1, 2, "10.92.2"), "cac": (0, 2, "10.92.3")}
ASK = {"model": "demo", "max_tokens": 24, "temperature": 0, "ignore_eos": True,
       "messages": [{"role": "user", "content": "What is a fox?"}]}


class Triangle:
    """Three namespaces and a cable between each two; with `radio` a network of all of them
    beside, on interfaces that are called as wireless ones are."""

    def __init__(self, radio=False):
        self.radio = radio
        self.spaces = [f"{MARK}p{letter}" for letter in "abcr"]

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def plug(self, space, name, address):
        ip("-n", space, "addr", "add", f"{address}/24", "dev", name)
        ip("-n", space, "link", "set", name, "up")

    def make(self):
        for space in self.spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        for name, (first, second, network) in CABLES.items():
            ip("-n", self.spaces[first], "link", "add", name, "type", "veth", "peer", "name", name,
               "netns", self.spaces[second])
            self.plug(self.spaces[first], name, f"{network}.1")
            self.plug(self.spaces[second], name, f"{network}.2")
        hub = self.spaces[3]
        ip("-n", hub, "link", "add", "hub0", "type", "bridge")
        ip("-n", hub, "link", "set", "hub0", "up")
        for number, space in enumerate(self.spaces[:3], 1):
            if not self.radio:
                break
            ip("-n", space, "link", "add", "wlan0", "type", "veth", "peer", "name",
               f"port{number}", "netns", hub)
            ip("-n", hub, "link", "set", f"port{number}", "master", "hub0", "up")
            self.plug(space, "wlan0", f"10.92.0.{number}")

    def __exit__(self, *_):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def sent(self, node, name):
        run = subprocess.run(["ip", "netns", "exec", self.spaces[node], "cat",
                              f"/sys/class/net/{name}/statistics/tx_bytes"],
                             capture_output=True, text=True, check=True)
        return int(run.stdout)


def begin(triangle, cluster):
    for node, space in zip(cluster.nodes, triangle.spaces):
        node.inside = ["ip", "netns", "exec", space]
    cluster.start()
    cluster.wait_in_view()
    for node in cluster.nodes:
        wait_for(f"proven links at {node.name}", lambda at=node: all(
            link["state"] == "proven" for link in links(at)["links"]))
    cluster.take_model()


def answer_of(node):
    status, told = request(node, "POST", "/v1/chat/completions", ASK)
    assert status == 200, told
    return told["choices"][0]["message"]["content"]


def instance_of(cluster):
    """As it was placed last."""
    return [event for event in cluster.nodes[0].events()
            if event["event"] == "instance_placed"][-1]["message"]["body"]["instance"]


def hosts_of(cluster):
    """{node: {other: where the other meets it}} of the ranks of the instance, by names."""
    names = {node["node_id"]: node["name"] for node in cluster.nodes[0].listed("nodes")}
    ranks = instance_of(cluster)["ranks"]
    return {names[rank["node_id"]]:
            {other: next((way["host"] for way in rank.get("ways", [])
                          if names[way["node_id"]] == other), rank.get("fabric", ""))
             for other in names.values() if other != names[rank["node_id"]]} for rank in ranks}


def expect_cables(cluster):
    met = hosts_of(cluster)
    for first, second, network in CABLES.values():
        assert met[NAMES[first]][NAMES[second]] == f"{network}.1", met
        assert met[NAMES[second]][NAMES[first]] == f"{network}.2", met


def test_three_machines_joined_by_cables_alone_answer_in_both_kinds():
    with Triangle() as triangle, Cluster(NAMES, listen="0.0.0.0:0",
                                         trusted_networks="10.92.0.0/16") as cluster:
        begin(triangle, cluster)
        said = set()
        for sharding in ("tensor", "pipeline"):
            cluster.place_model(sharding)
            expect_cables(cluster)
            # Every node's gateway comes to rank 0, each over its own cable.
            said |= {answer_of(node) for node in cluster.nodes}
            cluster.nodes[0].troupe("delete", instance_of(cluster)["instance_id"])
        assert len(said) == 1 and said.pop(), said
        # A whole copy comes over the cable of the two: of n1's addresses each reaches one.
        for node in cluster.nodes[1:]:
            cluster.nodes[0].troupe("place", "demo", "--nodes", node.name, "--wait")
            assert stored_digests(node, "demo") == stored_digests(cluster.nodes[0], "demo")


def test_cables_are_taken_before_a_wireless_network_of_all():
    with Triangle(radio=True) as triangle, Cluster(NAMES, listen="0.0.0.0:0",
                                                   trusted_networks="10.92.0.0/16") as cluster:
        begin(triangle, cluster)
        for node in cluster.nodes:  # every way was tried
            wait_for(f"all ways at {node.name}", lambda at=node: all(
                sum(way["reaches"] for way in link["ways"]) >= 1 for link in links(at)["links"]))
        cluster.place_model("tensor")
        expect_cables(cluster)
        ends = [(node, name) for name, pair in CABLES.items() for node in pair[:2]]
        before = {end: triangle.sent(*end) for end in ends}
        radio_before = [triangle.sent(node, "wlan0") for node in range(3)]
        assert answer_of(cluster.nodes[0])
        grown = {end: triangle.sent(*end) - before[end] for end in ends}
        radio = [triangle.sent(node, "wlan0") - radio_before[node] for node in range(3)]
        print(f"# over the cables {sorted(grown.values())}, over the radio {radio}")
        assert min(grown.values()) > 100000, grown
        assert max(radio) < min(grown.values()), (radio, grown)


def test_a_pair_in_a_network_that_nobody_trusts_is_refused_by_both_names():
    with Triangle() as triangle, Cluster(NAMES, listen="0.0.0.0:0",
                                         trusted_networks="10.92.1.0/24,10.92.3.0/24") as cluster:
        begin(triangle, cluster)
        refused = cluster.nodes[0].troupe("place", "demo", "--sharding", "tensor", "--min-nodes",
                                          "3", check=False)
        assert refused.returncode != 0
        assert "the ranks of n2 and n3 would talk unencrypted with n2 at 10.92.2.1" in \
            refused.stderr or "the ranks of n3 and n2 would talk unencrypted with n3 at " \
            "10.92.2.2" in refused.stderr, refused.stderr
        assert "trusted_networks" in refused.stderr, refused.stderr


if __name__ == "__main__":
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        sys.exit(77)
    sys.exit(tap.run(sys.modules[__name__]))
