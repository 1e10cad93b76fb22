# SPDX-License-Identifier: Apache-2.0
"""What a hub may do to a pull, one function each: tests/process/test_hub_pull.py runs the quick
ones, scripts/bars/03-hub all of them.

Each gets a stage (hub, pulls, repository) and raises AssertionError when the bytes are wrong, an
error has another name, or the hub was asked what it should not have been.
"""
import functools
import os
import random
import signal
import time

from hub_stage import (CHUNK, MIB, Content, Pulls, Repository, StubHub, fetched_size, is_fetched,
                       some_files)

WEIGHTS = r"GET cdn /org/model/"
SECRET = "hf_secretsecret"
SIZES = (9 * MIB + 123, MIB)
CASES = []  # (name, is_quick, function of a stage)


def case(*variants, quick=True):
    """A case, or one for each (name, arguments of the function after the stage)."""
    def add(function):
        for name, *arguments in variants or [("",)]:
            CASES.append((function.__name__ + (f"-{name}" if name else ""), quick,
                          functools.partial(call, function, arguments)))
        return function
    return add


def call(function, arguments, stage):
    function(stage, *arguments)


@functools.lru_cache(maxsize=None)
def contents(sizes=SIZES):
    return {path: Content(source) for path, source in some_files(sizes=sizes).items()}


def run(function, **environment):
    repository = Repository("org/model", contents())
    with StubHub(repository) as hub, Pulls(hub, SECRET, **environment) as pulls:
        function((hub, pulls, repository))


def expect_whole(stage, **options):
    _, pulls, repository = stage
    result = pulls.pull(**options)
    assert result["status"] == "OK", result
    assert pulls.faults_of_model(repository) == []
    return result


def expect_refused(stage, status, *words, **options):
    hub, pulls, _ = stage
    result = pulls.pull(**options)
    assert result["status"] == status, result
    for word in words:
        assert word in result["reason"], result["reason"]
    assert pulls.wrong_blobs() == []
    assert SECRET not in result["reason"]
    return result


@case()
def a_model_comes_whole_and_once(stage):
    hub, pulls, repository = stage
    result = expect_whole(stage)
    assert result["bytes_fetched"] == fetched_size(repository)
    assert hub.bytes_sent() == fetched_size(repository)
    assert result["programs"] == 1
    # The token went to the hub, and to nobody else.
    assert set(hub.hosts_with_token()) == {"hub"}
    assert not [row for row in hub.rows if ".py" in row["path"] or "stray" in row["path"]]
    again = expect_whole(stage)
    assert again["bytes_fetched"] == 0 and hub.bytes_sent() == fetched_size(repository)


@case(quick=False)
def several_ranges_of_a_file_come_at_once(stage):
    hub, _, _ = stage
    hub.rate = 4 * MIB
    expect_whole(stage)
    # Chunks of 8, 1 and 1 MiB; the first alone takes 2 s.
    assert len([row for row in hub.rows if row["host"] == "cdn"]) == 3
    first, *others = sorted(row["time"] for row in hub.rows if row["host"] == "cdn")
    assert others[-1] - first < 1.5


@case(("416", "status", {"status": 416}), ("stall", "stall", {"after": MIB, "seconds": 20}))
def a_fault_passes(stage, kind, options):
    a_passing_fault_is_survived(stage, kind, options)


@case(("ignore-range", "ignore_range", {}), ("gzip", "gzip", {}),
      ("truncate", "truncate", {"after": 3 * MIB + 7}),
      ("silent", "stall", {"after": 0, "seconds": 20}),
      ("empty", "truncate", {"after": 0}), ("endless", "endless", {}),
      ("500", "status", {"status": 500}), ("403", "status", {"status": 403}),
      ("503", "status", {"status": 503, "headers": {"Retry-After": "1"}}),
      ("long-page", "status", {"status": 500, "body": b"x" * MIB}), quick=False)
def a_passing_fault_is_survived(stage, kind, options):
    hub, pulls, repository = stage
    if kind == "stall":
        pulls.environment["HF_HUB_DOWNLOAD_TIMEOUT"] = "1"
    hub.fault(kind, WEIGHTS, skip=1, times=2, **options)
    expect_whole(stage)
    assert hub.bytes_sent() <= fetched_size(repository) + 5 * CHUNK


