"""What a scheduler tries again and how: alone, at half the batch, later; and whom it lets go first."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for
from queue_bench import Bench

from mmad.config.load import load_ablation
from mmad.config.runs import DataSource
from mmad.config.setup import ModelSetup
from mmad.scheduler import scheduler
from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import Job, Summary
from mmad.scheduler.progress import PlainView
from mmad.scheduler.scheduler import Options, run_jobs
from mmad.scheduler.submit import halved, memory_key, narrowed, queue_up, require_named
from mmad.scheduler.worker import run_spec
from mmad.store.lookup import member_summaries
from mmad.store.store import Store

MakeBench = Callable[..., Bench]


def run_off(
    bench: Bench, jobs: list[Job] | None = None, slots: Slots | None = None, options: Options | None = None
) -> tuple[Summary, str]:
    out = io.StringIO()
    summary = run_jobs(
        bench.database,
        jobs if jobs is not None else bench.jobs(),
        slots or Slots(cores=1),
        PlainView(out, out),
        replace(options or Options(), command=bench.options().command),
    )
    return summary, out.getvalue()


@pytest.mark.slow
def test_out_of_memory_beside_others_is_tried_again_alone(bench: MakeBench) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "memory"]]}, s1={"pause": 0.05})
    summary, out = run_off(two, slots=Slots(("cuda:0",), cores=4, per_gpu=2))
    assert summary.exit_code == 0, out
    assert "s0 · CXR · seed 0: out of memory beside other runs, retrying it alone on a device" in out
    assert two.statuses() == ["finished"] * 2


@pytest.mark.slow
def test_out_of_memory_alone_fails_without_another_attempt(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[1, "memory!"]]})
    summary, _ = run_off(one, slots=Slots(("cuda:0",), cores=4, per_gpu=2))
    assert summary.failed[0].error.startswith("out of memory on cuda:0")
    assert one.run(0).attempts == 2


@pytest.mark.slow
def test_a_file_may_allow_half_the_batch_under_a_key_of_its_own(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[1, "memory!"]]})
    jobs = [replace(job, accumulates=True) for job in one.jobs()]
    summary, out = run_off(one, jobs, options=Options(halve=halved))
    assert summary.exit_code == 0, out
    assert "out of memory alone; trained at half the batch as run" in out
    with Store.open(one.database, read_only=True) as store:
        asked, smaller = store.run_records()
        (member,) = store.ablations()[0].members
        assert (asked.status, asked.replacement, smaller.status) == ("failed", smaller.key, "finished")
        assert (smaller.setup["batch_size"], smaller.setup["gradient_accumulation"]) == (
            asked.setup["batch_size"] // 2,
            2,
        )
        assert member.key == smaller.key
        assert member.overrides == (f"batch_size={smaller.setup['batch_size']}", "gradient_accumulation=2")
        assert store.warnings(smaller.key)[0].startswith("trained with batch_size 2 and gradient_accumulation 2")
        assert [s.member.key for s in member_summaries(store)] == [smaller.key]
        assert run_spec(smaller).key == smaller.key


@pytest.mark.parametrize(
    "fields", [{"batch_size": 3}, {"batch_size": 2, "gpus_per_run": 2, "record_training_performance": False}]
)
def test_a_batch_that_has_no_half_is_not_halved(bench: MakeBench, fields: dict[str, Any]) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        run = run_spec(store.run(one.keys[0]))
        whole = replace(run, setup=ModelSetup(backbone="custom1", **fields))
        store.replace_run(one.keys[0], whole)
        assert halved(store, replace(one.jobs()[0], key=whole.key)) is None


@pytest.mark.slow
def test_priorities_and_their_change_are_obeyed(bench: MakeBench) -> None:
    four = bench(runs=4, epochs=1)
    with Store.open(four.database) as store:
        store.prioritise([four.keys[2]], 5)
        store.prioritise([four.keys[1]], -1)
    run_off(four)
    order = [line.split()[0] for line in (four.folder / "trace").read_text().splitlines()]
    assert [four.keys.index(key) for key in order] == [2, 0, 3, 1]


@pytest.mark.slow
def test_a_run_waits_for_the_one_it_goes_on_from(bench: MakeBench) -> None:
    three = bench(runs=3, epochs=1)
    jobs = three.jobs()
    jobs[0] = replace(jobs[0], parent=jobs[1].key)
    run_off(three, jobs, slots=Slots(cores=3))
    order = [three.keys.index(line.split()[0]) for line in (three.folder / "trace").read_text().splitlines()]
    assert order.index(1) < order.index(0)


@pytest.mark.slow
def test_a_run_whose_parent_fails_fails_with_its_name(bench: MakeBench) -> None:
    two = bench(runs=2, epochs=1)
    two.plan(s1={"do": [[1, "fail"]]})
    jobs = two.jobs()
    summary, _ = run_off(two, [replace(jobs[0], parent=jobs[1].key), jobs[1]])
    errors = {failure.job.setting: failure.error for failure in summary.failed}
    assert errors["s0"].startswith(f"the run it continues ({two.keys[1][:12]}) is failed; train that one first")
    assert two.statuses() == ["failed", "failed"]


@pytest.mark.slow
def test_after_its_hours_a_command_stops_as_by_ctrl_c(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "wait"]]})
    real = scheduler.seconds
    monkeypatch.setattr(scheduler, "seconds", lambda: real() + 3600 * bool(two.trained()))
    summary, out = run_off(two, options=Options(max_hours=1))
    assert summary.exit_code == 130
    assert "hours are over: stopping 1 run after the present step" in out
    assert two.statuses() == ["interrupted", "queued"]


@pytest.mark.slow
def test_a_run_is_stopped_by_hand_while_it_is_trained(bench: MakeBench) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "wait"]]})
    command = two.command(cores=1)
    wait_for(lambda: len(two.trained()) >= 1)
    with Store.open(two.database) as store:
        store.stop([two.keys[0]])
    out, errors = command.communicate(timeout=600)
    assert command.returncode == 0, errors
    assert two.statuses() == ["stopped", "finished"]
    assert two.run(0).error == "stopped by hand"
    assert "s0 · CXR · seed 0: stopped by hand after epoch" in out
    again = two.command(cores=1)  # which leaves it alone
    again.communicate(timeout=600)
    assert two.statuses() == ["stopped", "finished"]


@pytest.mark.slow
def test_what_a_worker_writes_after_its_run_was_taken_away_is_refused(bench: MakeBench) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"steps": 0, "do": [[2, "hold"]]})  # without a step it does not see that its run is gone
    command = one.command()
    held = one.folder / "held"
    wait_for(held.exists)
    with Store.open(one.database) as store:
        assert store.take_away(one.keys) == tuple(one.keys)
    held.unlink()
    _, errors = command.communicate(timeout=600)
    assert command.returncode == 0, errors
    with Store.open(one.database, read_only=True) as store:
        assert [record.epoch for record in store.epoch_records(one.keys[0])] == [1, 2, 3, 4]
    assert [one.trained()[one.keys[0], epoch] for epoch in range(1, 5)] == [1, 2, 1, 1]  # the second was refused once


@pytest.mark.slow
@pytest.mark.parametrize(("isolate", "count"), [(False, 1), (True, 4)])
def test_one_process_trains_many_runs_unless_each_gets_its_own(bench: MakeBench, isolate: bool, count: int) -> None:
    four = bench(runs=4, epochs=1)
    run_off(four, options=Options(isolate=isolate))
    assert four.statuses() == ["finished"] * 4
    assert len({line.split()[2] for line in (four.folder / "trace").read_text().splitlines()}) == count


FILE = """
[phantom]
studies = 16
[setup]
backbone = "custom1"
pretrained = false
lr_scheduler = "ReduceLROnPlateau"
[grid]
reduceLROnPlateau_patience = [5, 10]
[protocol]
seeds = [0, 1]
epochs = 2
"""


def test_only_narrows_to_settings_arms_and_seeds(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(FILE)
    ablation = load_ablation(file).on(DataSource("/nowhere", "phantom", "f" * 64))
    setting = ablation.members[0].setting
    for words, count in (
        ((), 8),
        (("CXR",), 4),
        ((setting,), 4),
        (("seed=1",), 4),
        ((f"some/{setting}/CXR",), 2),
        (("some/*/CXR/0",), 2),
        (("CXR", "CXR+Clinical"), 8),
    ):
        assert len(narrowed(ablation, words).members) == count, words
    with pytest.raises(Exception, match=re.escape("--only: no setting, arm or seed 'CRX'; did you mean CXR?")):
        require_named([ablation], ["CRX"])
    database = str(tmp_path / "mmad.sqlite")
    assert len(queue_up([ablation], database, only=("seed=1",), priority=4)) == 4
    with Store.open(database, read_only=True) as store:
        assert [member.seed for member in store.ablations()[0].members] == [1] * 4  # nothing but what was named
        assert [run.priority for run in store.run_records()] == [4] * 4


def test_rates_do_not_decide_what_memory_a_run_needs() -> None:
    setup = ModelSetup(backbone="resnet18")
    assert memory_key(setup) == memory_key(setup.model_copy(update={"lr": 0.5, "reduceLROnPlateau_patience": 3}))
    assert memory_key(setup) == memory_key(setup.model_copy(update={"momentum": 0.5}))
    for larger in ({"batch_size": 8}, {"fuse_stride": 2}, {"rpn_nms_thresh": 0.9}, {"box_head_dropout_rate": 0.1}):
        assert memory_key(setup) != memory_key(setup.model_copy(update=larger))
    assert memory_key(setup) == memory_key(setup.model_copy(update={"momentum": 0.5, "rpn_fg_iou_thresh": 0.6}))
    assert memory_key(setup) != memory_key(setup.model_copy(update={"optimiser": "adamw"}))
