"""Pictures of the studies on which two arms differ most."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from PIL import Image

from mmad.analysis.cached_statistics import AGREEMENT_SCORE, MOST_STUDIES, agreement_of
from mmad.analysis.comparison import Comparison
from mmad.analysis.evaluation_target import (
    DetectionStore,
    EvaluationOptions,
    EvaluationTarget,
    TargetPairs,
    matched_under,
)
from mmad.analysis.report_frame import AblationFrame, ReportFrame
from mmad.analysis.verdicts import FailureCachingStore, comparison_targets, finished_comparisons
from mmad.base.errors import DataError, MmadError, ReportError
from mmad.base.formatting import clip, plural
from mmad.base.records import Detections
from mmad.data.dataset import DataSet
from mmad.data.image_cache import decode
from mmad.evaluation.agreement import matched_at, net_hits
from mmad.evaluation.matching import Floats, Ints, Matched
from mmad.evaluation.operating_points import at_least
from mmad.evaluation.resampling import weigh
from mmad.store.store import Store

# The boxes of two arms compared with the true boxes: what each found on a study, and its contribution to the AP.

Box = tuple[float, float, float, float]
#: Of an arm's boxes: right, false, missed. Of the true boxes: who found them.
BoxOutcome = Literal["right", "false", "missed", "both", "reference", "other", "neither"]


@dataclass(frozen=True)
class PanelBox:
    """One box in pixels of the stored image; ``number`` is its finding's, ``score`` is None for a true box."""

    number: int
    corners: Box
    score: float | None
    outcome: BoxOutcome


@dataclass(frozen=True)
class Panels:
    """What is drawn on one study: the true boxes, and the boxes of each arm with the true ones that it missed."""

    truth: tuple[PanelBox, ...]
    reference: tuple[PanelBox, ...]
    other: tuple[PanelBox, ...]


@dataclass(frozen=True)
class APDifference:
    """A pair's difference in test AP, other minus reference, as a mean over the seeds: over all boxes, over drawn ones.

    ``drawn`` and ``total`` count boxes of (reference, other) over all seeds: boxes with at least the score, and all.
    """

    all_boxes: float
    drawn_boxes: float
    drawn: tuple[int, int]
    total: tuple[int, int]


class PairMatches:
    """The boxes of a pair of arms matched with the true boxes of the split, seed by seed.

    Args:
        archive: where detections and true boxes are.
        pairs: (reference, other) of each seed, all under one protocol.
        score: the least score of a box that is drawn.

    Raises:
        EvaluationError: detections that are missing or cannot be evaluated.
        DataError: a data set that is missing or has changed.
    """

    def __init__(self, detections: DetectionStore, pairs: TargetPairs, score: float) -> None:
        self.truth = detections.truth(pairs[0][0])
        self._protocol, self._score = pairs[0][0].protocol, score
        self._place = {study: n for n, study in enumerate(self.truth.studies)}
        self._seeds = [(self._side(detections, a), self._side(detections, b)) for a, b in pairs]

    def _side(self, detections: DetectionStore, target: EvaluationTarget) -> _Side:
        every, protocol = detections.read(target), self._protocol
        matched = matched_at(
            every, self.truth, score=self._score, overlap=protocol.overlap, threshold=protocol.threshold
        )
        return _Side(every, at_least(every, self._score), matched, matched_under(protocol, every, self.truth))

    def net_hits(self, study: str) -> list[int]:
        """The difference in net hits (hits minus false alarms) on ``study``, other minus reference, of each seed."""
        n = self._place[study]
        return [int(net_hits(b.matched)[n] - net_hits(a.matched)[n]) for a, b in self._seeds]

    def panels(self, study: str, seed: int) -> Panels:
        """What the arms of the seed at position ``seed`` found on ``study``."""
        n, (a, b) = self._place[study], self._seeds[seed]
        rows = np.flatnonzero(self.truth.study == n)
        found = [set(side.hits(n)) for side in (a, b)]
        truth = []
        for row in rows.tolist():
            by: BoxOutcome = _BY[row in found[0], row in found[1]]
            truth.append(PanelBox(int(self.truth.labels[row]), _box(self.truth.boxes[row]), None, by))
        sides = [
            (*side.boxes(n), *(_missed(one) for row, one in zip(rows, truth, strict=True) if row not in hit))
            for side, hit in zip((a, b), found, strict=True)
        ]
        return Panels(tuple(truth), sides[0], sides[1])

    def ap_difference(self) -> APDifference:
        """The pair's difference in AP, with and without the boxes whose score is too low to be drawn."""
        drawn = [
            _difference(*(matched_under(self._protocol, s.drawn, self.truth) for s in seed), weights=None)[0]
            for seed in self._seeds
        ]
        counts = np.sum([[(len(s.drawn.scores), len(s.every.scores)) for s in seed] for seed in self._seeds], axis=0)
        (strong_a, all_a), (strong_b, all_b) = counts.tolist()
        return APDifference(
            float(self._differences(None)[0]), float(np.mean(drawn)), (strong_a, strong_b), (all_a, all_b)
        )

    def ap_without(self, studies: Sequence[str]) -> list[float]:
        """The difference in AP over all boxes if one study were left out, for each of ``studies``."""
        weights = np.ones((len(studies), len(self.truth.studies)))
        weights[np.arange(len(studies)), [self._place[study] for study in studies]] = 0
        return [float(value) for value in self._differences(weights)] if len(studies) else []

    def _differences(self, weights: Floats | None) -> Floats:
        seeds = [_difference(a.full, b.full, weights=weights) for a, b in self._seeds]
        mean: Floats = np.mean(seeds, axis=0)
        return mean


