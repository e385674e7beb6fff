"""The search for each arm's setup: which trials there are, and which designs are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mmad.base.errors import SpecError
from mmad.config.load import load_ablation
from mmad.config.runs import Ablation
from mmad.config.tuning import Tuning, asked

SPACE = "[tune.space]\nlr = { from = 1e-5, to = 1e-2, log = true }\nbatch_size = [2, 4, 8]\n"
TUNE = f"[tune]\ntrials = 12\n{SPACE}"


def loaded(folder: Path, text: str, *overrides: str) -> Ablation:
    (folder / "a.toml").write_text(text)
    return load_ablation(folder / "a.toml", overrides=overrides)


def searched(folder: Path, text: str = TUNE) -> tuple[Ablation, Tuning]:
    ablation = loaded(folder, text)
    assert ablation.tuning is not None
    return ablation, ablation.tuning


def test_all_arms_have_the_same_trials_and_each_is_an_ordinary_run(tmp_path: Path) -> None:
    ablation, tuning = searched(tmp_path)
    values = tuning.drawn()
    assert values == tuning.drawn()
    assert len({str(one) for one in values}) == len(values) == 12
    assert all(1e-5 <= one["lr"] <= 1e-2 and one["batch_size"] in (2, 4, 8) for one in values)
    logs = [math.log10(one["lr"]) for one in values]
    assert min(logs) < -4 < -3 < max(logs)
    arms = ablation.arms_of_settings()
    every = ablation.trials(ablation.trial(one, n, trial) for one in arms.values() for n, trial in enumerate(values, 1))
    assert (every.name, every.compare, every.hypothesis, every.tuning) == ("a · trials", (), None, None)
    assert [one.setting for one in every.members[:2]] == ["default, trial 1", "default, trial 2"]
    assert {one.seed for one in every.members} == {1000}
    plain = loaded(tmp_path, "", f"lr={values[2]['lr']}", f"batch_size={values[2]['batch_size']}", "seeds=[1000]")
    same = {one.run.key for one in every.members if one.setting == "default, trial 3"}
    assert same == {one.run.key for one in plain.members}
    chosen = ablation.tuned({("default", "CXR"): values[2]})
    assert [(one.arm, one.seed, one.run.setup.lr) for one in chosen.members] == [("CXR", 0, values[2]["lr"])]


def test_a_search_follows_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    whole = "[tune.space]\nlr = { from = 1e-5, to = 1e-2, log = true }\nwarmup_epochs = { from = 0, to = 3 }\n"
    _, tuning = searched(tmp_path, f'[tune]\ntrials = 20\nsampler = "tpe"\n{whole}horizontal_flip = [0, 0.5]\n')
    told: list[tuple[object, float | None]] = []
    for _ in range(14):
        values = asked(tuning, told)  # type: ignore[arg-type]
        assert values == asked(tuning, told)  # type: ignore[arg-type]
        assert tuning.read(dict(values)) == values
        assert isinstance(values["warmup_epochs"], int)
        best = 1 - abs(math.log10(values["lr"]) + 3)
        told.append((values, None if len(told) == 3 else best))  # one diverged
    late = [abs(math.log10(one["lr"]) + 3) for one, _ in told[-4:]]  # type: ignore[index]
    assert sum(late) / 4 < 1, "it looks where it found most"
    assert tuning.read({**dict(values), "lr": 1.0}) is None


def test_numbers_are_counted_as_they_are_drawn(tmp_path: Path) -> None:
    """Trials have four digits, so that a narrow range holds few numbers."""

    def within(low: float, high: float, trials: int) -> Tuning:
        space = f"[tune.space]\nmomentum = {{ from = {low}, to = {high} }}\n"
        return searched(tmp_path, f"[tune]\ntrials = {trials}\n{space}")[1]

    narrow = within(0.999, 0.9999, 10)
    assert narrow.combinations() == 10
    assert sorted(one["momentum"] for one in narrow.drawn()) == [n / 10_000 for n in range(9990, 10_000)]
    assert within(0.0998, 0.1001, 4).combinations() == 22  # 0.09980 to 0.09999, 0.1000 and 0.1001
    assert within(0.0, 0.9, 4).combinations() == math.inf


ARMS = "[arms.A]\nuse_clinical = false\n[arms.B]\nuse_clinical = true\n"
#: File → line and words of the refusal.
REFUSED = {
    "[tune]\ntrials = 4\n[tune.space]\nlr = { from = 1e-2, to = 1e-3 }\n": (
        4, "tune.space.lr: from 0.01 to 0.001 holds nothing to choose; let to be more than from",
    ),
    "[tune]\ntrials = 4\n[tune.space]\nlr = []\n": (4, "tune.space.lr: expected at least one value, got none"),
    "[tune]\ntrials = 4\n[tune.space]\nlr = [1e-3]\n": (4, "one value is nothing to choose from"),
    "[tune]\ntrials = 4\n[tune.space]\nlr = [1e-3, 1e-3]\n": (4, "a value is listed twice"),
    "[tune]\ntrials = 4\n[tune.space]\nlr = 1e-3\n": (4, "tune.space.lr: expected a table or a list, got 0.001"),
    "[tune]\ntrials = 4\n[tune.space]\nlr = { from = 0, to = 1e-3, log = true }\n": (4, "from 0 has no logarithm"),
    "[tune]\ntrials = 4\n[tune.space]\nlr = { from = 1, to = 20 }\n": (4, "expected a number of at most 10, got 20"),
    "[tune]\ntrials = 20\n[tune.space]\nmomentum = { from = 0.999, to = 0.9999 }\n": (2, "20 trials of a space of 10"),
    "[tune]\ntrials = 4\n[tune.space]\nmomentum = { from = 0.99904, to = 0.9999 }\n": (
        4, "0.99904 has more digits than a trial; round it, to 0.999",
    ),
    "[tune]\ntrials = 4\n[tune.space]\nlr = { from = 1, to = 2, step = 1 }\n": (4, "expected one of from, to, log"),
    "[tune]\ntrials = 4\n[tune.space]\nbatch_size = { from = 1.5, to = 4 }\n": (4, "batch_size is a whole number"),
    "[tune]\ntrials = 4\n[tune.space]\nlrr = [1, 2]\n": (4, "tune.space.lrr: unknown key; did you mean lr?"),
    "[tune]\ntrials = 4\n[tune.space]\nepochs = [1, 2]\n": (4, "unknown key; it belongs in [protocol]"),
    '[tune]\ntrials = 4\n[tune.space]\nbackbone = ["custom1", "custom2"]\n': (4, "it belongs in [setup]"),
    "[tune]\ntrials = 4\n[tune.space]\n": (3, "nothing to search; name a field: lr = {"),
    "[tune]\ntrials = 4\n": (1, "space is missing; add a table [tune.space]"),
    SPACE: (1, "trials is missing; add the line trials = 20"),
    f'[tune]\ntrials = 4\nsampler = "tpee"\n{SPACE}': (3, 'did you mean "tpe"?'),
    "[tune]\ntrials = 9\n[tune.space]\nbatch_size = [2, 4, 8]\nlr = [1e-3, 1e-2]\n": (2, "9 trials of a space of 6"),
    f"[setup]\nlr = 1e-3\n{TUNE}": (6, "tune.space.lr: setup sets it, and what is searched has no value of its own"),
    f"{ARMS}lr = 1e-3\n{TUNE}": (9, "tune.space.lr: arms.B sets it"),
    f"[grid]\nbatch_size = [1, 2]\n{TUNE}": (7, "tune.space.batch_size: grid sets it"),
    f"[protocol]\nseeds = [0, 1000]\n{TUNE}": (3, "1000 is a seed of the file, and a chosen setup"),
    f'[[settings]]\nname = "s"\ndocumented = {{ CXR = "e069" }}\n{TUNE}': (3, "leave documented or [tune] out"),
    f'[[settings]]\nname = "s"\n[[settings]]\nname = "t"\ncontinue_from = {{ setting = "s" }}\n{TUNE}': (
        5, "leave continue_from or [tune] out",
    ),
    "[tune]\ntrials = 4\n[tune.space]\nclinical_dropout = { from = 0, to = 0.5 }\n": (
        3, "every field is idle in the arm 'CXR'",
    ),
    "[tune]\ntrials = 2\n[tune.space]\nrpn_fg_iou_thresh = [0.5, 0.2]\n": (
        3, "a trial of 'CXR' with rpn_fg_iou_thresh = 0.2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=map(str, range(len(REFUSED))))
def test_a_contradictory_search_is_refused_at_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError) as refused:
        loaded(tmp_path, text)
    line, words = REFUSED[text]
    assert str(refused.value).startswith(f"{tmp_path / 'a.toml'}:{line}: ")
    assert words in str(refused.value)


def test_a_word_over_the_file_may_not_set_what_is_searched(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"tune.space.lr: --set lr=0.1 sets it"):
        loaded(tmp_path, TUNE, "lr=0.1")
    assert loaded(tmp_path, TUNE, "epochs=3").tuning is not None


def test_each_fold_is_searched_on_its_own_patients(tmp_path: Path) -> None:
    ablation = loaded(tmp_path, f"[protocol]\nfolds = 3\n{TUNE}")
    assert ablation.tuning is not None
    arms = ablation.arms_of_settings()
    trial = ablation.tuning.drawn()[0]
    every = ablation.trials(ablation.trial(one, 1, trial) for one in arms.values())
    folds = {(one.setting, one.run.protocol.fold.number) for one in every.members if one.run.protocol.fold}
    assert folds == {(f"default, fold {number} of 3, trial 1", number) for number in (1, 2, 3)}
    assert len({one.run.key for one in every.members}) == len(every.members) == 6
