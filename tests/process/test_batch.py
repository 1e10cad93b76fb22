# SPDX-License-Identifier: Apache-2.0
"""Requests that run at once, over real processes: the same answers as alone in every cut, a queue
with an end, nothing left of those whose clients went.

The bar with the full count is scripts/bars/02-requests.
"""
import json
import os
import subprocess
import sys
import threading
import time

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BARS = os.path.join(ROOT, "scripts", "bars")
sys.path.insert(0, BARS)

from cluster import Cluster  # noqa: E402  (the path comes first)

QUESTIONS = ("Hello!", "Who are you?", "What can you do?", "What is 3 + 4?",
             "What is the capital of France?", "Count to ten.", "Tell me a story about a fox.",
             "Tell me a story about a king.", "Tell me a story about a girl.")

# Clients that begin late on a busy machine may miss each other; streams served one after the other
# never meet, however often they are tried.
STREAM_TRIES = 5


def ask(node, number):
    """[token, log probability] of a seeded answer, with every bit of the numbers."""
    body = {"model": "demo", "max_tokens": 20 + 5 * number, "logprobs": True, "top_logprobs": 3,
            "temperature": 0 if number % 3 == 0 else 1.1, "seed": 40 + number,
            "ignore_eos": number % 2 == 0,
            "messages": [{"role": "user", "content": QUESTIONS[number]}]}
    status, answer = node.request("POST", "/v1/chat/completions", body, timeout=120)
    assert status == 200, answer
    return answer["choices"][0]


def at_once(count, job):
    results = [None] * count

    def run(number):
        results[number] = job(number)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def streams_at_once(cluster, count):
    """When each of these streams had its first token and its last."""
    def stream(number):
        body = {"model": "demo", "stream": True, "max_tokens": 300, "ignore_eos": True,
                "messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]}
        connection = cluster.nodes[0].connect(120)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body),
                               {"Content-Type": "application/json"})
            lines = iter(connection.getresponse().readline, b"")
            first = next(time.monotonic() for line in lines if b'"content":' in line
                         and b'"content":""' not in line)
            return first, max([first] + [time.monotonic() for _ in lines])
        finally:
            connection.close()
    return at_once(count, stream)


def share_time(times):
    """True when each had its first token before any had its last."""
    return max(first for first, _ in times) < min(last for _, last in times)


@pytest.mark.parametrize("sharding", ["none", "pipeline", "tensor"])
def test_an_answer_has_the_same_bits_alone_and_among_eight_others(sharding):
    names = ["alone"] if sharding == "none" else ["first", "second"]
    # A cache too small for all of them, so that some are put back in the middle of an answer.
    with Cluster(names, context=448, reserve_tokens=8, prefill_rows=24) as cluster:
        cluster.start()
        cluster.take_model()
        cluster.place_model(sharding)
        alone = [ask(cluster.nodes[0], number) for number in range(len(QUESTIONS))]
        assert len({json.dumps(one) for one in alone}) == len(QUESTIONS)
        for _ in range(2):
            # From all nodes, in turn.
            together = at_once(len(QUESTIONS), lambda number: ask(
                cluster.nodes[number % len(cluster.nodes)], number))
            assert together == alone
        assert any(share_time(streams_at_once(cluster, 3)) for _ in range(STREAM_TRIES))
        assert cluster.stop() == []


def test_a_full_queue_is_told_with_the_time_to_come_back():
    with Cluster(["alone"], requests_running=1, requests_waiting=2) as cluster:
        cluster.start()
        cluster.take_model()
        cluster.place_model("none")
        node = cluster.nodes[0]

        def long_ask(_):
            connection = node.connect(60)
            try:
                body = {"model": "demo", "max_tokens": 900, "ignore_eos": True, "temperature": 0,
                        "messages": [{"role": "user", "content": QUESTIONS[6]}]}
                connection.request("POST", "/v1/chat/completions", json.dumps(body),
                                   {"Content-Type": "application/json"})
                answer = connection.getresponse()
                return answer.status, answer.getheader("Retry-After"), json.loads(answer.read())
            finally:
                connection.close()
        answers = at_once(8, long_ask)
        served = [body for status, _, body in answers if status == 200]
        refused = [(after, body["error"]) for status, after, body in answers if status == 429]
        # One runs and two wait; more where the first ends meanwhile.
        assert len(served) >= 3 and refused and len(served) + len(refused) == 8
        assert len({one["choices"][0]["message"]["content"] for one in served}) == 1
        for after, error in refused:
            assert int(after) >= 1
            assert error["type"] == "rate_limit_error"
            assert "requests_waiting" in error["message"]
        assert node.chat(QUESTIONS[0], max_tokens=5)[0] == 200


@pytest.mark.parametrize("sharding", ["none", "pipeline", "tensor"])
def test_nothing_is_left_of_requests_that_end_in_any_way(sharding):
    # The first line of its output is the seed.
    run = subprocess.run([sys.executable, "-B", os.path.join(BARS, "02-requests"), "--count", "150",
                          "--sharding", sharding], capture_output=True, text=True, check=False,
                         timeout=240, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
