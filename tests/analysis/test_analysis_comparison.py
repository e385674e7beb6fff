"""What may be said of two arms, by which checkpoints, and what differs by design."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verdicts import World

from mmad.analysis.comparison import (
    VARIED_BY,
    ComparedRun,
    Comparison,
    Conditions,
    DataFile,
    NotComparable,
    PairStatistics,
    Verdict,
    compare,
    compare_pairs,
    compare_stored,
    line_of,
    registration_words,
    verdict_of,
)
from mmad.analysis.evaluation_json import plain_ablation_pairs
from mmad.base.clock import now
from mmad.base.records import (
    AblationRecord,
    CheckpointKind,
    CheckpointRecord,
    EpochRecord,
    MemberRecord,
    Metric,
    RegistrationRecord,
    RunRecord,
)
from mmad.config.hypothesis import Hypothesis, digest
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.evaluation.differences import Decision, Difference, Goal, differences
from mmad.evaluation.resampling import Interval
from mmad.store.lookup import CheckpointFigures, MemberResults
from mmad.store.store import Store

ARMS = ("CXR", "CXR+Clinical")
#: An ablation file whose second arm varies what an arm can vary by design.
SOURCE = """
[arms.CXR]
[arms."CXR+Clinical"]
epochs = 5
steps_per_epoch = 2
dataset_mode = "normal"
lr_scheduler = "MultiStepLR"
pretrained = false
selection_overlap = "iobb"
selection_proposals = "sampled"
overlap = "iobb"
"""


def result(test_ap: float | None, val_ap: float | None = None) -> CheckpointFigures:
    return CheckpointFigures(epoch=3, val_ap=val_ap, val_ar=None, test_ap=test_ap, test_ar=None)


def run_of(
    arm: str,
    figures: CheckpointFigures | None = None,
    seed: int = 0,
    setting: str = "default",
    final: bool = False,
    **changed: Any,
) -> ComparedRun:
    """A run; finished where it has figures. ``changed`` are values of its setup, protocol, record or evaluation."""
    evaluation = {name: changed.pop(name) for name in EvaluationProtocol.model_fields if name in changed}
    protocol = {name: changed.pop(name) for name in TrainingProtocol.model_fields if name in changed}
    setup = {name: changed.pop(name) for name in ModelSetup.model_fields if name in changed}
    named = {"overrides": changed.pop("overrides", ()), "ablation": changed.pop("ablation", "quick")}
    policy, columns = changed.pop("split_policy", None), changed.pop("columns", ())
    record = RunRecord(
        key=f"{setting}{arm}{seed}".encode().hex().ljust(64, "0"),
        status="finished" if figures else "queued",
        setup=setup,
        protocol={"epochs": 1, **protocol},
        dataset_path="nowhere",
        **{"dataset_name": "phantom", "dataset_fingerprint": "f" * 64, "recipe": 2, "created": now(), **changed},
    )
    member = MemberRecord(
        setting=setting,
        arm=arm,
        seed=seed,
        replicate=1,
        key=record.key,
        position=0,
        documented=None,
        evaluation={},
        **named,
    )
    results = MemberResults(None if final else figures, None, figures)
    return ComparedRun(record, member, EvaluationProtocol(**evaluation), results, DataFile(policy, *columns))


def file_of(source: str = "", name: str = "quick") -> AblationRecord:
    return AblationRecord(name, "", "", "", source, (ARMS,))


def pair(
    first: CheckpointFigures | None,
    second: CheckpointFigures | None,
    seed: int = 0,
    setting: str = "default",
    final: bool = False,
) -> tuple[ComparedRun, ComparedRun]:
    return run_of("CXR", first, seed, setting, final), run_of("CXR+Clinical", second, seed, setting)


def lines_of(*pairs: tuple[ComparedRun, ComparedRun]) -> list[str]:
    return [line_of(one) for one in compare_pairs(file_of(), [one for both in pairs for one in both])]


def known(ap: tuple[float, float, float], seeds: int = 3, lent: int = 0, **changed: Any) -> Difference:
    """A difference with this interval, of 55 patients."""
    value = Interval(*ap)
    size = (0.5, seeds, 55, 73, lent + 1, 7.4, 7.4, lent, 12, 0.01, 0.01, 0.01, None)
    return replace(Difference(value, 0.01, value, 0.01, value, (), *size), **changed)


def compared(seeds: int = 1, file: AblationRecord | None = None, **changed: Any) -> Comparison:
    runs = [run_of(arm, result(0.5), seed, **changed) for seed in range(seeds) for arm in ARMS]
    (found,) = compare_pairs(file or file_of(), runs)
    assert isinstance(found, Comparison)
    return found


def said(found: Comparison, difference: Difference | None, why: str = "") -> Verdict:
    verdict = verdict_of(replace(found, statistics=PairStatistics(difference=difference, why=why)))
    assert verdict is not None
    return verdict


SURE, LESS, UNSURE = (0.1, 0.05, 0.15), (-0.1, -0.15, -0.05), (0.1, -0.05, 0.25)
SIZE = "over seeds and patients (3 seeds, 55 patients, 7 df)"


@pytest.mark.parametrize(
    ("seeds", "ap", "lent", "word", "reasons", "sentence"),
    [
        (
            1,
            SURE,
            0,
            "not settled",
            "one_seed networks_differ",
            "These two networks differ by +0.100 [+0.050, +0.150] "
            "test AP on such patients; one seed says nothing about the arms.",
        ),
        (
            1,
            UNSURE,
            0,
            "not settled",
            "one_seed interval_holds_zero",
            "Not settled: these two networks differ by +0.100 "
            "[−0.050, +0.250] test AP on such patients; one seed says nothing about the arms.",
        ),
        (
            2,
            (0.1, math.nan, math.nan),
            0,
            "not settled",
            "two_seeds_alone",
            "Not settled: CXR+Clinical differs from CXR by +0.100 test AP; two seeds alone settle nothing.",
        ),
        (
            2,
            SURE,
            10,
            "higher",
            "seed_variance_borrowed",
            "CXR+Clinical is higher than CXR by 0.100 [0.050, 0.150] "
            "test AP; seed variance borrowed from 10 pairs (12 df).",
        ),
        (
            2,
            UNSURE,
            1,
            "not settled",
            "interval_holds_zero seed_variance_borrowed",
            "Not settled: CXR+Clinical differs "
            "from CXR by +0.100 [−0.050, +0.250] test AP; seed variance borrowed from 1 pair (12 df).",
        ),
        (
            3,
            SURE,
            0,
            "higher",
            "few_seeds",
            "Trained so on this training set, CXR+Clinical is higher than CXR by 0.100 "
            f"[0.050, 0.150] test AP {SIZE}; few seeds.",
        ),
        (
            4,
            LESS,
            0,
            "lower",
            "few_seeds",
            "Trained so on this training set, CXR+Clinical is lower than CXR by 0.100 "
            f"[0.050, 0.150] test AP {SIZE.replace('3 s', '4 s')}; few seeds.",
        ),
        (
            5,
            SURE,
            3,
            "higher",
            "",
            "Trained so on this training set, CXR+Clinical is higher than CXR by 0.100 "
            f"[0.050, 0.150] test AP {SIZE.replace('3 s', '5 s')}.",
        ),
        (
            5,
            UNSURE,
            0,
            "not settled",
            "interval_holds_zero",
            "Not settled: trained so on this training set, "
            f"CXR+Clinical differs from CXR by +0.100 [−0.050, +0.250] test AP {SIZE.replace('3 s', '5 s')}.",
        ),
    ],
)
def test_the_sentence_of_each_number_of_seeds(
    seeds: int, ap: tuple[float, float, float], lent: int, word: str, reasons: str, sentence: str
) -> None:
    found = said(compared(seeds), known(ap, seeds, lent))
    assert (found.word, " ".join(found.reasons), found.sentence) == (word, reasons, sentence)
    assert found.tone == {"higher": "up", "lower": "down"}.get(word, "even")


def test_pure_changes_of_one_seed_claim_nothing_about_arms() -> None:
    rng, found = np.random.default_rng(0), compared(1)
    one_arm = World(seeds=1, seed_sd=0.11)  # as far apart as seeds of the quickstart
    verdicts = [said(found, *differences(one_arm.family(rng), resamples=200)) for _ in range(200)]
    assert [one for one in verdicts if one.word != "not settled" or one.tone != "even"] == []
    assert sum("networks_differ" in one.reasons for one in verdicts) > 60  # which these two networks do


def test_a_figure_that_chose_the_checkpoints_or_was_not_registered_takes_no_verdict() -> None:
    for changed, code in (
        ({"split": "val"}, "chosen_on_split"),
        ({"split": "val", "kind": "final"}, "not_primary_split"),
        ({"kind": "final"}, "not_primary_checkpoint"),
        ({"kind": "best_ar"}, "not_primary_checkpoint"),
    ):
        runs = [run_of(arm, result(0.5), seed) for seed in range(3) for arm in ARMS]
        (found,) = compare_pairs(file_of(), runs, **changed)  # type: ignore[arg-type]
        assert isinstance(found, Comparison)
        verdict = said(found, known(SURE))
        assert (verdict.word, verdict.reasons, verdict.tone) == ("no verdict", (code,), "even")
        assert "+0.100 [+0.050, +0.150]" in verdict.sentence
    verdict = said(compared(3, overlap="iobb"), known(SURE))
    assert (verdict.word, verdict.reasons) == ("no verdict", ("not_primary_metric",))
    runs = [run_of(arm, result(0.5), final=True) for arm in ARMS]
    (found,) = compare_pairs(file_of(), runs)
    assert isinstance(found, Comparison)
    assert "test AP of the final checkpoints on such patients" in said(found, known(SURE, 1)).sentence


def test_what_was_cut_short_is_a_trial() -> None:
    assert said(compared(3, steps_per_epoch=6), known(SURE)).sentence.startswith(
        "Trial (6 steps per epoch): Trained so"
    )
    file = file_of("[protocol]\nepochs = 100\n")
    cut = said(compared(3, file, epochs=2, overrides=("epochs=2",)), known(SURE))
    assert cut.sentence.startswith("Trial (2 of 100 epochs): Trained so")
    assert "trial" in cut.reasons
    assert "trial" not in said(compared(3, file, epochs=100, overrides=("lr=0.1",)), known(SURE)).reasons
    assert "trial" not in said(compared(3, file, epochs=200, overrides=("epochs=200",)), known(SURE)).reasons


def test_a_sign_that_depends_on_the_checkpoint_is_marked() -> None:
    def both(best: float, last: float) -> Comparison:
        runs = []
        for arm, ap in zip(ARMS, (0.5, best), strict=True):
            one = run_of(arm, result(ap))
            final = result(0.5 if arm == "CXR" else last)
            runs.append(replace(one, results=MemberResults(result(ap), None, final)))
        (found,) = compare_pairs(file_of(), runs)
        assert isinstance(found, Comparison)
        return found

    turned, same = both(0.548, 0.492), both(0.548, 0.6)
    assert turned.by_checkpoint == {"best_ap": pytest.approx(0.048), "final": pytest.approx(-0.008)}
    verdict = said(turned, known(SURE, 1))
    assert verdict.sentence.endswith(" The sign depends on the checkpoint: best-AP +0.048, final −0.008.")
    assert "sign_depends_on_checkpoint" in verdict.reasons
    assert "sign_depends_on_checkpoint" not in said(same, known(SURE, 1)).reasons


def test_other_versions_are_named_and_refuse_nothing() -> None:
    torch = {"torch": "2.6.0", "numpy": "2.1.0", "cpu": "AVX2", "mmad": "1"}
    other = torch | {"torch": "2.7.1", "mmad": "2", "timm": "1.0.9"}
    sides = [
        [replace(run_of(arm, result(0.5), seed), versions=v) for seed in range(3)]
        for arm, v in zip(ARMS, (torch, other), strict=True)
    ]
    found = compare(*sides, names=ARMS, file=file_of(), setting="default")
    assert isinstance(found, Comparison)
    verdict = said(found, known(SURE))
    assert verdict.sentence.endswith(" The arms were trained in different environments: torch 2.6.0 / 2.7.1.")
    assert verdict.reasons[-1] == "versions_differ"
    same = compare(
        sides[0], [replace(one, versions=torch) for one in sides[1]], names=ARMS, file=file_of(), setting="default"
    )
    assert isinstance(same, Comparison)
    assert same.versions == ""
    run = replace(sides[1][0].run, protocol={**sides[1][0].run.protocol, "threads": 4})
    last = replace(sides[1][0], run=run, versions=torch | {"layout": "channels_last"})
    apart = compare(sides[0][:1], [last], names=ARMS, file=file_of(), setting="default")
    assert isinstance(apart, Comparison)
    assert apart.versions == "layout channels_first / channels_last; threads 1 / 4"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            {"gpu": "A100", "driver": "570.1", "cudnn": "9"},
            {"gpu": "A100", "driver": "580.2", "cudnn": "9"},
            "driver 570.1 / 580.2",
        ),
        (
            {"gpu": "A100", "cudnn": "9", "float32": "ieee"},
            {"gpu": "L4", "cudnn": "9", "float32": "tf32"},
            "gpu A100 / L4, float32 ieee / tf32",
        ),
        ({"torch": "2.6"}, {"torch": "2.6", "gpu": "L4", "cudnn": "9"}, "gpu none / L4"),
        (
            {"torch": "2.6", "cudnn": "9"},
            {"torch": "2.6", "gpu": "L4", "cudnn": "9"},
            "",
        ),  # recorded before models were
        ({}, {"gpu": "L4"}, ""),
    ],
)
def test_other_gpus_are_named_and_refuse_nothing(first: dict[str, str], second: dict[str, str], said: str) -> None:
    sides = [[replace(run_of(arm, result(0.5), 0), versions=v)] for arm, v in zip(ARMS, (first, second), strict=True)]
    found = compare(*sides, names=ARMS, file=file_of(), setting="default")
    assert isinstance(found, Comparison)
    assert found.versions == said


def test_the_level_of_a_registered_interval_is_named_where_it_is_not_95_percent() -> None:
    for alpha, figure in ((0.05, "[+0.050, +0.150] test AP"), (0.025, "[+0.050, +0.150] (97.5 %) test AP")):
        decided = Decision(Goal(alpha=alpha), Interval(*SURE), 1 - alpha, 0.001)
        found = replace(compared(3), statistics=PairStatistics(difference=known(SURE, decision=decided)))
        assert figure in found.sentence.replace("0.050, 0.150", "+0.050, +0.150")
        assert f"difference in AP [{100 * (1 - alpha):g} %]" in found._repr_html_()


@pytest.mark.parametrize("setting", ["default", "default, fold 2 of 3"])
def test_a_hypothesis_that_changed_after_a_trial_of_the_pair_confirms_nothing(setting: str) -> None:
    """Trials show test figures, too; those of other arms and settings are not the pair's."""
    noon = now()
    asked = Hypothesis(compare=ARMS, setting="default", seeds=3)
    contents = asked.content(), asked.model_copy(update={"alpha": 0.1}).content()
    dated = zip(contents, (noon, noon + timedelta(hours=2)), strict=True)
    registrations = tuple(RegistrationRecord(content, digest(content), when) for content, when in dated)
    file = replace(file_of(), registrations=registrations)

    def found(arm: str, setting: str) -> Comparison:
        trial = run_of(arm, None, 0, f"{setting}, trial 2").member
        assert trial is not None
        first = {trial.key: noon + timedelta(hours=1)}
        (one,) = compare_pairs(file, pair(result(0.1), result(0.3)), first_epochs=first, seen=[trial])
        assert isinstance(one, Comparison)
        return one

    changed = found("CXR+Clinical", setting).registration
    assert changed is not None
    assert (changed.before_training, changed.changed) == (False, ("alpha 0.05 / 0.1",))
    assert "(alpha 0.1 with an interval of 90 %, power 0.8, 3 seeds;" in registration_words(changed)
    for arm, other in (("CLIN", "default"), ("CXR", "other")):
        registration = found(arm, other).registration
        assert registration is not None
        assert registration.before_training


