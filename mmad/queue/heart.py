"""A worker's hold on its run: the lease it renews, and what it hears of the store meanwhile."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from mmad.base.clock import seconds
from mmad.base.errors import StoreError
from mmad.queue.lifeline import StopRequest
from mmad.store.gateway import Store
from mmad.store.owner import Owner

#: Seconds between two renewals of the lease, and between two looks whether a stop was asked for.
BEAT, LOOK = 20.0, 1.0

log = logging.getLogger(__name__)


class Heart:
    """Beats in a thread of its own while it is entered, however slow the training's steps are.

    ``asked`` says that the run was stopped by hand, ``lost`` that another process holds it now; either asks
    ``stop``.
    """

    def __init__(self, store: Store, key: str, owner: Owner, stop: StopRequest) -> None:
        self._store, self._key, self._owner, self._stop = store, key, owner, stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)
        self.asked = False
        self.lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        renewed = seconds()
        while not self._over.wait(LOOK):
            due = seconds() - renewed >= BEAT
            try:
                answer = self._store.beat(self._key, self._owner, renew=due)
            except StoreError as error:
                log.warning("no heartbeat: %s", error)  # the lease is longer than a busy moment
                continue
            renewed = seconds() if due else renewed
            if answer == "held" or self.asked or self.lost:
                continue
            self.asked, self.lost = answer == "stop", answer == "lost"
            log.warning("stopped by hand" if self.asked else "another process holds the run: leaving it")
            self._stop.ask()
