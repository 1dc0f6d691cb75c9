"""Baselines beside the models: rows from data, edits whose effect is known, and how tables show them."""

import numpy as np
import pandas as pd
import pytest
import torch
from support import runs, settings, training
from support.experiments import baselines, classification
from support.measures import linear
from support.runs import RunError
from support.settings import SettingsError, read_profile
from support.show import tables
from test_linear import images, patches


class Halves:
    """A judge that reads each label from the mean grey of its half of the picture."""

    def read(self, x):
        means = [half.mean((1, 2, 3)) for half in x.split(30, dim=3)]
        return torch.stack(means, 1), None


class Set:
    """As much of a data set as the scores of interventions take."""

    def __init__(self, split):
        self.test, self.labels = split, ("left", "right")
        self.task = type("Task", (), {"exclusive": False})


def test_the_edit_moves_a_label_as_far_as_real_images_differ_and_no_other():
    train, test = patches(400), patches(200, seed=1)
    model = linear.fit_linear(train, 2)
    ends = baselines.edit_ends(model, images(test), test.labels.numpy())
    found = baselines.intervened(Set(test), Halves(), "edit", ends, len(test))
    assert found["moved_share"] == pytest.approx(1, abs=0.05) and found["own_label_share"] > 0.85
    before, after, sign = ends(0)
    lighter = (after - before)[..., :30].mean((1, 2, 3))
    assert (np.sign(lighter.numpy()) == sign).all() and (sign == 1 - 2.0 * test.labels[:, 0].numpy()).all()
    assert baselines.intervened(Set(test), None, "edit", ends, 3) == {}


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    monkeypatch.setattr(baselines, "STARTS", 6)
    return read_profile("smoke", images=210, models={"chest_xray": ["ccvae", "mccvae", "vae"]}, seeds=[0])


def test_rows_of_a_profile_are_made_kept_and_shown(profile):
    for model in ("ccvae", "mccvae", "vae"):
        training.train(profile, "chest_xray", model, 0)
    with pytest.raises(SettingsError, match="no task 'stick_figures' to compare"):
        baselines.make(profile, ["stick_figures"])
    made = baselines.make(profile, ["chest_xray"])
    assert made["what"].tolist() == ["linear", "linear", "model", "model"]
    assert made["models"].tolist() == ["ccvae", "mccvae"] * 2 and made["latents"].tolist() == [10, 13] * 2
    kept = baselines.read(profile.folder)
    pd.testing.assert_frame_equal(kept, made[list(kept)], check_exact=False, rtol=1e-4, check_dtype=False)
    assert len(baselines.read(profile.folder, ["mnist"])) == 0
    run = runs.read_runs(profile)[0]
    of_run = kept[(kept["what"] == "model") & (kept["models"] == "ccvae")].iloc[0]
    assert of_run["psnr"] == pytest.approx(run.metrics["test"]["psnr"], rel=1e-4)
    assert of_run["accuracy"] == pytest.approx(run.metrics["test"]["accuracy"], rel=1e-4)

    pictures = baselines.picture_columns(kept)
    assert pictures["model"].tolist() == [
        "PCA, as many numbers as CCVAE", "CCVAE, seed 0", "PCA, as many numbers as MCCVAE", "MCCVAE, seed 0"
    ]  # fmt: skip
    assert (pictures["seconds to fit"] == "–").tolist() == [False, True, False, True]
    assert len(baselines.edit_columns(kept)) == 0  # without a judge nothing is edited
    assert len(baselines.make(profile)) == 4  # in place of those before


def test_tables_1_and_2_have_the_baselines_below(profile, capsys):
    table = pd.DataFrame({
        "task": "chest_xray", "task_title": "Chest X-ray", "model": ["mccvae", "ccvae"],
        "model_title": ["MCCVAE", "CCVAE"], "stand_in": False, "n": 9, "paper": [0.77, 0.78], "seeds": 3,
        "accuracy": [0.8, 0.9], "accuracy_sd": 0.01, "majority_accuracy": 0.6,
    })  # fmt: skip
    rows = pd.DataFrame({"what": "linear", "task": ["chest_xray", "mnist"], "models": ["ccvae mccvae", "ccvae"]})
    rows = rows.assign(accuracy=[0.75, 0.5], train_accuracy=np.nan)
    beside = baselines.of_labels(rows, "test")
    assert beside["model_title"].tolist()[:2] == [f"PCA, as many numbers as {name}" for name in ("CCVAE", "MCCVAE")]
    assert baselines.of_labels(rows, "train")["accuracy"].isna().all()
    shown = []
    tables.display_table, kept = lambda shown_table, *args, **options: shown.append(shown_table), tables.display_table
    try:
        classification.display_accuracy(table, "Table 2", stand_in=False, beside=beside)
        classification.display_accuracy(table, "Table 2", stand_in=False, beside=baselines.of_labels(rows[:0], "test"))
    finally:
        tables.display_table = kept
    assert list(shown[0].index) == ["MCCVAE", "CCVAE", *beside["model_title"][:2]]
    last = shown[0]["Chest X-ray"].iloc[-1]
    assert (last["paper"], last["ours"], last["majority"]) == ("–", "0.750", "–")
    assert list(shown[0].columns.levels[0])
    assert list(shown[1].index) == ["MCCVAE", "CCVAE"]


def test_without_a_file_there_are_no_rows_and_a_broken_one_is_named(tmp_path):
    assert len(baselines.read(tmp_path)) == 0 and len(baselines.of_labels(baselines.read(tmp_path), "test")) == 0
    (tmp_path / baselines.FILE).write_text("what,task\nlinear,mnist\n")
    with pytest.raises(RunError, match="has no column"):
        baselines.read(tmp_path)


def test_a_misspelt_profile_is_named(capsys):
    assert baselines.main(["nowhere"]) == 1 and "there is no profile 'nowhere'" in capsys.readouterr().out
