"""Controls of one run: what its AP loses without a clinical column, without the right record, without the image.

The network is passed in as ``Inference`` and run only for what is not cached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mmad.analysis.cache import cached, read_cached
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, EvaluationTarget, matched_under
from mmad.analysis.run_subgroups import columns_of, levels_digest
from mmad.base.errors import EvaluationError
from mmad.base.formatting import decimal
from mmad.base.records import AnalysisRecord, Detections
from mmad.config.messages import no_such
from mmad.data.acquisition import ACQUISITION
from mmad.data.clinical import Mechanism
from mmad.evaluation.agreement import Drop, drop
from mmad.evaluation.detections_file import version_of
from mmad.evaluation.matching import Matched
from mmad.store.store import Store

REPEATS = 5
#: Least draws of missing values, and the shares that are missing where no others are asked for.
MISSING_DRAWS = 10
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Alteration:
    """What is altered before the network runs.

    ``column``: the values of the clinical column ``name`` are permuted among the studies of the split;
    ``records``: whole clinical records are; ``image``: every image is one grey; ``missing``: the ``share`` of clinical
    values is missing that the mechanism ``name`` decides.
    """

    kind: Literal["column", "records", "image", "missing"]
    name: str = ""
    share: float = 0.0

    @property
    def draws(self) -> bool:
        """Whether every seed draws another one."""
        return self.kind != "image"


@dataclass(frozen=True)
class Control:
    """An alteration and what it costs."""

    alteration: Alteration
    drop: Drop


#: Detections after an alteration (None: as it is) drawn with a seed.
Inference = Callable[[Alteration | None, int], Detections]


def alterations(detections: DetectionStore, target: EvaluationTarget) -> list[Alteration]:
    """Every alteration that makes sense for the run; of one without clinical data only the blank image."""
    setup = target.run.setup
    image = Alteration("image")
    if not setup.get("use_clinical"):
        return [image]
    columns = detections.dataset(target.run).columns(setup.get("clinical_numeric"), setup.get("clinical_categorical"))
    names = [*columns.numeric, *(name for name, _ in columns.categorical)]
    return [*(Alteration("column", name) for name in names), Alteration("records"), image]


def missing_alterations(
    detections: DetectionStore, target: EvaluationTarget, words: str, shares: Sequence[float] = SHARES
) -> list[Alteration]:
    """Missing values by the mechanisms that ``words`` name (``all``, or some with commas), for every share.

    Raises:
        EvaluationError: an unknown mechanism, a share that is none, a run that reads no clinical data, or a data set
            that knows no view.
    """
    if unclinical([target]):
        hint = "name a run with use_clinical = true"
        raise EvaluationError("reads no clinical data that could be missing", where=f"run {target.name}", hint=hint)
    names = tuple(get_args(Mechanism)) if words == "all" else tuple(word.strip() for word in words.split(","))
    for name in names:
        if name not in get_args(Mechanism):
            hint = f"all, or some of {', '.join(get_args(Mechanism))}"
            raise EvaluationError(no_such("mechanism", name, get_args(Mechanism)), where="missing", hint=hint)
    if "view" in names and "view" not in columns_of(detections.dataset(target.run)):
        if words != "all":
            hint = f"add {ACQUISITION} with a column view to the data set, or leave it out"
            raise EvaluationError("no view is known by which values could be missing", where="missing", hint=hint)
        names = tuple(name for name in names if name != "view")
    for share in shares:
        if not 0 < share < 1:
            raise EvaluationError(f"share {share:g}", where="missing", hint="use shares between 0 and 1, such as 0.3")
    return [Alteration("missing", name, share) for name in dict.fromkeys(names) for share in sorted(set(shares))]


def controls_of(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    infer: Inference,
    *,
    asked: Sequence[Alteration] | None = None,
    repeats: int = REPEATS,
    options: EvaluationOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> list[Control]:
    """The cost of every alteration of ``target``, each computed once and cached.

    Args:
        infer: the network; run on the data as they are, and for every repeat that is not cached.
        asked: these alterations; None for every one that makes sense but missing values.
        repeats: of each draw, with seeds from 0; a blank image needs one, missing values ``MISSING_DRAWS`` at least.
        options: of these resamples and seed.
        progress: hears (alterations done, in all) before each that is not cached.

    Raises:
        EvaluationError: no repeat, or detections that cannot be evaluated.
    """
    if not 1 <= repeats <= 1000:
        raise EvaluationError(f"repeats = {repeats}", hint="use 1 to 1000, such as 5")
    options = options or EvaluationOptions()
    asked = alterations(detections, target) if asked is None else asked
    truth = detections.truth(target)
    original: list[Matched] = []

    def matched(alteration: Alteration | None, seed: int) -> Matched:
        return matched_under(target.protocol, infer(alteration, seed), truth)

    def compute(alteration: Alteration, draws: int) -> Drop:
        if not original:
            original.append(matched(None, 0))
        altered = [matched(alteration, seed) for seed in range(draws)]
        return drop(original[0], altered, resamples=options.resamples, seed=options.seed)

    found = []
    for number, alteration in enumerate(asked):
        draws = repeats if alteration.draws else 1
        draws = max(draws, MISSING_DRAWS) if alteration.kind == "missing" else draws
        subject = _subject(target, alteration, draws, options)
        if alteration.name == "view" and alteration.kind == "missing":
            subject |= levels_digest(detections, target, ["view"])

        def once(number: int = number, alteration: Alteration = alteration, draws: int = draws) -> Drop:
            progress(number, len(asked))
            return compute(alteration, draws)

        found.append(Control(alteration, cached(store, "control", subject, Drop, once)))
    return found


def _subject(
    target: EvaluationTarget, alteration: Alteration, repeats: int, options: EvaluationOptions
) -> dict[str, object]:
    """Plain JSON of what decides a control: the checkpoint itself, for its detections are made again."""
    return {
        "runs": [target.run.key],
        "epochs": [target.checkpoint.epoch],
        "weights": [target.checkpoint.sha256],
        "checkpoint": target.checkpoint.kind,
        "split": target.split,
        **target.protocol.model_dump(mode="json"),
        "alteration": [alteration.kind, alteration.name, *([alteration.share] if alteration.kind == "missing" else [])],
        "repeats": repeats,
        "resamples": options.resamples,
        "seed": options.seed,
        "version": version_of("control"),
    }


def unclinical(targets: Sequence[EvaluationTarget]) -> bool:
    """Whether none of the runs reads clinical data."""
    return not any(one.run.setup.get("use_clinical") for one in targets)


# Cached controls, read without the network and the data set.


_ORDER = ("column", "records", "image", "missing")


def controls_by_run(store: Store) -> dict[str, list[AnalysisRecord]]:
    """The cached controls of every run, oldest first."""
    found: dict[str, list[AnalysisRecord]] = {}
    for record in store.analyses("control"):
        for key in record.subject.get("runs", ()):
            found.setdefault(str(key), []).append(record)
    return found


def cached_controls(known: Mapping[str, Sequence[AnalysisRecord]], target: EvaluationTarget) -> tuple[Control, ...]:
    """Those of exactly this checkpoint, split and protocol; of several of one alteration the latest."""
    wanted = {
        "epochs": [target.checkpoint.epoch],
        "weights": [target.checkpoint.sha256],
        "checkpoint": target.checkpoint.kind,
        "split": target.split,
        **target.protocol.model_dump(mode="json"),
        "version": version_of("control"),
    }
    latest: dict[Alteration, Control] = {}
    for record in known.get(target.run.key, ()):
        if all(record.subject.get(name) == value for name, value in wanted.items()):
            alteration = Alteration(*record.subject["alteration"])
            if (drop := read_cached(Drop, record)) is not None:
                latest[alteration] = Control(alteration, drop)
    return tuple(sorted(latest.values(), key=lambda c: _place(c.alteration)))


def _place(alteration: Alteration) -> tuple[int, int, float]:
    """Columns in the order in which they were cached; missing values by mechanism and share."""
    names = get_args(Mechanism)
    return _ORDER.index(alteration.kind), *(
        (names.index(alteration.name), alteration.share) if alteration.name in names else (0, 0.0)
    )


# What a control says, in words.


def alteration_words(alteration: Alteration) -> str:
    """What was altered, in two words or three."""
    if alteration.kind == "missing":
        return f"{alteration.share:.0%} {MECHANISMS[alteration.name]}".replace("%", " %", 1)
    words = {"records": "clinical records shuffled", "image": "images blanked"}
    return words.get(alteration.kind) or f"{alteration.name} shuffled"


def meaning(control: Control) -> str:
    """One line on what a control says of the run."""
    kind, ap = control.alteration.kind, control.drop.ap
    if math.isnan(ap.value):
        return "cannot say: there is nothing to find"
    if control.drop.before == control.drop.after == 0:
        return "cannot say: the run finds nothing as it is"
    effect = "loses" if ap.low > 0 else "gains" if ap.high < 0 else "even"
    return _MEANINGS[kind][effect].format(name=control.alteration.name, after=decimal(control.drop.after))


#: What is missing, by mechanism.
MECHANISMS: Mapping[str, str] = {
    "random": "of the values missing at random",
    "column": "of the values missing by another column",
    "view": "of the values missing by the view",
    "value": "of the values missing by the value itself",
    "columns": "of the columns missing",
    "records": "of the records missing",
}
_MEANINGS = {
    "column": {
        "loses": "the run relies on {name}",
        "even": "no reliance on {name} is seen",
        "gains": "{name} misleads the run: without its values it finds more",
    },
    "records": {
        "loses": "the run relies on the patient's own record",
        "even": "another patient's record serves as well: no use of the clinical data is seen",
        "gains": "the clinical data mislead the run: another patient's record serves better",
    },
    "image": {
        "loses": "the run relies on the image; without it an AP of {after} is left",
        "even": "no reliance on the image is seen: its AP comes from elsewhere",
        "gains": "the image misleads the run: without it the AP is {after}",
    },
    "missing": {
        "loses": "the run needs these values; without them an AP of {after} is left",
        "even": "no loss without these values is seen",
        "gains": "the values mislead the run: without them the AP is {after}",
    },
}
