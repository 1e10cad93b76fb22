# SPDX-License-Identifier: Apache-2.0
"""`troupe pull` on a real node: what it tells, what may interrupt it, who can end it."""
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "tests", "support"))
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
from cluster import DEMO_MODEL, Cluster, tool, wait_for  # noqa: E402
from hub_stage import Repository, StubHub  # noqa: E402
from shards import in_shards  # noqa: E402

SECRET = "hf_verysecret"


@pytest.fixture(scope="module", name="hub")
def hub_():
    repository = Repository.of_directory("org/demo", DEMO_MODEL)
    with StubHub(repository) as hub:
        yield hub


def start(cluster, hub, **environment):
    cluster.environment.update({"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": SECRET,
                                "HF_HOME": os.path.join(cluster.place, "hf"), **environment})
    cluster.start()
    return cluster.nodes[0]


@pytest.fixture(scope="module", name="node")
def node_(hub):
    with Cluster(["alpha"]) as cluster:
        yield start(cluster, hub)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_shell_is_used(hub, variable):
    with Cluster(["theta"]) as cluster:
        node = start(cluster, hub, HF_ENDPOINT="http://hub.invalid",
                     **{variable: hub.cdn_endpoint})
        run = node.troupe("pull", "org/behind", check=False)
        assert run.returncode != 0 and "hub.invalid" in run.stderr, run
        assert {row["host"] for row in hub.rows if row["path"] ==
                "http://hub.invalid/api/models/org/behind/revision/main"} == {"cdn"}
        hub.rows.clear()


def copy_of(hub, name, **options):
    """The same files under another name, but for one, so that nothing of it is known."""
    files = {**hub.repositories["org/demo"].files, "name.json": b'"%s"' % name.encode()}
    return hub.add(Repository(name, files, **options))


def models(node):
    return {model["model_id"]: model for model in node.json("models")["models"]}


def imports(node):
    return [one["model_id"] for one in node.json("models")["imports"]]


def pull(node, *words):
    return subprocess.Popen([tool("troupe"), "pull", *words, "--home", node.home],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=node.cluster.environment)


def wait_sent(hub, name, size):
    wait_for("bytes on their way", lambda: hub.bytes_sent("GET", name) >= size)


def test_a_model_is_pulled_and_can_be_placed(node, hub):
    run = node.troupe("pull", "org/demo")
    assert "org/demo is in the store of alpha" in run.stdout
    assert "from the hub" in run.stderr
    assert models(node)["org/demo"]["shape"]["model_type"] == "qwen3"
    assert set(hub.hosts_with_token()) == {"hub"}
    # The second time everything is here.
    before = hub.bytes_sent()
    node.troupe("pull", "org/demo")
    assert hub.bytes_sent() == before
    assert SECRET not in str(node.events())


def test_a_branch_that_was_pulled_is_a_branch_of_our_hub(node, hub):
    repository = copy_of(hub, "org/tagged")
    repository.branches["v1.0"] = repository.branches["main"]
    node.troupe("pull", "org/tagged@v1.0")
    for revision in ("v1.0", "main", repository.branches["main"]):
        status, page = node.request("GET", f"/api/models/org/tagged/revision/{revision}")
        assert (status, page["sha"]) == (200, repository.branches["main"])
    assert node.request("GET", "/api/models/org/tagged/revision/v2")[0] == 404


def test_what_cannot_be_pulled_is_named(node, hub):
    copy_of(hub, "org/gated", gated=True)
    for words, code, sentence in [(("org/absent",), 3, "has no org/absent"),
                                  (("org/demo@nowhere",), 3, "no revision nowhere"),
                                  (("org/gated",), 5, "is gated"),
                                  (("@main",), 2, "ORG/NAME"), (("org/demo@",), 2, "ORG/NAME"),
                                  (("a b",), 1, "no name"), (("../up",), 1, "no name")]:
        run = node.troupe("pull", *words, check=False)
        assert run.returncode == code, (words, run.stderr)
        assert sentence in run.stderr and SECRET not in run.stderr
    assert imports(node) == []


