"""Made-up but plausible records for the report's tests: curves that rise and fall as trainings do."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from mmad.base.records import (
    DOCUMENTED_LABELS,
    LOSS_COMPONENTS,
    SPLITS,
    AblationRecord,
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    MemberRecord,
    Metric,
    ParameterCount,
    RunRecord,
)
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup

WHEN = datetime(2022, 5, 16, 2, 47, 55, tzinfo=UTC)
CXR_COUNTS = {
    "model": 1_040_729, "model.backbone": 1_009_968, "model.rpn": 3_595, "model.roi_heads": 27_166,
    "model.roi_heads.box_head": 26_176, "model.roi_heads.box_head.fc6": 25_120,
    "model.roi_heads.box_head.fc7": 1_056, "model.roi_heads.box_predictor": 990,
}  # fmt: skip
CLINICAL_COUNTS = {**CXR_COUNTS, "model": 1_223_303, "model.clinical_convs": 41_904, "model.fuse_convs": 32_592}


@dataclass
class ListSource:
    """A store made of lists."""

    ablation_list: list[AblationRecord] = field(default_factory=list)
    run_list: list[RunRecord] = field(default_factory=list)
    epochs: dict[str, list[EpochRecord]] = field(default_factory=dict)
    evaluations: dict[str, list[EvaluationRecord]] = field(default_factory=dict)
    checkpoints: dict[str, list[CheckpointRecord]] = field(default_factory=dict)
    counts: dict[str, list[ParameterCount]] = field(default_factory=dict)
    places: dict[str, list[EnvironmentRecord]] = field(default_factory=dict)
    warned: dict[str, list[str]] = field(default_factory=dict)

    def ablations(self) -> Sequence[AblationRecord]:
        return self.ablation_list

    def run_records(self) -> Sequence[RunRecord]:
        return self.run_list

    def all_epochs(self, keys: Sequence[str]) -> Mapping[str, Sequence[EpochRecord]]:
        return {k: self.epochs[k] for k in keys if k in self.epochs}

    def all_evaluations(self, keys: Sequence[str]) -> Mapping[str, Sequence[EvaluationRecord]]:
        return {k: self.evaluations[k] for k in keys if k in self.evaluations}

    def all_checkpoints(self, keys: Sequence[str]) -> Mapping[str, Sequence[CheckpointRecord]]:
        return {k: self.checkpoints[k] for k in keys if k in self.checkpoints}

    def first_epochs(self, keys: Sequence[str]) -> Mapping[str, datetime]:
        return {}

    def all_parameter_counts(self, keys: Sequence[str]) -> Mapping[str, Sequence[ParameterCount]]:
        return {k: self.counts[k] for k in keys if k in self.counts}

    def all_environments(self, keys: Sequence[str]) -> Mapping[str, Sequence[EnvironmentRecord]]:
        return self.places

    def all_warnings(self, keys: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return self.warned

    def epoch_seconds(self, keys: Sequence[str]) -> Mapping[str, float]:
        return {key: sum(e.seconds for e in self.epochs[key]) for key in keys if self.epochs.get(key)}


@dataclass
class Sample:
    """Builds a source run by run."""

    source: ListSource = field(default_factory=ListSource)

    def ablation(self, name: str, title: str, description: str, **more: Any) -> None:
        self.source.ablation_list.append(
            AblationRecord(name, title, description, f"ablations/{name}.toml", "", more.pop("compare", ()), **more)
        )

    def member(self, setting: str, arm: str, *, seed: int = 0, **more: Any) -> str:
        """Add a member (and its run, unless it exists) to the last ablation; return the run's key."""
        ablation = self.source.ablation_list[-1]
        evaluation = more.pop("evaluation", EvaluationProtocol())
        words = {k: more.pop(k) for k in ("documented", "overrides", "inferred", "replicate") if k in more}
        key = more.pop("key", None) or self.run(f"{ablation.name}/{setting}/{arm}/{seed}", seed=seed, **more)
        member = MemberRecord(
            ablation=ablation.name,
            setting=setting,
            arm=arm,
            seed=seed,
            replicate=words.pop("replicate", 1),
            key=key,
            position=len(ablation.members),
            documented=words.pop("documented", None),
            evaluation=evaluation.model_dump(mode="json"),
            **words,
        )
        self.source.ablation_list[-1] = replace(ablation, members=(*ablation.members, member))
        return key

    def run(
        self,
        identity: str,
        *,
        seed: int = 0,
        setup: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        level: float = 0.5,
        status: Any = "finished",
        done: int | None = None,
        error: str | None = None,
        **record: Any,
    ) -> str:
        key = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
        full = ModelSetup(**(setup or {}))
        kept = TrainingProtocol(**{"epochs": 50, "seed": seed, **(protocol or {})})
        done = kept.epochs if done is None else done
        self.source.run_list.append(
            RunRecord(
                key=key,
                status=status,
                setup=full.model_dump(mode="json", exclude=set(NAMING_FIELDS)),
                protocol=kept.model_dump(mode="json"),
                recipe=1,
                created=WHEN,
                started=WHEN + timedelta(minutes=1) if status != "queued" else None,
                finished=WHEN + timedelta(hours=2) if status in ("finished", "failed") else None,
                error=error,
                epochs_done=done,
                **{
                    "dataset_name": "phantom-240",
                    "dataset_path": "nowhere/phantom",
                    "dataset_fingerprint": "5f" * 32,
                    **record,
                },
            )
        )
        if status != "queued":
            self._measure(key, full, kept, done, level)
        return key

    def _measure(self, key: str, setup: ModelSetup, protocol: TrainingProtocol, done: int, level: float) -> None:
        source = self.source
        rng = np.random.default_rng(int(key[:12], 16))
        source.epochs[key] = epochs = [_epoch(n, rng, level, setup.lr) for n in range(1, done + 1)]
        counts = CLINICAL_COUNTS if setup.use_clinical else CXR_COUNTS
        source.counts[key] = [ParameterCount(module, count) for module, count in counts.items()]
        source.places[key] = [
            EnvironmentRecord(
                started=WHEN,
                host="workstation",
                platform="Linux 6.1 x86_64, glibc 2.36",
                python="3.11.2",
                versions={"torch": "2.6.0", "torchvision": "0.21.0", "numpy": "2.2.1", "mmad": "0.1.0"},
                device="cpu (2 cores)",
                threads=1,
                git_commit="0123456789abcdef0123456789abcdef01234567",
                git_dirty=True,
                command="mmad ablate ablations/patience.toml --data data/phantom",
                from_epoch=0,
            )
        ]
        if not epochs:
            return
        overlap = protocol.selection_overlap
        best = {
            "best_ap": max(epochs, key=lambda e: e.value("val", f"ap_{overlap}") or 0),
            "best_ar": max(epochs, key=lambda e: e.value("val", f"ar_{overlap}") or 0),
            "last": epochs[-1],
        }
        if not setup.use_early_stop_model:
            del best["best_ap"], best["best_ar"]
        if done == protocol.epochs:
            best["final"] = epochs[-1]
        for kind, row in best.items():
            created = WHEN + timedelta(seconds=60 * row.epoch)
            source.checkpoints.setdefault(key, []).append(
                CheckpointRecord(
                    kind, row.epoch, f"checkpoints/epoch-{row.epoch:05d}.pt", "ab" * 32, 4_300_000, created
                )  # type: ignore[arg-type]
            )
            if kind == "last":
                continue
            for split in SPLITS[1:]:
                for name in ("iou", "iobb"):
                    ap, ar = row.value(split, f"ap_{name}"), row.value(split, f"ar_{name}")
                    assert ap is not None
                    assert ar is not None
                    each = tuple((label, *_class(rng, ap, ar)) for label in DOCUMENTED_LABELS)
                    source.evaluations.setdefault(key, []).append(
                        EvaluationRecord(
                            kind,
                            row.epoch,
                            split,
                            name,
                            0.5,
                            10,
                            protocol.selection_proposals,
                            ap,
                            ar,
                            each,  # type: ignore[arg-type]
                        )
                    )