_BY: dict[tuple[bool, bool], BoxOutcome] = {
    (True, True): "both",
    (True, False): "reference",
    (False, True): "other",
    (False, False): "neither",
}


@dataclass(frozen=True, eq=False)
class _Side:
    """One run: all its boxes, the drawn ones with their matches, and the matches of all under the protocol."""

    every: Detections
    drawn: Detections
    matched: Matched
    full: Matched

    def hits(self, image: int) -> list[int]:
        """Rows of the true boxes that the run found on the study."""
        here = (self.matched.image == image) & self.matched.hit[0]
        rows: Ints = self.matched.true[0][here]
        return [int(row) for row in rows]

    def boxes(self, image: int) -> tuple[PanelBox, ...]:
        """The run's drawn boxes on the study, by finding and descending score."""
        here = np.flatnonzero((self.matched.image == image) & self.matched.counted[0])
        found = []
        for n in here.tolist():
            row = int(self.matched.row[n])
            outcome: BoxOutcome = "right" if self.matched.hit[0][n] else "false"
            score = float(self.drawn.scores[row])
            found.append(PanelBox(int(self.drawn.labels[row]), _box(self.drawn.boxes[row]), score, outcome))
        return tuple(found)


def _missed(true: PanelBox) -> PanelBox:
    return PanelBox(true.number, true.corners, None, "missed")


def _box(sides: Floats) -> Box:
    left, top, right, bottom = (float(side) for side in sides)
    return left, top, right, bottom


def _difference(reference: Matched, other: Matched, *, weights: Floats | None) -> Floats:
    difference: Floats = weigh(other, weights).mean_ap - weigh(reference, weights).mean_ap
    return difference


def representative_seed(net_hits: Sequence[int]) -> int:
    """The position of the seed with the largest difference in the direction of the sum; the first of equal ones."""
    sign = math.copysign(1, sum(net_hits))
    return max(range(len(net_hits)), key=lambda n: (sign * net_hits[n], -n))


# The image of a study as a report carries it: reduced in size, grey, JPEG.

#: The longer side of a picture; boxes are in these units, however small the stored image is.
SIDE = 512
#: An image that needs more bytes is stored in lower quality.
_MOST_BYTES = 48 * 1024
_QUALITIES = (82, 65, 45)