def test_runs_that_were_queued_after_the_first_test_figures_are_counted() -> None:
    noon = now()
    early, late = noon - timedelta(hours=2), noon + timedelta(hours=1)
    runs = [run_of(arm, result(0.5), seed, created=late if seed else early) for seed in range(3) for arm in ARMS]
    first = {one.run.key: noon + timedelta(hours=3 * one.seed[0]) for one in runs}
    (found,) = compare_pairs(file_of(), runs, first_epochs=first)
    assert isinstance(found, Comparison)
    assert found.late == 4
    verdict = said(found, known(SURE))
    assert verdict.sentence.endswith(" 4 runs of this ablation were queued after its first test figures.")
    assert verdict.reasons[-1] == "queued_after_test_figures"
    (alone,) = compare_pairs(file_of(), runs, first_epochs={runs[0].run.key: early})  # one arm shows no difference
    assert isinstance(alone, Comparison)
    assert alone.late == 0


def test_without_an_interval_there_is_no_verdict() -> None:
    assert (
        said(compared(), None, "its detections are gone").sentence
        == "No interval for the difference of 0.000 test AP: its detections are gone"
    )
    nothing = said(compared(), known((math.nan,) * 3, 1))
    assert (nothing.word, nothing.reasons) == ("no verdict", ("nothing_to_find",))
    assert verdict_of(compared()) is None


