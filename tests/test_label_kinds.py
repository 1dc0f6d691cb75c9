"""Continuous and categorical labels: their terms against nested quadrature in float64, with any of them missing;
training, walks and draws."""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import ToyMCCVAE, posterior_grid
from test_rao_blackwell import expected_loss
from torch.distributions import Bernoulli, MultivariateNormal, Normal, OneHotCategorical

import mccvae_core as core

X = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
NAN = math.nan
CASES = [  # kinds, latents of each label, style latents, nodes of the grid in each latent
    (("continuous",), (1,), 1, 30),
    (("continuous",), (3,), 0, 12),
    (("binary", "continuous"), (1, 2), 0, 14),
    (("continuous", "continuous"), (2, 1), 0, 14),
    (("categorical",), (1,), 1, 24),
    (("categorical",), (2,), 0, 24),
    (("categorical",), (3,), 0, 12),
    (("binary", "categorical", "continuous"), (1, 1, 1), 0, 10),
    (("categorical", "categorical"), (1, 1), 0, 20),
]
ONE_HOT = torch.eye(3).tolist()
VALUES = {"binary": ([0.0], [1.0], [NAN]), "continuous": ([0.7], [NAN]), "categorical": (*ONE_HOT, [NAN] * 3)}


def of_kind(kind, logits, normal):
    """The distribution of a label, from its columns' logits (..., V)."""
    if kind == "categorical":
        return OneHotCategorical(logits=logits)
    return normal if kind == "continuous" else Bernoulli(logits=logits[..., 0])


def brute_force(model, y, nodes):
    """The bound of `rao_blackwell_loss`'s docstring: sums and integrals over z and over every missing label. y: of each
    label its columns."""
    z, weight = posterior_grid(model, nodes)
    z_c, z_style = model.split(z)
    q, u, kinds = model.encode(X[None]), model.label_logits(z_c), model.config.label_kinds
    log_q_z = Normal(q.loc, q.scale).log_prob(z).sum(1)
    scale = model.reading_scale() if model.config.has_continuous else torch.ones(u.shape[1])
    reading, prior, values, start = [], [], [], 0
    every = lambda value: torch.tensor(value).double().expand(len(z), len(value))  # noqa: E731
    point, mass = np.polynomial.hermite_e.hermegauss(10)
    for kind, value in zip(kinds, y, strict=True):  # values: pairs (its columns at each node of z, that value's weight)
        columns = slice(start, start := start + len(value))
        p = model.label_prior[columns].double()
        reading.append(of_kind(kind, u[:, columns], Normal(u[:, columns.start], scale[columns.start])))
        prior.append(of_kind(kind, p.log() if kind == "categorical" else p.logit(), Normal(0.0, 1.0)))
        if not math.isnan(value[0]):
            values.append([(every(value), 1.0)])
        elif kind == "continuous":
            scaled = zip(point, mass / math.sqrt(2 * math.pi), strict=True)
            values.append([(u[:, columns] + scale[columns] * p, m) for p, m in scaled])
        else:
            some = [every(v) for v in VALUES[kind][:-1]]
            values.append([(v, reading[-1].log_prob(_of(kind, v)).exp()) for v in some])
    known = [i for i, value in enumerate(y) if not math.isnan(value[0])]
    log_q = lambda i, v: reading[i].log_prob(_of(kinds[i], v))  # noqa: E731
    log_p = lambda i, v: prior[i].log_prob(_of(kinds[i], v))  # noqa: E731
    log_q_known = sum((log_q(i, every(y[i])) for i in known), start=torch.zeros(len(z)).double())
    log_qyx = (weight @ log_q_known.exp()).log()
    inner = 0
    for pairs in itertools.product(*values):
        labels = [value for value, _ in pairs]
        log_p_z = model.conditional_prior(torch.cat(labels, 1)).log_prob(z_c).sum(1)
        log_p_z = log_p_z + Normal(0.0, 1.0).log_prob(z_style).sum(1)
        log_q_all = sum(log_q(i, v) for i, v in enumerate(labels))
        log_p_missing = sum(log_p(i, v) for i, v in enumerate(labels) if i not in known)
        mass_here = math.prod(m for _, m in pairs)
        inner = inner + mass_here * (model.log_px(X, z) + log_p_z + log_p_missing - log_q_all - log_q_z)
    log_p_known = sum(log_p(i, every(y[i]))[0] for i in known)
    return weight @ ((log_q_known - log_qyx).exp() * inner) + log_qyx + log_p_known


def _of(kind, columns):
    """What `of_kind`'s distribution takes."""
    return columns if kind == "categorical" else columns[..., 0]


@pytest.mark.parametrize(("kinds", "k", "style", "nodes"), CASES, ids=str)
def test_the_loss_is_the_formula_in_value_and_gradient_whatever_is_missing(kinds, k, style, nodes):
    for y in itertools.product(*(VALUES[kind] for kind in kinds)):
        model = ToyMCCVAE(k, style_dim=style, seed=1, kinds=kinds)
        ours, theirs = expected_loss(model, [*itertools.chain(*y)], nodes), -brute_force(model, y, nodes)
        assert ours.item() == pytest.approx(theirs.item(), abs=2e-4), y
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = [torch.autograd.grad(v, parameters, allow_unused=True) for v in (ours, theirs)]
        for a, b in zip(*gradients, strict=True):
            nothing = torch.zeros_like(a if a is not None else b) if a is not None or b is not None else None
            a, b = (nothing if g is None else g for g in (a, b))
            if a is not None:
                torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3, msg=str(y))


