# SPDX-License-Identifier: Apache-2.0
"""Wrong model directories: refused by name before memory is sized by them, nothing kept."""
import json
import os
import shutil
import signal
import struct
import subprocess

import pytest

from bad_input import (ENGINE, FAILED, HELLO, INSPECTOR, MODEL, NOT_FOUND, TROUPE, USAGE, WEIGHTS,
                       Node, copied, json_change, refused, run, wait_for, weights_read,
                       weights_write)

TENSOR = "model.layers.1.mlp.down_proj.weight"
INDEX = WEIGHTS + ".index.json"
SCALES = TENSOR.replace(".weight", ".scales")


def cut(directory, size):
    os.truncate(os.path.join(directory, WEIGHTS), size)


def overlap(directory):
    header, data = weights_read(directory)
    rows = sorted((entry["data_offsets"], name) for name, entry in header.items()
                  if name != "__metadata__")
    second = header[rows[1][1]]
    # Begins within the one before it, with its own size.
    second["data_offsets"] = [second["data_offsets"][0] - 2, second["data_offsets"][1] - 2]
    weights_write(directory, header, data)


def header_of(directory, size):
    with open(os.path.join(directory, WEIGHTS), "r+b") as file:
        file.write(struct.pack("<Q", size))


def no_tensor(directory, gone=TENSOR):
    """Cut out cleanly, so that the file is a valid one of another model."""
    header, data = weights_read(directory)
    kept, out = {}, b""
    for name, entry in sorted(((name, entry) for name, entry in header.items()
                               if name not in ("__metadata__", gone)),
                              key=lambda row: row[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        kept[name] = {**entry, "data_offsets": [len(out), len(out) + end - begin]}
        out += data[begin:end]
    weights_write(directory, kept, out)


def shape_of(directory):
    return weights_read(directory)[0][TENSOR]["shape"]


def tensor_with(directory, **change):
    header, data = weights_read(directory)
    header[TENSOR].update(change)
    weights_write(directory, header, data)


def config(directory, **change):
    json_change(directory, "config.json", lambda value: value.update(change))


def quantised(directory, **change):
    config(directory, quantization=change, quantization_config=change)


def write(directory, name, text):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)


SPOILT = {
    "cut-data": (lambda d: cut(d, 500000), ["model.safetensors", "ends beyond the file"]),
    "cut-header": (lambda d: cut(d, 5000), ["model.safetensors", "cut"]),
    "empty-file": (lambda d: cut(d, 0), "model.safetensors"),
    "overlap": (overlap, ["model.safetensors", "overlap"]),
    "huge-header": (lambda d: header_of(d, 1 << 40), ["model.safetensors", "1099511627776"]),
    "no-tensor": (no_tensor, TENSOR),
    "no-scales": (lambda d: [no_tensor(d, SCALES), os.remove(os.path.join(d, INDEX))],
                  SCALES + " is missing"),
    "further-side": (lambda d: tensor_with(d, shape=[1, *shape_of(d)]), [TENSOR, "[1, "]),
    "wrong-shape": (lambda d: tensor_with(d, shape=[64, 192]), [TENSOR, "[64, 192]"]),
    "wrong-dtype": (lambda d: tensor_with(d, dtype="Q7"), [TENSOR, "Q7"]),
    "unknown-type": (lambda d: config(d, model_type="zorg"), ["zorg", "qwen3"]),
    "own-code": (lambda d: config(d, model_file="zorg.py"), "model_file"),
    "seven-bits": (lambda d: quantised(d, group_size=64, bits=7), "7 bits"),
    "group-of-48": (lambda d: quantised(d, group_size=48, bits=4), "groups of 48"),
    "awq": (lambda d: config(d, quantization=None,
                             quantization_config={"quant_method": "awq", "bits": 4}), "awq"),
    "no-json": (lambda d: write(d, "config.json", '{"a": '), "config.json"),
    "huge-layers": (lambda d: config(d, num_hidden_layers=10**9), "num_hidden_layers"),
    "less-than-none": (lambda d: config(d, hidden_size=-192), "hidden_size"),
    "other-size": (lambda d: config(d, vocab_size=1024), "[1024, 24]"),
    "escape": (lambda d: json_change(d, INDEX,
                                     lambda v: v["weight_map"].update({TENSOR: "../../x"})),
               "is not a plain"),
}


@pytest.fixture(scope="module")
def node():
    with Node("--name", "one") as opened:
        yield opened


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt(node, tmp_path, how):
    spoil, names = SPOILT[how]
    directory = copied(str(tmp_path / how))
    spoil(directory)
    before = node.store()
    code, _, _ = node.troupe("add", directory, "--name", how)
    assert code in (FAILED, NOT_FOUND)
    said = node.refuses(code, "add", directory, "--name", how, names=names)
    alone = refused(1, "eval", "--model", directory, "--ids", "1,2", "--json", program=ENGINE,
                    names=names)
    assert said.split(": ", 1)[1] == alone.split(": ", 1)[1]
    assert node.store() == before


@pytest.mark.parametrize("missing", ["tokenizer.json", "config.json", WEIGHTS])
def test_a_file_is_missing(node, tmp_path, missing):
    also = [INDEX] if missing == WEIGHTS else []
    directory = copied(str(tmp_path / "model"), [missing, *also])
    names = "safetensors" if missing == WEIGHTS else missing
    node.refuses(NOT_FOUND, "add", directory, "--name", "missing", names=[directory, names])
    assert "missing" not in node.store()


def test_a_tokenizer_that_is_code(node, tmp_path):
    directory = copied(str(tmp_path / "model"), ["tokenizer.json"])
    write(directory, "tokenization_zorg.py", "raise SystemExit('run')\n")
    write(directory, "tiktoken.model", "IQ== 0\n")
    node.refuses(FAILED, "add", directory, "--name", "code",
                 names=["no tokenizer.json", "tokenization_zorg.py is never run"])
    assert "code" not in node.store()


def test_names_of_directories_and_models(node):
    node.refuses(NOT_FOUND, "add", "/nonexistent", names="/nonexistent")
    node.refuses(FAILED, "add", "/etc/passwd", names="/etc/passwd is not a directory")
    before = node.store()
    for name in ["../x", "/x", "a/../b", "", ".hidden", "mödel ☃", "a b", "a//b", "a/",
                 "new\nline"]:
        code, _, err = node.troupe("add", MODEL, "--name", name)
        assert code == FAILED and "is no name for a model" in err, (name, code, err)
    node.refuses(FAILED, "add", MODEL, "--name", "x" * 1000, names="model_id")
    assert node.store() == before
    node.verified()


def test_token_ids_out_of_range():
    refused(1, "eval", "--model", MODEL, "--ids", "1,2048", program=ENGINE,
            names=["2048", "out of range"])
    for wrong in ("1,-2", "1,x", "", "1,,2", "99999999999999"):
        refused(USAGE, "eval", "--model", MODEL, "--ids", wrong, program=ENGINE, names="--ids")


def last_reason(node, model):
    for instance in node.shows("ps"):
        if instance["model_id"] == model:
            return instance
    return None


def test_what_only_the_runner_sees(node, tmp_path):
    """A tokenizer or template that is none: the instance fails with the name of the file."""
    tokenizer = copied(str(tmp_path / "tokenizer"))
    write(tokenizer, "tokenizer.json", "{}")
    node.does("add", tokenizer, "--name", "tokenless")
    merges = copied(str(tmp_path / "merges"))
    json_change(merges, "tokenizer.json", lambda value: value["model"].pop("merges"))
    node.does("add", merges, "--name", "unmerged")
    template = copied(str(tmp_path / "template"), ["chat_template.jinja"])
    write(template, "chat_template.jinja", "{% for m in messages %}{{ m ")
    node.does("add", template, "--name", "untemplated")
    for model, names in (("tokenless", "tokenizer.json"),
                         ("unmerged", "tokenizer.json: model.merges is not a list"),
                         ("untemplated", "chat template")):
        node.does("place", model)
        wait_for("the reason", lambda: names in json.dumps(last_reason(node, model)))
        status, answer = node.chat(model)
        assert status == 503 and names in answer["error"]["message"], answer
        node.does("delete", model)
        node.does("remove", model)


def test_no_chat_template(node, tmp_path):
    plain = copied(str(tmp_path / "plain"), ["chat_template.jinja"])
    node.does("add", plain, "--name", "plain")
    node.does("place", "plain", "--wait")
    status, answer = node.chat("plain")
    assert status == 400 and "chat template" in answer["error"]["message"], answer
    node.does("delete", "plain")
    node.does("remove", "plain")


@pytest.mark.parametrize("text, wanted, says", [
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", 413,
     "steps"),
    ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", 413, "deeply"),
    ("{{ 'x' * 99999999 }}", 413, "too many steps"),
    ("{{ raise_exception('Only users may speak.') }}", 400, "Only users may speak."),
    ("{{ messages[0].content.nothing.at_all }}", 400, "nothing"),
])
def test_templates_that_give_no_prompt(node, tmp_path, text, wanted, says):
    """One sentence to the client, and the instance goes on."""
    model = copied(str(tmp_path / "model"), ["chat_template.jinja"])
    write(model, "chat_template.jinja", text)
    node.does("add", model, "--name", "endless")
    node.does("place", "endless", "--wait")
    for _ in range(2):
        status, answer = node.chat("endless")
        assert status == wanted and says in answer["error"]["message"], answer
    node.does("delete", "endless")
    node.does("remove", "endless")


