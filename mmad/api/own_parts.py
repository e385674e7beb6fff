"""The parts of the user's own that an ablation names: found, hashed, and tried in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmad.base.errors import SpecError

if TYPE_CHECKING:
    from mmad.config.runs import Ablation, RunSpec

#: Seconds in which a part has to be imported and tried, and in which torch has to be imported before.
SECONDS, TORCH_SECONDS = 30.0, 120.0
_PROGRAM = "import sys; from mmad.training.part_check import main; sys.exit(main(sys.argv[1:]))"


def with_own_parts(ablation: Ablation) -> Ablation:
    """``ablation`` with the hash of every module of the user's own that it names, once their parts were tried.

    This process can import them afterwards; nothing of them is imported here.

    Raises:
        SpecError: a part that is not there, cannot be imported, or does not keep to its Protocol, with file and line.
    """
    from mmad.config.user_modules import make_importable, with_modules

    ablation = with_modules(ablation)
    requests = _requests(ablation)
    if requests:
        _try(ablation, list(requests.values()))
    modules = {module.name: module for member in ablation.members for module in member.run.protocol.modules}
    make_importable(list(modules.values()))
    return ablation


def _requests(ablation: Ablation) -> dict[str, tuple[str, RunSpec]]:
    """Field and a run of every part to be tried: those with arguments or of a module of the user's own."""
    from mmad.config.named_parts import PARTS

    found: dict[str, tuple[str, RunSpec]] = {}
    for run in {member.run.key: member.run for member in ablation.members}.values():
        used = run.affecting("architecture", "training")
        for field in PARTS:
            named = getattr(run.setup, field)
            if isinstance(named, dict) and field in used:
                shapes = run.setup.part("architecture")
                found.setdefault(json.dumps([field, named, shapes], sort_keys=True), (field, run))
    return found


def _try(ablation: Ablation, requests: Sequence[tuple[str, RunSpec]]) -> None:
    answers = _answers(requests)
    if answers is None and len(requests) > 1:  # which of them it was
        for request in requests:
            _try(ablation, [request])
        return
    if answers is None:
        field, run = requests[0]
        what = f"importing and trying it took longer than {SECONDS:g} s, or ended the process"
        raise _refused(ablation, field, run, what, "importing a module must only define", "")
    for (field, run), problem in zip(requests, answers, strict=True):
        if problem is not None:
            raise _refused(ablation, field, run, problem["what"], problem["hint"], problem["argument"])


def _answers(requests: Sequence[tuple[str, RunSpec]]) -> list[dict[str, Any] | None] | None:
    from mmad.scheduler.process import environment, run_python

    asked = [
        {
            "field": field,
            "setup": run.setup.model_dump(mode="json"),
            "modules": [module.model_dump() for module in run.protocol.modules],
        }
        for field, run in requests
    ]
    words = [json.dumps(asked), str(SECONDS)]
    printed = run_python(_PROGRAM, words, environment(1), TORCH_SECONDS + SECONDS * len(requests))
    lines = (printed or "").strip().splitlines()
    try:
        answers = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return answers if isinstance(answers, list) and len(answers) == len(requests) else None


def _refused(ablation: Ablation, field: str, run: RunSpec, what: str, hint: str | None, argument: str) -> SpecError:
    from mmad.config.ablation_file import place_of_part
    from mmad.config.named_parts import part_name

    named = getattr(run.setup, field)
    where = place_of_part(ablation, field, named, argument)
    return SpecError(f"{field} = {part_name(named)!r}: {what}", where=where, hint=hint)
