"""Continuous labels: their terms against nested quadrature in float64, with any of them missing; training and walks."""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import ToyMCCVAE, posterior_grid
from test_rao_blackwell import expected_loss
from torch.distributions import Bernoulli, MultivariateNormal, Normal

import mccvae_core as core

X = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
NAN = math.nan
CASES = [  # kinds, latents of each label, style latents, nodes of the grid in each latent
    (("continuous",), (1,), 1, 30),
    (("continuous",), (3,), 0, 12),
    (("binary", "continuous"), (1, 2), 0, 14),
    (("continuous", "continuous"), (2, 1), 0, 14),
]
VALUES = {"binary": (0.0, 1.0, NAN), "continuous": (0.7, NAN)}


def brute_force(model, y, nodes):
    """The bound of `rao_blackwell_loss`'s docstring: sums and integrals over z and over every missing label."""
    z, weight = posterior_grid(model, nodes)
    z_c, z_style = model.split(z)
    q, u, kinds = model.encode(X[None]), model.label_logits(z_c), model.config.label_kinds
    log_q_z = Normal(q.loc, q.scale).log_prob(z).sum(1)
    of_kind = lambda kind, normal, logits: normal if kind == "continuous" else Bernoulli(logits=logits)  # noqa: E731
    reading = [of_kind(kind, Normal(u[:, i], model.reading_scale()[i]), u[:, i]) for i, kind in enumerate(kinds)]
    prior = [of_kind(kind, Normal(0.0, 1.0), model.label_prior[i].logit()) for i, kind in enumerate(kinds)]
    every = lambda value: torch.full((len(z),), value).double()  # noqa: E731
    point, mass = np.polynomial.hermite_e.hermegauss(10)
    values = []  # of each label: pairs (its value at each node of z, that value's weight there)
    for i, (value, kind) in enumerate(zip(y, kinds, strict=True)):
        if not math.isnan(value):
            values.append([(every(value), 1.0)])
        elif kind == "binary":
            values.append([(every(v), reading[i].log_prob(every(v)).exp()) for v in (0.0, 1.0)])
        else:
            scaled = zip(point, mass / math.sqrt(2 * math.pi), strict=True)
            values.append([(u[:, i] + model.reading_scale()[i] * p, m) for p, m in scaled])
    known = [i for i, value in enumerate(y) if not math.isnan(value)]
    log_q_known = sum((reading[i].log_prob(every(y[i])) for i in known), start=every(0.0))
    log_qyx = (weight @ log_q_known.exp()).log()
    inner = 0
    for pairs in itertools.product(*values):
        labels = torch.stack([value for value, _ in pairs], 1)
        log_p_z = model.conditional_prior(labels).log_prob(z_c).sum(1) + Normal(0.0, 1.0).log_prob(z_style).sum(1)
        log_q = sum(reading[i].log_prob(labels[:, i]) for i in range(len(y)))
        log_p_missing = sum(prior[i].log_prob(labels[:, i]) for i in range(len(y)) if i not in known)
        mass_here = math.prod(m for _, m in pairs)
        inner = inner + mass_here * (model.log_px(X, z) + log_p_z + log_p_missing - log_q - log_q_z)
    log_p_known = sum(prior[i].log_prob(torch.tensor(y[i]).double()) for i in known)
    return weight @ ((log_q_known - log_qyx).exp() * inner) + log_qyx + log_p_known


@pytest.mark.parametrize(("kinds", "k", "style", "nodes"), CASES, ids=str)
def test_the_loss_is_the_formula_in_value_and_gradient_whatever_is_missing(kinds, k, style, nodes):
    for y in itertools.product(*(VALUES[kind] for kind in kinds)):
        model = ToyMCCVAE(k, style_dim=style, seed=1, kinds=kinds)
        ours, theirs = expected_loss(model, y, nodes), -brute_force(model, y, nodes)
        assert ours.item() == pytest.approx(theirs.item(), abs=2e-4), y
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = [torch.autograd.grad(v, parameters, allow_unused=True) for v in (ours, theirs)]
        for a, b in zip(*gradients, strict=True):
            nothing = torch.zeros_like(a if a is not None else b) if a is not None or b is not None else None
            a, b = (nothing if g is None else g for g in (a, b))
            if a is not None:
                torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3, msg=str(y))


