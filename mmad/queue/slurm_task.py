"""What a Slurm job does: one command line, stopped and queued again when its time or its node is taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmad.queue.node_process import NodeProcess

#: The option that lets a worker go on with the run it was interrupted in.
AGAIN = "--again"


class Command:
    """A callable for submitit, of words and numbers alone.

    Args:
        words: the command line behind the node's Python.
        environment: what is set beside the job's own variables.
        grace: seconds that a worker has for its present step.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], grace: float) -> None:
        self.words, self.environment, self.grace = list(words), dict(environment), grace
        self._process: NodeProcess | None = None

    def __call__(self) -> int:
        """Runs it to its end; its exit code. Its last lines go to the job's output."""
        self._process = process = NodeProcess(self.words, self.environment)
        try:
            process.wait()
        finally:
            process.kill()
        process.wait(self.grace)
        for line in process.left["lines"]:
            print(line)
        return process.left["code"]

    def checkpoint(self) -> Any:
        """The job's time is up, or its node is wanted: stops at a safe point; what to queue again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and not self._process.over:
            self._process.stop()
            if not self._process.wait(self.grace):
                self._process.kill()
                self._process.wait(self.grace)
        words = self.words if AGAIN in self.words else [*self.words, AGAIN]
        return DelayedSubmission(Command(words, self.environment, self.grace))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}