@case(("gzip", "gzip", {}, "IO", "encoding gzip"),
      ("500", "status", {"status": 500}, "IO", "HTTP 500"),
      ("truncate", "truncate", {"after": 0}, "IO", "cut"), quick=False)
def a_lasting_fault_is_named(stage, kind, options, status, word):
    hub, _, _ = stage
    hub.fault(kind, WEIGHTS, times=10 ** 6, **options)
    expect_refused(stage, status, word, tries=2)


@case()
def what_is_more_than_asked_for_is_not_taken(stage):
    hub, _, _ = stage
    hub.fault("endless", WEIGHTS, times=10 ** 6)
    expect_whole(stage)


@case()
def a_server_without_ranges_is_read_from_the_beginning(stage):
    hub, _, repository = stage
    hub.fault("ignore_range", WEIGHTS, times=10 ** 6)
    expect_whole(stage)
    assert hub.bytes_sent() <= fetched_size(repository) + 5 * CHUNK


@case(("hub", "ratelimit", 2, "GET hub .*/resolve/"), ("date", "date", 1, WEIGHTS))
def a_limit_is_waited_out(stage, style, wait_s, match):
    a_rate_limit_is_waited_out(stage, style, wait_s, match)


@case(("api", "ratelimit", 2, "GET hub /api/models/"),
      ("api-after", "retry-after", 1, "GET hub /api/models/"),
      ("cdn", "ratelimit", 2, WEIGHTS), ("cdn-after", "retry-after", 1, WEIGHTS),
      ("resolve-after", "retry-after", 1, "GET hub .*/resolve/"), quick=False)
def a_rate_limit_is_waited_out(stage, style, wait_s, match):
    hub, _, _ = stage
    fault = hub.fault("rate_limit", match, style=style, seconds=1)
    expect_whole(stage)
    assert fault.count > 1
    limited = [row for row in hub.rows if "rate_limited_s" in row]
    assert len(limited) == 1
    # What other connections had on the way when the limit came is nobody's disobedience.
    early = [row for row in hub.rows if row["host"] == limited[0]["host"] and
             limited[0]["time"] + 0.2 < row["time"] < limited[0]["time"] + wait_s - 0.05]
    assert early == [], (limited, early)


@case()
def a_rate_limit_of_an_hour_ends_the_pull_with_its_time(stage):
    stage[0].fault("rate_limit", "GET hub /api/models/", seconds=3600)
    expect_refused(stage, "BUSY", "3600 s", "limits the rate")
    assert len(stage[0].rows) == 1


@case()
def a_flipped_bit_costs_its_range(stage):
    hub, _, repository = stage
    hub.fault("flip", WEIGHTS + ".*00001", at=100, times=10 ** 6)
    expect_whole(stage)
    assert len([row for row in hub.rows if "flipped" in row]) == 1
    # The search begins at the first chunk, with as many as there are connections.
    assert hub.bytes_sent() <= fetched_size(repository) + 3 * CHUNK


@case()
def a_search_that_found_the_bit_asks_for_nothing_else(stage):
    hub, pulls, repository = stage
    hub.add(Repository("org/model", some_files(sizes=(32 * MIB,))))
    repository = hub.repositories["org/model"]
    hub.rate = 8 * MIB
    hub.fault("flip", WEIGHTS, at=100, times=10 ** 6)
    assert pulls.pull()["status"] == "OK"
    assert pulls.faults_of_model(repository) == []
    # Four connections search; three end at once, but for what is in their sockets.
    assert len([row for row in hub.rows if row["host"] == "cdn"]) <= 8
    assert hub.bytes_sent() <= fetched_size(repository) + CHUNK + 3 * 3 * MIB


