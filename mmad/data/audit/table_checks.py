"""Checks of the tables: splits and who is in two of them, labels, boxes, clinical values, what gives a label away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mmad.base.holm import holm
from mmad.base.records import SPLITS
from mmad.data.audit.findings import AuditIssue, LabelCount, Level, SplitCount, finding
from mmad.data.column_types import alike_values, one_spelling, told_label
from mmad.data.dataset import BOXES, STUDIES, TOML, DataSet, NumericColumn
from mmad.data.quantities import UnitConfusion, confusion, quantity_of, sentinels
from mmad.data.reader import below_a_pixel, slivers, without_area
from mmad.data.spellings import number_groups, spelling_groups

# Whether two yes-or-no questions go together: Fisher's exact test, and its effect size.


ContingencyTable = tuple[int, int, int, int]  # (a, b, c, d): yes-yes, yes-no, no-yes, no-no


def fisher(table: ContingencyTable) -> float:
    """Fisher's exact test: the chance of a table of these margins that is at most as likely as this one."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([table[:2], table[2:]]).pvalue)


def phi(table: ContingencyTable) -> float:
    """The correlation of the two questions, -1 to 1; 0 where one of them has a single answer."""
    a, b, c, d = (float(n) for n in table)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    return 0.0 if margins == 0 else (a * d - b * c) / margins**0.5


def scaled(table: ContingencyTable, factor: float) -> ContingencyTable:
    """The table as if of fewer independent cases; ``factor`` lies in (0, 1]."""
    a, b, c, d = (round(n * factor) for n in table)
    return a, b, c, d


# Clinical values that are missing where a label or a source says so, and labels that follow a source.
#
# A detector that reads clinical values also reads that one is missing. Where missingness follows the finding, or
# the hospital whose patients have that finding, it learns the form and not the patient.
#
# Each column is tested against each label and each source, each label against each source: 2 × 2 tables of studies,
# Fisher's exact test, Holm's correction over all of them. Studies of one patient are no independent cases, so counts
# are scaled to the number of patients before they are tested. Reported is what has a corrected p of at most
# ``ALPHA`` and a correlation of at least ``LEAST_PHI``.


ALPHA = 0.01
LEAST_PHI = 0.2
#: What lies in a corner of a film may go a little with a finding, as an arm or a cable does.
LEAST_MARK_PHI = 0.5
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
#: A source with fewer studies is not tested, nor is one beyond the most frequent.
LEAST_STUDIES = 5
MOST_SOURCES = 50

Mask = NDArray[np.bool_]  # (N,), one per study


@dataclass(frozen=True, eq=False)
class _Test:
    """One table: does ``effect`` go with ``cause``?"""

    code: str
    effect: str
    cause: str
    table: ContingencyTable
    effects: Mask
    causes: Mask


def leak_findings(dataset: DataSet, corners: NDArray[np.bool_] | None = None) -> list[AuditIssue]:
    """What follows what, the strongest first, as warnings: of each column, label and split what it follows most.

    ``corners`` (N, 4) says of each study in which corners of its image a bright mark stands.
    """
    tests = _tests(dataset, corners)
    patients = len({study.patient for study in dataset.studies})
    factor = patients / len(dataset.studies)
    corrected = holm([fisher(scaled(test.table, factor)) for test in tests])
    strong = [
        (abs(phi(test.table)), test)
        for test, p in zip(tests, corrected, strict=True)
        if p <= ALPHA and abs(phi(test.table)) >= (LEAST_MARK_PHI if test.code.endswith("marker") else LEAST_PHI)
    ]
    strong.sort(key=lambda one: (-round(one[0], 6), phi(one[1].table) < 0))
    groups: dict[tuple[str, str], list[tuple[float, _Test]]] = {}
    for size, test in strong:
        groups.setdefault((test.code, test.effect), []).append((size, test))
    return [_leak_finding(dataset, group[0][1], group[0][0], len(group) - 1) for group in groups.values()]


