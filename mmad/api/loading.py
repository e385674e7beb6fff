"""An ablation file with the data set that it, or who runs it, names."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmad.api.arguments import argument
from mmad.base.errors import DataError, SpecError
from mmad.base.formatting import plural

if TYPE_CHECKING:
    from mmad.base.records import OnProgress
    from mmad.config.runs import Ablation, DataSource
    from mmad.config.setup import ModelSetup
    from mmad.data.dataset import DataSet


#: From a label to what shows the progress of a long task while it is entered.
ProgressBar = Callable[[str], AbstractContextManager["OnProgress"]]


@contextlib.contextmanager
def silent(label: str) -> Iterator[OnProgress]:
    """A ``ProgressBar`` that shows nothing."""
    yield lambda done, whole: None


def _listed(words: str | Sequence[str]) -> tuple[str, ...]:
    """One word, or several, as a tuple."""
    return (words,) if isinstance(words, str) else tuple(words)


#: The word that stands for the embedded data set, and where it is drawn.
PHANTOM = "phantom"
PHANTOM_FOLDER = Path("data/phantom")


@dataclass(frozen=True)
class ChosenData:
    """The data set of an ablation. ``dataset`` is None when it is not there yet (``source`` says where)."""

    source: DataSource
    dataset: DataSet | None
    note: str | None = None


#: An ablation and its data set.
Loaded = tuple["Ablation", ChosenData]


def load_ablation(
    path: str | Path,
    *,
    data: str | Path | None = None,
    overrides: str | Sequence[str] = (),
    weights: str | None = None,
    weights_dir: str | Path | None = None,
    create: bool = True,
) -> Ablation:
    """Read, check and expand an ablation file on its data set.

    Args:
        path: the TOML file.
        data: folder of the data set, or ``"phantom"`` for the embedded one (drawn in ``data/phantom``, with the
            parameters of the file's ``[phantom]`` table); None for what the file names.
        overrides: ``field=value`` words that win over the file, in order; recorded with every member.
        weights: ``"none"`` trains from scratch what the setup names as pretrained; ``"imagenet"`` is the default.
        weights_dir: folder with files of weights, looked into before ``MMAD_WEIGHTS`` and torch's own cache.
        create: draw a missing phantom, and refuse another missing folder. False reads what is there; without a data
            set, or without the weights that it starts from, a run's key is provisional: it can be planned but not
            trained.

    Returns:
        The ablation; its ``members`` hold setting, arm, seed and the run with setup, protocol and key.

    Raises:
        SpecError: whatever is wrong in the file or the overrides, with file, line, key and hint.
        DataError: a data set that is missing or cannot be read, or a clinical column that it has not.
        WeightsError: a file of weights that cannot be read, or is not what its name says.
    """
    argument("path", path, str, Path)
    argument("data", data, str, Path, optional=True)
    if data == "":
        raise SpecError("is empty", where="data=", hint='name a folder, or "phantom", or leave it out')
    for word in _listed(overrides):
        argument("overrides", word, str, hint='words such as "epochs=5"')
    folder = None if weights_dir is None else Path(weights_dir)
    return load_with_data(
        Path(path), data=data, overrides=overrides, weights=weights, weights_dir=folder, create=create
    )[0]


def load_with_data(
    file: Path,
    *,
    data: str | Path | None,
    overrides: str | Sequence[str] = (),
    weights: str | None = None,
    weights_dir: Path | None = None,
    create: bool = False,
    progress_bar: ProgressBar = silent,
) -> Loaded:
    """As ``load_ablation``, with the data set; ``progress_bar`` shows how a phantom is drawn."""
    from mmad.api.own_parts import with_own_parts
    from mmad.config.load import load_ablation
    from mmad.config.weights import with_weights

    ablation = load_ablation(file, overrides=_listed(overrides), weights=weights)  # refuses before any data is drawn
    ablation = with_own_parts(with_weights(ablation, weights_dir))
    return on_data(ablation, data, create=create, progress_bar=progress_bar)


def on_data(
    ablation: Ablation, data: str | Path | None, *, create: bool = False, progress_bar: ProgressBar = silent
) -> Loaded:
    """``ablation`` on the data set that ``data`` or its file names, arguments as for ``load_with_data``."""
    file = Path(ablation.path)
    chosen = resolve_data(
        data, ablation.data, beside=file.parent, phantom=ablation.phantom, create=create, progress_bar=progress_bar
    )
    ablation = ablation.on(chosen.source)
    if chosen.dataset is not None:
        setups = {member.run.key: member.run.setup for member in ablation.members}
        _require_samples({setup.dataset_mode for setup in setups.values()}, chosen.dataset)
        for setup in setups.values():
            _require_fit(setup, chosen.dataset, file)
        _require_folds(ablation, chosen.dataset)
        _require_external(ablation, list(setups.values()), chosen.dataset)
    return ablation, chosen


def read_anew(loaded: Sequence[Loaded]) -> list[Loaded]:
    """``loaded`` under the keys of what its data sets hold now: every byte is read, where a plan remembers hashes.

    Raises:
        DataError: a file that cannot be read.
    """
    found: dict[str, str] = {}

    def on_content(ablation: Ablation, data: ChosenData) -> Loaded:
        if data.dataset is None:
            return ablation, data
        path = data.source.path
        found[path] = found.get(path) or data.dataset.fingerprint(anew=True)
        if found[path] == data.source.fingerprint:
            return ablation, data
        source = replace(data.source, fingerprint=found[path])
        return ablation.on(source), replace(data, source=source)

    return [on_content(ablation, data) for ablation, data in loaded]


def _require_samples(modes: set[str], dataset: DataSet) -> None:
    """Refuse a ``dataset_mode`` that the data set has no samples for."""
    from mmad.data.samples import samples

    for mode in sorted(modes):
        samples(dataset, mode)


def _require_fit(setup: ModelSetup, dataset: DataSet, file: Path) -> None:
    """Refuse a setup whose clinical branch does not fit the data set's columns."""
    from mmad.config.setup_checks import require_fit

    columns = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
    try:
        require_fit(setup, columns)
    except SpecError as error:
        raise SpecError(error.what, where=file, hint=error.hint) from None


def _require_folds(ablation: Ablation, dataset: DataSet) -> None:
    """Refuse folds that leave a fold without a finding: its AP would be over other findings."""
    from mmad.config.ablation_file import place_in_file
    from mmad.data.folds import lacking_folds

    fold = ablation.members[0].run.protocol.fold
    if fold is not None and (found := lacking_folds(dataset, fold)) is not None:
        label, patients, number = found
        what = f"folds: {plural(patients, 'patient')} with {label!r}: fold {number} of {fold.of} has none of them"
        raise SpecError(what, where=place_in_file(ablation, "protocol", "folds"), hint="ask for fewer folds")


def _require_external(ablation: Ablation, setups: Sequence[ModelSetup], dataset: DataSet) -> None:
    """Refuse an ``[[external]]`` data set that the runs could not be evaluated on."""
    from mmad.config.ablation_file import external_tables, key_lines, line_of

    for place, table in enumerate(external_tables(ablation.source, ablation.path)):
        from mmad.analysis.external import require_external

        try:
            require_external(table, setups, dataset)
        except DataError as error:
            line = line_of(key_lines(ablation.source), ("external", place))
            what = error.what if error.where is None else f"{error.where}: {error.what}"
            raise SpecError(f"external: {what}", where=f"{ablation.path}:{line}", hint=error.hint) from None


def resolve_data(
    data: str | Path | None,
    file_value: str = PHANTOM,
    *,
    beside: Path | None = None,
    phantom: Mapping[str, Any] | None = None,
    create: bool = False,
    progress_bar: ProgressBar = silent,
) -> ChosenData:
    """The data set that is asked for.

    Args:
        data: a folder, or ``phantom``; wins over the file.
        file_value: the ``data`` key of an ablation file: a folder, or ``phantom``.
        beside: the folder that a relative ``file_value`` starts from.
        phantom: the ``[phantom]`` table; other parameters get other folders.
        create: draw a missing phantom, and refuse another missing folder; else both are only noted.
        progress_bar: shows how the phantom is drawn.

    Raises:
        DataError: a data set that cannot be read; one that was asked for and is not there.
    """
    chosen = str(data or file_value)
    if chosen == PHANTOM and not (data and Path(chosen).is_dir()):
        return _phantom(phantom or {}, create, progress_bar)
    folder = Path(chosen) if data else _beside(beside or Path(), chosen)
    hint = "name one with --data"
    if not data and Path(chosen).is_dir():
        hint += f', or write data = "{os.path.relpath(chosen, beside)}", which starts from the ablation file'
    if create and not folder.is_dir():
        raise DataError("no such data set", where=folder, hint=hint)
    if data or folder.is_dir():
        return _read(folder)
    note = f"the data set {folder} is not there: keys are provisional; {hint}"
    return ChosenData(_absent(folder, folder.name), None, note)


def _beside(folder: Path, path: str) -> Path:
    """``path`` from ``folder``, without ``name/..`` where that leads to the same place."""
    full = folder / path
    short = Path(os.path.normpath(full))
    return full if full.exists() and not (short.exists() and short.samefile(full)) else short


def _phantom(parameters: Mapping[str, Any], create: bool, progress_bar: ProgressBar) -> ChosenData:
    folder = PHANTOM_FOLDER
    if parameters:
        text = json.dumps(dict(parameters), sort_keys=True)
        import hashlib

        folder = folder.with_name(f"phantom-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    if folder.is_dir():
        return _read(folder)
    if not create:
        note = f"the embedded data set is not drawn yet ({folder}): keys are provisional; `mmad ablate` draws it"
        return ChosenData(_absent(folder, PHANTOM), None, note)
    from mmad.data.phantom.generate import make_phantom

    with progress_bar(f"drawing the embedded data set in {folder}") as progress:
        try:
            make_phantom(folder, **parameters, progress=progress)
        except DataError:
            if not folder.is_dir():  # else another process was faster
                raise
    return _read(folder)


def _read(folder: Path) -> ChosenData:
    from mmad.config.runs import DataSource
    from mmad.data.reader import load_dataset

    dataset = load_dataset(folder)
    source = DataSource(path=str(folder.resolve()), name=dataset.name, fingerprint=dataset.fingerprint())
    return ChosenData(source, dataset)


def _absent(folder: Path, name: str) -> DataSource:
    from mmad.config.runs import DataSource

    return DataSource(path=str(folder.resolve()), name=name, fingerprint=None)


def _data_of(ablation: Ablation) -> ChosenData:
    """The data set that ``ablation`` was loaded with; DataError when it changed since."""
    source = ablation.members[0].run.data
    if source.fingerprint is None:
        return ChosenData(source, None)
    found = _read(Path(source.path))
    if found.source.fingerprint != source.fingerprint:
        raise DataError("changed since the ablation was loaded", where=source.path, hint="load the ablation again")
    return found
