"""What a report reads from the store: figures under the member's own protocol, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_worlds import ListSource, World

from mmad.analysis.comparison import split_policy
from mmad.analysis.frames import load_frame
from mmad.base.errors import ReportError
from mmad.config.protocol import EvaluationProtocol


def one_run(**member: object) -> World:
    world = World()
    world.ablation("a", "A", "")
    world.member("s", "CXR", **{"protocol": {"epochs": 5}, **member})  # type: ignore[arg-type]
    return world


def test_figures_are_those_of_the_members_overlap() -> None:
    for overlap in ("iou", "iobb"):
        world = one_run(judged=EvaluationProtocol(overlap=overlap))
        (member,) = load_frame(world.source).ablations[0].members
        kept = next(
            e for e in world.source.evaluations[member.run.key]
            if (e.kind, e.split, e.overlap) == ("best_ap", "test", overlap)
        )  # fmt: skip
        assert member.best_ap is not None
        assert (member.best_ap.test_ap, member.best_ap.test_ar) == (kept.ap, kept.ar)
        assert member.best_ap.test_classes == kept.per_class


def test_a_protocol_nobody_evaluated_gives_no_figure_rather_than_another_ones() -> None:
    (member,) = load_frame(one_run(judged=EvaluationProtocol(threshold=0.75)).source).ablations[0].members
    assert member.best_ap is not None
    assert (member.best_ap.val_ap, member.best_ap.test_ap) == (None, None)


def test_members_with_equal_content_share_one_run() -> None:
    world = one_run()
    key = world.source.run_list[0].key
    world.member("again", "CXR", key=key)
    frame = load_frame(world.source)
    assert [r.key for r in frame.runs] == [key]
    assert [m.record.setting for m in frame.members_of(key)] == ["s", "again"]


def test_only_the_named_ablations_are_read() -> None:
    world = one_run()
    world.ablation("b", "B", "")
    world.member("s", "CXR", protocol={"epochs": 5})
    assert [a.record.name for a in load_frame(world.source, ["b", "b"]).ablations] == ["b"]


def test_an_unknown_ablation_meets_the_nearest_name() -> None:
    world = one_run()
    world.source.ablation_list[0] = replace(world.source.ablation_list[0], name="patience")
    with pytest.raises(ReportError, match=r"no ablation 'patiense'; did you mean patience\?"):
        load_frame(world.source, ["patiense"])
    with pytest.raises(ReportError, match="expected one of patience"):
        load_frame(world.source, ["zzz"])


def test_a_store_without_runs_says_what_to_do() -> None:
    with pytest.raises(ReportError, match="no run to report on; start some with `mmad ablate FILE`"):
        load_frame(ListSource())


def test_an_evaluation_protocol_from_the_future_is_named() -> None:
    world = one_run()
    ablation = world.source.ablation_list[0]
    odd = replace(ablation.members[0], evaluation={"overlap": "giou"})
    world.source.ablation_list[0] = replace(ablation, members=(odd,))
    with pytest.raises(ReportError, match="a, s, CXR: an evaluation protocol"):
        load_frame(world.source)


def test_the_split_policy_is_what_the_data_set_says(tmp_path: Path) -> None:
    assert split_policy(str(tmp_path)) is None
    (tmp_path / "dataset.toml").write_text('split_policy = "patient"\n')
    assert split_policy(str(tmp_path)) == "patient"
    (tmp_path / "dataset.toml").write_text("not toml = = =")
    assert split_policy(str(tmp_path)) is None
