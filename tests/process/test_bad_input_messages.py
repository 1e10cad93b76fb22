# SPDX-License-Identifier: Apache-2.0
"""Malformed messages to the local socket and to every TCP port: refused, counted, nothing dies."""
import os
import random
import socket

import msgpack
import pytest
import zmq

from bad_input import MODEL, Node

COMMAND, ANSWER = 1, 6


@pytest.fixture(scope="module")
def node():
    with Node("--name", "one") as opened:
        opened.does("add", MODEL, "--name", "demo")
        opened.does("place", "demo", "--wait")
        yield opened


@pytest.fixture
def talk(node):
    """Sends frames to the node's local socket; gives what comes back within the time."""
    context = zmq.Context()
    here = os.getcwd()
    os.chdir(os.path.join(node.home, "run"))

    def send(frames, wait_ms=0):
        client = context.socket(zmq.DEALER)
        client.linger = 2000
        client.connect("ipc://master.sock")
        for frame in frames:
            client.send_multipart(frame if isinstance(frame, list) else [frame])
        answers = []
        while wait_ms and client.poll(wait_ms):
            answers.append(msgpack.unpackb(client.recv_multipart()[-1]))
            wait_ms = 100
        client.close()
        return answers

    yield send
    os.chdir(here)
    context.destroy(linger=2000)


def lives(node, before):
    assert node.troupe("nodes")[0] == 0
    assert node.chat("demo", 3)[0] == 200
    assert node.processes() == before
    node.verified()


NOISE = random.Random(7)
NONSENSE = {
    "random": [NOISE.randbytes(size) for size in (0, 1, 5, 100, 5000, 100000)],
    "not-ours": [msgpack.packb(value) for value in (
        None, 1, "x", [], {}, {"kind": 1}, {"kind": 1, "code": 1},
        {"kind": 99, "code": 1, "body": {}}, {"kind": 1, "code": 9999, "body": {}}, {1: 2},
        {"kind": "x"}, {"kind": 1, "code": 1, "body": [1]}, {"kind": 1, "code": 1, "body": {},
                                                              "nobody": 1})],
    "huge-counts": [b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
                    b"\x83\xa4kind\x01\xa4code\x01\xa4body\xdf\x7f\xff\xff\xff", b"\x91" * 100000],
    "too-large": [b"x" * (20 << 20), msgpack.packb(
        {"kind": 1, "code": 1, "body": {"x": b"y" * (20 << 20)}})],
    "frames": [[b"a", b"b", b"c"], [b""] * 50],
    "no-hello": [msgpack.packb({"kind": kind, "code": code, "body": {}})
                 for kind in range(1, 9) for code in range(1, 60)],
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_to_the_local_socket(node, talk, what):
    before = node.processes()
    talk(NONSENSE[what])
    lives(node, before)


def test_a_command_that_cannot_be_read_is_answered(node, talk):
    key = bytes(range(1, 17))
    answers = talk([msgpack.packb({"kind": COMMAND, "code": 1, "key": key,
                                   "body": {"no_such_field": 1}})], 10000)
    refusal = [answer for answer in answers if answer["kind"] == ANSWER]
    assert refusal and refusal[0]["key"] == key, answers
    assert refusal[0]["status"] != 0 and refusal[0]["reason"], refusal
    lives(node, node.processes())


def test_many_are_one_line_a_second(node, talk):
    log = os.path.join(node.home, "supervisor.log")
    before = os.path.getsize(log)
    talk([b"nonsense"] * 5000)
    lives(node, node.processes())
    assert os.path.getsize(log) - before < 100000
    with open(log, encoding="utf-8") as file:
        assert "ignoring a malformed message" in file.read()


def ports_of(node):
    """Every TCP port its processes listen on."""
    inodes = set()
    for pids in node.processes().values():
        for pid in pids:
            for entry in os.listdir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"/proc/{pid}/fd/{entry}")
                except OSError:
                    continue
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return sorted(int(row[1].split(":")[1], 16) for row in rows
                  if row[3] == "0A" and row[9] in inodes)


def test_noise_on_every_port(node):
    before = node.processes()
    ports = ports_of(node)
    assert len(ports) >= 4, "master, transferer, gateway, runner"
    context = zmq.Context()
    for port in ports:
        for size in (0, 1, 100, 100000):
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                raw.settimeout(0.2)
                try:
                    raw.sendall(NOISE.randbytes(size))
                    raw.recv(100)
                except OSError:
                    pass
        # ZeroMQ without a key, and with one that nobody knows: neither gets a word in.
        for keys in (None, zmq.curve_keypair()):
            client = context.socket(zmq.DEALER)
            client.linger = 0
            if keys:
                client.curve_publickey, client.curve_secretkey = keys
                client.curve_serverkey = zmq.curve_keypair()[0]
            client.connect(f"tcp://127.0.0.1:{port}")
            client.send(msgpack.packb({"kind": 7, "code": 1, "body": {}}))
            client.poll(100)
            client.close()
    context.destroy(linger=0)
    lives(node, before)
