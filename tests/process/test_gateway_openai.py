# SPDX-License-Identifier: Apache-2.0
"""The official openai client against a real gateway process."""
import http.client
import json
import time

import openai
import pytest

from gateway_stage import STATUS_CONTEXT_LENGTH, Stage

ASK = [{"role": "user", "content": "Is it?"}]
ANSWER = "Yes it is a good day to test this"


@pytest.fixture
def stage():
    with Stage() as opened:
        yield opened


def client_of(stage):
    return openai.OpenAI(base_url=stage.url + "/v1", api_key="none", max_retries=0, timeout=30)


def test_whole_answer(stage):
    answer = client_of(stage).chat.completions.create(model="demo", messages=ASK)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 3
    assert answer.usage.completion_tokens == 9
    assert answer.system_fingerprint.startswith("troupe-seed-")


def test_raw_stream_with_usage(stage):
    chunks = list(client_of(stage).chat.completions.create(
        model="demo", messages=ASK, stream=True, max_completion_tokens=4,
        stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    roles = [chunk.choices[0].delta.role for chunk in chunks if chunk.choices]
    assert roles[0] == "assistant" and not any(roles[1:])
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == "length" and not any(reasons[:-1])
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Yes it is a"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 4
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_streaming_helper(stage):
    with client_of(stage).chat.completions.stream(model="demo", messages=ASK, logprobs=True,
                                                  top_logprobs=0) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ANSWER
    assert final.choices[0].finish_reason == "stop"
    deltas = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(deltas) == ANSWER
    assert len(final.choices[0].logprobs.content) == 9
    assert final.choices[0].logprobs.content[0].bytes == list(b"Yes")


CALLS = {0: {"reasoning": "Let me "}, 1: {"reasoning": "see."},
         3: {"calls": [{"name": "add"}, {"arguments": '{"a":'}]},
         4: {"calls": [{"arguments": "1}"}, {"number": 1, "name": "now"},
                       {"number": 1, "arguments": "{}"}]}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}}}} for name in ("add", "now")]


@pytest.mark.parametrize("cut_after", [None, 4])
def test_thinking_and_calls(stage, cut_after):
    stage.extras = CALLS
    stage.cut_after = cut_after
    whole = client_of(stage).chat.completions.create(model="demo", messages=ASK, tools=TOOLS)
    message = whole.choices[0].message
    assert whole.choices[0].finish_reason == "tool_calls"
    assert message.reasoning_content == message.reasoning == "Let me see."
    assert [(c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("add", '{"a":1}'), ("now", "{}")]
    assert message.tool_calls[0].id != message.tool_calls[1].id
    stage.cut_after = cut_after
    with client_of(stage).chat.completions.stream(model="demo", messages=ASK,
                                                  tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [(c.function.name, c.function.arguments) for c in calls] == [
        ("add", '{"a":1}'), ("now", "{}")]
    assert final.choices[0].finish_reason == "tool_calls"
    thought = "".join(getattr(event.chunk.choices[0].delta, "reasoning_content", None) or ""
                      for event in events if event.type == "chunk" and event.chunk.choices)
    assert thought == "Let me see."
    assert final.choices[0].message.content == ANSWER
    if cut_after:
        assert stage.generates[-1]["tools"] and not stage.generates[-1].get("messages")


def test_forms_of_the_answer_reach_the_runner(stage):
    client = client_of(stage)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
              "additionalProperties": False}
    client.chat.completions.create(
        model="demo", messages=ASK, response_format={
            "type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}})
    client.chat.completions.create(model="demo", messages=ASK, tools=TOOLS,
                                   tool_choice="required", parallel_tool_calls=False)
    client.chat.completions.create(model="demo", messages=ASK, extra_body={"guided_regex": "a+"})
    assert [json.loads(one["demand"]) for one in stage.generates] == [
        {"type": "json_schema", "schema": schema}, {"type": "tools", "parallel": False},
        {"type": "regex", "pattern": "a+"}]


def test_helper_sees_no_loss_of_a_runner(stage):
    stage.cut_after = 4
    with client_of(stage).chat.completions.stream(
            model="demo", messages=ASK, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ANSWER
    assert final.usage.completion_tokens == 9
    first, second = stage.generates
    assert first["attempt"] == 1 and second["attempt"] == 2
    assert second["sent_ids"] == [10, 11, 12, 13]
    assert second["prompt_ids"] == [1, 2, 3] and not second.get("messages")
    assert second["sampling"]["seed"] == first["sampling"]["seed"]


def test_errors_are_typed(stage):
    client = client_of(stage)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=ASK, n=2)
    assert caught.value.param == "n" and caught.value.code == "unsupported_parameter"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=ASK, temperature=3)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nothing", messages=ASK)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="resting", messages=ASK)
    assert caught.value.status_code == 503 and caught.value.code == "model_not_placed"
    stage.refuse = (STATUS_CONTEXT_LENGTH, "The prompt has 9 tokens, the context 8.")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=ASK, stream=True)
    assert caught.value.code == "context_length_exceeded"


def test_models(stage):
    client = client_of(stage)
    assert [model.id for model in client.models.list()] == ["demo", "resting"]
    assert client.models.retrieve("demo").status == "ready"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_a_client_that_leaves_stops_the_generation():
    with Stage(words=["word"] * 500, delay_s=0.02) as stage:
        stream = client_of(stage).chat.completions.create(model="demo", messages=ASK, stream=True)
        for _, _chunk in zip(range(5), stream):
            pass
        left = time.monotonic()
        stream.close()
        while not stage.cancels and time.monotonic() - left < 5:
            time.sleep(0.01)
        assert stage.cancels, "no cancel_generation came"
        while '"finish":"client_gone"' not in stage.journal():
            assert time.monotonic() - left < 10, stage.journal()
            time.sleep(0.01)


def test_commands_without_a_leader_are_answered_in_time(stage):
    connection = http.client.HTTPConnection(stage.address, timeout=10)
    began = time.monotonic()
    connection.request("POST", "/instance", json.dumps({"model_id": "demo"}),
                       {"Content-Type": "application/json"})
    response = connection.getresponse()
    body = json.loads(response.read())
    assert time.monotonic() - began < 8, "3 s are promised; the rest is a loaded machine's"
    assert response.status == 503 and body["error"]["code"] == "no_leader"
    assert response.getheader("Retry-After")
    assert len(stage.commands) == 1
    connection.close()


def test_journal_holds_facts_and_no_text(stage):
    """A line is written after its answer was sent: those of other tests may come meanwhile."""
    client_of(stage).chat.completions.create(model="demo", messages=ASK)
    end = time.monotonic() + 20
    facts = {"answer_tokens": 9, "http_status": 200, "attempts": 1}
    while not any(facts.items() <= json.loads(line).items()
                  for line in stage.journal().splitlines(keepends=True) if line.endswith("\n")):
        assert time.monotonic() < end, stage.journal()
        time.sleep(0.01)
    assert "Is it" not in stage.journal() and "good day" not in stage.journal()
