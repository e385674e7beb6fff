"""What eval, compare and controls share: their options, and asking the network where that cannot be avoided."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast, get_args

import typer

from mmad.base.errors import EvaluationError
from mmad.cli.common import progress_bar
from mmad.cli.reading import open_store
from mmad.spec.protocol import Overlap, Proposals

if TYPE_CHECKING:
    from mmad.base.records import CheckpointKind, Detections, Split
    from mmad.report.controls import Alteration, Look
    from mmad.report.judged import Archive, Judged
    from mmad.store.gateway import Store
    from mmad.training.again import Judge

T = TypeVar("T")

SplitOption = Annotated[str, typer.Option("--split", metavar="val|test", help="Which split.")]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="best_ap|best_ar|final",
        help="Which checkpoint; left out: best_ap, or final where no best one was kept.",
        show_default=False,
    ),
]
ResamplesOption = Annotated[int, typer.Option("--resamples", metavar="N", help="Resamples of the patients.")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where the network looks again.")
]
#: Not the variable MMAD_DATA: the runs know their data set.
MovedDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Where the runs' data set lies now, if it was moved.", show_default=False
    ),
]
_OVERLAPS, _PROPOSALS = get_args(Overlap), get_args(Proposals)


def split_of(word: str) -> Split:
    """``val`` or ``test``. EvaluationError for another word."""
    return cast("Split", _one_of("--split", word, ("val", "test")))


def checkpoint_of(word: str | None) -> CheckpointKind | None:
    """The kind of checkpoint, or None. EvaluationError for another word."""
    kinds = ("best_ap", "best_ar", "final")
    return None if word is None else cast("CheckpointKind", _one_of("--checkpoint", word, kinds))


def overlap_of(word: str | None, option: str = "--overlap") -> Overlap | None:
    """One overlap, or None. EvaluationError for another word."""
    return None if word is None else cast(Overlap, _one_of(option, word, _OVERLAPS))


def proposals_of(word: str | None) -> Proposals | None:
    """One protocol of proposals, or None. EvaluationError for another word."""
    return None if word is None else cast(Proposals, _one_of("--protocol", word, _PROPOSALS))


def listed(words: str | None) -> list[str | None]:
    """``iou,iobb`` as a list without repeats; [None] for nothing."""
    return [None] if words is None else list(dict.fromkeys(word.strip() for word in words.split(",")))


def numbers(option: str, words: str) -> list[float]:
    """``0.05,0.1`` as numbers. EvaluationError naming the word that is none."""
    found = []
    for word in words.split(","):
        try:
            found.append(float(word))
        except ValueError:
            mend = "use numbers with commas between them, such as 0.05,0.1,0.3"
            raise EvaluationError(f"{word.strip()!r} is not a number", where=option, mend=mend) from None
    return found


def _one_of(option: str, word: str, known: Sequence[str]) -> str:
    from mmad.spec.nearest import did_you_mean

    if word not in known:
        raise EvaluationError(f"unknown word {word!r}", where=option, mend=did_you_mean(word, known))
    return word


def open_to_keep(database: str) -> Store:
    """The store, to keep what is computed; for reading only where it cannot be written."""
    from mmad.base.paths import StorePaths
    from mmad.store.gateway import Store

    file = StorePaths(database).file
    if file is not None and file.exists() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        return open_store(database)
    return Store.open(database, create=False)


def look_again(store: Store, archive: Archive, judged: Judged, device: str) -> None:
    """Make the detections again and keep them with their AP and AR."""
    from mmad.report.recorded import keep_detections

    archive.truth(judged)  # refuses before the network is built
    judge = _judge(store, archive, judged, device)
    file = judge.run.folder / judged.checkpoint.path
    with progress_bar(f"{judged.name}: looking at {judged.split}, {judged.protocol.proposals} proposals") as progress:
        found = judge.detections(file, judged.split, proposals=judged.protocol.proposals, report=progress)
    keep_detections(store, archive, judged, found)


def altered_looks(store: Store, archive: Archive, judged: Judged, device: str) -> Look:
    """The network of ``judged``, built when it is first asked to look."""
    judges: list[Judge] = []

    def look(alteration: Alteration | None, seed: int) -> Detections:
        from mmad.training.again import AS_IT_IS, Change

        if not judges:
            judges.append(_judge(store, archive, judged, device))
        change = AS_IT_IS
        if alteration is not None:
            columns = (alteration.name,) if alteration.kind == "column" else ()
            change = Change(columns, alteration.kind == "records", alteration.kind == "image", seed)
        file = judges[0].run.folder / judged.checkpoint.path
        return judges[0].detections(file, judged.split, proposals=judged.protocol.proposals, change=change)

    return look


def _judge(store: Store, archive: Archive, judged: Judged, device: str) -> Judge:
    from mmad.queue.attempt import run_spec
    from mmad.queue.slots import find_slots

    place = next(iter(find_slots(device).devices), "cpu")
    spec = run_spec(judged.run, archive.data)
    from mmad.training.again import Judge

    return Judge(spec, dataset_path=Path(spec.data.path), run=store.run_paths(judged.run.key), device=place)
