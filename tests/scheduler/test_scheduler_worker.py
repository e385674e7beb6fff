"""The worker's parts: the row it reads, the lines it makes of failures, the streams it diverts."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from queue_bench import Bench

from mmad.base.clock import now
from mmad.base.errors import MmadError, SpecError
from mmad.base.paths import StorePaths
from mmad.base.records import EpochRecord, RunRecord
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import RECIPE, DataSource, RunSpec
from mmad.config.setup import ModelSetup
from mmad.scheduler import worker
from mmad.scheduler.devices import CONTEXT, GpuUse
from mmad.scheduler.supervisor_link import Ended, Shortage, SupervisorLink, TrainRequest
from mmad.scheduler.worker import (
    arguments_of,
    failure_line,
    one_line,
    parse,
    retry_of,
    run_spec,
    set_aside,
    shortage,
)
from mmad.store.store import Store

SPEC = RunSpec(
    ModelSetup(backbone="custom", lr=1, name="CXR"),
    TrainingProtocol(epochs=4),
    DataSource("there", "phantom", "f" * 64),
)


def record(spec: RunSpec = SPEC) -> RunRecord:
    setup, protocol = spec.recorded()
    return RunRecord(
        spec.key, "running", setup, protocol, "phantom", "there", "f" * 64, spec.recipe, now(), content=spec.key
    )


def test_a_row_gives_back_its_specification() -> None:
    spec = run_spec(record(), Path("moved"))
    assert spec.key == SPEC.key
    assert spec.data.path == "moved"
    assert run_spec(record()).data.path == "there"
    assert spec.protocol.epochs == 4


def test_a_row_with_a_key_of_an_earlier_form_is_known_by_it() -> None:
    older = run_spec(replace(record(), key="0" * 64))
    assert (older.key, older.content_key) == ("0" * 64, SPEC.key)


def test_a_row_of_another_recipe_is_not_trained() -> None:
    with pytest.raises(SpecError, match=f"queued under recipe {RECIPE + 1}, this version trains recipe {RECIPE}"):
        run_spec(replace(record(), recipe=RECIPE + 1))


@pytest.mark.parametrize("change", [{"lr": 0.5}, {"lr": -1}, {"shade": 3}])
def test_an_edited_row_is_not_trained(change: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=f"run {SPEC.key[:12]}: "):
        run_spec(replace(record(), setup={**record().setup, **change}))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "ValueError: two lines (log: run.log)"),
        (KeyError(), "KeyError: KeyError (log: run.log)"),
        (
            MemoryError(),
            "out of memory on cuda:0 (MemoryError); lower batch_size or image_size, or free memory (log: run.log)",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB. And so on"),
            "out of memory on cuda:0 (CUDA out of memory); "
            "lower batch_size or image_size, or free memory (log: run.log)",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "[Errno 28] No space left on device; free space on that disk and run the command again (log: run.log)",
        ),
    ],
)
def test_every_failure_becomes_one_line(error: Exception, line: str) -> None:
    assert failure_line(error, "cuda:0", Path("run.log")) == line


def test_a_failure_s_message_is_one_line() -> None:
    assert one_line(MmadError("a\nb", where="x")) == "x: a b"


def test_the_command_line_is_read_whole(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--database", "a.sqlite", "--key", "k", "--device", "cuda:1", "--data", "d", "--weights-dir", "w"]
    request = TrainRequest("a.sqlite", "k", "cuda:1", Path("d"), Path("w"), "mmad ablate x")
    assert parse([*words, "--command-line", "mmad ablate x"]) == request
    assert parse(arguments_of(request)) == request
    whole = replace(request, checkpoint_every=500, tensorboard=True, resume=True)
    assert parse(arguments_of(whole)) == whole
    assert parse(["--database", "a", "--key", "k"]) == TrainRequest("a", "k")
    assert parse(["--serve"]) is None
    with pytest.raises(SystemExit, match="2"):
        parse(["--key", "k"])
    assert "name the run with --database and --key" in capsys.readouterr().err


@pytest.mark.slow
def test_a_worker_without_its_database_ends_with_a_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mmad.scheduler.worker",
        "--database",
        str(tmp_path / "no.sqlite"),
        "--key",
        "ab" * 32,
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ))
    assert done.returncode == 1
    end = json.loads(done.stdout)
    assert (end["type"], end["status"]) == ("end", "failed")
    assert "no such database" in end["error"]
    assert not (tmp_path / "no.sqlite").exists()
    assert "no such database" in StorePaths(str(tmp_path / "no.sqlite")).run("ab" * 32).log.read_text()


def test_checkpoints_of_epochs_the_database_lacks_are_set_aside(bench: Callable[..., Bench]) -> None:
    made = bench(runs=1)
    key = made.keys[0]
    with Store.open(made.database) as store:
        run = store.run_paths(key)
        assert set_aside(store, key) is None
        for epoch in (1, 2):
            store.commit_epoch(key, EpochRecord(epoch, 1e-3, 1.0, 0, ()))
        run.checkpoints.mkdir(parents=True)
        run.checkpoint(2, "a" * 64).touch()
        run.checkpoint(3, "b" * 64).touch()  # what a kill kept from the database
        assert set_aside(store, key) is None
        run.checkpoint(4, "c" * 64).touch()
        aside = set_aside(store, key)
        assert aside is not None
        assert [file.name[:11] for file in sorted(aside.iterdir())] == ["epoch-00002", "epoch-00003", "epoch-00004"]
        assert not run.checkpoints.exists()
        store.commit_epoch(key, EpochRecord(9, 1e-3, 1.0, 0, ()))  # not the next one: the gap counts
        run.checkpoints.mkdir()
        run.checkpoint(9, "d" * 64).touch()
        again = set_aside(store, key)
        assert again not in (None, aside)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_run_that_was_stopped_by_hand_gets_no_other_attempt_when_it_fails(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    one = bench(runs=1)
    (key,) = one.keys

    def attempt(request: TrainRequest, record: RunRecord, store: Store, link: SupervisorLink) -> Ended:
        if stopped:
            store.stop([request.key])
        return Ended(request.key, "failed", "the disk was away", "transient")

    monkeypatch.setattr(worker, "attempt", attempt)
    reading, writing = os.pipe()
    ended = worker.work(TrainRequest(one.database, key), SupervisorLink(writing))
    os.close(reading)
    os.close(writing)
    assert (ended.status, ended.retry) == ("failed", None if stopped else "transient")
    assert one.run(0).error == "the disk was away"


FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB is free. "
    "Process 4711 has 3.00 GiB memory in use. Including non-PyTorch memory, this process has 4.00 GiB memory in use. "
    "Of the allocated memory 3.40 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated."
)


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "CUDA error: all CUDA-capable devices are busy or unavailable",
    ],
)
def test_failures_of_a_gpu_for_want_of_memory_are_recognised(text: str) -> None:
    error = RuntimeError(text)
    assert retry_of(error) == "memory"
    assert failure_line(error, "cuda:0", Path("run.log")).startswith("out of memory on cuda:0 (")
    assert retry_of(RuntimeError("CUDA error: device-side assert triggered")) is None


@pytest.mark.parametrize(
    ("text", "needed", "others"),
    [(FULL, 6 * 2**30, 3 * 2**30), ("CUBLAS_STATUS_ALLOC_FAILED", 3 * 2**30 + CONTEXT, 4 * 2**30 - CONTEXT)],
)
def test_a_shortage_says_what_was_needed_and_what_others_held(
    monkeypatch: pytest.MonkeyPatch, text: str, needed: int, others: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    assert shortage(RuntimeError(text), "cuda:0") == Shortage(needed, others, 8 * 2**30)
    assert shortage(RuntimeError(text), "cpu") is None


def test_a_gpu_without_room_for_a_context_is_asked_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    gpu = GpuUse(0, "T4", "GPU-0", None, 2**30, 8 * 2**30, exclusive=True, processes=1)
    monkeypatch.setattr(worker, "look_at_gpu", lambda device: gpu)
    found = shortage(RuntimeError("CUDA error: out of memory"), "cuda:0")
    assert found == Shortage(CONTEXT, 2**30, 8 * 2**30)


def test_an_operation_that_an_apple_gpu_lacks_is_named() -> None:
    error = NotImplementedError("The operator 'aten::nonesuch' is not currently implemented for the MPS device.")
    line = failure_line(error, "mps", Path("run.log"))
    assert line.startswith("torch has no such operation for Apple GPUs (The operator 'aten::nonesuch' is not")
    assert line.endswith("use --device cpu (log: run.log)")