def _tests(dataset: DataSet, corners: NDArray[np.bool_] | None) -> list[_Test]:
    missing, labels, sources = missing_of(dataset), _labels_by_study(dataset), _sources(dataset)
    marks = {} if corners is None else {name: corners[:, i] for i, name in enumerate(_CORNERS)}
    causes = {"source": sources, "file": _files(dataset), "marker": marks}
    tests = []
    for column, mask in missing.items():
        for label, has in labels.items():
            tests.append(_test("missingness-follows-label", column, label, mask, has))
        for source, of in sources.items():
            tests.append(_test("missingness-follows-source", column, source, mask, of))
    splits = {split: np.array([study.split == split for study in dataset.studies]) for split in SPLITS}
    for kind, effects in (("label", labels), ("split", splits)):
        for what, groups in causes.items():
            for name, of in groups.items():
                tests += [_test(f"{kind}-follows-{what}", effect, name, has, of) for effect, has in effects.items()]
    return [test for test in tests if phi(test.table) != 0]


def answer_findings(dataset: DataSet) -> list[AuditIssue]:
    """Clinical columns that tell a label, but for what is measured on a patient: a fever may tell a finding."""
    labels = _labels_by_study(dataset)
    findings = []
    for i, number in enumerate(dataset.numeric):
        if quantity_of(number.name) is None:
            cells = np.array([np.nan if (value := s.numeric[i]) is None else value for s in dataset.studies])
            values, codes = np.unique(cells, return_inverse=True)
            findings += _answer(number.name, told_label(codes, values, labels))
    for i, category in enumerate(dataset.categorical):
        place = {value: n for n, value in enumerate(category.values, 1)}
        codes = np.array([place.get(study.categorical[i] or "", 0) for study in dataset.studies], dtype=np.int64)
        findings += _answer(category.name, told_label(codes, np.full(len(place) + 1, np.nan), labels))
    return findings


def _answer(column: str, label: str | None) -> list[AuditIssue]:
    if label is None:
        return []
    what = f"the values of {column!r} tell, or nearly so, which studies have {label!r}"
    hint = "leave the column out (clinical_numeric, clinical_categorical), unless it is known before the image is read"
    return [finding("value-tells-label", "warning", f"{STUDIES}, column {column}", what, hint)]


def missing_of(dataset: DataSet) -> dict[str, Mask]:
    """Clinical column → the studies without a value."""
    masks: dict[str, Mask] = {}
    for i, number in enumerate(dataset.numeric):
        masks[number.name] = np.array([study.numeric[i] is None for study in dataset.studies], dtype=np.bool_)
    for i, category in enumerate(dataset.categorical):
        masks[category.name] = np.array([study.categorical[i] is None for study in dataset.studies], dtype=np.bool_)
    return masks


def _labels_by_study(dataset: DataSet) -> dict[str, Mask]:
    masks = {}
    for number, label in enumerate(dataset.labels, 1):
        mask = np.zeros(len(dataset.studies), dtype=np.bool_)
        mask[dataset.box_study[dataset.labels_of == number]] = True
        masks[label] = mask
    return masks


def _sources(dataset: DataSet) -> dict[str, Mask]:
    return _often([study.source or "" for study in dataset.studies])


def _files(dataset: DataSet) -> dict[str, Mask]:
    """Formats and sizes of image files that some studies have and others do not."""
    kinds = [f"format {PurePosixPath(study.image).suffix.lower()}" for study in dataset.studies]
    sizes = [f"size {study.width} x {study.height}" for study in dataset.studies]
    return {**_often(kinds), **_often(sizes)}


def _often(words: Sequence[str]) -> dict[str, Mask]:
    """The studies of each word that is frequent enough to be tested."""
    named = np.array(words, dtype=np.str_)
    counted = Counter(word for word in words if word)
    return {word: named == word for word, count in counted.most_common(MOST_SOURCES) if count >= LEAST_STUDIES}


def _test(code: str, effect: str, cause: str, first: Mask, second: Mask) -> _Test:
    a, b, c = int((first & second).sum()), int((first & ~second).sum()), int((~first & second).sum())
    return _Test(code, effect, cause, (a, b, c, len(first) - a - b - c), first, second)