@dataclass(frozen=True, eq=False)
class PageImage:
    """An image as JPEG, shown at ``width`` by ``height``; the longer side is ``SIDE``."""

    width: float
    height: float
    jpeg: bytes

    @property
    def address(self) -> str:
        """The image as a data URL."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def image_of(dataset: DataSet, position: int) -> PageImage:
    """The image of the study at ``position``. Raises DataError where it cannot be decoded or has another size."""
    picture = decode(dataset, position)
    shown = [SIDE * side / max(picture.size) for side in picture.size]
    if max(picture.size) > SIDE:
        width, height = (max(1, round(side)) for side in shown)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return PageImage(shown[0], shown[1], _jpeg(picture))


def _jpeg(picture: Image.Image) -> bytes:
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
        content = buffer.getvalue()
        if len(content) <= _MOST_BYTES:
            break
    return content


#: Studies of each pair by default, where the licence allows it.
USUAL = 4


@dataclass(frozen=True)
class StudyPicture:
    """One study as the report shows it.

    ``image`` is the name of its image among the ablation's images, empty where ``note`` says why there is none; boxes
    are in units of the image. ``net_hits`` is the difference in hits minus false alarms, other minus reference, over
    all seeds; the boxes are from ``seed``, whose own difference is ``seed_net_hits``. ``ap_without`` is the pair's
    difference in AP without this study.
    """

    study: str
    source: str
    image: str
    note: str
    net_hits: int
    seed: int
    seed_net_hits: int
    panels: Panels
    ap_without: float


@dataclass(frozen=True)
class PairPictures:
    """One row of a comparison and its studies, or ``why`` there are none; ``labels`` are the data set's."""

    setting: str
    reference: str
    other: str
    seeds: int
    studies: tuple[StudyPicture, ...] = ()
    labels: tuple[str, ...] = ()
    ap_difference: APDifference | None = None
    why: str = ""

    @property
    def score(self) -> float:
        """The least score of a box that is drawn."""
        return AGREEMENT_SCORE


@dataclass(frozen=True)
class PictureNote:
    """A line on what is shown or not, with the ``command`` that shows more; ``caution`` marks a warning."""

    text: str
    command: str = ""
    caution: bool = True


@dataclass(frozen=True)
class AblationPictures:
    """The pictures of one ablation, pair by pair, and each image once."""

    pairs: tuple[PairPictures, ...] = ()
    images: Mapping[str, PageImage] = field(default_factory=dict)
    notes: tuple[PictureNote, ...] = ()

    @property
    def shown(self) -> tuple[PairPictures, ...]:
        """The pairs that have studies, or a reason for having none."""
        return tuple(pair for pair in self.pairs if pair.studies or pair.why)

    @property
    def studies(self) -> int:
        """Studies shown, over all pairs."""
        return sum(len(pair.studies) for pair in self.pairs)

    @property
    def labels(self) -> tuple[str, ...]:
        """The findings of the legend, from the data set with the most findings."""
        return max((pair.labels for pair in self.pairs if pair.studies), key=len, default=())


@dataclass(frozen=True)
class Pictures:
    """The pictures of a report by the ablation's name; empty where no store is given."""

    ablations: Mapping[str, AblationPictures] = field(default_factory=dict)

    def of(self, ablation: AblationFrame) -> AblationPictures:
        return self.ablations.get(ablation.record.name, AblationPictures())


def check_number(number: int | None) -> None:
    """ReportError unless ``number`` is None or a number of studies that a pair can have."""
    if number is not None and not 0 <= number <= MOST_STUDIES:
        raise ReportError(
            f"{number} is out of range", where="pictures", hint=f"choose 0 to {MOST_STUDIES} studies of each pair"
        )


# Which licences let a report carry images of the data set: what the licence says, not legal advice.

_VERSION = r"(?: [1-4](?:\.[05])?)?(?: (?:international|unported|generic))?"
#: Licences that allow passing on altered images (reduced, with boxes): public domain, CC without ND, open data.
_ALLOWING = tuple(
    re.compile(pattern)
    for pattern in (
        r"phantom",
        r"(?:in the )?public domain(?: mark)?(?: 1\.0)?|pdm(?: 1\.0)?",
        r"(?:cc ?0|cc zero|creative commons zero)(?: 1\.0)?(?: universal)?",
        rf"cc by(?: nc)?(?: sa)?{_VERSION}",
        rf"creative commons attribution(?: non ?commercial)?(?: share ?alike)?{_VERSION}(?: licen[cs]e)?",
        r"https?://creativecommons\.org/(?:licenses/by(?: nc)?(?: sa)?/[1-4]\.[05]|publicdomain/(?:zero|mark)/1\.0)/?",
        r"pddl(?: 1\.0)?|odc by(?: 1\.0)?",
    )
)


