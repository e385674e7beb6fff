"""Tries the parts of the user's own that a setup names, in a process of its own.

    python -m mmad.training.part_check '[{"field": "fusion", "setup": {…}, "modules": […]}]' SECONDS

prints, as its last line, an answer for each: null, or what is wrong. What a part prints is kept apart. A part that
takes more than SECONDS ends the process.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import signal
import sys
import sysconfig
import tempfile
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from mmad.base.errors import MmadError
from mmad.base.records import ClinicalColumns
from mmad.config.messages import did_you_mean
from mmad.config.named_parts import Named, part_arguments, part_name, part_path
from mmad.config.protocol import OwnModule
from mmad.config.setup import PYRAMID_CHANNELS, PYRAMID_STRIDES, ModelSetup, map_sides
from mmad.config.user_modules import make_importable
from mmad.detector.backbones import own_body
from mmad.detector.fusions import ClassPrior, FusionShape
from mmad.detector.parts import make_part

#: What a part is tried with: few images, small maps, and columns of either kind.
_BATCH, _SIDE, _FINDINGS, _SMALL = 2, 4, 3, 64
_COLUMNS = ClinicalColumns(("a", "b"), (("c", ("x", "y")),))


@dataclass(frozen=True)
class PartProblem:
    """What is wrong with a part, its hint, and the argument in the setup that it is about, if one."""

    what: str
    hint: str | None = None
    argument: str = ""


class _Refused(Exception):
    def __init__(self, what: str, hint: str | None = None, argument: str = "") -> None:
        self.problem = PartProblem(what, hint, argument)


def check(field: str, setup: ModelSetup) -> PartProblem | None:
    """What is wrong with the part that ``field`` of ``setup`` names; its module can be imported."""
    named = getattr(setup, field)
    try:
        with _captured() as printed:
            made = _imported(part_path(field, named), printed)
            _check_signature(field, named, made)
            _TRIED[field](setup)
    except _Refused as refused:
        return refused.problem
    except MmadError as error:
        return PartProblem(error.what, error.hint)
    return None


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Standard output goes into a file while it is entered; gives what was written so far."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as kept:
        sys.stdout.flush()
        own = os.dup(1)
        os.dup2(kept.fileno(), 1)  # what is written past Python counts too

        def printed() -> str:
            kept.flush()
            kept.seek(0)
            return kept.read()

        try:
            with redirect_stdout(kept):
                yield printed
        finally:
            os.dup2(own, 1)
            os.close(own)


def _imported(path: str, printed: Callable[[], str]) -> Any:
    """The class ``MODULE:CLASS``."""
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise _Refused(f"there is no module {module}", "put it beside the ablation file, or install it") from None
        raise _Refused(f"importing {module} raises {_said(error)}", "install what it imports") from None
    except BaseException as error:  # SystemExit too
        raise _Refused(f"importing {module} raises {_said(error)}", "importing a module must only define") from None
    if (text := printed()).strip():
        first = text.strip().splitlines()[0][:60]
        raise _Refused(f"importing {module} prints {first!r}", 'put what it does below if __name__ == "__main__"')
    if not hasattr(found, name):
        classes = [one for one, value in vars(found).items() if inspect.isclass(value) and not one.startswith("_")]
        raise _Refused(f"{module} has no class {name}", did_you_mean(name, classes))
    made = getattr(found, name)
    if not inspect.isclass(made):
        raise _Refused(f"{path} is no class", f"name a class that implements {_PROTOCOLS}")
    return made


_PROTOCOLS = "the Protocol that `mmad parts` names"


#: Where the code of Python, of its packages and of mmad lies.
_OTHERS_CODE = (*sysconfig.get_paths().values(), str(Path(__file__).resolve().parents[1]))


def _said(error: BaseException) -> str:
    """An error in one line, with the place in the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", *_OTHERS_CODE))]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {text[:160]}' if text else ''}{place}"


