"""Settings, run folders, tables and findings, without a notebook."""

import copy
import dataclasses
import importlib
import json
import math
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from IPython.core import interactiveshell
from support import ROOT, records, runs, settings, training, weights
from support.claims import decided
from support.experiments import (
    classification,
    intervention,
    label_weight,
    likelihood_floors,
    objective,
    overview,
    paper,
    reconstruction,
)
from support.report import provenance
from support.settings import ModelSpec, SettingsError, notebook_profile, read_profile
from support.show import figures, numbers, tables, walks

import data
import mccvae_core as core

# --- settings ---------------------------------------------------------------------------------------------------


def test_every_profile_is_readable_and_the_paper_profile_is_the_papers():
    for path in settings.PROFILES.glob("*.yaml"):
        assert read_profile(path.stem).profile == path.stem
    paper = read_profile("paper")
    assert paper.source == "real" and len(paper.seeds) >= 3
    expected = {"mnist": (128, 50, 5, 15), "chest_xray": (128, 50, 7, 27), "celeba": (256, 20, 27, 45)}
    for name, (batch, epochs, style, more) in expected.items():
        task = data.TASKS[name]
        assert (paper.value("batch_size", task), paper.value("epochs", task), task.style_dim, task.more_style_dim) == (
            batch,
            epochs,
            style,
            more,
        )
        assert paper.value("images", task) is None
    assert (
        data.TASKS["mnist"].label_prior,
        data.TASKS["chest_xray"].label_prior,
        data.TASKS["celeba"].label_prior,
    ) == (0.1, None, 0.5)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nowhere", {}, "no profile 'nowhere'; there are: .*demo"),
        ("../profiles/demo", {}, "no profile"),
        ("demo", {"epochs": 0}, "epochs must be"),
        ("demo", {"epochs": True}, "epochs must be"),
        ("demo", {"images": "many"}, "images must be"),
        ("demo", {"epochs": {"cifar": 3}}, "task 'cifar'"),
        ("demo", {"source": "fake"}, "source must be"),
        ("demo", {"models": ["resnet"]}, "no model 'resnet'"),
        ("demo", {"models": {"mnist": ["vae"], "chest_xray": ["lenet"]}}, "no model 'lenet'"),
        ("demo", {"models": []}, "models must be a list"),
        ("demo", {"models": {"mnist": {"vae": [0.5]}}}, "the seeds of vae must be"),
        ("demo", {"seeds": {"cifar": [0]}}, "seeds names the task 'cifar'"),
        ("demo", {"seeds": [-1]}, "seeds must be whole numbers"),
        ("demo", {"seeds": 3}, "seeds must be whole numbers"),
        ("demo", {"colour": 1}, "differs in colour"),
        ("demo", {"experiments": ["magic"]}, "experiments must be among"),
        ("demo", {"allocation": []}, "allocation must name the tasks"),
        ("demo", {"allocation": ["cifar"]}, "allocation must name the tasks"),
        ("correlated", {"allocation": ["stick_figures"]}, "and none without it"),
        ("demo", {"correlation": {"stick_figures": 1}}, "correlation must lie in"),
    ],
)
def test_bad_settings_are_named(name, changes, message):
    with pytest.raises(SettingsError, match=message):
        read_profile(name, **changes)


def test_a_model_name_is_read_and_written_back():
    for name in (
        *ModelSpec.BASES,
        "mccvae-k3",
        "mccvae-rb1000000-x1234567",
        "mccvae-rb100",
        "ccvae-rb0-k2-f0.2",
        "mccvae-rb2.5",
        "ccvae-f0.05",
        "mccvae-k4-f0.2-e200",
        "ccvae_more_style-e3",
        "ccvae-k2-e4-s2",
        "ccvae-rb100-e4-x3-s2",
        "ccvae-x0.5",
        "mccvae-rb300-k1.3.2-z10-r0.5-t20-pfull",
        "cvae-e2-x3-z4",
        "mccvae-rb900-x3-y0.5",
    ):
        assert ModelSpec.parse(name).name == name
    for bad in (
        "mccvae-e3-k2",
        "mccvae-k0",
        "MCCVAE",
        "mccvae-f2",
        "mccvae-",
        "",
        "mccvae-e0",
        "mccvae-rb",
        "mccvae-k2-rb1",
        "ccvae-rb100.0",
        "ccvae-f.1",
        "ccvae-f0.0",
        "ccvae-y0.0",
        "ccvae-y1",
        "ccvae-s1",
        "ccvae-s2-e4",
        "ccvae-x1",
        "mccvae-k1.0",
        "ccvae-r0",
    ):
        with pytest.raises(SettingsError, match="there is no model"):
            ModelSpec.parse(bad)
    for bad, message in (
        ("mccvae-t5", "-t needs the estimator"),
        ("mccvae-k2-pfull", "-p needs"),
        ("vae-rb100", "has no latents of labels"),
        ("cvae-y0.5", "has no latents of labels"),
    ):
        with pytest.raises(SettingsError, match=message):
            ModelSpec.parse(bad)


