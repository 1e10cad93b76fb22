# SPDX-License-Identifier: Apache-2.0
"""Pulls from a hub that misbehaves: the right bytes or a named error, never anything else.  These
are the quick cases; scripts/bars/03-hub runs all of them."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub_cases  # noqa: E402

QUICK = [(name, function) for name, is_quick, function in hub_cases.CASES if is_quick]


@pytest.mark.parametrize("function", [function for _, function in QUICK],
                         ids=[name for name, _ in QUICK])
def test_a_pull(function):
    hub_cases.run(function)
