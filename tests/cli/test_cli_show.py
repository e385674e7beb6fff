"""``mmad show RUN``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_store_runs import filled, mmad

from mmad.base.paths import StorePaths

PARTS = {"setup", "protocol", "params", "epochs", "environments", "warnings", "checkpoints", "log"}


@pytest.mark.parametrize("name", ["patience/patience 10/CXR", "patience/patience 10/CXR/0", None])
def test_json_has_every_epoch_with_every_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    database, good, _ = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "show", name or good[:12], "--db", database, "--json")
    assert (answer.code, answer.err) == (0, "")
    shown = json.loads(answer.out)
    (listed, _) = json.loads(mmad(capsys, monkeypatch, "runs", "--db", database, "--json").out)
    assert {k: v for k, v in shown.items() if k in listed and k != "epochs"} == {
        k: v for k, v in listed.items() if k != "epochs"
    }
    assert set(shown) >= PARTS
    assert shown["setup"]["backbone"] == "mobilenet_v3"
    assert shown["protocol"]["epochs"] == shown["epochs_asked"] == 3
    assert shown["params"] == {"model": 1_040_729, "model.backbone": 1_009_968}
    assert [epoch["epoch"] for epoch in shown["epochs"]] == [1, 2, 3]
    assert shown["epochs"][1] == {
        "epoch": 2,
        "lr": 0.001,
        "seconds": 2.0,
        "peak_memory": 2**33,
        "train_loss": 0.5,
        "train_loss_classifier": 0.25,
        "val_ap": 0.5,
        "val_ar": 0.75,
        "test_ap": 0.375,
        "test_ar": 0.625,
        "val_ap_iou": 0.5,
        "val_ar_iou": 0.75,
        "val_ap_iobb": 0.75,
        "val_ar_iobb": 0.875,
        "test_ap_iou": 0.375,
        "test_ar_iou": 0.625,
        "test_ap_iobb": 0.625,
        "test_ar_iobb": 0.75,
    }


def test_people_read_the_log_s_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, _ = filled(tmp_path)
    lines = mmad(capsys, monkeypatch, "show", good[:8], "--db", database).out.splitlines()
    stripped = [line.strip() for line in lines]
    assert f"key: {good}" in stripped
    assert "answers: patience/patience 10/CXR/0 (documented as e069)" in stripped
    assert "finished, epoch 3 of 3" in stripped
    assert "[model]: 1,040,729" in stripped
    assert "best AP: epoch 2, val AP 0.5000 AR 0.7500, test AP 0.3750 AR 0.6250" in stripped
    assert "training AP is NaN" in stripped
    assert "$ mmad ablate ablations/patience.toml" in stripped
    setup = stripped[stripped.index("Setup") + 1 : stripped.index("Protocol")]
    assert "reduceLROnPlateau_patience: 10" not in setup  # the default
    assert 'lr_scheduler: "ReduceLROnPlateau"' in setup
    assert any(line.endswith("other fields have their defaults (mmad show --json lists all)") for line in setup)


def test_a_failed_run_says_why_and_where_its_log_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, bad = filled(tmp_path)
    out = mmad(capsys, monkeypatch, "show", bad[:12], "--db", database).out
    assert "OutOfMemoryError: 3 GiB were asked for" in out
    log = StorePaths(database).run(bad).log
    assert f"log: {log} (not there)" in out
    log.parent.mkdir(parents=True)
    log.write_text("Traceback")
    out = mmad(capsys, monkeypatch, "show", bad[:12], "--db", database).out
    assert f"log: {log}\n" in out


def test_an_ablation_is_all_its_runs_and_case_does_not_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(tmp_path)
    shown = json.loads(mmad(capsys, monkeypatch, "show", "Patience", "--db", database, "--json").out)
    assert [run["key"] for run in shown] == [good, bad]
    (one,) = [mmad(capsys, monkeypatch, "show", "patience/PATIENCE 10/cxr", "--db", database, "--json").out]
    assert json.loads(one)["key"] == good
    listed = json.loads(mmad(capsys, monkeypatch, "runs", "patience/patience 10/cxr", "--db", database, "--json").out)
    assert [run["key"] for run in listed] == [good]
    listed = json.loads(mmad(capsys, monkeypatch, "runs", "PATIENCE", "--db", database, "--json").out)
    assert [run["key"] for run in listed] == [good, bad]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("patience/patience 10/CRX", "no run 'patience/patience 10/CRX'; did you mean 'patience/patience 10/CXR'?"),
        ("patience/", "'patience/' is not one run: patience/patience 10/CXR/0, patience/patience 10/CXR+Clinical/0"),
        ("nothing like it", "no run 'nothing like it'; mmad runs lists them all"),
    ],
)
def test_an_unknown_run_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    database, _, _ = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "show", name, "--db", database, "--json")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1