def test_models_are_the_papers_three_configurations():
    for name in data.MODULES:
        d = data.load(name, "embedded", images=60)
        n, task = len(d.labels), d.task
        configs = {m: ModelSpec.parse(m).config(d) for m in ModelSpec.BASES}
        assert configs["ccvae"].characteristics == (1,) * n and configs["ccvae"].style_dim == task.style_dim
        assert (
            configs["ccvae_more_style"].characteristics == (1,) * n
            and configs["ccvae_more_style"].style_dim == task.more_style_dim
        )
        assert configs["mccvae"].characteristics == (2,) * n and configs["mccvae"].style_dim == task.style_dim
        assert configs["vae"].latent_dim == configs["cvae"].latent_dim == configs["ccvae"].latent_dim
        assert ModelSpec.parse("mccvae-k3").config(d).characteristics == (3,) * n
        assert ModelSpec.parse("mccvae-rb1-k" + ".".join(["1"] * (n - 1) + ["4"]) + "-z9-r0.5-pfull").config(
            d
        ) == core.ModelConfig(task.image_shape, (1,) * (n - 1) + (4,), 9, task.likelihood, d.label_prior, 0.5, "full")
        with pytest.raises(SettingsError, match=f"takes one number or {n}, not 2"):
            ModelSpec.parse("mccvae-k1.2").config(d)
        if task.likelihood == "bernoulli":
            assert ModelSpec.parse("ccvae-s2").config(d).likelihood == "bernoulli-two-sigmoids"
        else:
            with pytest.raises(SettingsError, match="-s2 is for a Bernoulli likelihood"):
                ModelSpec.parse("ccvae-s2").config(d)


def test_a_task_may_have_models_and_seeds_of_its_own():
    models = {"mnist": ["vae", "mccvae-k3"], "celeba": {"ccvae": None, "cvae": [1]}}
    profile = read_profile("demo", models=models, seeds={"mnist": [4], "celeba": [5, 6]})
    assert (
        profile.runs(data.TASKS["mnist"]) == [("vae", 4), ("mccvae-k3", 4)]
        and profile.runs(data.TASKS["chest_xray"]) == []
    )
    assert profile.runs(data.TASKS["celeba"]) == [("ccvae", 5), ("ccvae", 6), ("cvae", 1)]


def test_a_notebooks_parameters_change_its_profile_and_unknown_ones_are_refused():
    cells = ["", 'profile = "demo"\nmodel = "mccvae"\nepochs = None', "# Parameters\nepochs = 7\n"]
    assert notebook_profile({"In": cells, "profile": "demo", "model": "mccvae", "epochs": 7}).epochs == 7
    assert notebook_profile({"In": cells[:2], "profile": "demo", "epochs": None}).epochs == read_profile("demo").epochs
    cells[2] = "# Parameters\nepoch = 7\nimages = 60\n"
    with pytest.raises(SettingsError, match=r"unknown parameter epoch; this notebook takes .*epochs.*model"):
        notebook_profile({"In": cells, "profile": "demo", "epoch": 7})


def test_correlated_labels_are_drawn_as_the_profile_says():
    profile = read_profile("correlated", images=700)
    train, test = (
        part.labels.float()
        for part in (runs.load_data(profile, "stick_figures").train, runs.load_data(profile, "stick_figures").test)
    )
    assert torch.corrcoef(train.T)[0, 1] > 0.8 and torch.corrcoef(test.T)[0, 1].abs() < 0.35
    assert (
        profile.folder.name == "correlated-by-hand"
        and "correlation" in runs.load_data(profile, "stick_figures").description
    )


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The smoke profile, its outputs in a folder of this test's own."""
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    return dataclasses.replace(read_profile("smoke"), images=70, epochs=2)


