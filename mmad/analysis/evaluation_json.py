"""Analyses as plain JSON, in the stable form that scripts rely on (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmad.analysis.cached_statistics import Diagnosis, MaskFigures, Profile
from mmad.analysis.clinical_table import TableAuroc
from mmad.analysis.comparison import (
    ESTIMAND,
    ESTIMAND_OF_FOLDS,
    ComparedRun,
    Comparison,
    MeasuredRun,
    NotComparable,
    PairAgreement,
    PairStatistics,
    ReaderVerdict,
    Registration,
    benefits,
    shared_words,
)
from mmad.analysis.evaluation_target import EvaluationOptions, EvaluationTarget, by_fold, ensemble_note, setting_of
from mmad.analysis.input_controls import Control, meaning
from mmad.analysis.run_readers import RunReaders
from mmad.analysis.run_subgroups import RunSubgroups
from mmad.base.json_values import picked, to_json_value
from mmad.data.external import OutsideData
from mmad.evaluation.coco_summary import CocoSet
from mmad.evaluation.differences import Decision, Difference, FoldedSample, plans
from mmad.evaluation.intervals import IntervalEstimate
from mmad.evaluation.operating_points import Calibration, OperatingInterval, gaps
from mmad.evaluation.resampling import Interval
from mmad.evaluation.tide import NOTE

JsonValue = dict[str, Any]


def plain_target(target: EvaluationTarget) -> JsonValue:
    """Which checkpoint of which run was evaluated, on what and how."""
    plain = {
        "key": target.run.key,
        **picked(target.member, "ablation", "setting", "arm", "seed", "replicate", "documented"),
        "checkpoint": target.checkpoint.kind,
        "epoch": target.checkpoint.epoch,
        "split": target.split,
        **target.protocol.model_dump(mode="json"),
    }
    if target.seeds:
        plain |= dict.fromkeys(("key", "seed", "replicate", "documented", "epoch"))
        if target.member is not None and len(by_fold(target.seeds)) > 1:
            plain["setting"] = setting_of(target.member, target.run)
    return plain


def _outside(found: OutsideData) -> JsonValue:
    return {
        "name": found.name,
        "data": found.data,
        "path": str(found.root),
        **picked(found, "fingerprint", "unlabelled", "notes"),
    }


def plain_evaluation(
    target: EvaluationTarget,
    measured: MeasuredRun,
    profile: Profile,
    coco: CocoSet | None,
    masks: MaskFigures | None,
    diagnosis: Diagnosis,
    subgroups: Sequence[RunSubgroups] = (),
    readers: RunReaders | None = None,
) -> JsonValue:
    """One entry of ``mmad eval``."""
    found = measured.estimate
    return plain_target(target) | {
        "outside": None if target.outside is None else _outside(target.outside),
        "ensemble": {"runs": [plain_target(one) for one in target.seeds], "note": ensemble_note(target)}
        if target.seeds
        else None,
        "images": measured.images,
        "patients": measured.patients,
        **_estimate(found),
        "thresholds": [
            to_json_value(row) | {"gap": to_json_value(gap), "intervals": _band(band)}
            for row, gap, band in zip(profile.rows, gaps(profile.rows), profile.bands, strict=True)
        ],
        "froc": to_json_value(profile.froc)
        | {"per_class": to_json_value(dict(profile.froc.per_class)), "intervals": to_json_value(profile.froc_band)},
        "confusion": {"score": profile.rows[-1].score} | to_json_value(profile.confusion),
        "calibration": _calibration(profile.calibration),
        "diagnosis": _diagnosis(diagnosis),
        "subgroups": [
            to_json_value(one) | {"prevalence": one.prevalence, "score": column.score}
            for column in subgroups
            for one in column.groups
        ],
        "readers": to_json_value(readers),
        "coco": None if coco is None else _coco(coco),
        "masks": None if masks is None else _estimate(masks.estimate) | {"coco": _coco(masks.coco)},
    }


def _estimate(found: IntervalEstimate) -> JsonValue:
    return {"ap": _interval(found.ap), "ar": _interval(found.ar), "per_class": _per_class(found)}


def _per_class(found: IntervalEstimate | Difference) -> list[JsonValue]:
    return [{"label": label, "ap": _interval(ap), "ar": _interval(ar)} for label, ap, ar in found.per_class]


def _band(band: OperatingInterval) -> JsonValue:
    plain: JsonValue = to_json_value(band)
    del plain["score"]
    return plain


def _calibration(calibration: Calibration) -> JsonValue:
    edges = calibration.edges
    rows = zip(edges, edges[1:], calibration.score, calibration.hits, calibration.count, strict=False)
    names = ("low", "high", "score", "hits", "count")
    return {
        "error": to_json_value(calibration.error),
        "bins": [dict(zip(names, to_json_value(row), strict=True)) for row in rows],
    }


def _diagnosis(diagnosis: Diagnosis) -> JsonValue:
    return {
        **picked(diagnosis, "rule", "false_positives", "score"),
        "why": diagnosis.why or None,
        **picked(diagnosis, "counts", "images", "patients", "wafroc"),
        "calibration": [
            {
                "label": one.label,
                **{name: _interval(getattr(one, name)) for name in ("intercept", "slope", "brier")},
                "ece": to_json_value(one.reliability.error),
                "bins": _calibration(one.reliability)["bins"],
            }
            for one in diagnosis.calibration
        ],
        "errors": to_json_value(diagnosis.errors) | {"note": NOTE},
    }


def _coco(coco: CocoSet) -> JsonValue:
    per_class = [dict(zip(("label", "ap", "ap50"), to_json_value(row), strict=True)) for row in coco.per_class]
    return {"figures": to_json_value(coco.figures), "per_class": per_class}


def plain_comparisons(
    comparisons: Sequence[Comparison],
    refused: Sequence[NotComparable],
    options: EvaluationOptions,
    effects: Sequence[float] | None = None,
) -> JsonValue:
    """``mmad compare``; ``effects`` are those that a plan is made for, None for those of each comparison."""
    return {
        "resamples": options.resamples,
        "estimand": ESTIMAND_OF_FOLDS if any(one.folds for one in comparisons) else ESTIMAND,
        "shared_runs": shared_words(comparisons),
        "benefits": [
            picked(one, "setting", "arm", "helps", "sentence", "beats_late_fusion", "late_sentence")
            for one in benefits(comparisons)
        ],
        "pairs": [_comparison(one, one.statistics or PairStatistics(), effects or one.effects) for one in comparisons],
        "refused": [plain_refusal(one) for one in refused],
    }


def plain_refusal(refused: NotComparable) -> JsonValue:
    """A pair that cannot be compared."""
    return picked(refused, "setting", "reference", "other", "reason")


def _comparison(comparison: Comparison, found: PairStatistics, effects: Sequence[float]) -> JsonValue:
    conditions, difference = comparison.sides[0], found.difference
    return {
        "setting": comparison.setting,
        "reference": _side(comparison, 0, found.reference),
        "other": _side(comparison, 1, found.other),
        "seeds": list(comparison.seeds),
        "folds": _folds(comparison, found),
        "checkpoint": comparison.kind,
        **picked(conditions, "split", "overlap", "threshold", "max_detections", "proposals"),
        "differs_by_design": list(comparison.by_design.values()),
        **picked(difference, "images", "patients"),
        "ap": difference and _interval(difference.ap),
        "level": difference and difference.level,
        "ar": difference and _interval(difference.ar),
        "per_class": _per_class(difference) if difference else [],
        **picked(difference, "p", "family"),
        "ap_pointwise": difference and _interval(difference.pointwise),
        **picked(difference, "p_pointwise", "freedom", "freedom_hillis"),
        "variance_lent_by": difference and difference.lent,
        **picked(difference, "p_patients", "seed_share", "sd"),
        "verdict": comparison.verdict or None,
        "reasons": list(comparison.reasons),
        "words": comparison.sentence,
        "by_checkpoint": to_json_value(comparison.by_checkpoint),
        "sign_depends_on_checkpoint": comparison.sign_depends,
        "queued_after_test_figures": comparison.late,
        "registration": comparison.registration and _registration(comparison.registration),
        "decision": difference and difference.decision and _decision(difference.decision),
        "plan": [to_json_value(plan) for plan in (plans(difference, effects) if difference else ())],
        "agreement": found.agreement and _agreement(found.agreement),
        "studies": [
            {"study": study, "gain": gain} for study, gain in (found.agreement.studies if found.agreement else ())
        ],
        "external": [
            {
                **picked(one, "name", "data"),
                **picked(one.difference, "images", "patients"),
                "reference": one.reference and _interval(one.reference.estimate.ap),
                "other": one.other and _interval(one.other.estimate.ap),
                "ap": one.difference and _interval(one.difference.pointwise),
                "p_pointwise": one.difference and to_json_value(one.difference.p_pointwise),
                "why": one.why or None,
            }
            for one in found.external
        ],
        "interactions": to_json_value(found.interactions),
        "by_reader": [_under_reader(one) for one in comparison.under_readers],
        "note": comparison.note or None,
    }


def _under_reader(found: ReaderVerdict) -> JsonValue:
    difference = found.difference
    return {
        "reader": found.reader,
        **picked(difference, "images", "patients"),
        "left_out": found.left_out,
        **dict(zip(("reference", "other"), to_json_value(found.arms), strict=True)),
        "ap": difference and _interval(difference.ap),
        **picked(difference, "level", "p"),
        **picked(found, "verdict", "sign_holds", "verdict_holds"),
        "why": found.why or None,
    }


def _folds(comparison: Comparison, found: PairStatistics) -> JsonValue | None:
    """Of a cross-validation: how many folds are finished, the difference in AP of each, and the APs of all pooled."""
    if not comparison.folds:
        return None
    each = found.sample.differences.tolist() if isinstance(found.sample, FoldedSample) else []
    pooled = [None if side is None else to_json_value(side.pooled) for side in (found.reference, found.other)]
    return {
        "of": comparison.folds,
        "done": comparison.folds_done,
        "ap": to_json_value(each),
        **dict(zip(("reference_pooled_ap", "other_pooled_ap"), pooled, strict=True)),
    }


def _registration(found: Registration) -> JsonValue:
    return {
        **found.hypothesis.content(),
        "sha256": found.sha256,
        "registered": found.created.isoformat(),
        "before_training": found.before_training,
        "why": found.why or None,
        "primary": found.primary,
    }


def _decision(found: Decision) -> JsonValue:
    return {
        "goal": found.goal.name,
        "margin": found.goal.margin or None,
        "alpha": found.goal.alpha,
        "level": round(found.level, 9),
        "ap": _interval(found.interval),
        "p": to_json_value(found.p),
        "reached": found.reached,
    }


def _side(comparison: Comparison, place: int, measured: MeasuredRun | None) -> JsonValue:
    runs: list[ComparedRun] = [pair[place] for pair in comparison.pairs]
    epochs = [figures.epoch for one in runs if (figures := one.figures(comparison.kind)) is not None]
    found = None if measured is None else measured.estimate
    return {
        "name": comparison.names[place],
        "runs": [one.run.key for one in runs],
        "epochs": epochs,
        "ap": found and _interval(found.ap),
        "ar": found and _interval(found.ar),
    }


def _agreement(agreement: PairAgreement) -> JsonValue:
    per_class = [to_json_value(shared) | {"agreement": to_json_value(shared.agreement)} for shared in agreement.shared]
    return picked(agreement, "score", "overlap", "threshold") | {"per_class": per_class}


def plain_verdicts(comparisons: Sequence[Comparison]) -> list[JsonValue]:
    """The end of ``mmad ablate``: one object per setting and pair of arms, over the seeds that both have finished."""
    return [
        {
            **picked(one, "ablation", "setting", "reference", "other"),
            "folds": one.folds or None,
            **picked(one, "seeds", "verdict", "reasons"),
            "words": one.sentence,
            "ap": None if one.difference is None else _interval(one.difference),
            **picked(one, "level", "p"),
        }
        for one in comparisons
        if one.statistics is not None
    ]


def plain_ablation_pairs(comparisons: Sequence[Comparison]) -> list[JsonValue]:
    """The end of ``mmad ablate``: one object per setting, seed and pair of arms that has both."""
    rows = [
        {
            "ablation": one.ablation,
            "setting": one.setting,
            "fold": reference.fold and reference.fold.number,
            **dict(zip(("seed", "replicate"), reference.seed, strict=True)),
            "reference": one.reference,
            "other": one.other,
            "reference_result": to_json_value(reference.figures(one.kind)),
            "other_result": to_json_value(other.figures(one.kind)),
            "differs_by_design": list(one.by_design.values()),
            **({"checkpoint": "final"} if one.kind == "final" else {}),
        }
        for one in comparisons
        for reference, other in one.runs
        if reference is not None and other is not None
    ]
    places: dict[tuple[object, ...], int] = {}
    for row in rows:
        places.setdefault(tuple(row[name] for name in _PLACE), len(places))
    return sorted(rows, key=lambda row: places[tuple(row[name] for name in _PLACE)])


_PLACE = ("ablation", "setting", "fold", "seed", "replicate")


def plain_controls(target: EvaluationTarget, controls: Sequence[Control], options: EvaluationOptions) -> JsonValue:
    """``mmad controls``."""
    return plain_target(target) | {
        "resamples": options.resamples,
        "controls": [
            {
                "kind": control.alteration.kind,
                "column": control.alteration.name if control.alteration.kind == "column" else None,
                **(
                    {"mechanism": control.alteration.name, "share": control.alteration.share}
                    if control.alteration.kind == "missing"
                    else {}
                ),
                **picked(control.drop, "repeats", "before", "after"),
                "ap": _interval(control.drop.ap),
                "ar": _interval(control.drop.ar),
                "per_class": [{"label": label, "ap": _interval(ap)} for label, ap in control.drop.per_class],
                "words": meaning(control),
            }
            for control in controls
        ],
    }


def plain_clinical_table(target: EvaluationTarget, rows: Sequence[TableAuroc]) -> JsonValue:
    """``mmad controls --table``."""
    areas = ("run", "logistic", "boosting")
    return plain_target(target) | {
        "table": [
            {
                **picked(one, "label", "images", "positives"),
                **{name: _interval(getattr(one, name)) for name in areas},
            }
            for one in rows
        ]
    }


def _interval(value: Interval) -> JsonValue:
    plain: JsonValue = to_json_value(value)
    return plain if value.patients is not None else {name: plain[name] for name in ("value", "low", "high")}
