"""The region proposal network: torchvision's parts, with losses whenever targets are given.

Faster R-CNN: Ren et al., arXiv:1506.01497.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers

from mmad.spec.setup import ModelSetup

Target = dict[str, Tensor]


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's RPN whose proposals never depend on the targets, in training and in evaluation."""

    def forward(
        self, images: ImageList, features: OrderedDict[str, Tensor], targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Propose boxes.

        Args:
            images: the batch, (B, 3, S, S).
            features: the maps the heads read.
            targets: per image ``boxes`` (n, 4) in pixels of the S×S image; with them the losses are computed.

        Returns:
            Per image (p, 4) proposals, detached, and the losses ``loss_objectness`` and ``loss_rpn_box_reg``.
        """
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        anchors = self.anchor_generator(images, maps)
        per_level = [o[0].shape[0] * o[0].shape[1] * o[0].shape[2] for o in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        decoded = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        proposals, _ = self.filter_proposals(decoded, objectness, images.image_sizes, per_level)
        if targets is None:
            return proposals, {}
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        wanted = self.box_coder.encode(matched, anchors)
        loss_objectness, loss_box = self.compute_loss(objectness, deltas, labels, wanted)
        return proposals, {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_box}


def build_proposal_network(setup: ModelSetup, channels: int) -> ProposalNetwork:
    """The RPN of ``setup`` over maps of ``channels``, with torchvision's matching and sampling constants."""
    sizes = (tuple(setup.anchor_sizes),)
    anchors = AnchorGenerator(sizes, (tuple(setup.anchor_ratios),) * len(sizes))
    return ProposalNetwork(
        anchors,
        RPNHead(channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=setup.rpn_batch_size_per_image,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=setup.rpn_nms_thresh,
        score_thresh=setup.rpn_score_thresh,
    )
