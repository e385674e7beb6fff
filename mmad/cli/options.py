"""What commands share: options, the console, JSON on stdout, progress, and the data set of a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.json import to_json_value
from mmad.base.paths import DEFAULT_DATABASE

if TYPE_CHECKING:
    from rich.console import Console

    from mmad.config.runs import Ablation, DataSource
    from mmad.config.setup import ModelSetup
    from mmad.data.dataset import DataSet
    from mmad.store.store import Store


#: The word that stands for the embedded data set, and where it is drawn.
PHANTOM = "phantom"
PHANTOM_FOLDER = Path("data/phantom")

DatabaseOption = Annotated[
    str,
    typer.Option("--db", envvar="MMAD_DB", metavar="FILE|URL", help="The database: an SQLite file or a URL."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        envvar="MMAD_DATA",
        metavar="DIR",
        help="Folder of the data set; left out: what the file names, else the embedded phantom.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of words.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        envvar="MMAD_SET",
        metavar="FIELD=VALUE",
        help="Override any field of the setup or the protocol; may be repeated; recorded, and part of the key. "
        "The variable holds such words with spaces between them, and a --set on the line stands in its place.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="imagenet|none",
        help="none trains from scratch what the setup prints as pretrained.",
        show_default=False,
    ),
]
WeightsDirOption = Annotated[
    Path | None,
    typer.Option(
        "--weights-dir",
        envvar="MMAD_WEIGHTS",
        metavar="DIR",
        help="Folder with torchvision's weights files, looked into before torch's own cache.",
        show_default=False,
    ),
]
DEFAULT_DB = str(DEFAULT_DATABASE)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ChosenData:
    """The data set a command works on. ``dataset`` is None when it is not there yet (``source`` says where)."""

    source: DataSource
    dataset: DataSet | None
    note: str | None = None

    @property
    def path(self) -> Path:
        return Path(self.source.path)


def resolve_data(
    option: str | None,
    file_value: str = PHANTOM,
    *,
    beside: Path | None = None,
    phantom: Mapping[str, Any] | None = None,
    create: bool = False,
) -> ChosenData:
    """The data set of a command.

    Args:
        option: the ``--data`` word; wins over the file.
        file_value: the ``data`` key of an ablation file: a folder, or ``phantom``.
        beside: the folder that a relative ``file_value`` starts from.
        phantom: the ``[phantom]`` table; other parameters get other folders.
        create: draw a missing phantom, and refuse another missing folder; else both are only noted.

    Raises:
        DataError: a data set that cannot be read; one that was asked for and is not there.
    """
    chosen = option or file_value
    if chosen == PHANTOM and not (option and Path(chosen).is_dir()):
        return _phantom(phantom or {}, create)
    folder = Path(chosen) if option else (beside or Path()) / chosen
    if option or create or folder.is_dir():
        return _loaded(folder)
    note = f"the data set {folder} is not there: keys are provisional; name one with --data"
    return ChosenData(_absent(folder, folder.name), None, note)


def _phantom(parameters: Mapping[str, Any], create: bool) -> ChosenData:
    folder = PHANTOM_FOLDER
    if parameters:
        text = json.dumps(dict(parameters), sort_keys=True)
        folder = folder.with_name(f"phantom-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    if folder.is_dir():
        return _loaded(folder)
    if not create:
        note = f"the embedded data set is not drawn yet ({folder}): keys are provisional; `mmad ablate` draws it"
        return ChosenData(_absent(folder, PHANTOM), None, note)
    from mmad.data.phantom.generate import make_phantom

    with progress_bar(f"drawing the embedded data set in {folder}") as report:
        make_phantom(folder, **parameters, progress=report)
    return _loaded(folder)


def _loaded(folder: Path) -> ChosenData:
    from mmad.config.runs import DataSource
    from mmad.data.reader import load_dataset

    dataset = load_dataset(folder)
    source = DataSource(path=str(folder.resolve()), name=dataset.name, fingerprint=dataset.fingerprint())
    return ChosenData(source, dataset)


def _absent(folder: Path, name: str) -> DataSource:
    from mmad.config.runs import DataSource

    return DataSource(path=str(folder.resolve()), name=name, fingerprint=None)


def load_with_data(
    file: Path,
    *,
    data: str | None,
    overrides: Sequence[str] = (),
    weights: str | None = None,
    create: bool = False,
) -> tuple[Ablation, ChosenData]:
    """The expanded ablation of ``file`` on its data set, and that data set; named columns are looked up in it.

    Raises:
        SpecError: whatever is wrong in the file or the overrides.
        DataError: whatever is wrong with the data set, or a clinical column that it has not.
    """
    from mmad.config.ablation_file import parse_file
    from mmad.config.load import load_ablation

    parsed = parse_file(file)
    load_ablation(file, overrides=overrides, weights=weights)  # refuses before any data is drawn
    chosen = resolve_data(data, parsed.data, beside=file.parent, phantom=parsed.phantom, create=create)
    ablation = load_ablation(file, data=chosen.source, overrides=overrides, weights=weights)
    if chosen.dataset is not None:
        setups = {member.run.key: member.run.setup for member in ablation.members}
        _require_samples({setup.dataset_mode for setup in setups.values()}, chosen.dataset)
        for setup in setups.values():
            _require_fit(setup, chosen.dataset, file)
    return ablation, chosen


def _require_samples(modes: set[str], dataset: DataSet) -> None:
    """Refuse a ``dataset_mode`` that the data set has no samples for."""
    from mmad.data.dataset import samples

    for mode in sorted(modes):
        samples(dataset, mode)


def _require_fit(setup: ModelSetup, dataset: DataSet, file: Path) -> None:
    """Refuse a setup whose clinical branch does not fit the data set's columns."""
    from mmad.base.errors import SpecError
    from mmad.config.checks import require_fit

    columns = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
    try:
        require_fit(setup, columns)
    except SpecError as error:
        raise SpecError(error.what, where=file, hint=error.hint) from None


