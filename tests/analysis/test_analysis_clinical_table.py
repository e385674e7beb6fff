"""What the clinical table says without a network: its classifiers, and cheap late fusion beside an arm that trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import numpy as np
import pytest
from scipy.special import expit

from mmad.analysis.clinical_table import clinical_columns, findings, fused_scores, logit, probabilities, table_auroc
from mmad.analysis.comparison import Comparison, benefits
from mmad.analysis.evaluation_json import plain_comparisons
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, evaluation_target, on_validation
from mmad.analysis.verdicts import compare_ablation, finished_pairs
from mmad.base.errors import EvaluationError
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.diagnosis import classified
from mmad.evaluation.intervals import groups_of
from mmad.store.lookup import find_run
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=50)
SEEDS = (0, 1, 2)
PERMUTED = tuple(f"permuted {n}" for n in range(3))
SKILLS = {"CXR": 0.4, "true": 0.9} | dict.fromkeys(PERMUTED, 0.4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=120, image_size=64)


@pytest.fixture(scope="module")
def store(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """CXR, true records and three permutations of them, three seeds each."""
    fields = {name: {"clinical_records": "permuted", "clinical_permutation": n} for n, name in enumerate(PERMUTED)}
    members = [made.member(dataset, arm, seed, **fields.get(arm, {})) for seed in SEEDS for arm in SKILLS]
    with Store.open(tmp_path_factory.mktemp("made") / "mmad.sqlite") as store:
        made.record(store, members, [(arm, "true") for arm in SKILLS if arm != "true"])
        for one in members:
            made.finish(
                store, replace(one, seed=100 * list(SKILLS).index(one.arm) + one.seed), dataset, SKILLS[one.arm]
            )
        yield store


@pytest.mark.slow
@pytest.mark.parametrize("classifier", ["logistic", "boosting"])
def test_the_table_tells_the_findings_that_the_vital_signs_tell(dataset: DataSet, classifier: str) -> None:
    told, has = probabilities(dataset, dataset.columns(), classifier), findings(dataset)
    assert told.shape == has.shape == (120, 5)
    assert has.sum() == len({*zip(dataset.box_study.tolist(), dataset.labels_of.tolist(), strict=True)})
    rows = [*dataset.split("val"), *dataset.split("test")]
    groups = groups_of([dataset.studies[row].patient for row in rows])

    def area(label: str) -> float:
        k = dataset.labels.index(label)
        return classified(label, told[rows, k], has[rows, k], groups).auroc.value

    assert area("Consolidation") > 0.9
    assert area("Pulmonary edema") > 0.9
    assert area("Pleural abnormality") < 0.8  # its vital signs are as everyone's


def test_a_finding_that_nobody_has_in_training_has_that_share(dataset: DataSet) -> None:
    rare = replace(dataset, labels=(*dataset.labels, "Rare"))
    assert (probabilities(rare, rare.columns(), "logistic")[:, 5] == 0).all()


def test_late_fusion_is_fitted_on_validation() -> None:
    """Hits that depend on the table alone put it in front of the score, which then says nothing."""
    rng = np.random.default_rng(0)
    scores, clinical = rng.uniform(0.05, 0.95, (2, 4000))
    clinical = logit(clinical)
    hit = rng.random(4000) < expit(-1 + 2 * clinical)
    fused = fused_scores((scores, clinical, hit), (scores, clinical))
    assert logit(fused) == pytest.approx(-1 + 2 * clinical, abs=0.5)
    both = fused_scores((scores, clinical, rng.random(4000) < expit(logit(scores) + clinical)), (scores, clinical))
    assert logit(both) == pytest.approx(logit(scores) + clinical, abs=0.5)
    assert (fused_scores((scores, clinical, np.zeros(4000, dtype=bool)), (scores, clinical)) == scores).all()


@pytest.mark.slow
def test_a_fusion_is_compared_with_cheap_late_fusion(store: Store, dataset: DataSet) -> None:
    found, refused = compare_ablation(store, DetectionStore(), "made", FEW)
    assert refused == []
    by_arm = {one.reference: one.statistics for one in found}
    image = by_arm["CXR"]
    assert image is not None
    late, plain = image.late_fusion, image.difference
    assert late is not None
    assert plain is not None
    assert not isinstance(late, str)
    assert (late.seeds, late.references) == (3, 1)
    assert 0 < late.ap.value < plain.ap.value  # the table tells true findings from wrong ones
    means = [one.permutations for name, one in by_arm.items() if one is not None and name in PERMUTED]
    assert means[0] is not None
    assert means == means[:1] * 3
    assert (means[0].seeds, means[0].references) == (3, 3)
    values = [one.difference.ap.value for name, one in by_arm.items() if name in PERMUTED and one and one.difference]
    assert means[0].ap.value == pytest.approx(np.mean(values))
    (said,) = benefits(found)
    assert "the mean of 3 permutations" in said.sentence
    assert said.beats_late_fusion == (late.ap.low > 0)
    assert said.late_sentence.startswith("true is ")
    assert "of cheap late fusion of CXR: +" in said.late_sentence
    of_the_end = [one for one in finished_pairs(store, DetectionStore(), "made", FEW) if isinstance(one, Comparison)]
    assert [one.line for one in benefits(of_the_end)] == [f"default: {said.sentence} {said.late_sentence}"]
    (plain_benefit,) = plain_comparisons(found, [], FEW)["benefits"]  # type: ignore[call-overload,index]
    assert plain_benefit["late_sentence"] == said.late_sentence


@pytest.mark.slow
def test_without_validation_s_detections_late_fusion_is_not_known(store: Store) -> None:
    target = on_validation(store, evaluation_target(store, find_run(store, "made/default/CXR/1"), FEW))
    away = target.file.rename(target.file.with_suffix(".away"))
    try:
        found, _ = compare_ablation(store, DetectionStore(), "made", FEW)
    finally:
        away.rename(target.file)
    (said,) = benefits(found)
    assert said.beats_late_fusion is None
    assert said.late_sentence.startswith("Cheap late fusion is not known: ")
    assert "its detections (best_ap, val, clean) are not kept" in said.late_sentence


@pytest.mark.slow
def test_late_fusion_is_not_evaluated_on_the_validation_that_it_is_fitted_on(store: Store) -> None:
    found, _ = compare_ablation(store, DetectionStore(), "made", replace(FEW, split="val"))
    assert [one.statistics.late_fusion for one in found if one.statistics] == [None] * 4
    assert [one.late_sentence for one in benefits(found)] == [""]


@pytest.mark.slow
def test_arms_of_one_permutation_are_one_reference(dataset: DataSet, tmp_path: Path) -> None:
    """They share their runs, so that the mean of three would have no variance between permutations."""
    members = [
        made.member(dataset, arm, seed, **({"clinical_records": "permuted"} if arm in PERMUTED else {}))
        for seed in (0, 1)
        for arm in SKILLS
    ]
    with Store.open(tmp_path / "mmad.sqlite") as store:
        made.record(store, members, [(arm, "true") for arm in SKILLS if arm != "true"])
        for one in {one.run.key: one for one in members}.values():
            made.finish(store, one, dataset, SKILLS[one.arm])
        found, _ = compare_ablation(store, DetectionStore(), "made", FEW)
    means = [one.statistics.permutations for one in found if one.statistics and one.statistics.permutations]
    assert [one.references for one in means] == [1]
    (said,) = benefits(found)
    assert (said.helps, "3 permutations (1 trained: " in said.sentence) == (False, True)


@pytest.mark.slow
def test_the_table_stands_beside_what_a_run_tells(store: Store, dataset: DataSet) -> None:
    target = evaluation_target(store, find_run(store, "made/default/true/0"), FEW)
    rows = table_auroc(store, DetectionStore(), target)
    assert [one.label for one in rows] == list(dataset.labels)
    assert {one.images for one in rows} == {len(dataset.split("test"))}
    told = {one.label: one for one in rows}
    assert told["Consolidation"].logistic.value > 0.9 > told["Pleural abnormality"].logistic.value
    assert told["Pleural abnormality"].run.value > told["Pleural abnormality"].boosting.value
    blind = replace(target, run=replace(target.run, setup={"clinical_numeric": [], "clinical_categorical": []}))
    assert clinical_columns(dataset, blind.run.setup).numeric == ()
    with pytest.raises(EvaluationError, match="no clinical column that a table could have"):
        table_auroc(store, DetectionStore(), blind)