def allows_pictures(licence: str) -> bool:
    """Whether every part of ``licence`` (parts stand between ``;`` or ``,``) is one that lets images be passed on.

    Only whole names count, so that a licence with an exception, or one that merely mentions another, does not.
    Licences for credentialed users (PhysioNet, MIMIC) are none of them, nor is what is not stated.
    """
    parts = [_plain(part) for part in re.split(r"[;,\n]", licence)]
    return any(parts) and all(any(rule.fullmatch(part) for rule in _ALLOWING) for part in parts if part)


def _plain(part: str) -> str:
    """Small letters; hyphens and underscores as single spaces: ``CC-BY-SA-4.0`` is ``cc by sa 4.0``."""
    return " ".join(re.sub(r"[-_\s]+", " ", part.casefold()).split())


# Collect a report's pictures: the studies that ``mmad compare`` lists, in its order, with the boxes of both arms.
# A missing data set, a licence that does not allow it or an image that cannot be decoded is a line in the report,
# never a failure.

#: A report of many pairs shows fewer studies of each, so that the page stays small: about so many in all.
MOST_IN_ALL = 120
_NO_DIFFERENCE = "the arms have equal hits minus false alarms on every study"


def pictures_of(
    frame: ReportFrame,
    store: Store,
    *,
    number: int | None = None,
    separate_pages: bool = False,
    share: PageShare | None = None,
    detections: DetectionStore | None = None,
) -> Pictures:
    """The pictures of every pair of ``frame``.

    Args:
        number: studies of each pair, whatever the licence; None shows a few where the licence allows it, 0 none.
        separate_pages: whether each ablation has a page of its own; each page may then be as large as a whole report.
        share: of a page that shows other ablations, too; None where ``frame`` is all of it.
        detections: of the store, where several frames are asked for.

    Raises:
        ReportError: a number out of range.
    """
    check_number(number)
    if number == 0:
        return Pictures()
    rows = {a.record.name: finished_comparisons(a) for a in frame.ablations}
    share = share or PageShare(sum(map(len, rows.values())))
    context = _PictureContext(store, detections or FailureCachingStore(), _Budget(number, share.pairs))
    context.shown = share.shown
    found = {}
    for name, pairs in rows.items():
        if separate_pages:
            context.begin_page(_Budget(number, len(pairs)))
        gathered = _PictureCollector(context)
        for comparison in pairs:
            gathered.add(comparison)
        found[name] = gathered.result()
    return Pictures(found)


@dataclass(frozen=True)
class PageShare:
    """How full a page is: ``pairs`` on it in all, ``shown`` studies so far."""

    pairs: int
    shown: int = 0


