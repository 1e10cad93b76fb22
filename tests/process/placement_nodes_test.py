# SPDX-License-Identifier: Apache-2.0
"""Real nodes: an instance on a node without the model gets a copy first, one on several gets what
none of them has from another into memory; what changed on a disk is found when loading starts, and
the next generation takes the model from who still has it; what was removed while a node was away
does not come back with it; what nobody holds comes from the hub.
"""
import contextlib
import json
import os
import shutil
import signal
import sys

TOP = os.environ["TROUPE_SOURCE_DIR"]
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
sys.path.insert(0, os.path.join(TOP, "tests", "unit", "scripts"))
sys.path.insert(0, os.path.join(TOP, "tests", "support"))
import tap  # noqa: E402
from cluster import DEMO_MODEL, Cluster, Node, wait_for  # noqa: E402
from shards import in_shards  # noqa: E402
from stub_hub import Repository, StubHub  # noqa: E402

WEIGHTS = "model.safetensors"
ASK = {"model": "demo", "max_tokens": 8}


@contextlib.contextmanager
def running(*names, **settings):
    with Cluster(names, **settings) as cluster:
        cluster.start()
        cluster.wait_in_view()
        yield cluster.nodes


class Pair:
    """Two nodes that several tests use, one after the other: each leaves them without a model."""
    stack = contextlib.ExitStack()
    nodes = None

    @classmethod
    def take(cls):
        if not cls.nodes:
            cls.nodes = cls.stack.enter_context(running("n1", "n2"))
        return cls.nodes

    @classmethod
    def clear(cls):
        first = cls.nodes[0]
        if instance(first):
            delete(first)
        for model in first.listed("models"):
            first.troupe("remove", model["model_id"])
        wait_for("empty disks", lambda: not any(node.stored("demo") for node in cls.nodes))


def holders(node, model):
    names = {entry["node_id"]: entry["name"] for entry in node.listed("nodes")}
    return {names[holder["node_id"]] for entry in node.listed("models")
            if entry["model_id"] == model for holder in entry["holders"]
            if holder.get("has_weights")}


def instance(node):
    told = node.request("GET", "/instance")[1]["instances"]
    return told[0] if told else {}


def place(node, **how):
    """As soon as the leader has heard of all nodes what they have free."""
    body = {"model_id": "demo", "mode": "exact", **how}

    def is_placed():
        status, told = node.request("POST", "/instance", body)
        if status in (200, 201, 202):
            return True
        assert status in (404, 409, 503), (status, told)
        return False
    wait_for("a placement", is_placed)


def wait_ready(node):
    def is_ready():
        told = instance(node)
        assert told.get("status") != "failed", told
        return told.get("status") == "ready"
    wait_for("a ready instance", is_ready, 60)


def said(node):
    return node.chat("What is a fox?", **ASK)[1]["choices"][0]["message"]["content"]


def delete(node):
    node.troupe("delete", "demo")
    wait_for("no instance", lambda: not instance(node))


