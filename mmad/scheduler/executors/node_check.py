"""Whether a node of a cluster could train runs: what it needs, and its answer.

    python -m mmad.scheduler.executors.node_check '{"version": …}'

prints ``{"missing": …}`` as its last line: what the node lacks in a few words, or null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mmad
from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.paths import StorePaths
from mmad.config.protocol import OwnModule
from mmad.config.runs import RECIPE
from mmad.store.store import Store


@dataclass(frozen=True)
class Needs:
    """What a node must have.

    Args:
        database: file or URL.
        mark: a file beside the runs, and ``word`` its content: shared storage is shared.
        data: folders of data sets, each with its fingerprint.
        weights_dir: a folder of pretrained weights, or None.
        modules: modules of the user's own that the runs name, each an ``OwnModule`` as plain JSON.
    """

    database: str
    mark: str
    word: str
    data: Mapping[str, str] = field(default_factory=dict)
    weights_dir: str | None = None
    modules: Sequence[Mapping[str, Any]] = ()
    version: str = mmad.__version__
    recipe: int = RECIPE

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))


def missing(needs: Needs) -> str | None:
    """What this machine lacks, in one line with its hint; None when nothing."""
    if (mmad.__version__, RECIPE) != (needs.version, needs.recipe):
        ours = f"has mmad {mmad.__version__} (recipe {RECIPE})"
        return f"{ours}, here is {needs.version} (recipe {needs.recipe}); install the same version there"
    return (
        _storage(needs)
        or _database(needs.database)
        or _weights(needs)
        or _modules([OwnModule.model_validate(module) for module in needs.modules])
        or _data(needs.data)
    )


def _storage(needs: Needs) -> str | None:
    mark = Path(needs.mark)
    try:
        same = mark.read_text(encoding="utf-8") == needs.word
    except OSError:
        same = False
    if same:
        return None
    return f"{mark.parent} is not the folder of this machine; name one on shared storage as MMAD_RUNS"


def _database(database: str) -> str | None:
    file = StorePaths(database).file
    if file is not None and not file.exists():
        return f"{file} is not there; put the database on shared storage, or give the URL of a PostgreSQL server"
    try:
        with Store.open(database, create=False, read_only=True) as store:
            store.statuses([])
    except MmadError as error:
        return f"the database cannot be used there: {error}"
    return None


def _weights(needs: Needs) -> str | None:
    if needs.weights_dir is None or Path(needs.weights_dir).is_dir():
        return None
    return f"the folder of weights {needs.weights_dir} is not there; put it on shared storage"


def _modules(named: Sequence[OwnModule]) -> str | None:
    from mmad.config.user_modules import difference, find_module

    for module in named:
        try:
            found = find_module(module.name, Path(module.folder) if module.folder else None)
        except MmadError as error:
            return f"{error.what}: {error.hint}" if error.hint else error.what
        if (what := difference(module, found)) is not None:
            return f"{what} as here; copy or install the same there"
    return None


def _data(folders: Mapping[str, str]) -> str | None:
    from mmad.data.reader import load_dataset

    for folder, fingerprint in folders.items():
        if not Path(folder).is_dir():
            return f"the data set {folder} is not there; put it on shared storage, or copy it to the same path"
        try:
            found = load_dataset(folder).fingerprint()
        except MmadError as error:
            return f"the data set cannot be read there: {error}"
        if found != fingerprint:
            digests = f"{short_key(found)}, here {short_key(fingerprint)}"
            return f"the data set {folder} has other content there ({digests}); copy it anew"
    return None


def main(arguments: list[str]) -> int:
    """Answers the question on the command line."""
    if len(arguments) != 1:
        print("usage: python -m mmad.scheduler.executors.node_check '{\"version\": …}'", file=sys.stderr)
        return 2
    given = json.loads(arguments[0])
    try:
        needs = Needs(**given)
    except TypeError:  # of another version
        answer: str | None = f"has mmad {mmad.__version__}, here is {given.get('version')}; install the same version"
    else:
        answer = missing(needs)
    print(json.dumps({"missing": answer}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