def test_a_run_leaves_its_records_and_is_not_trained_twice(profile, monkeypatch, capsys):
    run = training.train(profile, "chest_xray", "mccvae", 3)
    assert run.folder == profile.folder / "chest_xray" / "mccvae" / "seed3"
    records = {"run.json", "metrics.json", "history.csv", "model.safetensors", "best.safetensors"}
    assert {p.name for p in run.folder.iterdir()} == records | {runs.CHECKPOINT, "checkpoint.before.safetensors"}
    text = (run.folder / "run.json").read_text()
    record = json.loads(text)
    assert set(record) >= set(
        [
            "task",
            "model",
            "estimator",
            "label_weight",
            "characteristics",
            "style_dim",
            "labelled_fraction",
            "seed",
            "epochs",
            "data",
            "code",
            "versions",
            "device",
            "threads",
            "seconds",
        ]
    )
    assert set(record["data"]) >= {"source", "stand_in", "n", "sha256"} and record["data"]["stand_in"] is True
    assert str(ROOT) not in text and str(profile.folder) not in text
    assert list(run.history["epoch"]) == [1, 2] and "labelled_weighting" in run.history and "seconds" in run.history
    assert run.history["validation_accuracy"].iloc[-1] == pytest.approx(run.metrics["validation"]["accuracy"])
    assert (run.history[[f"gradient_{name}" for name in ("reconstruction", "latents", "labels")]] > 0).all(axis=None)
    assert set(run.metrics) == {"train", "validation", "test", "best"} and run.metrics["best"]["epoch"] == 2
    assert run.metrics["best"]["validation_bound"] == pytest.approx(run.history["validation_bound"].iloc[-1])
    assert run.history["separation"].iloc[-1] > 0 and record["precision"] in core.PRECISIONS
    out = capsys.readouterr().out
    assert out.count("epoch") == 2 and "chest_xray mccvae seed 3  epoch 2/2" in out
    stamp = (run.folder / "model.safetensors").stat().st_mtime_ns
    again = training.train(profile, "chest_xray", "mccvae", 3)
    assert not (run.folder / runs.CHECKPOINT).exists()
    assert (
        "already trained" in capsys.readouterr().out
        and (again.folder / "model.safetensors").stat().st_mtime_ns == stamp
    )
    monkeypatch.setattr(training.code_identity, "code_version", lambda: "other")
    assert training.train(profile, "chest_xray", "mccvae", 3).record["code"] == "other"
    out = capsys.readouterr().out
    assert "epoch 2/2" in out and "trained again, since code: the core's equations have changed since" in out


def test_an_interrupted_run_goes_on_and_one_of_other_settings_starts_afresh(profile, monkeypatch, capsys):
    d = runs.load_data(profile, "mnist")

    def interrupt(self, row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Progress, "__call__", interrupt)
        training.train(profile, "mnist", "ccvae", 0, d)
    assert not (runs.run_folder(profile, "mnist", "ccvae", 0) / "run.json").exists()
    training.train(profile, "mnist", "ccvae", 0, d)
    out = capsys.readouterr().out
    assert "epoch 1/2" not in out and "epoch 2/2" in out
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Progress, "__call__", interrupt)
        training.train(dataclasses.replace(profile, batch_size=8), "mnist", "ccvae", 0, d)
    training.train(dataclasses.replace(profile, batch_size=16), "mnist", "ccvae", 0, d)
    out = capsys.readouterr().out
    assert "starting afresh" in out and "batch_size 8 there, 16 here" in out and "epoch 1/2" in out


def test_what_fails_after_training_costs_no_training(profile, monkeypatch, capsys):
    def broken(*args, **options):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(training.scores, "evaluate", broken)
        training.train(profile, "mnist", "ccvae", 0)
    assert "epoch 2/2" in capsys.readouterr().out
    assert (
        training.train(profile, "mnist", "ccvae", 0).record["epochs"] == 2
        and "epoch 2/2" not in capsys.readouterr().out
    )


def test_a_loss_that_jumps_is_named(capsys):
    progress = training.Progress("celeba ccvae seed 0", 20)
    losses = {5: 10_241.0, 10: 10_259.0, 15: 10_778.0, 20: 10_700.0}
    for epoch in range(1, 21):
        validated = {"validation_bound": losses[epoch]} if epoch in losses else {}
        progress({"epoch": epoch, "labelled_loss": 1.0, "seconds": 1.0} | validated)
    told = [line for line in capsys.readouterr().out.splitlines() if "jumped" in line]
    assert len(told) == 1 and "epoch 15: the validation loss jumped from 10259 to 10778" in told[0]


