"""Failures a user can cause: one line that names the place, what is wrong, and the hint."""

from __future__ import annotations

#: The hint where something cannot be written, perhaps because another user of a group made it.
SHARE_HINT = "make it writable (of a shared folder: chmod -R g+w, and umask 002 for everybody)"


class MmadError(Exception):
    """A failure the user can fix; the CLI prints it without a traceback and exits with 2.

    Args:
        what: what is wrong, in a few words, with the offending value.
        where: the file, key or row it is about (printed first).
        hint: what to do about it (printed last).
    """

    def __init__(self, what: str, *, where: object | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(self._line())

    def _line(self) -> str:
        head = f"{self.where}: " if self.where else ""
        tail = f"; {self.hint}" if self.hint else ""
        return f"{head}{self.what}{tail}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.hint))


def _rebuild(kind: type[MmadError], what: str, where: str | None, hint: str | None) -> MmadError:
    return kind(what, where=where, hint=hint)


class SpecError(MmadError):
    """An ablation file, a setup or a protocol that cannot be run."""


class DataError(MmadError):
    """A data set that cannot be read or trusted."""


class WeightsError(MmadError):
    """Pretrained weights that are missing or do not fit."""


class CheckpointError(MmadError):
    """A checkpoint that is missing, truncated or of another setup."""


class StoreError(MmadError):
    """A database that cannot be opened, written or understood."""


class EvaluationError(MmadError):
    """Detections that cannot be evaluated, stored or read back."""


class ReportError(MmadError):
    """A report that cannot be made from what the store holds."""


class DivergedError(MmadError):
    """A training whose losses, gradients or weights are not finite any more: nothing of that epoch is recorded."""


class RankLostError(MmadError):
    """A process of a run on several devices that was killed: another attempt resumes after the newest checkpoint."""
