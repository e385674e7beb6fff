"""Runs as jobs of a Slurm cluster, through submitit: stopped in time, requeued, resumed.

What is handed out at one moment is one array of jobs, a task for each run: Slurm is asked once.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmad.base.clock import seconds as clock
from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.scheduler.devices import Slot, Slots
from mmad.scheduler.executors.base import ClusterSlots, Event, require, unwritable, worker_arguments, worker_environment
from mmad.scheduler.executors.node_process import NodeProcess
from mmad.scheduler.executors.polling import PolledExecutor, explained, printed
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import WORKER, Exited
from mmad.scheduler.supervisor_link import TrainRequest

#: The option that lets a worker resume the run it was interrupted in.
RESUME = "--resume"
#: Jobs in Slurm's queue at once, and minutes that each may take, unless ``--slurm`` says otherwise.
_JOBS, _MINUTES = 32, 24 * 60
#: Seconds before the end of a job's time, or of its node, at which its worker is asked to stop; what it has of them.
_NOTICE = 120
#: How often a run may use up its job's time.
_MAX_REQUEUES = 1000
#: Seconds between two questions for states, and of them what a result that is on its way may take.
_LOOK, _LATE = 5.0, 15.0
_SIGKILL = -9
#: What mmad itself decides about a job.
_OURS = frozenset(
    [
        "additional_parameters",
        "array",
        "array_parallelism",
        "error",
        "job_name",
        "nodes",
        "ntasks",
        "ntasks_per_node",
        "num_gpus",
        "open_mode",
        "output",
        "requeue",
        "signal",
        "signal_delay_s",
        "stderr_to_stdout",
        "use_srun",
    ]
)
#: Options that submitit takes as lists, each of one shell command or word here.
_LISTS = ("setup", "teardown", "srun_args")
_GPUS = ("gpus", "gpus_per_node", "gpus_per_task")


class Command:
    """What a job does, for submitit: a command line, stopped and requeued when its time is up or its node is wanted.

    It carries words and numbers alone.

    Args:
        words: the command line behind the node's Python.
        environment: what is set beside the job's own variables.
        grace: seconds that a worker has for its present step.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], grace: float) -> None:
        self.words, self.environment, self.grace = list(words), dict(environment), grace
        self._process: NodeProcess | None = None

    def __call__(self) -> int:
        """Runs it to its end; its exit code. Its last lines go to the job's output."""
        self._process = process = NodeProcess(self.words, self.environment)
        try:
            process.wait()
        finally:
            process.kill()
        process.wait(self.grace)
        for line in process.result["lines"]:
            print(line)
        return process.result["code"]

    def checkpoint(self) -> Any:
        """The job's time is up, or its node is wanted: stops at a safe point; what to queue again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and not self._process.over:
            self._process.stop()
            if not self._process.wait(self.grace):
                self._process.kill()
                self._process.wait(self.grace)
        words = self.words if RESUME in self.words else [*self.words, RESUME]
        return DelayedSubmission(Command(words, self.environment, self.grace))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}


def require_slurm() -> None:
    """Refuses a machine that cannot hand jobs to Slurm."""
    require("submitit", "slurm")
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        hint = "run this on a login node of the cluster"
        raise MmadError("there is no sbatch here", where="--executor slurm", hint=hint)


def parse_slurm(given: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` words, each of one option or of several with commas between them, as options of sbatch.

    Raises:
        MmadError: a word of another form, twice the same key, or one that mmad decides itself.
    """
    found: dict[str, str] = {}
    for word in given:
        for part in re.split(r",(?=[\w-]+=)", word):
            key, equals, value = part.strip().partition("=")
            key = key.strip().lstrip("-").replace("-", "_")
            if not equals or not key or not value.strip():
                raise MmadError(
                    f"{part!r} is not KEY=VALUE", where="--slurm", hint="as in --slurm partition=gpu,time=240"
                )
            if key in _OURS:
                raise MmadError(f"{key} is set by mmad", where="--slurm", hint="leave it out")
            if key in found:
                raise MmadError(f"{key} is there twice", where="--slurm", hint="leave one out")
            found[key] = value.strip()
    return found


