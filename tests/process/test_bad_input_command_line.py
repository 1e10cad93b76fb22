# SPDX-License-Identifier: Apache-2.0
"""Wrong command lines and settings: exit code 2 or 78, and the nearest right word."""
import os

import pytest

from bad_input import (BUILD, CONFIGURATION, ENGINE, FAILED, INSPECTOR, MODEL, NO_CAPACITY,
                       NOT_ADMITTED, NOT_FOUND, USAGE, Node, refused, run, troupe)


@pytest.fixture(scope="module")
def node():
    with Node("--name", "one") as opened:
        opened.does("add", MODEL, "--name", "demo")
        yield opened


def test_typing_errors(node):
    for arguments, names in (
            (("pss",), "did you mean ps?"),
            (("plaec", "demo"), "did you mean place?"),
            (("frobnicate",), "troupe --help"),
            (("help", "plce"), "did you mean place?"),
            (("ps", "--hom", "x"), "did you mean --home?"),
            (("place", "demo", "--shardin", "tensor"), "did you mean --sharding?"),
            (("ps", "--frobnicate"), "troupe ps --help"),
            (("ps", "-x"), "troupe ps --help"),
            (("ps", "--home"), "--home needs a value"),
            (("ps", "--json=yes"), "--json takes no value"),
            (("place",), "MODEL"),
            (("join",), "no token on standard input"),
            (("join", "a", "b"), "b"),
            (("run", "demo", "hi", "--key-file"), "--key-file needs a value"),
            (("ps", "extra"), "extra"),
            (("client", "frob", "x"), "frob"),
            (("client", "add"), "NAME"),
            (("up", "--htpt", "x"), "did you mean http?"),
            (("up", "extra"), "extra"),
            (("up", "--memory-max", "lots"), ["memory_max", "lots"]),
            (("up", "--lease-ms", "1"), ["lease_ms", "100"]),
            (("up", "--log-level", "shout"), "error, warning, notice or debug"),
            (("up", "--name", "n" * 100), "name"),
            (("up", "--quorum", "maybe"), ["quorum", "maybe"]),
            (("stop", "extra"), "extra")):
        refused(USAGE, *arguments, names=names)
    assert troupe()[0] == USAGE


def test_wrong_values(node):
    for arguments, names in (
            (("place", "demo", "--sharding", "round"), "round"),
            (("place", "demo", "--min-nodes", "x"), ["--min-nodes", "x"]),
            (("place", "demo", "--min-nodes", "99999"), ["--min-nodes", "64"]),
            (("place", "demo", "--context", "abc"), ["--context", "abc"]),
            (("client", "add", "../../x"), "../../x"),
            (("client", "add", ".x"), ".x"),
            (("client", "add", "x" * 1000), "no name for a client"),
            (("client", "add", "x", "--role", "emperor"), "emperor")):
        node.refuses(USAGE, *arguments, names=names)
    for arguments, names in (
            (("place", "nope"), "nope"),
            (("place", "demo", "--nodes", "zzz"), "zzz"),
            (("run", "nope", "hi"), "nope"),
            (("previews", "nope"), "nope"),
            (("delete", "nope"), "nope"),
            (("retry", "nope"), "nope"),
            (("remove-node", "nope"), "nope"),
            (("client", "remove", "nope"), "nope")):
        node.refuses(NOT_FOUND, *arguments, names=names)
    node.refuses(NO_CAPACITY, "place", "demo", "--min-nodes", "2", names="nodes")
    for code, arguments, names in (
            (NO_CAPACITY, ("--shares", "3,1"), ["2 shares", "only 1 node"]),
            (FAILED, ("--shares", "1", "--sharding", "tensor"), "at least two"),
            (FAILED, ("--shares", "3,1", "--nodes", "one"), ["2 shares", "1 node"]),
            (USAGE, ("--shares", "3,x"), "--shares")):
        node.refuses(code, "place", "demo", *arguments, names=names)
    assert node.shows("ps") == []
    assert not os.path.exists("x.json") and not os.path.exists("../../x.json")


def test_wrong_connection_files():
    refused(NOT_FOUND, "ps", "--connect", "/nonexistent", names="/nonexistent")
    code, _, err = troupe("ps", "--connect", "/etc/passwd")
    assert code != 0 and "/etc/passwd" in err, err