def _leak_finding(dataset: DataSet, test: _Test, size: float, more: int) -> AuditIssue:
    a, b, c, d = test.table
    side = test.causes if a * (b + d) >= b * (a + c) else ~test.causes  # where the effect is more frequent
    inside, beside = _share(a, a + c), _share(b, b + d)
    effect, _, cause = test.code.partition("-follows-")
    if effect in ("label", "split"):
        where = BOXES if effect == "label" else STUDIES
        of = f"from source {test.cause!r}" if cause == "source" else f"with image files of {test.cause}"
        of = f"with a bright mark in the image's {test.cause} corner" if cause == "marker" else of
        verb = "have" if effect == "label" else "are in the split"
        what = f"{inside} of the studies {of} {verb} {test.effect!r}, {beside} of the others"
        hint = _HINTS[effect, cause]
    else:
        kind = "with label" if test.code.endswith("label") else "from source"
        where = f"{STUDIES}, column {test.effect}"
        what = f"{test.effect!r} is missing in {inside} of the studies {kind} {test.cause!r}, in {beside} of the others"
        hint = "leave the column out (clinical_numeric, clinical_categorical), or fill it alike everywhere"
    what += f" (correlation {size:.2f}{f'; it follows {more} more' if more else ''})"
    ids = [dataset.studies[i].study for i in np.flatnonzero(test.effects & side)]
    return finding(test.code, "warning", where, what, hint, ids)


_HINTS = {
    ("label", "source"): "balance the sources, or report results source by source",
    ("label", "file"): "make all files alike (a detector sees how they were made), and look where they are from",
    ("label", "marker"): "look with `mmad data show`: black out what is burned in where it says what was found",
    ("split", "source"): "divide the patients anew, or say that the test is of another source",
    ("split", "file"): "make all files alike, or divide the patients anew",
    ("split", "marker"): "look with `mmad data show`: the splits' images are not of one kind",
}


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


#: A split with fewer boxes of a label says little about it.
FEWEST_BOXES = 5
#: Boxes below the first share of the image's area are small, from the second on large.
SMALL, LARGE = 0.01, 0.10
#: What nothing can be trained without, and what for.
_NEEDED = {"train": "learn from", "val": "choose the best checkpoints by"}


def split_counts(dataset: DataSet) -> tuple[SplitCount, ...]:
    """What each split holds, in the order train, val, test."""
    missing = missing_of(dataset)
    shares = _area_shares(dataset)
    return tuple(_count(dataset, split, shares, missing) for split in SPLITS)


def _count(
    dataset: DataSet, split: str, shares: NDArray[np.float64], missing: Mapping[str, NDArray[np.bool_]]
) -> SplitCount:
    positions = list(dataset.split(split))
    inside = np.zeros(len(dataset.studies), dtype=np.bool_)
    inside[positions] = True
    here = inside[dataset.box_study]
    labels = []
    for number, label in enumerate(dataset.labels, 1):
        chosen = here & (dataset.labels_of == number)
        of = shares[chosen]
        small, large = int((of < SMALL).sum()), int((of >= LARGE).sum())
        studies = int(np.unique(dataset.box_study[chosen]).size)
        labels.append(LabelCount(label, len(of), studies, small, len(of) - small - large, large))
    return SplitCount(
        split=split,
        studies=len(positions),
        patients=len({dataset.studies[i].patient for i in positions}),
        images=len({dataset.studies[i].image for i in positions}),
        boxes=int(here.sum()),
        labels=tuple(labels),
        present=tuple((column, int((~mask[positions]).sum())) for column, mask in missing.items()),
    )


def _area_shares(dataset: DataSet) -> NDArray[np.float64]:
    """Per box the share of its image's area, NaN where the image's size is not known."""
    areas = np.array([s.width * s.height or np.nan for s in dataset.studies], dtype=np.float64)[dataset.box_study]
    sides = dataset.boxes[:, 2:] - dataset.boxes[:, :2]
    return np.asarray(np.clip(sides, 0, None).prod(axis=1) / areas, dtype=np.float64)


def split_findings(dataset: DataSet, counts: tuple[SplitCount, ...]) -> list[AuditIssue]:
    """Patients and images in several splits, splits without studies or boxes, labels that a split lacks."""
    named = [*_labels(dataset, counts), *_spellings(dataset)]
    return [*_across(dataset), *_empty(counts), *named, *_twice(dataset), *_tiny(dataset)]


