# SPDX-License-Identifier: Apache-2.0
"""What is sampled under a schema, from random logits, validates with jsonschema."""
import json
import os
import random
import re
import subprocess

import jsonschema
import pytest

ROOT = os.environ.get("TROUPE_SOURCE_DIR",
                      os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
BUILD = os.environ.get("TROUPE_BUILD_DIR", os.path.join(ROOT, "build"))
SAMPLES = os.path.join(BUILD, "tests", "property", "grammar-samples")
SEED = int(os.environ.get("TROUPE_SEED", "7"))

PERSON = {"type": "object", "additionalProperties": False, "required": ["name", "age"],
          "properties": {"name": {"type": "string", "maxLength": 12},
                         "age": {"type": "integer", "minimum": 0, "maximum": 150},
                         "mail": {"type": ["string", "null"], "description": "if any"}}}
SCHEMAS = [
    True, {}, {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "number"},
    {"type": "integer"}, {"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]},
    PERSON, {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 3},
    {"type": "object", "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/p"}}},
     "required": ["people"], "$defs": {"p": PERSON}},
    {"$ref": "#/$defs/list", "$defs": {"list": {
        "type": "object", "properties": {"value": {"type": "integer"}, "next": {
            "anyOf": [{"type": "null"}, {"$ref": "#/$defs/list"}]}},
        "required": ["value", "next"], "additionalProperties": False}}},
    {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}},
                                      "name": {"type": "string"}}, "required": ["kids"]},
    {"enum": ["a", 1, None, True, [1, {"x": "\u00e9\"\\\n"}], {"k": 0.1}]},
    {"const": {"a": [1, 2.5, "x"]}}, {"type": "string", "enum": ["red", "green", 3]},
    {"type": "string", "minLength": 3, "maxLength": 5}, {"type": "string", "minLength": 2},
    {"type": "string", "pattern": "^[A-Z]{2}[0-9]{3,5}$"},
    {"type": "string", "pattern": "[a-z]+[0-9]?"},
    {"type": "string", "pattern": "^(foo|ba[rz])"}, {"type": "string", "pattern": "^\"[a-z]\\\\$"},
    {"type": "string", "pattern": "^[^a-z]*$"}, {"type": "string", "pattern": "^\n\t+"},
    *({"type": "string", "format": one} for one in
      ("date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname", "duration",
       "uri")),
    {"type": "integer", "minimum": -17, "maximum": 12345}, {"type": "integer", "minimum": 998},
    {"type": "integer", "exclusiveMaximum": -3}, {"type": "integer", "multipleOf": 12},
    {"type": "number", "minimum": -0.5, "exclusiveMaximum": 2.75},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "number", "minimum": 1e3},
    {"type": "number", "minimum": -1.5, "maximum": -0.25},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "null"}, "minItems": 3},
    {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"ab": {"type": "null"}, "abc\u00e9": {"type": "null"}},
     "additionalProperties": {"type": "boolean"}},
    {"type": "object", "properties": {"a\"b\\": {"type": "null"}}, "additionalProperties": True},
    {"type": "object", "minProperties": 1, "maxProperties": 3,
     "additionalProperties": {"enum": [1, 2]}},
    {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer"}, PERSON]},
    {"oneOf": [{"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {
        "type": "integer"}}, "required": ["kind", "lives"], "additionalProperties": False},
        {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"],
         "additionalProperties": False}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
               {"properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "string"}},
                "required": ["b"]}]},
    {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"],
     "anyOf": [{"properties": {"y": {"type": "null"}}, "required": ["y"]},
               {"properties": {"x": {"maximum": 3}}}]},
    {"properties": {"n": {"$ref": "#/definitions/n", "maximum": 9}}, "required": ["n"],
     "definitions": {"n": {"type": "integer", "minimum": 7}}},
    {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(60)}},
]


def samples(tasks):
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    run = subprocess.run([SAMPLES, os.path.join(ROOT, "tests", "golden", "tokenizers", "qwen")],
                         input=lines, capture_output=True, text=True, check=False, timeout=600,
                         env={**os.environ, "TROUPE_SEED": str(SEED)})
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.split("\n") if line]


def validate(schema, made):
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    ended = 0
    for one in made:
        assert "refused" not in one, one
        if one["ended"]:
            ended += 1
            validator.validate(json.loads(one["text"]))
    assert ended * 2 >= len(made), f"{ended} of {len(made)} samples ended"


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_samples_validate(schema):
    validate(schema, samples([{"demand": {"type": "json_schema", "schema": schema}, "count": 20,
                               "steps": 160}]))


