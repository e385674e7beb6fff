"""From a setup to a detector with weights, and to its parameter counts without spending memory."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import safetensors.torch
import torch

from mmad.base.errors import WeightsError
from mmad.base.formatting import short_key
from mmad.base.records import DOCUMENTED_COLUMNS, DOCUMENTED_LABELS, ClinicalColumns, ParameterCount
from mmad.config.setup import ModelSetup
from mmad.config.weights import check_name, find_weights, unreadable, weights_file
from mmad.detector.backbones import ImageNetwork, freeze, load_body, rescale_residuals
from mmad.detector.model import MultimodalRCNN
from mmad.detector.recomputing import recompute_blocks
from mmad.detector.timm_body import TimmBody
from mmad.detector.weights import initialise

#: The modules the documented log prints, in its order.
PRINTED_MODULES = (
    "backbone",
    "rpn",
    "roi_heads",
    "roi_heads.mask_head",
    "roi_heads.box_head",
    "roi_heads.box_head.fc6",
    "roi_heads.box_head.fc7",
    "roi_heads.box_predictor",
    "clinical_convs",
    "fuse_convs",
    "clinical_fusion",
)


def build_detector(
    setup: ModelSetup,
    *,
    labels: int,
    columns: ClinicalColumns,
    seed: int,
    weights: str = "imagenet",
    weights_dir: Path | None = None,
    weights_hash: str = "",
) -> MultimodalRCNN:
    """The detector of ``setup`` on the CPU, drawn from ``seed``, its image networks pretrained if asked for.

    Args:
        setup: the hyper-parameters.
        labels: how many findings, the background not counted.
        columns: the clinical columns (idle without ``use_clinical``).
        seed: of the initial weights; modules of one name are equal in every detector of one seed.
        weights: ``none`` to leave a pretrained setup as drawn, or as in a training protocol.
        weights_dir: a folder with files of weights, before the usual places.
        weights_hash: the SHA-256 that the file of weights has to have; empty for any.

    Raises:
        WeightsError: when the weights' file is missing or damaged, with the hint.

    Example:
        >>> import torch
        >>> from mmad.base.records import ClinicalColumns
        >>> from mmad.config.setup import ModelSetup
        >>> setup = ModelSetup(image_size=64, pretrained=False)
        >>> detector = build_detector(setup, labels=5, columns=ClinicalColumns(), seed=0)
        >>> images = torch.randint(0, 256, (2, 1, 64, 64))
        >>> targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 50.0]]), "labels": torch.tensor([1])}] * 2
        >>> sorted(detector(images, targets).losses)
        ['loss_box_reg', 'loss_classifier', 'loss_objectness', 'loss_rpn_box_reg']
        >>> sorted(detector.eval()(images).detections[0])
        ['boxes', 'labels', 'scores']
    """
    pretrained = setup.pretrained and weights != "none"
    built = setup.stock()
    state = _read_weights(built, weights, weights_dir, weights_hash) if pretrained else None
    with torch.random.fork_rng(devices=[]):  # what is drawn while building is drawn anew by name
        model = MultimodalRCNN(setup, labels, columns)
    initialise(model, seed, model.redrawn)
    for network in image_networks(model):
        freeze(network, built, pretrained=pretrained)
        if state is None:
            rescale_residuals(network)
        elif isinstance(network.body, TimmBody):
            network.body.load(state)
        else:
            load_body(network, state, built)
    if setup.gradient_checkpointing:
        for network in image_networks(model):
            recompute_blocks(network)
    return model


def image_networks(model: MultimodalRCNN) -> tuple[ImageNetwork, ...]:
    """The backbone and, in eras B and C, the second one that reads the clinical image."""
    both = (model.backbone, getattr(model, "clinical_convs", None))
    return tuple(network for network in both if isinstance(network, ImageNetwork))


def idle_modules(setup: ModelSetup) -> tuple[str, ...]:
    """Modules that are built and counted and nothing reads: era C's second network where nothing is spatialised.

    The documented log counted them (e083, e088, e093, e100); ``clinical_idle_network = false`` leaves them out.
    """
    alone = setup.use_clinical and setup.resolved_era == "C" and not setup.spatialise_clinical
    idle = alone and setup.clinical_idle_network
    return ("clinical_convs",) if idle else ()


def _read_weights(setup: ModelSetup, weights: str, weights_dir: Path | None, wanted: str) -> dict[str, torch.Tensor]:
    """The tensors that ``weights`` means, of a file whose content has the SHA-256 ``wanted``."""
    path = find_weights(setup.image_backbone, weights_dir, weights)
    if path is None:
        name = setup.image_backbone
        raise WeightsError(
            f"the weights {weights_file(name, weights)} of backbone {name} are not here",
            hint="fetch them with `mmad weights --fetch`, name their folder with --weights-dir, "
            "or train from scratch with --weights none",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    digest = hashlib.sha256(data).hexdigest()
    check_name(path, digest)
    if wanted and digest != wanted:
        raise WeightsError(
            f"has changed since the run was queued: its SHA-256 begins {short_key(digest)}, not {short_key(wanted)}",
            where=path,
            hint="put the file back, or give the ablation file to mmad ablate again, which queues a run of its own",
        )
    try:
        return _tensors(safetensors.torch.load(data) if path.suffix == ".safetensors" else _unpickled(data))
    except Exception as error:  # safetensors, pickle and torch each have their own
        raise WeightsError(
            f"cannot be read as weights ({type(error).__name__})",
            where=path,
            hint="it has to hold a state dict of tensors alone; fetch or export it again",
        ) from error


def _unpickled(data: bytes) -> object:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensors(found: object) -> dict[str, torch.Tensor]:
    """The state dict in ``found``: itself, or below the name that training programs give it."""
    for name in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict):
        raise TypeError("no state dict")
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def parameter_counts(
    setup: ModelSetup, labels: int = len(DOCUMENTED_LABELS), columns: ClinicalColumns = DOCUMENTED_COLUMNS
) -> tuple[ParameterCount, ...]:
    """How many parameters the detector has, whole and by module, as the documented log prints them.

    Built on the meta device: no memory is spent. Fixed parameters count, BatchNorm statistics do not.
    """
    with torch.device("meta"):
        model = MultimodalRCNN(setup, labels, columns)
    modules = dict(model.named_modules())
    counts = [ParameterCount("model", sum(p.numel() for p in model.parameters()))]
    counts += [
        ParameterCount(f"model.{name}", sum(p.numel() for p in modules[name].parameters()))
        for name in PRINTED_MODULES
        if name in modules and not (name == "fuse_convs" and setup.using_fpn and not list(modules[name].parameters()))
    ]
    return tuple(counts)
