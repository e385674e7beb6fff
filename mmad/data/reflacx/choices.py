"""Where the four distributions lie, and what is to be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_LABELS
from mmad.data.names import no_such, one_of
from mmad.data.reading import MODES
from mmad.data.reflacx.labels import PHASES, check_labels

SPLITTINGS = ("patient", "reflacx", "documented")
KEEPING = ("drop", "keep")
PLACING = ("link", "copy")
#: What is held out for val and for test each by the splitting ``documented``: the log's entries e094 to e100 have
#: 468/101/101 of 670 readings, all others 472/59/59 of 590 images.
HELD_OUT = {"unified": 0.10, "normal": 0.15, "full": 0.10}


@dataclass(frozen=True)
class Sources:
    """The folders of the distributions as they were unpacked; the last two are not needed for the mode ``full``."""

    reflacx: Path
    mimic_cxr_jpg: Path
    mimic_iv: Path | None = None
    mimic_iv_ed: Path | None = None

    def clinical(self) -> tuple[Path, Path]:
        """The folders of MIMIC-IV and MIMIC-IV-ED. Raises DataError where one is not named."""
        return _given(self.mimic_iv, "--mimic-iv"), _given(self.mimic_iv_ed, "--mimic-iv-ed")


def _given(folder: Path | None, option: str) -> Path:
    if folder is None:
        raise DataError("is not given", where=option, mend="name the folder, or ask for --mode full")
    return folder


@dataclass(frozen=True)
class Choices:
    """What a data set from REFLACX shall be. Raises DataError for a word that is none of those allowed.

    ``mode``: a study is an image with all its readings (``unified``), a reading (``normal``), or a reading without
    clinical data (``full``). ``split``: whole ``patient`` s, ``reflacx``'s own, or by row as ``documented``, shuffled
    by ``split_seed``. ``without_stay`` and ``discarded`` say what becomes of readings without an ED stay and of those
    whose eye tracking was discarded (None: as the log, kept in the mode ``full`` alone).
    """

    mode: str = "unified"
    split: str = "patient"
    labels: Sequence[str] = DOCUMENTED_LABELS
    phases: Sequence[int] = PHASES
    without_stay: str = "drop"
    discarded: str | None = None
    images: str = "link"
    split_seed: int = 0

    def __post_init__(self) -> None:
        for option, word, words in (
            ("mode", self.mode, MODES),
            ("split", self.split, SPLITTINGS),
            ("without-stay", self.without_stay, KEEPING),
            ("discarded", self.discarded or "drop", KEEPING),
            ("images", self.images, PLACING),
        ):
            if word not in words:
                raise DataError(no_such("word", word, words), where=f"--{option}", mend=one_of(words))
        if not self.phases or not set(self.phases) <= set(PHASES):
            raise DataError("names no phase of REFLACX", where="--phases", mend="use some of 1,2,3")
        if self.split_seed < 0:
            raise DataError(f"{self.split_seed} is negative", where="--split-seed", mend="use 0 or more")
        object.__setattr__(self, "phases", tuple(sorted(set(self.phases))))
        object.__setattr__(self, "labels", check_labels(self.labels))

    @property
    def clinical(self) -> bool:
        """Whether studies have clinical data."""
        return self.mode != "full"

    @property
    def drops_discarded(self) -> bool:
        """Whether a reading whose eye tracking was discarded is left out."""
        return self.clinical if self.discarded is None else self.discarded == "drop"