def test_when_clinical_columns_were_measured_is_said_where_it_matters() -> None:
    columns = ((("lactate", "after"), ("age", "with")), (("sex", "unknown"),))
    marked = said(compared(3, use_clinical=True, columns=columns), known(SURE))
    assert "clinical_timing" in marked.reasons
    assert marked.sentence.endswith(
        "Clinical columns measured after the image: lactate. Clinical columns measured at an unknown time: sex."
    )
    read = {"clinical_numeric": ["age"], "clinical_categorical": []}
    for changed in ({"use_clinical": False}, {"use_clinical": True, **read}):
        assert "clinical_timing" not in said(compared(3, columns=columns, **changed), known(SURE)).reasons


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({"weights": "cxr.pth"}, "What the weights of CXR and CXR+Clinical were pretrained on is not declared."),
        (
            {"weights": "cxr.pth", "pretrained_on": ["MIMIC-CXR"]},
            "CXR started from weights pretrained on MIMIC-CXR",
        ),
        ({"weights": "cxr.pth", "pretrained_on": ["CheXpert"]}, ""),
        ({"weights": "ResNet18_Weights.IMAGENET1K_V1"}, ""),
        ({"weights": "none"}, ""),
    ],
)
def test_weights_that_saw_the_data_set_are_marked(protocol: dict[str, Any], words: str) -> None:
    verdict = said(compared(3, dataset_name="REFLACX (fold 1)", **protocol), known(SURE))
    assert ("pretraining_data" in verdict.reasons) == bool(words)
    assert words in verdict.sentence


