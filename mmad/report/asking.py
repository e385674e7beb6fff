"""What a report asks of every run and of every pair of arms; computed where it was not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmad.evaluation.recall_curve import RecallCurve, recall_curve
from mmad.report.analysis import difference_of, estimate_of, profile_of, subject_of
from mmad.report.judged import Archive, How, Judged
from mmad.report.keeping import kept
from mmad.report.mask_figures import has_masks, masks_of
from mmad.store.gateway import Store

#: Score thresholds of the documented log's gap table.
SCORES = (0.05, 0.1, 0.3)


def about_run(store: Store, archive: Archive, judged: Judged, how: How) -> Iterator[dict[str, Any]]:
    """The figures of one run, one after another, under the names that ``SureRun`` has for them.

    Raises:
        EvaluationError: detections that are missing or cannot be judged.
        DataError: a data set that is gone or changed.
    """
    yield {"measured": estimate_of(store, archive, [judged], how)}
    yield {"profile": profile_of(store, archive, judged, SCORES, how)}
    yield {"curve": curve_of(store, archive, judged)}
    if has_masks(judged):
        yield {"masks": masks_of(store, archive, judged, how)}


def about_pair(
    store: Store, archive: Archive, pairs: Sequence[tuple[Judged, Judged]], how: How
) -> Iterator[dict[str, Any]]:
    """Likewise those of two arms, (reference, other) of each seed, under the names of ``SurePair``."""
    yield {"difference": difference_of(store, archive, pairs, how)}
    yield {"reference": estimate_of(store, archive, [a for a, _ in pairs], how)}
    yield {"other": estimate_of(store, archive, [b for _, b in pairs], how)}


def curve_of(store: Store, archive: Archive, judged: Judged) -> RecallCurve:
    """Precision by recall, kept like every analysis. Raises as ``analysis.estimate_of``."""
    subject = subject_of("precision", [judged])
    return kept(store, "precision", subject, RecallCurve, lambda: recall_curve(archive.matched(judged)))