@case()
def bits_that_flip_in_many_ranges_cost_each_range_twice_at_most(stage):
    hub, pulls, _ = stage
    repository = hub.add(Repository("org/model", some_files(sizes=(54 * MIB,))))
    hub.fault("flip", WEIGHTS, at=[chunk * CHUNK + 4 * MIB for chunk in range(6)], times=10 ** 6)
    assert pulls.pull(connections=1)["status"] == "OK"
    assert pulls.faults_of_model(repository) == []
    assert len([row for row in hub.rows if "flipped" in row]) == 6
    assert hub.bytes_sent() <= 2 * fetched_size(repository) + 2 * CHUNK


@case()
def a_file_that_is_wrong_at_the_hub_is_named(stage):
    hub, pulls, repository = stage
    good = repository.files["model-00002-of-00002.safetensors"]
    other = bytearray(good.source)
    other[77] ^= 4
    swapped = Content(bytes(other))
    swapped.sha256 = good.sha256  # the etag it claims
    hub.swapped[good.sha256] = swapped
    expect_refused(stage, "HASH_MISMATCH", "damaged at the hub", "model-00002")
    assert not [name for name in pulls.left_over() if good.sha256 in name]


@case()
def a_file_that_changes_is_named(stage):
    hub, _, repository = stage
    name = "model-00001-of-00002.safetensors"
    sha = repository.branches["main"]

    def change():
        repository.commits[sha][name] = Content(b"x" * (9 * MIB + 123))

    before = repository.commits[sha][name]
    hub.fault("call", WEIGHTS + ".*00001", skip=1, run=change)
    hub.fault("status", WEIGHTS + ".*00001", skip=1, times=10 ** 6, status=403)
    expect_refused(stage, "STALE", name, "changed at the hub")
    repository.commits[sha][name] = before


@case()
def a_branch_that_moves_on_does_not_mix_commits(stage):
    hub, pulls, repository = stage
    first = repository.branches["main"]
    hub.fault("call", "GET hub .*/resolve/.*config.json",
              run=lambda: repository.commit({**contents(), "config.json": b"{}"}))
    assert pulls.pull()["commit"] == first
    assert all(first in row["path"] for row in hub.rows if "/resolve/" in row["path"])
    second = pulls.pull()
    assert second["commit"] == repository.branches["main"] != first
    assert pulls.faults_of_model(repository) == []
    assert hub.bytes_sent() == fetched_size(repository) + len(contents()["config.json"].source)


@case(quick=False)
def a_commit_that_is_gone_is_named(stage):
    hub, _, repository = stage
    hub.fault("call", "GET hub .*/resolve/.*config.json", run=repository.commits.clear)
    expect_refused(stage, "STALE", "changed at the hub")


@case()
def a_redirect_loop_ends(stage):
    hub, _, _ = stage
    hub.fault("redirect", WEIGHTS, times=10 ** 6, to=lambda handler: handler.path)
    expect_refused(stage, "REFUSED", "circle")
    assert len([row for row in hub.rows if row["host"] == "cdn" and "00001" in row["path"]]) <= 24


@case()
def the_token_crosses_no_host(stage):
    hub, _, _ = stage
    # There and back again: at the other host without it, at the hub with it.
    hub.fault("redirect", "GET hub /org/model/resolve/.*tokenizer.json",
              to=lambda handler: f"{hub.cdn_endpoint}/bounce")
    hub.fault("redirect", "GET cdn /bounce", times=9, to=lambda handler: hub.endpoint +
              f"/org/model/resolve/{hub.repositories['org/model'].branches['main']}/tokenizer.json")
    expect_whole(stage)
    bounced = [row for row in hub.rows if row["path"] == "/bounce"]
    assert bounced and set(hub.hosts_with_token()) == {"hub"}


@case(("ftp", "ftp://127.0.0.1/x", "begins with"), ("user", "http://user@127.0.0.1/", "user name"),
      ("nowhere", "", "nowhere"), ("port", "http://127.0.0.1:99999/", "port"), quick=False)
def a_redirect_to_no_place_is_named(stage, location, word):
    stage[0].fault("redirect", "GET hub .*/resolve/", times=99, to=lambda handler: location)
    expect_refused(stage, "MALFORMED" if not location else "REFUSED", word)


