"""Gathers a report's pictures: the studies that ``mmad compare`` lists, in its order, with the boxes of both arms.

A data set that is gone, a licence that does not allow it or an image that cannot be decoded is a line in the
report, never a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmad.base.errors import DataError, MmadError
from mmad.data.dataset import DataSet
from mmad.report.analysis import AGREEMENT_SCORE, alike_of
from mmad.report.certainty import Patient
from mmad.report.frames import AblationFrame, MemberFrame, ReportFrame
from mmad.report.judged import How, Judged, judge
from mmad.report.pairs import PairRow, compare
from mmad.report.pictures import USUAL, AblationPictures, Note, PairPictures, Pictures, StudyPicture, check_number
from mmad.report.pictures_boxes import DrawnBox, HeldAgainst, Panels, telling
from mmad.report.pictures_film import SIDE, Film, film_of
from mmad.report.pictures_licence import allows_pictures
from mmad.report.words import clip, plural
from mmad.store.find import Found
from mmad.store.gateway import Store

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
    rows = {a.record.name: _rows(a) for a in frame.ablations}
    whole, done = sum(map(len, rows.values())), 0
    looking = _Looking(store, data, _Budget(asked, whole))
    found = {}
    for name, pairs in rows.items():
        if apart:
            looking.begin(_Budget(asked, len(pairs)))
        gathered = _Gathered(looking)
        for reference, other, row in pairs:
            progress(done, whole)
            gathered.add(reference, other, row)
            done += 1
        found[name] = gathered.result()
    if whole:
        progress(whole, whole)
    return Pictures(found)


def _rows(ablation: AblationFrame) -> list[tuple[str, str, PairRow]]:
    return [(c.reference, c.other, row) for c in compare(ablation)[0] for row in c.rows if row.seeds]


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
        self.store, self.archive = store, Patient(data)
        self.begin(budget)
        self._places: dict[int, tuple[DataSet, dict[str, int]]] = {}

    def begin(self, budget: _Budget) -> None:
        """Begin a page."""
        self.budget, self.shown = budget, 0

    def judged(self, row: PairRow) -> list[tuple[Judged, Judged]]:
        def one(member: MemberFrame) -> Judged:
            return judge(self.store, Found(member.run.record, (member.record,)), How(checkpoint=row.kind))

        return [(one(a), one(b)) for a, b in row.pairs]

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
        self._notes: dict[Note, None] = {}

    def result(self) -> AblationPictures:
        return AblationPictures(tuple(self._pairs), self._films, tuple(self._notes))

    def add(self, reference: str, other: str, row: PairRow) -> None:
        try:
            self._pairs.append(self._pair(PairPictures(row.setting, reference, other, len(row.seeds)), row))
        except MmadError as error:
            self._note(f"No pictures: {clip(str(error), 400)}")

    def _note(self, text: str, command: str = "", *, caution: bool = True) -> None:
        self._notes[Note(text, command, caution)] = None

    def _pair(self, pair: PairPictures, row: PairRow) -> PairPictures:
        looking = self._looking
        if any(a.run.key == b.run.key for a, b in row.pairs):
            return replace(pair, why="both arms are answered by one run")
        dataset = looking.archive.dataset(row.pairs[0][0].run.record)
        if not self._may_show(dataset):
            return pair
        judged = looking.judged(row)
        gains = alike_of(looking.store, looking.archive, judged).studies[: looking.budget.each]
        if not gains:
            return replace(pair, why=_ALIKE)
        held = HeldAgainst(looking.archive, judged, AGREEMENT_SCORE)
        seeds = [a.record.seed for a, _ in row.pairs]
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