def test_nodes_that_are_none_are_named_and_nothing_is_pulled(node, hub):
    for words, code in [(("--node", "nobody"), 3), (("--to", "nobody"), 3), (("--to", ""), 2),
                        (("--to", "alpha,nobody"), 3), (("--to", ","), 2)]:
        run = node.troupe("pull", "org/nowhere", *words, check=False)
        assert run.returncode == code and len(run.stderr.splitlines()) == 1, (words, run.stderr)
    assert imports(node) == [] and hub.bytes_sent("GET", "org/nowhere") == 0


def pulls(node, name):
    status, told = node.request("GET", "/v1/models/pulls")
    assert status == 200
    return [one for one in told["pulls"] if one["model_id"] == name]


def test_pulls_that_run_and_that_ended_are_shown(node, hub):
    hub.rate = 800 << 10
    copy_of(hub, "org/shown")
    process = pull(node, "org/shown")
    wait_for("how far it is", lambda: [
        one for one in pulls(node, "org/shown") for target in one["targets"]
        if one["files"] and target.get("bytes_from_hub", 0) > 0 and target.get("file")])
    (shown,) = pulls(node, "org/shown")
    assert (shown["status"], shown["revision"]) == ("running", "main") and shown["commit"]
    (target,) = shown["targets"]
    assert (target["node"], target["status"]) == ("alpha", "running")
    assert 0 < target["bytes_done"] <= target["bytes_total"]
    files = {one["path"]: one for one in shown["files"]}
    assert files["model.safetensors"]["node"] == "alpha"
    hub.rate = None
    assert process.wait(timeout=60) == 0
    node.troupe("pull", "org/nothing", check=False)
    (done,) = pulls(node, "org/shown")
    (failed,) = pulls(node, "org/nothing")
    assert done["status"] == "done" and done["targets"][0]["status"] == "done"
    assert failed["status"] == "failed" and failed["targets"][0]["code"] == "NOT_FOUND"
    assert "has no org/nothing" in failed["targets"][0]["reason"]
    shown = node.troupe("models")
    assert "the pull of org/nothing to alpha failed: " in shown.stdout + shown.stderr
    assert failed["targets"][0]["reason"] in shown.stdout + shown.stderr
    assert "org/shown to" not in shown.stdout + shown.stderr
    ends = {one["model_id"]: one for one in node.json("models")["ended_pulls"]}
    assert ends["org/nothing"]["reason"] == failed["targets"][0]["reason"]
    node.cluster.environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        copy_of(hub, "org/quiet")
        assert node.troupe("pull", "org/quiet").stderr == ""
    finally:
        del node.cluster.environment["HF_HUB_DISABLE_PROGRESS_BARS"]


