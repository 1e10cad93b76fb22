# SPDX-License-Identifier: Apache-2.0
"""A hub by TLS, as every real one is: whom a pull trusts, and what a flipped bit costs there: what
the connection carried from there on, as the record it is in has a check of its own."""
import os
import sys

import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "tests", "support"))
sys.path.insert(0, os.path.join(TOP, "scripts", "bars"))
from cluster import DEMO_MODEL, Cluster  # noqa: E402
from hub_stage import (CHUNK, MIB, Pulls, Repository, StubHub, fetched_size,  # noqa: E402
                       some_files)
from tls_stage import Wire, certificate, speak_tls  # noqa: E402


@pytest.fixture(scope="module", name="paths")
def paths_(tmp_path_factory):
    paths = certificate(str(tmp_path_factory.mktemp("tls")))
    if not paths:
        pytest.skip("there is no openssl program to make a certificate with")
    return paths


@pytest.fixture(scope="module", name="files")
def files_():
    return some_files(sizes=(18 * MIB + 123, 9 * MIB))


class Stage:
    """A hub by TLS and its CDN, each behind a wire."""

    def __init__(self, paths, repository):
        self.hub = StubHub(repository)
        speak_tls(self.hub, paths)
        self.wires = [Wire(server.server_port) for server in self.hub.servers]
        self.hub.endpoint, self.hub.cdn_endpoint = [wire.endpoint for wire in self.wires]

    def __enter__(self):
        self.hub.__enter__()
        for wire in self.wires:
            wire.__enter__()
        return self

    def __exit__(self, *_):
        for wire in self.wires:
            wire.__exit__()
        self.hub.__exit__()


@pytest.mark.parametrize("flips", [[], [3 * MIB], [5 * MIB + 1, 2 * MIB, 9 * MIB, 100 * 1000]],
                         ids=["none", "one", "four"])
def test_a_bit_that_flips_on_the_way_costs_at_most_its_range(paths, files, flips):
    repository = Repository("org/model", files)
    with Stage(paths, repository) as stage, \
            Pulls(stage.hub, SSL_CERT_FILE=paths[0]) as pulls:
        hub_wire, cdn_wire = stage.wires
        cdn_wire.flip(*flips)
        result = pulls.pull()
        assert result["status"] == "OK", result
        assert pulls.faults_of_model(repository) == []
        assert cdn_wire.flipped == len(flips) and hub_wire.connections > 0
        assert stage.hub.bytes_sent() <= fetched_size(repository) + len(flips) * CHUNK
        # What had come before the flip is not asked for again, and nothing was searched.
        assert result["bytes_fetched"] == fetched_size(repository)


def test_whom_nobody_vouches_for_is_refused(paths, files):
    with Stage(paths, Repository("org/model", files)) as stage, Pulls(stage.hub, "hf_x") as pulls:
        result = pulls.pull()
        assert result["status"] == "REFUSED" and "certificate" in result["reason"], result
        assert stage.hub.rows == []


VARIABLES = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_node_trusts_the_certificates_its_environment_names(paths, variable):
    repository = Repository.of_directory("org/demo", DEMO_MODEL)
    with Stage(paths, repository) as stage, Cluster(["alpha"]) as cluster:
        for name in VARIABLES:
            cluster.environment.pop(name, None)
        cluster.environment.update({"HF_ENDPOINT": stage.hub.endpoint, variable: paths[0],
                                    "HF_HOME": os.path.join(cluster.place, "hf")})
        cluster.start()
        run = cluster.nodes[0].troupe("pull", "org/demo")
        assert "org/demo is in the store of alpha" in run.stdout
