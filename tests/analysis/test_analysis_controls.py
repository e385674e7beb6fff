"""Controls with a network that is made up: what is asked of it, what is kept, what it means in words."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import analysis_fixtures as made
import pytest

from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, EvaluationTarget, evaluation_target
from mmad.analysis.input_controls import (
    Alteration,
    Control,
    alteration_words,
    alterations,
    cached_controls,
    controls_by_run,
    controls_of,
    meaning,
    missing_alterations,
    unclinical,
)
from mmad.analysis.verdicts import RunStatistics
from mmad.base.errors import EvaluationError
from mmad.base.formatting import interval, p_value
from mmad.base.records import Detections
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.agreement import Drop
from mmad.evaluation.resampling import Interval
from mmad.report.tables import EvaluatedRun, missing_by_arm
from mmad.store.lookup import find_run
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=50)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=30, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> made.World:
    return made.world(tmp_path_factory.mktemp("made"), dataset, seeds=(0,))


@pytest.fixture
def store(template: made.World, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.database.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.database.name) as opened:
        yield opened


def judged_of(store: Store, arm: str) -> EvaluationTarget:
    return evaluation_target(store, find_run(store, f"made/default/{arm}"), FEW)


class Network:
    """Finds everything as it is, nothing on a blank image, half after a shuffle of age; and remembers."""

    def __init__(self, dataset: DataSet) -> None:
        self.truth = dataset.ground_truth("test")
        self.asked: list[tuple[Alteration | None, int]] = []

    def __call__(self, alteration: Alteration | None, seed: int) -> Detections:
        self.asked.append((alteration, seed))
        relied = alteration is not None and (alteration.kind != "column" or alteration.name == "age")
        skill = 0.0 if alteration == Alteration("image") else 0.3 if relied else 1.0
        return made.seen(self.truth, skill, 100 + seed if relied else 3, false=0.0)


def test_every_column_the_records_and_the_image_are_altered(store: Store, dataset: DataSet) -> None:
    clinical, plain = judged_of(store, "CXR+Clinical"), judged_of(store, "CXR")
    names = [a.name for a in alterations(DetectionStore(), clinical) if a.kind == "column"]
    assert names == [c.name for c in dataset.numeric] + [c.name for c in dataset.categorical]
    assert [a.kind for a in alterations(DetectionStore(), clinical)][len(names) :] == ["records", "image"]
    assert alterations(DetectionStore(), plain) == [Alteration("image")]
    assert unclinical([plain])
    assert not unclinical([plain, clinical])


def test_what_is_relied_on_costs_and_the_rest_does_not(store: Store, dataset: DataSet) -> None:
    network, judged = Network(dataset), judged_of(store, "CXR+Clinical")
    found = {
        alteration_words(c.alteration): c
        for c in controls_of(store, DetectionStore(), judged, network, repeats=3, options=FEW)
    }
    assert found["age shuffled"].drop.ap.low > 0
    assert found["age shuffled"].drop.repeats == 3
    assert found["temperature shuffled"].drop.ap == Interval(0.0, 0.0, 0.0)
    assert found["images blanked"].drop.after == 0
    assert found["images blanked"].drop.repeats == 1
    assert network.asked.count((None, 0)) == 1
    assert [seed for a, seed in network.asked if a == Alteration("column", "age")] == [0, 1, 2]
    assert meaning(found["age shuffled"]) == "the run relies on age"
    assert meaning(found["temperature shuffled"]) == "no reliance on temperature is seen"
    assert meaning(found["images blanked"]) == "the run relies on the image; without it an AP of 0.000 is left"


def test_a_second_time_the_network_is_not_asked(store: Store, dataset: DataSet) -> None:
    network, judged = Network(dataset), judged_of(store, "CXR+Clinical")
    first = controls_of(store, DetectionStore(), judged, network, repeats=2, options=FEW)
    network.asked.clear()
    progress: list[int] = []
    again = controls_of(
        store,
        DetectionStore(),
        judged,
        network,
        repeats=2,
        options=FEW,
        progress=lambda done, whole: progress.append(done),
    )
    assert (again, network.asked, progress) == (first, [], [])
    assert {a.kind for a in store.analyses()} == {"control"}


def test_missing_values_are_drawn_ten_times_and_cached_by_mechanism_and_share(store: Store, dataset: DataSet) -> None:
    network, judged = Network(dataset), judged_of(store, "CXR+Clinical")
    asked = missing_alterations(DetectionStore(), judged, "records, random", (0.9, 0.1))
    assert [(a.name, a.share) for a in asked] == [(n, s) for n in ("records", "random") for s in (0.1, 0.9)]
    found = controls_of(store, DetectionStore(), judged, network, asked=asked, repeats=2, options=FEW)
    assert [c.drop.repeats for c in found] == [10] * 4
    assert [seed for a, seed in network.asked if a == asked[0]] == list(range(10))
    assert alteration_words(asked[0]) == "10 % of the records missing"
    assert meaning(found[0]).startswith("the run needs these values; without them an AP of ")
    controls_of(store, DetectionStore(), judged, network, asked=[Alteration("image")], options=FEW)
    kept = cached_controls(controls_by_run(store), judged)
    assert [(c.alteration.name, c.alteration.share) for c in kept] == [
        ("", 0), ("random", 0.1), ("random", 0.9), ("records", 0.1), ("records", 0.9),
    ]  # fmt: skip
    for words, shares, said in (
        ("randm", (0.1,), "did you mean"),
        ("all", (1.0,), "share 1; use shares between 0 and 1"),
        ("view", (0.1,), "no view is known by which values could be missing"),
    ):
        with pytest.raises(EvaluationError, match=said):
            missing_alterations(DetectionStore(), judged, words, shares)
    everything = {a.name for a in missing_alterations(DetectionStore(), judged, "all")}
    assert everything == {"random", "column", "value", "columns", "records"}
    with pytest.raises(EvaluationError, match="reads no clinical data that could be missing"):
        missing_alterations(DetectionStore(), judged_of(store, "CXR"), "all")


def test_missing_values_by_how_an_arm_was_trained_are_means_over_all_its_seeds() -> None:
    nothing = Interval(0.0, 0.0, 0.0)

    def run(arm: str, seed: int, left: dict[float, float]) -> EvaluatedRun:
        drops = {share: Drop(nothing, nothing, (), 0.5 + seed / 10, after, 10) for share, after in left.items()}
        found = tuple(Control(Alteration("missing", "random", share), drop) for share, drop in drops.items())
        identity = ("a", "default", arm, seed, 1, f"{arm}{seed}")
        return EvaluatedRun(identity, arm, "", EvaluationProtocol(), RunStatistics("best_ap", controls=found))

    complete = [run("complete", 0, {0.3: 0.4, 0.6: 0.1}), run("complete", 1, {0.3: 0.5})]
    table = missing_by_arm([*complete, run("dropout", 0, {0.3: 0.45, 0.6: 0.44})])
    shown = {row[0].text: [cell.text for cell in row[1:]] for row in table.grid.sections[0][1]}
    assert [head.text for head in table.grid.heads] == ["Missing", "complete", "dropout"]
    assert shown == {
        "nothing": ["0.550", "0.500"],
        "30 % of the values missing at random": ["0.450", "0.450"],
        "60 % of the values missing at random": ["–", "0.440"],
    }


@pytest.mark.parametrize("repeats", [0, 1001])
def test_a_number_of_repeats_that_is_none_is_refused(store: Store, dataset: DataSet, repeats: int) -> None:
    with pytest.raises(EvaluationError, match=f"repeats = {repeats}; use 1 to 1000"):
        controls_of(store, DetectionStore(), judged_of(store, "CXR"), Network(dataset), repeats=repeats)


def control(kind: str, ap: tuple[float, float, float], before: float = 0.5, after: float = 0.25) -> Control:
    value = Interval(*ap)
    return Control(Alteration(kind, "age"), Drop(value, value, (), before, after, 5))  # type: ignore[arg-type]


def test_meanings_are_told_in_words() -> None:
    assert meaning(control("column", (-0.2, -0.3, -0.1))) == "age misleads the run: without its values it finds more"
    assert meaning(control("records", (0.0, -0.1, 0.1))).startswith("another patient's record serves as well")
    assert meaning(control("image", (0.1, -0.1, 0.3))).startswith("no reliance on the image is seen")
    assert meaning(control("image", (math.nan,) * 3)) == "cannot say: there is nothing to find"
    assert meaning(control("image", (0.0,) * 3, 0.0, 0.0)) == "cannot say: the run finds nothing as it is"


def test_figures_are_written_with_their_intervals() -> None:
    assert interval(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert interval(Interval(-0.5, -0.75, 0.25), sign=True) == "−0.500 [−0.750, +0.250]"
    assert interval(Interval(math.nan, math.nan, math.nan)) == "–"
    assert (p_value(0.0004), p_value(0.25), p_value(math.nan)) == ("< 0.001", "0.250", "–")
