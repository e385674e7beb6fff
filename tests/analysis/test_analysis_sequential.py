"""Seeds until settled: which members are due, and what is said at each look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import pytest

from mmad.analysis.comparison import Comparison
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions
from mmad.analysis.verdicts import finished_pairs
from mmad.api.loading import ChosenData
from mmad.api.training import due
from mmad.base.records import EpochRecord
from mmad.config.runs import NO_DATA, Ablation
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.store.store import Store

pytestmark = pytest.mark.slow
SOURCE = '[protocol]\nseeds = { from = 3, to = 6, until = "settled" }\n'
#: Skills of the arms by setting: far apart, and alike.
SKILLS: Mapping[str, Mapping[str, float]] = {
    "apart": {"CXR": 0.3, "CXR+Clinical": 0.95},
    "alike": {"CXR": 0.8, "CXR+Clinical": 0.8},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=120, image_size=64)


def whole(dataset: DataSet) -> Ablation:
    members = tuple(
        made.member(dataset, arm, seed, setting, box_nms_thresh=overlap)
        for setting, overlap in (("apart", 0.5), ("alike", 0.6))
        for arm in made.ARMS
        for seed in range(6)
    )
    return Ablation("made", "made.toml", "Made up", "", SOURCE, made.ARMS, (made.ARMS,), members, looks=(3, 6))


def test_more_seeds_are_due_for_pairs_that_are_not_settled(dataset: DataSet, tmp_path: Path) -> None:
    database, ablation = tmp_path / "mmad.sqlite", whole(dataset)

    def due_now() -> Ablation:
        ((found, _),) = due([(ablation, ChosenData(NO_DATA, None))], str(database))
        return found

    def seeds(of: Ablation) -> dict[str, int]:
        return {name: len({m.seed for m in of.members if m.setting == name}) for name in SKILLS}

    found: dict[str, Comparison] = {}
    trained: set[str] = set()
    for expected in ({"apart": 3, "alike": 3}, {"apart": 3, "alike": 4}, {"apart": 3, "alike": 5}):
        now = due_now()
        assert seeds(now) == expected
        with Store.open(database) as store:
            store.add_ablation(now)
            for one in now.members:
                if one.run.key not in trained:
                    trained.add(one.run.key)
                    store.commit_epoch(one.run.key, EpochRecord(1, 0.01, 1.0, 0, ()), [])
                    made.finish(store, one, dataset, SKILLS[one.setting][one.arm])
            pairs = finished_pairs(store, DetectionStore(), "made", EvaluationOptions(resamples=10))
        found = {one.setting: one for one in pairs if isinstance(one, Comparison)}
    apart, alike = found["apart"], found["alike"]
    assert (apart.verdict, "stopped_early" in apart.reasons, apart.late) == ("higher", True, 0)
    assert (
        "Settled at 3 of at most 6 seeds, and a difference that ends its study early is overestimated" in apart.sentence
    )
    assert alike.verdict == "not settled"
    assert alike.sentence.endswith("5 of at most 6 seeds. The interval allows for a look after every seed.")
    assert seeds(replace(due_now(), looks=None)) == {"apart": 3, "alike": 6}
