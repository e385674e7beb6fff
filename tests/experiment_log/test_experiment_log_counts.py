"""The comparison of counts with the documented log's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mmad.base.errors import SpecError
from mmad.config.setup import ModelSetup
from mmad.experiment_log.shipped import compare_counts, entries, entry, later_entries, setup_of

PRINTED = 748


class Printed:
    """A count that answers what the log prints for the architecture asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known: dict[str, dict[str, int]] = {}
        for e in entries():
            if e.params:
                self.known.setdefault(setup_of(e).part("architecture"), {}).update(e.params)

    def __call__(self, setup: ModelSetup) -> Mapping[str, int]:
        self.asked.append(setup.part("architecture"))
        return self.known[setup.part("architecture")]


def test_equal_architectures_are_counted_once() -> None:
    count = Printed()
    found = compare_counts(count)
    assert (found.equal, found.printed, found.differences) == (PRINTED, PRINTED, ())
    assert len(count.asked) == len(set(count.asked)) == len(count.known) < len(found.counted) == 82
    assert {id: dict(counted) for id, counted in found.counted.items()} == {
        e.id: dict(e.params) for e in entries() if e.params
    }


def test_what_differs_is_named() -> None:
    count = Printed()

    def other(setup: ModelSetup) -> Mapping[str, int]:
        if setup.backbone == "custom2":
            raise SpecError("custom2 is broken", hint="fix it")
        found = dict(count(setup))
        if setup.backbone == "custom":
            found["model"] += 1
            del found["model.rpn"]
        return found

    found = compare_counts(other)
    lines = [str(difference) for difference in found.differences]
    assert lines[:2] == [
        "e009 [model]: printed 197,497, counted 197,498",
        "e009 [model.rpn]: printed 3,595, counted nothing",
    ]
    assert lines[2] == "e010 [model]: printed 732,281, counted nothing (custom2 is broken; fix it)"
    assert "model.rpn" not in found.counted["e009"]
    assert "e010" not in found.counted
    assert found.equal == PRINTED - 2 - len(entry("e010").params)


def test_setups_that_differ_in_the_training_alone_have_one_architecture() -> None:
    base = setup_of(entry("e030")).part("architecture")
    assert setup_of(entry("e030"), {"lr": 0.5, "name": "x"}).part("architecture") == base
    assert setup_of(entry("e030"), {"fuse_depth": 1}).part("architecture") != base


@pytest.mark.slow
def test_every_printed_number_is_met() -> None:
    from mmad.detector.build import parameter_counts

    found = compare_counts(lambda setup: {c.module: c.count for c in parameter_counts(setup)})
    assert [str(difference) for difference in found.differences] == []
    assert found.equal == PRINTED


@pytest.mark.slow
def test_every_printed_number_of_the_later_part_is_met() -> None:
    from mmad.detector.build import parameter_counts

    for e in later_entries():
        counted = {c.module: c.count for c in parameter_counts(setup_of(e))}
        assert {module: counted[module] for module in e.params} == dict(e.params), e.id
    assert {e.id: e.params["model"] for e in later_entries()} == {
        one: number
        for series in (("n001", "n002", "n003", "n004"), ("n005", "n006", "n007", "n008"))
        for one, number in zip(series, (5_399_846, 5_395_750, 3_693_629, 3_689_423), strict=True)
    }
