# SPDX-License-Identifier: Apache-2.0
"""Real nodes copy a model to each other's disks: to one, to all, over kills, cancelled, removed
meanwhile, onto a full disk; and what was copied runs on the node that got it, alone.
"""
import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.environ["TROUPE_SOURCE_DIR"]
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
import tap  # noqa: E402
from cluster import DEMO_MODEL, Cluster, engine_tool, stored_digests, wait_for  # noqa: E402

CHUNK = 8 << 20
CONNECTIONS = 3  # to a single source


@contextlib.contextmanager
def running(*names, **settings):
    with Cluster(names, **settings) as cluster:
        cluster.start()
        cluster.wait_in_view()
        yield cluster.nodes


@functools.cache
def big_model():
    """About 12 chunks of random weights in a shape that can be taken in; made once."""
    place = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    path = os.path.join(place, "shape")
    subprocess.run([engine_tool(), "shape", "--out", path, "--like", "qwen3-0.6b", "--bits", "2",
                    "--group", "128", "--layers", "12"], check=True, stdout=subprocess.DEVNULL)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(os.path.join(DEMO_MODEL, name), path)
    return path


def size_of(path):
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))


def half_made(node):
    """What is on its way or was left lying about."""
    found = []
    for place, directories, names in os.walk(node.models):
        found += [os.path.join(place, name) for name in directories + names
                  if name.startswith(".receiving") or name.endswith(".incomplete")]
    return found


def holders(node, model):
    names = {entry["node_id"]: entry["name"] for entry in node.listed("nodes")}
    return {names[holder["node_id"]] for entry in node.listed("models")
            if entry["model_id"] == model for holder in entry["holders"]
            if holder.get("has_weights")}


def distribute(node, model, targets, **more):
    return node.request("POST", f"/v1/models/{model}/distribute",
                        {"target_node_ids": targets, **more})


def transfer(node, transfer_id):
    return node.request("GET", f"/v1/models/transfers/{transfer_id}")[1]


def wait_status(node, transfer_id, wanted, limit_s=60):
    wait_for(f"transfer {wanted}",
             lambda: transfer(node, transfer_id).get("status") == wanted, limit_s)
    return transfer(node, transfer_id)


def target_of(told, name):
    return next(target for target in told["targets"] if target["node"] == name)


def sent(told, name):
    """Name -> bytes of those that sent something to that target."""
    return {source["node"]: source["bytes"]
            for source in target_of(told, name).get("sources", [])}


def log_of(node):
    text = ""
    for place, _, names in os.walk(node.home):
        for name in names:
            if name.endswith(".log"):
                with open(os.path.join(place, name), encoding="utf-8", errors="replace") as file:
                    text += file.read()
    return text


def check_refusals(first, last):
    """Of what cannot be copied, at the command; stops `last`."""
    assert distribute(first, "org/demo", [])[0] == 400
    assert distribute(first, "org/demo", "some")[0] == 400
    assert distribute(first, "org/demo", ["nobody"])[0] == 404
    assert distribute(first, "other", ["n2"])[0] == 404
    assert first.request("POST", "/v1/models/org/demo/distribute", {})[0] == 400
    assert first.request("POST", "/v1/models/org/demo", {})[0] == 405
    assert first.request("GET", "/v1/models/transfers/" + 32 * "0")[0] == 404
    assert first.request("DELETE", "/v1/models/transfers/zz")[0] == 404
    first.troupe("add", DEMO_MODEL, "--name", "demo")
    assert distribute(first, "demo", ["n1"], source_node_id="n2")[0] == 400
    last.stop()
    wait_for(f"{last.name} out of the view", lambda: not next(
        node for node in first.listed("nodes") if node["name"] == last.name).get("in_view"))
    status, told = distribute(first, "demo", [last.name])
    assert status == 409 and "away" in told["error"]["message"], told