@dataclass(frozen=True)
class _Budget:
    """How many studies each of ``pairs`` shows. A ``number`` that the user gives is shown, whatever the size."""

    number: int | None
    pairs: int

    @property
    def each(self) -> int:
        if self.number is not None:
            return self.number
        return max(1, min(USUAL, MOST_IN_ALL // max(1, self.pairs)))

    def has_room(self, shown: int) -> bool:
        return self.number is not None or shown < MOST_IN_ALL


class _PictureContext:
    """What all ablations share: the store, the data sets, and how many studies the page already shows."""

    def __init__(self, store: Store, detections: DetectionStore, budget: _Budget) -> None:
        self.store, self.detections = store, detections
        self.begin_page(budget)
        self._places: dict[int, tuple[DataSet, dict[str, int]]] = {}

    def begin_page(self, budget: _Budget) -> None:
        """Start counting for a new page."""
        self.budget, self.shown = budget, 0

    def place(self, dataset: DataSet, study: str) -> int:
        """The position of ``study`` in ``dataset``."""
        if id(dataset) not in self._places:
            self._places[id(dataset)] = dataset, {one.study: n for n, one in enumerate(dataset.studies)}
        return self._places[id(dataset)][1][study]


class _PictureCollector:
    """The pictures of one ablation, pair by pair; each image once."""

    def __init__(self, context: _PictureContext) -> None:
        self._context = context
        self._pairs: list[PairPictures] = []
        self._images: dict[str, PageImage] = {}
        self._known: dict[tuple[int, str], tuple[str, str]] = {}
        self._notes: dict[PictureNote, None] = {}

    def result(self) -> AblationPictures:
        return AblationPictures(tuple(self._pairs), self._images, tuple(self._notes))

    def add(self, found: Comparison) -> None:
        if found.folds:
            first = found.pairs[0][0].fold
            found = replace(found, runs=tuple(pair for pair in found.pairs if pair[0].fold == first))
            self._note(f"Pictures are of {first}, whose test images the others do not share.", caution=False)
        pair = PairPictures(found.setting, found.reference, found.other, len(found.seeds))
        try:
            self._pairs.append(self._pair(pair, found))
        except MmadError as error:
            self._note(f"No pictures: {clip(str(error), 400)}")

    def _note(self, text: str, command: str = "", *, caution: bool = True) -> None:
        self._notes[PictureNote(text, command, caution)] = None

    def _pair(self, pair: PairPictures, comparison: Comparison) -> PairPictures:
        context = self._context
        dataset = context.detections.dataset(comparison.pairs[0][0].run)
        if not self._may_show(dataset):
            return pair
        targets = comparison_targets(context.store, comparison, EvaluationOptions())
        agreement = agreement_of(context.store, context.detections, targets, by_design=comparison.by_design)
        ranked = agreement.studies[: context.budget.each]
        if not ranked:
            return replace(pair, why=_NO_DIFFERENCE)
        matches = PairMatches(context.detections, targets, AGREEMENT_SCORE)
        seeds = list(comparison.seeds)
        ap_without = matches.ap_without([study for study, _ in ranked])
        studies = tuple(
            self._study(dataset, matches, study, net_hits, seeds, ap)
            for (study, net_hits), ap in zip(ranked, ap_without, strict=True)
        )
        context.shown += len(studies)
        self._say_shown(dataset)
        return replace(pair, studies=studies, labels=dataset.labels, ap_difference=matches.ap_difference())

    def _may_show(self, dataset: DataSet) -> bool:
        """Whether (more) images of ``dataset`` may be shown; else a note says why not."""
        budget = self._context.budget
        if budget.number is None and not allows_pictures(dataset.licence):
            self._note(
                f"Pictures are withheld: {_unstated_licence(dataset)}. For readers who may see them:", _command(USUAL)
            )
            return False
        if not budget.has_room(self._context.shown):
            self._note("Further pairs are without pictures, to keep the page small. With them:", _command(1))
            return False
        return True

    def _say_shown(self, dataset: DataSet) -> None:
        """Note the data set whose images are shown, and its licence."""
        budget = self._context.budget
        if allows_pictures(dataset.licence):
            self._note(f"Images: {clip(dataset.name, 80)}, {clip(dataset.licence, 200)}.", caution=False)
        else:
            self._note(f"Shown on request: {_unstated_licence(dataset)}. Keep this report where the data set may be.")
        if budget.each < USUAL and budget.number is None:
            said = f"{plural(budget.each, 'study', 'studies')} of each pair, to keep the page small. More:"
            self._note(said, _command(USUAL), caution=False)

    def _study(
        self, dataset: DataSet, matches: PairMatches, study: str, net_hits: int, seeds: Sequence[int], ap_without: float
    ) -> StudyPicture:
        position = self._context.place(dataset, study)
        image, note = self._image(dataset, position)
        of_seeds = matches.net_hits(study)
        chosen = representative_seed(of_seeds)
        one = dataset.studies[position]
        panels = _scaled(matches.panels(study, chosen), SIDE / max(one.width, one.height))
        return StudyPicture(
            study, one.source or "", image, note, net_hits, seeds[chosen], of_seeds[chosen], panels, ap_without
        )

    def _image(self, dataset: DataSet, position: int) -> tuple[str, str]:
        """(name, reason): the image's name among the images, or an empty name and the reason."""
        key = id(dataset), dataset.studies[position].image
        if key not in self._known:
            name = f"image-{len(self._known) + 1}"
            try:
                self._images[name] = image_of(dataset, position)
                self._known[key] = name, ""
            except DataError as error:
                self._known[key] = "", error.what
        return self._known[key]


def _unstated_licence(dataset: DataSet) -> str:
    name, licence = clip(dataset.name, 80), clip(dataset.licence, 200)
    return f"the licence of the data set {name} ({licence}) does not say that images may be passed on"


def _command(number: int) -> str:
    return f"mmad report --pictures {number}"


def _scaled(panels: Panels, scale: float) -> Panels:
    def scaled(box: PanelBox) -> PanelBox:
        left, top, right, bottom = box.corners
        return replace(box, corners=(left * scale, top * scale, right * scale, bottom * scale))

    return Panels(*(tuple(map(scaled, side)) for side in (panels.truth, panels.reference, panels.other)))
