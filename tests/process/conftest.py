# SPDX-License-Identifier: Apache-2.0
"""Nodes are given a store of their own; whatever forgets to is kept from the user's cache."""
import os
import shutil
import tempfile

import pytest

# Programs of their own, which meson runs.
collect_ignore_glob = ["*_test.py"]


@pytest.fixture(scope="session", autouse=True)
def cache_of_nobody():
    place = tempfile.mkdtemp(prefix="troupe-hub-")
    os.environ["HF_HUB_CACHE"] = place
    yield
    shutil.rmtree(place, ignore_errors=True)
