"""Pictures of the studies on which two arms differ most: what a report holds of them."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from mmad.analysis.comparison import Comparison
from mmad.analysis.frames import AblationFrame, ReportFrame
from mmad.analysis.metrics import AGREEMENT_SCORE, MOST_STUDIES, agreement_of
from mmad.analysis.statistics import FailureCachingStore, comparison_targets, finished_comparisons
from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget, matched_under
from mmad.base.errors import DataError, MmadError, ReportError
from mmad.base.formatting import clip, plural
from mmad.base.records import Detections
from mmad.data.dataset import DataSet
from mmad.data.image_cache import decode
from mmad.evaluation.agreement import matched_at, net_hits
from mmad.evaluation.intervals import weigh
from mmad.evaluation.matching import Floats, Ints, Matched
from mmad.evaluation.operating_points import at_least
from mmad.store.store import Store

# The boxes of two arms held against the true ones: what each found on a study, and what of the AP hangs on it.


Box = tuple[float, float, float, float]
#: Of an arm's boxes: right, false, missed. Of the true ones, by whom they were found.
Fate = Literal["right", "false", "missed", "both", "reference", "other", "neither"]


@dataclass(frozen=True)
class DrawnBox:
    """One box of a panel in pixels of the stored image; ``number`` is its finding's, ``score`` None for a true box."""

    number: int
    box: Box
    score: float | None
    fate: Fate


@dataclass(frozen=True)
class Panels:
    """What is drawn on one study: the true boxes, and those of each arm with what it missed."""

    truth: tuple[DrawnBox, ...]
    reference: tuple[DrawnBox, ...]
    other: tuple[DrawnBox, ...]


@dataclass(frozen=True)
class Stakes:
    """Differences in test AP, other less reference, means over the seeds: of all boxes, and of those drawn.

    ``drawn`` and ``kept`` count boxes of (reference, other) over all seeds: those of at least the score, and all.
    """

    all_boxes: float
    drawn_boxes: float
    drawn: tuple[int, int]
    kept: tuple[int, int]


class HeldAgainst:
    """The seeds of one pair of arms against the true boxes of their split.

    Args:
        archive: where detections and true boxes are.
        pairs: (reference, other) of each seed, all under one protocol.
        score: from which a box is drawn.

    Raises:
        EvaluationError: detections that are missing or cannot be judged.
        DataError: a data set that is gone or changed.
    """

    def __init__(
        self, archive: DetectionStore, pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]], score: float
    ) -> None:
        self.truth = archive.truth(pairs[0][0])
        self._protocol, self._score = pairs[0][0].protocol, score
        self._place = {study: n for n, study in enumerate(self.truth.studies)}
        self._seeds = [(self._side(archive, a), self._side(archive, b)) for a, b in pairs]

    def _side(self, archive: DetectionStore, judged: EvaluationTarget) -> _Side:
        every, protocol = archive.read(judged), self._protocol
        matched = matched_at(
            every, self.truth, score=self._score, overlap=protocol.overlap, threshold=protocol.threshold
        )
        return _Side(every, at_least(every, self._score), matched, matched_under(protocol, every, self.truth))

    def gains(self, study: str) -> list[int]:
        """Of each seed: hits less false alarms on ``study``, the other's less the reference's."""
        n = self._place[study]
        return [int(net_hits(b.matched)[n] - net_hits(a.matched)[n]) for a, b in self._seeds]

    def panels(self, study: str, seed: int) -> Panels:
        """What the arms of the seed at position ``seed`` found on ``study``."""
        n, (a, b) = self._place[study], self._seeds[seed]
        rows = np.flatnonzero(self.truth.study == n)
        found = [set(side.hits(n)) for side in (a, b)]
        truth = []
        for row in rows.tolist():
            by: Fate = _BY[row in found[0], row in found[1]]
            truth.append(DrawnBox(int(self.truth.labels[row]), _box(self.truth.boxes[row]), None, by))
        sides = [
            (*side.boxes(n), *(_missed(one) for row, one in zip(rows, truth, strict=True) if row not in hit))
            for side, hit in zip((a, b), found, strict=True)
        ]
        return Panels(tuple(truth), sides[0], sides[1])

    def stakes(self) -> Stakes:
        """What the pair differs by, with and without the boxes that are too weak to be drawn."""
        drawn = [
            _difference(*(matched_under(self._protocol, s.drawn, self.truth) for s in seed), weights=None)[0]
            for seed in self._seeds
        ]
        counts = np.sum([[(len(s.drawn.scores), len(s.every.scores)) for s in seed] for seed in self._seeds], axis=0)
        (strong_a, all_a), (strong_b, all_b) = counts.tolist()
        return Stakes(float(self._differences(None)[0]), float(np.mean(drawn)), (strong_a, strong_b), (all_a, all_b))

    def without(self, studies: Sequence[str]) -> list[float]:
        """The difference in AP of all boxes, had each of ``studies`` not been looked at."""
        weights = np.ones((len(studies), len(self.truth.studies)))
        weights[np.arange(len(studies)), [self._place[study] for study in studies]] = 0
        return [float(value) for value in self._differences(weights)] if len(studies) else []

    def _differences(self, weights: Floats | None) -> Floats:
        seeds = [_difference(a.full, b.full, weights=weights) for a, b in self._seeds]
        mean: Floats = np.mean(seeds, axis=0)
        return mean


