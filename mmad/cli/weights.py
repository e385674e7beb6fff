"""``mmad weights``: which pretrained weights are needed, which are here, and fetching them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mmad.base.errors import WeightsError
from mmad.cli.options import JsonOption, WeightsDirOption
from mmad.cli.output import console, print_json


def weights(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="List only what this file needs.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch what is missing (loads torch).")] = False,
    weights_dir: WeightsDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the ImageNet weights of the backbones and whether they are here; fetch the missing ones.

    They are looked for in --weights-dir, then in torch's own cache, under torchvision's file names (timm's as
    timm-NAME.safetensors); --fetch writes to the first of these. Without FILE torchvision's are listed.

    --json prints [{backbone, file, path}], path null where the file is missing.
    """
    from mmad.config.weights import find_weights, torch_checkpoints

    needed = _needed(file)
    if weights_dir is not None and fetch:
        _make_folder(weights_dir)
    found = {one: find_weights(one[0], weights_dir, one[1]) for one in needed}
    if fetch and (missing := [one for one, path in found.items() if path is None]):
        _fetch(missing, weights_dir or torch_checkpoints())
        found = {one: find_weights(one[0], weights_dir, one[1]) for one in needed}
    _print_weights(found, json)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name another folder with --weights-dir"
        raise WeightsError(f"no folder can be made here ({error.strerror})", where=folder, hint=hint) from None


#: A backbone, and the weights that it starts from.
WeightsNeed = tuple[str, str]


def _needed(file: Path | None) -> tuple[WeightsNeed, ...]:
    """The backbones with the weights that ``file`` needs, or all that can be built with ImageNet's."""
    from mmad.config.load import load_ablation
    from mmad.config.setup import BACKBONES

    if file is None:
        return tuple((backbone, "imagenet") for backbone in BACKBONES)
    runs = [member.run for member in load_ablation(file).members]
    return tuple(
        dict.fromkeys((run.setup.image_backbone, run.protocol.weights) for run in runs if not run.from_scratch)
    )


def _print_weights(found: Mapping[WeightsNeed, Path | None], json: bool) -> None:
    from mmad.base.terminal import TerminalColumn, fitted_table
    from mmad.config.weights import weights_file

    if json:
        print_json(
            [
                {"backbone": one[0], "file": weights_file(*one), "path": None if path is None else str(path)}
                for one, path in found.items()
            ]
        )
        return
    if not found:
        typer.echo("no weights are needed: nothing here starts pretrained")
        return
    out = console()
    columns = [TerminalColumn("backbone"), TerminalColumn("file"), TerminalColumn("where", wraps=True)]
    rows = [
        [one[0], weights_file(*one), "missing" if path is None else str(path.parent)] for one, path in found.items()
    ]
    out.print(fitted_table(columns, rows, out.width))
    if None in found.values():
        typer.echo("--fetch fetches what is missing")


def _fetch(missing: Sequence[WeightsNeed], folder: Path) -> None:
    """Download weights into ``folder``, their hashes checked.

    Raises:
        WeightsError: no connection, a file that is not what its name says, or one of the user's own.
    """
    import torch
    from torchvision.models import get_model_weights

    from mmad.config.named_parts import TIMM
    from mmad.config.weights import HUB, WEIGHTS_MODELS, is_file, torchvision_weights, weights_file
    from mmad.detector.timm_body import save_weights

    for name, (backbone, weights) in {weights_file(*one): one for one in missing}.items():
        if is_file(weights):
            raise WeightsError("is not here", where=weights, hint="it is a file of your own: put it there")
        if weights.startswith(HUB):
            _fetch_hub(weights.removeprefix(HUB))
            continue
        typer.echo(f"fetching {name} into {folder} …", err=True)
        try:
            if backbone.startswith(TIMM):
                save_weights(backbone.removeprefix(TIMM), folder / name)
                continue
            member = str(torchvision_weights(backbone, weights)).partition(".")[2]
            url = get_model_weights(WEIGHTS_MODELS[backbone])[member].url
            torch.hub.load_state_dict_from_url(
                url, model_dir=str(folder), map_location="cpu", check_hash=True, file_name=name, weights_only=True
            )
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{name} could not be fetched ({error})",
                hint=f"connect to the network, or copy the file into {folder} by hand",
            ) from error


def _fetch_hub(repository: str) -> None:
    """Download the tensors of ``repository`` into the hub's own cache."""
    from huggingface_hub import hf_hub_download

    typer.echo(f"fetching {repository} …", err=True)
    try:
        hf_hub_download(repository, "model.safetensors")
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{repository} could not be fetched ({str(error).splitlines()[0]})",
            hint="connect to the network, check the name, or copy the file by hand and name its path",
        ) from error


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("weights")(weights)
