"""Analyses as plain JSON, in the stable form that scripts rely on (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmad.analysis.cache import to_json_value
from mmad.analysis.comparison import ArmComparison, ComparedArm, NotComparable
from mmad.analysis.controls import Control
from mmad.analysis.metrics import MaskFigures, MeasuredRun, PairAgreement, Profile
from mmad.analysis.targets import EvaluationOptions, EvaluationTarget
from mmad.analysis.wording import meaning, verdict
from mmad.evaluation.bootstrap import Interval, IntervalEstimate, needed
from mmad.evaluation.coco_summary import CocoSet
from mmad.evaluation.operating_points import Calibration, OperatingInterval, gaps

JsonValue = dict[str, Any]


def plain_judged(judged: EvaluationTarget) -> JsonValue:
    """Which checkpoint of which run was judged, on what and how."""
    names = ("ablation", "setting", "arm", "seed", "replicate", "documented")
    return {
        "key": judged.run.key,
        **{name: None if judged.member is None else getattr(judged.member, name) for name in names},
        "checkpoint": judged.checkpoint.kind,
        "epoch": judged.checkpoint.epoch,
        "split": judged.split,
        **judged.protocol.model_dump(mode="json"),
    }


def plain_evaluation(
    judged: EvaluationTarget,
    measured: MeasuredRun,
    profile: Profile,
    coco: CocoSet | None,
    masks: MaskFigures | None,
    how: EvaluationOptions,
) -> JsonValue:
    """One entry of ``mmad eval``."""
    found = measured.estimate
    return plain_judged(judged) | {
        "images": measured.images,
        "patients": measured.patients,
        "resamples": how.resamples,
        **_estimate(found),
        "thresholds": [
            to_json_value(row) | {"gap": to_json_value(gap), "intervals": _band(band)}
            for row, gap, band in zip(profile.rows, gaps(profile.rows), profile.bands, strict=True)
        ],
        "froc": to_json_value(profile.froc)
        | {"per_class": to_json_value(dict(profile.froc.per_class)), "intervals": to_json_value(profile.froc_band)},
        "confusion": {"score": profile.rows[-1].score} | to_json_value(profile.confusion),
        "calibration": _calibration(profile.calibration),
        "coco": None if coco is None else _coco(coco),
        "masks": None if masks is None else _estimate(masks.estimate) | {"coco": _coco(masks.coco)},
    }


def _estimate(found: IntervalEstimate) -> JsonValue:
    per_class = [{"label": label, "ap": _interval(ap), "ar": _interval(ar)} for label, ap, ar in found.per_class]
    return {"ap": _interval(found.ap), "ar": _interval(found.ar), "per_class": per_class}


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


def _coco(coco: CocoSet) -> JsonValue:
    per_class = [dict(zip(("label", "ap", "ap50"), to_json_value(row), strict=True)) for row in coco.per_class]
    return {"figures": to_json_value(coco.figures), "per_class": per_class}


def plain_contrasts(
    contrasts: Sequence[ArmComparison], refused: Sequence[NotComparable], how: EvaluationOptions
) -> JsonValue:
    """``mmad compare``."""
    return {
        "resamples": how.resamples,
        "pairs": [_contrast(contrast) for contrast in contrasts],
        "refused": [to_json_value(pair) for pair in refused],
    }


def _contrast(contrast: ArmComparison) -> JsonValue:
    first, difference = contrast.reference.runs[0], contrast.difference
    return {
        "setting": contrast.setting,
        "reference": _side(contrast.reference),
        "other": _side(contrast.other),
        "seeds": [int(one.run.protocol.get("seed", 0)) for one in contrast.reference.runs],
        "checkpoint": first.checkpoint.kind,
        "split": first.split,
        **first.protocol.model_dump(mode="json"),
        "images": difference.images,
        "patients": difference.patients,
        "ap": _interval(difference.ap),
        "ar": _interval(difference.ar),
        "per_class": [
            {"label": label, "ap": _interval(ap), "ar": _interval(ar)} for label, ap, ar in difference.per_class
        ],
        "p": to_json_value(difference.p),
        "p_holm": to_json_value(contrast.p_holm),
        "p_patients": to_json_value(difference.p_patients),
        "seed_share": to_json_value(difference.seed_share),
        "sd": to_json_value(difference.sd),
        "verdict": difference.verdict,
        "words": verdict(difference),
        "needed": to_json_value(needed(difference)),
        "agreement": _alike(contrast.alike),
        "studies": [{"study": study, "gain": gain} for study, gain in contrast.alike.studies],
        "note": contrast.note or None,
    }


def _side(side: ComparedArm) -> JsonValue:
    found = side.measured.estimate
    return {
        "name": side.name,
        "runs": [one.run.key for one in side.runs],
        "epochs": [one.checkpoint.epoch for one in side.runs],
        "ap": _interval(found.ap),
        "ar": _interval(found.ar),
    }


def _alike(alike: PairAgreement) -> JsonValue:
    per_class = [to_json_value(shared) | {"agreement": to_json_value(shared.agreement)} for shared in alike.shared]
    return {
        "score": alike.score,
        "overlap": alike.overlap,
        "threshold": alike.threshold,
        "per_class": per_class,
    }


def plain_controls(judged: EvaluationTarget, controls: Sequence[Control], how: EvaluationOptions) -> JsonValue:
    """``mmad controls``."""
    return plain_judged(judged) | {
        "resamples": how.resamples,
        "controls": [
            {
                "kind": control.alteration.kind,
                "column": control.alteration.name or None,
                "repeats": control.drop.repeats,
                "before": to_json_value(control.drop.before),
                "after": to_json_value(control.drop.after),
                "ap": _interval(control.drop.ap),
                "ar": _interval(control.drop.ar),
                "per_class": [{"label": label, "ap": _interval(ap)} for label, ap in control.drop.per_class],
                "words": meaning(control),
            }
            for control in controls
        ],
    }


def _interval(value: Interval) -> JsonValue:
    plain: JsonValue = to_json_value(value)
    return plain
