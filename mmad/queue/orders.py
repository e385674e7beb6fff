"""What a worker is told to train: on its command line, or as a line of JSON on its standard input."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Order:
    """One run to train.

    Args:
        database: the SQLite file or URL the run is queued in.
        key: the run's whole key.
        device: torch's name of the device.
        data: where the data set lies now; None where the store says.
        said: what the user typed, kept with the run.
        checkpoint_every: steps between two checkpoints within an epoch; None for none.
        tensorboard: write TensorBoard event files beside the checkpoints.
        again: go on with the run where an earlier worker was interrupted, without anybody's queueing it.
    """

    database: str
    key: str
    device: str = "cpu"
    data: Path | None = None
    weights_dir: Path | None = None
    said: str = ""
    checkpoint_every: int | None = None
    tensorboard: bool = False
    again: bool = False

    def line(self) -> str:
        """The order as a line of JSON, without its end."""
        return json.dumps({name: _plain(value) for name, value in asdict(self).items()})

    @classmethod
    def of_line(cls, line: str) -> Order | None:
        """The order of a line, or None when it is none."""
        try:
            content: dict[str, Any] = json.loads(line)
            for name in ("data", "weights_dir"):
                content[name] = None if content[name] is None else Path(content[name])
            return cls(**content)
        except (ValueError, TypeError, KeyError):
            return None

    def words(self) -> list[str]:
        """The order as the options of a worker's command line."""
        words = ["--db", self.database, "--key", self.key, "--device", self.device]
        for option, value in (
            ("--data", self.data),
            ("--weights-dir", self.weights_dir),
            ("--said", self.said or None),
            ("--checkpoint-every", self.checkpoint_every),
        ):
            words += [option, str(value)] if value is not None else []
        words += ["--tensorboard"] if self.tensorboard else []
        return [*words, "--again"] if self.again else words


@dataclass(frozen=True)
class Task:
    """What a worker's command line says: one order, or to wait for orders on standard input."""

    order: Order | None


def parse(arguments: list[str]) -> Task:
    """The task on the command line; exits with 2 and a line of usage when it is none."""
    parser = argparse.ArgumentParser(prog="python -m mmad.queue.worker", description="Train queued runs.")
    parser.add_argument("--serve", action="store_true", help="wait for orders on standard input")
    parser.add_argument("--db", help="database the run is queued in")
    parser.add_argument("--key", help="the run's full key")
    parser.add_argument("--device", default="cpu", help="torch device, such as cpu or cuda:0")
    parser.add_argument("--data", type=Path, help="where the data set lies now")
    parser.add_argument("--weights-dir", type=Path, help="folder of pretrained weights")
    parser.add_argument("--said", default="", help="the command line to keep with the run")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="checkpoint within epochs too")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard event files")
    parser.add_argument("--again", action="store_true", help="go on with a run that was interrupted")
    given = parser.parse_args(arguments)
    if given.serve:
        return Task(None)
    if given.db is None or given.key is None:
        parser.error("name the run with --db and --key")
    return Task(
        Order(
            given.db,
            given.key,
            given.device,
            given.data,
            given.weights_dir,
            given.said,
            given.checkpoint_every,
            given.tensorboard,
            given.again,
        )
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
