"""Masks drawn from boxes, and their loss against torchvision's."""

import torch
from torchvision.models.detection.roi_heads import maskrcnn_loss

from mmad.detector.roi_heads import filled_boxes, mask_loss, mask_probabilities, true_masks


def test_a_filled_box_covers_the_pixels_whose_centre_it_holds() -> None:
    mask = filled_boxes(torch.tensor([[1.0, 2.0, 3.4, 4.0]]), 6)[0]
    assert mask.shape == (6, 6)
    assert mask.nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


def test_given_masks_win_over_filled_boxes() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    given = torch.zeros((1, 4, 4), dtype=torch.bool)
    both = true_masks([{"boxes": box}, {"boxes": box, "masks": given}], 4)
    assert both[0].all()
    assert not both[1].any()


def test_the_loss_equals_torchvisions_over_two_images() -> None:
    torch.manual_seed(0)
    logits = torch.randn((3, 4, 28, 28))
    truth = [torch.rand((2, 32, 32)) > 0.5, torch.rand((1, 32, 32)) > 0.5]
    boxes = [torch.tensor([[1.0, 1, 20, 20], [4.0, 5, 30, 31]]), torch.tensor([[0.0, 0, 16, 16]])]
    labels = [torch.tensor([3, 1]), torch.tensor([2])]
    own = [torch.tensor([1, 0]), torch.tensor([0])]
    expected = maskrcnn_loss(logits, boxes, truth, labels, own)
    per_box = torch.cat([lab[i] for lab, i in zip(labels, own, strict=True)])
    found = mask_loss(logits, torch.cat(boxes), per_box, torch.cat(truth), torch.tensor([1, 0, 2]))
    torch.testing.assert_close(found, expected)


def test_without_positives_the_loss_is_zero_and_has_a_gradient() -> None:
    logits = torch.randn((0, 4, 28, 28), requires_grad=True)
    loss = mask_loss(logits, torch.zeros((0, 4)), torch.zeros(0), torch.zeros((0, 8, 8)), torch.zeros(0))
    loss.backward()
    assert loss.item() == 0


def test_a_detection_has_the_mask_of_its_own_class() -> None:
    logits = torch.zeros((2, 3, 1, 1))
    logits[0, 2] = 10
    assert mask_probabilities(logits, torch.tensor([2, 1])).flatten().round().tolist() == [1, 0]
