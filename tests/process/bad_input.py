# SPDX-License-Identifier: Apache-2.0
"""What the tests of bad input share: a node of their own, spoilt copies of the model, HTTP.

Every wrong thing must be refused with one sentence that names it, by a documented exit code or a
typed HTTP error, and leave nothing behind.
"""
import http.client
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time

TOP = os.environ.get("TROUPE_SOURCE_DIR") or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TROUPE_BUILD_DIR") or os.path.join(TOP, "build")
TROUPE = os.path.join(BUILD, "runtime", "tools", "troupe")
INSPECTOR = os.path.join(BUILD, "runtime", "tools", "troupe-log")
ENGINE = os.path.join(BUILD, "actors", "runner", "engine", "troupe-engine")
MODEL = os.path.join(TOP, "scripts", "demo-model", "model")
WEIGHTS = "model.safetensors"
HELLO = [{"role": "user", "content": "Tell me a story about a fox."}]

FAILED, USAGE, NOT_FOUND, UNREACHABLE, NOT_ADMITTED, NO_CAPACITY, CONFIGURATION = \
    1, 2, 3, 4, 5, 6, 78


def run(*arguments, text="", timeout=60, **more):
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, timeout=timeout,
                          check=False, **more)
    return done.returncode, done.stdout, done.stderr


def troupe(*arguments, **more):
    return run(TROUPE, *arguments, **more)


def refused(code, *arguments, names, program=TROUPE, **more):
    """The command ends with `code` and its last sentence holds every one of `names`."""
    got, out, err = run(program, *arguments, **more)
    lines = [line for line in err.splitlines() if not line.startswith("the whole log: ")]
    assert got == code, (arguments, got, out, err)
    assert lines, (arguments, "without a word")
    for name in [names] if isinstance(names, str) else names:
        assert name in lines[-1], (arguments, name, err)
    return lines[-1]


def wait_for(what, condition, seconds=60):
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.05)


class Node:
    """A node in a directory of its own; stopped and removed at the end."""

    def __init__(self, *settings, home=None):
        self.path = None if home else tempfile.mkdtemp(prefix="troupe-bad-")
        self.home = home or os.path.join(self.path, "home")
        self.settings = settings

    def up(self):
        code, out, err = troupe("up", "--home", self.home, "--http", "127.0.0.1:0", "--store",
                                self.models, *self.settings)
        assert code == 0, (out, err)

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        troupe("stop", "--home", self.home)
        if self.path:
            shutil.rmtree(self.path)

    def troupe(self, *arguments, **more):
        return troupe(*arguments, "--home", self.home, **more)

    def does(self, *arguments):
        code, out, err = self.troupe(*arguments)
        assert code == 0, (arguments, out, err)
        return out

    def refuses(self, code, *arguments, names):
        return refused(code, *arguments, "--home", self.home, names=names)

    def shows(self, what):
        value = json.loads(self.does(what, "--json"))
        key = {"ps": "instances"}.get(what, what)
        return value[key] if isinstance(value, dict) and key in value else value

    def processes(self):
        """Name -> pid of its processes, and their number."""
        found = {}
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode("utf-8", "replace").split("\0")
            except OSError:
                continue
            if entry.isdigit() and any(word.endswith(self.home) for word in words[1:]):
                found.setdefault(os.path.basename(words[0]), []).append(int(entry))
        return found

    @property
    def models(self):
        return os.path.join(self.home, "models")

    def stored(self, model):
        """The directory of a model's files."""
        place = os.path.join(self.models, "models--" + model.replace("/", "--"), "snapshots")
        return os.path.join(place, os.listdir(place)[0])

    def store(self):
        """Names of the models of which anything is there, files on their way too."""
        return sorted(name[len("models--"):].replace("--", "/")
                      for name in os.listdir(self.models) if name.startswith("models--"))

    def partials(self):
        return [name for _, _, names in os.walk(self.models) for name in names
                if name.endswith(".incomplete")]

    def verified(self):
        code, out, err = run(INSPECTOR, "verify", "--log", os.path.join(self.home, "log"))
        assert code == 0, (out, err)

    def address(self):
        with open(os.path.join(self.home, "run", "http.address"), encoding="ascii") as file:
            return file.read().strip()

    def http(self, method, path, body=None, headers=None, timeout=60):
        """(status, JSON or text)."""
        connection = http.client.HTTPConnection(self.address(), timeout=timeout)
        try:
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            if headers is None:
                headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8")
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def chat(self, model, tokens=5, **more):
        return self.http("POST", "/v1/chat/completions", {
            "model": model, "max_tokens": tokens, "messages": HELLO, **more})

    def serves(self, model):
        """Its gateway may hear of an instance a moment after the command line did."""
        return wait_for(f"{model} to answer", lambda: self.chat(model)[0] == 200)

    def chat_fails(self, status, code, body, names=""):
        return self.http_fails(status, code, "POST", "/v1/chat/completions", body, names)

    def http_fails(self, status, code, method, path, body=None, names=""):
        got, answer = self.http(method, path, body)
        assert got == status and isinstance(answer, dict), (method, path, body, got, answer)
        error = answer["error"]
        assert error["code"] == code, (method, path, body, error)
        assert error["type"] and error["message"], error
        assert names in error["message"], error
        return error


# ---- spoilt copies of the model ----

def copied(directory, without=()):
    os.makedirs(directory)
    for name in os.listdir(MODEL):
        if name not in without:
            shutil.copy(os.path.join(MODEL, name), directory)
    return directory


def weights_read(directory):
    with open(os.path.join(directory, WEIGHTS), "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size)), file.read()


def weights_write(directory, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, WEIGHTS), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def json_change(directory, name, change):
    path = os.path.join(directory, name)
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    change(value)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)
