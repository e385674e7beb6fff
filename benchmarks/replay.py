"""Whole studies replayed: made-up runs in a store, and what mmad says of their arms, sentence by sentence.

``verdicts.py`` asks the arithmetic; here the figures come from detections that are matched, and the sentence from where
``mmad ablate`` prints it. Three kinds of study with a known truth, each an ablation of one pair:

- one seed an arm, which differ in the seed alone: nothing may be said of the arms;
- five seeds an arm, and no difference: at most 5 % may be settled;
- five seeds an arm, and a difference of five standard errors: it has to be found.

Run it with ``python benchmarks/replay.py``; RESULTS.md has the figures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from mmad.analysis.comparison import Comparison
from mmad.analysis.evaluation_target import DetectionStore
from mmad.analysis.verdicts import finished_pairs
from mmad.base.records import CheckpointRecord, Detections, EvaluationRecord, GroundTruth
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.detections_file import detections_file, write_detections_file
from mmad.evaluation.matching import match
from mmad.evaluation.resampling import weigh
from mmad.store.measurements import write_checkpoints
from mmad.store.store import Store

ARMS = ("CXR", "CXR+Clinical")
#: Sd of a run's skill between seeds, on the scale of a normal deviate; AP moves by about a third of it.
SEED_SD = 0.15
#: What of a box's difficulty both arms share.
SHARED = 0.8
#: Studies in one database.
_TOGETHER = 20
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """One study: the difference in AP that its runs measured, and what was said of it."""

    difference: float
    verdict: str
    sentence: str

    @property
    def claims(self) -> bool:
        """Whether an arm is said to be better."""
        return self.verdict in ("higher", "lower")


def detected(truth: GroundTruth, skill: float, hard: Floats, rng: np.random.Generator) -> Detections:
    """Each true box found where ``skill`` and chance make up for how hard it is, and one false box an image."""
    found = np.flatnonzero(hard + rng.normal(0, 0.5, len(hard)) < skill)
    wrong = rng.integers(0, len(truth.studies), rng.poisson(len(truth.studies)))
    corner = rng.uniform(0, 40, (len(wrong), 2))
    boxes = [truth.boxes[found] + rng.uniform(-1, 1, (len(found), 4)), np.concatenate([corner, corner + 12], axis=1)]
    scores = np.r_[rng.beta(5, 2, len(found)), rng.beta(2, 5, len(wrong))]
    labels = np.r_[truth.labels[found], rng.integers(1, len(truth.categories) + 1, len(wrong))]
    return Detections(truth.studies, np.r_[truth.study[found], wrong], np.concatenate(boxes), scores, labels)


def replay(folder: Path, dataset: DataSet, seeds: int, effect: float, studies: int, seed: int = 0) -> list[Replayed]:
    """Studies of ``seeds`` each, the other arm more skilled by ``effect``."""
    truth, found = dataset.ground_truth("test"), []
    for first in range(0, studies, _TOGETHER):
        with Store.open(folder / f"{seeds}-{effect:.6f}-{seed}-{first}.sqlite") as store:
            for study in range(first, min(first + _TOGETHER, studies)):
                _record(store, dataset, truth, study, seeds, effect, np.random.default_rng([seed, seeds, study]))
            detections = DetectionStore()
            for study in range(first, min(first + _TOGETHER, studies)):
                (pair,) = finished_pairs(store, detections, f"study{study}")
                assert isinstance(pair, Comparison)
                mean = pair.test_ap.difference
                assert mean is not None
                found.append(Replayed(mean.mean, pair.verdict, pair.sentence))
    return found


def _record(
    store: Store,
    dataset: DataSet,
    truth: GroundTruth,
    study: int,
    seeds: int,
    effect: float,
    rng: np.random.Generator,
) -> None:
    """The finished runs of a study, their detections and figures."""
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    members = []
    for arm in ARMS:
        setup = ModelSetup(use_clinical=arm != ARMS[0], pretrained=False, lr=1e-3 + study * 1e-6)
        for number in range(seeds):
            run = RunSpec(setup, TrainingProtocol(epochs=1, seed=number, weights="none"), source)
            members.append(Member(f"study{study}", "default", arm, number, run, EvaluationProtocol()))
    store.add_ablation(Ablation(f"study{study}", f"study{study}.toml", "", "", "", ARMS, (ARMS,), tuple(members)))
    shared = rng.normal(0, SHARED, len(truth.labels))
    hard = {arm: shared + rng.normal(0, np.sqrt(1 - SHARED**2), len(shared)) for arm in ARMS}
    for one in members:
        skill = 0.3 + effect * (one.arm != ARMS[0]) + rng.normal(0, SEED_SD)
        _finish(store, one.run.key, truth, detected(truth, skill, hard[one.arm], rng))


def _finish(store: Store, key: str, truth: GroundTruth, found: Detections) -> None:
    paths, now = store.run_paths(key), datetime.now(UTC)
    file = paths.detections(1, "test", "clean")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_detections_file(file, detections_file(found), durable=False)
    figures = weigh(match(found, truth))
    ap, ar = float(figures.mean_ap[0]), float(figures.mean_ar[0])
    kinds = ("best_ap", "final")
    with store.database.writing() as connection:
        write_checkpoints(connection, key, [CheckpointRecord(kind, 1, "x.pt", "c" * 64, 9, now) for kind in kinds])
    store.put_evaluations(
        key,
        [
            EvaluationRecord(kind, 1, "test", "iou", 0.5, 10, "clean", ap, ar, (), paths.relative(file))
            for kind in kinds
        ],
    )
    store.end_free(key, "finished")


def effect_of(folder: Path, dataset: DataSet, null: Sequence[Replayed], errors: float, pilot: int = 40) -> float:
    """How much more skill is a difference of so many standard errors in AP, by ``pilot`` studies of a large one."""
    wanted = errors * float(np.std([one.difference for one in null], ddof=1))
    tried = 0.5
    gained = float(np.mean([one.difference for one in replay(folder, dataset, 5, tried, pilot, seed=7)]))
    return tried * wanted / gained


def lines(folder: Path, dataset: DataSet, single: int, null: int, planted: int) -> Iterator[str]:
    """What was replayed, a line each; the folder takes the databases."""
    alone = replay(folder, dataset, 1, 0.0, single)
    yield f"one seed an arm, the seed alone differs: {sum(one.claims for one in alone)} of {single} claim an arm"
    differ = sum(one.sentence.startswith("These two networks differ") for one in alone)
    yield f"  {differ} say that these two networks differ; the spread of AP differences is {_spread(alone):.3f}"
    none = replay(folder, dataset, 5, 0.0, null)
    claims = sum(one.claims for one in none)
    p = binomtest(claims, null, 0.05, alternative="greater").pvalue
    yield f"five seeds, no difference: {claims} of {null} claim one ({claims / null:.3f}; p of at most 5 %: {p:.2f})"
    effect = effect_of(folder, dataset, none, 5.0)
    shown = replay(folder, dataset, 5, effect, planted, seed=1)
    found = sum(one.verdict == "higher" for one in shown)
    gained = float(np.mean([one.difference for one in shown]))
    yield (
        f"five seeds, {gained:+.3f} planted ({gained / _spread(none):.1f} standard errors): "
        f"{found} of {planted} are called higher, {sum(one.verdict == 'lower' for one in shown)} lower"
    )


def _spread(studies: Sequence[Replayed]) -> float:
    return float(np.std([one.difference for one in studies], ddof=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--single", type=int, default=200)
    parser.add_argument("--null", type=int, default=200)
    parser.add_argument("--planted", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_phantom(Path(folder) / "phantom", studies=400, image_size=64)
        truth = dataset.ground_truth("test")
        print(f"{len(truth.studies)} images of {len(set(truth.patients))} patients, {len(truth.labels)} boxes")
        for line in lines(Path(folder), dataset, asked.single, asked.null, asked.planted):
            print(line, flush=True)


if __name__ == "__main__":
    main()