def _across(dataset: DataSet) -> list[AuditIssue]:
    """A data set whose split is documented as such is warned of, any other refused."""
    findings = []
    level: Level = "warning" if dataset.split_policy == "documented" else "error"
    declared = 'it says so (split_policy = "documented"); read its test figures as too high'
    hint = 'keep each in one split (`mmad data check DIR --fix --out NEW`), or say split_policy = "documented"'
    for kind in ("patient", "image"):
        splits: dict[str, set[str]] = {}
        for study in dataset.studies:
            splits.setdefault(getattr(study, kind), set()).add(study.split)
        several = {name for name, found in splits.items() if len(found) > 1}
        if not several:
            continue
        pairs = Counter(pair for name in several for pair in _pairs(splits[name]))
        shown = ", ".join(f"{pair} {count}" for pair, count in sorted(pairs.items()))
        ids = [study.study for study in dataset.studies if getattr(study, kind) in several]
        many = f"{kind}s stand" if len(several) > 1 else f"{kind} stands"
        what = f"{len(several)} {many} in more than one split ({shown})"
        findings.append(
            finding(f"{kind}-across-splits", level, STUDIES, what, declared if level == "warning" else hint, ids)
        )
    return findings


def _pairs(splits: set[str]) -> list[str]:
    found = [split for split in SPLITS if split in splits]
    return [f"{a}-{b}" for i, a in enumerate(found) for b in found[i + 1 :]]


def _empty(counts: tuple[SplitCount, ...]) -> list[AuditIssue]:
    findings = []
    for count in counts:
        level: Level = "error" if count.split in _NEEDED else "warning"
        use = _NEEDED.get(count.split, "evaluate the chosen checkpoints on")
        if not count.studies:
            what, hint = f"no study is in the split {count.split!r}: nothing to {use}", "put some patients there"
            findings.append(finding("split-empty", level, STUDIES, what, hint))
        elif not count.boxes:
            what = f"no study of the split {count.split!r} has a box: nothing to {use}"
            findings.append(
                finding("split-without-boxes", level, BOXES, what, "add its boxes, or divide the studies otherwise")
            )
    return findings


def _labels(dataset: DataSet, counts: tuple[SplitCount, ...]) -> list[AuditIssue]:
    findings = []
    full = [count for count in counts if count.boxes]
    for i, label in enumerate(dataset.labels):
        boxes = {count.split: count.labels[i].boxes for count in full}
        absent = [split for split, number in boxes.items() if not number]
        scarce = [f"{number} in {split}" for split, number in boxes.items() if 0 < number < FEWEST_BOXES]
        if absent:
            what, hint = (
                f"label {label!r} has no box in {', '.join(absent)}",
                "leave the label out, or divide otherwise",
            )
            findings.append(finding("label-absent", "warning", BOXES, what, hint))
        if scarce:
            what, hint = f"label {label!r} has few boxes: {', '.join(scarce)}", "read its figures with care"
            findings.append(finding("label-scarce", "warning", BOXES, what, hint))
    return findings


def _spellings(dataset: DataSet) -> list[AuditIssue]:
    """Labels, values of a category and patients that are several in the tables and look like one."""
    findings = []
    for group in spelling_groups(dataset.labels):
        what, hint = f"labels {one_spelling(group)} look like one label", "write them alike, in both tables"
        findings.append(finding("label-spelling", "warning", TOML, what, hint))
    for category in dataset.categorical:
        for group in alike_values(category.values):
            what, hint = f"{category.name!r} has values {one_spelling(group)} that look like one", "write them alike"
            findings.append(finding("value-spelling", "warning", f"{TOML}, column {category.name}", what, hint))
    groups = number_groups(dict.fromkeys(study.patient for study in dataset.studies))
    if groups:
        more = f", and {len(groups) - 1} more such patients" if len(groups) > 1 else ""
        several = {patient for group in groups for patient in group}
        what = f"patients {one_spelling(groups[0])} look like one patient{more}"
        ids = [study.study for study in dataset.studies if study.patient in several]
        hint = "write the id alike wherever it is one patient: else images of one stand in several splits"
        findings.append(finding("patient-spelling", "warning", STUDIES, what, hint, ids))
    return findings