def test_gradients_are_measured_at_powers_of_two_and_the_last_epoch(profile):
    d = runs.load_data(profile, "mnist")
    model = core.build_model("MCCVAE", ModelSpec.parse("ccvae").config(d), 0)
    measured = [epoch for epoch in range(1, 12) if "gradient_labels" in training.measure(model, d, 11, epoch)]
    assert measured == [1, 2, 4, 8, 11]
    assert training.measure(core.build_model("VAE", model.config, 0), d, 2, 1) == {}


def test_epochs_changed_by_hand_make_a_run_of_their_own(profile):
    run = training.train(dataclasses.replace(profile, epochs=1), "mnist", "vae", 0)
    assert run.folder.parent.name == "vae-e1" and run.record["epochs"] == 1 and "accuracy" not in run.metrics["test"]


def test_a_missing_run_says_how_to_make_it():
    profile = dataclasses.replace(read_profile("smoke"), seeds=[999])
    with pytest.raises(
        FileNotFoundError, match=r"outputs/smoke/mnist/ccvae/seed999 holds no finished run.*run_all.sh smoke"
    ) as missing:
        runs.read_runs(profile, tasks=["mnist"])
    # what it names works at once
    assert str(missing.value).endswith("or set profile to 'published', whose runs are there")
    assert decided.main_runs(read_profile("published"), ["mnist"])


def test_a_notebook_shows_the_message_of_a_users_mistake_and_not_the_way_to_it(capsys):
    shell = interactiveshell.InteractiveShell()
    try:
        ran = shell.run_cell("from support.runs import RunError\ndef deep():\n    raise RunError('mend this')\ndeep()")
    finally:
        shell.history_manager.end_session()
    assert isinstance(ran.error_in_exec, runs.RunError)
    assert capsys.readouterr().out.strip() == "RunError: mend this"


def test_a_profile_of_drawn_figures_alone_is_told_which_experiments_compare_none():
    drawn = dataclasses.replace(read_profile("smoke"), models={"stick_figures": {"ccvae": None}})
    with pytest.raises(SettingsError, match=r"no model of .*mnist.* compare: .*classification.*take them out"):
        runs.compared(drawn)
    assert runs.compared(read_profile("smoke")) == runs.PAPER_TASKS


def test_a_users_matplotlibrc_changes_no_figure():
    wanted = dict(plt.rcParams)
    plt.rcParams["lines.linewidth"] = 9
    importlib.reload(figures)
    assert dict(plt.rcParams) == wanted


# --- tables -------------------------------------------------------------------------------------------------------


def made_up(task, model, seed, accuracy, loss):
    terms = dict.fromkeys([*reconstruction.SPLIT_TERMS, "ess"], 1.0) | {
        "loss_alpha0": loss,
        "reconstruction": loss - 10,
    }
    scores = {"n": 100, "accuracy": accuracy, "majority_accuracy": 0.9, "loss": terms, "bound": terms}
    record = {
        "task": task,
        "model": model,
        "seed": seed,
        "data": {"stand_in": False},
        "seconds": 5.0,
        "epochs": 2,
        "estimator": "official",
        "label_weight": 0.0,
    }
    history = pd.DataFrame({"epoch": [1, 2], "labelled_loss_alpha0": [loss + 100, loss + 1], "seconds": [2.0, 3.0]})
    history["validation_accuracy"] = [accuracy - 0.1, accuracy]
    terms = {"reconstruction": 99.0, "kl_style": 0.0, "characteristics": 0.0, "log_qyz": 0.0}
    history = history.assign(**{f"labelled_{name}": value for name, value in terms.items()})
    history = history.assign(
        gradient_reconstruction=[math.nan, 6.0], gradient_latents=[math.nan, 2.0], gradient_labels=[math.nan, 0.02]
    )
    return runs.Run(None, record, dict.fromkeys(records.SPLITS, scores), history)


@pytest.fixture
def four_runs():
    return [
        made_up("mnist", "ccvae", 0, 0.98, 500.0),
        made_up("mnist", "ccvae", 1, 0.94, 520.0),
        made_up("mnist", "mccvae", 0, 0.95, 480.0),
        made_up("mnist", "mccvae", 1, 0.95, 480.0),
    ]