def product_grid(r, nodes):
    """Gauss-Hermite points and log weights of r dimensions, as `core.label_points` gives them."""
    points, weights = core._hermite_nodes(nodes)
    eta = torch.from_numpy(np.array([*itertools.product(points, repeat=r)]))
    return [(eta, torch.tensor([*itertools.product(weights, repeat=r)]).sum(1))]


@pytest.mark.parametrize("value", [0, 1])
def test_random_points_are_unbiased_to_a_thousandth_and_the_more_the_better(value, monkeypatch):
    model = ToyMCCVAE((3,), style_dim=0, seed=1, kinds=("categorical",), values=5)
    q, y = model.encode(X[None]), torch.eye(5)[value : value + 1].double()

    def of(points):
        characteristics, log_qyx, _ = core.label_terms(model, q, y, points)
        return characteristics.sum() - log_qyx.sum()

    parameters = [model.value_weight, model.value_loc, model.value_raw_scale, model.q_loc, model.q_raw]
    exact, generator, errors = of(product_grid(3, 24)), torch.Generator().manual_seed(0), {}
    for points, draws in ((16, 200), (64, 200), (core.POINTS, 1500)):
        monkeypatch.setattr(core, "POINTS", points)
        each = torch.stack([of(core.label_points(model, y, generator)) for _ in range(draws)])
        errors[points] = (each.detach() - exact.detach()) ** 2
        if points == 512:
            assert (each.mean() - exact).abs() < 1e-3
            gradients = [torch.autograd.grad(v, parameters, retain_graph=True) for v in (each.mean(), exact)]
            for a, b in zip(*gradients, strict=True):
                torch.testing.assert_close(a, b, atol=3e-3, rtol=3e-3)
    worst = [error.mean().sqrt() for error in errors.values()]
    assert worst[0] > 2 * worst[1] > 8 * worst[2]  # faster than 1/sqrt(K), by which the bias falls like 1/K or faster


def test_what_is_linear_in_the_reading_has_no_bias_at_all():
    model = ToyMCCVAE((3,), style_dim=0, seed=1, kinds=("categorical",), values=5)
    q, y, generator = model.encode(X[None]), torch.full((1, 5), NAN).double(), torch.Generator().manual_seed(0)
    log_py = [core.label_terms(model, q, y, p)[2].sum() for p in (product_grid(3, 24), product_grid(3, 28))]
    few = [(eta[:4], log_omega[:4] - log_omega[:4].logsumexp(0))
           for _ in range(2000) for eta, log_omega in core.label_points(model, y, generator)]  # fmt: skip
    drawn = torch.stack([core.label_terms(model, q, y, [at])[2].sum().detach() for at in few])
    assert log_py[0].item() == pytest.approx(log_py[1].item(), abs=1e-6)
    assert abs(drawn.mean() - log_py[0]) < 4 * drawn.std() / len(drawn) ** 0.5


@pytest.mark.parametrize("k", [1, 3])
def test_a_categorical_label_of_two_values_is_a_binary_one(k):
    coin = ToyMCCVAE((k,), style_dim=1, seed=2)
    pair = ToyMCCVAE((k,), style_dim=1, seed=2, kinds=("categorical",), values=3)
    config = core.ModelConfig((1, 60, 60), (k,), 1, "bernoulli", ((0.7, 0.3),), label_kinds="categorical")
    pair = core.build_model("MCCVAE", config, 0).double()
    with torch.no_grad():
        pair.value_weight.copy_(torch.stack([torch.zeros(k).double(), coin.classifier_weight], 1))
        pair.classifier_bias.copy_(torch.tensor([0.0, coin.classifier_bias.item()]))
        pair.value_loc.copy_(coin.prior_loc)
        pair.value_raw_scale.copy_(coin.prior_raw_scale)
    q_c, _ = coin.split_posterior(coin.encode(X[None]))
    for value in (0.0, 1.0, NAN):
        two = torch.tensor([[1 - value, value]]).double()
        of_pair = core.label_terms(pair, q_c, two)
        of_coin = core.label_terms(coin, q_c, torch.tensor([[value]]).double())
        for name, a, b in zip(("characteristics", "log_qyx", "log_py"), of_pair, of_coin, strict=True):
            if not (math.isnan(value) and name == "log_qyx"):
                torch.testing.assert_close(a.sum(), b.sum(), atol=2e-5, rtol=1e-5, msg=f"{name} {value}")


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


