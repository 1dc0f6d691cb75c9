"""Calibration: what comes out of probabilities that are too sure, of few images and of none, and that it reaches the
table of characteristics."""

import numpy as np
import pytest
import torch
from support.commands import apply
from support.measures import calibration

import mccvae_core as core
from data.common import Split
from data.continuous import Unit


def too_sure(n, factor=3.0, shift=0.5, seed=0):
    """Probabilities whose log-odds are `factor` times what they should be, and moved, and labels."""
    rng = np.random.default_rng(seed)
    u = rng.normal(0, 1.5, n)
    y = rng.random(n) < 1 / (1 + np.exp(-u))
    return 1 / (1 + np.exp(-(factor * u + shift))), y.astype(float)


def log_loss(p, y):
    return -np.where(y, np.log(p), np.log1p(-p)).mean()


def test_it_undoes_what_made_the_model_too_sure():
    p, y = too_sure(20_000)
    slope, shift = calibration.platt(p, y)
    assert slope == pytest.approx(1 / 3, abs=0.01) and shift == pytest.approx(-0.5 / 3, abs=0.03)
    fresh, labels = too_sure(5_000, seed=1)
    by = {"slope": [slope], "shift": [shift], "spread": [1.0]}
    coin = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1,), 1, "bernoulli", 0.5), 0)
    mended = calibration.calibrated(torch.tensor(fresh)[:, None], coin, by)[:, 0].numpy()
    assert log_loss(mended, labels) < log_loss(np.clip(fresh, 1e-6, 1 - 1e-6), labels) - 0.1
    assert (np.diff(mended[np.argsort(fresh)]) >= 0).all()  # so the AUC stays
    near = (mended > 0.7) & (mended < 0.9)
    assert labels[near].mean() == pytest.approx(mended[near].mean(), abs=0.04)


@pytest.mark.parametrize(
    ("p", "y"), [([], []), ([1.0], [1.0]), ([0.0, 1.0], [1.0, 0.0]), ([1.0] * 9, [1.0] * 9), ([0.5] * 9, [0.0] * 9)]
)
def test_few_images_change_little_and_none_nothing(p, y):
    slope, shift = calibration.platt(np.array(p), np.array(y))
    assert np.isfinite([slope, shift]).all() and 0.02 < slope < 50 and abs(shift) < 5
    if not p:
        assert (slope, shift) == (1.0, 0.0)


def test_a_spread_is_made_as_wide_as_the_errors():
    residuals = np.random.default_rng(0).normal(0, 2.5, 4_000)
    assert calibration.spread_factor(residuals) == pytest.approx(2.5, abs=0.1)
    assert calibration.spread_factor(residuals[:0]) == 1.0


def test_each_kind_of_label_is_calibrated_and_shown_so_where_images_are_read():
    config = core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5, label_kinds=("binary", "continuous"))
    model = core.build_model("MCCVAE", config, 0).eval()
    images = torch.randint(0, 256, (40, 1, 60, 60), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    y = torch.stack([torch.arange(40) % 4 == 0, torch.linspace(-9, 9, 40)], 1).float()
    y[:5] = torch.nan
    by = calibration.fit(model, Split(images, y, np.arange(40).astype(str)))
    assert by["slope"][1] == by["spread"][0] == 1 and by["shift"][1] == 0 and by["shift"][0] < -0.3
    assert by["spread"][1] > 2  # untrained, it knows nothing of numbers from -9 to 9
    units = (None, Unit(10.0, 2.0, 0.0, 20.0))
    plain, mended = (apply.characteristics(model, ("a", "b"), images, units=units, calibrate=c) for c in (None, by))
    read = calibration.calibrated(core.predict(model, images), model, by)
    assert np.allclose(mended["a probability"], read[:, 0]) and (mended["b predicted"] == plain["b predicted"]).all()
    assert np.allclose(mended["b predicted sd"], by["spread"][1] * plain["b predicted sd"])


def test_values_of_a_categorical_label_share_a_temperature_and_sum_to_one():
    rng = np.random.default_rng(0)
    u = rng.normal(0, 1.5, (8_000, 3))
    share = np.exp(u) / np.exp(u).sum(1, keepdims=True)
    y = np.eye(3)[(rng.random((8_000, 1)) > share.cumsum(1)).sum(1).clip(max=2)]
    sharp = share**4 / (share**4).sum(1, keepdims=True)
    assert calibration.temperature(sharp, y) == pytest.approx(0.25, abs=0.01)
    assert calibration.temperature(sharp[:0], y[:0]) == pytest.approx(1, abs=1e-3)
    config = core.ModelConfig((1, 60, 60), (2, 1), 2, "bernoulli", ((0.3, 0.3, 0.4), 0.5),
                              label_kinds=("categorical", "binary"))  # fmt: skip
    model = core.build_model("MCCVAE", config, 0).eval()
    images = torch.randint(0, 256, (40, 1, 60, 60), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.cat([torch.eye(3)[torch.arange(40) % 3], torch.ones(40, 1)], 1)
    labels[:9, :3] = torch.nan
    by = calibration.fit(model, Split(images, labels, np.arange(40).astype(str)))
    assert by["slope"][0] == by["slope"][2] != 1 and by["shift"][:3] == [0.0] * 3 and by["shift"][3] > 0.3
    mended = calibration.calibrated(core.predict(model, images), model, by)
    torch.testing.assert_close(mended[:, :3].sum(1), torch.ones(40))
    found = apply.characteristics(model, ("a cat", "a dog", "a owl", "b"), images, choices=("a", "a", "a", ""))
    latents = [name for name in found if "latent" in name and "mean" in name]
    assert latents == ["a latent 1 mean", "a latent 2 mean", "b latent 1 mean"]
