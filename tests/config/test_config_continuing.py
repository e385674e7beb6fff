"""Settings that go on from others: which run that is, its key, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.base.errors import SpecError
from mmad.config.load import load_ablation
from mmad.config.runs import Ablation, DataSource, Member

HEAD = """
[setup]
pretrained = false

[protocol]
epochs = 10
"""
FIRST = """
[[settings]]
name = "first"
documented = { CXR = "e038" }
"""


def loaded(tmp_path: Path, text: str, *overrides: str) -> Ablation:
    path = tmp_path / "a.toml"
    path.write_text(HEAD + text, "utf-8")
    return load_ablation(path, overrides=overrides)


def second(said: str, more: str = "epochs = 20") -> str:
    return f'{FIRST}\n[[settings]]\nname = "second"\ncontinue_from = {said}\n{more}\n'


def of(ablation: Ablation, setting: str, arm: str = "CXR", seed: int = 0) -> Member:
    return next(m for m in ablation.members if (m.setting, m.arm, m.seed) == (setting, arm, seed))


def test_each_arm_and_seed_goes_on_from_its_own(tmp_path: Path) -> None:
    found = loaded(tmp_path, second('{ setting = "first" }'), "seeds=[0,1]")
    for arm in ("CXR", "CXR+Clinical"):
        for seed in (0, 1):
            assert of(found, "second", arm, seed).run.continues == of(found, "first", arm, seed).run.key
            assert of(found, "first", arm, seed).run.continues is None


def test_the_key_has_the_other_s_and_the_kind_and_is_no_other_run_s(tmp_path: Path) -> None:
    keys = {
        of(loaded(tmp_path, second(said)), "second").run.key
        for said in (
            '{ setting = "first" }',
            '{ setting = "first", checkpoint = "final" }',
            '{ setting = "first", checkpoint = "best_ap" }',
            f'"{"a" * 64}"',
        )
    }
    alone = of(loaded(tmp_path, second('"e038"').replace('continue_from = "e038"', "")), "second").run
    assert len(keys | {alone.key}) == 4
    assert "continues" not in alone.content()["protocol"]  # keys from before it are as they were
    named = of(loaded(tmp_path, second('{ setting = "first" }')), "second").run
    assert named.content()["protocol"]["continues"] == {
        "key": of(loaded(tmp_path, second('"e038"')), "first").run.key,
        "checkpoint": "final",
    }
    assert of(loaded(tmp_path, second('"e038"')), "second").run.key == named.key


def test_what_decides_the_first_run_decides_those_after_it(tmp_path: Path) -> None:
    third = second('{ setting = "first" }') + (
        '\n[[settings]]\nname = "third"\nepochs = 30\ncontinue_from = { setting = "second", arm = "CXR" }\n'
        "use_clinical = false\n"
    )
    one, other = (loaded(tmp_path, third, f"momentum={value}") for value in (0.5, 0.9))
    assert of(one, "third").run.continues == of(one, "second").run.key
    assert of(one, "third", "CXR+Clinical").run.continues == of(one, "second").run.key
    assert of(one, "third").run.key != of(other, "third").run.key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (second('{ setting = "frist" }'), r"a.toml:\d+: .*no setting is named 'frist'; did you mean first"),
        (second('{ setting = "first", arm = "CRX" }'), r"no arm is named 'CRX'; did you mean CXR"),
        (second('"e039"'), r"no setting of this file mirrors e039; did you mean e038"),
        (second('{ setting = "second" }'), r"in a circle: 'second' → 'second'; leave one out"),
        (second('{ setting = "first" }', "epochs = 9"), r"epochs = 9 is less than the 10 of 'first'; epochs counts"),
        (second('{ setting = "first" }', "representation_size = 8"), r"another .* \(representation_size\)"),
        (second('{ setting = "first" }', 'overlap = "iobb"'), r"selection_overlap is another .* give both sel.* = iou"),
        (
            second('{ setting = "first" }', "box_nms_thresh = 0.5"),
            r"box_nms_thresh is another .* give both box_.* = 0.2",
        ),
        (second('{ setting = "first" }', "measure_test = false"), r"measure_test is another .* measure_test = true"),
        (second('{ setting = "first" }', "seeds = [3]"), r"'first' has no run of seed 3; give both the same seeds"),
        (second('{ setting = "first", checkpoint = "last" }'), r'a.toml:\d+: .*continue_from: expected "final" or'),
        (second('{ arm = "CXR" }'), r"a.toml:\d+: .*setting"),
        (second("3"), r"a.toml:\d+: .*continue_from"),
        (second('"first"'), r"a.toml:\d+: .*continue_from"),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_line_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SpecError, match=told) as refused:
        loaded(tmp_path, text)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    "more",
    [
        "box_batch_size_per_image = 64",
        "rpn_fg_iou_thresh = 0.6",
        "trainable_layers = 2",
        "momentum = 0.5",
        "threads = 2",
        "use_clinical = false\nfuse_depth = 1",
    ],
)
def test_a_run_may_be_continued_with_other_fields_of_the_training(tmp_path: Path, more: str) -> None:
    text = second('{ setting = "first" }', f"epochs = 20\n{more}").replace(
        'name = "first"', 'name = "first"\nuse_clinical = false' if "use_clinical" in more else 'name = "first"'
    )
    found = loaded(tmp_path, text)
    assert of(found, "second").run.continues == of(found, "first").run.key


def test_where_evaluations_sample_their_proposals_the_sampler_has_to_be_the_same(tmp_path: Path) -> None:
    text = second('{ setting = "first" }', "epochs = 20\nbox_batch_size_per_image = 64")
    with pytest.raises(SpecError, match=r"box_batch_size_per_image is another .* give both box_.* = 512"):
        loaded(tmp_path, text, "proposals=sampled")


def test_on_a_data_set_the_runs_continue_each_other_still(tmp_path: Path) -> None:
    text = second('{ setting = "first", checkpoint = "best_ap" }') + (
        f'\n[[settings]]\nname = "elsewhere"\nepochs = 30\ncontinue_from = "{"a" * 64}"\n'
        '\n[[settings]]\nname = "third"\nepochs = 30\ncontinue_from = { setting = "second" }\n'
    )
    without = loaded(tmp_path, text)
    found = without.on(DataSource("/data", "made up", "f" * 64))
    assert without.members[0].run.provisional
    assert not found.members[0].run.provisional
    assert of(found, "second").run.key != of(without, "second").run.key
    for arm in ("CXR", "CXR+Clinical"):
        first, second_, third = (of(found, name, arm) for name in ("first", "second", "third"))
        assert (second_.run.continues, third.run.continues) == (first.run.key, second_.run.key)
        assert second_.run.protocol.continues is not None
        assert second_.run.protocol.continues.checkpoint == "best_ap"
        assert of(found, "elsewhere", arm).run.continues == "a" * 64
    assert [member.run.setup.name for member in found.members] == ["CXR", "CXR+Clinical"] * 4
    again = found.on(without.members[0].run.data)
    assert [member.run.key for member in again.members] == [member.run.key for member in without.members]


def test_a_longer_circle_is_told_by_its_names(tmp_path: Path) -> None:
    text = (
        '[[settings]]\nname = "a"\ncontinue_from = { setting = "b" }\n'
        '[[settings]]\nname = "b"\ncontinue_from = { setting = "c" }\n'
        '[[settings]]\nname = "c"\ncontinue_from = { setting = "a" }\n'
    )
    with pytest.raises(SpecError, match="circle: 'a' → 'b' → 'c' → 'a'"):
        loaded(tmp_path, text)