def test_one_line_a_pair_at_the_end() -> None:
    found = replace(compared(3), statistics=PairStatistics(difference=known(SURE)))
    assert line_of(found) == f"default, CXR+Clinical minus CXR: {found.sentence}"
    assert lines_of(pair(result(0.5), None)) == ["default: no comparison, nothing measured for CXR+Clinical"]
    (one,) = compare_pairs(file_of(), [*pair(result(0.1), result(0.3), 0), *pair(result(0.3), None, 1)])
    assert isinstance(one, Comparison)
    one = replace(one, statistics=PairStatistics(difference=known(SURE, 1)))
    assert line_of(one).startswith("default, CXR+Clinical minus CXR, 1 of 2 seeds: These two networks differ by ")


def test_settings_keep_their_order_and_stay_apart() -> None:
    lines = lines_of(*(pair(None, None, setting=name) for name in ("b", "a")))
    assert [line.split(":")[0] for line in lines] == ["b", "a"]


def test_a_figure_that_is_not_a_number_is_none() -> None:
    (found,) = compare_pairs(file_of(), pair(result(0.1), result(0.3)))
    assert isinstance(found, Comparison)
    assert found.test_ap.difference is not None
    assert found.test_ap.difference.mean == pytest.approx(0.2)


#: Validation AP of the three epochs of every run of ``measured``.
CURVE = (0.25, 0.75, 0.5)


