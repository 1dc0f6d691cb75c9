"""The primary tests' outcomes from a folder of deciding runs, made of published records by hand."""

import dataclasses
import json
import math
import shutil

import pandas as pd
import pytest
from support import PUBLISHED, ROOT, runs
from support.claims import decided, verdicts
from support.claims.decided import DecidedError, Trained, decide_all
from support.claims.preregistration import read
from support.claims.verdicts import NOT_TESTED
from support.report import body, deciding_runs
from support.settings import read_profile
from support.show import figures

CLAIMS = read()
CHEST = ROOT / "outputs" / "published" / "bf16" / "chest_xray"
MODELS = ("ccvae", "mccvae")
SEEDS = range(10, 20)


@pytest.fixture
def folder(tmp_path):
    """Ten seeds of two models on chest: five published ones, twice, with their scores at the end of training."""
    rows = []
    for model in MODELS:
        for seed in SEEDS:
            run = tmp_path / "chest_xray" / model / f"seed{seed}"
            shutil.copytree(CHEST / model / f"seed{seed % 5}", run)
            record = json.loads((run / "run.json").read_text()) | {"seed": seed}
            (run / "run.json").write_text(json.dumps(record))
            rows.append(row_of(json.loads((run / "metrics.json").read_text()), model, seed))
    pd.DataFrame(rows).to_csv(tmp_path / decided.SCORES, index=False)
    return tmp_path


def row_of(metrics, model, seed):
    about = {"task": "chest_xray", "model": model, "seed": seed, "precision": "bf16", "weights": "last"}
    train, test = metrics["train"], metrics["test"]
    read = {"train_accuracy": train["accuracy"], "train_unbiased_loss": train["bound"]["loss_alpha0"]}
    return about | read | {"test_psnr": test["psnr"], "test_along_share": 0.95 + seed / 1000}


def change(folder, **columns):
    """The scores with some of their columns changed."""
    table = pd.read_csv(folder / decided.SCORES).assign(**columns)
    table.to_csv(folder / decided.SCORES, index=False)
    return table


def by_test(found):
    return {(one.claim.id, one.test.task): one for one in found}


def test_outcomes_come_from_scores_and_records(folder):
    found = by_test(decide_all(folder, CLAIMS))
    assert list(found) == [(claim.id, test.task) for claim, test in CLAIMS.tests]
    loss = found["lower-training-loss", "chest_xray"]
    table = pd.read_csv(folder / decided.SCORES).pivot(index="seed", columns="model", values="train_unbiased_loss")
    assert loss.outcome.seeds == tuple(SEEDS) and loss.precision == "bf16"
    assert loss.outcome.mean == pytest.approx((table["ccvae"] - table["mccvae"]).mean())
    assert loss.outcome.word != NOT_TESTED and 0 <= loss.holm <= 1 and loss.holm >= loss.outcome.p
    assert loss.in_margins(loss.outcome.mean) == pytest.approx(loss.outcome.mean / 10)
    level = found["one-does-the-work", "chest_xray"]
    assert level.outcome.word == verdicts.REPRODUCED and level.models == ["mccvae"]
    assert found["lower-training-loss", "mnist"].outcome.says == "not tested (0 of at least 3 seeds)"
    assert (
        found["blocks-disentangled", "mnist"].outcome.why == "0 of at least 3 seeds"
    )  # its column is not there either
    assert found["more-style-reconstructs-better", "chest_xray"].outcome.why == "0 of at least 10 seeds"


def test_how_far_runs_were_trained_is_read_from_their_history(folder):
    far = by_test(decide_all(folder, CLAIMS))["lower-training-loss", "chest_xray"].trained["mccvae"]
    histories = [pd.read_csv(CHEST / "mccvae" / f"seed{seed}" / "history.csv") for seed in range(5)]
    at = lambda epoch: sum(h["validation_bound"][h["epoch"] == epoch].item() for h in histories) / 5  # noqa: E731
    assert far.fall == pytest.approx(at(45) - at(50))
    assert far.separation == pytest.approx(sum(h["separation"].iloc[-1] for h in histories) / 5)
    assert far.steps == far.paper_steps == 50 * 37  # 4,693 images in batches of 128


def test_of_the_best_weights_separation_steps_and_scores_are_those_of_their_epoch(folder):
    run = decided.read_records(folder, decided.read_scores(folder, CLAIMS))["chest_xray", "mccvae", 10]
    history = run.history.assign(separation=range(1, 51))
    best = run.metrics | {"best": {"epoch": 31, "train": {"accuracy": 0.5}}}
    run = dataclasses.replace(run, history=history, metrics=best)
    assert decided.trained_far(run, "best").separation == 31 and decided.trained_far(run).separation == 50
    assert decided.trained_far(run, "best").steps == 31 * 37
    celeba = dataclasses.replace(run, record=run.record | {"task": "celeba"})
    records = {("celeba", "mccvae", 10): celeba, ("chest_xray", "mccvae", 10): run}
    found = [one.metrics["train"]["accuracy"] for one in decided.scored_runs(records, CLAIMS)]
    assert found == [0.5, run.metrics["train"]["accuracy"]]


def test_between_two_looks_the_loss_lies_on_a_line():
    looks = pd.DataFrame({"epoch": [5, 6, 10], "validation_bound": [100.0, None, 90.0]})
    assert decided.last_fall(looks, 10) == pytest.approx(2.0)
    assert math.isnan(decided.last_fall(looks[:1], 10))
    assert math.isnan(decided.last_fall(pd.DataFrame({"epoch": [1]}), 1))


