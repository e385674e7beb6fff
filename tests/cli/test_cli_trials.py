"""A trial beside what is there: variants, ``--only``, files of one name, and runs that nobody asks for any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from undrawn import Undrawn

from mmad.analysis.comparison import Comparison, compare_stored, shared_words
from mmad.api.loading import load_with_data
from mmad.base.errors import CheckpointError
from mmad.base.paths import StorePaths
from mmad.base.records import CheckpointRecord, EpochRecord, EvaluationRecord, Metric
from mmad.config.runs import RECIPE, Ablation
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.report import write_report as report_module
from mmad.report.watch import watch as watch_report
from mmad.scheduler.submit import queue_up
from mmad.scheduler.worker import require_checkpoints
from mmad.store.store import Store

Call = Callable[..., Any]
DB = "db/mmad.sqlite"
OWN, VARIANT = "tiny", "tiny · epochs=4"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=12, image_size=64)


@pytest.fixture
def load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tiny: Callable[..., None], phantom: DataSet
) -> Callable[..., Ablation]:
    """``tiny.toml`` of the working folder, with overrides."""
    for name in ("MMAD_DB", "MMAD_DATA", "MMAD_SET", "MMAD_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)

    def loaded(*overrides: str) -> Ablation:
        return load_with_data(Path("tiny.toml"), data=str(phantom.root), overrides=overrides)[0]

    return loaded


def finish(keys: Sequence[str]) -> None:
    """Gives each of the runs an epoch, a best checkpoint with its AP, and its end."""
    with Store.open(DB) as store:
        for key in keys:
            names = ("ap_iou", "ar_iou", "ap_iobb", "ar_iobb")
            metrics = [Metric(split, name, 0.5) for split in ("val", "test") for name in names]
            best = CheckpointRecord("best_ap", 1, "checkpoints/a.pt", "c" * 64, 1, store.run(key).created)
            figures = [
                EvaluationRecord("best_ap", 1, split, overlap, 0.5, 10, "clean", 0.5, 0.5)
                for split in ("val", "test")
                for overlap in ("iou", "iobb")
            ]
            store.commit_epoch(key, EpochRecord(1, 1e-3, 1.0, 0, tuple(metrics)), [best], figures)
            store.end_free(key, "finished")


def listed(call: Call, *words: str) -> list[dict[str, Any]]:
    called = call("runs", "--json", *words)
    assert called.code == 0, called.err
    return list(json.loads(called.out))


def test_a_variant_stands_beside_the_file_s_own_form(call_mmad: Call, load: Callable[..., Ablation]) -> None:
    queue_up([load()], DB)
    finish([member.run.key for member in load().members])
    assert {job.ablation for job in queue_up([load("epochs=4")], DB)} == {VARIANT}
    assert [(run["ablation"], run["status"]) for run in listed(call_mmad)] == [
        *[(OWN, "finished")] * 2,
        *[(VARIANT, "queued")] * 2,
    ]
    assert len(listed(call_mmad, "--ablation", OWN)) == len(listed(call_mmad, "--ablation", "tiny epochs=4")) == 2
    assert json.loads(call_mmad("show", "tiny/default/CXR", "--json").out)["epochs_asked"] == 2
    assert json.loads(call_mmad("show", f"{VARIANT}/default/CXR", "--json").out)["epochs_asked"] == 4
    rows = json.loads(call_mmad("status", "--json").out)["ablations"]
    assert [(row["ablation"], row["finished"], row["queued"]) for row in rows] == [(OWN, 2, 0), (VARIANT, 0, 2)]
    with Store.open(DB) as store:
        assert [ablation.title for ablation in store.ablations()] == ["Tiny", "Tiny · epochs=4"]
        assert {word for member in store.ablations()[1].members for word in member.overrides} == {"epochs=4"}


def test_equal_overrides_are_one_variant_however_they_are_written(load: Callable[..., Ablation]) -> None:
    assert load("seeds=[0, 1]", "epochs=4").name == load("epochs = 3", "epochs=4", "seeds=[0,1]").name
    assert load("seeds=[0,1]").name == "tiny · seeds=[0,1]"
    assert load().name == "tiny"
    secret = load("weights=/home/somebody/own.pth").name
    assert secret.startswith("tiny · weights=own.pth#")
    assert secret != load("weights=/home/else/own.pth").name
    long = load(
        "loss_weights={loss_classifier=1.25,loss_box_reg=1.5,loss_objectness=1.75,loss_rpn_box_reg=2.125}", "lr=1"
    )
    assert len(long.name) < 120


def test_a_file_that_has_one_variant_alone_is_found_by_its_own_name(
    call_mmad: Call, load: Callable[..., Ablation]
) -> None:
    queue_up([load("epochs=4")], DB)
    assert len(listed(call_mmad, "--ablation", OWN)) == 2
    assert call_mmad("show", "tiny/default/CXR").code == 0
    queue_up([load("epochs=5")], DB)
    refused = call_mmad("runs", "--ablation", OWN)
    assert refused.code == 2
    assert "'tiny' has 2 variants; name one of 'tiny · epochs=4', 'tiny · epochs=5'" in refused.err
    refused = call_mmad("show", "tiny/default/CXR")
    assert "of 2 variants; name one of 'tiny · epochs=4/default/CXR', 'tiny · epochs=5/default/CXR'" in refused.err


def test_only_queues_what_it_names(call_mmad: Call, load: Callable[..., Ablation]) -> None:
    jobs = queue_up([load("seeds=[0,1]")], DB, only=["tiny/default/CXR/1"])
    assert [(job.arm, job.seed) for job in jobs] == [("CXR", 1)]
    assert [(run["arm"], run["seed"], run["status"]) for run in listed(call_mmad)] == [("CXR", 1, "queued")]
    finish([jobs[0].key])
    built: list[bool] = []
    with Store.open(DB) as store:
        assert store.queue_status().over == store.queue_status().runs == 1
        watch_report(store, built.append, every=1.0, ablations=(OWN,), until_done=True)  # which ends
    assert built == [False]
    queue_up([load("seeds=[0,1]")], DB, only=["seed=0"])  # beside the one that is there, in the file's order
    assert [(run["arm"], run["seed"]) for run in listed(call_mmad)] == [
        ("CXR", 0),
        ("CXR", 1),
        ("CXR+Clinical", 0),
    ]
    queue_up([load("seeds=[0,1]")], DB)
    assert len(listed(call_mmad)) == 4


def test_weights_that_only_leaves_out_do_not_matter(
    call_mmad: Call, load: Callable[..., Ablation], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with Path("tiny.toml").open("a") as file:
        file.write('[[settings]]\nname = "scratch"\n[[settings]]\nname = "imagenet"\npretrained = true\n')
    assert [job.setting for job in queue_up([load()], DB, only=["scratch"])] == ["scratch"] * 2
    assert {run["setting"] for run in listed(call_mmad)} == {"scratch"}


def test_another_file_of_a_recorded_name_is_refused_by_every_command(
    call_mmad: Call, load: Callable[..., Ablation], phantom: DataSet
) -> None:
    queue_up([load()], DB)
    text = Path("tiny.toml").read_text()
    Path("other").mkdir()
    Path("other/tiny.toml").write_text(text)
    words = ("other/tiny.toml", "--data", str(phantom.root))
    assert call_mmad("plan", *words).code == 0  # a copy is the same file
    Path("other/tiny.toml").write_text(text.replace("lr = 0.01", "lr = 0.02"))
    for command in (("plan",), ("plan", "--set", "epochs=4"), ("ablate", "--dry-run"), ("ablate", "--device", "cpu")):
        refused = call_mmad(command[0], *words, *command[1:])
        assert refused.code == 2, command
        assert "other/tiny.toml: another file of this name is recorded in the database" in refused.err
        assert "rename one of the files, or name another database with --db" in refused.err
    Path("tiny.toml").unlink()  # moved, and then edited
    assert call_mmad("plan", *words).code == 0


def test_runs_that_no_member_asks_for_are_listed_and_can_be_pruned(
    call_mmad: Call, load: Callable[..., Ablation]
) -> None:
    queue_up([load()], DB)
    old = [member.run.key for member in load().members]
    finish(old[:1])
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace("lr = 0.01", "lr = 0.02"))
    heard: list[str] = []
    queue_up([load()], DB, warn=heard.append)
    queue_up([load()], DB, warn=heard.append)
    assert [line.split(",")[0] for line in heard] == ["1 finished run of tiny will be in no report any more"]
    rows = listed(call_mmad)
    assert [(row["ablation"], row["status"]) for row in rows[2:]] == [(None, "finished"), (None, "queued")]
    assert [row["key"] for row in rows[2:]] == old
    told = call_mmad("runs").out
    assert "Runs that no member asks for" in told
    assert f"{old[0][:12]}: finished, epoch 1/2" in told
    with Store.open(DB) as store:
        assert store.queue_status().counts == {"queued": 2}  # the queue is what was asked for
        folder = store.run_paths(old[0]).folder
        folder.mkdir(parents=True)
        (folder / "run.log").write_text("a line\n")
    assert call_mmad("prune", "--unasked").code == 0
    assert len(listed(call_mmad)) == 4
    pruned = call_mmad("prune", "--unasked", "--yes")
    assert "no member asks for it" in pruned.out
    assert not folder.exists()
    assert [row["ablation"] for row in listed(call_mmad)] == [OWN] * 2


def test_why_compares_with_the_nearest_finished_run(call_mmad: Call, load: Callable[..., Ablation]) -> None:
    words = ("plan", "tiny.toml", "--data", load().members[0].run.data.path)
    assert "no finished run to compare it with" in call_mmad(*words, "--why", "CXR").out
    queue_up([load(), load("epochs=7", "lr=1")], DB)
    done = {member.arm: member.run.key for member in load().members}
    finish(list(done.values()))
    assert "is finished, nothing trains" in call_mmad(*words, "--why", done["CXR"][:8]).out
    told = call_mmad(*words, "--set", "lr=0.5", "--why", "tiny/default/CXR")
    assert told.code == 0, told.err
    assert told.out.splitlines()[1:] == ["  setup.lr: 0.5 here, 0.01 there"]
    assert f"would run; the nearest finished run is {done['CXR'][:10]}, which differs in" in told.out
    (found,) = json.loads(call_mmad(*words, "--set", "lr=0.5", "--why", "CXR+Clinical", "--json").out)
    assert found["nearest"] == done["CXR+Clinical"]
    assert found["differences"] == [{"field": "setup.lr", "here": 0.5, "there": 0.01}]
    refused = call_mmad(*words, "--why", "CRX")
    assert (refused.code, "did you mean CXR" in refused.err) == (2, True)


def test_plan_says_that_runs_train_anew_for_the_recipe_alone(
    call_mmad: Call, load: Callable[..., Ablation], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = [replace(m, run=replace(m.run, recipe=1)) for m in load().members]
    queue_up([replace(load(), members=tuple(older))], DB)
    finish([member.run.key for member in older])
    words = ("plan", "tiny.toml", "--data", load().members[0].run.data.path)
    assert "2 runs will train anew only because a change of mmad changes the results" in call_mmad(*words).err
    told = call_mmad(*words, "--why", "CXR").out
    assert f"recipe: {RECIPE} here, {1} there" in told
    # what is finished stays: listed, and compared among itself
    assert [run["status"] for run in listed(call_mmad)] == ["finished"] * 2
    assert call_mmad("show", "tiny/default/CXR").code == 0
    with Store.open(DB) as store:
        (pair,) = compare_stored(store, "tiny")
        assert isinstance(pair, Comparison)
        assert len(pair.pairs) == 1


def test_plan_says_that_weights_alone_differ(call_mmad: Call, load: Callable[..., Ablation], tmp_path: Path) -> None:
    weights = tmp_path / "own.pth"
    weights.write_bytes(b"one")
    text = Path("tiny.toml").read_text().replace("pretrained = false", "pretrained = true")
    Path("tiny.toml").write_text(text + 'weights = "own.pth"\n')
    first = load()
    queue_up([first], DB)
    finish([member.run.key for member in first.members])
    words = ("plan", "tiny.toml", "--data", first.members[0].run.data.path)
    assert "train anew" not in call_mmad(*words).err
    weights.write_bytes(b"two")
    assert (
        "2 runs will train anew only because the content of the pretrained weights is another" in call_mmad(*words).err
    )
    assert (
        "the content of the pretrained weights: 3fc4ccfe74 here, 7692c3ad35 there"
        in call_mmad(*words, "--why", "CXR").out
    )


def test_plan_names_fields_that_are_idle_in_shared_runs(call_mmad: Call, load: Callable[..., Ablation]) -> None:
    with Path("tiny.toml").open("a") as file:
        file.write("[grid]\nfuse_depth = [1, 2, 4]\n")
    told = call_mmad("plan", "tiny.toml", "--data", load().members[0].run.data.path)
    assert "3 members that share runs differ in fuse_depth, which is idle there (use_clinical = false)" in told.err


def test_a_run_is_never_begun_again_where_its_checkpoints_were_left_behind(load: Callable[..., Ablation]) -> None:
    (job, _) = queue_up([load()], DB)
    with Store.open(DB) as store:
        store.commit_epoch(job.key, EpochRecord(1, 1e-3, 1.0, 0, (Metric("val", "ap_iou", 0.5),)))
        kept = store.run_paths(job.key).checkpoints
        kept.mkdir(parents=True)
        record = store.run(job.key)
    require_checkpoints(record, StorePaths(DB))
    Path(DB).rename("db/renamed.sqlite")
    with pytest.raises(CheckpointError) as refused:
        require_checkpoints(record, StorePaths("db/renamed.sqlite"))
    wanted = Path("db/runs/renamed.sqlite") / job.key[:2] / job.key / "checkpoints"
    assert str(refused.value) == (
        f"{wanted}: 1 epoch of it is recorded, but its checkpoints are not here; they may be those in {kept.parent}: "
        f"move the folder of its runs back, or name it as MMAD_RUNS; make an empty {wanted} to train it from the first "
        "epoch"
    )
    wanted.mkdir(parents=True)
    require_checkpoints(record, StorePaths("db/renamed.sqlite"))


def test_one_baseline_of_several_settings_is_said_to_be_one(
    call_mmad: Call, load: Callable[..., Ablation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "FigureRenderer", Undrawn)
    with Path("tiny.toml").open("a") as file:
        file.write("[grid]\nfuse_depth = [1, 2]\n")
    queue_up([load()], DB)
    finish(list(dict.fromkeys(member.run.key for member in load().members)))
    sentence = (
        "CXR was not trained anew for each of 2 settings (fuse_depth=1, fuse_depth=2): one and the same run stands in "
        "their differences, which therefore do not confirm one another."
    )
    with Store.open(DB) as store:
        found = [one for one in compare_stored(store, OWN) if isinstance(one, Comparison)]
    assert len(found) == 2
    assert shared_words(found) == [sentence]
    assert shared_words(found[:1]) == []
    assert call_mmad("report", "--html", "--md", "--out", "r.html").code == 0
    assert sentence in Path("r.html").read_text()
    assert any(sentence in page.read_text().replace("\\", "") for page in Path().rglob("*.md"))
