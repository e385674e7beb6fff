"""One pass with a detector of one weight: what is stepped on, recorded, kept and let go."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask
from torch import Tensor, nn
from torch.optim import SGD

from mmad.base.errors import DivergedError
from mmad.config.setup import ModelSetup
from mmad.data.loader import Batch
from mmad.detector.model import DetectorOutput
from mmad.detector.roi_heads import RoiMode
from mmad.training.device import Precision
from mmad.training.divergence import DivergenceMonitor
from mmad.training.loop import Collector, PassResult, Stepper, evaluation_pass, train_pass
from mmad.training.losses import Weighing

CPU = torch.device("cpu")
STUDIES = SimpleNamespace(studies=[SimpleNamespace(study=f"s{n}", patient=f"p{n}") for n in range(10)], labels=("a",))


class Toy(nn.Module):
    """Two losses of one weight: the mean square of weight · x, and the weight itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, images, targets, numeric, categorical, mode) -> DetectorOutput:
        squares = (self.weight * numeric[:, 0]).square()
        return DetectorOutput({"loss_classifier": squares.mean(), "loss_box_reg": self.weight * 1.0}, [])


def batch(*values: float) -> Batch:
    positions = list(range(len(values)))
    targets = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in values]
    return Batch(
        images=torch.zeros(len(values), 1, 2, 2, dtype=torch.uint8),
        targets=targets,
        numeric=torch.tensor(values)[:, None],
        categorical=torch.zeros(len(values), 0, dtype=torch.int64),
        positions=positions,
    )


def trained(
    toy: Toy, batches: list[Batch], steps: list[int] | None = None, *, half: bool = False, **fields: object
) -> PassResult:
    setup = ModelSetup(lr=0.1, momentum=0, **fields)
    weighing = Weighing.of(setup)
    learned = () if weighing.learned is None else weighing.learned.parameters()
    optimiser = SGD([*toy.parameters(), *learned], lr=0.1)
    reported: list[int] = [] if steps is None else steps
    optimiser.register_step_post_hook(lambda *_: reported.append(1))
    return train_pass(
        toy,
        batches,
        Stepper(
            optimiser,
            Precision(CPU, half=half),
            accumulation=setup.gradient_accumulation,
            clip_norm=setup.gradient_clip_norm,
        ),
        STUDIES,
        weighing=weighing,
        mode=RoiMode(add_ground_truth=False, detect="none"),
        device=CPU,
        epoch=1,
        report=lambda step, loss: None,
        stop=lambda: False,
    )


def test_an_evaluation_gives_the_mean_over_images_and_that_of_the_last_20_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Blind(Toy):
        def forward(self, images, targets, numeric, categorical, mode) -> DetectorOutput:
            nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0)}
            return DetectorOutput({"loss_box_reg": numeric.mean()}, [nothing] * len(images))

    monkeypatch.setattr("mmad.training.loop._scores", lambda found, truth: {})
    dataset = SimpleNamespace(**vars(STUDIES), split=lambda name: (), ground_truth=lambda split: None)
    values = [*(100.0 for _ in range(5)), *(float(n) for n in range(20))]
    found = evaluation_pass(
        Blind(),
        [*(batch(value) for value in values[:-1]), batch(values[-1], values[-1])],
        dataset,
        "val",
        weighing=Weighing.of(ModelSetup()),
        precision=Precision(CPU, half=False),
        mode=RoiMode(add_ground_truth=False, detect="proposals"),
        scales=torch.ones(10, 4),
        device=CPU,
        seed=0,
        report=lambda step, loss: None,
        stop=lambda: False,
    )
    assert found.losses["loss"] == pytest.approx((sum(values) + values[-1]) / 26)
    assert found.last_20 == pytest.approx(sum(range(20)) / 20)


def test_an_epoch_of_two_batches_accumulated_ends_like_one_batch_twice_as_large() -> None:
    parts, whole = Toy(), Toy()
    trained(parts, [batch(1.0, 2.0), batch(3.0, 4.0)], gradient_accumulation=2)
    trained(whole, [batch(1.0, 2.0, 3.0, 4.0)])
    assert float(parts.weight.detach()) == pytest.approx(float(whole.weight.detach()), rel=1e-6)
    assert float(parts.weight.detach()) != 0.5


def test_the_rest_of_an_epoch_steps_too_and_nothing_waits_for_the_next() -> None:
    steps: list[int] = []
    trained(Toy(), [batch(1.0)] * 5, steps, gradient_accumulation=2)
    assert len(steps) == 3