@pytest.mark.parametrize(
    "separation, steps, fall, judged",
    [
        (0.5, 1, 99, True),
        (0.4, 10, 5, True),
        (0.4, 9, 5, False),
        (0.4, 10, 5.1, False),
        (0.4, 10, math.nan, False),
        (math.nan, 10, 5, True),
    ],
)
def test_samples_are_judged_where_priors_are_apart_or_training_is_done(separation, steps, fall, judged):
    assert Trained(fall, separation, steps, paper_steps=10).far_enough(margin=5) == judged


def test_without_runs_all_is_not_tested_and_says_how_many_seeds_it_takes(tmp_path):
    found = decide_all(tmp_path, CLAIMS)
    assert {one.outcome.word for one in found} == {NOT_TESTED}
    assert all("0 of at least" in one.outcome.why for one in found)
    table = decided.verdict_table(found, CLAIMS)
    assert len(table) == len(CLAIMS.tests) and table["p_holm"].isna().all() and (table["n"] == 0).all()


def test_the_table_has_what_was_decided(folder):
    seeds = " ".join(map(str, SEEDS))
    row = {"claim": "better-reconstructions", "task": "chest_xray", "low": 0.1, "high": 0.2, "seeds": seeds}
    other = row | {"claim": "lower-training-loss", "seeds": "10 11"}
    pd.DataFrame([row, other]).to_csv(folder / decided.INTERVALS, index=False)
    table = decided.verdict_table(decide_all(folder, CLAIMS), CLAIMS).set_index(["claim", "task"])
    row = table.loc["better-reconstructions", "chest_xray"]
    assert (row["images_low"], row["images_high"], row["n"], row["planned"]) == (0.1, 0.2, 10, 10)
    assert math.isnan(table.loc[("lower-training-loss", "chest_xray"), "images_low"])  # of other seeds
    assert len(row["values"].split()) == 10 and row["low"] < row["mean"] < row["high"]
    assert row["fall_first"] == row["fall_first"] and row["samples_can_be_judged_first"] in (True, False)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (
            lambda f: change(f, precision=["bf16"] * 10 + ["float32"] * 10),
            "two precisions, which can't be compared .*bf16: ccvae seed 10, ",
        ),
        (lambda f: change(f, weights="final"), "weights must be last or best, not 'final'"),
        (lambda f: change(f, seed=10), "two runs of one seed"),
        (lambda f: change(f, test_psnr="much"), "test_psnr must hold numbers"),
        (lambda f: (f / decided.SCORES).write_text("task,model\na,b\n"), "has no column seed, precision, weights"),
        (lambda f: (f / decided.SCORES).write_bytes(b"\xff\xfe\x00"), "can't be read as a table"),
        (lambda f: (f / "chest_xray/mccvae/seed12/run.json").unlink(), "mccvae seed 12, but .*no whole record"),
        (lambda f: (f / decided.INTERVALS).write_text("claim\n"), "has no column task, low, high, seeds"),
        (
            lambda f: (f / decided.INTERVALS).write_text("claim,task,low,high,seeds\na,mnist,0,1,all\n"),
            "seeds must be whole numbers, not 'all'",
        ),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_place(folder, spoil, says):
    spoil(folder)
    with pytest.raises(DecidedError, match=says):
        decide_all(folder, CLAIMS)


def test_weights_and_seeds_that_the_rule_does_not_name_have_no_say(folder):
    table = change(folder)
    other = table.assign(weights="best", test_psnr=-99.0, precision="float32")
    early = table[table["seed"] == 10].assign(seed=3, test_psnr=-99.0)
    for model in MODELS:
        shutil.copytree(folder / "chest_xray" / model / "seed10", folder / "chest_xray" / model / "seed3")
    before = decide_all(folder, CLAIMS)
    pd.concat([table, other, early]).to_csv(folder / decided.SCORES, index=False)
    assert [one.outcome for one in decide_all(folder, CLAIMS)] == [one.outcome for one in before]


def test_the_opening_rests_on_the_deciding_runs_and_keeps_their_gaps(folder, monkeypatch):
    monkeypatch.setattr(figures, "display", lambda value, **_: None)
    used = deciding_runs.read(folder)
    said = body.rests_on(used)
    assert len(used) == 20 and said.startswith("Chest X-ray, ") and said.endswith(" steps, 10 seeds")
    deciding = type("Deciding", (), {"folder": folder})
    found = decide_all(folder, CLAIMS)
    deciding_runs.show_gaps(deciding, found)
    deciding_runs.show_forest(deciding, found)
    assert {path.stem for path in (folder / "figures").iterdir()} == {"gaps", "forest"}
    about = json.loads((folder / "figures/forest.json").read_text())
    assert "Bar: the 99.7 % interval" in about["caption"] and about["alt"].count("10 seeds") == len(
        [one for one in found if one.outcome.word != NOT_TESTED]
    )


def test_tables_of_scores_stand_on_the_deciding_runs_by_the_weights_that_decide():
    published = read_profile(PUBLISHED)
    everything, main = decided.all_runs(published), decided.main_runs(published, ["celeba", "mnist"])
    deciding = ROOT / "outputs" / "published" / "trained_out"
    assert {run.folder for run in everything} == {file.parent for file in deciding.glob("*/*/seed*/run.json")}
    assert {run.spec.name for run in main} == {
        *("vae", "cvae", "ccvae", "ccvae_more_style", "mccvae"),
        *("ccvae-rb3072", "mccvae-rb3072", "ccvae-rb900", "mccvae-rb900"),
    }
    assert all(("epoch" in run.metrics) == (run.record["task"] == "celeba") for run in main)  # best, or last
    with pytest.raises(runs.MissingRunError):
        decided.all_runs(dataclasses.replace(read_profile("smoke"), seeds=[999]))
