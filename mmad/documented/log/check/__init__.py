"""The slips of a log, found by rule: nothing here knows an entry by its name."""

from __future__ import annotations

from collections.abc import Sequence

from mmad.documented.log.check.counts import count_slips
from mmad.documented.log.check.figures import figure_slips
from mmad.documented.log.check.schedule import schedule_slips
from mmad.documented.log.check.setups import setup_slips
from mmad.documented.log.check.slip import Slip
from mmad.documented.log.check.words import word_slips
from mmad.documented.log.model import LogEntry

_RULES = (figure_slips, word_slips, setup_slips, count_slips, schedule_slips)


def check_entries(entries: Sequence[LogEntry]) -> tuple[Slip, ...]:
    """Every slip of ``entries``, in their order, contradictions before notes."""
    place = {entry.id: index for index, entry in enumerate(entries)}
    found = [slip for rule in _RULES for slip in rule(entries)]
    return tuple(sorted(found, key=lambda slip: (place[slip.entry], slip.level == "note")))


__all__ = ["Slip", "check_entries"]