@case()
def a_list_that_goes_on_at_another_host_is_refused(stage):
    hub, _, _ = stage
    hub.page_size = 3
    hub.cursor_endpoint = hub.cdn_endpoint
    expect_refused(stage, "REFUSED", "another host")
    assert not [row for row in hub.rows if row["host"] == "cdn"]


@case()
def a_list_of_1001_entries_is_read_to_its_end(stage):
    hub, pulls, _ = stage
    many = {f"assets/{number:04}.bin": b"%d" % number for number in range(1001 - len(contents()))}
    repository = hub.add(Repository("org/many", {**many, **contents()}))
    assert pulls.pull("org/many")["status"] == "OK"
    assert pulls.faults_of_model(repository) == []
    assert len([row for row in hub.rows if "/tree/" in row["path"]]) == 2


@case(quick=False)
def a_list_that_goes_in_circles_ends(stage):
    hub, _, _ = stage
    hub.lists_for_ever = True
    expect_refused(stage, "TOO_LARGE", "files")
    assert len([row for row in hub.rows if "/tree/" in row["path"]]) <= 400


@case()
def a_list_without_end_is_not_read_for_ever(stage):
    hub, _, _ = stage
    hub.fault("endless", "/tree/", times=99)
    expect_refused(stage, "TOO_LARGE", "more bytes")
    assert max(row["sent"] for row in hub.rows) < 256 * MIB


@case()
def a_renamed_repository_is_followed(stage):
    hub, pulls, repository = stage
    hub.renamed["old-org/old"] = "org/model"
    assert pulls.pull("old-org/old")["status"] == "OK"
    assert pulls.faults_of_model(repository, "old-org/old") == []


@case()
def what_may_not_be_had_says_what_to_do(stage):
    hub, pulls, _ = stage
    hub.add(Repository("org/gated", contents(), gated=True))
    hub.add(Repository("org/private", contents(), private_token="hf_other"))
    expect_refused(stage, "NO_PERMISSION", "gated", "org/gated", name="org/gated")
    expect_refused(stage, "NOT_FOUND", "org/absent", name="org/absent")
    expect_refused(stage, "NOT_FOUND", "no revision", "absent", revision="absent")
    del pulls.environment["HF_TOKEN"]
    expect_refused(stage, "NO_PERMISSION", "accept its licence", "HF_TOKEN", name="org/gated")
    expect_refused(stage, "NOT_FOUND", "private", "HF_TOKEN", name="org/private")
    pulls.environment["HF_TOKEN"] = "hf_other"
    assert pulls.pull("org/private")["status"] == "OK"


@case(quick=False)
def names_that_lead_elsewhere_are_refused(stage):
    hub, pulls, _ = stage
    for name in ("../up.json", "a/../../b.json", "/etc/x.json", "a\\b.json", "a//b.json",
                 "./a.json", "a/..", "nul\0.json"):
        hub.add(Repository("org/model", {**contents(), name: b"{}"}))
        expect_refused(stage, "MALFORMED")
    for name in ("../x", "a/b/c", "-a/b", "a--b/c", "a/b.git", "a/" + 100 * "b", "", "a/%2e%2e"):
        assert pulls.pull(name)["status"] == "INVALID", name
    for revision in ("../x", "a..b", "-x", "a b", "x\n", "@{0}"):
        assert pulls.pull(revision=revision)["status"] == "INVALID", revision
    assert os.listdir(pulls.place) and not os.path.exists(os.path.join(pulls.place, "up.json"))


@case(("empty", b""), ("no-commit", b"{}"), ("deep", b"[" * 100000), ("odd", b'{"sha": "xyz"}'),
      ("zeros", b"\0" * 99), quick=False)
def an_answer_that_is_no_answer_is_named(stage, body):
    stage[0].fault("status", "GET hub /api/models/.*/revision/", times=99, status=200, body=body)
    expect_refused(stage, "MALFORMED", "HF_ENDPOINT")


@case()
def offline_asks_nobody(stage):
    hub, pulls, _ = stage
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        pulls.environment[name] = "1"
        expect_refused(stage, "UNREACHABLE", "HF_HUB_OFFLINE")
        del pulls.environment[name]
    assert hub.rows == []


