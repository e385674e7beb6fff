"""What the views say, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmad.queue.jobs import JobState
from mmad.queue.messages import EpochDone
from mmad.queue.slots import Slots

#: Every status a person may meet, those that matter most first, and its colour.
RANK = {
    "running": "cyan",
    "claimed": "cyan",
    "elsewhere": "magenta",
    "failed": "red",
    "interrupted": "yellow",
    "stopped": "yellow",
    "queued": "dim",
    "finished": "green",
}


def opening(states: Sequence[JobState], slots: Slots) -> str:
    """The first line: how many runs, and where."""
    threads = max((state.job.threads for state in states), default=1)
    return f"{len(states)} run{'s' * (len(states) != 1)} to train on {slots.describe(threads)}"


def epoch_line(done: EpochDone) -> str:
    """One committed epoch in one line."""
    words = [f"epoch {done.epoch}/{done.epochs}"]
    for name, value in (
        ("loss", done.train_loss),
        ("val loss", done.val_loss),
        ("val AP", done.val_ap),
        ("best", done.best_val_ap),
    ):
        if value is not None:
            words.append(f"{name} {number(value)}")
    return ", ".join([*words, f"{done.seconds:.1f} s"])


def where_now(state: JobState) -> str:
    """Where a running epoch stands."""
    now = state.progress
    if now is None and not state.device.startswith(("cpu", "cuda")):  # on a cluster: nothing within an epoch is told
        return f"{state.epochs_done} of {state.job.epochs} epochs done"
    if now is None:
        return "loading torch"
    if now.phase == "load":
        return "reading the data set" + (f", {now.step} of {now.steps} images" if now.step else "")
    loss = f", loss {number(now.loss)}" if now.loss is not None else ""
    return f"epoch {now.epoch}/{now.epochs}, {now.phase}, step {now.step} of {now.steps}{loss}"


def bar(part: float, width: int, *, plain: bool = False) -> str:
    """A bar of ``width`` characters filled to ``part`` (0 to 1); ``plain`` for terminals that know ASCII alone."""
    full = round(max(0.0, min(1.0, part)) * width)
    return ("#" if plain else "█") * full + ("-" if plain else "░") * (width - full)


def duration(total: float) -> str:
    """Seconds as ``42 s``, ``3 min 05 s``, ``2 h 07 min`` or ``3 d 04 h``."""
    whole = round(total)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def size(amount: float) -> str:
    """Bytes as ``312 MiB`` or ``1.5 GiB``."""
    return f"{amount / 2**20:.0f} MiB" if amount < 2**30 else f"{amount / 2**30:.1f} GiB"


def counted(counts: Mapping[str, int]) -> str:
    """``8 running, 1,200 queued``: every status that has runs, those that matter most first."""
    order = [*(status for status in RANK if status in counts), *(status for status in counts if status not in RANK)]
    return ", ".join(f"{counts[status]:,} {status}" for status in order if counts[status])


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def status_word(state: JobState) -> str:
    now = state.progress
    if state.phase != "running":
        return state.phase
    if now is None:
        return "starting" if not state.epoch_seconds else f"on {state.device}"
    return {"load": "loading", "train": "training", "val": "validating", "test": "testing"}[now.phase]


def goes_on(state: JobState) -> str:
    if not state.epochs_done:
        return ""
    return f", goes on after epoch {state.epochs_done} of {state.job.epochs}"


def closing(state: JobState) -> str:
    if state.phase == "finished":
        if state.best_val_ap is not None:
            return f"finished, best val AP {number(state.best_val_ap)}"
        return "finished" if state.val_ap is None else f"finished, final val AP {number(state.val_ap)}"
    word = "stopped by hand" if state.phase == "stopped" else "interrupted"
    return f"{word} after epoch {state.epochs_done} of {state.job.epochs}"
