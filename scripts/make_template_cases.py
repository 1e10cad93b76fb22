#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders the snippets of tests/golden/templates/snippets.txt with jinja2 (pip install jinja2), set
up as transformers sets it up, and writes snippets.json beside them: the expected texts.

usage: make_template_cases.py
"""
import datetime
import json
import pathlib

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "templates"
CONTEXT = {
    "messages": [
        {"role": "system", "content": "Sys"},
        {"role": "user", "content": "Héllo <b> 'q'"},
        {"role": "assistant", "content": "a\n\nb",
         "tool_calls": [{"function": {"name": "f", "arguments": {
             "x": 1, "y": [1, 2.5, None, True], "z": {"k": "v"}}}}]},
    ],
    "arguments": {
        "s": "Hello World", "n": 7, "f": 2.5, "l": [3, 1, 2], "d": {"b": 1, "A": 2, "c": [1]},
        "e": "", "t": "aBc ünï ß",
        "items": [{"n": "x", "v": 2}, {"n": "Y", "v": 1}, {"n": "x", "v": 0}],
    },
}


class Generation(Extension):
    """The block that marks what the assistant wrote; without a tracker it only prints."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                         extensions=[Generation, loopcontrols])
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = datetime.datetime(2026, 11, 20, 12, 34, 56).strftime
    return made


def main():
    made = environment()
    cases = []
    for template in (FOLDER / "snippets.txt").read_text().split("\n@@\n"):
        case = {"template": template}
        try:
            case["text"] = made.from_string(template).render(
                messages=CONTEXT["messages"], tools=None, documents=None,
                add_generation_prompt=True, **CONTEXT["arguments"])
        except Exception as error:  # whatever Python refuses, with its class
            case["error"] = f"{type(error).__name__}: {error}"
        cases.append(case)
    whole = {**CONTEXT, "cases": cases}
    (FOLDER / "snippets.json").write_text(json.dumps(
        whole, separators=(",", ":"), ensure_ascii=False) + "\n")
    errors = sum("error" in case for case in cases)
    print(f"{len(cases)} snippets, {errors} of them errors")


if __name__ == "__main__":
    main()
