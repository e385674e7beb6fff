"""``mmad compare``: two arms, an ablation, words and JSON, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import analysis_fixtures as made
import pytest

from mmad.store.store import Store

CXR, CLINICAL = "made/default/CXR", "made/default/CXR+Clinical"
Call = Callable[..., Any]


def test_two_arms_are_compared_over_their_seeds(call_judged: Call) -> None:
    called = call_judged("compare", CXR, CLINICAL, "--json")
    assert (called.code, called.err) == (0, "")
    answer = json.loads(called.out)
    (pair,) = answer["pairs"]
    assert (answer["resamples"], answer["refused"]) == (50, [])
    assert (pair["setting"], pair["seeds"], pair["checkpoint"]) == ("default", [0, 1], "best_ap")
    assert pair["reference"]["name"] == CXR
    assert pair["ap"]["value"] == pytest.approx(pair["other"]["ap"]["value"] - pair["reference"]["ap"]["value"])
    # higher for these networks; but two seeds by themselves leave open what others would show
    assert (pair["p_patients"] < 0.05, pair["p"], pair["ap"]["low"]) == (True, None, None)
    assert (pair["verdict"], pair["reasons"]) == ("not settled", ["two_seeds_alone"])
    assert pair["words"].endswith(" test AP; two seeds alone settle nothing.")
    assert pair["by_checkpoint"] == {kind: pytest.approx(pair["ap"]["value"]) for kind in ("best_ap", "final")}
    assert 0 <= pair["seed_share"] <= 1
    assert [c["label"] for c in pair["per_class"]] == [c["label"] for c in pair["agreement"]["per_class"]]
    assert pair["studies"][0]["gain"] > 0
    back = json.loads(call_judged("compare", CLINICAL, CXR, "--json").out)["pairs"][0]
    assert back["ap"]["value"] == -pair["ap"]["value"]


def test_one_seed_says_nothing_about_the_arms(call_judged: Call) -> None:
    for names, sign in (((CXR, CLINICAL), "+"), ((CLINICAL, CXR), "−")):
        (pair,) = json.loads(call_judged("compare", *(f"{name}/1" for name in names), "--json").out)["pairs"]
        assert (pair["verdict"], pair["reasons"]) == ("not settled", ["one_seed", "networks_differ"])
        assert pair["words"].startswith(f"These two networks differ by {sign}")
        assert pair["words"].endswith(" test AP on such patients; one seed says nothing about the arms.")
        assert (pair["p"] < 0.05, pair["seed_share"], pair["family"]) == (True, None, 1)
    assert {plan["unit"] for plan in pair["plan"]} <= {"patients"}


def test_figures_that_chose_the_checkpoints_take_no_verdict(call_judged: Call) -> None:
    names = [f"{name}/1" for name in (CXR, CLINICAL)]
    for words, reason in (
        (("--split", "val"), "chosen_on_split"),
        (("--checkpoint", "final"), "not_primary_checkpoint"),
        (("--overlap", "iobb"), "not_primary_metric"),
    ):
        (pair,) = json.loads(call_judged("compare", *names, *words, "--json").out)["pairs"]
        assert (pair["verdict"], pair["reasons"]) == ("no verdict", [reason])
        assert pair["words"].startswith("No verdict, ")


def test_a_plan_is_for_the_effect_that_is_declared(call_judged: Call) -> None:
    names = [f"{name}/1" for name in (CXR, CLINICAL)]
    (pair,) = json.loads(call_judged("compare", *names, "--json").out)["pairs"]
    assert [plan["effect"] for plan in pair["plan"]] in ([0.02, 0.05, 0.1], [])
    out = call_judged("compare", *names, "--effect", "0.03").out
    assert ("A study to show a true difference of 0.03 at 80 % power: " in out) == bool(pair["plan"])
    assert "would settle it" not in out


def test_people_read_verdict_findings_agreement_and_studies(call_judged: Call) -> None:
    called = call_judged("compare", CXR, CLINICAL)
    assert (called.code, called.err) == (0, "")
    assert f"{CLINICAL} minus {CXR}: Not settled: CXR+Clinical differs from CXR by +" in called.out
    assert "Decide the number of seeds beforehand: " in called.out
    assert " % of the spread lies between the 2 seeds; for these networks alone, over patients, p is 0." in called.out
    (line,) = (
        x for x in call_judged("compare", f"{CXR}/1", f"{CLINICAL}/1").out.splitlines() if f"{CLINICAL}/1 minus " in x
    )
    assert line.endswith("one seed says nothing about the arms.")
    for title in (
        "Test AP by finding",
        "Detections with score ≥ 0.3, the same from iou ≥ 0.5 on",
        "Studies that differ most",
    ):
        assert title in called.out


def test_agreement_is_asked_at_a_score_and_an_overlap(call_judged: Call) -> None:
    def both(*words: str) -> int:
        alike = json.loads(call_judged("compare", f"{CXR}/0", f"{CLINICAL}/0", "--json", *words).out)["pairs"][0][
            "agreement"
        ]
        assert (alike["score"], alike["overlap"]) == (0.0, "iobb" if "iobb" in words else "iou")
        return sum(c["both"] for c in alike["per_class"])

    everything = ("--agreement-score", "0", "--agreement-threshold")
    loose, strict = both(*everything, "0.01"), both(*everything, "0.99")
    assert loose > strict
    assert both(*everything, "0.5", "--agreement-overlap", "iobb") >= both(*everything, "0.5")


def test_an_ablation_is_one_family(call_judged: Call, judged_world: Any) -> None:
    called = call_judged("compare", "--ablation", "made", "--json")
    assert called.code == 0
    assert called.err == "comparing the pairs of made …\n"
    (pair,) = json.loads(called.out)["pairs"]
    assert (pair["reference"]["name"], pair["other"]["name"]) == (CXR, CLINICAL)
    with Store.open(judged_world.database) as store:
        assert store.requeue([judged_world.keys["CXR", 1]], ["finished"])
        assert store.end_free(judged_world.keys["CXR", 1], "failed", "no memory")
    words = call_judged("compare", "--ablation", "made")
    assert f"{CXR}: 1 of 2 seeds: CXR seed 1 failed at epoch 0 of 3" in words.err


def test_a_pair_that_cannot_be_compared_is_told_on_stderr(call_judged: Call, judged_world: Any) -> None:
    dataset = judged_world.dataset
    with Store.open(judged_world.database) as store:
        pairs = [made.member(dataset, arm, 0, s, lr=lr) for s, lr in (("a", 1e-3), ("b", 1e-4)) for arm in made.ARMS]
        made.record(store, pairs)
        for one in pairs[:2]:
            made.finish(store, one, dataset, 0.5)
    called = call_judged("compare", "--ablation", "made")
    assert called.code == 0
    assert "b: CXR and CXR+Clinical cannot be compared: no seed that both have finished (CXR queued; " in called.err
    refused = json.loads(call_judged("compare", "--ablation", "made", "--json").out)["refused"]
    assert [(r["setting"], r["reference"], r["other"]) for r in refused] == [("b", "CXR", "CXR+Clinical")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "compare: 0 runs to compare; name two runs (mmad compare RUN_A RUN_B), or an ablation alone"),
        ((CXR,), "compare: 1 run to compare"),
        ((CXR, CLINICAL, CXR), "compare: 3 runs to compare"),
        ((CXR, CLINICAL, "--ablation", "made"), "compare: 2 runs and the ablation made to compare"),
        ((CXR, "made/default/CRX"), "no run 'made/default/CRX'; did you mean"),
        ((f"{CXR}/0", f"{CXR}/0"), "cannot be compared: both are one run ("),
        (("--ablation", "maed"), "no ablation 'maed'; did you mean made?"),
        ((CXR, CLINICAL, "--proposals", "sampled"), "are not kept; make them with `mmad eval"),
        ((CXR, CLINICAL, "--overlap", "iou,iobb"), "--overlap: unknown word 'iou,iobb'"),
        ((CXR, CLINICAL, "--agreement-overlap", "iuo"), "--agreement-overlap: unknown word 'iuo'; did you mean iou?"),
        ((CXR, CLINICAL, "--effect", "0"), "--effect: an effect of 0; use a number above 0 and up to 1"),
        ((CXR, CLINICAL, "--agreement-score", "3"), "score thresholds [3.0]; use numbers from 0 to 1"),
        (
            (CXR, CLINICAL, "--agreement-threshold", "0"),
            "agreement at an overlap of 0.0; use a number above 0 and up to 1",
        ),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, tuple) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(call_judged: Call, words: tuple[str, ...], message: str) -> None:
    called = call_judged("compare", *words, "--json")
    assert (called.code, called.out) == (2, "")
    assert message in called.err
    assert called.err.count("\n") == 1
