"""Peak memory is this process's own."""

import resource
import sys

import psutil
import pytest
import torch

from mmad.training.device import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands a parent's peak down")
def test_a_parents_peak_is_not_taken_for_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inherited:
        ru_maxrss = 2**40

    monkeypatch.setattr(resource, "getrusage", lambda who: Inherited)
    resident = psutil.Process().memory_info().rss
    assert 0.9 * resident <= peak_memory(torch.device("cpu")) < 2**40