_BY: dict[tuple[bool, bool], Fate] = {
    (True, True): "both",
    (True, False): "reference",
    (False, True): "other",
    (False, False): "neither",
}


@dataclass(frozen=True, eq=False)
class _Side:
    """One run: all its boxes, those that are drawn with their matches, and the matches of all under the protocol."""

    every: Detections
    drawn: Detections
    matched: Matched
    full: Matched

    def hits(self, image: int) -> list[int]:
        """Rows of the true boxes it found on the study."""
        here = (self.matched.image == image) & self.matched.hit[0]
        rows: Ints = self.matched.true[0][here]
        return [int(row) for row in rows]

    def boxes(self, image: int) -> tuple[DrawnBox, ...]:
        """What it drew on the study, by finding and falling score."""
        here = np.flatnonzero((self.matched.image == image) & self.matched.counted[0])
        found = []
        for n in here.tolist():
            row = int(self.matched.row[n])
            fate: Fate = "right" if self.matched.hit[0][n] else "false"
            score = float(self.drawn.scores[row])
            found.append(DrawnBox(int(self.drawn.labels[row]), _box(self.drawn.boxes[row]), score, fate))
        return tuple(found)


def _missed(true: DrawnBox) -> DrawnBox:
    return DrawnBox(true.number, true.box, None, "missed")


def _box(sides: Floats) -> Box:
    left, top, right, bottom = (float(side) for side in sides)
    return left, top, right, bottom


def _difference(reference: Matched, other: Matched, *, weights: Floats | None) -> Floats:
    difference: Floats = weigh(other, weights).mean_ap - weigh(reference, weights).mean_ap
    return difference


def telling(gains: Sequence[int]) -> int:
    """The position of the seed that shows best what the seeds come to together; the first of equal ones."""
    sign = math.copysign(1, sum(gains))
    return max(range(len(gains)), key=lambda n: (sign * gains[n], -n))


# The image of a study as a report carries it: shrunk, grey, JPEG.


#: The longer side of a picture; boxes are told in these units, however small the stored image is.
SIDE = 512
#: An image that takes more bytes is stored more coarsely.
_MOST_BYTES = 48 * 1024
_QUALITIES = (82, 65, 45)


@dataclass(frozen=True, eq=False)
class Film:
    """An image as JPEG; ``width`` and ``height`` are those it is shown in, the longer one being ``SIDE``."""

    width: float
    height: float
    jpeg: bytes

    @property
    def address(self) -> str:
        """The image as the text of an address."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def film_of(dataset: DataSet, position: int) -> Film:
    """The image of the study at ``position``. Raises DataError where it cannot be decoded or has another size."""
    picture = decode(dataset, position)
    shown = [SIDE * side / max(picture.size) for side in picture.size]
    if max(picture.size) > SIDE:
        width, height = (max(1, round(side)) for side in shown)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return Film(shown[0], shown[1], _jpeg(picture))


def _jpeg(picture: Image.Image) -> bytes:
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
        content = buffer.getvalue()
        if len(content) <= _MOST_BYTES:
            break
    return content


#: Studies of each pair where no number is asked for and the licence allows it.
USUAL = 4


@dataclass(frozen=True)
class StudyPicture:
    """One study as it is shown.

    ``film`` is its image's name among the ablation's films, empty where ``note`` says why there is none; boxes are in
    units of the film. ``gain`` is hits less false alarms of the other less the reference's, over all seeds; the boxes
    are those of ``seed``, whose own gain is ``seed_gain``. ``without`` is the pair's difference in AP had this study
    not been there.
    """

    study: str
    source: str
    film: str
    note: str
    gain: int
    seed: int
    seed_gain: int
    panels: Panels
    without: float


@dataclass(frozen=True)
class PairPictures:
    """One row of a comparison and its studies, or ``why`` there are none; ``labels`` are those of the data set."""

    setting: str
    reference: str
    other: str
    seeds: int
    studies: tuple[StudyPicture, ...] = ()
    labels: tuple[str, ...] = ()
    stakes: Stakes | None = None
    why: str = ""

    @property
    def score(self) -> float:
        """From which a box is drawn."""
        return AGREEMENT_SCORE


@dataclass(frozen=True)
class PictureNote:
    """A line on what is shown or not: with the ``command`` that shows it, and whether it asks for ``caution``."""

    text: str
    command: str = ""
    caution: bool = True


@dataclass(frozen=True)
class AblationPictures:
    """The pictures of one ablation, pair by pair, and each image once."""

    pairs: tuple[PairPictures, ...] = ()
    films: Mapping[str, Film] = field(default_factory=dict)
    notes: tuple[PictureNote, ...] = ()

    @property
    def told(self) -> tuple[PairPictures, ...]:
        """The pairs of which there is something to show or to say."""
        return tuple(pair for pair in self.pairs if pair.studies or pair.why)

    @property
    def labels(self) -> tuple[str, ...]:
        """The findings of the legend: those of the data set that has most of them."""
        return max((pair.labels for pair in self.pairs if pair.studies), key=len, default=())


@dataclass(frozen=True)
class Pictures:
    """The pictures of a report by the ablation's name; empty where there is no store to ask."""

    ablations: Mapping[str, AblationPictures] = field(default_factory=dict)

    def of(self, ablation: AblationFrame) -> AblationPictures:
        return self.ablations.get(ablation.record.name, AblationPictures())

    @property
    def most_labels(self) -> int:
        """The largest number of findings that a legend holds."""
        return max((len(found.labels) for found in self.ablations.values()), default=0)


