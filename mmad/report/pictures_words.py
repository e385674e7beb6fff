"""What is said about a picture, for every form of report alike."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmad.report.pictures import AblationPictures, PairPictures, StudyPicture
from mmad.report.pictures_boxes import DrawnBox, Fate
from mmad.report.words import clip, decimal, plural, signed

TRUTH = "Ground truth"
_NAMED = 60
_FATES: dict[Fate, str] = {"right": "Right", "false": "False alarm", "missed": "Missed"}
_FROM_RIGHT = {"R", "AL", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI"}
#: Marks that change the direction of the text after them; nothing isolates a name in a tooltip.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@dataclass(frozen=True)
class Group:
    """Boxes of one finding that one thing became of: ``times`` of them, and the scores of those that have one."""

    number: int
    label: str
    times: int
    scores: tuple[str, ...]

    @property
    def words(self) -> str:
        """``Atelectasis 0.81, 0.44``, or ``Atelectasis × 2`` for boxes without scores."""
        times = f" × {self.times}" if self.times > 1 and not self.scores else ""
        return f"{self.label}{times} {', '.join(self.scores)}".rstrip()


@dataclass(frozen=True)
class PanelView:
    """One of a study's three panels: its title, whose it is, its boxes, and them in words by what became of them."""

    title: str
    arm: str  # reference, other, or nothing for the truth
    boxes: tuple[DrawnBox, ...]
    groups: tuple[tuple[str, tuple[Group, ...]], ...]
    summary: str


def panels_of(picture: StudyPicture, pair: PairPictures) -> tuple[PanelView, ...]:
    """Ground truth, reference and other, from left to right."""
    reference, other = _arm(pair.reference), _arm(pair.other)
    by: dict[Fate, str] = {
        "both": "By both",
        "reference": f"Only by {reference}",
        "other": f"Only by {other}",
        "neither": "By neither",
    }
    truth = picture.panels.truth
    said = plural(len(truth), "true box", "true boxes")
    return (
        PanelView(TRUTH, "", truth, _groups(truth, by, pair.labels), said),
        _view(reference, "reference", picture.panels.reference, pair.labels),
        _view(other, "other", picture.panels.other, pair.labels),
    )


def _arm(name: str) -> str:
    return isolated(clip(name, _NAMED))


def _view(title: str, arm: str, boxes: tuple[DrawnBox, ...], labels: Sequence[str]) -> PanelView:
    count = Counter(drawn.fate for drawn in boxes)
    said = f"{count['right']} right, {plural(count['false'], 'false alarm')}, {count['missed']} missed"
    return PanelView(title, arm, boxes, _groups(boxes, _FATES, labels), said)


def _groups(
    boxes: Sequence[DrawnBox], names: dict[Fate, str], labels: Sequence[str]
) -> tuple[tuple[str, tuple[Group, ...]], ...]:
    told = []
    for fate, name in names.items():
        found: dict[int, list[DrawnBox]] = {}
        for drawn in boxes:
            if drawn.fate == fate:
                found.setdefault(drawn.number, []).append(drawn)
        if found:
            told.append((name, tuple(_group(number, same, labels) for number, same in found.items())))
    return tuple(told)


def _group(number: int, boxes: Sequence[DrawnBox], labels: Sequence[str]) -> Group:
    scores = tuple(decimal(drawn.score, 2) for drawn in boxes if drawn.score is not None)
    return Group(number, isolated(clip(labels[number - 1], 40)), len(boxes), scores)


def differs(picture: StudyPicture, pair: PairPictures) -> str:
    """What the arms found on the study: together, alone, not at all, and how often they were wrong."""
    reference, other = _arm(pair.reference), _arm(pair.other)
    names: dict[Fate, str] = {
        "both": "by both",
        "reference": f"by {reference} alone",
        "other": f"by {other} alone",
        "neither": "by neither",
    }
    by = Counter(drawn.fate for drawn in picture.panels.truth)
    found = ", ".join(f"{by[fate]} {words}" for fate, words in names.items() if by[fate])
    wrong = [sum(b.fate == "false" for b in side) for side in (picture.panels.reference, picture.panels.other)]
    alarms = f"false alarms: {wrong[0]} of {reference}, {wrong[1]} of {other}"
    return f"{f'True boxes found: {found}' if by else 'No true box'}; {alarms}."


def gained(picture: StudyPicture, pair: PairPictures) -> str:
    """``+2 for CXR+Clinical``, and whose boxes are shown where there are several seeds."""
    said = f"{signed(picture.gain, 0)} for {_arm(pair.other)}"
    if pair.seeds == 1:
        return said
    return f"{said} over {pair.seeds} seeds; boxes of seed {picture.seed} ({signed(picture.seed_gain, 0)})"


def at_stake(picture: StudyPicture, pair: PairPictures) -> str:
    """What the study does to the pair's difference in AP."""
    whole = pair.stakes.all_boxes if pair.stakes is not None else float("nan")
    return (
        f"Without this study the difference in test AP would be {signed(picture.without)} instead of {signed(whole)}."
    )


def drawn_and_counted(pair: PairPictures) -> str:
    """Why boxes and AP can disagree: AP counts weaker boxes too. Nothing where no study is shown."""
    if pair.stakes is None:
        return ""
    (a, b), (all_a, all_b) = pair.stakes.drawn, pair.stakes.kept
    reference, other = _arm(pair.reference), _arm(pair.other)
    every, drawn = signed(pair.stakes.all_boxes), signed(pair.stakes.drawn_boxes)
    return (
        f"Drawn are boxes with a score of at least {pair.score:g}: {a:,} of {all_a:,} of {reference}, {b:,} of "
        f"{all_b:,} of {other}. AP counts them all: {other} differs by {every} test AP over all boxes, by {drawn} "
        "over those drawn."
    )


def labelled(drawn: DrawnBox, pair: PairPictures) -> str:
    """``Atelectasis 0.81, false alarm``, for one box."""
    score = "" if drawn.score is None else f" {decimal(drawn.score, 2)}"
    fate = f", {_FATES[drawn.fate].lower()}" if drawn.fate in _FATES else ""
    return straight(f"{clip(pair.labels[drawn.number - 1], 40)}{score}{fate}")


def told(view: PanelView, picture: StudyPicture) -> tuple[str, str]:
    """(title, description) of a panel for those who cannot see it, without marks that turn the text around."""
    groups = "; ".join(f"{name}: {', '.join(g.words for g in groups)}" for name, groups in view.groups)
    title = f"{view.title}, study {clip(picture.study, 80)}"
    return straight(title), straight(f"{view.summary}. {groups}")


def isolated(name: str) -> str:
    """``name``, between marks that keep it to itself where it runs from right to left."""
    turns = any(unicodedata.bidirectional(letter) in _FROM_RIGHT for letter in name)
    return f"\u2068{name}\u2069" if turns else name


def straight(text: str) -> str:
    """``text`` without the characters that change its direction."""
    return _TURNING.sub("", text)


def has_more_settings(found: AblationPictures) -> bool:
    """Whether a pair has to be named by its setting."""
    return len({pair.setting for pair in found.pairs}) > 1
