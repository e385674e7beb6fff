"""What a report reads from the store: figures under the member's own protocol, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_fixtures import ListSource, Sample

from mmad.analysis.comparison import DataFile
from mmad.analysis.report_frame import load_frame
from mmad.base.errors import ReportError
from mmad.config.protocol import EvaluationProtocol


def one_run(**member: object) -> Sample:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("s", "CXR", **{"protocol": {"epochs": 5}, **member})  # type: ignore[arg-type]
    return sample


def test_figures_are_those_of_the_members_overlap() -> None:
    for overlap in ("iou", "iobb"):
        sample = one_run(evaluation=EvaluationProtocol(overlap=overlap))
        (member,) = load_frame(sample.source).ablations[0].members
        kept = next(
            e for e in sample.source.evaluations[member.run.key]
            if (e.kind, e.split, e.overlap) == ("best_ap", "test", overlap)
        )  # fmt: skip
        assert member.best_ap is not None
        assert (member.best_ap.test_ap, member.best_ap.test_ar) == (kept.ap, kept.ar)
        assert member.best_ap.test_classes == kept.per_class


def test_a_protocol_nobody_evaluated_gives_no_figure_rather_than_another_ones() -> None:
    (member,) = load_frame(one_run(evaluation=EvaluationProtocol(threshold=0.75)).source).ablations[0].members
    assert member.best_ap is not None
    assert (member.best_ap.val_ap, member.best_ap.test_ap) == (None, None)


def test_members_with_equal_content_share_one_run() -> None:
    sample = one_run()
    key = sample.source.run_list[0].key
    sample.member("again", "CXR", key=key)
    frame = load_frame(sample.source)
    assert [r.key for r in frame.runs] == [key]
    assert [m.record.setting for m in frame.members_of(key)] == ["s", "again"]


def test_only_the_named_ablations_are_read() -> None:
    sample = one_run()
    sample.ablation("b", "B", "")
    sample.member("s", "CXR", protocol={"epochs": 5})
    assert [a.record.name for a in load_frame(sample.source, ["b", "b"]).ablations] == ["b"]


def test_an_unknown_ablation_meets_the_nearest_name() -> None:
    sample = one_run()
    sample.source.ablation_list[0] = replace(sample.source.ablation_list[0], name="patience")
    with pytest.raises(ReportError, match=r"no ablation 'patiense'; did you mean patience\?"):
        load_frame(sample.source, ["patiense"])
    with pytest.raises(ReportError, match="expected one of patience"):
        load_frame(sample.source, ["zzz"])


def test_a_store_without_runs_says_what_to_do() -> None:
    with pytest.raises(ReportError, match="no run to report on; start some with `mmad ablate FILE`"):
        load_frame(ListSource())


def test_an_evaluation_protocol_from_the_future_is_named() -> None:
    sample = one_run()
    ablation = sample.source.ablation_list[0]
    odd = replace(ablation.members[0], evaluation={"overlap": "giou"})
    sample.source.ablation_list[0] = replace(ablation, members=(odd,))
    with pytest.raises(ReportError, match="a, s, CXR: an evaluation protocol"):
        load_frame(sample.source)


COLUMNS = """
[[numeric]]
name = "lactate"
low = 0
high = 20
measured = "after"
[[categorical]]
name = "sex"
values = ["F", "M"]
"""


def test_what_the_data_set_s_own_file_says(tmp_path: Path) -> None:
    assert DataFile.of(str(tmp_path)) == DataFile(gone=True)
    head = 'name = "{}"\nlabels = ["Mass"]\nlicence = "CC0"\nsplit_policy = "patient"\n' + COLUMNS
    (tmp_path / "dataset.toml").write_text(head.format("ward"))
    assert DataFile.of(str(tmp_path)) == DataFile("patient", (("lactate", "after"),), (("sex", "unknown"),))
    (tmp_path / "dataset.toml").write_text(head.format("phantom (seed 0)"))
    assert DataFile.of(str(tmp_path)).categorical == (("sex", "with"),)  # drawn with the image
    (tmp_path / "dataset.toml").write_text("not toml = = =")
    assert DataFile.of(str(tmp_path)) == DataFile(gone=True)


def test_a_moved_data_set_keeps_saying_when_its_columns_were_measured(tmp_path: Path) -> None:
    sample = one_run()
    (tmp_path / "dataset.toml").write_text('name = "ward"\nlabels = ["Mass"]\nlicence = "CC0"\n' + COLUMNS)
    setup = {**sample.source.run_list[0].setup, "use_clinical": True}
    run = replace(sample.source.run_list[0], setup=setup, dataset_path=str(tmp_path / "old"), dataset_name="ward")
    sample.source.run_list[0] = run
    gone, moved = load_frame(sample.source), load_frame(sample.source, data=tmp_path)
    late = [frame.runs[0].data_file.measured_late(run) for frame in (gone, moved)]
    assert late == [((), ("all, because the data set is not there",)), (("lactate",), ("sex",))]
    plain = replace(run, setup={**setup, "use_clinical": False})
    assert gone.runs[0].data_file.measured_late(plain) == ((), ())
    drawn = replace(run, dataset_name="phantom (seed 0)")
    assert gone.runs[0].data_file.measured_late(drawn) == ((), ())
    other = replace(run, setup={**setup, "clinical_numeric": ["crp"], "clinical_categorical": []})
    assert moved.runs[0].data_file.measured_late(other) == ((), ("crp",)), "a column that this file does not know"


def test_the_patients_of_a_fold_are_split_by_patient_whatever_the_file_says() -> None:
    run = one_run().source.run_list[0]
    fold = replace(run, key="f" * 64, protocol={**run.protocol, "fold": {"number": 1, "of": 5, "seed": 0}})
    assert [DataFile("image").policy_of(one) for one in (run, fold)] == ["image", "patient"]
    assert [DataFile().policy_of(one) for one in (run, fold)] == [None, "patient"]
