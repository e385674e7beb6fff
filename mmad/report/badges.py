"""Badges: the conditions under which a figure was obtained, and how each of them affects it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmad.analysis.comparison import Conditions
from mmad.analysis.report_frame import MemberFrame, RunFrame
from mmad.data.phantom import is_phantom


@dataclass(frozen=True)
class Badge:
    """``tone`` is ``plain``, or ``caution`` where a condition inflates or weakens a figure."""

    text: str
    meaning: str
    tone: str = "plain"


_PROPOSALS = {
    "clean": Badge(
        "clean proposals", "The detector proposes every region itself; no annotated box reaches it during evaluation."
    ),
    "sampled": Badge(
        "sampled with targets",
        "Proposals were thinned out with the annotated boxes at hand. Almost nothing changes while there are fewer "
        "proposals than the sampler keeps; above that AP rises.",
        "caution",
    ),
    "with_ground_truth": Badge(
        "ground truth among the proposals",
        "The annotated boxes themselves were handed to the detector as candidate regions, so it only had to name "
        "them. AP and AR come out far higher than the detector earns by itself.",
        "caution",
    ),
}


_FINAL = Badge(
    "final checkpoints",
    "Figures are from the last epoch in every arm, because at least one run has no best checkpoint.",
)


_SYNTHETIC = Badge(
    "synthetic data", "The images are drawn, not photographed: figures show that the method works, nothing of patients."
)


def evaluation_badges(c: Conditions) -> list[Badge]:
    """Badges of the evaluation: overlap, detections that count, proposals, checkpoints, weights, data."""
    badges = [_overlap(c), Badge(f"≤ {c.max_detections} detections", _DETECTIONS)]
    badges.append(_PROPOSALS.get(c.proposals, Badge(f"proposals: {c.proposals}", "The source of the proposals.")))
    if c.checkpoint == "final":
        badges.append(_FINAL)
    elif (c.selection_overlap, c.selection_proposals) != (c.overlap, c.proposals):
        badges.append(
            Badge(
                f"chosen by {OVERLAP_NAMES.get(c.selection_overlap, c.selection_overlap)}, "
                f"{c.selection_proposals.replace('_', ' ')}",
                "The best checkpoint was chosen during training under another protocol than the one shown.",
                "caution",
            )
        )
    if c.weights == "none":
        badges.append(
            Badge(
                "weights: none",
                "Trained from scratch although the setup asks for pretrained weights. Not comparable with runs that "
                "started from them.",
                "caution",
            )
        )
    if c.steps_per_epoch is not None:
        badges.append(
            Badge(
                f"trial: steps {c.steps_per_epoch}",
                "No training epoch and no evaluation took more batches than this, and images that were not evaluated "
                "count as missed. It shows that everything runs; its figures mean nothing.",
                "caution",
            )
        )
    if is_phantom(c.data):
        badges.append(_SYNTHETIC)
    if c.folds == "none":
        badges.append(_split(c.split_policy))
    else:
        badges.append(Badge(f"folds: {c.folds}", "Cross-validated by patient, in place of the data set's own splits."))
    if not c.fingerprint:
        badges.append(
            Badge("provisional", "The content of the data set was never read; the run's key will change.", "caution")
        )
    return [b for b in badges if b.text]


OVERLAP_NAMES = {"iou": "IoU", "iobb": "IoBB"}
_DETECTIONS = "For every image and finding only this many detections count: the ones with the highest scores."


def _overlap(c: Conditions) -> Badge:
    name = f"{OVERLAP_NAMES.get(c.overlap, c.overlap)} ≥ {c.threshold:g}"
    if c.overlap == "iobb":
        return Badge(
            name,
            "A detection is a hit if enough of ITS OWN area lies in the annotated box. A small box anywhere inside a "
            "finding hits, so figures are higher than under IoU.",
            "caution",
        )
    return Badge(
        name, "A detection is a hit if its intersection with the annotated box is at least this share of their union."
    )


def _split(policy: str | None) -> Badge:
    if not policy:
        return Badge("", "")
    if policy == "documented":
        return Badge(
            "split: documented",
            "Rows were split whatever their patient, as the documented log did. Images of one patient are on both "
            "sides, so figures on validation and test are higher than on unseen patients.",
            "caution",
        )
    if "patient" in policy.lower():
        return Badge(f"split: {policy}", "How the data set says its studies were divided.")
    return Badge(
        f"split: {policy}",
        "How the data set says its studies were divided. Unless whole patients stay together, images of one patient "
        "on both sides make a test easier than it looks.",
        "caution",
    )


def setup_badges(run: RunFrame) -> list[Badge]:
    """Badges of choices in a setup that weaken a comparison."""
    setup = run.record.setup
    badges = []
    if setup.get("use_clinical"):
        if setup.get("clinical_values") == "raw":
            badges.append(
                Badge(
                    "raw clinical values", "Clinical numbers enter unscaled, each with the size of its unit.", "caution"
                )
            )
        if setup.get("clinical_values") == "standardised_all_splits":
            badges.append(
                Badge(
                    "clinical values of all splits",
                    "Clinical numbers are standardised, and missing ones filled in, with the mean and deviation of all "
                    "splits, the test's studies included.",
                    "caution",
                )
            )
        if setup.get("fuse_stride") == 2 and setup.get("fuse_depth", 0) > 0:
            badges.append(
                Badge(
                    "fuse stride 2",
                    "Every fuse convolution halves the map. Once it is a single cell the heads cannot see what lies in "
                    "a region, only where its corner is: such a network cannot find anything by itself.",
                    "caution",
                )
            )
    return badges


def audit_badges(run: RunFrame) -> list[Badge]:
    """Badges of audit warnings about a run's data set that inflate its figures."""
    codes = {line.partition(":")[0] for line in run.audit}
    return [badge for code, badge in _AUDIT.items() if code in codes]


_AUDIT = {
    "patient-across-splits": Badge(
        "patients in several splits",
        "Images of one patient are in training and in evaluation, so figures on validation and test are higher than "
        "on unseen patients.",
        "caution",
    ),
    "image-across-splits": Badge(
        "images in several splits",
        "The same image is in training and in evaluation, so figures on validation and test say little.",
        "caution",
    ),
}


def member_badges(member: MemberFrame) -> list[Badge]:
    """Badges of one member: what was set by hand, what the documented log leaves open, true repeats."""
    record = member.record
    badges = []
    if record.documented:
        badges.append(Badge(f"mirrors {record.documented}", "The entry of the documented log that this run repeats."))
    if record.replicate > 1:
        badges.append(Badge(f"replicate {record.replicate}", "A true repeat of an equal run."))
    if record.overrides:
        badges.append(
            Badge("changed by hand", "Fields were set on the command line, against the ablation's file.", "caution")
        )
    if record.inferred:
        badges.append(
            Badge(
                "inferred fields", "Fields the documented log does not print; their values are an inference.", "caution"
            )
        )
    return badges


def legend(badges: Iterable[Badge]) -> list[Badge]:
    """Each badge once, by its text, in order of first appearance."""
    return list({b.text: b for b in badges}.values())