def test_tables_hold_mean_and_spread_over_seeds_beside_the_paper(four_runs):
    table = classification.accuracy_table(four_runs, "test").set_index("model")
    assert table.loc["ccvae", "accuracy"] == pytest.approx(0.96) and table.loc["ccvae", "accuracy_sd"] == pytest.approx(
        0.04 / math.sqrt(2)
    )
    assert table.loc["ccvae", "seeds"] == 2 and table.loc["mccvae", "paper"] == 1
    losses = reconstruction.loss_table(four_runs).set_index("model")
    assert (
        losses.loc["ccvae", "loss"] == 510
        and losses.loc["ccvae", "last_epoch_mean"] == 511
        and losses.loc["ccvae", "paper"] == 2298
    )
    wide = paper.wide(losses.reset_index(), "loss", 0, {"last_epoch_mean": "last epoch"})
    assert wide.loc["CCVAE", ("MNIST", "ours")] == "510 ± 14" and wide.loc["CCVAE", ("MNIST", "paper")] == "2,298"


def test_the_results_have_intervals_the_papers_numbers_and_the_majoritys(four_runs):
    table = overview.results_table(four_runs[:3])
    ccvae = table.set_index("model").loc["ccvae"]
    half = 12.706 * (0.04 / math.sqrt(2)) / math.sqrt(2)  # Student's 97.5 % of one degree of freedom, by hand
    assert ccvae["test_accuracy"] == pytest.approx(0.96) and ccvae["test_accuracy_half"] == pytest.approx(
        half, rel=1e-4
    )
    assert table["seeds"].tolist() == [2, 1] and math.isnan(table["test_accuracy_half"][1])
    shown = overview.results_columns(table).set_index("model")
    assert (
        shown.loc["CCVAE", "train loss: paper / ours"] == "2,298 / 510 ± 127"
        and shown.loc["MCCVAE", "test loss, unbiased"] == "480"
    )
    without = table.assign(paper_train_loss=math.nan)
    assert overview.results_columns(without)["train loss"][0] == "510 ± 127"
    assert shown.loc["CCVAE", "test, majority"] == numbers.decimal(four_runs[0].metrics["test"]["majority_accuracy"], 3)


def test_the_label_weight_is_chosen_on_validation(four_runs):
    better = made_up("mnist", "mccvae-rb30", 0, 0.97, 470.0)
    better.record["estimator"] = "rao-blackwell"
    validation = dict.fromkeys(records.SPLITS, better.metrics["test"]) | {
        "test": better.metrics["test"] | {"accuracy": 0.5}
    }
    table = label_weight.trade_off_table([*four_runs, dataclasses.replace(better, metrics=validation)])
    assert list(table[table["chosen"]]["model"]) == ["mccvae-rb30"] and table["test_bound"].tolist() == [
        500,
        520,
        480,
        480,
        470,
    ]
    assert table["epochs_to_official"].fillna(0).tolist() == [2, 0, 2, 2, 2]  # 0: not reached
    assert table["seconds_to_official"].iloc[0] == 5


def test_of_models_that_are_equally_accurate_the_one_with_the_lower_validation_loss_is_chosen():
    table = label_weight.trade_off_table(
        [made_up("mnist", "ccvae", 0, 0.9, 500.0), made_up("mnist", "mccvae", 0, 0.9, 490.0)]
    )
    assert table["chosen"].tolist() == [False, True]


def test_the_open_weight_is_held_against_official_of_the_same_base(four_runs):
    ours = dataclasses.replace(made_up("mnist", "mccvae-rb30", 0, 0.97, 470.0))
    ours.record.update(estimator="rao-blackwell", epochs=1)
    (sentence,) = label_weight.against_official(label_weight.trade_off_table([*four_runs, ours]))
    assert "MCCVAE, rb30 has on MNIST in 1 instead of 2 epochs +2.0 points of test accuracy and -10 nats" in sentence
    assert label_weight.against_official(label_weight.trade_off_table(four_runs)) == []


def test_shares_of_the_encoders_gradient_count_the_labels_with_the_weight_that_they_have(four_runs):
    table = objective.encoder_table(four_runs[:1])
    assert table["epoch"].tolist() == [2] and table["label_weight"].tolist() == [99]
    assert table["share_labels"].item() == pytest.approx(0.2) and table["share_reconstruction"].item() == pytest.approx(
        0.6
    )
    assert table["share_labels_bare"].item() == pytest.approx(0.02 / 8.02)
    assert len(objective.encoder_columns(table)) == 1


