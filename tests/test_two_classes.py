"""-c2: chest X-rays as one label, sick."""

import pytest
import torch
from support import code_identity, runs, settings, training
from support.settings import ModelSpec, SettingsError, read_profile

from data import chest_xray, load


def test_sick_is_what_is_not_normal():
    three = load("chest_xray", "embedded", images=210)
    two = chest_xray.two_classes(three)
    for name in ("train", "validation", "test"):
        before, after = getattr(three, name), getattr(two, name)
        assert after.labels.dtype == torch.uint8 and after.labels.shape == (len(before), 1)
        assert torch.equal(after.labels[:, 0], before.labels[:, 1] | before.labels[:, 2])
        assert after.images is before.images and after.parts.shape[1] == after.style.shape[1] == 0
    assert two.labels == two.task.labels == ("sick",) and not two.task.exclusive
    assert two.label_prior == pytest.approx((two.train.labels.float().mean().item(),))
    assert two.content != three.content and two.task.name == three.task.name
    assert ModelSpec.parse("mccvae-c2").config(two).characteristics == (2,)


def test_names_that_mean_nothing():
    spec = ModelSpec.parse("mccvae-c2")
    assert (spec.name, spec.title, spec.has_blocks) == ("mccvae-c2", "MCCVAE, two classes", False)
    assert ModelSpec.parse("mccvae").has_blocks and not ModelSpec.parse("vae").has_blocks
    for name, says in {"mccvae-c3": "there is no model", "vae-c2": "-c means nothing for it"}.items():
        with pytest.raises(SettingsError, match=says):
            ModelSpec.parse(name)
    with pytest.raises(SettingsError, match="-c2 is for Chest X-ray; MNIST"):
        spec.seen(load("mnist", "embedded", images=210))


def test_a_record_of_before_has_the_tasks_classes():
    assert code_identity.differences({}, {"classes": None}) == []
    assert code_identity.differences({}, {"classes": 2}) == ["classes: None there, 2 now"]


def test_a_run_of_two_classes_is_trained_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    profile = read_profile("smoke", images=210, models={"chest_xray": ["ccvae-c2"]}, seeds=[0])
    run = training.train(profile, "chest_xray", "ccvae-c2", 0)
    assert run.record["data"]["labels"] == ["sick"] and run.record["characteristics"] == [1]
    assert "argmax_accuracy" not in run.metrics["test"] and 0 <= run.metrics["test"]["accuracy"] <= 1
    assert run.model().config.labels == 1
    assert [one.spec.name for one in runs.read_runs(profile)] == ["ccvae-c2"]
    assert runs.first_runs(profile, "chest_xray") == []  # pictures are of the task's labels
