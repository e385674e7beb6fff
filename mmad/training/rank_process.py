"""The process of a rank beside rank 0, which starts it: ``python -m mmad.training.rank_process``."""

from __future__ import annotations

import os
import sys
import traceback

from mmad.training.ranks import RankRequest
from mmad.training.trainer import follow


def main() -> int:
    """Trains with the others until the run is over; what failed goes to rank 0 in one line, the rest to the log."""
    request = RankRequest.read()
    try:
        follow(request)
    except Exception as error:
        traceback.print_exc()
        request.answer_failure(error)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # tearing torch down could only hang