def test_equal_logits_and_certain_ones_make_no_nan():
    for weight, k in ((0.0, 4), (300.0, 4), (0.0, 1), (300.0, 1)):  # more latents than the logits span, and fewer
        model = ToyMCCVAE((k,), style_dim=0, seed=3, kinds=("categorical",)).float()
        with torch.no_grad():
            model.value_weight.mul_(weight)
            model.q_raw[0] = -30.0
        y = torch.tensor([*ONE_HOT, [NAN] * 3])
        noise = torch.randn(4, k, generator=torch.Generator().manual_seed(0))
        loss = core.rao_blackwell_loss(model, X.float().expand(4, 3), y, noise).loss
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


def four_corners(n=200, seed=0):
    """A square in one of four corners, a categorical label, bright or dark, a binary one."""
    rng = np.random.default_rng(seed)
    images, corner, bright = np.zeros((n, 1, 60, 60), np.uint8), rng.integers(0, 4, n), rng.integers(0, 2, n)
    for image, at, light in zip(images, corner, bright, strict=True):
        top, left = 30 * (at // 2), 30 * (at % 2)
        image[0, top : top + 30, left : left + 30] = 250 if light else 100
    return torch.from_numpy(images), torch.tensor(np.column_stack([np.eye(4)[corner], bright]), dtype=torch.float32)


def brightest_corner(images):
    """0 to 3, of pictures (B, 1, 60, 60)."""
    return torch.nn.functional.avg_pool2d(images, 30).flatten(1).argmax(1)


@pytest.mark.parametrize("k", [2, 4])  # fewer latents than the four logits' differences span, and more
def test_a_categorical_label_is_learnt_read_and_walked_to_and_drawn(k):
    images, y = four_corners()
    y[torch.rand(200, generator=torch.Generator().manual_seed(0)) < 0.3, :4] = NAN
    kinds, prior = ("categorical", "binary"), ((0.25,) * 4, 0.5)
    config = core.ModelConfig((1, 60, 60), (k, 1), 2, "bernoulli", prior, label_kinds=kinds)
    model = core.build_model("MCCVAE", config, seed=0)
    objective = core.Objective("rao-blackwell", label_weight=300.0)
    core.fit(model, images, y, objective, batch_size=25, epochs=25, seed=0, learning_rate=3e-3, by_turns=False)
    images, y = four_corners(seed=1)
    read = core.predict(model, images)
    torch.testing.assert_close(read[:, :4].sum(1), torch.ones(200))
    assert (read[:, :4].argmax(1) == y[:, :4].argmax(1)).float().mean() > 0.97
    assert ((read[:, 4] > 0.5) == (y[:, 4] > 0.5)).float().mean() > 0.97
    z = core.posterior(model, images[:20]).loc
    for towards in ({2: 1}, {2: 1, 0: 0}):
        walk = core.latent_walk(model, z, towards, steps=5)
        assert (walk.probabilities[-1, :, :4].argmax(1) == 2).all() and (brightest_corner(walk.images[-1]) == 2).all()
        torch.testing.assert_close(walk.probabilities[-1, :, 4], walk.probabilities[0, :, 4])
    torch.testing.assert_close(walk.probabilities[0, :, :4].argmax(1), torch.zeros(20).long())
    low, high = core.characteristic_range(model, 0)
    assert low < model.value_loc[:4, 0].min() and high > model.value_loc[:4, 0].max()
    drawn = core.generate(model, torch.cat([torch.eye(4).repeat(25, 1), torch.ones(100, 1)], 1))
    assert (brightest_corner(drawn) == torch.arange(4).repeat(25)).float().mean() > 0.45  # chance: 0.25


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, x, y: core.fit(m, x, y, core.Objective(), batch_size=9, epochs=1, seed=0), "need the estimator"),
        (lambda m, x, y: core.fit(m, x, y * 0, core.BOUND, batch_size=9, epochs=1, seed=0), "one of its columns"),
        (lambda m, x, y: core.fit(m, x, y[:, :4], core.BOUND, batch_size=9, epochs=1, seed=0), "must be .N, L."),
        (lambda m, *_: core.latent_walk(m, torch.zeros(5), {1: 0}), "one of them goes towards 1"),
        (lambda m, *_: core.latent_walk(m, torch.zeros(5), {1: 1, 2: 1}), "one of them goes towards 1"),
        (lambda m, *_: core.latent_walk(m, torch.zeros(5), {1: 0.5}), "towards 0 or 1"),
        (lambda *_: core.ModelConfig((1, 60, 60), (1,), 1, "bernoulli", 0.5, label_kinds="categorical"), "two or more"),
        (lambda *_: core.ModelConfig((1, 60, 60), (1,), 1, "bernoulli", ((0.5, 0.4),), label_kinds="categorical"),
         "with the sum 1"),
        (lambda *_: core.ModelConfig((1, 60, 60), (1,), 1, "bernoulli", ((0.5, 0.5),)), "must lie inside"),
    ],
)  # fmt: skip
def test_what_a_categorical_label_can_not_be_is_refused(change, words):
    config = core.ModelConfig(
        (1, 60, 60), (2, 1), 2, "bernoulli", ((0.25,) * 4, 0.5), label_kinds=("categorical", "binary")
    )
    with pytest.raises(ValueError, match=words):
        change(core.build_model("MCCVAE", config, seed=0), *four_corners(9))


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
