# SPDX-License-Identifier: Apache-2.0
"""A stub hub, a cache and pulls into it: what tests/process/test_hub_pull.py and
scripts/bars/03-hub share.  Python's standard library only."""
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stub_hub import Content, Repository, StubHub  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CHUNK = 8 << 20
MIB = 1 << 20


def build_directory():
    return os.path.realpath(os.environ.get("TROUPE_BUILD_DIR", os.path.join(ROOT, "build")))


def driver():
    if "HUB_DRIVER" in os.environ:
        return os.environ["HUB_DRIVER"]
    return os.path.join(build_directory(), "tests", "process", "hub-pull-once")


def some_files(seed=1, sizes=(18 * MIB + 123, 9 * MIB)):
    """A repository in the MLX layout as far as a pull looks at it, with what is never fetched."""
    draw = random.Random(seed)
    files = {"config.json": b'{"model_type": "qwen3", "auto_map": {"AutoModel": "modeling.py"}}',
             "tokenizer.json": json.dumps({"seed": seed}).encode(), "empty.txt": b"",
             "chat_template.jinja": b"{{ messages }}", "README.md": b"# read me",
             ".gitattributes": b"*.safetensors filter=lfs", "modeling.py": b"import os",
             "original/consolidated.safetensors": b"another format"}
    names = [f"model-{number + 1:05}-of-{len(sizes):05}.safetensors"
             for number in range(len(sizes))]
    for name, size in zip(names, sizes):
        files[name] = draw.randbytes(size)
    files["stray.safetensors"] = b"not in the index"
    files["model.safetensors.index.json"] = json.dumps(
        {"metadata": {}, "weight_map": {f"layer.{k}": name for k, name in enumerate(names)}}
    ).encode()
    return files


def is_fetched(path):
    return "/" not in path and path != "stray.safetensors" and path.endswith(
        (".json", ".jinja", ".txt", ".safetensors"))


class Pulls:
    """A cache, a directory of ledgers, an environment; `pull` runs the driver."""

    def __init__(self, hub, token=None, **environment):
        self.hub = hub
        self.place = tempfile.mkdtemp(prefix="troupe-hub-")
        self.cache = os.path.join(self.place, "cache")
        self.ledgers = os.path.join(self.place, "ledgers")
        os.mkdir(self.ledgers)
        self.environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": self.place, "PATH": "/bin",
                            "HF_HUB_DOWNLOAD_TIMEOUT": "6", "HF_HUB_ETAG_TIMEOUT": "6",
                            **environment}
        for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        if token:
            self.environment["HF_TOKEN"] = token

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.place, ignore_errors=True)

    def start(self, name="org/model", revision="main", connections=4, tries=5):
        return subprocess.Popen([driver(), self.cache, self.ledgers, name, revision,
                                 str(connections), str(tries)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment)

    def pull(self, name="org/model", timeout=120, **options):
        process = self.start(name, **options)
        output, errors = process.communicate(timeout=timeout)
        assert output.strip(), f"the driver ended with {process.returncode}: {errors}"
        return json.loads(output)

    # ---- what lies in the cache ----

    def folder(self, name="org/model"):
        return os.path.join(self.cache, "models--" + name.replace("/", "--"))

    def wrong_blobs(self):
        """Blobs that have not the hash they are named by: there must never be one."""
        wrong = []
        for folder, _, names in os.walk(self.cache):
            if os.path.basename(folder) != "blobs":
                continue
            for blob in names:
                if blob.endswith(".incomplete"):
                    continue
                with open(os.path.join(folder, blob), "rb") as file:
                    content = file.read()
                digest = hashlib.sha256(content) if len(blob) == 64 else \
                    hashlib.sha1(b"blob %d\0" % len(content) + content)
                if digest.hexdigest() != blob:
                    wrong.append(blob)
        return wrong

    def left_over(self):
        """What a pull that ended well must not leave."""
        left = os.listdir(self.ledgers)
        for folder, _, names in os.walk(self.cache):
            left += [name for name in names if "incomplete" in name or "troupe" in name]
        return left

    def faults_of_model(self, repository, name=None):
        """Sentences; empty when the snapshot holds exactly what is fetched of the repository."""
        name = name or repository.name
        commit = repository.branches["main"]
        snapshot = os.path.join(self.folder(name), "snapshots", commit)
        wanted = {path: one for path, one in repository.files.items() if is_fetched(path)}
        if not os.path.isdir(snapshot):
            return [f"no snapshot of {commit}"]
        found = sorted(os.listdir(snapshot))
        faults = [] if found == sorted(wanted) else [f"it holds {found}"]
        for path, one in wanted.items():
            full = os.path.join(snapshot, path)
            if not os.path.exists(full):
                faults.append(f"{path} is missing")
            elif Content(full).sha256 != one.sha256:
                faults.append(f"{path} has other bytes")
        with open(os.path.join(self.folder(name), "refs", "main"), encoding="utf-8") as file:
            if file.read() != commit:
                faults.append("refs/main names another commit")
        return faults + self.wrong_blobs() + self.left_over()


def weights_size(repository):
    return sum(one.size for path, one in repository.files.items()
               if is_fetched(path) and path.endswith(".safetensors"))


def fetched_size(repository):
    return sum(one.size for path, one in repository.files.items() if is_fetched(path))


__all__ = ["CHUNK", "MIB", "Content", "Pulls", "Repository", "StubHub", "build_directory",
           "driver", "fetched_size", "is_fetched", "some_files", "weights_size"]
