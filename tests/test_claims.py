"""Verdicts on the paper's claims: on intervals by hand, and on runs whose truth is planted."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from support.report import earlier_claims, earlier_scores, earlier_verdicts
from support.report.earlier_claims import CLAIMS, NEEDED, STYLE, Claim
from support.report.earlier_verdicts import judge, verdict
from support.settings import ModelSpec

from data import TASKS

HOLDS, FAILS, OPEN = earlier_claims.VERDICTS
NO = math.nan


@pytest.mark.parametrize(
    "kind, low, high, wanted",
    [
        *[
            ("better", 0.2, 0.9, HOLDS),
            ("better", 0.01, 0.09, FAILS),
            ("better", -0.5, 0.09, FAILS),
            ("better", -0.1, 0.5, OPEN),
        ],
        *[
            ("alike", -0.09, 0.1, HOLDS),
            ("alike", 0.11, 0.3, FAILS),
            ("alike", -0.3, -0.11, FAILS),
            ("alike", -0.2, 0.05, OPEN),
        ],
        *[("reaches", -0.09, 0.4, HOLDS), ("reaches", -0.4, -0.11, FAILS), ("reaches", -0.4, 0.4, OPEN)],
        *[("level", 0.11, 0.3, HOLDS), ("level", -1.0, 0.09, FAILS), ("level", 0.05, 0.3, OPEN)],
        *[
            ("differs", 0.11, 0.3, HOLDS),
            ("differs", -0.3, -0.11, HOLDS),
            ("differs", -0.09, 0.1, FAILS),
            ("differs", -0.2, 0.05, OPEN),
        ],
        *[(kind, NO, NO, OPEN) for kind in ("better", "alike", "reaches", "level", "differs")],
    ],
)
def test_a_verdict_is_where_the_interval_lies(kind, low, high, wanted):
    assert verdict(kind, low, high, margin=0.1) == wanted


def runs(**means):
    """Five seeds of each model of a task, the scores' means as given, seeds alike over models."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=5), rng.normal(size=(len(means), 5))
    return pd.DataFrame(
        {
            "task": "mnist",
            "model": model,
            "seed": seed,
            "latents": latents,
            "score": mean + common[seed] + 0.001 * own[i, seed],
        }
        for i, (model, (mean, latents)) in enumerate(means.items())
        for seed in range(5)
    )


def claim(kind="better", first="mccvae", second="ccvae", score="score", margin=0.1):
    return Claim(0, "", "", kind, score, first, second, margin)


def test_comparisons_are_paired_and_turned_in_the_claims_direction():
    table = runs(ccvae=(1.0, 20), mccvae=(2.0, 30))
    found = judge(claim(), table)
    assert found["verdict"] == HOLDS and found["value"] == pytest.approx(1, abs=0.01) and found["n"] == 5
    assert found["high"] - found["low"] < 0.02  # the seeds' common part, sd 1, is gone
    assert found["measured"] == "mccvae − ccvae"
    assert judge(claim(score="-score"), table)["verdict"] == FAILS and judge(claim(score="-score"), table)["value"] < 0
    assert judge(claim(first="ccvae", second="mccvae", score="-score"), table)["verdict"] == HOLDS
    assert judge(claim(), table[table["seed"] == 0])["verdict"] == OPEN
    assert judge(claim(second="ccvae_more_style"), table) is None and judge(claim(score="other"), table) is None


def test_a_star_stands_for_a_label_weight_and_for_nothing_else():
    table = runs(**{"mccvae-rb900-x3-y0.5": (1.0, 20), "mccvae-rb900-x3": (2.0, 20), "mccvae": (9.0, 20)})
    found = judge(claim(first="mccvae-rb*-x3", second="mccvae-rb*-x3-y0.5"), table)
    assert found["measured"] == "mccvae-rb900-x3 − mccvae-rb900-x3-y0.5" and found["verdict"] == HOLDS


def test_levels_are_means_over_seeds():
    table = runs(mccvae=(2.0, 30)).assign(score=[1.9, 1.95, 1.85, 1.9, 1.9])
    assert judge(claim("level", second=None, score="-score", margin=-1.2), table)["verdict"] == FAILS
    assert judge(claim("level", second=None, score="-score", margin=-2.2), table)["verdict"] == HOLDS
    found = judge(claim("level", second=None, score="score", margin=1.9), table)
    assert found["verdict"] == OPEN and found["value"] == pytest.approx(1.9) and found["measured"] == "mccvae"


def test_as_many_latents_in_style_and_four_times_the_epochs_are_found_by_name():
    long = 4 * TASKS["mnist"].epochs
    table = runs(
        **{
            "ccvae": (1.0, 20),
            "ccvae-z20": (2.0, 30),
            "mccvae": (3.0, 30),
            f"mccvae-e{long}": (0.95, 30),
            f"ccvae-e{long}": (1.0, 20),
        }
    )
    assert judge(claim(second=STYLE), table)["measured"] == "mccvae − ccvae-z20"
    assert judge(claim(second=STYLE), table[table["model"] != "ccvae-z20"]) is None
    late = judge(claim("reaches", "mccvae-e4x", "ccvae-e4x"), table)
    assert late["verdict"] == HOLDS and late["value"] == pytest.approx(-0.05, abs=0.01)


def test_the_margin_of_a_loss_is_a_share_of_it():
    table = runs(ccvae=(2_000.0, 20), mccvae=(1_998.5, 30)).rename(columns={"score": "train_loss"})
    found = judge(claim(score="-train_loss", margin=0.001), table)
    assert (
        found["margin"] == pytest.approx(2, abs=0.01) and found["verdict"] == FAILS
    )  # 1.5 nats lower, which is too little to matter