def random_schema(source, depth):
    """Any schema of what is understood, not deeper than `depth`."""
    kind = source.choice(["object", "array", "string", "integer", "number", "enum", "any", "types"]
                         if depth > 0 else ["string", "integer", "number", "enum"])
    if kind == "object":
        names = [source.choice("abcdef") * source.randint(1, 3)
                 for _ in range(source.randint(0, 4))]
        schema = {"type": kind, "properties": {n: random_schema(source, depth - 1) for n in names},
                  "required": [n for n in set(names) if source.random() < 0.5]}
        if source.random() < 0.5:
            schema["additionalProperties"] = source.choice([False, random_schema(source, 0)])
        return schema
    if kind == "array":
        least = source.randint(0, 2)
        return {"type": kind, "items": random_schema(source, depth - 1), "minItems": least,
                "maxItems": least + source.randint(0, 3)}
    if kind == "string":
        return source.choice([{"type": kind}, {"type": kind, "maxLength": source.randint(1, 9)},
                              {"type": kind, "pattern": source.choice(
                                  ["^[ab]+$", "\\d{2}", "^(x|yz)*$", "^\\S{1,4}$"])}])
    if kind in ("integer", "number"):
        low = source.randint(-2000, 2000) / source.choice([1, 1, 8])
        return {"type": kind, "minimum": low, source.choice(["maximum", "exclusiveMaximum"]):
                low + source.randint(2, 5000)}
    if kind == "enum":
        return {"enum": source.sample([1, "a", None, 2.5, "\u00e9", [], True, "b c"], 3)}
    if kind == "any":
        return {"anyOf": [random_schema(source, depth - 1) for _ in range(source.randint(1, 3))]}
    return {"type": source.sample(["string", "integer", "null", "boolean", "number"], 2)}


def test_samples_of_random_schemas_validate():
    print("seed", SEED)
    source = random.Random(SEED)
    schemas = [random_schema(source, 3) for _ in range(150)]
    made = samples([{"demand": {"type": "json_schema", "schema": schema}, "count": 4, "steps": 200}
                    for schema in schemas])
    assert len(made) == 4 * len(schemas)
    for at, schema in enumerate(schemas):
        for one in made[4 * at:4 * at + 4]:
            if one["ended"]:
                jsonschema.Draft202012Validator(schema).validate(json.loads(one["text"]))


def changed(source, value):
    """Another value, near the first."""
    if isinstance(value, dict) and value:
        key = source.choice(list(value))
        return {**value, key: changed(source, value[key])} if source.random() < 0.7 else {
            other: one for other, one in value.items() if other != key}
    if isinstance(value, list) and value:
        place = source.randrange(len(value))
        return source.choice([value[:-1], value + value[-1:],
                              value[:place] + [changed(source, value[place])] + value[place + 1:]])
    return source.choice([None, 7, "a", "ab", [], {}, -value if type(value) is int else True])


def has_fraction(value):
    if isinstance(value, dict):
        return any(map(has_fraction, value.values()))
    return any(map(has_fraction, value)) if isinstance(value, list) else isinstance(value, float)


def test_forms_are_taken_and_what_is_invalid_is_not():
    source = random.Random(SEED)
    schemas = [random_schema(source, 3) for _ in range(80)]
    made = samples([{"demand": {"type": "json_schema", "schema": schema}, "count": 3, "steps": 120}
                    for schema in schemas])
    tasks, wanted = [], []
    for at, schema in enumerate(schemas):
        texts = []
        validator = jsonschema.Draft202012Validator(schema)
        for one in made[3 * at:3 * at + 3]:
            value = json.loads(one["text"]) if one["ended"] else None
            if not one["ended"] or has_fraction(value):  # readers write other digits
                continue
            for form in ({"separators": (",", ":")}, {}, {"indent": 2}):
                texts.append(json.dumps(value, ensure_ascii=False, **form))
                wanted.append((schema, texts[-1], True))
            other = changed(source, value)
            if not validator.is_valid(other):
                texts.append(json.dumps(other, ensure_ascii=False))
                wanted.append((schema, texts[-1], False))
        tasks.append({"demand": {"type": "json_schema", "schema": schema}, "count": 0,
                      "texts": texts})
    said = samples(tasks)
    assert len(said) == len(wanted)
    for (schema, text, takes), one in zip(wanted, said):
        assert one["takes"] == takes, (schema, text)


def test_samples_of_json_objects_and_expressions():
    for one in samples([{"demand": {"type": "json_object"}, "count": 30, "steps": 120}]):
        assert not one["ended"] or isinstance(json.loads(one["text"]), dict)
    for pattern in ("[a-f0-9]{8}", "(yes|no|maybe)( indeed)?", "\\w+@\\w+\\.(com|org)",
                    "(\\d{1,3}\\.){3}\\d{1,3}", "[^\\s]{3,9}", "\u00e9+|\u65e5\u672c?"):
        for one in samples([{"demand": {"type": "regex", "pattern": pattern}, "count": 20,
                             "steps": 60}]):
            if one["ended"]:
                assert re.fullmatch(pattern, one["text"]), (pattern, one["text"])
