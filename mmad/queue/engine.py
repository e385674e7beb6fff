"""What trains the runs that a scheduler hands out: processes of this machine, or a cluster's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mmad.queue.jobs import JobState
from mmad.queue.messages import Message
from mmad.queue.process import Exited
from mmad.queue.slots import Slots

#: A run's key, and what was heard of its attempt. The last of an attempt is ``Ended`` or ``Exited``.
Event = tuple[str, Message | Exited]


class Engine(Protocol):
    """Takes runs (as a command line that names a key, never an object of ours) and tells what becomes of them."""

    slots: Slots

    def submit(self, state: JobState) -> bool:
        """Begins an attempt at the run of ``state`` and notes its device there; False while there is no room.

        Raises:
            MmadError: the attempt cannot be begun at all.
        """

    def poll(self, seconds: float) -> Iterable[Event]:
        """What was heard since the last call, waiting at most ``seconds`` for the first word."""

    def cancel(self, key: str, *, now: bool) -> None:
        """Ends the attempt at ``key`` at its next safe point, or now. It ends like any other, in ``poll``."""

    def close(self) -> None:
        """Ends whatever still runs, and leaves nobody behind."""
