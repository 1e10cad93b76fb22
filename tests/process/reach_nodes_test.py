# SPDX-License-Identifier: Apache-2.0
"""Real nodes, each in a network namespace of its own, with several addresses of which one alone
leads to the other: they join, talk, copy and compute over that one, whatever comes first in the
order of the system; a link that works one way only is shown and refused by its name.

Skipped without the right to make network namespaces.
"""
import json
import os
import re
import subprocess
import sys

TOP = os.environ["TROUPE_SOURCE_DIR"]
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
import tap  # noqa: E402
from cluster import Cluster, wait_for  # noqa: E402

MARK = f"tr{os.getpid() % 100000}"
LIVE = "10.91.7.0/24"
# A client that runs inside: the gateways listen on the loopback of their namespace.
ASK = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
connection.request(sys.argv[2], sys.argv[3], sys.argv[4] or None,
                   {"Content-Type": "application/json"})
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode())
"""


def ip(*words):
    run = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise tap.Skip(f"ip {' '.join(words)}: {run.stderr.strip()}")


class Stage:
    """Two namespaces with two cables: one leads to the other, one into a third that is deaf.  Of
    the deaf ones the addresses are lower, and both nodes have one in common."""

    def __init__(self):
        self.spaces = [f"{MARK}a", f"{MARK}b", f"{MARK}x"]

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        for space in self.spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        first, second, deaf = self.spaces
        ip("-n", first, "link", "add", "live0", "type", "veth", "peer", "name", "live0", "netns",
           second)
        for number, space in enumerate((first, second), 1):
            ip("-n", space, "link", "add", "dead0", "type", "veth", "peer", "name",
               f"dead{number}", "netns", deaf)
            ip("-n", deaf, "link", "set", f"dead{number}", "up")
            ip("-n", space, "addr", "add", f"10.90.{number}.1/24", "dev", "dead0")
            ip("-n", space, "addr", "add", "10.90.9.9/24", "dev", "dead0")
            ip("-n", space, "link", "set", "dead0", "up")
            ip("-n", space, "addr", "add", f"10.91.7.{number}/24", "dev", "live0")
            ip("-n", space, "link", "set", "live0", "up")
            ip("-n", space, "route", "add", "default", "dev", "dead0")

    def __exit__(self, *_):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def request(node, method, path, body=None):
    run = subprocess.run([*node.inside, sys.executable, "-c", ASK, str(node.port), method, path,
                          json.dumps(body) if body is not None else ""],
                         capture_output=True, text=True, check=True, timeout=90)
    status, _, text = run.stdout.partition("\n")
    return int(status), json.loads(text)


def links(node):
    return request(node, "GET", "/links")[1]


def fabrics(node):
    """The addresses that placements chose for ranks."""
    return {host for event in node.events()
            if event["event"] in ("instance_placed", "generation_started")
            for host in re.findall(r'"fabric": "([^"]*)"', json.dumps(event))}


def test_nodes_with_dead_addresses_meet_at_the_one_that_lives():
    with Stage() as stage, Cluster(("n1", "n2"), listen="0.0.0.0:0", trusted_networks=LIVE) \
            as cluster:
        for node, space in zip(cluster.nodes, stage.spaces):
            node.inside = ["ip", "netns", "exec", space]
        cluster.start()
        cluster.wait_in_view()
        first, second = cluster.nodes

        def are_proven(node):
            told = links(node)
            ways = [{way["host"]: way["reaches"] for way in link["ways"]} for link in told["links"]]
            return all(link["state"] == "proven" for link in told["links"]) and all(
                link["address"].startswith("tcp://10.91.7.") or
                any(way.startswith("10.91.7.") and way_ok for way, way_ok in way_of.items())
                for link, way_of in zip(told["links"], ways))
        for node in cluster.nodes:
            wait_for(f"proven links at {node.name}", lambda at=node: are_proven(at))
        hosts = [entry["host"] for entry in links(first)["nodes"][0]["addresses"]]
        assert len(hosts) == 3 and "10.90.9.9" in hosts, hosts
        wait_for("nodes known by what lives", lambda: all(
            node["fabric"].startswith("10.91.7.") for node in first.listed("nodes")))
        cluster.take_model()
        cluster.place_model("tensor")
        assert fabrics(first) <= {"", "10.91.7.1", "10.91.7.2"}, fabrics(first)
        ask = {"model": "demo", "max_tokens": 4, "temperature": 0,
               "messages": [{"role": "user", "content": "What is a fox?"}]}
        said = []
        for node in (first, second):
            status, told = request(node, "POST", "/v1/chat/completions", ask)
            assert status == 200, told
            said.append(told["choices"][0]["message"]["content"])
        assert said[0] == said[1] and said[0]
        # What comes after the start is told as well, and costs the log nothing but its address.
        subprocess.run(["ip", "-n", stage.spaces[0], "addr", "add", "10.91.8.1/24", "dev",
                        "live0"], check=True)
        wait_for("an address that came later", lambda: "10.91.8.1" in [
            entry["host"] for node in links(second)["nodes"] for entry in node["addresses"]])


def test_a_link_of_one_way_is_shown_and_refused_as_such():
    with Cluster(("n1", "n2")) as cluster:
        first, second = cluster.nodes
        settings = second.settings
        # Nobody listens there: what n2 tells of itself is wrong.
        second.settings = lambda: [*settings(), "--advertise", "127.0.0.1:9"]
        cluster.start()
        cluster.wait_in_view()
        cluster.take_model()
        wait_for("a link of one way", lambda: sorted(
            link["state"] for link in first.request("GET", "/links")[1]["links"]) ==
            ["backward", "one_way"])
        shown = first.troupe("nodes", "--links")
        assert "no answer" in shown.stdout, shown.stdout
        assert "one way only: n2 reaches n1, but n1 does not reach n2" in \
            shown.stdout + shown.stderr, shown.stderr
        refused = first.troupe("place", "demo", "--sharding", "tensor", "--min-nodes", "2",
                               check=False)
        assert refused.returncode != 0
        assert "n2 reaches n1, but n1 does not reach n2" in refused.stderr, refused.stderr
        status, told = first.request("POST", "/instance", {
            "model_id": "demo", "sharding": "tensor", "min_nodes": 2})
        assert status == 503, told
        assert "n1 does not reach n2; open the way from n1 to n2" in told["error"]["message"], told
        status, told = first.request(
            "GET", "/instance/previews?model_id=demo&sharding=tensor&min_nodes=2")
        assert status == 200 and told["previews"], told
        assert all("n1 does not reach n2" in one["why"] for one in told["previews"]), told


if __name__ == "__main__":
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        sys.exit(77)
    sys.exit(tap.run(sys.modules[__name__]))
