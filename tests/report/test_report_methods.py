"""The Methods section and the reporting checklists say what is recorded, and cite what was published."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixtures import WHEN, Sample

from mmad.analysis.report_frame import load_frame
from mmad.base.records import SPLITS
from mmad.data.acquisition import Acquired
from mmad.data.exclusions import Excluded
from mmad.data.phantom.generate import make_phantom
from mmad.report.cohort import Cohort, Flow, cohort_key, cohort_of
from mmad.report.methods import methods_of, reference, render_methods
from mmad.report.sections import ReportModel, build_model
from mmad.report.tables import cohort_table, flow_table
from mmad.report.write_report import write_report

LITERATURE: dict[str, Any] = json.loads((files("mmad.report") / "literature.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return cohort_of(make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=24, image_size=64, seed=3))


@pytest.fixture
def known(sample: Sample, cohort: Cohort) -> ReportModel:
    """A model whose data set is counted."""
    frame = load_frame(sample.source)
    cohorts = {cohort_key(run.record): cohort for run in frame.runs}
    return build_model(frame, created=WHEN, database="db/mmad.sqlite", cohorts=cohorts)


def test_patients_with_a_finding_are_counted_once(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "p", studies=24, image_size=64, seed=3)
    counted = cohort_of(dataset)
    for split in counted.splits:
        for number, label in enumerate(counted.labels, 1):
            patients = {
                dataset.studies[study].patient
                for study, found in zip(dataset.box_study, dataset.labels_of, strict=True)
                if found == number and dataset.studies[study].split == split.split
            }
            assert split.patients_with[number - 1] == len(patients), (split.split, label)
    assert sum(split.boxes for split in counted.splits) == len(dataset.boxes)
    for split in counted.splits:
        studies = [study for study in dataset.studies if study.split == split.split]
        ages = [study.numeric[0] for study in studies if study.numeric[0] is not None]
        assert split.numbers[0][0] == pytest.approx(float(np.median(ages)))
        assert split.numbers[0][3] == len(studies) - len(ages)
        assert sum(split.levels[-1]) >= split.patients  # a patient may have several values


def test_who_was_studied_is_a_table_with_a_column_a_split(known: ReportModel, cohort: Cohort) -> None:
    table = cohort_table(known.ablations[0], known.cohorts, known.flows)
    ((_, rows),) = table.grid.sections
    assert [head.text for head in table.grid.heads] == ["Characteristic", "Training", "Validation", "Test"]
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in rows}
    assert cells["Patients"] == [str(split.patients) for split in cohort.splits]
    assert cells["Patients with: Atelectasis"][0].startswith(f"{cohort.splits[0].patients_with[1]} (")


def test_the_flow_is_a_table_and_sentences(known: ReportModel, cohort: Cohort) -> None:
    assert not flow_table(known.ablations[0], known.cohorts, known.flows).rows
    excluded = (Excluded("no consent", 2, 3, 5), Excluded("label not chosen", 0, 0, 0, 7))
    taken = Acquired((("north", 9), ("", 1)), (), (("PA", 10),), 2015, 2019, 2, 1)
    flow = Flow(excluded, 15, 24, 30, tuple((split, taken) for split in SPLITS))
    model = replace(known, flows=dict.fromkeys(known.cohorts, flow))
    frame = flow_table(model.ablations[0], model.cohorts, model.flows).frame
    steps = ["source", "left out", "left out", "data set", *SPLITS]
    assert frame["step"].tolist() == steps
    assert frame["patients"].tolist() == [17, 2, 0, 15, *(split.patients for split in cohort.splits)]
    assert frame["readings"].tolist()[:4] == [35, 5, 0, 30]
    assert frame["boxes"].tolist()[2:4] == [7, sum(split.boxes for split in cohort.splits)]
    ((_, rows),) = cohort_table(model.ablations[0], model.cohorts, model.flows).grid.sections
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in rows}
    assert cells["Years"] == ["2015 to 2019"] * 3
    assert cells["Date shifted by the source (images)"] == ["2"] * 3
    assert cells["View: PA"][0].startswith("10 (")
    assert cells["Site: not known"][0].startswith("1 (")
    text = dict(methods_of(model.ablations[0], model).paragraphs)["Data"]
    assert "has 27 images of 17 patients. Left out were 2 patients, 3 images, 5 readings (no consent); 7 boxes" in text
    assert "24 images of 15 patients stay." in text
    assert "were taken from 2015 to 2019, at 1 site, as far as is known." in text
    assert "The source shifts the dates of 6 images; their years are not known." in text


def test_every_fact_of_a_checklist_is_one_that_methods_knows(known: ReportModel) -> None:
    from mmad.report.methods import _facts

    facts = set().union(*(_facts(section, known) for section in known.ablations))
    asked = {name for one in LITERATURE["checklists"] for item in one["items"] for name in item["facts"]}
    assert asked - facts == set()


def test_what_is_known_stands_in_a_paragraph_or_a_checklist(known: ReportModel) -> None:
    methods = methods_of(known.ablations[0], known)
    text = dict(methods.paragraphs)
    assert list(text) == [
        "Data", "Images and clinical values", "Detector", "Training", "Evaluation", "Statistics", "Software",
    ]  # fmt: skip
    assert "phantom-240 (fingerprint 5f5f5f5f5f5f" in text["Data"]
    assert "Patients with each finding (training / validation / test): Enlarged cardiac silhouette" in text["Data"]
    assert "No patient is in two splits." in text["Data"]
    assert "torch 2.6.0" in text["Software"]
    assert "up to 50 epochs" in text["Training"]
    frame = methods.checklist.frame
    assert len(frame) == sum(len(one["items"]) for one in LITERATURE["checklists"])
    answered = frame[frame["known"] != ""]
    assert set(answered["add"]) == {"", "the rest"}
    assert set(frame[frame["known"] == ""]["add"]) == {"to be written"}


def test_references_are_numbered_in_the_order_they_are_cited(known: ReportModel) -> None:
    methods = methods_of(known.ablations[0], known)
    cited = [int(n) for _, text in methods.paragraphs for group in re.findall(r" \[([\d, ]+)\]\.", text)
             for n in group.split(", ")]  # fmt: skip
    firsts = list(dict.fromkeys(cited))
    assert firsts == list(range(1, len(firsts) + 1))
    assert len(methods.references) == len(firsts) + len(LITERATURE["checklists"])


def test_statistics_of_one_seed_and_of_several_are_not_confused(known: ReportModel) -> None:
    for section in known.ablations:
        text = dict(methods_of(section, known).paragraphs).get("Statistics", "")
        rows = [row for table in section.comparisons for row in table.rows if row.pairs]
        assert ("bootstrap-t" in text) == any(len(row.pairs) == 1 for row in rows)
        assert ("delete-one-patient" in text) == any(len(row.pairs) > 1 for row in rows)


def test_a_data_set_that_is_gone_is_said_to_be(model: ReportModel) -> None:
    text = dict(methods_of(model.ablations[0], model).paragraphs)["Data"]
    assert "The counts of phantom-240 are not known" in text


@pytest.mark.parametrize("name", LITERATURE["citations"])
def test_a_reference_has_authors_title_and_year(name: str) -> None:
    one = LITERATURE["citations"][name]
    words = reference(name)
    assert words.startswith(one["authors"][0])
    assert one["title"] in words
    assert f"({one['year']})" in words


def test_hostile_names_are_text(hostile_model: ReportModel) -> None:
    text = render_methods(hostile_model)
    assert "<script" not in text
    assert all(line.count("|") - line.count(r"\|") in (0, 5) for line in text.splitlines())


@pytest.mark.usefixtures("_undrawn")
def test_the_file_and_the_page_have_it(sample: Sample, tmp_path: Path) -> None:
    written = write_report(sample.source, methods=tmp_path / "methods.md", html=tmp_path / "r.html", created=WHEN)
    assert written.methods == tmp_path / "methods.md"
    assert (tmp_path / "methods.md").read_text("utf-8").startswith("# Methods\n")
    assert "Methods and reporting checklists" in (tmp_path / "r.html").read_text("utf-8")
