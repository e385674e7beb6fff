"""Whatever call a kill hits: the same command again gives what an undisturbed one gives, and nothing is left over.

A few calls of each operation, chosen by chance; ``make stress`` kills at every one. In the environment:
``MMAD_KILL_CALLS`` (how many of each operation, 0 for all) and ``MMAD_STRESS_SEED``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from killing import OPERATIONS, build_shim, killing

CALLS = os.environ.get("MMAD_KILL_CALLS", "2")
SEED = os.environ.get("MMAD_STRESS_SEED", "0")


@pytest.mark.slow
@pytest.mark.timeout(1200 if CALLS != "0" else 4 * 3600)
def test_a_kill_at_any_call_that_changes_the_disk_costs_nothing(tmp_path: Path) -> None:
    if build_shim(tmp_path) is None:
        pytest.skip("the shim needs a C compiler on Linux")
    done = killing("--sample", CALLS, "--seed", SEED, folder=tmp_path)
    assert done.stdout, done.stderr[-4000:]
    tallies = json.loads(done.stdout)
    for tally in tallies:
        print(json.dumps({name: value for name, value in tally.items() if name != "wrong"}))
    assert [tally["wrong"] for tally in tallies] == [[]] * len(OPERATIONS)
    assert all(tally["tries"] > 0 for tally in tallies)
    assert done.returncode == 0
