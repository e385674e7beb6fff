"""Imported first by what pretends: this is another machine of the same name, and its clock is apart from ours.

``PRETEND_MACHINE`` is its process table, ``PRETEND_AHEAD`` how many seconds its clock is ahead.
"""

from __future__ import annotations

import os
from datetime import timedelta

from mmad.base import clock

_now, _ahead = clock.now, timedelta(seconds=float(os.environ.get("PRETEND_AHEAD", "0")))
clock.now = lambda: _now() + _ahead  # before a room of the package takes it

if "PRETEND_MACHINE" in os.environ:
    from mmad.store import claims

    claims._process_table = lambda: os.environ["PRETEND_MACHINE"]
