"""Walks as pictures: what moves on the way, and which lines stand under it."""

import itertools

import pytest
import torch
from support.measures import blocks
from support.show import walks

import mccvae_core as core


@pytest.fixture(scope="module")
def model():
    config = core.ModelConfig((1, 60, 60), (2, 2, 3), 2, "bernoulli", 0.5, start_std=1.0)
    return core.build_model("MCCVAE", config, 0).eval()


@pytest.mark.parametrize("kind", walks.KINDS)
def test_a_walk_moves_what_it_says_of_the_labels_in_its_goal_alone(model, kind):
    z = torch.linspace(-1, 1, model.config.latent_dim)
    path = walks.coordinate_walk(model, z, {0: 1, 2: 0}, kind, 5)
    assert path.shape == (5, len(z)) and torch.equal(path[:, [2, 3, 7, 8]], z[[2, 3, 7, 8]].expand(5, -1))
    for label, sign in ((0, 1), (2, -1)):
        own = blocks.block_coordinates(model, label)
        latents = list(own.latents)
        a, r = own.decompose(path[:, latents])
        before, rest = own.decompose(z[latents])
        along = torch.linspace(-2, 2, 5, dtype=torch.float64) * sign
        assert torch.allclose(a, before.expand(5) if kind == "across" else along, atol=1e-5)
        far = own.across_coordinates(r).norm(dim=1)
        if kind == "along":
            assert torch.allclose(r, rest.expand(5, -1), atol=1e-5)
        else:
            width = 2 * (len(latents) - 1) ** 0.5
            assert far.tolist() == pytest.approx([width, width / 2, 0, width / 2, width], abs=1e-4)


def test_the_moved_labels_have_a_line_and_then_those_that_change_most():
    p = torch.zeros(7, 4)
    p[-1] = torch.tensor([0.1, 0.9, 0.3, 0.2])
    assert walks.lines_of({"row": (None, None, p)}, [0]) == [0, 1, 2]
    assert walks.lines_of({"row": (None, None, p)}, [3, 2]) == [3, 2, 1]


@pytest.mark.parametrize("ends", [[0.0, 0.0, 0.0], [1.0, 1.0, 0.99], [0.5, 0.1, 0.55], [0.2]])
def test_names_at_the_lines_ends_stand_apart_in_the_lines_order(ends):
    heights = walks._apart(ends)
    order = sorted(range(len(ends)), key=ends.__getitem__)
    gaps = [heights[b] - heights[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 0.33 for gap in gaps) and max(heights) <= 1.2
