"""The console script ``mmad`` with workers that pretend to train."""

from __future__ import annotations

import sys
from pathlib import Path

import pretending_machine  # noqa: F401

from mmad.scheduler import process

process.SERVE = (sys.executable, str(Path(__file__).with_name("pretending_worker.py")), "--serve")
process.MMAD = (sys.executable, "-u", __file__)

if __name__ == "__main__":
    from mmad.cli.app import main

    main()