def _tiny(dataset: DataSet) -> list[AuditIssue]:
    """Boxes whose area single precision does not hold, and others below one pixel of their image."""
    sides = dataset.boxes[:, 2:] - dataset.boxes[:, :2]
    sizes = np.array([(s.width, s.height) for s in dataset.studies], dtype=np.float64)[dataset.box_study]
    flat = without_area(dataset.boxes)  # those the reader names
    thin = np.flatnonzero(slivers(dataset.boxes, sizes) & ~flat)
    findings = []
    if len(thin):
        ids = [dataset.studies[i].study for i in dataset.box_study[thin].tolist()]
        many = "boxes have" if len(thin) > 1 else "box has"
        what = f"{len(thin)} {many} no area in single precision, in which a detector reads them"
        hint = "drop them, with `mmad data check DIR --fix --out NEW`"
        findings.append(finding("box-degenerate", "error", BOXES, what, hint, ids))
    tiny = np.flatnonzero((sides < 1).any(axis=1) & ~flat & ~slivers(dataset.boxes, sizes))
    if not len(tiny):
        return findings
    ids = [dataset.studies[i].study for i in dataset.box_study[tiny].tolist()]
    several = "boxes are" if len(tiny) > 1 else "box is"
    what = f"{len(tiny)} {several} less than one pixel wide or high"
    if len(tiny) == len(sides) and dataset.boxes.max() <= 1:
        what, hint = f"{what}, and all lie within 0 to 1", "they look relative: write pixels of the stored image"
    else:
        hint = "correct or drop them: nothing can be learned from them, and none will be found"
    return [*findings, finding("box-tiny", "warning", BOXES, what, hint, ids)]


def tiny_box_lines(dataset: DataSet, image_sizes: Iterable[int]) -> list[str]:
    """A line for each size of image to which some boxes are reduced below one pixel."""
    lines = []
    for size in sorted(set(image_sizes)):
        small = np.flatnonzero(below_a_pixel(dataset, size))
        if len(small):
            study = dataset.studies[int(dataset.box_study[small[0]])].study
            several = f"{len(small)} of {len(dataset.boxes)} boxes are less than a pixel wide or high"
            lines.append(f"{several} at image_size {size}, the first in study {study!r}: none of them will be found")
    return lines


def repeated(dataset: DataSet) -> NDArray[np.bool_]:
    """Which boxes (M,) repeat an earlier one: study, reading, label and sides alike."""
    readings = {name: i for i, name in enumerate(dict.fromkeys(dataset.reading))}
    reading = np.array([readings[name] for name in dataset.reading], dtype=np.float64)
    table = np.column_stack([dataset.box_study, reading, dataset.labels_of, dataset.boxes])
    again = np.ones(len(table), dtype=np.bool_)
    again[np.unique(table, axis=0, return_index=True)[1]] = False
    return again


def _twice(dataset: DataSet) -> list[AuditIssue]:
    again = np.flatnonzero(repeated(dataset))
    if not len(again):
        return []
    ids = [dataset.studies[int(dataset.box_study[i])].study for i in again]
    many = "boxes repeat" if len(again) > 1 else "box repeats"
    what, hint = f"{len(again)} {many} another of the same reading and label", "drop what is there twice"
    return [finding("box-twice", "warning", BOXES, what, hint, ids)]


# Clinical columns: missing values, values out of the expected range, other units, columns that say nothing.


#: A column is reported to be missing from this share of a split's studies on, where that is no chance: where so many
#: have a probability of at most ``CHANCE`` if the second share is missing at random.
MOST_MISSING, USUAL_MISSING = 0.2, 0.15
CHANCE = 1e-4
#: In a split with fewer studies a share says nothing.
FEWEST_STUDIES = 10


def clinical_findings(dataset: DataSet) -> list[AuditIssue]:
    """What is to be known of the clinical columns, as warnings."""
    findings = [found for column, mask in missing_of(dataset).items() for found in _missing(dataset, column, mask)]
    for i, column in enumerate(dataset.numeric):
        cells = [np.nan if (value := study.numeric[i]) is None else value for study in dataset.studies]
        findings += _numbers(dataset, column, np.array(cells, dtype=np.float64))
    for i, category in enumerate(dataset.categorical):
        if len({study.categorical[i] for study in dataset.studies} - {None}) == 1:
            findings.append(_constant(category.name))
    return findings


def _missing(dataset: DataSet, column: str, mask: Mask) -> list[AuditIssue]:
    shares = {}
    for split in SPLITS:
        positions = list(dataset.split(split))
        if positions:
            shares[split] = float(mask[positions].mean())
    studies = [dataset.studies[i].study for i in np.flatnonzero(mask)]
    where = f"{STUDIES}, column {column}"
    if shares.get("train") == 1.0:
        what = f"{column!r} has no value in the training split"
        return [finding("column-empty", "warning", where, what, "leave the column out", studies)]
    if not any(_often_missing(mask[list(dataset.split(split))]) for split in shares):
        return []
    listed = ", ".join(f"{100 * share:.0f} % of {split}" for split, share in shares.items())
    what = f"{column!r} is missing in {listed}"
    hint = "fill the cells or leave the column out: a missing value is read as the training mean, or as zeros"
    return [finding("value-missing", "warning", where, what, hint, studies)]