def damage(node, model, how):
    """Alters the weights of a stored model as a person or a disk may."""
    path = os.path.realpath(os.path.join(node.stored(model), WEIGHTS))
    size = os.path.getsize(path)
    if how == "gone":
        os.unlink(path)
        return
    with open(path, "r+b") as file:
        if how == "short":
            file.truncate(size // 2)
        else:
            file.seek(size // 2)
            file.write(bytes([255 - file.read(1)[0]]))


def why_it_failed(node):
    return [json.dumps(event["message"]) for event in node.events()
            if event["event"] == "generation_failed"]


def test_an_instance_on_a_node_without_the_model_gets_a_copy_first():
    first, second = Pair.take()
    first.troupe("add", DEMO_MODEL, "--name", "demo")
    place(first, nodes=["n2"])
    wait_ready(first)
    told = instance(first)
    assert [rank["node"] for rank in told["ranks"]] == ["n2"], told
    assert holders(first, "demo") == {"n1", "n2"}
    assert said(first) == said(second)
    # The file changes under it: the next generation has what the other node has.
    delete(first)
    before = len(why_it_failed(first))
    damage(second, "demo", "altered")
    place(first, nodes=["n2"])
    wait_ready(first)
    assert any(WEIGHTS in reason for reason in why_it_failed(first)[before:])
    assert holders(first, "demo") == {"n1", "n2"}
    assert said(first)
    # Nobody has it any more.
    delete(first)
    damage(second, "demo", "gone")
    damage(first, "demo", "short")
    place(first)
    wait_for("a sentence", lambda: instance(first).get("status") == "failed", 60)
    assert "no node holds the weights" in instance(first)["last_reason"], instance(first)
    Pair.clear()


def test_what_was_got_is_shown_beside_the_prediction():
    first, second = Pair.take()
    first.troupe("add", DEMO_MODEL, "--name", "demo")
    place(first, nodes=["n1", "n2"], sharding="pipeline")
    wait_ready(first)
    told = instance(first)
    assert all(told["predicted"][name] > 0 for name in
               ("tokens_per_s", "first_token_s", "load_s")), told["predicted"]
    assert told["observed"]["load_s"] > 0, told["observed"]
    assert told["observed"]["tokens_per_s"] is None, told["observed"]
    usage = first.chat("Who are you?", max_tokens=40, ignore_eos=True)[1]["usage"]
    for node in (first, second):  # any node knows, whoever was asked
        wait_for("what was got", lambda node=node: instance(node)["observed"]["tokens_per_s"])
        got = instance(node)["observed"]
        assert got["first_token_s"] > 0 and got["prompt_tokens"] == usage["prompt_tokens"], got
        paces = node.request("GET", "/state")[1]["paces"]
        assert [pace["observed"] for pace in paces] == [got], paces
        assert paces[0]["predicted"] == told["predicted"], paces
        running = node.request("GET", "/instance/previews?model_id=demo")[1]["running"]
        assert running == paces, running
        assert node.json("ps")["instances"][0]["observed"] == got
        lines = node.troupe("ps").stdout.splitlines()
        predicted, shown = (next(line for line in lines if line.split()[:1] == [word])
                            for word in ("predicted", "got"))
        assert "prompt of  512 after" in predicted and "-" not in shown.split(), lines
        assert f"prompt of {usage['prompt_tokens']:4} after" in shown, lines
        assert "got" in node.troupe("previews", "demo").stdout.split()
    delete(first)
    assert first.request("GET", "/state")[1]["paces"] == []
    Pair.clear()


def reading(node):
    """{node: (files it reads, {from: files it gets slices of})} of the one instance."""
    return {rank["node"]: (rank["reads"],
                           {source["node"]: source["files"] for source in rank["receives"]})
            for rank in instance(node)["ranks"]}


def lose(node, name):
    os.unlink(os.path.realpath(os.path.join(node.stored("demo"), name)))


def inode(node, name):
    return os.stat(os.path.join(node.stored("demo"), name)).st_ino


def test_ranks_read_the_files_they_have_and_receive_the_rest():
    first, second = Pair.take()
    parts = os.path.join(first.cluster.scratch, "parts")
    shards = in_shards(DEMO_MODEL, parts, 4)
    first.troupe("add", parts, "--name", "demo")
    # A download that ended before its end left one file on the second node's disk.
    blob = os.path.realpath(os.path.join(first.stored("demo"), shards[0]))
    left = os.path.join(second.models, "models--demo", "blobs")
    os.makedirs(left, exist_ok=True)
    shutil.copy(blob, left)
    place(first, min_nodes=2, sharding="pipeline")
    wait_ready(first)
    assert reading(first) == {"n1": (4, {}), "n2": (0, {"n1": 4})}, instance(first)
    wait_for("n2's file is known", lambda: any(
        holder.get("held") for entry in first.listed("models") for holder in entry["holders"]))
    delete(first)
    place(first, min_nodes=2, sharding="pipeline")
    wait_ready(first)
    assert reading(first) == {"n1": (4, {}), "n2": (1, {"n1": 3})}, instance(first)
    delete(first)
    first.troupe("distribute", "demo", "--wait")
    # One file goes on one of the two: it comes from the other, and nothing is copied.
    before = len(why_it_failed(first))
    lose(second, shards[1])
    place(first, min_nodes=2, sharding="tensor")
    wait_ready(first)
    assert any(shards[1] in reason for reason in why_it_failed(first)[before:])
    assert reading(first) == {"n1": (4, {}), "n2": (3, {"n1": 1})}, instance(first)
    text = said(first)
    # Others on the other: now neither has the model, and together they do.
    delete(first)
    lose(first, shards[2])
    lose(first, shards[3])
    place(first, min_nodes=2, sharding="tensor")
    wait_ready(first)
    assert reading(first) == {"n1": (2, {"n2": 2}), "n2": (3, {"n1": 1})}, instance(first)
    assert said(second) == text and not holders(first, "demo")
    delete(first)
    place(first, min_nodes=2, sharding="pipeline")
    wait_ready(first)
    assert said(first) == text
    shown = second.troupe("ps").stdout
    assert "reads 2 of 4 files, 2 from n2" in shown, shown
    # A single node needs all of it: it gets what it lacks, and keeps what it has.
    delete(first)
    kept = [inode(first, shards[0]), inode(first, shards[1])]
    place(first, nodes=["n1"])
    wait_ready(first)
    assert holders(first, "demo") == {"n1"}, first.listed("models")
    assert [inode(first, shards[0]), inode(first, shards[1])] == kept
    assert said(second) == text
    # The last copy of one goes: that is said, with its name.
    delete(first)
    lose(first, shards[1])
    place(first, min_nodes=2)
    wait_for("a sentence", lambda: instance(first).get("status") == "failed", 60)
    assert f"no node holds {shards[1]} of demo" in instance(first)["last_reason"], instance(first)
    Pair.clear()


def test_what_was_removed_while_a_node_was_away_does_not_come_back():
    first, second = Pair.take()
    second.troupe("add", DEMO_MODEL, "--name", "demo")
    second.stop()
    wait_for("n2 away", lambda: not next(
        node for node in first.listed("nodes") if node["name"] == "n2").get("in_view"))
    wait_for("removed", lambda: first.troupe("remove", "demo", check=False).returncode == 0)
    second.up()
    wait_for("n2's copy is gone", lambda: not second.stored("demo"))
    assert not first.listed("models")
    second.troupe("add", DEMO_MODEL, "--name", "demo")
    wait_for("n2 to hold it", lambda: holders(first, "demo") == {"n2"})
    Pair.stack.close()  # the last of those that share it


def has_weights(node):
    return bool(node.stored("demo")) and os.path.exists(
        os.path.join(node.stored("demo"), WEIGHTS))


def runners(node):
    return [pid for pid, (role, _, home) in node.cluster.processes().items()
            if role == "runner" and home == node.home]


def generation(node):
    return instance(node)["generation"]


def ended_while_loading(node, lender, number):
    """The reason, after that signal to the lender's runner while every rank was loading; None when
    they were done too soon each time."""
    for _ in range(10):
        delete(node)
        place(node, nodes=["n1", "n2"], sharding="tensor")
        wait_for("a load", lambda: instance(node).get("status") == "ready" or all(
            rank["status"] == "loading" for rank in instance(node)["ranks"]))
        sent = runners(lender)
        for pid in sent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        wait_for("an end", lambda: instance(node)["failures"] > 0 or (
            instance(node)["status"] == "ready" and not set(sent) & set(runners(lender))))
        if instance(node)["failures"] > 0:
            wait_ready(node)
            return instance(node)["last_reason"]
    return None


def test_a_node_beside_the_ranks_sends_the_model_and_is_not_missed():
    with running("n1", "n2", "n3") as (first, second, third):
        third.troupe("add", DEMO_MODEL, "--name", "demo")
        place(first, nodes=["n3"])
        wait_ready(first)
        text = said(first)
        delete(first)
        first.troupe("place", "demo", "--nodes", "n1,n2", "--sharding", "tensor", "--mode",
                     "exact", "--wait")
        wait_ready(first)  # its gateway may hear of it after the master did
        told = instance(first)["ranks"]
        assert sorted(rank["node"] for rank in told[:2]) == ["n1", "n2"], told
        assert told[2]["node"] == "n3", told
        assert [rank["is_source"] for rank in told] == [False, False, True], told
        assert [rank["status"] for rank in told] == ["ready", "ready", "released"], told
        assert reading(first) == {"n1": (0, {"n3": 1}), "n2": (0, {"n3": 1}), "n3": (0, {})}
        assert not has_weights(first) and not has_weights(second)
        assert said(second) == text
        wait_for("its end", lambda: not runners(third))
        assert holders(first, "demo") == {"n3"}
        shown = first.troupe("ps").stdout
        assert "source on n3" in shown and "sends 1 of 1 files" in shown, shown
        # It is not missed when it goes: neither the rest of it nor its node.
        before = generation(first)
        third.stop()
        wait_for("n3 away", lambda: not next(
            node for node in first.listed("nodes") if node["name"] == "n3").get("in_view"))
        assert said(second) == text and generation(first) == before
        third.up()
        # Killed or stopped while it sends it ends its generation by name; the next one is ready.
        for number in (signal.SIGKILL, signal.SIGSTOP):
            reason = ended_while_loading(first, third, number)
            assert reason is None or "rank 2" in reason, reason
            assert said(second) == text
            assert not has_weights(first) and not has_weights(second)


def test_a_deleted_instance_cancels_its_copy():
    with running("n1", "n2", transfer_rate="100K") as (first, second):
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        place(first, nodes=["n2"])
        wait_for("copying", lambda: instance(first).get("status") == "copying")
        told = first.request("GET", "/v1/models/transfers/" + instance(first)["transfer_id"])
        assert told[0] == 200 and told[1]["targets"][0]["node"] == "n2", told
        run = second.troupe("remove", "demo", check=False)
        assert run.returncode != 0 and "an instance of demo exists" in run.stderr, run
        wait_for("copying at n2", lambda: second.request(
            "GET", "/v1/models/demo")[1]["status"] == "copying")
        first.troupe("delete", "demo")
        wait_for("cancelled", lambda: first.request(
            "GET", "/v1/models/transfers/" + told[1]["transfer_id"])[1]["status"] == "cancelled")


def test_a_model_nobody_holds_comes_from_the_hub_to_one_node():
    repository = Repository.of_directory("org/demo", DEMO_MODEL)
    with StubHub(repository) as hub, Cluster(["n1", "n2"]) as cluster:
        cluster.environment.update({"HF_ENDPOINT": hub.endpoint,
                                    "HF_HOME": os.path.join(cluster.place, "hf")})
        cluster.start()
        cluster.wait_in_view()
        first, second = cluster.nodes
        for words in (["demo"], ["org/demo", "--no-download"]):
            run = first.troupe("place", *words, check=False)
            assert run.returncode != 0 and "troupe add" in run.stderr, run
        assert first.request("POST", "/instance", {"model_id": "org/demo"})[0] == 404
        assert not hub.rows and not instance(first)
        run = second.troupe("place", "org/absent", "--wait", check=False)
        assert run.returncode != 0 and "org/absent" in run.stderr, run
        wait_for("the failure heard of", lambda: instance(first).get("status") == "failed")
        told = instance(first)
        assert "org/absent" in told["last_reason"], told
        second.troupe("delete", "org/absent")
        wait_for("no instance", lambda: not instance(first))
        place(second, model_id="org/demo", download=True)
        wait_ready(first)
        assert len(holders(first, "org/demo")) == 1
        size = sum(content.size for path, content in repository.files.items()
                   if path.endswith(".safetensors"))
        assert hub.bytes_sent("GET", repository.files["model.safetensors"].sha256) == size
        answer = second.chat("What is a fox?", **{**ASK, "model": "org/demo"})
        assert answer[0] == 200, answer


def begin_story(node):
    connection = node.connect(60)
    connection.request("POST", "/v1/chat/completions", json.dumps(
        {**ASK, "max_tokens": 60, "stream": True, "temperature": 0, "messages": [
            {"role": "user", "content": "Tell me a story about a fox."}]}),
        {"Content-Type": "application/json"})
    return connection.getresponse()


def told_by(stream, most=None):
    """The text of a stream, or of the first so many of its pieces."""
    text, pieces = "", 0
    for line in stream:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        told = json.loads(line[6:])
        assert "error" not in told, told
        for choice in told["choices"]:
            text += choice["delta"].get("content") or ""
            pieces += bool(choice["delta"].get("content"))
        if most and pieces >= most:
            break
    return text


def is_in_view(node, name):
    return next(entry for entry in node.listed("nodes") if entry["name"] == name).get("in_view")


def all_of(node):
    return [pid for pid, (_, _, home) in node.cluster.processes().items() if home == node.home]


def end_at_once(pids):
    """As when the power of a node is cut."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def place_ready(node, model, *words):
    wait_for(f"{model} placed", lambda: node.troupe(
        "place", model, *words, "--mode", "exact", "--wait", check=False).returncode == 0, 60)


def rank_nodes(node):
    return {rank["node"] for rank in instance(node)["ranks"] if not rank["is_source"]}


def check_names(node, other):
    """A whole name counts, whatever ids begin with it."""
    told = instance(node)
    name = told["instance_id"][:2]
    node.troupe("add", DEMO_MODEL, "--name", name)
    place_ready(node, name, "--nodes", other)
    assert {one["model_id"] for one in node.listed("ps")["instances"]} == {"demo", name}
    node.troupe("delete", name)
    wait_for("the other's end", lambda: [one["instance_id"] for one in node.request(
        "GET", "/instance")[1]["instances"]] == [told["instance_id"]])
    node.troupe("remove", name)


def check_shown(node, names):
    """A tensor cut in unequal shares, as each interface names it."""
    place_ready(node, "demo", "--nodes", ",".join(names), "--shares", "75,25", "--sharding",
                "tensor")
    wait_ready(node)
    told = instance(node)
    assert told["sharding"] == "tensor" and told["is_asymmetric"], told
    shares = [rank["share_percent"] for rank in told["ranks"]]
    assert abs(sum(shares) - 100) < 1e-6 and shares[0] > 60 > 40 > shares[1], shares
    state = node.request("GET", "/state")[1]
    (known,) = state["instances"]
    assert known["is_asymmetric"] and [rank["share"] for rank in known["ranks"]] == [
        round(100 * share) for share in shares], known
    (event,) = [event["message"] for event in node.events()
                if event["event"] == "instance_placed"][-1:]
    assert '"is_asymmetric": true' in json.dumps(event), event
    for shown in (node.troupe("ps").stdout, node.troupe("events", "--since", "1").stdout):
        assert "asymmetric tensor" in shown and f"{shares[0]:.1f} %" in shown, shown
    shown = node.troupe("ps").stdout
    assert f"{names[0]} has " in shown and "6 of 8 attention heads" in shown, shown
    carried = {entry["name"]: entry["carries"] for entry in node.listed("nodes")}
    assert [carried[name][0]["share_percent"] for name in names] == shares, carried
    assert all(carried[name][0]["weight_bytes"] == rank["weight_bytes"]
               for name, rank in zip(names, told["ranks"])), carried
    lines = node.troupe("nodes").stdout.splitlines()
    assert "CARRIES" in lines[0]
    assert any(f"demo asymmetric {shares[0]:.1f} %" in line for line in lines), lines
    delete(node)


def test_another_node_takes_over_and_what_runs_stays_when_the_lost_one_is_back():
    with Cluster(["n1", "n2"]) as cluster:
        first, second = cluster.nodes
        cluster.start()
        cluster.wait_in_view()
        first.troupe("add", DEMO_MODEL, "--name", "demo")
        place(first, min_nodes=2, sharding="pipeline")
        wait_ready(first)
        whole = told_by(begin_story(first))
        # The third is called as the first's id begins: its whole name counts.
        names = {entry["name"]: entry["node_id"] for entry in first.listed("nodes")}
        third = Node(cluster, names["n1"][:2])
        cluster.nodes.append(third)
        third.join(first)
        assert rank_nodes(first) == {"n1", "n2"}
        lost = all_of(second)
        stream = begin_story(first)
        begun = told_by(stream, most=3)
        end_at_once(lost)
        assert begun + told_by(stream) == whole
        wait_for("the third takes over", lambda: instance(first)["status"] == "ready" and
                 rank_nodes(first) == {"n1", third.name}, 60)
        assert instance(first)["last_reason"], instance(first)
        # Back again it is used by the next placement, and by nothing that runs.
        before = generation(first)
        second.up()
        wait_for("n2 back", lambda: is_in_view(first, "n2"))
        assert told_by(begin_story(second)) == whole
        check_names(first, "n2")
        assert generation(first) == before and rank_nodes(first) == {"n1", third.name}
        delete(first)
        check_shown(first, ["n1", "n2"])
        place(first, min_nodes=3, sharding="pipeline")
        wait_ready(first)
        assert rank_nodes(first) == {"n1", "n2", third.name}


if __name__ == "__main__":
    with Pair.stack:
        sys.exit(tap.run(sys.modules[__name__]))