def _check_signature(field: str, named: Named, made: Any) -> None:
    """The arguments in the setup against those of the class: names, those that are needed, and types."""
    name, given = str(part_name(named)).rpartition(":")[2], part_arguments(named)
    context, facts = _GIVEN[field]
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):
        return
    parameters = list(signature.parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [one for one in parameters if one.kind in kinds]
    takes_all = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    if len(positional) < len(context) and not takes_all:
        words = ", ".join((*context, *facts))
        raise _Refused(f"{name} takes {len(positional)} arguments by place, not ({words})", f"see {_PROTOCOLS}")
    own = {one.name: one for one in parameters if one not in positional[: len(context)] and one.name not in facts}
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    own = {n: one for n, one in own.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    for argument, value in given.items():
        if argument not in own and not open_ended:
            hint = did_you_mean(argument, own) if own else "it takes none"
            raise _Refused(f"{name} takes no argument {argument}", hint, argument)
        if argument in own:
            _check_type(name, own[argument], value)
    for argument, one in own.items():
        if one.default is one.empty and argument not in given:
            raise _Refused(f"{name} needs the argument {argument}", f"add {argument} = … to the table")
    missing = [fact for fact in facts if fact not in signature.parameters]
    if missing and not open_ended:
        raise _Refused(f"{name} takes no argument {missing[0]}, which it is given", f"see {_PROTOCOLS}")


def _check_type(name: str, parameter: inspect.Parameter, value: Any) -> None:
    hint = parameter.annotation
    if hint is parameter.empty:
        return
    builtin = {"int": int, "float": float, "str": str, "bool": bool}
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(builtin.get(hint, hint) if isinstance(hint, str) else hint)
    except Exception:  # a type that pydantic cannot check
        return
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        shown = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
        what = f"{parameter.name} = {json.dumps(value)}: {name} expects {shown}"
        raise _Refused(what, "give such a value", parameter.name) from None
    except Exception:
        return


def _try_fusion(setup: ModelSetup) -> None:
    levels = ("0", "1", "2", "3", "pool") if setup.has_pyramid else ("0",)
    channels = PYRAMID_CHANNELS if setup.has_pyramid else setup.backbone_out_channels
    shape = FusionShape(levels, channels, setup.clinical_input_channels, _FINDINGS)
    tokens = setup.clinical_encoder_name == "tokens"
    clinical = (_BATCH, 3, shape.length) if tokens else (_BATCH, shape.length)
    full = map_sides(setup) or tuple(_SIDE for _ in levels)
    small = tuple(max(1, _SIDE >> index) for index in range(len(levels)))

    def inputs(sides: tuple[int, ...], device: str) -> list[Any]:
        maps = OrderedDict(
            (level, torch.randn(_BATCH, channels, side, side, device=device))
            for level, side in zip(levels, sides, strict=True)
        )
        return [maps, torch.randn(clinical, device=device)]

    def run(part: nn.Module, given: list[Any]) -> list[Tensor]:
        maps, vector = given
        found = part(maps, vector)
        if not isinstance(found, Mapping) or tuple(found) != levels:
            names = list(found) if isinstance(found, Mapping) else type(found).__name__
            raise _Refused(f"returns {names}, not a dictionary of the maps {', '.join(levels)}")
        for level in levels:
            _require_shape(found[level], maps[level].shape, f"the map {level}")
        outputs = [found[level] for level in levels]
        if isinstance(part, ClassPrior):
            prior = part.prior(vector)
            _require_shape(prior, torch.Size((_BATCH, _FINDINGS)), "prior")
            outputs.append(prior)
        return outputs

    _try_module(
        lambda: make_part("fusion", setup.fusion, shape),
        run,
        lambda device: inputs(full if device == "meta" else small, device),
    )


def _try_encoder(setup: ModelSetup) -> None:
    length, indicators = setup.clinical_input_channels, setup.missing_indicators
    facts = {"indicators": indicators, "unknown_slot": setup.clinical_unknown_slot}

    def inputs(device: str) -> list[Any]:
        numbers = torch.randn(_BATCH, 2, device=device)
        if indicators:
            numbers = torch.cat((numbers, torch.zeros_like(numbers)), dim=1)
        return [numbers, torch.tensor([[1], [-1]], device=device)]

    def run(part: nn.Module, given: list[Any]) -> list[Tensor]:
        found = part(*given)
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if not isinstance(found, Tensor) or found.dim() not in (2, 3) or [shape[0], shape[-1]] != [_BATCH, length]:
            raise _Refused(f"returns {shape}, not [{_BATCH}, {length}] or [{_BATCH}, T, {length}]")
        return [found]

    named = setup.clinical_encoder
    _try_module(
        lambda: make_part("clinical_encoder", named, _COLUMNS, length, **facts),
        run,
        inputs,
    )


def _try_backbone(setup: ModelSetup) -> None:
    pyramid = setup.using_fpn
    small = setup.model_copy(update={"image_size": min(setup.image_size, _SMALL)})

    def run(part: nn.Module, given: list[Any]) -> list[Tensor]:
        (images,) = given
        widths, strides = _numbers(part, "widths", pyramid), _numbers(part, "strides", pyramid)
        if pyramid and strides != PYRAMID_STRIDES[:4]:
            raise _Refused(f"has strides {list(strides)}, not {list(PYRAMID_STRIDES[:4])} as a pyramid needs")
        found = part(images)
        names = ("0", "1", "2", "3") if pyramid else ("",)
        maps = found if pyramid else {"": found}
        if not isinstance(maps, Mapping) or tuple(maps) != names:
            raise _Refused(f"returns {type(found).__name__}, not a dictionary of the maps {', '.join(names)}")
        for name, width, stride in zip(names, widths, strides, strict=True):
            side = -(-images.shape[-1] // stride)
            _require_shape(maps[name], torch.Size((_BATCH, width, side, side)), f"the map {name}".strip())
        return list(maps.values())

    def inputs(device: str) -> list[Any]:
        side = setup.image_size if device == "meta" else small.image_size
        return [torch.randn(_BATCH, 3, side, side, device=device)]

    _try_module(lambda: own_body(setup), run, inputs, small=lambda: own_body(small))


def _numbers(part: nn.Module, name: str, pyramid: bool) -> tuple[int, ...]:
    """The attribute ``name`` of a body: a whole number for each of its maps."""
    given = getattr(part, name, None)
    count = 4 if pyramid else 1
    if not isinstance(given, list | tuple) or len(given) != count or not all(type(n) is int and n > 0 for n in given):
        raise _Refused(f"has {name} = {given!r}", f"give it a tuple of {count} whole number{'s' * pyramid}")
    return tuple(given)


def _try_box_loss(setup: ModelSetup) -> None:
    def run(part: nn.Module, given: list[Any]) -> list[Tensor]:
        deltas, targets = given
        empty = part(deltas[:0], targets[:0])
        found = part(deltas, targets)
        for loss in (empty, found):
            _require_shape(loss, torch.Size(()), "the loss")
        if deltas.device.type != "meta" and not found.requires_grad and torch.is_grad_enabled():
            raise _Refused("its loss has no gradient")
        return [found, empty]

    def inputs(device: str) -> list[Any]:
        return [torch.randn(5, 4, device=device, requires_grad=True), torch.randn(5, 4, device=device)]

    _try_module(lambda: make_part("box_loss", setup.box_loss), run, inputs)


def _try_augmentation(setup: ModelSetup) -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (_SMALL, _SMALL), dtype=np.uint8)
    boxes, labels = np.array([[4, 8, 30, 40], [20, 2, 60, 60]], dtype=np.float32), np.array([1, 2])
    part = _guarded("making it", lambda: make_part("augmentation", setup.augmentation))
    outcomes = []
    for seed in (0, 0, 1, 2, 3):
        given = (image.copy(), boxes.copy(), labels.copy(), np.random.default_rng(seed))
        found = _guarded("changing an image", partial(part, *given))
        if not isinstance(found, tuple) or len(found) != 3:
            raise _Refused(f"returns {type(found).__name__}, not (image, boxes, labels)")
        changed, moved, named = (np.asarray(one) for one in found)
        if changed.shape != image.shape or changed.dtype != np.uint8:
            raise _Refused(f"returns an image {changed.dtype} {list(changed.shape)}, not uint8 {list(image.shape)}")
        if moved.reshape(-1, 4).shape[0] != len(named) or not np.isfinite(moved).all():
            raise _Refused("returns boxes that are not finite, or of another number than their labels")
        if len(named) and (named.dtype.kind not in "iu" or (named < 1).any()):
            raise _Refused(f"returns the labels {named.tolist()}", "a label is a whole number from 1")
        sides = moved.reshape(-1, 4)[:, 2:] - moved.reshape(-1, 4)[:, :2]
        if (moved < 0).any() or (moved > _SMALL).any() or (sides <= 0).any():
            raise _Refused("returns boxes outside the image or without an area", "cut them off, or leave them out")
        outcomes.append((changed.tobytes(), moved.tobytes(), named.tobytes()))
    if outcomes[0] != outcomes[1]:
        raise _Refused("changes an image otherwise the second time", "take all chance from the generator it is given")


def _try_optimiser(setup: ModelSetup) -> None:
    def stepped() -> list[float]:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        facts = {"lr": setup.lr, "weight_decay": setup.weight_decay}
        made = _guarded("making it", lambda: make_part("optimiser", setup.optimiser, list(layer.parameters()), **facts))
        if not isinstance(made, torch.optim.Optimizer):
            raise _Refused("is no torch.optim.Optimizer", f"see {_PROTOCOLS}")
        before = layer.weight.detach().clone()
        for _ in range(2):
            made.zero_grad()
            layer(torch.ones(4, 3)).square().mean().backward()
            _guarded("its step", made.step)
        if torch.equal(before, layer.weight):
            raise _Refused("its step changes no weight")
        if not torch.isfinite(layer.weight).all():
            raise _Refused("its step gives weights that are not finite")
        return layer.weight.flatten().tolist()

    if stepped() != stepped():
        raise _Refused("two equal trainings differ")


def _try_schedule(setup: ModelSetup) -> None:
    def made() -> tuple[torch.optim.Optimizer, Any]:
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=setup.lr)
        return optimiser, _guarded("making it", lambda: make_part("lr_scheduler", setup.lr_scheduler, optimiser))

    def rates(optimiser: torch.optim.Optimizer, schedule: Any, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            optimiser.step()
            _guarded("its step", schedule.step)
            found.append(float(optimiser.param_groups[0]["lr"]))
        return found

    optimiser, schedule = made()
    for name in ("step", "state_dict", "load_state_dict"):
        if not callable(getattr(schedule, name, None)):
            raise _Refused(f"has no method {name}", f"see {_PROTOCOLS}")
    whole = rates(optimiser, schedule, 6)
    if not all(math.isfinite(rate) and rate >= 0 for rate in whole):
        raise _Refused(f"gives the learning rates {whole}")
    first, resumed = made(), made()
    rates(*first, 3)
    try:
        state = json.loads(json.dumps(first[1].state_dict()))
    except (TypeError, ValueError):
        raise _Refused("its state_dict is no plain JSON", "keep numbers, texts and lists alone in it") from None
    _guarded("its load_state_dict", lambda: resumed[1].load_state_dict(state))
    resumed[0].param_groups[0]["lr"] = first[0].param_groups[0]["lr"]
    if rates(*resumed, 3) != whole[3:]:
        raise _Refused("resumed from its state it gives other learning rates")


def _require_shape(found: Any, shape: torch.Size, what: str) -> None:
    if not isinstance(found, Tensor) or found.shape != shape:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise _Refused(f"returns {what} as {got}, not {list(shape)}")
    if found.dtype != torch.float32:
        raise _Refused(f"returns {what} as {found.dtype}, not torch.float32")


def _guarded(doing: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (_Refused, MmadError):
        raise
    except Exception as error:
        raise _Refused(f"{doing} raises {_said(error)}", f"see {_PROTOCOLS}") from None


def _try_module(
    make: Callable[[], Any],
    run: Callable[[nn.Module, list[Any]], list[Tensor]],
    inputs: Callable[[str], list[Any]],
    small: Callable[[], Any] | None = None,
) -> None:
    """Shapes on the meta device; finite values, gradients and two equal passes on the CPU, of ``small`` if given."""
    torch.manual_seed(0)
    with torch.device("meta"):
        part = _guarded("making it", make)
    if not isinstance(part, nn.Module):
        raise _Refused("is no torch.nn.Module", f"see {_PROTOCOLS}")
    _guarded("its pass on the meta device", lambda: run(part, inputs("meta")))
    part = _guarded("making it", small or make)
    given = inputs("cpu")
    outputs = _guarded("its pass in training", lambda: run(part.train(), given))
    if not all(torch.isfinite(one).all() for one in outputs):
        raise _Refused("returns values that are not finite in training")
    loss = sum(one.square().mean() for one in outputs)
    assert isinstance(loss, Tensor)
    if loss.requires_grad:
        _guarded("its gradient", loss.backward)
    for name, parameter in part.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise _Refused(f"its parameter {name} has no gradient", "use it, or leave it out")
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise _Refused(f"the gradient of its parameter {name} is not finite")
    kept = _each(torch.clone, given)
    alike = _each(lambda one: one[:1].expand_as(one), kept)
    with torch.no_grad():
        passes = [_guarded("its pass in evaluation", lambda: run(part.eval(), given)) for _ in range(2)]
        if not all(map(torch.equal, _tensors(kept), _tensors(given))):
            raise _Refused("changes what it is given in place", "others read it too: change a copy")
        alone = _guarded("its pass in evaluation", lambda: run(part, alike))
        moved = _each(lambda one: one.to("meta"), kept)
        _guarded("its pass after a move to another device", lambda: run(part.to("meta"), moved))
    if not all(torch.isfinite(one).all() for one in passes[0]):
        raise _Refused("returns values that are not finite in evaluation")
    if not all(torch.equal(one, other) for one, other in zip(*passes, strict=True)):
        raise _Refused("two passes in evaluation differ", "draw random numbers in training alone")
    pairs = [(one[:1], other[:1]) for one, other in zip(passes[0], alone, strict=True) if one.dim()]
    if not all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in pairs):
        raise _Refused(
            "what it makes of an image in evaluation depends on the others of its batch", f"see {_PROTOCOLS}"
        )


def _each(change: Callable[[Tensor], Tensor], given: list[Any]) -> list[Any]:
    """``given`` with every tensor changed, those in a dictionary too."""
    return [
        OrderedDict((name, change(one)) for name, one in part.items()) if isinstance(part, Mapping) else change(part)
        for part in given
    ]


def _tensors(given: list[Any]) -> list[Tensor]:
    return [tensor for one in given for tensor in (one.values() if isinstance(one, Mapping) else (one,))]


#: What a part of each kind is given by place, and by name.
_GIVEN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fusion": (("shape",), ()),
    "clinical_encoder": (("columns", "length"), ("indicators", "unknown_slot")),
    "backbone": ((), ("pyramid", "image_size")),
    "box_loss": ((), ()),
    "augmentation": ((), ()),
    "optimiser": (("parameters",), ("lr", "weight_decay")),
    "lr_scheduler": (("optimiser",), ()),
}
_TRIED: Mapping[str, Callable[[ModelSetup], None]] = {
    "fusion": _try_fusion,
    "clinical_encoder": _try_encoder,
    "backbone": _try_backbone,
    "box_loss": _try_box_loss,
    "augmentation": _try_augmentation,
    "optimiser": _try_optimiser,
    "lr_scheduler": _try_schedule,
}


def main(arguments: list[str]) -> int:
    """Answers the requests on the command line: a list of ``{"field": …, "setup": …, "modules": […]}``, and seconds."""
    answers: list[dict[str, Any] | None] = []
    for request in json.loads(arguments[0]):
        setup = ModelSetup.model_validate(request["setup"])
        make_importable([OwnModule(**one) for one in request["modules"]])
        signal.setitimer(signal.ITIMER_REAL, float(arguments[1]))  # no loop of the module's can hold it up
        problem = check(request["field"], setup)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.append(None if problem is None else asdict(problem))
    print(f"\n{json.dumps(answers)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
