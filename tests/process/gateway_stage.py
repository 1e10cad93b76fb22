# SPDX-License-Identifier: Apache-2.0
"""The other ends of a real gateway process: a master and a runner that speak the protocol.

The master binds HOME/run/master.sock, greets and sends one state; the runner answers `generate`
over CURVE as a runner does, word by word, and can be cut off in the middle of an answer.
"""
import os
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import msgpack
import zmq
from zmq.utils import z85

LINK, COMMAND, ANSWER = 7, 1, 6
HELLO, WELCOME, SNAPSHOT_PART = 1, 2, 3
GENERATE, ACCEPTED, REFUSED, TOKEN, FINISHED, CANCEL = 40, 41, 42, 43, 45, 46
INSTANCE_READY, RANK_READY = 1, 5
STOP, LENGTH = 1, 2
STATUS_CONTEXT_LENGTH, STATUS_NO_LEADER = 29, 17


def wire(kind, code, body, **head):
    return msgpack.packb({"kind": kind, "code": code, **head, "body": body})


class Stage:
    """One gateway with all it talks to; use as a context."""

    def __init__(self, words="Yes it is a good day to test this".split(), delay_s=0.0):
        self.words = words
        self.delay_s = delay_s
        self.cut_after = None      # tokens until the runner is lost, once
        self.extras = {}           # number of a token -> what it says beside its text
        self.refuse = None         # (status, sentence) for every generate
        self.generates = []
        self.cancels = []
        self.commands = []
        self.counter = 1
        self.errors = []
        self.home = tempfile.TemporaryDirectory(prefix="troupe-gateway-")
        self.stopping = threading.Event()

    def __enter__(self):
        run = os.path.join(self.home.name, "run")
        os.makedirs(os.path.join(self.home.name, "journal"), mode=0o700)
        os.makedirs(run, mode=0o700)
        self.context = zmq.Context()
        self.master = self.context.socket(zmq.ROUTER)
        self.master.bind("ipc://" + os.path.join(run, "master.sock"))
        self.gateway_route = None
        self.open_runner()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        program = os.path.join(os.environ["TROUPE_BUILD_DIR"], "actors/gateway/troupe-gateway")
        self.process = subprocess.Popen([program, "--home", self.home.name, "--http",
                                         "127.0.0.1:0", "--store",
                                         os.path.join(self.home.name, "models")])
        self.wait_ready()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.stopping.set()
        self.thread.join()
        self.runner.close(0)
        self.master.close(0)
        self.context.term()
        self.home.cleanup()
        assert code == 0, f"the gateway ended with {code}"
        assert not self.errors, self.errors

    def wait_ready(self):
        path = os.path.join(self.home.name, "run", "http.address")
        end = time.monotonic() + 10
        while not os.path.exists(path):
            assert self.process.poll() is None and time.monotonic() < end, "no gateway"
            time.sleep(0.01)
        with open(path) as file:
            self.address = file.read().strip()
        while True:
            try:
                urllib.request.urlopen(self.url + "/health", timeout=5).read()
                return
            except urllib.error.HTTPError as error:
                assert error.code == 503 and time.monotonic() < end
                time.sleep(0.01)

    @property
    def url(self):
        return f"http://{self.address}"

    def journal(self):
        """Empty before the first line is written, which is after an answer was sent."""
        try:
            with open(os.path.join(self.home.name, "journal", "requests.jsonl")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def open_runner(self):
        public, secret = zmq.curve_keypair()
        self.runner = self.context.socket(zmq.ROUTER)
        self.runner.curve_server = True
        self.runner.curve_publickey, self.runner.curve_secretkey = public, secret
        self.runner_port = self.runner.bind_to_random_port("tcp://127.0.0.1")
        self.runner_key = z85.decode(public)

    def state(self):
        node = b"\1" * 16
        rank = {"node_id": node, "status": RANK_READY, "runner_key": self.runner_key,
                "gateway_address": f"tcp://127.0.0.1:{self.runner_port}"}
        instance = {"instance_id": b"\2" * 16, "model_id": "demo", "status": INSTANCE_READY,
                    "sharding": 0, "mode": 2, "context": 4096, "ranks": [rank],
                    "generation": {"epoch": 1, "leader": node, "counter": self.counter}}
        model = {"model_id": "demo", "holders": [{"node_id": node, "has_weights": True}]}
        resting = {"model_id": "resting", "holders": [{"node_id": node, "has_weights": True}]}
        return {"index": self.counter, "models": [model, resting], "instances": [instance],
                "nodes": [{"node_id": node, "name": "alpha", "in_view": True}]}

    def send_state(self):
        part = msgpack.packb(self.state())
        self.master.send_multipart([self.gateway_route, wire(LINK, SNAPSHOT_PART, {
            "index": self.counter, "total": len(part), "part": part})])

    def serve(self):
        try:
            while not self.stopping.is_set():
                poller = zmq.Poller()
                poller.register(self.master, zmq.POLLIN)
                poller.register(self.runner, zmq.POLLIN)
                ready = dict(poller.poll(20))
                if self.master in ready:
                    self.master_message(*self.master.recv_multipart())
                elif self.runner in ready:
                    self.runner_message(*self.runner.recv_multipart())
        except Exception as error:  # shown by the test that was running
            self.errors.append(repr(error))

    def master_message(self, route, frame):
        message = msgpack.unpackb(frame)
        if message["kind"] == LINK and message["code"] == HELLO:
            self.gateway_route = route
            self.master.send_multipart([route, wire(LINK, WELCOME, {"node_id": b"\1" * 16})])
            self.send_state()
        elif message["kind"] == COMMAND:
            self.commands.append(message)

    def runner_message(self, route, frame):
        message = msgpack.unpackb(frame)
        if message["kind"] != LINK:
            return
        if message["code"] == CANCEL:
            self.cancels.append(message["body"])
        elif message["code"] == GENERATE:
            self.generates.append(message["body"])
            self.answer(route, message["body"])

    def say(self, route, code, request, body):
        head = {"request_id": request["request_id"], "attempt": request["attempt"]}
        self.runner.send_multipart([route, wire(LINK, code, {**head, **body})])

    def answer(self, route, request):
        if self.refuse:
            self.say(route, REFUSED, request, {"status": self.refuse[0], "reason": self.refuse[1]})
            return
        self.say(route, ACCEPTED, request, {"prompt_ids": [1, 2, 3]})
        sent = len(request.get("sent_ids", []))
        text_end = request.get("sent_text", 0)
        limit = request.get("tokens_max") or len(self.words)
        for number in range(sent, min(limit, len(self.words))):
            if self.cut_after is not None and number == self.cut_after:
                self.cut_after = None
                self.lose_runner()
                return
            if self.runner.poll(0) and self.take_cancel():
                return
            text = (" " if number else "") + self.words[number]
            text_end += len(text.encode())
            self.say(route, TOKEN, request, {"number": number, "id": 10 + number, "text": text,
                                             "text_end": text_end, "logprob": -0.5,
                                             "piece": text.encode(),
                                             **self.extras.get(number, {})})
            time.sleep(self.delay_s)
        how = LENGTH if limit < len(self.words) else STOP
        self.say(route, FINISHED, request, {"reason": how, "text_end": text_end})

    def take_cancel(self):
        _, frame = self.runner.recv_multipart()
        message = msgpack.unpackb(frame)
        if message["kind"] == LINK and message["code"] == CANCEL:
            self.cancels.append(message["body"])
            return True
        return False

    def lose_runner(self):
        """As after SIGKILL: the socket is gone; half a second later another generation is ready."""
        time.sleep(0.05)
        self.runner.close(0)
        time.sleep(0.5)
        self.counter += 1
        self.open_runner()
        self.send_state()
