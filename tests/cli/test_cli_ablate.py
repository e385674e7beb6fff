"""``mmad ablate``: refusals, dry runs, a real small training, and pretended ones that are killed and go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import children_of, one_core, wait_for
from typer.testing import CliRunner, Result

from mmad.base.errors import StoreError
from mmad.base.paths import DEFAULT_DATABASE
from mmad.base.records import EpochRecord
from mmad.cli.app import app
from mmad.data.phantom.generate import make_phantom
from mmad.scheduler.detached import Background, Detached
from mmad.store.store import Store

PRETENDING = Path(__file__).parents[1] / "scheduler" / "programs" / "pretending_mmad.py"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tiny: Callable[..., None]) -> Path:
    """A folder with ``tiny.toml``, which is the working folder."""
    for name in ("MMAD_DB", "MMAD_DATA", "MMAD_WEIGHTS", "MMAD_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch"))
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path, epochs=3)
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["ablate", *words])


def start(folder: Path, **plan: object) -> subprocess.Popen[str]:
    """``mmad ablate tiny.toml`` in a process of its own, which has one core and so trains one run at once.

    Its workers pretend to train, each run by ``plan`` (tests/scheduler/programs/pretending_worker.py).
    """
    (folder / "plan.json").write_text(json.dumps({"*": plan}))
    return subprocess.Popen(
        [sys.executable, str(PRETENDING), "ablate", "tiny.toml", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment() | {"PRETEND": str(folder)},
        preexec_fn=one_core,
    )


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MMAD_")}
    return {**kept, "TERM": "dumb"}


def epochs_of(folder: Path) -> dict[str, list[EpochRecord]]:
    """The epochs of every run, without what time and memory they took."""
    with Store.open(folder / "db/mmad.sqlite", read_only=True) as store:
        found = store.all_epochs([run.key for run in store.run_records()])
    return {key: [replace(epoch, seconds=0.0, peak_memory=0) for epoch in epochs] for key, epochs in found.items()}


def committed(folder: Path) -> int:
    try:
        return sum(len(epochs) for epochs in epochs_of(folder).values())
    except StoreError:  # not there yet
        return 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, write_tiny: Callable[..., None], warm_workers: None) -> Path:
    """The folder of a command that nobody disturbed, with what it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_tiny(folder, epochs=3)
    code = (
        "import os, sys\n"
        "os.environ['WARM'] = sys.argv.pop()  # of the workers alone\n"
        "from mmad.cli.app import app\n"
        "try:\n"
        "    app(['ablate', 'tiny.toml', '--device', 'cpu'])\n"
        "except SystemExit as end:\n"
        "    print('code', end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.environ["WARM"]],
        capture_output=True,
        text=True,
        cwd=folder,
        env={name: value for name, value in environment().items() if name != "WARM"},
        timeout=600,
        preexec_fn=one_core,
    )
    (folder / "out").write_text(done.stdout)
    (folder / "errors").write_text(done.stderr)
    return folder


@pytest.mark.slow
def test_a_pair_is_trained_without_torch_in_the_command_itself(undisturbed: Path) -> None:
    lines = (undisturbed / "out").read_text().splitlines()
    assert lines[-1] == "code 0 False", (undisturbed / "errors").read_text()
    assert lines[-2] == "write the report with: mmad report --html"
    assert lines[-3].startswith("default, ")
    assert "test AP" in lines[-3]
    assert lines[-4] == "2 of 2 runs finished"
    assert sum("epoch 3/3" in line for line in lines) == 2
    assert committed(undisturbed) == 6


