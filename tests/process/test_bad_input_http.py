# SPDX-License-Identifier: Apache-2.0
"""Wrong requests to the HTTP interface of a real node: typed errors, nothing dies."""
import http.client
import os
import random
import signal
import socket
import time

import pytest

from bad_input import HELLO, MODEL, Node


@pytest.fixture(scope="module")
def node():
    with Node("--name", "one") as opened:
        opened.does("add", MODEL, "--name", "demo")
        opened.does("add", MODEL, "--name", "idle")
        opened.does("place", "demo", "--wait")
        yield opened


def ask(**more):
    return {"model": "demo", "messages": HELLO, "max_tokens": 3, **more}


def schema(value):
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": value}}


WRONG_CHATS = [
    ('{"model":', "invalid_json", "no JSON"),
    ("", None, ""),
    ("[]", "invalid_json", "object"),
    ({}, "missing_field", "model"),
    ({"model": "demo"}, "missing_field", "messages"),
    (ask(messages=[]), "invalid_value", "messages"),
    (ask(messages="hi"), "invalid_value", "messages"),
    (ask(messages=[{"role": "emperor", "content": "hi"}]), "invalid_value", "role"),
    (ask(messages=[{"role": "user", "content": {"a": 1}}]), "invalid_value", "content"),
    (ask(model=5), "invalid_value", "model"),
    (ask(model="x" * 1000), "invalid_value", "model"),
    (ask(foo=1), "unknown_parameter", "foo"),
    (ask(n=2), "unsupported_parameter", "n: 1"),
    (ask(temperature="hot"), "invalid_value", "temperature"),
    (ask(temperature=3), "invalid_value", "from 0 to 2"),
    (ask(top_p=-1), "invalid_value", "top_p"),
    (ask(max_tokens=1.5), "invalid_value", "max_tokens"),
    (ask(max_tokens=0), "invalid_value", "max_tokens"),
    (ask(stream="yes"), "invalid_value", "stream"),
    (ask(stop=[1]), "invalid_value", "stop"),
    (ask(logit_bias={"99999": 5}), "invalid_value", "99999"),
    (ask(logit_bias={"x": 5}), "invalid_value", "logit_bias"),
    (ask(logit_bias=[1]), "invalid_value", "logit_bias"),
    (ask(top_logprobs=2), "invalid_value", "logprobs"),
    (ask(messages=[{"role": "user", "content": "fox " * 3000}]), "context_length_exceeded", "1024"),
    (ask(seed=2**63), "invalid_value", "seed holds a number that is too large"),
    (ask(tools=[{"type": "function", "function": {"name": "f", "parameters": {"const": 2**64}}}]),
     "invalid_value", "tools holds a number"),
    (ask(guided_regex="(a{1000}){1000}"), "too_large", "(a{1000}){1000} explodes"),
    (ask(guided_regex=".*(.{0,50}a){0,50}b"), "too_large", ".*(.{0,50}a){0,50}b explodes"),
    (ask(response_format=schema({"type": "array", "items": {"type": "string"},
                                 "maxItems": 10**9})), "too_large", "maxItems"),
    (ask(response_format=schema({"items": {"pattern": "(a{1,999}){1,999}"}})), "too_large",
     "schema#/items: pattern"),
    (ask(response_format=schema({"$ref": "#/$defs/a29", "$defs": {
        **{f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at - 1}"}] * 2} for at in range(1, 30)},
        "a0": {"type": "string"}}})), "too_large", "does not end"),
]


@pytest.mark.parametrize("body,code,names", WRONG_CHATS)
def test_wrong_chat(node, body, code, names):
    status, answer = node.http("POST", "/v1/chat/completions", body,
                               {"Content-Type": "application/json"})
    assert status == 400 and answer["error"]["message"], answer
    assert code is None or answer["error"]["code"] == code, answer
    assert names in answer["error"]["message"], answer


def test_the_next_request_is_served(node):
    """After all of these, by the runner that refused them."""
    status, answer = node.chat("demo", guided_regex="[a-z]{3,5}")
    assert status == 200 and 3 <= len(answer["choices"][0]["message"]["content"]) <= 5, answer
    assert node.shows("ps")[0]["failures"] == 0


