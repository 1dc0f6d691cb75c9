"""What section 1 says of conditional VAEs, and where a walk to a disease changes a picture: on models whose answers are
known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from support.experiments import conditional, lungs
from support.settings import ModelSpec

import data
import mccvae_core as core


class Brightness:
    """A judge that reads every label's probability off the mean brightness."""

    def read(self, images):
        p = images.flatten(1).mean(1, keepdim=True)
        return p.expand(-1, 3), torch.zeros(len(images), 0)


class Switching(core.ConditionalVAE):
    """Its z is the image's first pixels, its pictures are black below y = 1/2 for the first label and white above."""

    def encode(self, x):
        return core.Normal(x.flatten(1)[:, : self.config.latent_dim], 1.0)

    def decode(self, z, y):
        return (y[:, :1] > 0.5).float()[:, :, None, None].expand(-1, *self.config.image_shape)


class Fading(core.MCCVAE):
    """Its pictures are as bright as the first characteristic says, in even steps."""

    def decode(self, z):
        low, high = core.characteristic_range(self, 0)
        bright = (z[..., :1] - low) / (high - low)
        return bright[..., None, None].expand(*z.shape[:-1], *self.config.image_shape)


@pytest.fixture(scope="module")
def chests():
    return data.load("chest_xray", "embedded", images=300)


def a_run(name, model, task="chest_xray", seed=0):
    spec = ModelSpec.parse(name)
    record = {"task": task, "seed": seed, "model": name, "characteristics": [1, 1, 1], "style_dim": 7}
    return SimpleNamespace(
        spec=spec, record=record, model=lambda: model, scores=lambda name, make: make(), folder=Path("nowhere")
    )


def config(style=4):
    return core.ModelConfig((1, 60, 60), (1, 1, 1), style, "bernoulli", 0.5)


def test_a_switch_takes_one_step_and_an_even_fade_all_of_them(chests):
    runs = [a_run("cvae", Switching(config()).eval()), a_run("ccvae", Fading(config()).eval())]
    table = conditional.conditional_table({"chest_xray": chests}, runs, {"chest_xray": Brightness()})
    of = table[table["label"] == "normal"].set_index("model")
    assert of.loc["cvae", "steps"] == pytest.approx(1) and of.loc["ccvae", "steps"] == pytest.approx(
        conditional.STEPS - 1
    )
    assert of.loc[["cvae", "ccvae"], "moved"].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert table["z_auc"].between(0, 1).all() and set(table["label"]) == set(chests.labels)


def test_labels_are_read_from_what_no_label_owns_alone(chests, monkeypatch):
    """Codes that hold the labels in the characteristics and noise in style: a conditional VAE owns nothing, so all its
    z counts."""

    def codes(model, images):
        some = chests.train if len(images) == len(chests.train) else chests.test
        noise = np.random.default_rng(0).normal(size=(len(images), 7))
        noise[:, :3] += 6 * some.labels.numpy()
        return noise

    monkeypatch.setattr(conditional, "codes", codes)
    runs = [a_run("cvae", Switching(config()).eval()), a_run("ccvae", Fading(config()).eval())]
    table = conditional.conditional_table({"chest_xray": chests}, runs, {"chest_xray": Brightness()})
    auc = table.groupby("model")["z_auc"].mean()
    assert auc["cvae"] > 0.95 and auc["ccvae"] < 0.7


def test_only_the_papers_models_of_the_same_task_are_compared():
    runs = [
        a_run("cvae", None),
        a_run("ccvae", None),
        a_run("mccvae", None),
        a_run("vae", None),
        a_run("ccvae", None, seed=1),
    ]
    runs.append(a_run("mccvae", None, task="mnist"))
    assert conditional.compared(runs) == [*runs[:3], runs[4]]
    assert list(conditional.conditional_table({}, [], {}).columns) == list(conditional.COLUMNS)


def test_a_ccvae_with_as_many_latents_in_style_stands_beside(tmp_path):
    """Ten latents: the three labels' and seven of style. Only where its scores or weights are there."""
    runs = [a_run("cvae", None), *(a_run(name, None) for name in ("ccvae-z10", "ccvae_more_style", "ccvae-rb9-z10"))]
    for run, style in zip(runs, (7, 10, 20, 10), strict=True):
        run.record["style_dim"], run.folder = style, tmp_path / run.spec.name
        run.folder.mkdir()
    assert conditional.compared(runs) == runs[:1]
    for run in runs:
        (run.folder / "model.safetensors").touch()
    assert conditional.compared(runs) == runs[:2]


def test_the_lung_fields_lie_in_the_drawn_lungs(chests):
    fields = lungs.lung_fields(chests)
    healthy = chests.train.images[chests.train.labels[:, 0] == 1].float().mean((0, 1)).numpy()
    assert 0.1 < fields.mean() < 0.35 and healthy[fields].mean() < 0.7 * healthy[15:45, 25:35].mean()
    left, right = fields[:, :30], fields[:, 30:]
    assert left.sum() > 100 and right.sum() > 100 and not fields[:, 28:32].any()  # the spine lies between them


def test_change_is_told_by_lung_field(chests):
    fields = torch.from_numpy(lungs.lung_fields(chests)).float()

    class Opacity(Fading):
        def decode(self, z):
            left = torch.arange(60) < 30
            return super().decode(z) * torch.where(left, 1.0, 0.5) * (0.2 + 0.6 * fields)

    table = lungs.lung_table({"chest_xray": chests}, [a_run("ccvae", Opacity(config()).eval())])
    assert table["disease"].tolist() == ["bacteria", "virus"]
    change = torch.where(torch.arange(60) < 30, 1.0, 0.5).expand(60, 60) * (0.2 + 0.6 * fields)
    expected = {
        "lungs": change[fields > 0].mean() / change[fields == 0].mean(),
        "share_left": (change * fields)[:, :30].sum() / change.sum(),
        "share_right": (change * fields)[:, 30:].sum() / change.sum(),
    }
    for name, value in expected.items():
        assert table[name].tolist() == pytest.approx([value.item()] * 2, rel=1e-4)


def test_what_is_shown_are_means(chests):
    frame = pd.DataFrame(
        [
            dict.fromkeys(lungs.COLUMNS, 1.0) | {"task_title": "T", "model_title": "M", "disease": "d", "lungs": v}
            for v in (1.0, 3.0)
        ]
    )
    assert lungs.lung_columns(frame)["change in lungs, times that elsewhere"].tolist() == [2.0]