def print_json(value: Any) -> None:
    """``value`` as JSON on stdout, numbers that are not finite as null."""
    typer.echo(json.dumps(to_json_value(value), indent=2, ensure_ascii=False, allow_nan=False))


def make_console(*, stderr: bool = False) -> Console:
    """A Rich console that takes no word for markup and, where there is no terminal, does not cut tables."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 160)


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Show how far something long is, on stderr: a bar on a terminal, else one line at its first step."""
    if not sys.stderr.isatty():
        yield _Announcement(label)
        return
    from rich import progress as bars

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    with bars.Progress(*columns, bars.TimeRemainingColumn(), console=make_console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


class _Announcement:
    """A progress that says once what goes on; what is refused before its first step is never announced."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __call__(self, done: int, whole: int) -> None:
        if self._label:
            print(f"{self._label} …", file=sys.stderr, flush=True)
            self._label = ""


# The options that tell a queue how to work.


#: What every database keeps as a whole number.
LOWEST, HIGHEST = -(2**31), 2**31 - 1

DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to train; auto takes every GPU found.")
]
PerGpuOption = Annotated[
    str, typer.Option("--per-gpu", metavar="N|auto", help="Runs that share a GPU; auto: as many as its memory holds.")
]
IsolateOption = Annotated[bool, typer.Option("--isolate", help="Give every run a process of its own.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="WORDS",
        help="Only members of this setting, arm, seed=N or ablation/setting/arm; * is anything; may be repeated.",
        show_default=False,
    ),
]
MaxHoursOption = Annotated[
    float | None,
    typer.Option("--max-hours", metavar="H", min=0.0, help="Stop as by Ctrl-C after H hours.", show_default=False),
]
PriorityOption = Annotated[
    int | None,
    typer.Option(
        "--priority",
        metavar="N",
        min=LOWEST,
        max=HIGHEST,
        help="Train these runs before those of lower priority (0).",
        show_default=False,
    ),
]
CheckpointEveryOption = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every",
        metavar="STEPS",
        min=1,
        help="Checkpoint within epochs too, every STEPS training steps.",
        show_default=False,
    ),
]
TensorboardOption = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard event files beside the log.")]
OnFinishOption = Annotated[
    str | None,
    typer.Option("--on-finish", metavar="CMD", help="A shell command to run when all is over.", show_default=False),
]

EngineOption = Annotated[
    str, typer.Option("--engine", metavar="local|ray|slurm", help="What trains: this machine, or a cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="The Ray cluster; left out: the one this machine is a node of.",
        show_default=False,
    ),
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE,…",
        help="Options of sbatch, such as partition=gpu,time=4:00:00; jobs=N: at most N at once; may be repeated.",
        show_default=False,
    ),
]


def runs_per_gpu(word: str) -> int | None:
    """The number that ``--per-gpu`` names; None for ``auto``.

    Raises:
        MmadError: it is neither.
    """
    if word.strip().lower() == "auto":
        return None
    try:
        number = int(word)
    except ValueError:
        number = 0
    if number < 1:
        raise MmadError(f"{word!r} is no number of runs", where="--per-gpu", hint="give 1 or more, or auto")
    return number


# Which runs a command of the queue is about: named one by one, by ablation, or all.


RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Beginnings of keys, or ablation/setting/arm[/seed].", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every run of the database.")]
AblationOption = Annotated[
    list[str] | None,
    typer.Option("--ablation", metavar="NAME", help="Every run of this ablation; may be repeated.", show_default=False),
]


def choose(store: Store, runs: Sequence[str] | None, ablations: Sequence[str] | None, every: bool) -> list[str]:
    """The keys of the runs that were named, each once, in the queue's order.

    Raises:
        MmadError: nothing was named, or no such ablation.
        StoreError: no such run.
    """
    from mmad.config.messages import did_you_mean
    from mmad.store.lookup import find_seeds

    if not (runs or ablations or every):
        raise MmadError("name runs", hint="give keys or ablation/setting/arm, --ablation NAME, or --all")
    there = {record.name: record for record in store.ablations()}
    chosen = {found.run.key for name in runs or () for found in find_seeds(store, name)}
    for name in ablations or ():
        if name not in there:
            raise MmadError(f"no ablation {name!r}", where="--ablation", hint=did_you_mean(name, list(there)))
        chosen |= {member.key for member in there[name].members}
    return [run.key for run in store.run_records() if every or run.key in chosen]


def labels(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """What to call each run: the path of the first member that asks for it, with the beginning of its key."""
    from mmad.store.lookup import member_path

    paths: dict[str, str] = {}
    for ablation in store.ablations():
        for member in ablation.members:
            paths.setdefault(member.key, member_path(member))
    return {key: f"{short_key(key)} {paths[key]}" if key in paths else short_key(key) for key in keys}