def test_table_3_is_held_against_floors_and_what_was_reached(four_runs):
    d = data.load("mnist", "embedded", images=100)
    floors = likelihood_floors.floor_table(d, four_runs).set_index("sigmoids")
    assert floors.loc[1, "ours"] == 480 and floors.loc[1, "needed_w"] == pytest.approx(2242 / 470)
    assert math.isnan(floors.loc[2, "ours"]) and floors.loc[2, "floor"] > floors.loc[1, "floor"]
    variants = likelihood_floors.variant_table(d, count=50).set_index("images")["floor, 2 sigmoids"]
    assert variants["every pixel that is not black made white"] < variants["as everywhere here"] < variants["at 64×64"]
    faces = data.load("celeba", "embedded", images=60)
    assert likelihood_floors.floor_table(faces, [])["floor"].item() == pytest.approx(12_288 * math.log(2))


def test_the_official_loss_is_evaluated_again_and_again():
    d = data.load("chest_xray", "embedded", images=60)
    model = core.build_model("MCCVAE", ModelSpec.parse("mccvae").config(d), 0).eval()
    row = objective.weight_table(d, {"MCCVAE": model}, repeats=3, count=20).iloc[0]
    assert (
        row.lowest_mean_weight < row.mean_weight < row.highest_mean_weight
        and row.lowest_loss < row.loss < row.highest_loss
    )
    assert row.n == 20 and abs(row.bound - row.loss) < row.highest_loss - row.lowest_loss + 50


def test_findings_are_computed_and_paired_over_seeds(four_runs):
    unpaired = [*four_runs, made_up("mnist", "ccvae", 2, 0.5, 900.0), made_up("mnist", "mccvae-rb30", 0, 0.1, 100.0)]
    sentence = classification.finding(classification.score_frame(unpaired[:4] + unpaired[5:]))
    assert "+1.0 points on MNIST" in sentence and "worse by 5.5 points on MNIST" in sentence  # -rb is not the paper's
    assert "+1.0 points on MNIST" in classification.finding(classification.score_frame(unpaired))
    assert "−30.0 nats on MNIST (−30.0 of it reconstruction)" in reconstruction.finding(
        reconstruction.loss_frame(unpaired)
    )
    about = {"task": "celeba", "figure": 9, "model_title": "MCCVAE"}
    walks = pd.DataFrame(
        [
            about | {"latents": "latent 1 of 2", "moved": 0.1, "others": 0.1, "share": 0.8},
            about | {"latents": "latent 2 of 2", "moved": 0.1, "others": 0.1, "share": 0.2},
            about | {"latents": "both together", "moved": 0.7, "others": 0.04, "share": None},
            about
            | {
                "task": "chest_xray",
                "figure": 12,
                "latents": "both together",
                "moved": 0.9,
                "others": 0.01,
                "share": None,
            },
        ]
    )
    finding = intervention.finding(walks)
    assert "by 0.70 on CelebA and 0.90 on Chest X-ray, and every other label's by 0.04 on CelebA and 0.01" in finding
    assert "80 to 80 %" in finding


def test_the_papers_numbers_are_those_of_its_tables():
    """Read again, from the article's text as it is printed: CelebA, MNIST, chest."""
    printed = {
        "table_1": "CCVAE 0.92 1 1 | more 1 1 | MCCVAE 0.90 1 0.98",
        "table_2": "CCVAE 0.90 1 0.78 | more 1 0.79 | MCCVAE 0.90 1 0.77",
        "table_3": "CCVAE 9676 2298 2419 | more 2242 2401 | MCCVAE 8657 2289 2385",
    }
    for name, text in printed.items():
        for line, model in zip(text.split(" | "), ("ccvae", "ccvae_more_style", "mccvae"), strict=True):
            values = [float(v) for v in line.split()[1:]]
            order = ("celeba", "mnist", "chest_xray")[-len(values) :]
            assert paper.PAPER[name][model] == dict(zip(order, values, strict=True))


def test_intervention_table_moves_what_it_says():
    d = data.load("chest_xray", "embedded", images=70)
    models = {m: core.build_model("MCCVAE", ModelSpec.parse(m).config(d), 0).eval() for m in ("ccvae", "mccvae")}
    table = intervention.intervention_table(d, models, count=4)
    assert list(table["latents"]) == ["the one", "latent 1 of 2", "latent 2 of 2", "both together"]
    assert table["share"].sum() == pytest.approx(1) and table["share"].isna().tolist() == [True, False, False, True]
    goal = {d.labels.index("bacteria"): 0, d.labels.index("normal"): 1}
    assert d.test.labels[walks.walk_starts(d, d.task.walks[12][1])[0]].tolist() == [0, 1, 0] and goal == {1: 0, 0: 1}