def failures(node):
    code, out, err = run(INSPECTOR, "list", "--kind", "generation_failed", "--json", "--log",
                         os.path.join(node.home, "log"))
    assert code == 0, err
    return out


def test_a_file_that_shrinks_while_it_is_used(node):
    """The runner ends with the name of the file; the node lives and refuses the next generation."""
    node.does("add", MODEL, "--name", "shrinks")
    node.does("place", "shrinks", "--wait")
    assert node.serves("shrinks")
    before = {name: pids for name, pids in node.processes().items() if name != "troupe-runner"}
    cut(node.stored("shrinks"), 4096)
    status, answer = node.chat("shrinks", 200)
    # The node may have missed the file before the answer was given up: then that is said.
    said = answer["error"]["message"]
    assert status == 503 and (WEIGHTS in said or "holds the weights of shrinks" in said), answer
    assert f"the weight file {WEIGHTS}" in failures(node)
    after = {name: pids for name, pids in node.processes().items() if name != "troupe-runner"}
    assert after == before
    node.does("delete", "shrinks")
    # Taken in again it serves again.
    node.does("remove", "shrinks")
    wait_for("the files gone", lambda: "shrinks" not in node.store())
    node.does("add", MODEL, "--name", "shrinks")
    node.does("place", "shrinks", "--wait")
    assert node.serves("shrinks")
    node.refuses(FAILED, "remove", "shrinks", names="an instance of shrinks exists")
    node.does("delete", "shrinks")
    node.refuses(NOT_FOUND, "delete", "shrinks", names="shrinks")
    node.does("remove", "shrinks")
    node.refuses(NOT_FOUND, "remove", "shrinks", names="model")
    node.http_fails(404, "model_not_found", "POST", "/instance", {"model_id": "shrinks"})