def measured(folder: Path, *kept: tuple[str, int, bool], unfinished: tuple[tuple[str, int], ...] = ()) -> Comparison:
    """The comparison of an ablation whose members (arm, seed) keep their best epoch or not."""
    members = []
    for arm, seed, best in kept:
        setup = ModelSetup(use_clinical=arm != "CXR", use_early_stop_model=best)
        run = RunSpec(
            setup,
            TrainingProtocol(epochs=3, seed=seed, weights_hash="a" * 64),
            DataSource("/nowhere", "phantom", "f" * 64),
        )
        members.append(Member("a", "s", arm, seed, run, EvaluationProtocol()))
    arms = ("CXR", "CXR+Clinical")
    with Store.open(folder / "mmad.sqlite") as store:
        store.add_ablation(Ablation("a", "a.toml", "A", "", "", arms, (arms,), tuple(members)))
        for member, (_, _, best) in zip(members, kept, strict=True):
            for epoch, ap in enumerate(CURVE, start=1):
                kinds: list[CheckpointKind] = [*(["best_ap"] if best and epoch < 3 else []), *["final"] * (epoch == 3)]  # type: ignore[list-item]
                store.commit_epoch(
                    member.run.key,
                    EpochRecord(epoch, 0.01, 1.0, 0, (Metric("val", "ap_iou", ap),)),
                    [CheckpointRecord(kind, epoch, f"{epoch}.pt", "c" * 64, 1, now()) for kind in kinds],
                )
            if (member.arm, member.seed) not in unfinished:
                store.end_free(member.run.key, "finished")
        (found,) = compare_stored(store, "a")
        assert isinstance(found, Comparison)
        return found