def _often_missing(mask: Mask) -> bool:
    """Whether so many of a split's studies lack a value that it is no chance."""
    from scipy.stats import binom

    missing = int(mask.sum())
    if len(mask) < FEWEST_STUDIES or missing < MOST_MISSING * len(mask):
        return False
    return float(binom.sf(missing - 1, len(mask), USUAL_MISSING)) <= CHANCE


def _numbers(dataset: DataSet, column: NumericColumn, values: NDArray[np.float64]) -> list[AuditIssue]:
    findings = []
    where = f"{STUDIES}, column {column.name}"
    other = confusion(column, values)
    beyond = (values < column.low) | (values > column.high)
    coded = sentinels(column.name, column.unit, values)
    if coded.any():
        ids = [dataset.studies[i].study for i in np.flatnonzero(coded)]
        codes = ", ".join(f"{code:g}" for code in np.unique(values[coded]).tolist())
        what = f"{column.name!r} holds {codes} apart from all its other values, in {len(ids)} studies"
        hint = "empty the cells if that stands for a missing value"
        findings.append(finding("value-code", "warning", where, what, hint, ids))
        beyond &= ~coded
    if other is not None:
        findings.append(_other_unit(dataset, column, other))
        beyond &= ~other.values
    if beyond.any():
        ids = [dataset.studies[i].study for i in np.flatnonzero(beyond)]
        what = f"{column.name!r} is outside {column.low:g} to {column.high:g}{_unit(column.unit)} in {len(ids)} studies"
        hint = f"correct the values, or low and high in {TOML}"
        findings.append(finding("value-out-of-range", "warning", where, what, hint, ids))
    findings += _shifted(dataset, column, values)
    known = values[np.isfinite(values)]
    if len(known) > 1 and np.ptp(known) == 0:
        findings.append(_constant(column.name))
    return findings


#: Values of two splits differ where the largest distance of their distributions is this, and no chance.
LEAST_SHIFT, SHIFT_CHANCE = 0.25, 1e-5


def _shifted(dataset: DataSet, column: NumericColumn, values: NDArray[np.float64]) -> list[AuditIssue]:
    """A val or test split with other values than train: the test of Kolmogorov and Smirnov, one value a patient."""
    from scipy.stats import ks_2samp

    first: dict[str, dict[str, float]] = {split: {} for split in SPLITS}
    for study, value in zip(dataset.studies, values.tolist(), strict=True):
        if np.isfinite(value):
            first[study.split].setdefault(study.patient, value)
    train, *others = ((split, list(first[split].values())) for split in SPLITS)
    for split, there in others:
        if min(len(train[1]), len(there)) < FEWEST_STUDIES:
            continue
        test = ks_2samp(train[1], there)
        if test.pvalue <= SHIFT_CHANCE and test.statistic >= LEAST_SHIFT:
            apart = f"distributions {test.statistic:.2f} apart"
            what = f"{column.name!r} has other values in {split!r} than in 'train' ({apart})"
            hint = (
                "look for another unit or device, or divide the patients anew; else say that these are other patients"
            )
            return [finding("value-shifted", "warning", f"{STUDIES}, column {column.name}", what, hint)]
    return []


def _other_unit(dataset: DataSet, column: NumericColumn, other: UnitConfusion) -> AuditIssue:
    ids = [dataset.studies[i].study for i in np.flatnonzero(other.values)]
    declared = f"declared in {other.declared}" if other.declared else "without a unit"
    low, high = other.interval
    many = "most of its values" if other.whole else f"{len(ids)} of its values"
    what = f"{column.name!r} is {declared}, and {many} lie where {other.other} would ({low:g} to {high:g})"
    hint = f"correct the unit in {TOML}" if other.whole else "convert these values to the column's unit"
    return finding("unit-confusion", "warning", f"{STUDIES}, column {column.name}", what, hint, ids)


def _constant(column: str) -> AuditIssue:
    what, hint = f"{column!r} has one value wherever it has any", "leave the column out: it says nothing"
    return finding("column-constant", "warning", f"{STUDIES}, column {column}", what, hint)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
