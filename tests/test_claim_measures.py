"""The official loss over many draws, shapes of digits and interventions along w, on what is made by hand."""

import numpy as np
import pytest
import torch
from support.measures import blocks, counterfactual, morphology, official
from test_blocks import LinearPictures, normal

import mccvae_core as core

# --- the official loss -------------------------------------------------------------------------------------------


class Brightness(torch.nn.Module):
    """An encoder whose means are multiples of the picture's brightness."""

    def forward(self, x):
        loc = x.mean((1, 2, 3))[:, None].double() * torch.tensor([[1.0, -1, 2, 0]])
        return torch.distributions.Normal(loc, torch.full_like(loc, 0.7))


class Still(core.MCCVAE):
    """A model with posteriors and pictures of one line each, so that thousands of draws cost nothing."""

    def __init__(self):
        super().__init__(core.ModelConfig((1, 60, 60), (2, 1), 1, "bernoulli", 0.4))
        self.encoder, self.decoder = Brightness(), torch.nn.Identity()
        self.double().requires_grad_(False)

    def log_px(self, x, z):
        return -30 - 5 * z.sum(1)  # goes with w


def test_the_official_loss_over_many_draws_is_that_of_the_core():
    model, images = Still(), torch.arange(0, 240, 80, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 60, 60)
    labels = torch.tensor([[1, 0], [0, 1], [1, 1]])
    x, y = core.to_images(images), labels.double()
    rng = torch.Generator().manual_seed(0)
    many = [core.official_loss(model, x, y, core.OfficialNoise.draw(model, y, rng)).loss.item() for _ in range(4_000)]
    wanted, noise = np.mean(many), np.std(many) / len(many) ** 0.5
    for decoded in (2, 20):
        options = {"draws": 20, "decoded": decoded}
        found = [official.official_loss(model, images, labels, seed=seed, **options)[0] for seed in range(100)]
        tolerance = 5 * np.hypot(noise, np.std(found) / 10)
        assert np.mean(found) == pytest.approx(wanted, abs=tolerance) and tolerance < 0.1 * wanted


def test_the_standard_error_is_that_of_images_and_draws():
    images = torch.randint(0, 256, (200, 1, 60, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 0], [0, 1]]).repeat(100, 1)
    found = [official.official_loss(Still(), images, labels, draws=5, seed=seed) for seed in range(40)]
    assert np.std([mean for mean, _ in found]) == pytest.approx(found[0][1], rel=0.5)


def test_a_loss_that_is_not_there_is_refused():
    config = core.ModelConfig((1, 60, 60), (2, 1), 1, "bernoulli", 0.5, block_prior="full")
    images, labels = torch.zeros(2, 1, 60, 60, dtype=torch.uint8), torch.ones(2, 2)
    with pytest.raises(ValueError, match="full block_prior"):
        official.official_loss(core.build_model("MCCVAE", config, 0), images, labels)
    with pytest.raises(ValueError, match="between 2 and draws"):
        official.official_loss(Still(), images, labels, draws=3, decoded=4)


# --- shapes of digits --------------------------------------------------------------------------------------------


def bar(thickness, shear=0.0, height=40, side=60):
    """A stroke, leaning to the right by `shear` pixels a row, (1, side, side) in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    up = side / 2 - y - 0.5
    return ((x - side / 2 - shear * up).abs() <= thickness / 2).logical_and(up.abs() < height / 2).float()[None]


@pytest.mark.parametrize("thickness", (3, 5, 9))
def test_the_thickness_of_a_stroke_is_its_pixels(thickness):
    found = morphology.shape_of_digits(torch.stack([bar(thickness), 0.4 * bar(thickness)]))
    assert found[:, 0] == pytest.approx(thickness, abs=0.8)
    assert (found[0] == found[1]).all()  # a fainter picture has the same shape
    assert found[:, 1] == pytest.approx(0, abs=0.01)


def test_slant_and_width_don_t_depend_on_each_other():
    upright, right, left = morphology.shape_of_digits(torch.stack([bar(7, shear) for shear in (0, 0.5, -0.5)]))
    assert upright[1] == pytest.approx(0, abs=0.01) and right[1] == pytest.approx(np.degrees(np.arctan(0.5)), abs=1)
    assert left[1] == pytest.approx(-right[1], abs=0.5) and right[2] == pytest.approx(upright[2], abs=1.5)
    wide = bar(3) + torch.roll(bar(3), 20, dims=2)
    assert morphology.shape_of_digits(wide[None])[0, 2] == pytest.approx(23, abs=1)
    assert not morphology.shape_of_digits(torch.zeros(1, 1, 60, 60)).any()


# --- counterfactuals ----------------------------------------------------------------------------------------------


def test_along_w_an_intervention_moves_the_label_and_keeps_what_lies_across():
    model = LinearPictures((2, 1))
    images = model.decode(normal(6, 4))
    made = counterfactual.along_method(model).intervene(images, {0: 1})
    c = blocks.block_coordinates(model, 0)
    (_, r), (a, r_made) = (c.decompose(model.encode(x).loc[:, :2]) for x in (images, made))
    assert torch.allclose(a, torch.tensor(2.0, dtype=torch.float64)) and torch.allclose(r, r_made)
    assert torch.allclose(model.encode(images).loc[:, 2:], model.encode(made).loc[:, 2:])


def test_each_image_has_one_label_flipped_and_all_labels_have_their_turn():
    labels = torch.randint(0, 2, (9, 4), generator=torch.Generator().manual_seed(0))
    changed = counterfactual.flipped_by_turns(labels) != labels
    assert (changed.sum(1) == 1).all() and changed.sum(0).tolist() == [3, 2, 2, 2]