def test_a_model_changed_or_lost_while_placed(node):
    for model, spoil, names in (
            ("changed", lambda d: os.utime(os.path.join(d, WEIGHTS), (1, 1)), "changed since"),
            ("lost", lambda d: os.rename(d, d + "-away"), "cannot be opened")):
        node.does("add", MODEL, "--name", model)
        node.does("place", model, "--wait")
        directory = node.stored(model)
        spoil(directory)
        os.kill(node.processes()["troupe-runner"][0], signal.SIGKILL)
        wait_for("a refusal by name", lambda: names in json.dumps(last_reason(node, model)))
        status, answer = node.chat(model)
        # What was only touched is read again, and the request waits for that.
        assert (status == 200 and model == "changed") or (
            status == 503 and model in answer["error"]["message"]), answer
        node.does("delete", model)
        if os.path.isdir(directory + "-away"):
            os.rename(directory + "-away", directory)
        node.does("remove", model)
    node.verified()


def test_a_directory_deleted_by_hand(node):
    node.does("add", MODEL, "--name", "deleted")
    holders = lambda: [one["holders"] for one in node.shows("models")  # noqa: E731
                       if one["model_id"] == "deleted"]
    assert holders() and holders()[0], node.shows("models")
    node.does("place", "deleted", "--wait")
    shutil.rmtree(os.path.join(node.models, "models--deleted"))
    wait_for("no holder", lambda: holders() == [[]], seconds=30)
    # What runs goes on; what cannot come back is given up, whoever waits for it.
    assert node.serves("deleted")
    os.kill(node.processes()["troupe-runner"][0], signal.SIGKILL)
    wait_for("the end", lambda: last_reason(node, "deleted")["status_name"] == "failed")
    assert "no node holds the weights" in last_reason(node, "deleted")["last_reason"]
    node.does("delete", "deleted")
    node.chat_fails(503, "no_holder", {"model": "deleted", "messages": HELLO}, "any more")
    node.does("remove", "deleted")
    node.verified()


def test_two_adds_of_one_name(node):
    adds = [subprocess.Popen([TROUPE, "add", MODEL, "--name", "twice", "--home", node.home],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    said = [add.communicate(timeout=60)[1] for add in adds]
    codes = sorted(add.returncode for add in adds)
    # The second is told so, or finds the first done.
    assert codes in ([0, 0], [0, FAILED]), said
    if codes == [0, FAILED]:
        assert any("being taken in already" in text for text in said), said
    assert node.store().count("twice") == 1
    assert not node.partials()
    first, second = (json.loads(node.does("place", "twice", "--json"))["instance_id"]
                     for _ in range(2))
    assert first != second
    node.does("delete", first)
    node.does("delete", second)
    node.does("remove", "twice")


def test_too_little_memory():
    with Node("--memory-max", "3M") as small:
        small.does("add", MODEL, "--name", "big")
        small.refuses(6, "place", "big", names=["big", "memory"])
        small.http_fails(503, "no_capacity", "POST", "/instance", {"model_id": "big"}, "memory")
        assert small.shows("ps") == []
        small.verified()