@case(quick=False)
def a_hub_that_is_not_there_is_named(stage):
    pulls = stage[1]
    pulls.environment["HF_ENDPOINT"] = "http://127.0.0.1:1"
    expect_refused(stage, "UNREACHABLE", "127.0.0.1:1", tries=1)


@case()
def a_token_file_others_can_read_is_refused(stage):
    hub, pulls, _ = stage
    path = os.path.join(pulls.place, "token")
    with open(path, "w", encoding="utf-8") as file:
        file.write("hf_from_file\n")
    del pulls.environment["HF_TOKEN"]
    os.chmod(path, 0o644)
    expect_refused(stage, "NO_PERMISSION", "chmod 600", path)
    os.chmod(path, 0o600)
    expect_whole(stage)
    assert {row["headers"].get("authorization") for row in hub.rows if row["host"] == "hub"} == \
        {"Bearer hf_from_file"}


@case(("https", "https_proxy"), ("HTTPS", "HTTPS_PROXY"), ("ALL", "ALL_PROXY"))
def a_proxy_is_used_for_a_hub_by_tls(stage, variable):
    hub, pulls, _ = stage
    pulls.environment[variable] = hub.cdn_endpoint
    pulls.environment["HF_ENDPOINT"] = "https://hub.invalid"
    expect_refused(stage, "IO", "hub.invalid", "403", tries=1)
    assert {(row["method"], row["path"], row["host"]) for row in hub.rows} == \
        {("CONNECT", "hub.invalid:443", "cdn")}


@case(("small", "no_proxy", "127.0.0.1"), ("capitals", "NO_PROXY", "example.org,127.0.0.1"))
def a_hub_beside_the_proxy_is_asked_itself(stage, variable, hosts):
    pulls = stage[1]
    pulls.environment.update({"http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1",
                              variable: hosts})
    expect_whole(stage)


@case(("http", "http_proxy"), ("HTTP", "HTTP_PROXY"), ("all", "all_proxy"), ("ALL", "ALL_PROXY"))
def a_proxy_of_the_environment_is_used(stage, variable):
    hub, pulls, _ = stage
    pulls.environment[variable] = hub.cdn_endpoint
    pulls.environment["HF_ENDPOINT"] = "http://hub.invalid"
    expect_refused(stage, "NO_PERMISSION", "hub.invalid")
    assert {row["path"] for row in hub.rows} == \
        {"http://hub.invalid/api/models/org/model/revision/main"}


@case()
def a_kill_at_any_moment_costs_a_chunk_of_each_connection(stage, count=10):
    hub, pulls, repository = stage
    draw = random.Random(7)
    hub.rate = 6 * MIB
    limit = fetched_size(repository)
    for _ in range(count):
        process = pulls.start(connections=2)
        time.sleep(draw.uniform(0.02, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            limit += 2 * CHUNK
        process.communicate()
        assert pulls.wrong_blobs() == []
    hub.rate = None
    expect_whole(stage, connections=2)
    # What is on its way in sockets when a process dies counts as sent.
    assert hub.bytes_sent() <= limit + (count + 1) * 4 * MIB


@case(quick=False)
def what_a_kill_left_torn_is_not_believed(stage):
    hub, pulls, repository = stage
    hub.rate = 8 * MIB
    process = pulls.start()
    while len(os.listdir(pulls.ledgers)) == 0 or process.poll() is None and not any(
            os.path.getsize(os.path.join(pulls.ledgers, name)) > 104
            for name in os.listdir(pulls.ledgers)):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    for name in os.listdir(pulls.ledgers):
        with open(os.path.join(pulls.ledgers, name), "ab") as file:
            file.write(b"\1\0\0\0torn")
        blob = os.path.join(pulls.folder(), "blobs", name.replace(".ledger", "") +
                            ".troupe.incomplete")
        if not os.path.exists(blob):  # killed after the rename, before its ledger went
            continue
        with open(blob, "r+b") as file:
            file.seek(5 * MIB)
            file.write(b"not these")
    hub.rate = None
    expect_whole(stage)
