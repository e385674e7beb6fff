"""Analyses as plain JSON, in the stable form that scripts rely on (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmad.evaluation.bands import OperatingBand
from mmad.evaluation.coco_set import CocoSet
from mmad.evaluation.confusion import Calibration
from mmad.evaluation.intervals import Estimate, Interval, needed
from mmad.evaluation.thresholds import gaps
from mmad.report.analysis import Alike, Measured, Profile
from mmad.report.contrasts import Contrast, Side, Uncompared
from mmad.report.controls import Control
from mmad.report.judged import How, Judged
from mmad.report.keeping import to_plain
from mmad.report.mask_figures import MaskFigures
from mmad.report.verdicts import meaning, verdict

Plain = dict[str, Any]


def plain_judged(judged: Judged) -> Plain:
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
    judged: Judged, measured: Measured, profile: Profile, coco: CocoSet | None, masks: MaskFigures | None, how: How
) -> Plain:
    """One entry of ``mmad eval``."""
    found = measured.estimate
    return plain_judged(judged) | {
        "images": measured.images,
        "patients": measured.patients,
        "resamples": how.resamples,
        **_estimate(found),
        "thresholds": [
            to_plain(row) | {"gap": to_plain(gap), "intervals": _band(band)}
            for row, gap, band in zip(profile.rows, gaps(profile.rows), profile.bands, strict=True)
        ],
        "froc": to_plain(profile.froc)
        | {"per_class": to_plain(dict(profile.froc.per_class)), "intervals": to_plain(profile.froc_band)},
        "confusion": {"score": profile.rows[-1].score} | to_plain(profile.confusion),
        "calibration": _calibration(profile.calibration),
        "coco": None if coco is None else _coco(coco),
        "masks": None if masks is None else _estimate(masks.estimate) | {"coco": _coco(masks.coco)},
    }


def _estimate(found: Estimate) -> Plain:
    per_class = [{"label": label, "ap": _interval(ap), "ar": _interval(ar)} for label, ap, ar in found.per_class]
    return {"ap": _interval(found.ap), "ar": _interval(found.ar), "per_class": per_class}


def _band(band: OperatingBand) -> Plain:
    plain: Plain = to_plain(band)
    del plain["score"]
    return plain


def _calibration(calibration: Calibration) -> Plain:
    edges = calibration.edges
    rows = zip(edges, edges[1:], calibration.score, calibration.hits, calibration.count, strict=False)
    names = ("low", "high", "score", "hits", "count")
    return {
        "error": to_plain(calibration.error),
        "bins": [dict(zip(names, to_plain(row), strict=True)) for row in rows],
    }


def _coco(coco: CocoSet) -> Plain:
    per_class = [dict(zip(("label", "ap", "ap50"), to_plain(row), strict=True)) for row in coco.per_class]
    return {"figures": to_plain(coco.figures), "per_class": per_class}


def plain_contrasts(contrasts: Sequence[Contrast], refused: Sequence[Uncompared], how: How) -> Plain:
    """``mmad compare``."""
    return {
        "resamples": how.resamples,
        "pairs": [_contrast(contrast) for contrast in contrasts],
        "refused": [to_plain(pair) for pair in refused],
    }


def _contrast(contrast: Contrast) -> Plain:
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
        "p": to_plain(difference.p),
        "p_holm": to_plain(contrast.p_holm),
        "p_patients": to_plain(difference.p_patients),
        "seed_share": to_plain(difference.seed_share),
        "sd": to_plain(difference.sd),
        "verdict": difference.verdict,
        "words": verdict(difference),
        "needed": to_plain(needed(difference)),
        "agreement": _alike(contrast.alike),
        "studies": [{"study": study, "gain": gain} for study, gain in contrast.alike.studies],
        "note": contrast.note or None,
    }


def _side(side: Side) -> Plain:
    found = side.measured.estimate
    return {
        "name": side.name,
        "runs": [one.run.key for one in side.runs],
        "epochs": [one.checkpoint.epoch for one in side.runs],
        "ap": _interval(found.ap),
        "ar": _interval(found.ar),
    }


def _alike(alike: Alike) -> Plain:
    per_class = [to_plain(shared) | {"agreement": to_plain(shared.agreement)} for shared in alike.shared]
    return {
        "score": alike.score,
        "overlap": alike.overlap,
        "threshold": alike.threshold,
        "per_class": per_class,
    }


def plain_controls(judged: Judged, controls: Sequence[Control], how: How) -> Plain:
    """``mmad controls``."""
    return plain_judged(judged) | {
        "resamples": how.resamples,
        "controls": [
            {
                "kind": control.alteration.kind,
                "column": control.alteration.name or None,
                "repeats": control.drop.repeats,
                "before": to_plain(control.drop.before),
                "after": to_plain(control.drop.after),
                "ap": _interval(control.drop.ap),
                "ar": _interval(control.drop.ar),
                "per_class": [{"label": label, "ap": _interval(ap)} for label, ap in control.drop.per_class],
                "words": meaning(control),
            }
            for control in controls
        ],
    }


def _interval(value: Interval) -> Plain:
    plain: Plain = to_plain(value)
    return plain