def epochs_of(found: Comparison) -> list[tuple[int | None, int | None]]:
    rows = [(row["reference_result"], row["other_result"]) for row in plain_ablation_pairs([found])]
    return [(a and a["epoch"], b and b["epoch"]) for a, b in rows]


def test_best_checkpoints_are_compared_where_both_arms_kept_them(tmp_path: Path) -> None:
    found = measured(tmp_path, ("CXR", 0, True), ("CXR+Clinical", 0, True))
    assert (found.kind, epochs_of(found)) == ("best_ap", [(2, 2)])
    assert "checkpoint" not in plain_ablation_pairs([found])[0]


@pytest.mark.parametrize("bests", [(False, True), (True, False), (False, False)])
def test_a_best_is_never_compared_with_a_final(tmp_path: Path, bests: tuple[bool, bool]) -> None:
    found = measured(tmp_path, ("CXR", 0, bests[0]), ("CXR+Clinical", 0, bests[1]))
    assert (found.kind, epochs_of(found)) == ("final", [(3, 3)])
    assert plain_ablation_pairs([found])[0]["checkpoint"] == "final"
    assert found.primary == "final"


def test_seeds_are_averaged_over_one_kind_of_checkpoint(tmp_path: Path) -> None:
    found = measured(
        tmp_path, ("CXR", 0, True), ("CXR+Clinical", 0, True), ("CXR", 1, True), ("CXR+Clinical", 1, False)
    )
    assert (found.kind, epochs_of(found)) == ("final", [(3, 3)] * 2)


