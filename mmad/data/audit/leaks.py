"""Clinical values that are missing where a label or a source says so, and labels that follow a source.

A detector that reads clinical values also reads that one is missing. Where missingness follows the finding, or
the hospital whose patients have that finding, it learns the form and not the patient.

Each column is tested against each label and each source, each label against each source: 2 × 2 tables of studies,
Fisher's exact test, Holm's correction over all of them. Studies of one patient are no independent cases, so counts
are scaled to the number of patients before they are tested. Told is what has a corrected p of at most
``ALPHA`` and a correlation of at least ``LEAST_PHI``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.data.audit.association import Table, fisher, holm, phi, scaled
from mmad.data.audit.findings import Finding, finding
from mmad.data.dataset import BOXES, STUDIES, DataSet

ALPHA = 0.01
LEAST_PHI = 0.2
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
    table: Table
    effects: Mask
    causes: Mask


def leak_findings(dataset: DataSet) -> list[Finding]:
    """What follows what, the strongest first, as warnings: of each column and label what it follows most."""
    tests = _tests(dataset)
    patients = len({study.patient for study in dataset.studies})
    factor = patients / len(dataset.studies)
    corrected = holm([fisher(scaled(test.table, factor)) for test in tests])
    strong = [
        (abs(phi(test.table)), test)
        for test, p in zip(tests, corrected, strict=True)
        if p <= ALPHA and abs(phi(test.table)) >= LEAST_PHI
    ]
    strong.sort(key=lambda one: (-round(one[0], 6), phi(one[1].table) < 0))
    groups: dict[tuple[str, str], list[tuple[float, _Test]]] = {}
    for size, test in strong:
        groups.setdefault((test.code, test.effect), []).append((size, test))
    return [_told(dataset, group[0][1], group[0][0], len(group) - 1) for group in groups.values()]


def _tests(dataset: DataSet) -> list[_Test]:
    missing, labels, sources = missing_of(dataset), _labels(dataset), _sources(dataset)
    tests = []
    for column, mask in missing.items():
        for label, has in labels.items():
            tests.append(_test("missingness-follows-label", column, label, mask, has))
        for source, of in sources.items():
            tests.append(_test("missingness-follows-source", column, source, mask, of))
    for label, has in labels.items():
        for source, of in sources.items():
            tests.append(_test("label-follows-source", label, source, has, of))
    return [test for test in tests if phi(test.table) != 0]


def missing_of(dataset: DataSet) -> dict[str, Mask]:
    """Clinical column → the studies without a value."""
    masks: dict[str, Mask] = {}
    for i, number in enumerate(dataset.numeric):
        masks[number.name] = np.array([study.numeric[i] is None for study in dataset.studies], dtype=np.bool_)
    for i, category in enumerate(dataset.categorical):
        masks[category.name] = np.array([study.categorical[i] is None for study in dataset.studies], dtype=np.bool_)
    return masks


def _labels(dataset: DataSet) -> dict[str, Mask]:
    masks = {}
    for number, label in enumerate(dataset.labels, 1):
        mask = np.zeros(len(dataset.studies), dtype=np.bool_)
        mask[dataset.box_study[dataset.labels_of == number]] = True
        masks[label] = mask
    return masks


def _sources(dataset: DataSet) -> dict[str, Mask]:
    named = np.array([study.source or "" for study in dataset.studies], dtype=np.str_)
    counted = Counter(study.source for study in dataset.studies if study.source)
    often = [source for source, count in counted.most_common(MOST_SOURCES) if count >= LEAST_STUDIES]
    return {source: named == source for source in often}


def _test(code: str, effect: str, cause: str, first: Mask, second: Mask) -> _Test:
    a, b, c = int((first & second).sum()), int((first & ~second).sum()), int((~first & second).sum())
    return _Test(code, effect, cause, (a, b, c, len(first) - a - b - c), first, second)


def _told(dataset: DataSet, test: _Test, size: float, more: int) -> Finding:
    a, b, c, d = test.table
    side = test.causes if a * (b + d) >= b * (a + c) else ~test.causes  # where the effect is more frequent
    inside, beside = _share(a, a + c), _share(b, b + d)
    if test.code == "label-follows-source":
        where = BOXES
        what = f"{inside} of the studies from source {test.cause!r} have {test.effect!r}, {beside} of the others"
        mend = "balance the sources, or report results source by source"
    else:
        kind = "with label" if test.code.endswith("label") else "from source"
        where = f"{STUDIES}, column {test.effect}"
        what = f"{test.effect!r} is missing in {inside} of the studies {kind} {test.cause!r}, in {beside} of the others"
        mend = "leave the column out (clinical_numeric, clinical_categorical), or fill it alike everywhere"
    what += f" (correlation {size:.2f}{f'; it follows {more} more' if more else ''})"
    ids = [dataset.studies[i].study for i in np.flatnonzero(test.effects & side)]
    return finding(test.code, "warning", where, what, mend, ids)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"