def test_every_claim_names_scores_and_models_that_there_are():
    for one in (*CLAIMS, *NEEDED):
        assert (
            one.kind in ("better", "alike", "differs", "reaches", "level")
            and set(one.tasks) <= set(TASKS)
            and dataclasses.astuple(one)
        )
        for model in (one.first, one.second):
            if one not in NEEDED and model and model != STYLE:
                kind = ModelSpec.parse(model.replace("-e4x", "-e8").replace("*", "900")).kind
                assert kind == "MCCVAE" or (kind == "ConditionalVAE" and one.number == 11)


def test_the_evidence_names_what_was_measured_and_a_level_as_it_is():
    table = runs(ccvae=(1.0, 20), mccvae=(2.0, 30))
    few = claim("level", score="-score", second=None, margin=-1.5)
    rows = [dataclasses.asdict(one) | {"task_title": "T"} | judge(one, table)
            for one in (claim(second="ccvae"), claim("level", second=None), few,
                dataclasses.replace(claim(score="-score"), late=True))]  # fmt: skip
    shown = earlier_verdicts.evidence_columns(pd.DataFrame(rows))
    assert list(shown["measured"]) == ["mccvae − ccvae", "mccvae", "mccvae", "mccvae − ccvae"]
    assert list(shown["margin or bound"]) == ["0.100", "> 0.100", "< 1.500", "0.100"]
    mean = table.loc[table["model"] == "mccvae", "score"].mean()
    assert float(shown["value"][1]) == float(shown["value"][2]) == pytest.approx(mean, abs=1e-3)
    low, high = map(float, shown["95 % interval"][2].replace("−", "-").split(" to "))
    assert low < mean < high and shown["value"][3] == f"−{shown['value'][0]}"
    assert shown["the paper claims"][3].endswith(earlier_claims.LATE) and not shown["the paper claims"][0].endswith(
        earlier_claims.LATE
    )


def test_a_labels_share_is_held_against_an_even_one_and_the_most_there_can_be():
    scores = pd.DataFrame(
        {"label_diagonal": [1 / 3, 0.5, 0.1, 1.0], "disentanglement": [1, 1, 0.2, NO], "completeness": [0, 0.5, 1, 1]}
    )
    found = earlier_scores.with_shares(scores, pd.Series([3, 3, 10, 10]), pd.Series([True, True, False, False]))
    assert found["label_alone"].tolist() == pytest.approx([0, 1, 0, 1])
    assert found["parts_apart"].tolist()[:3] == [0, 0.5, 0.2] and math.isnan(found["parts_apart"][3])


def test_latents_where_they_are_needed_are_held_against_k_2_in_accuracy_and_reconstruction():
    gain = {"where needed": (0.93, 100.0), "k = 2": (0.90, 110.0), "k = 1": (0.5, 500.0)}
    rows = [
        {
            "task": "chest_xray",
            "task_title": "Chest X-ray",
            "way": way,
            "seed": s,
            "test_accuracy": a + s / 100,
            "test_reconstruction": r + s,
        }
        for way, (a, r) in gain.items()
        for s in range(3)
    ]
    accuracy, reconstruction = earlier_verdicts._needed(
        pd.DataFrame(rows), {"Chest X-ray": "drawn chests"}, about=" (elsewhere)"
    )
    assert accuracy["verdict"] == reconstruction["verdict"] == HOLDS and accuracy["task_title"] == "drawn chests"
    assert accuracy["value"] == pytest.approx(0.03) and reconstruction["value"] == pytest.approx(10)
    assert accuracy["measured"] == "where needed − k = 2 (elsewhere)"


def test_claims_on_drawn_data_stand_in_a_table_of_their_own():
    rows = [
        dataclasses.asdict(one) | {"task_title": title, "verdict": HOLDS, "n": 5}
        for one, title in ((CLAIMS[0], "MNIST"), (NEEDED[0], "drawn chests"))
    ]
    table = pd.DataFrame(rows)
    shown, drawn = (
        earlier_verdicts.verdict_columns(table, real=True),
        earlier_verdicts.verdict_columns(table, drawn=True),
    )
    assert (
        list(shown["no."]) == sorted(shown["no."])
        and len(shown) == len((*CLAIMS, *NEEDED))
        and "drawn chests" not in shown
    )
    of = lambda says: shown.loc[shown["the paper claims"].str.startswith(says), "MNIST"].item()  # noqa: E731
    assert f">{HOLDS}</span> <small>n = 5</small>" in of(
        "CCVAE classifies training"
    ) and earlier_claims.NOT_TRIED in of("CCVAE classifies test")
    assert (
        earlier_claims.NOT_MEANT in of("A walk to a disease")
        and earlier_claims.NOT_MEANT in of("Each of a label's two")
        and earlier_claims.NOT_TRIED in of("… and not on MNIST")
    )
    assert (
        len(drawn) == 1 and drawn["no."].item() == 10 and HOLDS in drawn["drawn chests"].item() and "MNIST" not in drawn
    )


def test_the_tally_counts_each_tasks_verdicts():
    rows = [("MNIST", HOLDS), ("MNIST", OPEN), ("MNIST", HOLDS), ("drawn chests", FAILS)]
    assert earlier_verdicts.tally(pd.DataFrame(rows, columns=["task_title", "verdict"])) == (
        "- **MNIST**, 3 tests: *holds* 2, *does not hold* 0, *open* 1\n- **drawn chests**, 1 "
        "test: *holds* 0, *does not hold* 1, *open* 0"
    )
