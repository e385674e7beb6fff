"""Expansion: how many members, what each one trains, and what makes two of them one run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.config.load import load_ablation
from mmad.config.runs import Ablation, DataSource

DATA = DataSource(path="/data", name="made up", fingerprint="f" * 64)


def _load(text: str, **words: Any) -> Ablation:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "family.toml"
        file.write_text(text, encoding="utf-8")
        return load_ablation(file, **words).on(DATA)


def _toml(table: Mapping[str, Any]) -> str:
    """Plain values and lists as TOML lines: JSON's spelling of them is TOML's too."""
    return "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in table.items())


def test_nothing_asked_gives_the_pair_with_the_defaults() -> None:
    ablation = _load("")
    assert [(m.setting, m.arm, m.seed) for m in ablation.members] == [
        ("default", "CXR", 0),
        ("default", "CXR+Clinical", 0),
    ]
    assert [m.run.setup.use_clinical for m in ablation.members] == [False, True]
    assert [m.run.setup.name for m in ablation.members] == ["CXR", "CXR+Clinical"]
    assert (ablation.name, ablation.title) == ("family", "family")
    assert ablation.compare == (("CXR", "CXR+Clinical"),)


def test_settings_override_arms_which_override_the_setup_and_the_protocol() -> None:
    ablation = _load(
        """
        [setup]
        lr = 0.1
        momentum = 0.5
        [arms.a]
        lr = 0.2
        name = "first"
        [arms.b]
        [[settings]]
        name = "plain"
        [[settings]]
        name = "other"
        lr = 0.3
        epochs = 7
        threshold = 0.25
        [protocol]
        epochs = 5
        """
    )
    found = {(m.setting, m.arm): m for m in ablation.members}
    assert [m.run.setup.lr for m in ablation.members] == [0.2, 0.1, 0.3, 0.3]
    assert found["plain", "a"].run.setup.name == "first"
    assert found["plain", "b"].run.setup.momentum == 0.5
    assert found["plain", "a"].run.protocol.epochs == 5
    assert found["other", "a"].run.protocol.epochs == 7
    assert found["other", "a"].evaluation.threshold == 0.25
    assert found["plain", "a"].evaluation.threshold == 0.5
    assert ablation.compare == (("a", "b"),)


def test_folds_multiply_the_members_and_leave_every_other_key(tmp_path: Path) -> None:
    lines = "lr = 0.01\n[protocol]\nseeds = [0, 1]\n"
    plain, folded = _load(f"[setup]\n{lines}"), _load(f"[setup]\n{lines}folds = 3\nfold_seed = 7\n")
    assert len(folded.members) == 3 * len(plain.members) == 12
    assert [m.setting for m in folded.members[:6:2]] == [f"default, fold {k} of 3" for k in (1, 2, 3)]
    assert len({m.run.key for m in (*plain.members, *folded.members)}) == 16
    fold = folded.members[2].run.protocol.fold
    assert (str(fold), fold and fold.seed) == ("fold 2 of 3", 7)
    assert "fold" not in plain.members[0].run.recorded()[1]
    assert "fold" not in plain.members[0].run.content()["protocol"]
    by_word = _load(f"[setup]\n{lines}", overrides=["folds=3", "fold_seed=7"])
    assert [m.run.key for m in by_word.members] == [m.run.key for m in folded.members]
    declared = "[hypothesis]\nsmallest_effect = 0.05\n"
    hypothesis = _load(f"[protocol]\nfolds = 3\n{declared}").hypothesis
    assert hypothesis is not None
    assert (hypothesis.setting, hypothesis.seeds) == ("default", 1)


def test_a_grid_multiplies_the_settings_and_names_its_points() -> None:
    text = '[arms.CXR]\n[[settings]]\nname = "s"\n[grid]\nlr = [0.1, 0.2]\nepochs = [1, 2]\n'
    assert [m.setting for m in _load(text).members] == [
        "s, lr=0.1, epochs=1",
        "s, lr=0.1, epochs=2",
        "s, lr=0.2, epochs=1",
        "s, lr=0.2, epochs=2",
    ]
    only_grid = _load("[arms.CXR]\n[grid]\nreduceLROnPlateau_patience = [5, 10]\n")
    assert [m.setting for m in only_grid.members] == [
        "reduceLROnPlateau_patience=5",
        "reduceLROnPlateau_patience=10",
    ]
    names = [f"a_column_of_a_long_name_{i}" for i in range(4)]
    long = _load(f"[arms.CXR]\n[grid]\nclinical_numeric = [{names}, {names[:3]}]\n")
    assert [m.setting for m in long.members] == [f"clinical_numeric={json.dumps(n)}" for n in (names, names[:3])]
    seeds = _load("[arms.CXR]\n[grid]\nseed = [3, 4]\n")
    assert [(m.setting, m.seed) for m in seeds.members] == [("seed=3", 3), ("seed=4", 4)]


def test_documented_entries_go_to_their_arms_and_inferred_fields_to_every_member() -> None:
    text = """
        [[settings]]
        name = "s"
        documented = { CXR = "e069" }
        inferred = ["lr", "fusion_residual"]
        [protocol]
        inferred = ["epochs", "lr"]
    """
    members = _load(text).members
    assert [m.documented for m in members] == ["e069", None]
    assert {m.inferred for m in members} == {("epochs", "lr", "fusion_residule")}


def test_the_selection_follows_the_evaluation_unless_it_is_given() -> None:
    for text, overlap, proposals in (
        ("", "iou", "clean"),
        ('[protocol]\noverlap = "iobb"\n', "iobb", "clean"),
        ('[protocol]\nproposals = "sampled"\n', "iou", "sampled"),
        ('[protocol]\noverlap = "iobb"\nselection_overlap = "iou"\n', "iou", "clean"),
        ('[[settings]]\nname = "s"\noverlap = "iobb"\n', "iobb", "clean"),
    ):
        protocol = _load(text).members[0].run.protocol
        assert (protocol.selection_overlap, protocol.selection_proposals) == (overlap, proposals)
    assert _load("", overrides=["overlap=iobb"]).members[0].run.protocol.selection_overlap == "iobb"


def test_overrides_win_and_are_recorded() -> None:
    text = '[[settings]]\nname = "s"\nlr = 0.3\n[protocol]\nseeds = [0, 1]\n'
    ablation = _load(text, overrides=["lr=0.5", "seeds=[7]"], weights="none")
    assert [(m.seed, m.run.setup.lr) for m in ablation.members] == [(7, 0.5)] * 2
    assert {m.overrides for m in ablation.members} == {("lr=0.5", "seeds=[7]", "weights=none")}
    assert {m.run.protocol.weights for m in ablation.members} == {"none"}
    assert all(m.run.key != n.run.key for m in ablation.members for n in _load(text).members)


def test_weights_are_idle_without_pretraining() -> None:
    pretrained, scratch = _load("").members[0].run, _load("", weights="none").members[0].run
    assert (pretrained.protocol.weights, pretrained.protocol.weights_hash) == ("imagenet", "")
    assert (scratch.protocol.weights, scratch.protocol.weights_hash) == ("none", "")
    assert pretrained.key != scratch.key
    drawn = [_load("[setup]\npretrained = false\n", weights=word).members[0].run for word in (None, "none", "imagenet")]
    assert {run.protocol.weights_hash for run in drawn} == {""}
    assert len({run.key for run in drawn}) == 1


def test_equal_settings_share_a_run_and_replicates_do_not() -> None:
    text = '[arms.CXR]\n[[settings]]\nname = "a"\n[[settings]]\nname = "b"\n[[settings]]\nname = "b"\nreplicate = 2\n'
    first, second, repeat = _load(text).members
    assert first.run.key == second.run.key
    assert repeat.run.key != second.run.key
    assert (second.replicate, repeat.replicate) == (1, 2)


def test_without_data_keys_are_provisional() -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.toml").write_text("")
        run = load_ablation(Path(folder) / "a.toml").members[0].run
    assert run.provisional
    scratch = "[setup]\npretrained = false\n"
    assert not _load(scratch).members[0].run.provisional
    assert _load("").members[0].run.lacks_weights
    assert run.key != _load("").members[0].run.key


_GRID = {
    "lr": st.lists(st.floats(1e-6, 10), min_size=1, max_size=3, unique=True),
    "reduceLROnPlateau_patience": st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True),
    "epochs": st.lists(st.integers(1, 300), min_size=1, max_size=2, unique=True),
    "overlap": st.lists(st.sampled_from(["iou", "iobb"]), min_size=1, max_size=2, unique=True),
    "batch_size": st.lists(st.integers(1, 64), min_size=1, max_size=2, unique=True),
}


@examples(20)
@given(
    st.fixed_dictionaries({}, optional=_GRID),
    st.lists(st.text("abcé+ ,=", min_size=1, max_size=6).map(str.strip).filter(bool), max_size=3, unique=True),
    st.lists(st.text("xyz+", min_size=1, max_size=4), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_there_are_as_many_members_as_the_product_and_no_two_alike(
    grid: dict[str, list[Any]], names: list[str], arms: list[str], seeds: list[int]
) -> None:
    text = f"[protocol]\nseeds = {seeds}\n"
    text += "".join(f"[arms.{json.dumps(arm)}]\nmomentum = {position / 10}\n" for position, arm in enumerate(arms))
    text += "".join(f"[[settings]]\nname = {json.dumps(name)}\n" for name in names)
    text += "[grid]\n" + _toml(grid) if grid else ""
    ablation = _load(text)
    points = math.prod(len(values) for values in grid.values())
    assert len(ablation.members) == points * max(1, len(names)) * len(arms) * len(seeds)
    assert len({(m.setting, m.arm, m.seed, m.replicate) for m in ablation.members}) == len(ablation.members)
    assert ablation.arms == tuple(arms)


_FIELDS = {
    "lr": st.floats(1e-6, 10),
    "batch_size": st.integers(1, 4096),
    "image_size": st.sampled_from([32, 64, 128, 256, 512]),
    "optimiser": st.sampled_from(["sgd", "adamw"]),
    "weight_decay": st.floats(0, 1),
    "representation_size": st.integers(1, 512),
    "multiStepLR_milestones": st.lists(st.integers(1, 99), max_size=3) | st.integers(1, 99),
    "loss_weights": st.just({}),
    "fuse_depth": st.integers(1, 8),
}


@examples(20)
@given(st.fixed_dictionaries({}, optional=_FIELDS), st.randoms(use_true_random=False))
def test_a_file_gives_back_the_values_it_was_made_of_whatever_their_order(setup: dict[str, Any], chance: Any) -> None:
    setup.pop("loss_weights", None)
    names = list(setup)
    chance.shuffle(names)
    straight = _load("[setup]\n" + _toml(setup)).members
    shuffled = _load("[setup]\n" + _toml({name: setup[name] for name in names})).members
    read = straight[0].run.setup.model_dump(mode="json")
    assert {name: read[name] for name in setup} == setup
    assert [m.run.key for m in straight] == [m.run.key for m in shuffled]


def test_many_points_expand_at_once() -> None:
    text = f"[grid]\nlr = {[(i + 1) / 1000 for i in range(50)]}\nfuse_depth = {list(range(1, 11))}\n"
    assert len(_load(text).members) == 1000


@pytest.mark.parametrize("given", ["[setup]\n[arms]\n", "compare = 1\n"])
def test_a_refused_file_expands_to_nothing(given: str) -> None:
    with pytest.raises(Exception, match=r"family\.toml"):
        _load(given)
