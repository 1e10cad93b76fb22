# SPDX-License-Identifier: Apache-2.0
"""Forms of answers on a live node: calls of strict tools, answers without thinking.

A bias makes the model want to think, or to call, with every token: the form has the last word.
"""
import json
import os
import shutil

import jsonschema
import pytest

from bad_input import HELLO, MODEL, TOP, Node, copied, wait_for

SCHEMA = {"type": "object", "additionalProperties": False, "required": ["city", "days"],
          "properties": {"city": {"enum": ["Rome", "Oslo"]},
                         "days": {"type": "integer", "minimum": 1, "maximum": 9}}}


def bias(*texts):
    with open(os.path.join(MODEL, "tokenizer.json"), encoding="utf-8") as file:
        known = {one["content"]: one["id"] for one in json.load(file)["added_tokens"]}
    return {str(known[text]): 100 for text in texts}


def tools(**more):
    return [{"type": "function", "function": {"name": "forecast", "parameters": SCHEMA, **more}}]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Two templates: one that shows calls, one that shows thinking and cannot switch it off."""
    calls = copied(str(tmp_path_factory.mktemp("calls") / "model"), ["chat_template.jinja"])
    shutil.copy(os.path.join(TOP, "tests/golden/templates/qwen3-like.jinja"),
                os.path.join(calls, "chat_template.jinja"))
    thinks = copied(str(tmp_path_factory.mktemp("thinks") / "model"))
    with open(os.path.join(thinks, "chat_template.jinja"), "a", encoding="utf-8") as file:
        file.write("{#- <think></think> -#}")
    with Node("--name", "one") as opened:
        for name, directory in (("calls", calls), ("thinks", thinks)):
            opened.does("add", directory, "--name", name)
            opened.does("place", name, "--context", "1024", "--wait")
        yield opened


def said(node, model, tokens=200, **more):
    status, answer = node.chat(model, tokens, temperature=0, **more)
    assert status == 200, answer
    return answer["choices"][0]


def calls_of(choice):
    for call in choice["message"]["tool_calls"]:
        assert call["function"]["name"] == "forecast", call
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMA)
    return len(choice["message"]["tool_calls"])


def test_strict_calls_keep_to_their_schema(node):
    wanted = {"logit_bias": bias("<tool_call>"), "enable_thinking": False}
    choice = said(node, "calls", tools=tools(strict=True), parallel_tool_calls=False, **wanted)
    assert choice["finish_reason"] == "tool_calls" and calls_of(choice) == 1, choice
    choice = said(node, "calls", 600, tools=tools(strict=True), seed=3, **wanted)
    message = choice["message"]
    message["tool_calls"] = message["tool_calls"][:-1]  # the last one may be cut
    assert calls_of(choice) > 1, choice
    # Without the bias any answer is good: here a text.
    choice = said(node, "calls", tools=tools(strict=True), enable_thinking=False)
    assert choice["message"]["content"] or calls_of(choice), choice


def test_strict_schemas_that_cannot_be_kept_to_are_refused(node):
    given = tools(strict=True)
    given[0]["function"]["parameters"] = {"not": {"type": "null"}}
    error = node.chat_fails(400, "unsupported", {"model": "calls", "messages": HELLO,
                                                 "tools": given}, "parameters of forecast")
    assert error["param"] == "tools", error
    given[0]["function"]["strict"] = False
    assert node.chat("calls", tools=given)[0] == 200


def test_the_form_begins_at_once_where_thinking_is_off(node):
    wanted = {"guided_choice": ["Rome", "Oslo"], "logit_bias": bias("<think>")}
    message = said(node, "thinks", **wanted)["message"]
    assert message["reasoning_content"] and not message["content"], message
    for off in ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}},
                {"reasoning_effort": "none"}):
        message = said(node, "thinks", **wanted, **off)["message"]
        assert message["content"] in ("Rome", "Oslo"), message
        assert not message.get("reasoning_content"), message


def test_a_request_waits_for_a_model_that_is_being_loaded(tmp_path):
    """On the node that did not place it, the moment it hears that it shall run."""
    with Node("--name", "one") as one:
        code, token, err = one.troupe("token")
        assert code == 0, err
        other = Node("--name", "two", home=str(tmp_path / "two"))
        try:
            code, _, err = other.troupe("join", "-", "--name", "two", "--http", "127.0.0.1:0",
                                        text=token)
            assert code == 0, err
            one.does("add", MODEL, "--name", "demo")
            wait_for("the other gateway to know the model",
                     lambda: "demo" in json.dumps(other.http("GET", "/v1/models")[1]))
            for _ in range(3):
                one.does("place", "demo", "--nodes", "one", "--wait")
                placed = one.http("GET", "/instance")[1]["instances"][-1]["instance_id"]
                wait_for("the other gateway to hear of it",
                         lambda: placed in json.dumps(other.http("GET", "/instance")[1]))
                status, answer = other.chat("demo", 3)
                assert status == 200, answer
                one.does("delete", "demo")
        finally:
            other.troupe("stop")
