"""Registered hypotheses: stored when runs are queued, confirmed only where they were there before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import pytest

from mmad.analysis.comparison import Comparison, registration_words
from mmad.analysis.evaluation_json import plain_comparisons
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions
from mmad.analysis.power import power_plan, recorded_spread
from mmad.analysis.verdicts import compare_ablation, compare_arms
from mmad.base.records import EpochRecord
from mmad.config.hypothesis import Hypothesis, digest
from mmad.config.runs import Ablation, Member
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.store.store import Store

pytestmark = pytest.mark.slow
FEW = EvaluationOptions(resamples=10)
SEEDS = (0, 1, 2)
DECLARED = Hypothesis(compare=made.ARMS, setting="default", seeds=3, smallest_effect=0.05, intended_use="Triage.")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=120, image_size=64)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "mmad.sqlite") as opened:
        yield opened


def members_of(dataset: DataSet) -> list[Member]:
    """Two settings of three seeds."""
    settings = (("default", 0.5), ("other", 0.6))
    return [
        made.member(dataset, arm, seed, setting, box_nms_thresh=overlap)
        for setting, overlap in settings
        for arm in made.ARMS
        for seed in SEEDS
    ]


def queue(store: Store, members: list[Member], hypothesis: Hypothesis | None) -> None:
    file = Ablation("made", "made.toml", "Made up", "", "", made.ARMS, (made.ARMS,), tuple(members))
    store.add_ablation(replace(file, hypothesis=hypothesis))


def train(store: Store, members: list[Member], dataset: DataSet, skills: dict[str, float]) -> None:
    for one in members:
        store.commit_epoch(one.run.key, EpochRecord(1, 0.01, 1.0, 0, ()), [])
        made.finish(store, one, dataset, skills[one.arm])


def found_in(store: Store) -> dict[str, Comparison]:
    found, _ = compare_ablation(store, DetectionStore(), "made", FEW)
    return {one.setting: one for one in found}


APART = {"CXR": 0.3, "CXR+Clinical": 0.95}


def test_what_was_registered_before_training_is_confirmed_and_all_else_exploratory(
    store: Store, dataset: DataSet
) -> None:
    members = members_of(dataset)
    queue(store, members, DECLARED)
    train(store, members, dataset, APART)
    found = found_in(store)
    primary, other = found["default"], found["other"]
    assert primary.verdict == "higher"
    assert "confirmed" in primary.reasons
    assert primary.sentence.startswith("Confirmed, as registered before training: trained so on this training set,")
    assert "exploratory" in other.reasons
    assert other.sentence.startswith("Exploratory: trained so on this training set,")
    for one, family in ((primary, 1), (other, 1)):
        assert one.statistics is not None
        assert one.statistics.difference is not None
        assert (one.statistics.difference.family, one.statistics.difference.lent) == (family, 1)
    assert primary.registration is not None
    words = registration_words(primary.registration)
    assert "before training: in the setting default, CXR+Clinical and CXR differ" in words
    assert "Intended use: Triage. Every other comparison is exploratory." in words
    assert primary.effects == (0.05,)
    plain = plain_comparisons([primary], [], FEW)["pairs"][0]
    assert plain["registration"]["sha256"] == digest(DECLARED.content())
    assert plain["decision"]["reached"] is True
    arms = [f"made/default/{arm}" for arm in made.ARMS]
    assert compare_arms(store, DetectionStore(), *arms, FEW).sentence == primary.sentence
    parts = [f"{arm}/0" for arm in arms], [f"{arms[0]}/0", arms[1]], [f"made/other/{made.ARMS[0]}", arms[1]]
    for names in parts:
        assert_exploratory(compare_arms(store, DetectionStore(), *names, FEW))
    for asked in ({"checkpoint": "final"}, {"overlap": "iobb"}):
        assert_exploratory(compare_arms(store, DetectionStore(), *arms, replace(FEW, **asked)))  # type: ignore[arg-type]
    assert_exploratory(compare_ablation(store, DetectionStore(), "made", replace(FEW, split="val"))[0][0])
    name, fewer = "made · seeds=[0, 1]", tuple(one for one in members if one.seed < 2)
    variant = tuple(replace(one, ablation=name, overrides=("seeds=[0, 1]",)) for one in fewer)
    store.add_ablation(Ablation(name, "made.toml", "Made up", "", "", made.ARMS, (made.ARMS,), variant))
    assert_exploratory(compare_ablation(store, DetectionStore(), name, FEW)[0][0])


def assert_exploratory(found: Comparison) -> None:
    """It is a part of what was registered, and names that."""
    assert "exploratory" in found.reasons
    assert found.sentence.startswith("Exploratory: ")
    assert found.registration is not None
    assert (found.registration.before_training, found.registration.primary) == (True, False)


def test_a_pilot_says_how_far_seeds_and_patients_vary(store: Store, dataset: DataSet) -> None:
    members = members_of(dataset)
    queue(store, members, None)
    train(store, members, dataset, APART)
    spread = recorded_spread(store, "made")
    difference = next(one.statistics.difference for one in found_in(store).values() if one.statistics)
    assert difference is not None
    assert difference.variance_seeds is not None
    assert spread.seeds == pytest.approx(difference.variance_seeds * 3, rel=0.5)
    assert (spread.freedom, spread.source) == (4, "2 pairs of made")
    plan = power_plan(DECLARED, spread, 2)
    assert plan.smallest.low is not None
    assert plan.smallest.low < (plan.smallest.value or 0) < (plan.smallest.high or 0)


def test_a_hypothesis_that_changed_or_came_late_confirms_nothing(store: Store, dataset: DataSet) -> None:
    members = members_of(dataset)
    queue(store, members, DECLARED)
    revised = DECLARED.model_copy(update={"smallest_effect": 0.1})
    queue(store, members, revised)  # nothing is trained yet: still beforehand
    train(store, members, dataset, APART)
    queue(store, members, revised)
    assert len(store.ablations()[0].registrations) == 2
    assert "confirmed" in found_in(store)["default"].reasons
    queue(store, members, DECLARED.model_copy(update={"alpha": 0.1, "smallest_effect": 0.1}))
    changed = found_in(store)["default"]
    assert "registration_changed" in changed.reasons
    assert (
        "confirms nothing: the hypothesis was changed after training had begun (alpha 0.05 / 0.1)" in changed.sentence
    )
    queue(store, members, None)
    assert "exploratory" in found_in(store)["default"].reasons


def test_a_hypothesis_after_the_first_epoch_is_late(store: Store, dataset: DataSet) -> None:
    members = members_of(dataset)
    queue(store, members, None)
    train(store, members, dataset, APART)
    assert found_in(store)["default"].registration is None
    queue(store, members, DECLARED)
    late = found_in(store)["default"]
    assert "registered_late" in late.reasons
    assert "it was registered when 6 runs of the pair had begun" in late.sentence


def test_seeds_that_were_registered_have_to_be_there(store: Store, dataset: DataSet) -> None:
    members = members_of(dataset)
    queue(store, members, DECLARED.model_copy(update={"seeds": 4}))
    train(store, members, dataset, APART)
    found = found_in(store)["default"]
    assert (found.verdict, found.reasons[0]) == ("no verdict", "seeds_missing")
    assert "3 of the 4 registered seeds are finished" in found.sentence


@pytest.mark.parametrize(
    ("goal", "skills", "verdict", "words"),
    [
        ("equivalence", {"CXR": 0.9, "CXR+Clinical": 0.9}, "equivalent", "is equivalent to CXR within ±0.3"),
        ("equivalence", APART, "not settled", "is not shown to be equivalent to CXR within ±0.3"),
        ("non-inferiority", {"CXR": 0.9, "CXR+Clinical": 0.9}, "not inferior", "is at most 0.3 worse than CXR"),
        ("non-inferiority", {"CXR": 0.95, "CXR+Clinical": 0.3}, "not settled", "is not shown to be at most 0.3 worse"),
        ("non-inferiority", APART, "higher", "so not inferior"),
    ],
)
def test_equivalence_and_non_inferiority(
    store: Store, dataset: DataSet, goal: str, skills: dict[str, float], verdict: str, words: str
) -> None:
    members = members_of(dataset)
    queue(store, members, DECLARED.model_copy(update={"goal": goal, "margin": 0.3}))
    train(store, members, dataset, skills)
    found = found_in(store)["default"]
    assert (found.verdict, words in found.sentence) == (verdict, True), found.sentence
    assert ("confirmed" in found.reasons) == (verdict != "not settled")