def test_losses_are_means_over_images_and_the_weights_are_those_of_the_end() -> None:
    result = trained(Toy(), [batch(2.0, 2.0, 2.0), batch(4.0)], gradient_accumulation=2, learned_loss_weights=True)
    classifier = (3 * 1.0 + 4.0) / 4  # nothing moves between the two
    assert result.losses == pytest.approx(
        {
            "loss": classifier + 0.5,
            "loss_classifier": classifier,
            "loss_box_reg": 0.5,
            "objective": 0.5 * (classifier + 0.5) + 2 * math.log(2),
        }
    )
    mean = (1.0 + 4.0) / 2  # of the two batches' losses, whatever their sizes
    assert result.weights["weight_loss_classifier"] == pytest.approx(1 - 0.1 * (1 - mean))
    names = [metric.name for metric in result.metrics()]
    assert names[:4] == ["loss", "loss_classifier", "loss_box_reg", "objective"]
    assert set(names[4:]) == set(result.weights)


def test_a_value_that_is_not_finite_stops_before_the_step() -> None:
    toy = Toy()
    with pytest.raises(
        DivergedError, match=r"loss_classifier became inf in epoch 1, step 2 \(studies s0\); there is no"
    ):
        trained(toy, [batch(1.0), batch(math.inf)], gradient_accumulation=2)
    assert float(toy.weight.detach()) == 0.5


def test_boxes_come_back_in_the_pixels_of_the_original_and_masks_on_the_square() -> None:
    collector = Collector()
    found = {
        "boxes": torch.tensor([[0.0, 1.0, 2.0, 3.0]]),
        "scores": torch.tensor([0.25]),
        "labels": torch.tensor([1]),
        "masks": torch.ones(1, 1, 28, 28),
    }
    nothing = {key: value[:0] for key, value in found.items()}
    collector.add(batch(1.0, 1.0), [nothing, found])
    detections = collector.detections(STUDIES, torch.full((10, 4), 2.0, dtype=torch.float64))
    assert detections.studies == ("s0", "s1")
    assert detections.study.tolist() == [1]
    assert detections.boxes.tolist() == [[0.0, 2.0, 4.0, 6.0]]
    assert (detections.boxes.dtype, detections.labels.dtype) == (np.float64, np.int64)
    assert detections.masks is not None
    assert (detections.masks.side, detections.masks.extent.shape) == (collector.side, (2, 2))
    (cells,) = mask.area([{"size": [collector.side] * 2, "counts": run} for run in detections.masks.runs])
    assert cells == 4  # the filled box


def test_a_collector_that_saw_nothing_gives_no_detections() -> None:
    detections = Collector().detections(STUDIES, None)
    assert detections.boxes.shape == (0, 4)
    assert detections.scores.shape == (0,)


def at_the_gradient(toy: Toy, value: float, at: int) -> None:
    """Let the weight's gradient of step ``at`` (from 1) be ``value``."""
    seen: list[int] = []

    def put(gradient: Tensor) -> Tensor:
        seen.append(1)
        return torch.full_like(gradient, value) if len(seen) == at else gradient

    toy.weight.register_hook(put)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_gradients_that_are_not_finite_stop_with_every_study_of_their_step(clip: float | None) -> None:
    toy = Toy()
    at_the_gradient(toy, math.nan, 3)
    four = [batch(1.0), batch(1.0, 2.0), batch(1.0), batch(1.0)]
    with pytest.raises(DivergedError, match=r"gradients' norm became nan in epoch 1, step 4 \(studies s0, s0\); there"):
        trained(toy, four, gradient_accumulation=2, gradient_clip_norm=clip)


def test_weights_that_are_not_finite_after_the_last_step_are_named() -> None:
    toy = Toy()
    toy.register_buffer("running", torch.tensor([1.0, math.inf]))
    with pytest.raises(DivergedError, match="the weights running are not finite in epoch 1, step 2"):
        trained(toy, [batch(1.0), batch(1.0)])


def test_a_step_left_out_in_half_precision_is_no_divergence_and_an_exhausted_scale_is() -> None:
    toy = Toy()
    at_the_gradient(toy, math.inf, 1)
    trained(toy, [batch(1.0)] * 3, half=True)
    assert math.isfinite(float(toy.weight.detach()))
    monitor = DivergenceMonitor(STUDIES, 4, "checkpoints/epoch-00003.pt", half=True)
    monitor.check_scale(7, 1.0)
    with pytest.raises(DivergedError, match=r"scaled by 9e-13.*epoch 4, step 7; .* set mixed_precision = false"):
        monitor.check_scale(7, 9e-13)


def test_elsewhere_than_on_the_cpu_gradients_are_read_with_the_next_batch() -> None:
    monitor = DivergenceMonitor(STUDIES, 1)
    monitor.add_gradients(3, [1, 2], torch.full((), math.nan, device="meta"))  # reading it now would fail
    monitor._norms = [(step, group, lambda: [math.nan]) for step, group, _ in monitor._norms]
    check = monitor.check_gradients
    with pytest.raises(DivergedError, match=r"step 3 \(studies s1, s2\)"), monitor.explaining(check):
        raise RuntimeError("proposals without a place")
    with pytest.raises(ZeroDivisionError), monitor.explaining(check):  # nothing is attributed to what was finite
        raise ZeroDivisionError
