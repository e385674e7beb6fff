"""Controls of one run: what its AP loses without a clinical column, without the right record, without the image.

The network is somebody else's: ``Look`` is handed in and asked only for what was not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mmad.analysis.cache import cached, from_plain
from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget, matched_under
from mmad.base.errors import EvaluationError
from mmad.base.records import AnalysisRecord, Detections
from mmad.evaluation.agreement import Drop, drop
from mmad.evaluation.detections_file import version_of
from mmad.evaluation.matching import Matched
from mmad.store.store import Store

REPEATS = 5


@dataclass(frozen=True)
class Alteration:
    """What is altered before the network looks.

    ``column``: the values of the clinical column ``name`` are dealt out among the studies of the split;
    ``records``: whole clinical records are; ``image``: every image is one grey.
    """

    kind: Literal["column", "records", "image"]
    name: str = ""


@dataclass(frozen=True)
class Control:
    """An alteration and what it costs."""

    alteration: Alteration
    drop: Drop


#: Detections after an alteration (None: as it is) drawn with a seed.
Look = Callable[[Alteration | None, int], Detections]


def alterations(archive: DetectionStore, judged: EvaluationTarget) -> list[Alteration]:
    """Every alteration that makes sense for the run; of one without clinical data only the blank image."""
    setup = judged.run.setup
    image = Alteration("image")
    if not setup.get("use_clinical"):
        return [image]
    columns = archive.dataset(judged.run).columns(setup.get("clinical_numeric"), setup.get("clinical_categorical"))
    names = [*columns.numeric, *(name for name, _ in columns.categorical)]
    return [*(Alteration("column", name) for name in names), Alteration("records"), image]


def controls_of(
    store: Store,
    archive: DetectionStore,
    judged: EvaluationTarget,
    look: Look,
    *,
    repeats: int = REPEATS,
    how: EvaluationOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> list[Control]:
    """The cost of every alteration of ``judged``, each computed once and kept.

    Args:
        look: the network; asked for what it sees as it is, and for every repeat of what was not kept.
        repeats: of each draw, with seeds from 0; a blank image needs one.
        how: of it resamples and seed.
        progress: hears (alterations done, in all) before each that was not kept.

    Raises:
        EvaluationError: no repeat, or detections that cannot be judged.
    """
    if not 1 <= repeats <= 1000:
        raise EvaluationError(f"repeats = {repeats}", hint="use 1 to 1000, such as 5")
    how = how or EvaluationOptions()
    asked = alterations(archive, judged)
    truth = archive.truth(judged)
    original: list[Matched] = []

    def matched(alteration: Alteration | None, seed: int) -> Matched:
        return matched_under(judged.protocol, look(alteration, seed), truth)

    def compute(alteration: Alteration, draws: int) -> Drop:
        if not original:
            original.append(matched(None, 0))
        altered = [matched(alteration, seed) for seed in range(draws)]
        return drop(original[0], altered, resamples=how.resamples, seed=how.seed)

    found = []
    for number, alteration in enumerate(asked):
        draws = 1 if alteration.kind == "image" else repeats
        subject = _subject(judged, alteration, draws, how)

        def once(number: int = number, alteration: Alteration = alteration, draws: int = draws) -> Drop:
            progress(number, len(asked))
            return compute(alteration, draws)

        found.append(Control(alteration, cached(store, "control", subject, Drop, once)))
    return found


def _subject(
    judged: EvaluationTarget, alteration: Alteration, repeats: int, how: EvaluationOptions
) -> dict[str, object]:
    """Plain JSON of what decides a control: the checkpoint itself, for its detections are made anew."""
    return {
        "runs": [judged.run.key],
        "epochs": [judged.checkpoint.epoch],
        "weights": [judged.checkpoint.sha256],
        "checkpoint": judged.checkpoint.kind,
        "split": judged.split,
        **judged.protocol.model_dump(mode="json"),
        "alteration": [alteration.kind, alteration.name],
        "repeats": repeats,
        "resamples": how.resamples,
        "seed": how.seed,
        "version": version_of("control"),
    }


def unclinical(judged: Sequence[EvaluationTarget]) -> bool:
    """Whether none of the runs reads clinical data."""
    return not any(one.run.setup.get("use_clinical") for one in judged)


# Controls that ``mmad controls`` has kept, found again without the network and the data set.


_ORDER = ("column", "records", "image")


def controls_by_run(store: Store) -> dict[str, list[AnalysisRecord]]:
    """The kept controls of every run, oldest first."""
    found: dict[str, list[AnalysisRecord]] = {}
    for record in store.analyses("control"):
        for key in record.subject.get("runs", ()):
            found.setdefault(str(key), []).append(record)
    return found


def controls_of_judged(kept: Mapping[str, Sequence[AnalysisRecord]], judged: EvaluationTarget) -> tuple[Control, ...]:
    """Those of exactly this checkpoint, split and protocol; of several of one alteration the latest."""
    wanted = {
        "epochs": [judged.checkpoint.epoch],
        "weights": [judged.checkpoint.sha256],
        "checkpoint": judged.checkpoint.kind,
        "split": judged.split,
        **judged.protocol.model_dump(mode="json"),
        "version": version_of("control"),
    }
    latest: dict[Alteration, Control] = {}
    for record in kept.get(judged.run.key, ()):
        if all(record.subject.get(name) == value for name, value in wanted.items()):
            kind, name = record.subject["alteration"]
            alteration = Alteration(kind, name)
            latest[alteration] = Control(alteration, from_plain(Drop, record.value))
    return tuple(sorted(latest.values(), key=lambda c: _ORDER.index(c.alteration.kind)))
