"""The linear baseline: against singular values, against sums done by hand, and its edit on pictures made for it."""

import math

import numpy as np
import pytest
import torch
from support.measures import linear

from data import Split, load

SIDE = 60


def patches(n, seed=0, noise=0.0):
    """Grey pictures (n, 1, 60, 60) and two independent labels: label 0 lights the left half, label 1 the right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 2)).astype(np.uint8)
    x = np.full((n, 1, SIDE, SIDE), 60.0) + noise * rng.standard_normal((n, 1, SIDE, SIDE))
    x[..., : SIDE // 2] += 80 * labels[:, 0, None, None, None]
    x[..., SIDE // 2 :] += 80 * labels[:, 1, None, None, None]
    return Split(torch.from_numpy(x.round().astype(np.uint8)), torch.from_numpy(labels), np.arange(n).astype(str))


def images(split):
    return split.images.float() / 255


def test_pictures_of_two_dimensions_are_restored_from_two_numbers():
    split = patches(80)
    model = linear.fit_linear(split, 2)
    held_out = patches(40, seed=1)
    assert (model.reconstruct(images(held_out)) - images(held_out)).abs().max() < 1e-4
    assert linear.accuracy(model.read(images(held_out)), held_out.labels) == 1
    one = linear.fit_linear(split, 1)
    assert (one.reconstruct(images(held_out)) - images(held_out)).abs().max() > 0.05


def test_the_error_is_that_of_the_singular_values():
    rng = np.random.default_rng(0)
    spread = 30 / np.arange(1, 41)
    x = 128 + (rng.standard_normal((120, 40)) * spread) @ rng.standard_normal((40, SIDE**2))
    x = np.clip(x, 0, 255).round().astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    split = Split(torch.from_numpy(x), torch.arange(120)[:, None].remainder(2).byte(), np.arange(120).astype(str))
    model = linear.fit_linear(split, 7)
    flat = images(split).flatten(1).double().numpy()
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    made = model.pca.inverse_transform(model.codes)  # before it is cut to [0, 1]
    assert ((made - flat) ** 2).sum() == pytest.approx((values[7:] ** 2).sum(), rel=1e-3)
    assert model.codes.std(0, ddof=1) == pytest.approx(np.ones(7), rel=1e-2)


def test_picture_scores_by_hand():
    real, made = torch.full((3, 1, SIDE, SIDE), 0.5), torch.full((3, 1, SIDE, SIDE), 0.4)
    pixels = SIDE**2
    laplace, bernoulli = (linear.picture_scores(real, made, likelihood) for likelihood in ("laplace", "bernoulli"))
    assert laplace["psnr"] == pytest.approx(20, abs=1e-4)
    assert laplace["reconstruction"] == pytest.approx(pixels * (0.1 + math.log(2)), rel=1e-5)
    assert bernoulli["reconstruction"] == pytest.approx(-pixels * (math.log(0.4) + math.log(0.6)) / 2, rel=1e-5)
    assert linear.picture_scores(real, real, "laplace")["ssim"] == pytest.approx(1)
    with pytest.raises(ValueError, match="likelihood must be"):
        linear.picture_scores(real, made, "gauss")


def test_a_certain_pixel_costs_a_known_number_of_nats():
    black, white = torch.zeros(1, 1, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE)
    right = linear.picture_scores(black, black, "bernoulli")["reconstruction"]
    wrong = linear.picture_scores(white, black, "bernoulli")["reconstruction"]
    assert right == pytest.approx(-(SIDE**2) * math.log(1 - 1 / 510), rel=1e-4)
    assert wrong == pytest.approx(SIDE**2 * math.log(510), rel=1e-5)


def test_psnr_is_the_mean_over_images():
    real = torch.full((2, 1, SIDE, SIDE), 0.5)
    made = real - torch.tensor([0.1, 0.01])[:, None, None, None]
    assert linear.picture_scores(real, made, "laplace")["psnr"] == pytest.approx((20 + 40) / 2, abs=1e-3)


def test_accuracies_by_hand():
    labels = torch.tensor([[0, 1], [1, 1], [1, 0]])
    p = torch.tensor([[0.4, 0.6], [0.4, 0.9], [0.8, 0.7]])
    assert linear.accuracy(p, labels) == pytest.approx(4 / 6)
    training = torch.tensor([[0, 1], [0, 1], [1, 0]])  # most often 0 and 1
    assert linear.majority_accuracy(training, labels) == pytest.approx((1 + 2) / 6)


def test_the_edit_makes_the_other_class_and_leaves_the_rest():
    split = patches(200, noise=3)
    model = linear.fit_linear(split, 2)
    start = split.take(np.flatnonzero((split.labels[:, 0] == 0).numpy()))
    edited = model.intervene(images(start), {0: 1})
    goal = images(start).clone()
    goal[..., : SIDE // 2] += 80 / 255
    left, right = (half.mean((1, 2, 3)) for half in (edited - goal).split(SIDE // 2, dim=3))
    assert left.abs().max() < 0.01 and right.abs().max() < 0.05  # by chance the labels go together a little


def test_the_edit_between_two_classes_is_the_difference_of_their_means():
    split = patches(200)
    codes, labels = linear.fit_linear(split, 2).codes, split.labels.numpy()
    model = linear.fit_linear(split, 2)
    one, other = ((labels == value).all(1) for value in ([1, 0], [0, 1]))
    assert np.allclose(model.shift({0: 1, 1: 0}), codes[one].mean(0) - codes[other].mean(0))
    assert np.allclose(model.shift({0: 1}), -model.shift({0: 0}))


def test_edited_pictures_stay_in_range():
    split = patches(60)
    edited = linear.fit_linear(split, 2).intervene(images(split) + 0.45, {0: 1})
    assert edited.max() == 1 and edited.min() >= 0


def test_what_can_not_be_fitted_or_edited_is_said():
    split = patches(60)
    with pytest.raises(ValueError, match="between 1 and 60"):
        linear.fit_linear(split, 61)
    constant = Split(split.images, torch.zeros_like(split.labels), split.names)
    with pytest.raises(ValueError, match="label 0 has one value on all 60 images"):
        linear.fit_linear(constant, 2)
    labels = torch.stack([split.labels[:, 0], split.labels[:, 0]], 1)  # never one without the other
    both = linear.fit_linear(Split(split.images, labels, split.names), 2)
    with pytest.raises(ValueError, match="nothing to edit by"):
        both.shift({0: 1, 1: 0})


def test_a_row_can_be_made_again_and_beats_the_majority():
    data = load("chest_xray", "embedded", images=300)
    rows = [linear.linear_row(data, 10)[0] for _ in range(2)]
    seconds = [row.pop("seconds") for row in rows]
    assert rows[0] == rows[1] and min(seconds) > 0
    row = rows[0]
    assert row["n"] == len(data.test) and row["stand_in"] and row["latents"] == 10
    assert row["accuracy"] > row["majority_accuracy"] + 0.05
    assert linear.linear_row(data, 30)[0]["psnr"] > row["psnr"] + 1
