"""The audit of real radiographs finds what their description says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.data.audit.findings import Audit
from mmad.data.audit.run import audit_folder
from mmad.data.importers.csv import import_csv

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def audited(shared: Path, name: str, out: Path) -> Audit:
    src = shared / "data" / name
    if not src.is_dir():
        pytest.skip(f"{src} is not there")
    return audit_folder(import_csv(src, out).root)


def test_the_lungs_lack_age_where_the_hospital_says_so(shared: Path, tmp_path: Path) -> None:
    audit = audited(shared, "covid-cxr-lungs", tmp_path / "lungs")
    assert not audit.errors
    assert not [found for found in audit.findings if found.code.startswith("label")]
    (twice,) = (found for found in audit.findings if "duplicate" in found.code)
    assert twice.rows == ("cov0050", "cov0052")  # one image, published as two patients' with and without its border
    leak = next(f for f in audit.findings if f.code == "missingness-follows-source" and f.where.endswith(" age"))
    assert "'age' is missing in 100 % of the studies from source 'CC BY 3.0'" in leak.what
    assert leak.count == 104  # all images of that hospital
    assert [split.studies for split in audit.splits] == [244, 50, 54]
    present = {name: sum(dict(split.present)[name] for split in audit.splits) for name in ("age", "sex")}
    assert present == {"age": 232, "sex": 334}
    assert {label.boxes for split in audit.splits for label in split.labels} == {244, 50, 54}


def test_the_lesions_are_few_and_some_labels_are_in_one_split(shared: Path, tmp_path: Path) -> None:
    audit = audited(shared, "covid-cxr-lesions", tmp_path / "lesions")
    assert not audit.errors
    told = {found.what for found in audit.findings}
    assert "label 'Pleural effusion' has no box in val, test" in told
    assert "label 'Pneumothorax' has no box in val, test" in told
    assert "label 'Consolidation' has few boxes: 1 in val, 1 in test" in told
    boxes: dict[str, int] = {}
    for split in audit.splits:
        for label in split.labels:
            boxes[label.label] = boxes.get(label.label, 0) + label.boxes
    assert (boxes["Ground glass opacity"], boxes["Consolidation"], boxes["Tubing"]) == (83, 26, 13)
    assert sum(boxes.values()) == 329
