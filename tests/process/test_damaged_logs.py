# SPDX-License-Identifier: Apache-2.0
"""Nodes whose event log was damaged while they were down: repaired by another node, or refused."""
import glob
import os
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "scripts", "bars"))

from cluster import Cluster, Failed, tool  # noqa: E402  (the path comes first)


def damage(node, offset):
    """Flips a bit of the first segment; a negative offset counts from its end."""
    path = sorted(glob.glob(os.path.join(node.home, "log", "0*.segment")))[0]
    with open(path, "r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def verify(node):
    return subprocess.run([tool("troupe-log"), "verify", "--home", node.home],
                          capture_output=True, text=True, check=False)


def wait_same(first, second, limit_s=20):
    """Until the second node's log is the first one's, and whole."""
    end = time.monotonic() + limit_s
    while True:
        # Until it is repaired, a damaged log is rightly refused: it cannot be listed either.
        if verify(second).returncode == 0:
            events = [[(event["index"], event["chain"]) for event in node.events()]
                      for node in (first, second)]
            if events[1] and events[0][-1] == events[1][-1]:
                return events
        assert time.monotonic() < end, verify(second).stdout + verify(second).stderr
        time.sleep(0.2)


def test_a_damaged_follower_is_repaired_by_the_other_node():
    with Cluster(["first", "second"]) as cluster:
        first, second = cluster.nodes
        cluster.start()
        cluster.take_model()
        cluster.place_model("pipeline")
        before = wait_same(first, second)[1]
        second.stop()
        damage(second, -1500)
        assert verify(second).returncode != 0  # a damage that is none would prove nothing
        second.up()
        after = wait_same(first, second)[1]
        assert after[:len(before)] == before  # the same events, with the same hash chain
        assert glob.glob(os.path.join(second.home, "log", "damaged-*"))
        assert cluster.stop() == []


def test_a_damaged_node_alone_is_refused_with_the_offset():
    with Cluster(["alone"]) as cluster:
        node = cluster.nodes[0]
        cluster.start()
        node.stop()
        damage(node, 200)
        try:
            node.up()
        except Failed as failure:
            said = str(failure)
        else:
            raise AssertionError("a damaged log was taken")
        assert "is damaged at byte 128" in said and "from a copy of the directory" in said
        assert cluster.left_over() == []