def test_a_run_that_has_not_finished_has_nothing_to_compare(tmp_path: Path) -> None:
    found = measured(tmp_path, ("CXR", 0, False), ("CXR+Clinical", 0, False), unfinished=(("CXR+Clinical", 0),))
    assert epochs_of(found) == [(3, None)]
    assert line_of(found) == "s: no comparison, nothing measured for CXR+Clinical"


#: What an arm may vary by design, in words.
BY_DESIGN = {
    "epochs": ({"epochs": 5}, "epochs 1 / 5"),
    "steps_per_epoch": ({"steps_per_epoch": 2}, "steps per epoch all / 2"),
    "dataset_mode": ({"dataset_mode": "normal"}, "dataset mode unified / normal"),
    "schedule": ({"lr_scheduler": "MultiStepLR"}, "schedule none / MultiStepLR"),
    "weights": ({"pretrained": False}, "weights imagenet / scratch"),
    "selection_overlap": ({"selection_overlap": "iobb"}, "selection overlap iou / iobb"),
    "selection_proposals": ({"selection_proposals": "sampled"}, "selection proposals clean / sampled"),
}
#: What never may differ.
NEVER = {
    "overlap": ({"overlap": "iobb"}, "overlap iou / iobb"),
    "threshold": ({"threshold": 0.3}, "threshold 0.5 / 0.3"),
    "max_detections": ({"max_detections": 5}, "max detections 10 / 5"),
    "proposals": ({"proposals": "sampled"}, "proposals clean / sampled"),
    "data": ({"dataset_name": "lungs"}, "data set phantom / lungs"),
    "fingerprint": ({"dataset_fingerprint": "e" * 64}, "data set's fingerprint ffffffffffff / eeeeeeeeeeee"),
    "split_policy": ({"split_policy": "documented"}, "split policy patient / documented"),
    "recipe": ({"recipe": 1}, "recipe 2 / 1"),  # one that changed these runs
    "folds": ({"fold": {"number": 1, "of": 3, "seed": 4}}, "folds 3 (seed 1) / 3 (seed 4)"),
    "fold": ({"fold": {"number": 2, "of": 3, "seed": 1}}, "fold 1 / 2"),
}


def both(changed: dict[str, Any], source: str, **named: Any) -> Comparison | NotComparable:
    fold = {"fold": {"number": 1, "of": 3, "seed": 1}} if "fold" in changed else {}
    first = run_of("CXR", result(0.1), split_policy="patient", **fold)
    second = run_of("CXR+Clinical", result(0.2), **{"split_policy": "patient", **changed, **named})
    (found,) = compare_pairs(file_of(source), [first, second])
    return found


def test_every_condition_is_tested_here() -> None:
    known = {name for name in Conditions.__dataclass_fields__ if name not in ("split", "checkpoint", "trials")}
    assert known == BY_DESIGN.keys() | NEVER.keys()
    assert VARIED_BY.keys() == BY_DESIGN.keys()


def test_a_searched_setup_against_one_that_nobody_searched_is_compared_and_marked() -> None:
    first, second = pair(result(0.5), result(0.6))
    found = compare([replace(first, trials=20)], [second], names=ARMS)
    assert isinstance(found, Comparison)
    assert found.design == "differs by design: trials 20 / 0 (CXR / CXR+Clinical)"
    searched = file_of("[tune]\ntrials = 20\n")
    (both_searched,) = compare_pairs(searched, [first, second])
    assert isinstance(both_searched, Comparison)
    assert (both_searched.design, both_searched.conditions["trials"]) == ("", "20")
    assert compare_pairs(file_of(name="quick · trials"), [first, second]) == ()


