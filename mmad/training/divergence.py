"""Stop a training at the first number that is not finite, with all that is needed to look for its cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmad.base.errors import DivergedError
from mmad.base.records import LOSS_COMPONENTS, Split
from mmad.data.dataset import DataSet
from mmad.training.device import fetched

#: More studies than this are not all named.
_MOST_NAMED = 8
#: Below this scale of the loss in half precision no gradient is too large any more: they are not finite.
_SMALLEST_SCALE = 2.0**-20


@dataclass
class DivergenceMonitor:
    """Checks the numbers of one epoch's passes.

    Gradients are checked when their batch is over on the CPU, and on another device with the next batch's losses:
    reading a number there makes the device wait.

    Args:
        checkpoint: the last good checkpoint, as a message names it; empty without one.
        half: whether the run trains in half precision, where a step may be left out and none is an error.
    """

    dataset: DataSet
    epoch: int
    checkpoint: str = ""
    half: bool = False
    _group: list[int] = field(default_factory=list)
    _norms: list[tuple[int, list[int], Callable[[], list[float]]]] = field(default_factory=list)

    def check_losses(self, split: Split, step: int, positions: Sequence[int], measured: Mapping[str, float]) -> None:
        """Refuse a batch with a loss that is not finite.

        Args:
            step: of the pass, from 1.
            positions: of the batch's studies.
            measured: ``loss`` and its components, by name.

        Raises:
            DivergedError: naming the first component that is not finite, or their sum.
        """
        broken = {name: value for name, value in measured.items() if not math.isfinite(value)}
        if not broken:
            return
        names = [name for name in (*LOSS_COMPONENTS, *broken) if name in broken]
        name = next((name for name in names if name not in ("loss", "objective")), names[0])
        what = f"the {'sum of all losses' if name == 'loss' else name} became {broken[name]}"
        raise self._diverged(what, self._place(split, step, positions))

    def add_gradients(self, step: int, positions: Sequence[int], norm: Tensor | None) -> None:
        """Take in the batch of ``step``, and the norm of all gradients () where the optimiser stepped after it.

        Raises:
            DivergedError: for a norm that is not finite, at the latest by the next batch.
        """
        self._group += positions
        if norm is None:
            return
        group, self._group = self._group, []
        self._norms.append((step, group, fetched(norm.reshape(1))))
        if norm.device.type == "cpu":
            self.check_gradients()

    def check_gradients(self) -> None:
        """Check the gradients that were not checked yet; raises as ``add_gradients``."""
        norms, self._norms = self._norms, []
        for step, group, read in norms:
            (value,) = read()
            if not math.isfinite(value):
                raise self._diverged(f"the gradients' norm became {value}", self._place("train", step, group))

    @contextmanager
    def explaining(self, check: Callable[[], None]) -> Iterator[None]:
        """Attribute a failure inside to numbers that ``check`` finds not finite before it, if there were any."""
        try:
            yield
        except Exception:
            check()
            raise

    def check_weights(self, step: int, modules: Iterable[nn.Module]) -> None:
        """Refuse weights and running statistics that are not finite after ``step``.

        Raises:
            DivergedError: naming the first of them.
        """
        named = [(name, value) for module in modules for name, value in module.state_dict().items()]
        floats = [(name, value) for name, value in named if value.is_floating_point()]
        if not floats:
            return
        finite = torch.stack([value.isfinite().all() for _, value in floats]).tolist()
        name = next((name for (name, _), whole in zip(floats, finite, strict=True) if not whole), None)
        if name is not None:
            raise self._diverged(f"the weights {name} are not finite", f"epoch {self.epoch}, step {step}")

    def check_scale(self, step: int, scale: float | None) -> None:
        """Refuse a scale of the loss so small that every step must have been left out for long.

        Raises:
            DivergedError: naming the scale.
        """
        if scale is not None and scale < _SMALLEST_SCALE:
            what = f"every gradient in half precision overflows (the loss is scaled by {scale:.2g})"
            raise self._diverged(what, f"epoch {self.epoch}, step {step}")

    def _place(self, split: Split, step: int, positions: Sequence[int]) -> str:
        studies = ", ".join(self.dataset.studies[p].study for p in positions[:_MOST_NAMED])
        more = f" and {len(positions) - _MOST_NAMED} more" if len(positions) > _MOST_NAMED else ""
        inside = "" if split == "train" else f" of {split}"
        return f"epoch {self.epoch}, step {step}{inside} (studies {studies}{more})"

    def _diverged(self, what: str, place: str) -> DivergedError:
        good = f"the last good checkpoint is {self.checkpoint}" if self.checkpoint else "there is no checkpoint yet"
        otherwise = "set mixed_precision = false, " if self.half else ""
        return DivergedError(
            f"the training diverged: {what} in {place}; {good}",
            hint=f"lower lr, set gradient_clip_norm, {otherwise}or look at those studies with `mmad data show`",
        )
