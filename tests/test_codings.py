"""Labels of which each image has exactly one, as the values of one categorical label: -vone, and own classes."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support import OUTPUTS, PUBLISHED, code_identity, runs, settings, training
from support.experiments import codings
from support.measures import judge
from support.settings import ModelSpec, SettingsError, read_profile

from data import DataError, load, own
from data.files import write_npz


def test_the_name_says_one_label_with_the_latents_of_all():
    data = load("chest_xray", "embedded", images=210)
    for name, k in {"ccvae-rb9-vone": 3, "mccvae-rb9-vone": 6, "mccvae-rb9-k4-z2-vone": 12}.items():
        spec = ModelSpec.parse(name)
        config = spec.config(data)
        assert spec.name == name and not spec.has_blocks
        assert config.characteristics == (k,) and config.label_kinds == ("categorical",) and config.labels == 3
        assert sum(config.label_prior[0]) == pytest.approx(1)
        assert config.label_prior[0] == pytest.approx(data.train.labels.float().mean(0).tolist())
    assert ModelSpec.parse("ccvae_more_style-rb9-vone").config(data).style_dim == data.task.more_style_dim
    assert ModelSpec.parse("mccvae-rb9-vone").title == "MCCVAE, rb9, one categorical label"
    mnist = ModelSpec.parse("mccvae-rb9-vone").config(load("mnist", "embedded", images=210))
    assert mnist.characteristics == (20,) and mnist.label_prior[0] == pytest.approx((0.1,) * 10)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mccvae-vone", "-v needs the estimator rao-blackwell"),
        ("vae-vone", "-v needs the estimator"),
        ("mccvae-rb9-vtwo", "there is no model"),
        ("mccvae-rb9-r0.5-vone", "-r is for labels of 0 and 1"),
        ("mccvae-rb9-dlinear-vone", "-d is for labels of 0 and 1"),
        ("mccvae-rb9-k2.1.3-vone", "-k takes one number"),
    ],
)
def test_names_that_mean_nothing(name, says):
    with pytest.raises(SettingsError, match=says):
        ModelSpec.parse(name)


def test_labels_that_do_not_exclude_one_another_are_refused():
    with pytest.raises(SettingsError, match="each image has exactly one"):
        ModelSpec.parse("mccvae-rb9-vone").config(load("celeba", "embedded", images=60))


def test_a_record_of_before_has_coins():
    assert code_identity.differences({}, {"coding": "coins"}) == []
    assert code_identity.differences({}, {"coding": "one"}) == ["coding: 'coins' there, 'one' now"]


def test_runs_of_both_codings_are_trained_read_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    models = ["ccvae-rb9", "ccvae-rb9-vone"]
    profile = read_profile("smoke", images=210, models={"chest_xray": models}, seeds=[0])
    for model in models:
        run = training.train(profile, "chest_xray", model, 0)
    assert run.record["data"]["labels"] == ["normal", "bacteria", "virus"] and run.record["characteristics"] == [3]
    assert 0 <= run.metrics["test"]["argmax_accuracy"] <= 1 and "validation_accuracy" in run.history
    assert run.model().config.labels == 3 and runs.first_runs(profile, "chest_xray") != []
    monkeypatch.setattr(codings.task_judges, "train_judge", lambda data: judge.Judge(data.task.image_shape, 3, 0))
    table = codings.make(profile)
    assert table["coding"].tolist() == ["coins", "one"] and set(table["base"]) == {"ccvae-rb9"}
    assert table["samples"].between(0, 1).all() and (profile.folder / codings.FILE).exists()


def test_samples_are_right_where_the_judge_reads_what_was_asked(monkeypatch):
    labels = torch.eye(3)[torch.tensor([0, 1, 2, 2])]
    monkeypatch.setattr(codings.core, "generate", lambda model, y, generator: y)
    reader = judge.Judge((1, 60, 60), 3, 0)
    monkeypatch.setattr(reader, "read", lambda y: (y.roll(1, 0), None))  # the asked-for labels, one place on
    assert codings.samples_right(torch.nn.Linear(1, 1), labels, reader) == 0.25


def test_codings_are_compared_over_the_seeds_that_both_have():
    rows = [
        {"task": "mnist", "base": "ccvae-rb9", "coding": coding, "seed": seed, "accuracy": 0.9 + by + 0.001 * seed,
         "samples": 0.5 + by, "loss": 470.0 - 100 * by, "psnr": 22.0}
        for coding, by in (("coins", 0.0), ("one", 0.02)) for seed in range(3)
    ]  # fmt: skip
    shown = codings.differences(pd.DataFrame([*rows, rows[0] | {"seed": 9}]))
    assert shown.iloc[0].to_dict() == {
        "task": "mnist",
        "model": "ccvae-rb9",
        "seeds": 3,
        "accuracy": "90.1 to 92.1: +2.0 (2.0 to 2.0)",
        "samples": "50.0 to 52.0: +2.0 (2.0 to 2.0)",
        "loss": "470.0 to 468.0: −2.0 (−2.0 to −2.0)",
        "psnr": "22.00 to 22.00: +0.00 (0.00 to 0.00)",
    }


# --- own images: a column of classes ------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """80 pictures; classes that some rows lack, a binary label, a number."""
    rng, rows = np.random.default_rng(0), ["file,animal,tame,weight"]
    for i in range(80):
        Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        animal = "" if i % 10 == 9 else ("cat", "dog", "owl")[i % 3]
        rows.append(f"{i}.png,{animal},{i % 2},{i / 7:.2f}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "labels.csv"


def test_a_column_of_classes_is_one_categorical_label_also_where_rows_lack_it(table, tmp_path):
    arrays, said = own.gather(tmp_path, table)
    assert arrays["choice"].tolist() == ["animal"] * 3 + ["", ""] and "one categorical label." in " ".join(said)
    write_npz(tmp_path / "images.npz", arrays)
    data = own.read(tmp_path / "images.npz")
    assert data.columns == [[0, 1, 2], [3], [4]] and data.summary()["choices"] == ["animal"] * 3 + ["", ""]
    config = ModelSpec.parse("mccvae-rb9-x3").config(data)
    assert config.label_kinds == ("categorical", "binary", "continuous") and config.characteristics == (6, 2, 2)
    assert sum(config.label_prior[0]) == pytest.approx(1) and config.labels == 5
    assert ModelSpec.parse("mccvae-rb9-k1.1.1.2.3").config(data).characteristics == (3, 2, 3)
    assert data.content != dataclasses.replace(data, choices=()).content
    for name in ("mccvae", "mccvae-rb9-pfull", "mccvae-rb9-y0.5"):
        with pytest.raises(SettingsError, match=r"only mccvae and ccvae by the estimator|is for labels of 0 and 1"):
            ModelSpec.parse(name).config(data)


BROKEN = (["animal", "", "animal", "", ""], ["animal", "", "", "", ""], ["animal", "animal", "", "", ""], ["a"] * 4)


@pytest.mark.parametrize("broken", BROKEN)
def test_classes_that_are_none_are_refused(table, tmp_path, broken):
    arrays = own.gather(tmp_path, table)[0] | {"choice": np.array(broken)}
    write_npz(tmp_path / "images.npz", arrays)
    with pytest.raises(DataError, match="its arrays don't fit together"):
        own.read(tmp_path / "images.npz")


def test_own_classes_are_trained_and_their_run_is_read(table, tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    data = own.dataset(own.gather(tmp_path, table)[0])
    profile = read_profile("smoke", source="own", models={"own": ["ccvae-rb9"]}, seeds=[0], epochs=2)
    run = training.train(profile, "own", "ccvae-rb9", 0, data=data)
    assert run.record["data"]["choices"] == ["animal"] * 3 + ["", ""] and run.record["characteristics"] == [3, 1, 1]
    assert run.model().config.labels == 5 and len(run.calibration["slope"]) == 5
    assert set(run.metrics["test"]["numbers"]) == {"weight"}


# --- what is published --------------------------------------------------------------------------------------------


def test_the_published_codings_are_those_of_their_records_and_told():
    folder = OUTPUTS / PUBLISHED / "categorical"
    table = pd.read_csv(folder / codings.FILE)
    for row in table.itertuples():
        run = folder / row.task / row.model / f"seed{row.seed}"
        test = json.loads((run / "metrics.json").read_text())["test"]
        found = (test["n"], test["argmax_accuracy"], test["bound"]["loss"], test["psnr"])
        assert found == pytest.approx((row.n, row.accuracy, row.loss, row.psnr), rel=1e-5)
    assert len(table) == len(list(folder.glob("*/*/*/run.json")))
    shown = codings.differences(table)
    rows = [f"| {' | '.join(map(str, row))} |" for row in [shown.columns, *shown.itertuples(index=False)]]
    told = (OUTPUTS / PUBLISHED / "README.md").read_text()
    assert [row for row in rows if row not in told] == []