@pytest.mark.parametrize("name", BY_DESIGN)
def test_what_the_file_names_differs_by_design(name: str) -> None:
    changed, words = BY_DESIGN[name]
    found = both(changed, SOURCE)
    assert isinstance(found, Comparison)
    design = f"differs by design: {words} (CXR / CXR+Clinical)"
    assert (dict(found.by_design), found.design) == ({name: words}, design)
    assert line_of(found).endswith(f"; {design}")
    refused = both(changed, "[arms.CXR]")
    assert isinstance(refused, NotComparable)
    assert line_of(refused) == f"default: CXR and CXR+Clinical cannot be compared: {words}"
    assert VARIED_BY[name][0] in refused.hint
    by_hand = both(changed, SOURCE, overrides=(f"{next(iter(changed))}=x",))
    assert isinstance(by_hand, NotComparable)


@pytest.mark.parametrize("name", NEVER)
def test_what_never_may_differ_is_refused_even_where_the_file_names_it(name: str) -> None:
    changed, words = NEVER[name]
    for source in ("", SOURCE):
        found = both(changed, source)
        assert isinstance(found, NotComparable)
        assert found.reason == words


def test_an_unknown_split_policy_differs_from_nothing() -> None:
    assert isinstance(both({"split_policy": None}, ""), Comparison)


def test_a_full_stop_is_part_of_the_schedule() -> None:
    stopping = {"lr_scheduler": "ReduceLROnPlateau", "reduceLROnPlateau_full_stop": True}
    sides = [
        run_of(arm, result(0.1), reduceLROnPlateau_patience=n, **stopping) for arm, n in zip(ARMS, (5, 9), strict=True)
    ]
    (found,) = compare_pairs(file_of(), sides)
    assert isinstance(found, NotComparable)
    assert found.reason == "schedule ReduceLROnPlateau, full stop after 5 / ReduceLROnPlateau, full stop after 9"


def test_settings_and_the_grid_declare_what_differs_between_settings() -> None:
    source = """
[grid]
epochs = [1, 5]
[[settings]]
name = "plain"
[[settings]]
name = "other"
dataset_mode = "normal"
"""
    first = run_of("CXR", result(0.1), setting="plain, epochs=1")
    second = run_of("CXR", result(0.2), setting="other, epochs=5", epochs=5, dataset_mode="normal")
    found = compare([first], [second], names=("a", "b"), file=file_of(source))
    assert isinstance(found, Comparison)
    assert found.design == "differs by design: epochs 1 / 5; dataset mode unified / normal (a / b)"
    # the same fields say nothing of two arms of one setting, nor of runs of two files
    arms = replace(first, member=replace(second.member, arm="other")) if second.member else first
    for file, one in ((file_of(source), arms), (None, first)):
        assert isinstance(compare([one], [second], names=("a", "b"), file=file), NotComparable)


def test_seeds_of_one_arm_that_differ_are_named() -> None:
    first = [run_of("CXR", result(0.1), seed=0), run_of("CXR", result(0.1), seed=1, epochs=2)]
    second = [run_of("CXR+Clinical", result(0.2), seed=seed) for seed in (0, 1)]
    (found,) = compare_pairs(file_of(SOURCE), [*first, *second])
    assert isinstance(found, NotComparable)
    assert found.reason == "seeds 0 and 1 of CXR differ in epochs 1 / 2"


def test_random_weights_are_random_weights() -> None:
    without = run_of("CXR", result(0.1), weights="none"), run_of("CXR+Clinical", result(0.2), pretrained=False)
    (found,) = compare_pairs(file_of(), without)
    assert isinstance(found, Comparison)
    assert not found.by_design
