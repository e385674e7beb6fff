"""``mmad weights``: which pretrained weights are needed, which are here, and fetching them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmad.base.errors import WeightsError
from mmad.cli.common import JsonOption, WeightsDirOption, make_console, print_json


def register(app: typer.Typer) -> None:
    @app.command("weights")
    def weights(
        file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="List only what this file needs.")] = None,
        fetch: Annotated[bool, typer.Option("--fetch", help="Fetch what is missing (loads torch).")] = False,
        weights_dir: WeightsDirOption = None,
        json: JsonOption = False,
    ) -> None:
        """List the ImageNet weights of the backbones and whether they are here; fetch the missing ones.

        They are looked for in --weights-dir, then in torch's own cache, under torchvision's file names (timm's as
        timm-NAME.safetensors); --fetch writes to the first of these. Without FILE torchvision's are listed.

        --json prints [{backbone, file, path}], path null where the file is missing.
        """
        from mmad.spec.weights import find_weights, torch_checkpoints

        backbones = _needed(file)
        if weights_dir is not None and fetch:
            _make(weights_dir)
        found = {backbone: find_weights(backbone, weights_dir) for backbone in backbones}
        if fetch and (missing := [backbone for backbone, path in found.items() if path is None]):
            _fetch(missing, weights_dir or torch_checkpoints())
            found = {backbone: find_weights(backbone, weights_dir) for backbone in backbones}
        _print(found, json)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        mend = "name another folder with --weights-dir"
        raise WeightsError(f"no folder can be made here ({error.strerror})", where=folder, mend=mend) from None


def _needed(file: Path | None) -> tuple[str, ...]:
    """The backbones whose weights ``file`` needs, or all that can be built."""
    from mmad.spec.load import load_ablation
    from mmad.spec.setup import BACKBONES

    if file is None:
        return BACKBONES
    runs = [member.run for member in load_ablation(file).members]
    return tuple(dict.fromkeys(run.setup.image_backbone for run in runs if run.protocol.weights_hash))


def _print(found: dict[str, Path | None], json: bool) -> None:
    from rich.table import Table

    from mmad.spec.weights import weights_file

    if json:
        print_json(
            [
                {"backbone": backbone, "file": weights_file(backbone), "path": None if path is None else str(path)}
                for backbone, path in found.items()
            ]
        )
        return
    if not found:
        typer.echo("no weights are needed: nothing here starts pretrained")
        return
    table = Table("backbone", "file", "where")
    for backbone, path in found.items():
        table.add_row(backbone, weights_file(backbone), "missing" if path is None else str(path.parent))
    make_console().print(table)


def _fetch(backbones: list[str], folder: Path) -> None:
    """Download the weights of ``backbones`` into ``folder``, their hashes checked.

    Raises:
        WeightsError: no connection, or a file that is not what its name says.
    """
    import torch
    from torchvision.models import get_model_weights

    from mmad.spec.consistency import TIMM
    from mmad.spec.weights import WEIGHTS_MODELS, weights_file

    for name, backbone in {weights_file(backbone): backbone for backbone in backbones}.items():
        if backbone.startswith(TIMM):
            _fetch_timm(backbone, folder)
            continue
        url = get_model_weights(WEIGHTS_MODELS[backbone]).IMAGENET1K_V1.url
        typer.echo(f"fetching {name} into {folder} …", err=True)
        try:
            torch.hub.load_state_dict_from_url(
                url, model_dir=str(folder), map_location="cpu", check_hash=True, file_name=name, weights_only=True
            )
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{name} could not be fetched ({error})",
                mend=f"connect to the network, or copy the file into {folder} by hand",
            ) from error


def _fetch_timm(backbone: str, folder: Path) -> None:
    from mmad.detector.timm_body import save_weights
    from mmad.spec.consistency import TIMM
    from mmad.spec.weights import weights_file

    file = folder / weights_file(backbone)
    typer.echo(f"fetching {file.name} into {folder} …", err=True)
    try:
        save_weights(backbone.removeprefix(TIMM), file)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{file.name} could not be fetched ({error})",
            mend=f"connect to the network, or copy the file into {folder} by hand",
        ) from error