def test_a_model_reaches_all_nodes_or_is_refused_and_runs_on_one_of_them_alone():
    with running("n1", "n2", "n3") as (first, second, third):
        first.troupe("add", DEMO_MODEL, "--name", "org/demo")
        assert first.request("GET", "/v1/models/transfers")[1] == {"transfers": []}
        status, told = distribute(first, "org/demo", "all")
        assert status == 202, told
        assert wait_status(third, told["transfer_id"], "done")
        wait_for("all three hold it everywhere", lambda: all(
            holders(node, "org/demo") == {"n1", "n2", "n3"} for node in (first, second, third)))
        whole = stored_digests(first, "org/demo")
        assert whole
        assert stored_digests(second, "org/demo") == whole == stored_digests(third, "org/demo")
        assert not half_made(second) and not half_made(third)
        # Who holds it already is done at once, the source among the targets is left out.
        names = {entry["name"]: entry["node_id"] for entry in first.listed("nodes")}
        status, told = distribute(first, "org/demo", [names["n1"], "n2"], source_node_id="n1")
        assert status == 202 and told["transfer"]["status"] == "done", told
        assert [target["node"] for target in told["transfer"]["targets"]] == ["n2"], told
        check_refusals(first, third)
        first.troupe("place", "org/demo", "--nodes", "n1", "--mode", "exact", "--wait")
        ask = {"model": "org/demo", "max_tokens": 12}
        said = first.chat("What is a fox?", **ask)[1]["choices"][0]["message"]
        first.troupe("delete", "org/demo")
        first.stop()
        wait_for("a leader", lambda: second.request("GET", "/health")[0] == 200)
        # The new leader places when it has heard what is free.
        wait_for("a placement", lambda: second.troupe(
            "place", "org/demo", "--nodes", "n2", "--mode", "exact", "--wait",
            check=False).returncode == 0)
        again = second.chat("What is a fox?", **ask)[1]["choices"][0]["message"]
        assert said == again, (said, again)