def _class(rng: np.random.Generator, ap: float, ar: float) -> tuple[float | None, float | None]:
    if rng.random() < 0.05:
        return None, None
    return float(np.clip(ap + rng.normal(0, 0.1), 0, 1)), float(np.clip(ar + rng.normal(0, 0.1), 0, 1))


def _epoch(n: int, rng: np.random.Generator, level: float, lr: float) -> EpochRecord:
    start = {
        "loss_classifier": 0.62,
        "loss_box_reg": 0.31,
        "loss_objectness": 0.52,
        "loss_rpn_box_reg": 0.18,
    }
    metrics = []
    for split, gap in zip(SPLITS, (0.0, 0.035, 0.05), strict=True):
        parts = {
            name: start[name] * (0.28 + 0.72 * math.exp(-n / 9)) + gap * (1 + n / 60) + abs(rng.normal(0, 0.012))
            for name in LOSS_COMPONENTS
        }
        metrics += [Metric(split, name, value) for name, value in parts.items()]
        metrics.append(Metric(split, "loss", sum(parts.values())))
        drop = {"train": -0.06, "val": 0.0, "test": 0.07}[split]
        for overlap, lift in (("iou", 0.0), ("iobb", 0.09)):
            ap = (level - drop + lift) * (1 - math.exp(-n / 7)) + rng.normal(0, 0.018)
            metrics.append(Metric(split, f"ap_{overlap}", float(np.clip(ap, 0, 1))))
            metrics.append(Metric(split, f"ar_{overlap}", float(np.clip(ap * 0.7 + 0.28 + rng.normal(0, 0.015), 0, 1))))
    return EpochRecord(n, lr * 0.1 ** (n > 30), 8.4 + float(rng.random()), 1_200_000_000, tuple(metrics))


