"""The views: lines for pipes, a table for terminals, and the words of both."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmad.base.records import Progress
from mmad.scheduler import progress as room
from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import Job, JobState, remaining, seconds_left
from mmad.scheduler.progress import LiveView, PlainView, bar, choose_view, closing, epoch_line, number
from mmad.scheduler.supervisor_link import EpochDone


def state(name: str = "default", phase: str = "running", **values: object) -> JobState:
    job = Job(f"key-{name}", "quick", name, "CXR", 0, 4)
    return JobState(job, phase=phase, device="cpu", **values)  # type: ignore[arg-type]


def epoch_done(epoch: int = 1, seconds: float = 2.0) -> EpochDone:
    return EpochDone("k", epoch, 4, seconds, 0.01, train_loss=1.5, val_loss=1.25, val_ap=0.1, best_val_ap=0.2)


class _Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_plain_lines_tell_start_epoch_and_end() -> None:
    out, errors = io.StringIO(), io.StringIO()
    view = PlainView(out, errors)
    one, two = state(epochs_done=1), state("other", phase="queued")
    with view:
        view.begin([one, two], Slots(cores=2))
        view.started(one)
        one.epoch_seconds.append(2.0)
        one.epochs_done = 2
        view.epoch(one, epoch_done(2))
        one.phase = "finished"
        one.best_val_ap = 0.25
        view.ended(one)
    assert out.getvalue().splitlines() == [
        "2 runs to train on CPU, 2 cores, 2 runs at once",
        "default · CXR · seed 0: starting on cpu, resumes after epoch 1 of 4",
        "default · CXR · seed 0: epoch 2/4, loss 1.500, val loss 1.250, val AP 0.100, best 0.200, 2.0 s, "
        "all done in 8 s",
        "default · CXR · seed 0: finished, best val AP 0.250 (1 of 2 ended)",
    ]
    assert errors.getvalue() == ""


def test_a_run_that_keeps_no_best_ends_with_its_final_figure() -> None:
    assert closing(state(phase="finished", val_ap=0.125)) == "finished, final val AP 0.125"
    assert closing(state(phase="finished", val_ap=0.125, best_val_ap=0.25)) == "finished, best val AP 0.250"
    assert closing(state(phase="finished")) == "finished"


def test_a_failure_is_an_error_line_at_once() -> None:
    out, errors = io.StringIO(), io.StringIO()
    view = PlainView(out, errors)
    broken = state(phase="failed", error="out of memory")
    view.begin([broken], Slots(cores=1))
    view.ended(broken)
    assert errors.getvalue() == "mmad: default · CXR · seed 0: failed: out of memory\n"


def test_a_silent_epoch_says_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    monkeypatch.setattr(room, "seconds", lambda: moment)
    out = io.StringIO()
    view = PlainView(out, out)
    slow = state()
    view.begin([slow], Slots(cores=1))
    view.started(slow)
    slow.progress = Progress("k", 2, 4, "train", 7, 40, 0.5)
    moment = 31.0
    view.tick()
    view.tick()
    assert out.getvalue().splitlines()[2:] == ["default · CXR · seed 0: epoch 2/4, train, step 7 of 40, loss 0.500"]


def test_a_reader_that_went_away_stops_nothing() -> None:
    view = PlainView(_Closed(), _Closed())
    view.begin([state(phase="failed", error="x")], Slots(cores=1))
    view.note("still here")


def test_letters_that_a_terminal_cannot_show_are_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    PlainView(stream, stream).note("default · CXR")
    assert raw.getvalue() == b"default ? CXR\n"


def test_a_pipe_gets_lines_and_a_terminal_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_view(io.StringIO()), PlainView)
    assert isinstance(choose_view(Terminal()), LiveView)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_view(Terminal()), PlainView)


def drawn(states: list[JobState], height: int = 30) -> str:
    out = io.StringIO()
    console = Console(file=out, width=110, height=height, force_terminal=True, color_system=None)
    view = LiveView(out, console)
    view.begin(states, Slots(cores=2))
    console.print(view._draw())
    return out.getvalue()


def test_the_table_shows_every_column_of_a_run() -> None:
    run = state(epochs_done=1, progress=Progress("k", 2, 4, "train", 5, 10, 1.5), loss=1.5, val_ap=0.1, best_val_ap=0.2)
    run.epoch_seconds.append(60.0)
    text = drawn([run, state("later [bold]", phase="queued")])
    row = next(line for line in text.splitlines() if line.startswith("default"))
    assert " ".join(row.split()) == "default CXR 0 training 2/4 █████░░░░░ 1.500 0.100 0.200 2 min 30 s"
    assert "later [bold]" in text
    assert "0 of 2 runs ended" in text
    assert "to go" in text


def test_a_long_table_is_cut_to_the_terminal_and_keeps_what_runs() -> None:
    states = [state(f"s{i:02d}", phase="finished") for i in range(60)]
    states[55].phase = "running"
    states[50].phase = "failed"
    text = drawn(states, height=15)
    assert "s55" in text
    assert "s50" in text
    assert "… and 52 finished" in text
    assert len(text.splitlines()) <= 15


def test_nothing_is_drawn_before_the_runs_are_known() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with LiveView(out, console):
        pass
    assert "runs ended" not in out.getvalue()


def test_an_interrupted_run_counts_what_it_did_and_a_failed_one_is_over() -> None:
    assert state(phase="interrupted", epochs_done=3).epochs_over == 3
    assert state(phase="failed", epochs_done=1).epochs_over == 4
    assert state(progress=Progress("k", 1, 4, "train", 5, 10)).epochs_over == 0.5


def test_times_left() -> None:
    running = state(epochs_done=1, progress=Progress("k", 2, 4, "train", 5, 10))
    waiting = state("b", phase="queued")
    assert seconds_left([running, waiting], 2) is None
    running.epoch_seconds += [2.0, 4.0]
    assert remaining(running) == pytest.approx(3.0 * 2.5)
    assert seconds_left([running, waiting], 1) == pytest.approx(3.0 * 6.5)
    assert seconds_left([running, waiting], 2) == pytest.approx(12.0)
    running.phase = waiting.phase = "finished"
    assert seconds_left([running, waiting], 2) == 0.0


def test_bars_and_numbers_stay_in_bounds() -> None:
    assert bar(-1, 4) == "░░░░"
    assert bar(0.5, 4) == "██░░"
    assert bar(7, 4) == "████"
    assert number(None) == ""
    assert number(123456.0) == "1.23e+05"
    assert epoch_line(EpochDone("k", 3, 9, 1.25, 0.1)) == "epoch 3/9, 1.2 s"