def check_number(asked: int | None) -> None:
    """ReportError unless ``asked`` is None or a number of studies that a pair can have."""
    if asked is not None and not 0 <= asked <= MOST_STUDIES:
        raise ReportError(
            f"{asked} is out of range", where="--pictures", hint=f"choose 0 to {MOST_STUDIES} studies of each pair"
        )


# Which licences let a report carry images of the data set: an account of what may be passed on, not of the law.


_VERSION = r"(?: [1-4](?:\.[05])?)?(?: (?:international|unported|generic))?"
#: What may be passed on as it is and altered (shrunk, with boxes on it): public domain, CC without ND, open data.
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


# Gathers a report's pictures: the studies that ``mmad compare`` lists, in its order, with the boxes of both arms.
#
# A data set that is gone, a licence that does not allow it or an image that cannot be decoded is a line in the
# report, never a failure.


#: A report of many pairs shows fewer studies of each, so that the page stays small: about so many in all.
MOST_IN_ALL = 120
_ALIKE = "on no study do hits less false alarms differ"


def pictures_of(
    frame: ReportFrame,
    store: Store,
    *,
    asked: int | None = None,
    data: Path | None = None,
    apart: bool = False,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Pictures:
    """The pictures of every pair of ``frame``.

    Args:
        asked: studies of each pair, whatever the licence; None shows a few where the licence allows it, 0 none.
        data: where the data set lies now; None where the runs say.
        apart: whether each ablation has a page of its own, which may be as large as a whole report else.
        progress: hears how many of how many pairs are looked at.

    Raises:
        ReportError: a number out of range.
    """
    check_number(asked)
    if asked == 0:
        return Pictures()
    rows = {a.record.name: finished_comparisons(a) for a in frame.ablations}
    whole, done = sum(map(len, rows.values())), 0
    looking = _Looking(store, data, _Budget(asked, whole))
    found = {}
    for name, pairs in rows.items():
        if apart:
            looking.begin(_Budget(asked, len(pairs)))
        gathered = _Gathered(looking)
        for comparison in pairs:
            progress(done, whole)
            gathered.add(comparison)
            done += 1
        found[name] = gathered.result()
    if whole:
        progress(whole, whole)
    return Pictures(found)


@dataclass(frozen=True)
class _Budget:
    """How many studies each of ``pairs`` shows. What was ``asked`` for is shown, whatever the size."""

    asked: int | None
    pairs: int

    @property
    def each(self) -> int:
        if self.asked is not None:
            return self.asked
        return max(1, min(USUAL, MOST_IN_ALL // max(1, self.pairs)))

    def has_room(self, shown: int) -> bool:
        return self.asked is not None or shown < MOST_IN_ALL


class _Looking:
    """What all ablations share: the store, the data sets, and how much the page shows already."""

    def __init__(self, store: Store, data: Path | None, budget: _Budget) -> None:
        self.store, self.archive = store, FailureCachingStore(data)
        self.begin(budget)
        self._places: dict[int, tuple[DataSet, dict[str, int]]] = {}

    def begin(self, budget: _Budget) -> None:
        """Begin a page."""
        self.budget, self.shown = budget, 0

    def place(self, dataset: DataSet, study: str) -> int:
        """The position of ``study`` in ``dataset``."""
        if id(dataset) not in self._places:
            self._places[id(dataset)] = dataset, {one.study: n for n, one in enumerate(dataset.studies)}
        return self._places[id(dataset)][1][study]


class _Gathered:
    """The pictures of one ablation, pair by pair; each image once."""

    def __init__(self, looking: _Looking) -> None:
        self._looking = looking
        self._pairs: list[PairPictures] = []
        self._films: dict[str, Film] = {}
        self._known: dict[tuple[int, str], tuple[str, str]] = {}
        self._notes: dict[PictureNote, None] = {}

    def result(self) -> AblationPictures:
        return AblationPictures(tuple(self._pairs), self._films, tuple(self._notes))

    def add(self, found: Comparison) -> None:
        pair = PairPictures(found.setting, found.reference, found.other, len(found.seeds))
        try:
            self._pairs.append(self._pair(pair, found))
        except MmadError as error:
            self._note(f"No pictures: {clip(str(error), 400)}")

    def _note(self, text: str, command: str = "", *, caution: bool = True) -> None:
        self._notes[PictureNote(text, command, caution)] = None

    def _pair(self, pair: PairPictures, comparison: Comparison) -> PairPictures:
        looking = self._looking
        dataset = looking.archive.dataset(comparison.pairs[0][0].run)
        if not self._may_show(dataset):
            return pair
        targets = comparison_targets(looking.store, comparison, EvaluationOptions())
        agreement = agreement_of(looking.store, looking.archive, targets, by_design=comparison.by_design)
        gains = agreement.studies[: looking.budget.each]
        if not gains:
            return replace(pair, why=_ALIKE)
        held = HeldAgainst(looking.archive, targets, AGREEMENT_SCORE)
        seeds = list(comparison.seeds)
        without = held.without([study for study, _ in gains])
        studies = tuple(
            self._study(dataset, held, study, gain, seeds, rest)
            for (study, gain), rest in zip(gains, without, strict=True)
        )
        looking.shown += len(studies)
        self._say_shown(dataset)
        return replace(pair, studies=studies, labels=dataset.labels, stakes=held.stakes())

    def _may_show(self, dataset: DataSet) -> bool:
        """Whether (more) images of ``dataset`` are shown, with a line on why not."""
        budget = self._looking.budget
        if budget.asked is None and not allows_pictures(dataset.licence):
            self._note(f"Pictures are withheld: {_unsaid(dataset)}. For readers who may see them:", _command(USUAL))
            return False
        if not budget.has_room(self._looking.shown):
            self._note("Further pairs are without pictures, to keep the page small. With them:", _command(1))
            return False
        return True

    def _say_shown(self, dataset: DataSet) -> None:
        """What images are shown, and under what licence."""
        budget = self._looking.budget
        if allows_pictures(dataset.licence):
            self._note(f"Images: {clip(dataset.name, 80)}, {clip(dataset.licence, 200)}.", caution=False)
        else:
            self._note(f"Shown on request: {_unsaid(dataset)}. Keep this report where the data set may be.")
        if budget.each < USUAL and budget.asked is None:
            said = f"{plural(budget.each, 'study', 'studies')} of each pair, to keep the page small. More:"
            self._note(said, _command(USUAL), caution=False)

    def _study(
        self, dataset: DataSet, held: HeldAgainst, study: str, gain: int, seeds: Sequence[int], without: float
    ) -> StudyPicture:
        position = self._looking.place(dataset, study)
        film, note = self._film(dataset, position)
        of_seeds = held.gains(study)
        chosen = telling(of_seeds)
        one = dataset.studies[position]
        panels = _scaled(held.panels(study, chosen), SIDE / max(one.width, one.height))
        return StudyPicture(study, one.source or "", film, note, gain, seeds[chosen], of_seeds[chosen], panels, without)

    def _film(self, dataset: DataSet, position: int) -> tuple[str, str]:
        """The name of the image among the films, or nothing and why."""
        key = id(dataset), dataset.studies[position].image
        if key not in self._known:
            name = f"film-{len(self._known) + 1}"
            try:
                self._films[name] = film_of(dataset, position)
                self._known[key] = name, ""
            except DataError as error:
                self._known[key] = "", error.what
        return self._known[key]


def _unsaid(dataset: DataSet) -> str:
    name, licence = clip(dataset.name, 80), clip(dataset.licence, 200)
    return f"the licence of the data set {name} ({licence}) does not say that images may be passed on"


def _command(number: int) -> str:
    return f"mmad report --pictures {number}"


def _scaled(panels: Panels, scale: float) -> Panels:
    def one(drawn: DrawnBox) -> DrawnBox:
        left, top, right, bottom = drawn.box
        return replace(drawn, box=(left * scale, top * scale, right * scale, bottom * scale))

    return Panels(*(tuple(map(one, side)) for side in (panels.truth, panels.reference, panels.other)))