HOSTILE: tuple[str, ...] = (
    "<script>window.hacked = 1</script>",
    "\"><img src=x onerror='window.hacked = 2'>",
    "</style></pre></title><script>window.hacked = 3</script>",
    "{{ 7 * 7 }}{% raw %} $x_1$ | a | `b` [c](d) *e*",
    "\u202edesrever \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "nul \x00 bell \x07 escape \x1b[31m lone \ud800",
    "x" * 10_000,
    "words " * 1_700,
)


def hostile_sample() -> Sample:
    """Every text that a user, a data set or a machine can choose is an attack."""
    sample = Sample()
    sample.ablation(HOSTILE[0], HOSTILE[1], HOSTILE[2] + HOSTILE[7], compare=((HOSTILE[0], HOSTILE[3]),))
    for n, setting in enumerate(HOSTILE):
        for arm in (HOSTILE[0], HOSTILE[3])[: 2 - n % 2]:  # half of them have a pair
            failed = n == 5 and arm == HOSTILE[0]
            key = sample.member(
                setting,
                arm,
                protocol={"epochs": 3},
                status="failed" if failed else "finished",
                error=HOSTILE[2] + HOSTILE[5] if failed else None,
                overrides=(f"epochs={HOSTILE[1]}",),
                inferred=(HOSTILE[4],),
                documented=HOSTILE[0],
                dataset_name=HOSTILE[0] + HOSTILE[4],
                dataset_path=HOSTILE[1],
            )
            sample.source.warned[key] = list(HOSTILE)
            place = sample.source.places[key][0]
            sample.source.places[key] = [
                replace(
                    place,
                    host=HOSTILE[0],
                    platform=HOSTILE[1],
                    device=HOSTILE[2],
                    command=HOSTILE[3],
                    versions={HOSTILE[0]: HOSTILE[1]},
                    git_commit=HOSTILE[2],
                )
            ]
            sample.source.counts[key].append(ParameterCount(f"model.{HOSTILE[1]}", 1))
            sample.source.evaluations[key] = [
                replace(e, per_class=((HOSTILE[0], 0.5, 0.5), (HOSTILE[6], None, None)))
                for e in sample.source.evaluations[key]
            ]
    return sample


def patience_sample() -> Sample:
    """Four settings × two arms; one run failed, one is still running. And a second ablation with seeds."""
    sample = Sample()
    sample.ablation(
        "patience",
        "ReduceLROnPlateau patience",
        "How long to wait on a plateau of the validation loss before the learning rate is lowered: 5, 10, 20 or 30 "
        "epochs, with and without the clinical branch.",
        compare=(("CXR", "CXR+Clinical"),),
    )
    levels = {5: (0.42, 0.47), 10: (0.44, 0.52), 20: (0.45, 0.44), 30: (0.43, 0.49)}
    entry = 68
    for patience, (plain, clinical) in levels.items():
        for arm, level in (("CXR", plain), ("CXR+Clinical", clinical)):
            setup = {"use_clinical": arm != "CXR", "reduceLROnPlateau_patience": patience,
                     "lr_scheduler": "ReduceLROnPlateau",
                     "loss_weights": {"loss_classifier": 10} if patience == 10 else {}}  # fmt: skip
            more: dict[str, Any] = {}
            if (patience, arm) == (30, "CXR+Clinical"):
                more = {"status": "running", "done": 17}
            if (patience, arm) == (20, "CXR+Clinical"):
                more = {"status": "failed", "done": 9, "error": "epoch 10, step 31: the loss is nan; lower lr (0.001)"}
            entry += 1
            key = sample.member(
                f"patience {patience}", arm, setup=setup, level=level, documented=f"e{entry:03d}", **more
            )
            if patience == 5:
                sample.source.warned[key] = ["2 studies of the training split have no box"]
    sample.ablation(
        "quickstart",
        "Does the clinical branch help?",
        "Three seeds of a small detector on the embedded phantom, trained from scratch.",
    )
    for arm, level in (("CXR", 0.36), ("CXR+Clinical", 0.45), ("CXR+Clinical (vector)", 0.35)):
        for seed in range(3):
            sample.member(
                "from scratch",
                arm,
                seed=seed,
                setup={"use_clinical": arm != "CXR", "batch_size": 8},
                protocol={"weights": "none", "epochs": 20},
                level=level + (0.015 * (seed - 1)),
                overrides=("epochs=20",),
            )
    return sample