def test_draws_given_a_label_have_the_mean_and_covariance_of_conditioning():
    model = ToyMCCVAE((3, 2), style_dim=0, seed=2, kinds=("continuous", "binary"))
    q = model.encode(X[None])
    y = torch.tensor([[0.8, 1.0]]).double()
    draw = lambda noise: core.given_continuous_labels(model, q, y, noise)[0]  # noqa: E731
    loc = draw(torch.zeros(1, 5).double())
    root = torch.stack([draw(row[None]) - loc for row in torch.eye(5).double()], 1)
    w = torch.where(model.owner == 0, model.classifier_weight, 0)
    joint = torch.diag(q.variance[0])  # of z; Cov(z, y_1) = V w
    gain = joint @ w / (w @ joint @ w + model.reading_scale()[0] ** 2)
    torch.testing.assert_close(loc, q.loc[0] + gain * (0.8 - model.label_logits(q.loc)[0, 0]))
    torch.testing.assert_close(root @ root.T, joint - torch.outer(gain, w @ joint))
    assert MultivariateNormal(loc, root @ root.T)  # positive definite


def test_extremes_make_no_nan():
    model = ToyMCCVAE((2, 1), style_dim=0, seed=3, kinds=("continuous", "continuous"))
    with torch.no_grad():
        model.q_raw.fill_(-30.0)
        model.classifier_weight[:2] = 0.0
        model.reading_raw_scale.fill_(-50.0)
    y = torch.tensor([[40.0, NAN], [NAN, -40.0], [NAN, NAN]]).double()
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()
    loss = core.rao_blackwell_loss(model, X.expand(3, 3), y, noise).loss
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def bright_squares(n=200, seed=0):
    """Squares in a corner: brightness is a continuous label, left or right a binary one."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 1, 60, 60), np.uint8)
    bright, right = rng.uniform(60, 255, n), rng.integers(0, 2, n)
    for image, value, side in zip(images, bright, right, strict=True):
        image[0, 15:45, 30 * side : 30 * side + 30] = value
    y = torch.tensor(np.stack([(bright - 157.5) / 56.3, right], 1), dtype=torch.float32)
    return torch.from_numpy(images), y


def trained(missing=0.0):
    images, y = bright_squares()
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) < missing] = NAN
    kinds = ("continuous", "binary")
    config = core.ModelConfig((1, 60, 60), (2, 1), 2, "bernoulli", 0.5, label_kinds=kinds)
    model = core.build_model("MCCVAE", config, seed=0)
    objective = core.Objective("rao-blackwell", label_weight=300.0)
    core.fit(model, images, y, objective, batch_size=25, epochs=22, seed=0, learning_rate=1.5e-3, by_turns=False)
    return model


def test_a_continuous_label_is_learnt_read_and_walked_to_and_drawn():
    model = trained(missing=0.3)
    images, y = bright_squares(seed=1)
    read = core.predict(model, images)
    error = (read[:, 0] - y[:, 0]).abs().mean()
    assert error < 0.2 and ((read[:, 1] > 0.5) == (y[:, 1] > 0.5)).float().mean() > 0.99
    z = core.posterior(model, images[:20]).loc
    walk = core.latent_walk(model, z, {0: 1.2}, steps=5)
    torch.testing.assert_close(walk.probabilities[0], read[:20])
    torch.testing.assert_close(walk.probabilities[-1, :, 0], torch.full((20,), 1.2))
    torch.testing.assert_close(walk.probabilities[-1, :, 1], read[:20, 1])
    brightness = 255 * walk.images[-1].amax((1, 2, 3))
    assert (brightness - (157.5 + 1.2 * 56.3)).abs().mean() < 30
    drawn = core.generate(model, torch.tensor([[-1.2, 1.0], [1.2, 1.0]]).repeat(50, 1))
    dark, light = (255 * drawn[i::2].amax((1, 2, 3)).mean() for i in (0, 1))
    assert light > dark + 10


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x, y: core.fit(m, x, y, core.Objective(), batch_size=9, epochs=1, seed=0), "need the estimator"),
        (lambda m, x, y: core.fit(m, x, y / 0, core.BOUND, batch_size=9, epochs=1, seed=0), "label 0 is continuous"),
        (lambda m, x, y: core.fit(m, x, y + 0.5, core.BOUND, batch_size=9, epochs=1, seed=0), "label 1 is binary"),
        (lambda m, x, y: core.latent_walk(m, torch.zeros(5), {0: math.inf}), "towards a finite number"),
        (lambda m, x, y: core.latent_walk(m, torch.zeros(5), {1: 0.5}), "towards 0 or 1"),
        (lambda *_: core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5, label_kinds=("ordinal",)), "one of"),
        (
            lambda *_: core.ModelConfig((1, 60, 60), (1,), 1, "bernoulli", 0.5, 0, "full", label_kinds="continuous"),
            "block_prior 'diagonal'",
        ),
    ],
)
def test_what_a_continuous_label_can_not_be_is_refused(call, words):
    config = core.ModelConfig((1, 60, 60), (2, 1), 2, "bernoulli", 0.5, label_kinds=("continuous", "binary"))
    with pytest.raises(ValueError, match=words):
        call(core.build_model("MCCVAE", config, seed=0), *bright_squares(9))