@pytest.mark.parametrize("text,names", [
    ("htpt = 127.0.0.1:0\n", "did you mean http?"),
    ("lease_ms = 5\n", ["lease_ms", "100"]),
    ("log_level = loud\n", "log_level"),
    ("[cluster]\nname = x\n", "[cluster]"),
    ("name = a\nname = b\n", "twice"),
    ("home = /tmp\n", "home"),
    ("name\n", "line 1"),
    ("name = \0x\n", "no text"),
    ("name = " + "x" * 5000 + "\n", "line 1"),
    ("x" * 100000, "larger"),
])
def test_wrong_settings_in_the_file(tmp_path, text, names):
    path = tmp_path / "config.ini"
    path.write_text(text, encoding="utf-8")
    expected = [str(path), *([names] if isinstance(names, str) else names)]
    for command in ("up", "ps"):
        refused(CONFIGURATION, command, "--home", str(tmp_path), names=expected)
    assert os.listdir(tmp_path) == ["config.ini"]


def test_the_engine_alone():
    for arguments, names in (
            (("frob",), "frob"),
            (("eval",), "--model"),
            (("eval", "--modle", "x"), "--modle"),
            (("eval", "--model", MODEL), "--ids"),
            (("eval", "--model", MODEL, "--ids", "1", "--greedy", "x"), ["--greedy", "x"]),
            (("eval", "--model", MODEL, "--ids", "1", "--sharding", "round"), "--sharding"),
            (("eval", "--model", MODEL, "--ids", "1", "--ranks", "99"), ["--ranks", "99"])):
        refused(USAGE, *arguments, program=ENGINE, names=names)
    for arguments, names in (
            (("eval", "--model", "/nonexistent", "--ids", "1"), "/nonexistent"),
            (("tokenize", "--model", "/nonexistent"), "/nonexistent"),
            (("render", "--model", MODEL), "JSON")):
        refused(1, *arguments, program=ENGINE, names=names)


def test_the_inspector(node):
    log = os.path.join(node.home, "log")
    for arguments, names in (
            ((), "which command"),
            (("lsit",), "lsit"),
            (("list", "--lgo", "x"), "--lgo"),
            (("list", "--log"), "--log"),
            (("show", "abc", "--log", log), "abc"),
            (("list", "--kind", "nope", "--log", log), "nope"),
            (("list", "--actor", "nope", "--log", log), "nope"),
            (("diff", "--log", log), "two logs")):
        refused(USAGE, *arguments, program=INSPECTOR, names=names)
    for arguments, names in (
            (("list", "--log", "/nonexistent"), "/nonexistent"),
            (("verify", "--log", "/tmp"), "/tmp"),
            (("show", "999999", "--log", log), "999999")):
        refused(1, *arguments, program=INSPECTOR, names=names)


def test_keys_for_the_http_interface(tmp_path):
    key = "a-key-of-many-letters"
    gateway = os.path.join(BUILD, "actors", "gateway", "troupe-gateway")
    code, line, err = run(gateway, "hash-key", text=key + "\n")
    assert code == 0, err
    hashes, file = tmp_path / "hashes", tmp_path / "key"
    hashes.write_text(line)
    hashes.chmod(0o600)
    with Node("--http-key-file", str(hashes)) as node:
        node.does("add", MODEL, "--name", "demo")
        ask = ("run", "demo", "Hello!", "--max-tokens", "3")
        node.refuses(NOT_ADMITTED, *ask, names=["--key-file", "$TROUPE_HTTP_KEY"])
        node.refuses(NOT_FOUND, *ask, "--key-file", str(file), names=str(file))
        file.write_text("")
        node.refuses(USAGE, *ask, "--key-file", str(file), names=[str(file), "no HTTP key"])
        file.write_text("two words\n")
        node.refuses(USAGE, *ask, "--key-file", str(file), names="no HTTP key")
        file.write_text("another-key-altogether\n")
        node.refuses(NOT_ADMITTED, *ask, "--key-file", str(file), names="--key-file")
        file.write_text(key + "\n")
        assert node.does(*ask, "--key-file", str(file)).strip()
        code, out, err = node.troupe(*ask, env={**os.environ, "TROUPE_HTTP_KEY": key})
        assert code == 0 and out.strip(), err