def test_another_revision_of_what_runs_is_refused_and_the_instance_stays(node, hub, tmp_path):
    repository = copy_of(hub, "org/revised")
    first = repository.branches["main"]
    node.troupe("pull", "org/revised")
    node.troupe("place", "org/revised", "--wait")
    files = dict(repository.files)
    weights = bytearray(b"".join(
        files["model.safetensors"].pieces(0, files["model.safetensors"].size)))
    weights[-1] ^= 1
    other = repository.commit({**files, "model.safetensors": bytes(weights)})
    run = node.troupe("pull", "org/revised", check=False)
    assert run.returncode != 0 and "troupe delete" in run.stderr, run
    assert first[:8] in run.stderr and other[:8] in run.stderr
    assert models(node)["org/revised"]["commit"] == first
    # Nor does a directory take its place.
    other_files = str(tmp_path / "other")
    shutil.copytree(DEMO_MODEL, other_files)
    with open(os.path.join(other_files, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([weights[-1] ^ 2]))
    run = node.troupe("add", other_files, "--name", "org/revised", check=False)
    assert run.returncode != 0 and "not its files" in run.stderr, run
    # What runs can be pulled again, and starts again when it dies.
    node.troupe("pull", f"org/revised@{first}")
    (instance,) = node.json("ps")["instances"]
    os.kill(next(pid for name, pid in node.processes().items() if name.startswith("runner")),
            signal.SIGKILL)
    wait_for("an answer", lambda: node.chat(
        "What is a fox?", model="org/revised", max_tokens=2)[0] == 200)
    node.troupe("delete", instance["instance_id"])
    node.troupe("pull", "org/revised")
    assert models(node)["org/revised"]["commit"] == other


def left_over(node):
    holdings = os.path.join(node.home, "holdings")
    return [name for place in (node.models, holdings) for _, _, names in os.walk(place)
            for name in names if "incomplete" in name or name.endswith(".ledger")]


def test_a_deleted_instance_ends_its_download_and_leaves_nothing(node, hub):
    hub.rate = 30 << 10
    copy_of(hub, "org/placed")
    node.troupe("place", "org/placed")
    wait_sent(hub, "org/placed", 20 << 10)
    (instance,) = node.json("ps")["instances"]
    node.troupe("delete", instance["instance_id"])
    wait_for("the end of the download", lambda: imports(node) == [] and not left_over(node))
    assert "org/placed" not in models(node)
    assert any("org/placed" in str(event) and "deleted" in str(event) for event in node.events())


def test_a_pull_keeps_what_an_instance_began(node, hub):
    hub.rate = 60 << 10
    copy_of(hub, "org/both")
    node.troupe("place", "org/both")
    wait_sent(hub, "org/both", 20 << 10)
    process = pull(node, "org/both")
    wait_for("the second request", lambda: sum(
        "download_requested" in str(event) and "org/both" in str(event)
        for event in node.events()) == 2)
    (instance,) = node.json("ps")["instances"]
    node.troupe("delete", instance["instance_id"])
    hub.rate = None
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "in the store" in output, errors


def test_two_pulls_at_once_keep_within_the_quota(hub):
    for number in (1, 2):
        files = dict(hub.repositories["org/demo"].files)
        content = files["model.safetensors"]
        weights = bytearray(b"".join(content.pieces(0, content.size)))
        weights[-1] ^= number
        hub.add(Repository(f"org/large{number}", {**files, "model.safetensors": bytes(weights)}))
    size = sum(one.size for one in hub.repositories["org/demo"].files.values())
    with Cluster(["gamma"], store_quota=str(size * 17 // 10)) as cluster:
        node = start(cluster, hub)
        hub.rate = 200 << 10
        first = pull(node, "org/large1")
        wait_sent(hub, "org/large1", 200 << 10)
        second = node.troupe("pull", "org/large2", check=False)
        hub.rate = None
        _, errors = first.communicate(timeout=60)
        assert first.returncode == 0, errors
        assert second.returncode == 1 and "is on its way" in second.stderr
        assert left_over(node) == []


def test_a_pull_that_goes_on_asks_for_its_room_again(hub):
    with Cluster(["zeta"]) as cluster:
        node = start(cluster, hub)
        hub.rate = 60 << 10
        copy_of(hub, "org/resumed")
        process = pull(node, "org/resumed")
        wait_sent(hub, "org/resumed.*safetensors", 10 << 10)
        process.kill()
        process.communicate(timeout=60)
        node.stop()
        hub.rate = None
        cluster.environment["TROUPE_STORE_QUOTA"] = "1000000"
        node.up()
        wait_for("its end", lambda: pulls(node, "org/resumed") and
                 pulls(node, "org/resumed")[0]["status"] == "failed")
        (target,) = pulls(node, "org/resumed")[0]["targets"]
        assert target["code"] == "NO_SPACE" and "store_quota" in target["reason"], target
        assert "org/resumed" not in models(node)


def partial(node):
    return [name for _, _, names in os.walk(node.models) for name in names if "incomplete" in name]


def test_room_of_all_files_is_set_aside_before_they_come(node, hub, tmp_path):
    directory = str(tmp_path / "shards")
    in_shards(DEMO_MODEL, directory, 12)
    hub.add(Repository.of_directory("org/sharded", directory))
    hub.rate = 30 << 10
    process = pull(node, "org/sharded")
    wait_sent(hub, "org/sharded.*safetensors", 10 << 10)
    assert len(partial(node)) >= 10  # four are fetched at a time
    node.troupe("rm", "org/sharded")
    process.communicate(timeout=30)
    wait_for("nothing set aside", lambda: not left_over(node))
    hub.rate = None


def test_after_an_interrupt_the_node_goes_on(node, hub):
    hub.rate = 30 << 10
    copy_of(hub, "org/interrupted")
    process = pull(node, "org/interrupted")
    wait_sent(hub, "org/interrupted", 20 << 10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on" in errors
    assert imports(node) == ["org/interrupted"]
    # Another revision cannot come meanwhile; the same once more joins what goes on.
    other = node.troupe("pull", "org/interrupted@v2", check=False)
    assert other.returncode == 1 and "being pulled at the revision main" in other.stderr
    hub.rate = None
    again = node.troupe("pull", "org/interrupted")
    assert "org/interrupted is in the store of alpha" in again.stdout


def test_a_removed_pull_ends_and_leaves_nothing(node, hub):
    hub.rate = 30 << 10
    copy_of(hub, "org/unwanted")
    process = pull(node, "org/unwanted")
    wait_sent(hub, "org/unwanted", 20 << 10)
    node.troupe("rm", "org/unwanted")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "removed" in errors
    place = os.path.join(node.models, "models--org--unwanted")
    wait_for("an empty place", lambda: not [
        name for _, _, names in os.walk(place) for name in names])

    def is_left_alone():
        before = len(hub.rows), hub.bytes_sent()
        time.sleep(2.5)  # a piece of the hub's takes 2.2 s at this rate
        return before == (len(hub.rows), hub.bytes_sent())

    # A request on its way when the pull ended is still heard; the whole would take 50 s.
    wait_for("the hub left alone", is_left_alone, 15)
    hub.rate = None
    assert imports(node) == [] and "org/unwanted" not in models(node)
    node.troupe("pull", "org/unwanted")


def test_a_killed_downloader_goes_on(node, hub):
    hub.rate = 60 << 10
    repository = copy_of(hub, "org/killed")
    process = pull(node, "org/killed")
    wait_sent(hub, "org/killed", 40 << 10)
    os.kill(node.processes()["downloader"], signal.SIGKILL)
    time.sleep(0.1)
    hub.rate = None
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "in the store" in output
    small = sum(one.size for path, one in repository.files.items() if "safetensors" not in path)
    assert hub.bytes_sent("GET", "org/killed") <= 2 * (small + 1483577 + 9089)
    left = [name for _, _, names in os.walk(node.models)
            for name in names if "incomplete" in name]
    assert left == [] and not [name for name in os.listdir(os.path.join(node.home, "holdings"))
                               if name.endswith(".ledger")]


def test_an_offline_node_asks_nobody_and_takes_what_is_there(node, hub):
    node.troupe("pull", "org/demo")
    with Cluster(["beta"]) as cluster:
        before = len(hub.rows)
        cluster.environment.update({"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1",
                                    "TROUPE_MODEL_DIRECTORIES": node.models})
        cluster.start()
        offline = cluster.nodes[0]
        assert "in the store of beta" in offline.troupe("pull", "org/demo").stdout
        run = offline.troupe("pull", "org/other", check=False)
        assert run.returncode == 4 and "HF_HUB_OFFLINE" in run.stderr
        assert len(hub.rows) == before


def test_files_that_a_node_still_holds_come_from_it_and_the_rest_from_the_hub(hub, tmp_path):
    parts = str(tmp_path / "parts")
    shards = in_shards(DEMO_MODEL, parts, 4)
    repository = hub.add(Repository.of_directory("org/parts", parts))
    with Cluster(["delta", "eps"]) as cluster:
        first = start(cluster, hub)
        second = cluster.nodes[1]
        cluster.wait_in_view()
        first.troupe("pull", "org/parts")
        lost = os.path.realpath(os.path.join(first.stored("org/parts"), shards[2]))
        size = os.path.getsize(lost)
        os.unlink(lost)
        # A copy finds it out, and ends by the name of the file.
        run = second.troupe("distribute", "org/parts", "--to", "eps", "--wait", check=False)
        assert run.returncode != 0 and shards[2] in run.stdout + run.stderr, run
        wait_for("delta holds the others alone", lambda: [
            (holder["has_weights"], bool(holder["held"]))
            for holder in models(second)["org/parts"]["holders"]] == [(False, True)])
        small = sum(one.size for path, one in repository.files.items()
                    if not path.endswith(".safetensors"))
        before = hub.bytes_sent("GET", "org/parts")
        second.troupe("pull", "org/parts")
        assert size <= hub.bytes_sent("GET", "org/parts") - before <= size + small
        assert left_over(second) == []