@pytest.mark.slow
def test_the_same_command_again_has_nothing_to_do(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(undisturbed)
    again = invoke("tiny.toml", "--device", "cpu")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[0] == "nothing to do: 2 runs finished already"
    as_json = invoke("tiny.toml", "--json")
    content = json.loads(as_json.stdout)
    assert [run["status"] for run in content["runs"]] == ["finished"] * 2
    assert content["exit_code"] == 0
    assert content["pairs"][0]["reference"] == "CXR"
    assert content["pairs"][0]["other_result"]["epoch"] in (1, 2, 3)
    dry = invoke("tiny.toml", "--dry-run")
    assert "0 runs would be trained; nothing was written" in dry.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_a_killed_worker_is_started_again(here: Path, write_tiny: Callable[..., None]) -> None:
    write_tiny(here, epochs=3, pair=False)
    command = start(here, do=[[3, "wait"]])
    try:
        wait_for(lambda: committed(here) == 2)
        (victim,) = children_of(command.pid)
        victim.send_signal(signal.SIGKILL)
        out, errors = command.communicate(timeout=600)
    finally:
        command.kill()
    assert command.returncode == 0, errors
    assert "killed by SIGKILL, retrying it (1 of 2)" in out
    assert [[epoch.epoch for epoch in epochs] for epochs in epochs_of(here).values()] == [[1, 2, 3]]


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_a_killed_command_goes_on(here: Path) -> None:
    command = start(here, do=[[3, "wait"]])
    try:
        wait_for(lambda: committed(here) == 2)  # of the first run; the second did not begin
        workers = children_of(command.pid)
        command.kill()
        wait_for(lambda: not any(worker.is_running() for worker in workers))
    finally:
        command.kill()
        command.communicate()
    assert committed(here) == 2
    again = start(here)
    out, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert "resumes after epoch 2 of 3" in out
    assert [[epoch.epoch for epoch in epochs] for epochs in epochs_of(here).values()] == [[1, 2, 3]] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_ctrl_c_stops_with_130_and_says_how_to_go_on(here: Path) -> None:
    command = start(here, do=[[2, "wait"]])
    try:
        wait_for(lambda: committed(here) == 1)
        command.send_signal(signal.SIGINT)
        out, errors = command.communicate(timeout=600)
    finally:
        command.kill()
    assert command.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted; resume it with: mmad " in out


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_a_command_in_the_background_survives_its_terminal_is_followed_and_stopped(
    here: Path, call_mmad: Callable[..., Any]
) -> None:
    def detach(**plan: object) -> Detached:
        (here / "plan.json").write_text(json.dumps({"*": plan}))
        words = [sys.executable, str(PRETENDING), "ablate", "tiny.toml", "--device", "cpu", "--detach"]
        terminal = subprocess.run(
            words, cwd=here, env=environment() | {"PRETEND": str(here)}, capture_output=True, text=True
        )
        assert terminal.returncode == 0, terminal.stderr
        found = background.read()
        assert found is not None
        assert terminal.stdout.startswith(f"process {found.owner.pid} works in the background")
        assert "2 runs to train on CPU" in terminal.stderr
        assert background.alive(found)
        assert os.getsid(found.owner.pid) == found.owner.pid
        return found

    background = Background(str(DEFAULT_DATABASE))
    none = call_mmad("attach")
    assert (none.code, none.err.count("\n")) == (2, 1)
    assert (
        "no mmad ablate of this database trains in the background here; mmad ablate FILE --detach starts one"
        in none.err
    )
    began: list[Detached] = []
    try:
        began.append(first := detach(do=[[2, "wait"]]))
        os.kill(first.owner.pid, signal.SIGHUP)
        refused = call_mmad("ablate", "tiny.toml", "--detach")
        assert refused.code == 2
        assert (
            f"process {first.owner.pid} (mmad ablate tiny.toml --device cpu --detach) works in the back" in refused.err
        )
        wait_for(lambda: committed(here) == (2 if len(os.sched_getaffinity(0)) > 1 else 1))
        workers = children_of(first.owner.pid)
        assert background.alive(first)
        os.kill(first.owner.pid, signal.SIGKILL)
        wait_for(lambda: not any(worker.is_running() for worker in workers))
        lost = call_mmad("attach")
        assert lost.code == 2
        assert f"was killed; resume it with: cd {here} && mmad ablate tiny.toml --device cpu --detach" in lost.err
        began.append(second := detach(do=[[2, "wait!"]]))
        assert "asked to stop after the present step" in call_mmad("stop", "--scheduler").out
        followed = call_mmad("attach")
        assert followed.code == 130
        assert f"process {second.owner.pid} ended" in followed.err
        assert "resumes after epoch 1 of 3" in followed.out
        assert "interrupted; resume it with: mmad ablate tiny.toml --device cpu --detach" in followed.out
        assert call_mmad("stop", "--scheduler").out.startswith(f"nothing to stop: process {second.owner.pid} ended")
    finally:
        for one in began:
            if one.owner.alive:
                os.kill(one.owner.pid, signal.SIGKILL)


def test_what_has_no_effect_in_the_background_is_refused(here: Path, call_mmad: Callable[..., Any]) -> None:
    for words, line in (
        (("ablate", "tiny.toml", "--detach", "--dry-run"), "--dry-run: has no effect with --detach"),
        (("ablate", "tiny.toml", "--detach", "--json"), "--json: has no effect with --detach"),
        (("stop", "tiny", "--scheduler"), "tiny: names runs, and --scheduler is a command"),
        (("stop", "--all", "--scheduler"), "--all: has no effect here"),
    ):
        refused = call_mmad(*words)
        assert refused.code == 2
        assert line in refused.err
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_a_run_that_fails_gives_1_and_one_line(here: Path, call_mmad: Callable[..., Any]) -> None:
    wild = ("--set", "lr=10", "--set", "loss_weights={loss_classifier=1e30}", "--set", "epochs=1")
    code, out, errors = call_mmad("ablate", "tiny.toml", "--device", "cpu", "--json", *wild)
    assert code == 1, errors
    content = json.loads(out)
    assert [run["status"] for run in content["runs"]] == ["failed", "failed"]
    assert "the training diverged: " in content["runs"][0]["error"]
    assert sum(line.startswith("mmad: ") and "the training diverged: " in line for line in errors.splitlines()) == 4
    assert "Traceback" not in errors


def test_a_dry_run_touches_nothing(here: Path) -> None:
    done = invoke("tiny.toml", "--dry-run", "--set", "seeds=[0, 1]", "--set", "epochs=1")
    assert done.exit_code == 0, done.output
    assert "4 runs would be trained; nothing was written" in done.stdout
    assert "would train: tiny · epochs=1 seeds=[0,1] · default · CXR+Clinical · seed 1, 1 epoch" in done.stdout
    assert "the key will change" in done.stdout
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]
    rows = json.loads(invoke("tiny.toml", "--dry-run", "--json").stdout)["runs"]
    assert [row["arm"] for row in rows] == ["CXR", "CXR+Clinical"]
    assert all(row["would_run"] and row["status"] == "queued" for row in rows)


