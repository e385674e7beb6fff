"""The beginning of a run that goes on from another: that one's epochs, best checkpoints and state become its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmad.base.errors import CheckpointError
from mmad.base.files import write_atomically
from mmad.base.paths import RunPaths
from mmad.base.recorder import Recorder
from mmad.base.records import CheckpointRecord
from mmad.spec.protocol import Continues
from mmad.spec.runs import RunSpec
from mmad.training import checkpoint
from mmad.training.state import Resumed, State


@dataclass(frozen=True)
class Beginning:
    """Where a continued run begins, before anything of it is on the disk."""

    spec: RunSpec
    state: State
    run: RunPaths
    parent: RunPaths
    resumed: Resumed
    clinical: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        spec: RunSpec,
        continues: Continues,
        state: State,
        run: RunPaths,
        parent: RunPaths,
        clinical: dict[str, Any],
    ) -> Beginning:
        """Take the checkpoint that ``continues`` names into ``state``.

        Raises:
            CheckpointError: the parent is not finished here, its checkpoint is damaged or does not fit.
        """
        content = _content(continues, parent)
        history = content.facts["ledger"].get("history", ())
        epoch = int(content.facts["ledger"]["record"]["epoch"])
        if [record["epoch"] for record in history] != list(range(1, epoch + 1)):
            raise CheckpointError(
                "was written by an earlier version, which kept no history of its epochs",
                where=f"run {continues.key[:12]}",
                mend="train that run anew in another database, or leave continue_from out",
            )
        try:
            state.go_on_from(content, over=epoch >= spec.protocol.epochs)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"its checkpoint does not fit this detector ({' '.join(str(error).split())[:120]})",
                where=f"run {continues.key[:12]}",
                mend="give both runs the same network",
            ) from error
        return cls(spec, state, run, parent, Resumed(epoch, epoch >= spec.protocol.epochs), clinical)

    def write(self, recorder: Recorder) -> None:
        """Record the parent's epochs as this run's own, then write its first checkpoint.

        Cut off anywhere, the next start does it again: copies are told apart from the run's own checkpoints.
        """
        ledger, epoch = self.state.ledger, self.resumed.epoch
        for record in ledger.history[:-1]:
            recorder.epoch(record, (), ())
        for name in {row.detections for row in ledger.standing if row.detections is not None}:
            self._copy_detections(name)
        files: dict[str, CheckpointRecord] = {}
        for kind, row in ledger.checkpoints.items():
            if row.path:
                files[row.path] = files.get(row.path) or self._copied(row)
                ledger.checkpoints[kind] = replace(files[row.path], kind=kind)
        content = self.state.content(self.spec.key, over=self.resumed.over, clinical=dict(self.clinical))
        ledger.written(checkpoint.save(self.run, epoch, content))

    def _copied(self, row: CheckpointRecord) -> CheckpointRecord:
        _, content = checkpoint.load(self.parent.folder / row.path)
        mine = checkpoint.Content(content.tensors, {**content.facts, "key": self.spec.key, "copy": True})
        file = checkpoint.save(self.run, row.epoch, mine)
        return replace(row, path=self.run.relative(file.path), sha256=file.sha256, size=file.size)

    def _copy_detections(self, name: str) -> None:
        try:
            write_atomically(self.run.folder / name, (self.parent.folder / name).read_bytes())
        except OSError as error:
            raise CheckpointError(
                f"detections of the run that this one continues cannot be copied ({error.strerror or error})",
                where=self.parent.folder / name,
                mend="free some space, or train that run again",
            ) from error


def _content(continues: Continues, parent: RunPaths) -> checkpoint.Content:
    """The checkpoint of the finished run that is gone on from."""
    newest = checkpoint.newest_whole(parent)
    short = f"run {continues.key[:12]}"
    if newest is None:
        raise CheckpointError(
            "this run continues it, but it has no checkpoint here",
            where=f"{short} ({parent.checkpoints})",
            mend="train that run first with mmad ablate, in the same database",
        )
    file, content = newest
    checkpoint.require_key(file, content, continues.key)
    if not content.facts["over"]:
        raise CheckpointError(
            f"this run continues it, but it is not trained to its end (epoch {file.epoch} is the newest)",
            where=short,
            mend="let mmad ablate finish that run first",
        )
    rows = {row["kind"]: row for row in content.facts["ledger"]["checkpoints"]}
    if continues.checkpoint not in rows:
        raise CheckpointError(
            f"kept no {continues.checkpoint} checkpoint (use_early_stop_model = false)",
            where=short,
            mend='continue from its checkpoint = "final"',
        )
    path = rows[continues.checkpoint]["path"]
    return content if not path else checkpoint.load(parent.folder / path)[1]