def minutes(text: str) -> int:
    """A time limit in Slurm's forms (``MIN``, ``MIN:SEC``, ``H:MIN:SEC``, ``D-H``, ``D-H:MIN``, ``D-H:MIN:SEC``)."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or (dash and not days.isdecimal()) or len(parts) > 3:
        raise MmadError(
            f"time={text} is no time limit", where="--slurm", hint="as in time=240, time=4:00:00 or time=2-0"
        )
    numbers = [int(part) for part in parts]
    if dash:
        hour, minute, second = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hour, minute, second = numbers
    else:
        hour, (minute, second) = 0, [*numbers, 0][:2]
    return max(1, int(days or 0) * 1440 + hour * 60 + minute + (second > 0))


def slurm_slots(given: Sequence[str], device: str = "auto") -> ClusterSlots:
    """The slots of a Slurm cluster: as many jobs as ``jobs=N`` says; on GPUs where an option asks for them.

    Raises:
        MmadError: options that are none, or another device than auto, cpu, cuda.
    """
    options = parse_slurm(given)
    word = device.strip().lower()
    if word not in ("auto", "cpu", "cuda"):
        raise MmadError(f"{device}: a cluster places runs by itself", where="--device", hint="use auto, cpu or cuda")
    text = options.get("jobs", str(_JOBS))
    if not text.isdecimal() or int(text) < 1:
        raise MmadError(f"jobs={text} is not a number of jobs", where="--slurm", hint="as in jobs=16")
    gpus = word == "cuda" or (word == "auto" and asks_for_gpus(options))
    where = f"partition {options['partition']}" if "partition" in options else "its default partition"
    return ClusterSlots(
        f"Slurm, {where}{', a GPU each' if gpus else ''}", gpus=int(gpus), jobs=int(text), largest=_asked_gpus(options)
    )


def asks_for_gpus(options: Mapping[str, str]) -> bool:
    """Whether an option asks for GPUs: ``gres`` may name other things too (``gres=lscratch:100,gpu:1``)."""
    return bool(_gpu_words(options))


def _gpu_words(options: Mapping[str, str]) -> list[str]:
    """What the options say of GPUs: ``2``, ``a100:2``, or nothing where they ask for one."""
    words = [options[name] for name in _GPUS if name in options]
    for part in options.get("gres", "").split(","):
        name, _, rest = part.strip().removeprefix("gres/").replace("=", ":").partition(":")
        words += [rest] if name == "gpu" else []
    return words


def _asked_gpus(options: Mapping[str, str]) -> int | None:
    """How many GPUs the options give a job; None where mmad asks for as many as its run takes."""
    counts = [re.search(r"(?:^|:)(\d+)$", word) for word in _gpu_words(options)]
    return min((1 if count is None else int(count[1]) for count in counts), default=None)


@dataclass
class _SlurmAttempt:
    """A run, its slot, its job (None until submitted), whether it was cancelled, and since when it looks over."""

    state: JobState
    slot: Slot
    job: Any = None
    cancelled: bool = False
    over: float | None = None


@dataclass
class SlurmExecutor(PolledExecutor):
    """Implements ``mmad.scheduler.executors.base.Executor`` with jobs of a Slurm cluster.

    Args:
        slots: of ``slurm_slots``.
        template: the request of every run, but for its key, device and data; every node reaches the database under
            its name.
        given: the words of ``--slurm``.
        cluster: submitit's word for where jobs run: ``slurm``, or ``local`` for processes of this machine.
        program: the worker, as a node's Python takes it.
    """

    slots: Slots
    template: TrainRequest
    given: Sequence[str] = ()
    cluster: str = "slurm"
    program: Sequence[str] = WORKER
    _attempts: dict[str, _SlurmAttempt] = field(default_factory=dict)
    _looked: float = 0.0

    def __post_init__(self) -> None:
        import submitit

        self._options = parse_slurm(self.given)
        self._minutes = minutes(self._options.get("time", str(_MINUTES)))
        self.folder = StorePaths(self.template.database).runs.absolute() / "slurm"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._submitit = submitit.AutoExecutor(self.folder, cluster=self.cluster, **self._limits())
            self._submitit.update_parameters(**self._common())
        except OSError as error:
            raise unwritable(self.folder, error) from None
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            line = " ".join(str(error).split())[:200]
            raise MmadError(line, where="--slurm", hint="give options that sbatch knows") from None

    def submit(self, state: JobState) -> bool:
        """Takes the run into the array of jobs that is submitted next."""
        slot = self.slots.take(state.job.threads, state.job.memory_key, gpus=state.job.gpus)
        if slot is None:
            return False
        self._poller.follow(state)
        self._attempts[state.job.key] = _SlurmAttempt(state, slot)
        state.device = "Slurm"
        return True

    def poll(self, seconds: float) -> Iterator[Event]:
        """What the store says of the runs, and which jobs are over."""
        yield from self._hand_over()
        time.sleep(seconds)
        if not self._attempts:
            return
        yield from self._poller.poll()
        if clock() - self._looked < (_LOOK if self.cluster == "slurm" else 0.5):
            return
        self._looked = clock()
        for key, attempt in list(self._attempts.items()):
            if self._over(key, attempt):
                lines = printed(Path(attempt.job.paths.stdout))
                exited = _exited(attempt.job, lines)
                yield from self._ended(key, attempt, lines, exited)
                self._tidy(attempt.job)

    def _ended(self, key: str, attempt: _SlurmAttempt, lines: Sequence[str], exited: Exited) -> Iterator[Event]:
        del self._attempts[key]
        self.slots.give_back(attempt.slot)
        yield from self._poller.ended(key, lines, exited, cancelled=attempt.cancelled)

    def _hand_over(self) -> Iterator[Event]:
        """Submits what was taken since the last time: an array of jobs for those of equally many threads and GPUs."""
        waiting = [attempt for attempt in self._attempts.values() if attempt.job is None]
        for attempt in waiting:
            if attempt.cancelled:
                yield from self._ended(attempt.state.job.key, attempt, (), Exited(_SIGKILL, why="it was not submitted"))
        waiting = [attempt for attempt in waiting if not attempt.cancelled]
        for threads, gpus in sorted({(attempt.state.job.threads, attempt.state.job.gpus) for attempt in waiting}):
            alike = [a for a in waiting if (a.state.job.threads, a.state.job.gpus) == (threads, gpus)]
            try:
                if self.cluster == "slurm" and "cpus_per_task" not in self._options:
                    self._submitit.update_parameters(cpus_per_task=max(1, threads) * gpus)
                if self.cluster == "slurm" and self.slots.on_gpu and not asks_for_gpus(self._options):
                    self._submitit.update_parameters(slurm_gpus_per_node=gpus)
                jobs = self._submitit.submit_array([self._command(attempt) for attempt in alike])
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                last = next((line for line in lines if "error" in line), lines[-1] if lines else type(error).__name__)
                why = f"Slurm did not take the job ({last[:200]}); look at the options of --slurm"
                for attempt in alike:
                    yield from self._ended(attempt.state.job.key, attempt, (), Exited(1, why=why))
                continue
            for attempt, job in zip(alike, jobs, strict=True):
                attempt.job, attempt.state.device = job, f"Slurm, job {job.job_id}"

    def _command(self, attempt: _SlurmAttempt) -> Command:
        line = [*self.program, *worker_arguments(self.template, attempt.state, attempt.slot)]
        return Command(line, worker_environment(self.template.database, attempt.state.job.threads), _NOTICE / 2)

    def cancel(self, key: str, *, now: bool) -> None:
        """Cancels the run's job: Slurm has its worker stop at its next safe point, and kills it some time later."""
        attempt = self._attempts.get(key)
        if attempt is None:
            return
        attempt.cancelled = True
        if attempt.job is None:
            return
        if self.cluster != "slurm":
            self._stop_here(attempt.job, now=now)
            return
        if now:
            _scancel("--signal=KILL", "--full", attempt.job.job_id)
        _scancel(attempt.job.job_id)

    def close(self) -> None:
        """Cancels what is still in Slurm's queue."""
        for key in list(self._attempts):
            self.cancel(key, now=True)
        self._close_store()

    def _limits(self) -> dict[str, Any]:
        return {f"{self.cluster}_max_num_timeout": _MAX_REQUEUES}

    def _common(self) -> Mapping[str, Any]:
        """The parameters of every job, as submitit names them; those it does not know go to sbatch as they are."""
        if self.cluster != "slurm":
            return {"timeout_min": self._minutes}
        import submitit

        known = submitit.SlurmExecutor._valid_parameters()
        named = {k: v for k, v in self._options.items() if k not in ("jobs", "time")}
        given: dict[str, Any] = {f"slurm_{key}": _typed(key, value) for key, value in named.items() if key in known}
        other = {k.replace("_", "-"): _typed(k, value) for k, value in named.items() if k not in known}
        return {
            "timeout_min": self._minutes,
            "name": "mmad",
            "slurm_signal_delay_s": _NOTICE,
            "slurm_additional_parameters": {"requeue": True, **other},
            **given,
        }

    def _over(self, key: str, attempt: _SlurmAttempt) -> bool:
        """Whether the job will not run again: it left its result, or Slurm counts it as ended for a while."""
        if attempt.job is None:
            return False
        if attempt.job.paths.result_pickle.exists():
            return True
        if not attempt.job.done(force_check=not self._poller.is_open(key)):
            attempt.over = None
            return False
        attempt.over = attempt.over or clock()
        return self.cluster != "slurm" or clock() - attempt.over >= _LATE  # a job on its way back into the queue

    def _stop_here(self, job: Any, *, now: bool) -> None:
        """Ends a job of submitit's local executor, which has no scancel."""
        import psutil

        with contextlib.suppress(psutil.Error):
            below = psutil.Process(int(job.job_id)).children(recursive=True)
            for process in reversed(below):
                with contextlib.suppress(psutil.Error):
                    process.kill() if now else process.terminate()

    def _tidy(self, job: Any) -> None:
        """Removes what submitit wrote for a job, but for the output of one that failed to begin."""
        for file in (job.paths.submitted_pickle, job.paths.result_pickle, job.paths.submission_file):
            with contextlib.suppress(OSError):
                Path(file).unlink(missing_ok=True)


def _typed(key: str, value: str) -> Any:
    """An option's value as submitit takes it; ``true`` stands for an option without a value."""
    if key in _LISTS:
        return [value]
    return True if value == "true" else value


def _scancel(*arguments: str) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["scancel", *arguments], capture_output=True, timeout=60, check=False)


def _exited(job: Any, lines: Sequence[str]) -> Exited:
    """How a job went whose worker did not say."""
    state = str(job.state).upper()
    if job.paths.result_pickle.exists():
        return explained(Exited(1), [line for line in lines if not line.startswith("submitit ")])
    return Exited(_SIGKILL, why=f"its job {job.job_id} was lost ({state.lower()})")
