"""Pictures of the studies on which two arms differ most: what a report holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmad.base.errors import ReportError
from mmad.report.analysis import AGREEMENT_SCORE, MOST_STUDIES
from mmad.report.frames import AblationFrame
from mmad.report.pictures_boxes import Panels, Stakes
from mmad.report.pictures_film import Film

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
class Note:
    """A line on what is shown or not: with the ``command`` that shows it, and whether it asks for ``caution``."""

    text: str
    command: str = ""
    caution: bool = True


@dataclass(frozen=True)
class AblationPictures:
    """The pictures of one ablation, pair by pair, and each image once."""

    pairs: tuple[PairPictures, ...] = ()
    films: Mapping[str, Film] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

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
            f"{asked} is out of range", where="--pictures", mend=f"choose 0 to {MOST_STUDIES} studies of each pair"
        )
