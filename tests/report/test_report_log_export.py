"""One's own log, written down, is read back by the reader of logs: nothing is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from random_search import examples
from report_fixtures import Sample

from mmad.analysis.report_frame import ReportFrame, load_frame
from mmad.experiment_log.model import Log
from mmad.experiment_log.parser import read_log
from mmad.report.log_export import NOTE, export_log, note_line
from mmad.store.notes import Note, Notes

WHEN = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
MARKS = st.sampled_from(["```", "<!--", "-->", "ModelSetup(", "[model]: 3", "# ", "]", "'", '"', "\\", "\n", "=====",
                         "val_ar_0_1_ap_0_1_test_ar_0_1_ap_0_1_epoch1_WithClincal_01-01-2022 00-00-00_x",
                         "![a](b)", 'loss_dict["a"] *= 3', "For Training [x]", "E1: more", "|a|b|", "----------",
                         '<img src="a">'])  # fmt: skip
WORDS = st.lists(st.one_of(NAMES, MARKS), min_size=1, max_size=4).map("".join)


def plain(value: Any) -> Any:
    """As JSON has it."""
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def read_note(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line.removeprefix(NOTE))
    return found


def check(frame: ReportFrame, log: Log) -> None:
    members = [member for ablation in frame.ablations for member in ablation.members]
    assert len(log.entries) == len(members)
    assert log.unread == ()
    for entry, member in zip(log.entries, members, strict=True):
        whose = (entry.fields["ablation"], entry.fields["setting"], entry.fields["name"], entry.fields["seed"])
        assert whose == (member.record.ablation, member.record.setting, member.record.arm, member.record.seed)
        assert entry.fields["key"] == member.run.key
        for fields in (member.setup, member.run.record.protocol, member.record.evaluation):
            assert all(entry.fields[n] == plain(v) for n, v in fields.items() if n not in ("name", "replicate"))
        assert dict(entry.params) == {count.module: count.count for count in member.run.counts}
        for kind, result in entry.results.items():
            found = member.outcome(kind)  # type: ignore[arg-type]
            assert found is not None
            assert result.epoch == found.epoch
            for name in ("val_ap", "val_ar", "test_ap", "test_ar"):
                assert abs(getattr(result, name) - getattr(found, name)) <= 5.01e-5
        kept = {o.kind for _, o in member.outcomes if o is not None and member.run.checkpoint(o.kind)}
        unmeasured = [read_note(n.text) for n in entry.notes if '"kind"' in n.text]
        assert set(entry.results) | {one["kind"] for one in unmeasured} == kept


def test_a_log_is_read_back(sample: Sample) -> None:
    frame = load_frame(sample.source)
    check(frame, read_log(export_log(frame, Notes())))


@given(ablation=WORDS, setting=WORDS, arm=WORDS, text=WORDS)
@examples(15)
@example(ablation="a", setting="```", arm="<!-- x", text="ModelSetup(lr=3) [model]: 4")
@example(ablation="a", setting="it failed", arm="nan", text="out of memory: Error, diverged, nan")
def test_any_name_and_any_note_is_read_back(ablation: str, setting: str, arm: str, text: str) -> None:
    sample = Sample()
    sample.ablation(ablation, "", "")
    key = sample.member(setting, arm, protocol={"epochs": 2}, setup={"loss_weights": {"loss_objectness": 1e-5}})
    sample.member(setting, arm, seed=1, status="failed", done=0, error=text)
    frame = load_frame(sample.source)
    note = Note("run", key, text, ("a", "b"), WHEN)
    log = read_log(export_log(frame, Notes({key: (note,)}, {ablation: (note,)})))
    check(frame, log)
    assert [read_note(one.text) for one in log.entries[0].notes] == [read_note(note_line(note))]
    assert [read_note(one.text)["text"] for one in log.prose] == [text]
    assert [read_note(one.text)["error"] for one in log.entries[1].notes] == [text]
    assert dict(log.entries[0].loss_weights) == {"loss_objectness": 1e-5}
