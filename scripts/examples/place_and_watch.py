#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Places a model and watches until it serves: a client of a node in a page of Python.

usage: place_and_watch.py [--home DIR] [--sharding none|pipeline|tensor] [--min-nodes N] MODEL

Needs pyzmq and msgpack (Debian: python3-zmq python3-msgpack).  Kinds, codes and fields are those of
protocol/PROTOCOL.md: a message is one ZeroMQ frame, one msgpack map with the fields of the envelope
that are not zero, and "body".
"""
import argparse
import os
import sys
import time

import msgpack
import zmq

COMMAND, EVENT, SIGNAL, ANSWER, LINK = 1, 2, 5, 6, 7
HELLO, WELCOME = 1, 2                                   # links
PLACE_INSTANCE = 1                                      # commands
INSTANCE_PLACED, INSTANCE_DELETED, RUNNER_STATUS_CHANGED, GENERATION_FAILED = 19, 20, 24, 25
LOAD_PROGRESSED = 2                                     # signals
CLIENT = 9                                              # the actor that speaks
SHARDINGS = {"none": 0, "pipeline": 1, "tensor": 2}
RANK_STATUS = ["placed", "addressed", "joined", "loading", "loaded", "ready", "failed"]
READY = 5
GAVE_UP = 2 ** 64 - 1


class Node:
    """The master of a node on this machine, over its ipc socket."""

    def __init__(self, home):
        os.chdir(os.path.join(home, "run"))  # a relative name is never too long for a socket
        if not os.path.exists("master.sock"):
            sys.exit(f"no node runs in {home}; start it with troupe up")
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect("ipc://master.sock")

    def send(self, kind, code, body, **envelope):
        self.socket.send(msgpack.packb({"kind": kind, "code": code, **envelope, "body": body}))

    def receive(self, timeout_s):
        if not self.socket.poll(timeout_s * 1000):
            sys.exit("the node does not answer")
        message = msgpack.unpackb(self.socket.recv())
        return message["kind"], message["code"], message, message.get("body", {})

    def hello(self):
        incarnation = 1 + int.from_bytes(os.urandom(6), "big")
        self.send(LINK, HELLO, {"actor": CLIENT, "incarnation": incarnation, "protocol_min": 1,
                                "protocol_max": 1, "wants_events": True})
        while True:  # the welcome comes first; events may be on their way before our command is
            kind, code, message, body = self.receive(5)
            if (kind, code) == (LINK, WELCOME):
                return body
            if kind == ANSWER:
                sys.exit(f"the node refuses us: {message.get('reason')}")


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def watch(node, key, timeout_s):
    """Until every rank of the instance that our command made is ready."""
    instance, ranks, answered = None, {}, False
    deadline = time.monotonic() + timeout_s
    while True:
        kind, code, message, body = node.receive(max(0.1, deadline - time.monotonic()))
        if kind == ANSWER and message.get("key") == key:
            answered = True
            if message.get("status", 0) != 0:
                sys.exit(f"refused: {message.get('reason')}")
            say(f"accepted as event {message['index']}, held by {message.get('holders', 0)} of "
                f"{message.get('nodes', 0)} nodes")
        elif kind == EVENT and code == INSTANCE_PLACED and message.get("key") == key:
            placed = body["instance"]
            instance = placed["instance_id"]
            ranks = {number: 0 for number in range(len(placed["ranks"]))}
            say(f"instance {instance.hex()}: {placed['why']}")
        elif instance is None or body.get("instance_id") != instance:
            continue
        elif kind == EVENT and code == RUNNER_STATUS_CHANGED:
            rank, status = body.get("rank", 0), body.get("status", 0)
            ranks[rank] = status
            say(f"rank {rank} is {RANK_STATUS[status]} {body.get('reason', '')}".rstrip())
        elif kind == EVENT and code == GENERATION_FAILED:
            say(f"a generation failed: {body.get('reason')}")
            ranks = {number: 0 for number in ranks}
            if body.get("retry_at_ms") == GAVE_UP:
                sys.exit("it is not tried again; troupe retry starts it")
        elif kind == EVENT and code == INSTANCE_DELETED:
            sys.exit("somebody deleted it")
        elif kind == SIGNAL and code == LOAD_PROGRESSED:
            say(f"rank {body.get('rank', 0)} has {body.get('bytes_have', 0)} of "
                f"{body.get('bytes_total', 0)} bytes")
        if answered and ranks and all(status == READY for status in ranks.values()):
            say("ready")
            return instance


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--home", default=os.environ.get("TROUPE_HOME") or os.path.join(
        os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "troupe"))
    parser.add_argument("--sharding", choices=SHARDINGS)
    parser.add_argument("--min-nodes", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=120)
    options = parser.parse_args()
    node = Node(os.path.abspath(options.home))
    node.hello()
    request = {"model_id": options.model}
    if options.sharding is None:
        request["any_sharding"] = True
    else:
        request["sharding"] = SHARDINGS[options.sharding]
    if options.min_nodes:
        request["nodes_min"] = options.min_nodes
    key = os.urandom(16)  # sent again with the same key, a command is not done twice
    node.send(COMMAND, PLACE_INSTANCE, request, key=key)
    instance = watch(node, key, options.timeout)
    print(instance.hex())


if __name__ == "__main__":
    main()