def test_missing_weights_are_refused_before_anything_is_made(here: Path) -> None:
    done = invoke("tiny.toml", "--set", "pretrained=true", "--set", "backbone=mobilenet_v3")
    assert str(done.exception) == (
        "pretrained weights are missing for mobilenet_v3 (mobilenet_v3_small-047dcff4.pth); fetch them with "
        "mmad weights --fetch, name their folder with --weights-dir, or train from scratch with --weights none"
    )
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]
    scratch = invoke("tiny.toml", "--set", "pretrained=true", "--weights", "none", "--dry-run")
    assert scratch.exit_code == 0


def test_what_only_the_device_or_timm_can_tell_is_refused_before_anything_is_made(here: Path) -> None:
    done = invoke("tiny.toml", "--device", "cpu", "--set", "mixed_precision=true")
    assert "mixed_precision = true needs a GPU of NVIDIA or AMD; set mixed_precision = false" in str(done.exception)
    done = invoke("tiny.toml", "--set", "backbone=timm:resnet18x")
    assert "timm has no such network; did you mean resnet18" in str(done.exception)
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


def test_a_short_clinical_vector_with_timm_is_judged_by_the_data_sets_columns(here: Path) -> None:
    words = ("backbone=timm:resnet10t", "use_clinical=true", "clinical_input_channels=2", "clinical_numeric=[]")
    done = invoke("tiny.toml", "--dry-run", "--weights", "none", *(part for w in words for part in ("--set", w)))
    assert done.exit_code == 0, done.exception


def test_a_device_that_is_not_there_is_refused(here: Path) -> None:
    done = invoke("tiny.toml", "--device", "tpu")
    assert str(done.exception) == "--device: no such device 'tpu'; use auto, cpu, cuda, cuda:N or mps"
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


def test_two_files_of_one_name_are_refused(here: Path) -> None:
    (here / "other").mkdir()
    shutil.copy2(here / "tiny.toml", here / "other")
    done = invoke("tiny.toml", "other/tiny.toml", "--dry-run")
    assert "has the same name as tiny.toml" in str(done.exception)
    assert "rename one of the files" in str(done.exception)


@pytest.mark.slow
def test_the_console_prints_one_line_and_2(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from mmad.cli.app import main; main()", "ablate", "none.toml"],
        capture_output=True,
        text=True,
        cwd=here,
        env=environment(),
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("mmad: none.toml: ")


@pytest.mark.slow
def test_an_image_that_cannot_be_decoded_stops_the_command_before_anything_is_queued(
    here: Path, monkeypatch: pytest.MonkeyPatch, call_mmad: Callable[..., Any]
) -> None:
    monkeypatch.setenv("MMAD_CACHE", str(here / "cache"))
    make_phantom(here / "set", studies=12, image_size=64)
    image = here / "set" / "images" / "s000003.png"
    image.write_bytes(image.read_bytes()[:200])
    answer = call_mmad("ablate", "tiny.toml", "--data", "set", "--device", "cpu")
    line = answer.err.splitlines()[-1]
    assert answer.code == 2
    assert line.startswith(f"mmad: {Path('set') / 'images' / 's000003.png'}: study 's000003': image cannot be decoded")
    assert not (here / "db").exists()
    assert not [file for file in (here / "cache" / "images").rglob("*") if file.is_file()]