def test_examples_take_classes_by_turns():
    d = data.load("mnist", "embedded", images=500)
    index = figures.examples(d, 10)
    assert d.test.labels[index].argmax(1).tolist() == list(range(10)) and len(set(index)) == 10


def test_text_that_reaches_the_report_is_escaped(capsys):
    table = pd.DataFrame({"<b>": ["<script>alert(1)</script>"]})
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "display", lambda value: shown.append(value.data))
        tables.display_table(table, "<i>caption</i>", stand_in=True)
        tables.display_table(table[:0], "<i>Empty</i>", stand_in=False)
    assert "<table" not in shown[1] and "&lt;i&gt;Empty" in shown[1] and "no run" in shown[1]
    assert (
        "<script>" not in shown[0] and "<b>" not in shown[0] and "<i>" not in shown[0] and "stand-in data" in shown[0]
    )


def test_every_number_of_ours_has_a_note_that_leads_to_its_run(four_runs, profile, monkeypatch):
    for run in four_runs:
        folder = profile.folder / "mnist" / run.record["model"] / f"seed{run.record['seed']}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
    runs_ = [
        dataclasses.replace(run, folder=profile.folder / "mnist" / run.record["model"] / f"seed{run.record['seed']}")
        for run in four_runs
    ]
    sources, shown = provenance.Sources(runs_), []
    monkeypatch.setattr(tables, "display", lambda value: shown.append(value.data))
    table = classification.accuracy_table(runs_, "test")
    classification.display_accuracy(table, "Table 2", stand_in=False, note=sources.note, csv="tables/table_2.csv")
    tables.display_table(classification.score_columns(table), "Scores", stand_in=False, note=sources.note)
    for title, model, mean in (("CCVAE", "ccvae", "0.960 ±&nbsp;0.028"), ("MCCVAE", "mccvae", "0.950 ±&nbsp;0.000")):
        mark = sources.note("MNIST", title)
        assert (
            mark == sources.note("MNIST", model)
            and f"<td>{mean}{mark}</td>" in shown[0]
            and f"<td>{title}{mark}</td>" in shown[1]
        )
        number = re.search(r"#source-(\d+)", mark)[1]
        item = re.search(rf'<li id="source-{number}">(.*?)</li>', sources.listed(profile))[1]
        assert item.startswith(f"MNIST, {title}: ") and re.findall(r'href="(.*?)"', item) == [
            f"mnist/{model}/seed{s}/metrics.json" for s in (0, 1)
        ]
    assert (
        'href="tables/table_2.csv"' in shown[0]
        and "halign" not in shown[0]
        and sources.note("CelebA", "ccvae") == ""
        and "<td>1</td>" in shown[0]
    )


def test_labels_are_named_where_they_are_1_and_asked_where_they_are_not_known():
    chests = data.load("chest_xray", "embedded", images=100)
    assert figures.label_text(chests, torch.tensor([0.0, 1.0, math.nan])) == "bacteria, virus?"
    assert figures.label_text(chests, torch.tensor([0.0, 0.0, 0.0])) == "none"
    assert figures.label_text(chests, torch.tensor([1, 0, 1], dtype=torch.uint8)) == "normal, virus"


def test_a_model_has_the_same_colour_in_every_figure():
    few = ["MCCVAE", "CCVAE, rb300"]
    many = ["VAE", "CCVAE", *few, "CCVAE, rb900", "MCCVAE, rb300, x3"]
    some, all_ = figures.colours(["mnist"] * 2, few), figures.colours(["mnist"] * 6, many)
    assert all(all_[title] == colour for title, colour in some.items()) and len({all_[title] for title in many}) == 6
    both = figures.colours(["mnist", "mnist", "celeba"], ["CCVAE, rb300", "CCVAE, rb900", "CCVAE, rb1024"])
    assert both["CCVAE, rb300"] == both["CCVAE, rb1024"] != both["CCVAE, rb900"]