def test_models_that_are_not_there(node):
    node.chat_fails(404, "model_not_found", ask(model="nope"), "nope")
    node.chat_fails(404, "model_not_found", ask(model="../demo"), "../demo")
    node.chat_fails(404, "model_not_found", ask(model="mödel ☃"), "mödel ☃")
    node.chat_fails(503, "model_not_placed", ask(model="idle"), "troupe place idle")
    node.http_fails(404, "model_not_found", "GET", "/v1/models/nope", names="nope")


def test_nul_in_a_name(node):
    status, answer = node.http("POST", "/v1/chat/completions", '{"model":"de\\u0000mo"}',
                               {"Content-Type": "application/json"})
    assert status == 400 and answer["error"]["code"] == "invalid_value", answer
    assert "\\u0000" in answer["error"]["message"], answer


@pytest.mark.parametrize("method,path,status,code", [
    ("GET", "/nope", 404, "unknown_path"),
    ("POST", "/v1/models", 405, "method_not_allowed"),
    ("DELETE", "/v1/chat/completions", 405, "method_not_allowed"),
    ("BREW", "/health", 501, "unknown_method"),
    ("GET", "/instance/zzz", 404, "instance_not_found"),
    ("DELETE", "/instance/zzz", 404, "instance_not_found"),
    ("GET", "/instance/previews", 400, "missing_field"),
    ("GET", "/instance/previews?model_id=nope", 404, "model_not_found"),
    ("GET", "/instance/previews?model_id=demo&min_nodes=x", 400, "invalid_value"),
    ("GET", "/v1/../../etc/passwd", 400, "bad_target"),
])
def test_wrong_routes(node, method, path, status, code):
    node.http_fails(status, code, method, path)


@pytest.mark.parametrize("method,path,allowed", [
    ("OPTIONS", "/v1/chat/completions", "POST"),
    ("GET", "/v1/chat/completions", "POST"),
    ("PUT", "/v1/models", "GET, HEAD"),
    ("DELETE", "/instance", "GET, HEAD, POST"),
    ("POST", "/instance/" + "0" * 32, "GET, HEAD, DELETE"),
])
def test_a_405_says_what_is_allowed(node, method, path, allowed):
    connection = http.client.HTTPConnection(node.address(), timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    assert answer.status == 405 and answer.getheader("Allow") == allowed, answer.getheaders()
    connection.close()


@pytest.mark.parametrize("body,status,code", [
    ("{", 400, "invalid_json"),
    ("[]", 400, "invalid_json"),
    ({}, 400, "missing_field"),
    ({"model_id": 3}, 400, "invalid_value"),
    ({"model_id": "nope"}, 404, "model_not_found"),
    ({"model_id": "demo", "sharding": "round"}, 400, "invalid_value"),
    ({"model_id": "demo", "mode": "wild"}, 400, "invalid_value"),
    ({"model_id": "demo", "zip": 1}, 400, "unknown_parameter"),
    ({"model_id": "demo", "nodes": ["nope"]}, 404, "node_not_found"),
    ({"model_id": "demo", "min_nodes": 9}, 503, "no_capacity"),
    ({"model_id": "demo", "min_nodes": -1}, 400, "invalid_value"),
])
def test_wrong_placements(node, body, status, code):
    before = len(node.shows("ps"))
    node.http_fails(status, code, "POST", "/instance", body)
    assert len(node.shows("ps")) == before


def test_bytes_that_are_no_http(node):
    before = node.processes()
    host, port = node.address().rsplit(":", 1)
    noise = random.Random(5)
    for sent in (noise.randbytes(1), noise.randbytes(100), noise.randbytes(100000),
                 b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
                 b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                 b"Content-Length: 99999999999999999999\r\n\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.settimeout(10)
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(200)
            except OSError:
                answer = b""  # closed in the middle of the nonsense
        assert not answer or answer.split()[1][:1] == b"4", (sent[:40], answer)
    assert node.chat("demo", 3)[0] == 200
    assert node.processes() == before


def test_no_leader_is_told_within_its_time(node):
    """The master stands still: commands are refused, and do nothing later that was not said."""
    master = node.processes()["troupe-master"][0]
    os.kill(master, signal.SIGSTOP)
    try:
        began = time.monotonic()
        error = node.http_fails(503, "no_leader", "POST", "/instance", {"model_id": "idle"})
        assert time.monotonic() - began < 8, "3 s are promised; the rest is a loaded machine's"
        assert "try again" in error["message"]
    finally:
        os.kill(master, signal.SIGCONT)
    assert node.chat("demo", 3)[0] == 200