def test_kills_of_both_ends_cost_one_chunk_a_connection():
    with running("n1", "n2", transfer_rate="40M") as (first, second):
        path = big_model()
        size = size_of(path)
        first.troupe("add", path, "--name", "big")
        status, told = distribute(first, "big", ["n2"])
        assert status == 202, told
        # The same again joins it.
        joined = distribute(second, "big", ["n2"])[1]
        assert joined["transfer_id"] == told["transfer_id"], joined
        wait_written(second, size // 4, told)
        os.kill(second.processes()["transferer"], signal.SIGKILL)
        kept = written(second) // CHUNK
        assert not stored_digests(second, "big")
        wait_written(second, size // 2, told)
        os.kill(first.processes()["transferer"], signal.SIGKILL)
        wait_status(first, told["transfer_id"], "done", 90)
        assert stored_digests(second, "big") == stored_digests(first, "big")
        assert not half_made(second)
        # A kill costs one chunk of each connection at most: one on its way to the disk when the
        # receiver died, one on its way to the receiver when the source did.
        here = [int(number) for number in re.findall(r"(\d+) of \d+ chunks are here",
                                                     log_of(second))]
        chunks = int(re.findall(r"of (\d+) chunks are here", log_of(second))[-1])
        late = [int(number) for number in re.findall(r"(\d+) chunks stored", log_of(second))]
        assert here[0] == 0 and here[-1] >= kept - CONNECTIONS, (here, kept)
        assert chunks <= here[-1] + late[-1] <= chunks + CONNECTIONS, (here, late, chunks)


def written(node):
    """Bytes that have their place in half-made files and were written."""
    total = 0
    for place in half_made(node):
        with contextlib.suppress(OSError):
            for entry in os.listdir(place):
                total += data_bytes(os.path.join(place, entry))
    return total


def wait_written(node, size, told):
    """So many bytes of it are there, and the rest is not."""
    def is_over():
        return transfer(node, told["transfer_id"]).get("status") in ("done", "failed", "cancelled")
    wait_for(f"{size} bytes", lambda: written(node) > size or is_over())
    if is_over():
        raise tap.Skip("the copy was over before it could be killed")


def data_bytes(path):
    total = 0
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            except OSError:
                break
            total += hole - at
            at = hole
    return total


def begins_again(first, second, transfer_id):
    """Or ends at once, which says why."""
    ended = ("done", "failed", "cancelled")
    wait_for("it begins again", lambda: half_made(second) or transfer(
        first, transfer_id).get("status") in ended, 60)
    told = transfer(first, transfer_id)
    assert told.get("status") not in ended, told


def test_what_is_cancelled_or_removed_meanwhile_leaves_nothing():
    # Slow: what is whole before it is cancelled stays, and would be done at once the second time.
    with running("n1", "n2", transfer_rate="4M") as (first, second):
        path = big_model()
        first.troupe("add", path, "--name", "big")
        told = distribute(first, "big", ["n2"])[1]
        # How far it is can be seen at any node, and who sent what.
        for node in (first, second):
            wait_for("chunks from n1", lambda node=node: sent(
                transfer(node, told["transfer_id"]), "n2").get("n1", 0) >= CHUNK, 60)
        shown = target_of(transfer(first, told["transfer_id"]), "n2")
        assert shown["bytes_total"] == size_of(path) and shown["bytes_per_s"] > 0, shown
        assert CHUNK <= shown["bytes_done"] < shown["bytes_total"], shown
        assert " left; " in first.troupe("transfers").stdout
        progress = json.loads(first.troupe("transfers", "--json").stdout)["progress"]
        assert [entry["told"]["transfer_id"] for entry in progress] == [told["transfer_id"]], \
            progress
        assert progress[0]["told"]["bytes_total"] == size_of(path), progress
        # Another model does not wait for it.
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        other = distribute(first, "demo", ["n2"])[1]
        wait_status(first, other["transfer_id"], "done")
        if transfer(first, told["transfer_id"])["status"] == "done":
            raise tap.Skip("the copy was over before it could be cancelled")
        assert second.request("DELETE", "/v1/models/transfers/" + told["transfer_id"])[0] == 200
        assert wait_status(first, told["transfer_id"], "cancelled")
        wait_for("nothing left", lambda: not half_made(second))
        status, told = distribute(first, "big", ["n2"])
        assert status == 202, told
        begins_again(first, second, told["transfer_id"])
        first.troupe("remove", "big")
        told = wait_status(first, told["transfer_id"], "failed")
        assert "removed" in target_of(told, "n2")["reason"], told
        wait_for("nothing left", lambda: not half_made(second))
        assert not stored_digests(second, "big")


def weights_of(node, model):
    """The file the weights lie in, behind its links."""
    return os.path.realpath(os.path.join(node.stored(model), "model.safetensors"))


def test_what_went_from_the_disk_of_the_only_source_ends_the_copy_soon_and_is_no_holding():
    with running("n1", "n2") as (first, second):
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        path = weights_of(first, "demo")
        # Touched alone: read again, found right, and copied.
        os.utime(path)
        told = distribute(second, "demo", ["n2"])[1]
        wait_for("the end", lambda: transfer(first, told["transfer_id"]).get("status") in
                 ("done", "failed"), 20)
        wait_for("what was touched is known again", lambda: "n1" in holders(second, "demo"), 20)
        second.troupe("remove", "demo")
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        os.unlink(weights_of(first, "demo"))
        began = time.monotonic()
        told = distribute(second, "demo", ["n2"])[1]
        told = wait_status(second, told["transfer_id"], "failed")
        took = time.monotonic() - began
        reason = target_of(told, "n2")["reason"]
        assert took < 30, took  # a minute, were it not said
        assert "no node has all of demo" in reason and "n1" in reason and \
            "model.safetensors" in reason, reason
        wait_for("n1 is no holder", lambda: not holders(second, "demo"), 20)
        assert not half_made(second)
        # Asked again it is refused at once, and names what to do.
        status, told = distribute(second, "demo", ["n2"])
        assert status == 404 and "no node holds" in told["error"]["message"], told


def spoil(path):
    """As a disk may: other bytes, under the stamp they had."""
    facts = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(facts.st_size // 2)
        byte = file.read(1)[0]
        file.seek(facts.st_size // 2)
        file.write(bytes([255 - byte]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_what_a_disk_has_wrong_is_found_by_who_gets_it_and_is_no_holding():
    with running("n1", "n2") as (first, second):
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        spoil(weights_of(first, "demo"))
        told = wait_status(second, distribute(second, "demo", ["n2"])[1]["transfer_id"], "failed")
        assert "model.safetensors" in target_of(told, "n2")["reason"], told
        wait_for("n1 is no holder", lambda: not holders(second, "demo"), 20)
        assert not half_made(second) and not stored_digests(second, "demo")
        # Taken in anew it is one again.
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        first.troupe("distribute", "demo", "--to", "n2", "--wait")
        assert holders(second, "demo") == {"n1", "n2"}


def test_a_full_disk_ends_that_transfer_with_the_bytes_needed():
    if os.geteuid() != 0 or not shutil.which("mount"):
        raise tap.Skip("a small disk cannot be mounted here")
    with Cluster(["n1", "n2"]) as cluster:
        first, second = cluster.nodes
        models = second.models
        os.makedirs(models, mode=0o700)
        os.chmod(second.home, 0o700)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", models],
                          capture_output=True, check=False).returncode != 0:
            raise tap.Skip("a small disk cannot be mounted here")
        try:
            cluster.start()
            cluster.wait_in_view()
            first.troupe("add", big_model(), "--name", "big")
            first.troupe("add", DEMO_MODEL, "--name", "demo")
            told = distribute(first, "big", ["n2"])[1]
            target = target_of(wait_status(first, told["transfer_id"], "failed"), "n2")
            assert target["code"] == "NO_SPACE" and "bytes" in target["reason"], target
            assert not half_made(second)
            told = distribute(first, "demo", ["n2"])[1]
            wait_status(first, told["transfer_id"], "done")
        finally:
            second.stop()
            time.sleep(0.1)
            subprocess.run(["umount", "-l", models], check=False)


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