def test_numbers_that_round_to_zero_have_no_sign_and_half_an_interval_is_none():
    assert (
        numbers.decimal(-0.0004, 3) == "0.000"
        and numbers.decimal(-0.0006, 3) == "−0.001"
        and numbers.decimal(math.nan, 1) == "–"
    )
    assert numbers.signed(-0.04, 1) == "+0.0" and numbers.signed(-1234.56, 1) == "−1,234.6"
    assert numbers.interval(-1.0, 2.0, 1) == "−1.0 to 2.0" and numbers.interval(math.nan, math.nan, 1) == "–"


def test_a_figure_is_saved_with_caption_and_alt_text(profile):
    fig = figures.sheet({"row": torch.zeros(2, 1, 60, 60)}, "title")
    figures.show(fig, "A caption", "What is to be seen", profile=profile, name="x")
    assert json.loads((profile.folder / "figures" / "x.json").read_text()) == {
        "caption": "A caption",
        "alt": "What is to be seen",
    }
    assert (profile.folder / "figures" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_weights_of_another_run_are_not_taken_for_this_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    profile = settings.read_profile("smoke", images=70, epochs=1)
    first, other = (training.train(profile, "stick_figures", "mccvae", seed) for seed in (0, 1))
    weights = (first.folder / "model.safetensors").read_bytes()
    (first.folder / "model.safetensors").write_bytes((other.folder / "model.safetensors").read_bytes())
    with pytest.raises(runs.RunError, match=r"model\.safetensors is not what was written, its checksum differs"):
        first.model()
    capsys.readouterr()
    again = training.train(profile, "stick_figures", "mccvae", 0)
    assert "trained again" in capsys.readouterr().out and (again.folder / "model.safetensors").read_bytes() == weights


def test_a_label_prior_of_the_models_name_takes_the_tasks_place():
    chests = data.load("chest_xray", "embedded", images=100)
    assert ModelSpec.parse("ccvae-y0.5").config(chests).label_prior == (0.5,) * 3
    assert ModelSpec.parse("ccvae").config(chests).label_prior == pytest.approx(chests.label_prior)


def test_a_published_run_without_weights_takes_those_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / "published"))
    profile = settings.read_profile("smoke", images=70, epochs=1)
    run = training.train(profile, "stick_figures", "mccvae-e1", 0)
    assert run.folder == tmp_path / "published" / "runs" / "stick_figures" / "mccvae-e1" / "seed0"
    whole, half = run.model(), runs.published_weights(run.folder)
    assert half == tmp_path / "published" / "weights" / "stick_figures-mccvae-e1-seed0.safetensors"
    (run.folder / "model.safetensors").unlink()
    with pytest.raises(runs.RunError, match="is missing"):
        run.model()
    weights.save_model(half, copy.deepcopy(whole).half())
    z = torch.randn(5, whole.config.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (run.model().decode(z) - whole.decode(z)).abs().max().item()
    assert 0 < difference < 0.5 / 255 and run.model().classifier_weight.dtype == torch.float32


@pytest.mark.parametrize("seed", [-1, 1.5, True, "/../../x", 2**63])
def test_a_seed_is_a_whole_number_and_no_path(seed):
    with pytest.raises(settings.SettingsError, match="seed must be a whole number"):
        training.train(settings.read_profile("smoke"), "stick_figures", "mccvae", seed)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("profile: smoke", "profile: demo", "must say 'profile: copy'"),
        ("stick_figures: [ccvae, ccvae_more_style, mccvae]", "stick_figures: [1]", "models must be a list of names"),
        ("experiments: [", "experiments: 5 # [", "experiments must be a list of names"),
        ("seeds: [0]", "seeds: {mnist: [0]}", "seeds names none for celeba"),
        ("seeds: [0]", "seeds: [99999999999999999999]", "seeds must be whole numbers"),
        ("epochs: 2", "epochs: {5: 2}", "epochs names the task '5'"),
        ("epochs: 2", "epochs: 2\n5: 3", "it differs in 5"),
    ],
)
def test_a_profile_of_wrong_kinds_is_refused(tmp_path, monkeypatch, old, new, message):
    text = (settings.PROFILES / "smoke.yaml").read_text()
    assert old in text
    text = text.replace("profile: smoke", "profile: copy") if "profile" not in old else text
    (tmp_path / "copy.yaml").write_text(text.replace(old, new, 1))
    monkeypatch.setattr(settings, "PROFILES", tmp_path)
    with pytest.raises(settings.SettingsError, match=message):
        settings.read_profile("copy")
