#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the stub hub speak as huggingface_hub expects?  Needs that package; CI does not run it.

usage: PYTHON_WITH_HUGGINGFACE_HUB tests/support/check_stub_hub.py
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stub_hub import Repository, StubHub  # noqa: E402

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
import huggingface_hub  # noqa: E402
from huggingface_hub import errors  # noqa: E402


def expect(error, call, **arguments):
    try:
        call(**arguments)
    except error as seen:
        print(f"ok: {type(seen).__name__}: {str(seen).splitlines()[0][:90]}")
        return
    raise SystemExit(f"{error.__name__} was expected")


def main():
    files = {"config.json": b"{}", "model.safetensors": os.urandom(3 << 20),
             "sub/folder/a b.txt": b"text", "README.md": b"# read"}
    many = {f"files/{number:05}.txt": b"%d" % number for number in range(1001)}
    repositories = [Repository("org/model", files), Repository("org/many", many),
                    Repository("org/gated", files, gated="hf_good"),
                    Repository("org/private", files, private_token="hf_good")]
    with StubHub(*repositories) as hub, tempfile.TemporaryDirectory() as place:
        hub.renamed["old/name"] = "org/model"

        def pull(name, **options):
            return huggingface_hub.snapshot_download(name, endpoint=hub.endpoint, cache_dir=place,
                                                     **options)

        for name in ("org/model", "old/name"):
            path = pull(name)
            for inner, content in files.items():
                with open(os.path.join(path, inner), "rb") as file:
                    assert file.read() == content, inner
            print(f"ok: {name} pulled whole")
        before = len(hub.rows)
        pull("org/model")
        assert [row["path"] for row in hub.rows[before:]] == ["/api/models/org/model/revision/main"]
        print("ok: a second pull is one request")
        assert len(os.listdir(os.path.join(pull("org/many"), "files"))) == 1001
        print("ok: 1,001 entries in two pages")
        assert hub.hosts_with_token() == {}
        pull("org/gated", token="hf_good")
        assert set(hub.hosts_with_token()) == {"hub"}, hub.hosts_with_token()
        print("ok: gated, with access; the token reached the hub alone")
        expect(errors.GatedRepoError, huggingface_hub.hf_hub_download, repo_id="org/gated",
               filename="config.json", endpoint=hub.endpoint, token="hf_bad",
               cache_dir=os.path.join(place, "other"))
        expect(errors.RepositoryNotFoundError, pull, name="org/absent")
        expect(errors.RepositoryNotFoundError, pull, name="org/private")
        expect(errors.RevisionNotFoundError, pull, name="org/model", revision="absent")
        expect(errors.EntryNotFoundError, huggingface_hub.hf_hub_download, repo_id="org/model",
               filename="absent", endpoint=hub.endpoint, cache_dir=place)
    print(f"the stub hub satisfies huggingface_hub {huggingface_hub.__version__}")


main()
