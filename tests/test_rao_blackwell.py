"""The `rao-blackwell` estimator against nested quadrature in float64, for every pattern of missing labels."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ToyMCCVAE, fit, posterior_grid
from support.measures import gradients, scores
from torch.distributions import MultivariateNormal, Normal

import mccvae_core as core

X = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
NAN = math.nan
PATTERNS = [y for y in itertools.product((0.0, 1.0, NAN), repeat=2)]
SMALL = [((1, 1), 1, 24), ((2, 2), 0, 14), ((1, 2), 1, 14)]  # blocks, style latents, nodes of the grid in each latent


def log_p_zc(model, z_c, labels):
    """log p(z_c|y), (M,), for one vector of labels, from its covariance matrix block by block."""
    prior, total = model.conditional_prior(labels[None]), 0
    for i, value in enumerate(labels.int().tolist()):
        b = core.block_of(model, i)
        loc, scale = prior.loc[0, b], prior.scale[0, b]
        A = (
            torch.eye(len(b)).double()
            if model.config.block_prior == "diagonal"
            else model.prior_whitening(value)[b][:, b]
        )
        half = torch.diag(scale) @ torch.linalg.inv(A)
        total = total + MultivariateNormal(loc, half @ half.T).log_prob(z_c[:, b])
    return total


def brute_force(model, y, nodes):
    """The bound L(x, y_K) of `rao_blackwell_loss`'s docstring: over a grid of z and every value of the missing
    labels."""
    z, weight = posterior_grid(model, nodes)
    z_c, z_style = model.split(z)
    q = model.encode(X[None])
    log_q_z = Normal(q.loc, q.scale).log_prob(z).sum(1)
    values = [[v] if not math.isnan(v) else [0.0, 1.0] for v in y]
    u = model.label_logits(z_c)
    known = [i for i, v in enumerate(y) if not math.isnan(v)]

    def log_q(i, v):
        return F.logsigmoid(u[:, i] if v else -u[:, i])

    log_qyx = (
        (weight @ torch.stack([log_q(i, y[i]) for i in known]).sum(0).exp()).log()
        if known
        else torch.zeros(()).double()
    )
    w = (sum(log_q(i, y[i]) for i in known) - log_qyx).exp() if known else torch.ones(len(z)).double()
    inner = 0
    for full in itertools.product(*values):
        labels = torch.tensor(full, dtype=torch.float64)
        missing = sum((log_q(i, v) for i, v in enumerate(full) if i not in known), start=torch.zeros(len(z)).double())
        log_p_z = log_p_zc(model, z_c, labels) + Normal(0.0, 1.0).log_prob(z_style).sum(1)
        log_p_missing = sum(
            math.log(p if v else 1 - p)
            for i, (p, v) in enumerate(zip(model.config.label_prior, full, strict=True))
            if i not in known
        )
        log_q_all = sum(log_q(i, v) for i, v in enumerate(full))
        inner = inner + missing.exp() * (model.log_px(X, z) + log_p_z + log_p_missing - log_q_all - log_q_z)
    log_p_known = sum(
        math.log(p if v else 1 - p) for p, v in zip(model.config.label_prior, y, strict=True) if not math.isnan(v)
    )
    return weight @ (w * inner) + log_qyx + log_p_known


def expected_loss(model, y, nodes, control_variate=-3.0, points=None):
    """E over the estimator's noise, by the same grid: its terms of each node, weighted."""
    point, weight = np.polynomial.hermite_e.hermegauss(nodes)
    index = np.array(list(itertools.product(range(nodes), repeat=model.config.latent_dim)))
    weights = torch.tensor((weight / math.sqrt(2 * math.pi))[index].prod(1))
    n, kept, original = len(index), {}, core.LossTerms.of

    def keep(objective, **terms):
        kept.update(terms)
        return original(objective, **terms)

    labels = torch.tensor(y, dtype=torch.float64).expand(n, len(y))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.LossTerms, "of", keep)
        core.rao_blackwell_loss(
            model,
            X.expand(n, 3),
            labels,
            torch.tensor(point[index]),
            core.BOUND,
            torch.full((n,), control_variate).double(),
            points,
        )
    sign = {"reconstruction": 1, "kl_style": 1, "characteristics": 1, "weighting": 1, "log_qyx": -1, "log_py": -1}
    return weights @ sum(s * kept[name] for name, s in sign.items())


@pytest.mark.parametrize("y", PATTERNS, ids=str)
@pytest.mark.parametrize(("k", "style", "nodes"), SMALL, ids=str)
def test_its_expectation_is_the_formula_value_and_gradient(k, style, nodes, y):
    model = ToyMCCVAE(k, style_dim=style, seed=1)
    ours, theirs = expected_loss(model, y, nodes), -brute_force(model, y, nodes)
    assert ours.item() == pytest.approx(theirs.item(), abs=2e-4)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(v, parameters, allow_unused=True) for v in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("y", [(1.0, 0.0), (NAN, 1.0), (NAN, NAN)], ids=str)
def test_it_is_exact_with_a_full_block_prior(y):
    model = ToyMCCVAE((1, 3), style_dim=0, seed=1, block_prior="full")
    ours, theirs = expected_loss(model, y, 12), -brute_force(model, y, 12)
    assert ours.item() == pytest.approx(theirs.item(), abs=2e-4)
    parameters = [
        model.prior_lower,
        model.prior_loc,
        model.prior_raw_scale,
        model.q_loc,
        model.q_raw,
        model.classifier_weight,
    ]
    for a, b in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        torch.testing.assert_close(a, b, atol=3e-3, rtol=3e-3)
    plain = expected_loss(ToyMCCVAE((1, 3), style_dim=0, seed=1), y, 12)
    assert abs(plain.item() - ours.item()) > 1e-2
    with pytest.raises(ValueError, match=r"needs? the estimator 'rao-blackwell'"):
        core.ccvae_loss(model, X[None], torch.tensor([[1.0, 0.0]]).double(), core.Objective())


def test_a_full_block_prior_is_walked_and_sampled_as_it_is():
    model = ToyMCCVAE((1, 3), style_dim=0, seed=1, block_prior="full")
    model.decode = lambda z: z
    sample = core.generate(model.double(), torch.ones(200_000, 2).double(), generator=torch.Generator().manual_seed(0))
    scale = model.conditional_prior(torch.ones(1, 2).double()).scale[0]
    half = torch.diag(scale) @ torch.linalg.inv(model.prior_whitening(1))
    torch.testing.assert_close(torch.cov(sample.T), (half @ half.T).detach(), atol=0.02, rtol=0.03)
    _, high = core.characteristic_range(model, 3)
    up = 1 if model.prior_loc[1, 3] >= model.prior_loc[0, 3] else -1
    assert high == pytest.approx((model.prior_loc[1, 3] + up * 2 * sample[:, 3].std()).item(), rel=0.02)


def test_a_blocks_total_correlation_is_that_of_its_aggregate_posterior():
    model = ToyMCCVAE((1, 2), style_dim=0)
    rng = np.random.default_rng(0)
    m, s, label = rng.normal(size=(40, 3)), rng.uniform(0.2, 1, (40, 3)), rng.integers(0, 2, (40, 2)).astype(float)
    m[:, 2] += 0.8 * m[:, 1] + label[:, 1]
    label[:5, 1] = math.nan
    q, expected = Normal(torch.tensor(m), torch.tensor(s)), 0
    for value in (0, 1):
        mine = label[:, 1] == value
        S = np.cov(m[mine, 1:].T, bias=True) + np.diag((s[mine, 1:] ** 2).mean(0))
        expected += 0.5 * -0.5 * math.log(1 - S[0, 1] ** 2 / (S[0, 0] * S[1, 1]))
    assert core.block_total_correlation(model, q, torch.tensor(label)).item() == pytest.approx(expected)
    assert core.block_total_correlation(model, q, torch.full((40, 2), math.nan).double()).item() == pytest.approx(0)
    y = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    terms = core.ccvae_loss(
        model,
        X.expand(2, 3),
        y,
        core.Objective("rao-blackwell", block_penalty=3.0),
        generator=torch.Generator().manual_seed(0),
    )
    assert terms.loss.item() == pytest.approx((terms.loss_alpha0 + 3 * terms.block_correlation).item())


@pytest.mark.parametrize("y", [(1.0, 0.0), (NAN, 1.0), (NAN, NAN)], ids=str)
def test_its_mean_is_that_of_plain_monte_carlo(toy, y):
    n, generator = 60_000, torch.Generator().manual_seed(0)
    labels = torch.tensor(y, dtype=torch.float64).expand(n, 2)
    with torch.no_grad():
        q = toy.encode(X.expand(n, 3))
        z = q.loc + q.scale * torch.randn(q.loc.shape, dtype=torch.float64, generator=generator)
        z_c, z_style = toy.split(z)
        p1 = toy.label_logits(z_c).sigmoid()
        known = ~labels.isnan()
        full = torch.where(known, labels, (torch.rand(n, 2, dtype=torch.float64, generator=generator) < p1).double())
        q_known = torch.where(known, torch.where(full > 0.5, p1, 1 - p1), 1.0).prod(1)
        qyx = q_known.mean()
        prior = toy.conditional_prior(full)
        f = toy.log_px(X, z) + prior.log_prob(z_c).sum(1) + Normal(0.0, 1.0).log_prob(z_style).sum(1)
        f = f - toy.log_qyz(full, z_c) - Normal(q.loc, q.scale).log_prob(z).sum(1)
        p = torch.tensor(toy.config.label_prior, dtype=torch.float64)
        log_p = torch.where(full > 0.5, p.log(), (1 - p).log())
        plain = (
            q_known / qyx * (f + torch.where(known, 0.0, log_p).sum(1))
            + qyx.log()
            + torch.where(known, log_p, 0.0).sum(1)
        )
        ours = core.ccvae_loss(toy, X.expand(n, 3), labels, core.BOUND, generator=generator).loss.item()
    error = plain.std().item() / math.sqrt(n)
    assert abs(ours + plain.mean().item()) < 6 * error


def drawn_gradients(model, y, estimator, draws, **options):
    rows, losses = [], []
    for seed in range(draws):
        terms = core.ccvae_loss(
            model,
            X[None],
            torch.tensor([y]).double(),
            core.Objective(estimator),
            generator=torch.Generator().manual_seed(seed),
            **options,
        )
        rows.append(
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(terms.loss, [model.q_loc, model.q_raw, model.classifier_weight])
                ]
            )
        )
        losses.append(terms.loss.detach())
    return torch.stack(losses), torch.stack(rows)


def test_its_variance_is_far_below_officials_and_official_alone_is_biased_on_the_encoder():
    """log p(x|z) is about -2000, as on real images: there the weight's noise matters."""
    model = ToyMCCVAE((1, 2), seed=2)
    plain = model.log_px
    model.log_px = lambda x, z: plain(x, z) - 2000.0
    y, draws = (1.0, 0.0), 1000
    cv = torch.tensor([-2004.0], dtype=torch.float64)
    loss, ours = drawn_gradients(model, y, "rao-blackwell", draws, control_variate=cv)
    loss_official, official = drawn_gradients(model, y, "official", draws)
    n = model.config.latent_dim
    encoder, classifier = slice(0, 2 * n), slice(2 * n, None)
    spread = lambda rows: rows.std(0).norm().item()  # noqa: E731
    # measured: 408, 88 and 702 times less; at least half of that must stay
    assert loss.std() < loss_official.std() / 204
    assert spread(ours[:, encoder]) < spread(official[:, encoder]) / 44
    assert spread(ours[:, classifier]) < spread(official[:, classifier]) / 351
    parameters = [model.q_loc, model.q_raw, model.classifier_weight]
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(-brute_force(model, y, 12), parameters)])

    def error(rows):
        return (rows.mean(0) - exact).norm().item() / (rows.std(0).norm().item() / math.sqrt(draws))

    assert error(ours) < 2.5
    log_qyx = core.label_terms(model, model.split_posterior(model.encode(X[None]))[0], torch.tensor([y]).double())[
        1
    ].sum()
    hidden = torch.cat(
        [g.flatten() for g in torch.autograd.grad(-2004.0 * -log_qyx, parameters[:2])]
    )  # f times the gradient of -log q(y|x)
    bias = official[:, encoder].mean(0) - exact[encoder]
    assert bias.norm() > 5 * exact[encoder].norm()
    assert torch.nn.functional.cosine_similarity(bias, -hidden, dim=0) > 0.99
    assert bias.norm().item() == pytest.approx(hidden.norm().item(), rel=0.2)
    on_classifier = official[:, classifier]
    assert (
        (on_classifier.mean(0) - exact[classifier]).abs()
        < 5 * on_classifier.std(0) / math.sqrt(draws) + 0.02 * hidden.norm()
    ).all()


def test_the_quadrature_error_falls_with_the_nodes(monkeypatch):
    """Against a trapezoid rule, for logits as wide as trained models have them."""
    model = ToyMCCVAE((1,), style_dim=0)
    errors = {}
    for width in (0.5, 2.0, 6.0):
        with torch.no_grad():
            model.classifier_weight.fill_(1.0)
            model.q_loc.fill_(0.7)
            model.q_raw.fill_(math.log(math.expm1(width)))
            own = Normal(torch.tensor(0.7).double(), torch.tensor(width).double())
            grid = torch.linspace(0.7 - 12 * width, 0.7 + 12 * width, 200_001, dtype=torch.float64)
            exact = torch.trapezoid(
                own.log_prob(grid).exp() * model.label_logits(grid[:, None])[:, 0].sigmoid(), grid
            ).log()
            for nodes in (4, 8, 16, 32, 64):
                monkeypatch.setattr(core, "NODES", nodes)
                q = Normal(model.q_loc[None], torch.full((1, 1), width).double())
                errors[width, nodes] = abs(
                    core.label_terms(model, q, torch.ones(1, 1).double())[1].item() - exact.item()
                )
    assert errors[0.5, 8] < 1e-6 and errors[2.0, 16] < 1e-3 and errors[2.0, 32] < 1e-4 and errors[6.0, 32] < 1e-2
    for width in (0.5, 2.0, 6.0):
        assert errors[width, 64] <= errors[width, 4]


@pytest.mark.parametrize("y", [(1.0, 0.0), (0.0, NAN), (NAN, NAN)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", ["wide logits", "zero weight", "tiny spread", "certain and wrong"])
def test_extremes_make_no_nan(case, y, dtype):
    model = ToyMCCVAE((2, 1)).to(dtype)
    with torch.no_grad():
        if case == "wide logits":
            model.classifier_weight.fill_(60.0)
        elif case == "zero weight":
            model.classifier_weight.zero_()
        elif case == "tiny spread":
            model.q_raw.fill_(-40.0)
        else:
            model.classifier_bias.copy_(torch.tensor([-90.0, 90.0]))
    loss = core.ccvae_loss(
        model, X[None].to(dtype), torch.tensor([y], dtype=dtype), core.BOUND, generator=torch.Generator().manual_seed(0)
    ).loss
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_terms_add_up_for_partly_known_labels_and_label_weight_counts_known_ones(toy):
    y = torch.tensor([[0, 1], [NAN, 1], [NAN, NAN]], dtype=torch.float64)
    t = core.ccvae_loss(
        toy, X.expand(3, 3), y, core.Objective("rao-blackwell", 30.0), generator=torch.Generator().manual_seed(0)
    )
    total = t.reconstruction + t.kl_style + t.characteristics + t.log_qyz + t.weighting - t.log_qyx - t.log_py
    assert t.loss_alpha0.item() == pytest.approx(total.item()) and t.log_qyz == 0
    assert t.loss.item() == pytest.approx((total - 30 * t.log_qyx).item())
    per_label = core.label_terms(toy, toy.split_posterior(toy.encode(y))[0], y)[1]
    assert t.log_qyx.item() == pytest.approx(per_label[~y.isnan()].sum().item() / 3)


def test_a_missing_control_variate_is_the_mean_of_the_other_images(toy):
    y = torch.tensor([[0.0, 1.0]] * 3, dtype=torch.float64)
    x = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(3, toy.config.latent_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    none = core.rao_blackwell_loss(toy, x, y, noise)
    others = (none.log_px.sum() - none.log_px) / 2
    assert core.rao_blackwell_loss(toy, x, y, noise, core.BOUND, others).loss.item() == pytest.approx(none.loss.item())
    mixed = torch.tensor([NAN, others[1], NAN], dtype=torch.float64)
    assert core.rao_blackwell_loss(toy, x, y, noise, core.BOUND, mixed).loss.item() == pytest.approx(none.loss.item())


def test_the_audit_measures_the_hidden_label_weight(small_data):
    images, labels = small_data
    config = core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5)
    model = core.build_model("MCCVAE", config, seed=0)
    fit(model, images, labels, batch_size=20, epochs=3, seed=0, estimator="rao-blackwell", label_weight=20.0)
    audit = gradients.gradient_audit(model, images[:16], labels[:16], draws=40)
    ours, official = audit["rao-blackwell"], audit["official"]
    assert (
        official["sd"]["encoder"] > 20 * ours["sd"]["encoder"]
        and official["sd"]["classifier"] > 20 * ours["sd"]["classifier"]
    )
    assert ours["loss"] == pytest.approx(official["loss"], abs=4 * official["loss_sd"] / math.sqrt(40))
    assert audit["r2"] > 0.8 and audit["slope"] == pytest.approx(audit["minus_f"], rel=0.3)
    assert official["ess"] <= 16 and official["mean_weight"] == pytest.approx(1, abs=0.2)


def test_the_parts_of_the_encoders_gradient_make_up_the_whole(small_data):
    images, labels = small_data
    model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5), seed=0)
    x, y = core.to_images(images[:8]), labels[:8].float()
    b = gradients._expected_log_px(model, x)
    parts = gradients._encoder_gradients(model, x, y, b, draws=1, seed=5)
    loss = core.ccvae_loss(model, x, y, core.BOUND, b, generator=torch.Generator().manual_seed(5)).loss
    whole = gradients._gradient(loss, model)["encoder"]
    torch.testing.assert_close(sum(parts.values()), whole, rtol=1e-3, atol=1e-3)
    norms = gradients.gradient_norms(model, images[:8], labels[:8], draws=1, seed=5)
    assert norms == pytest.approx({name: g.norm().item() for name, g in parts.items()})


def test_the_mean_of_officials_weight_is_at_least_one():
    """E[w] = E[q(y|z_c)] E[1 / q^(y|x)] >= 1 by Jensen: more noise in q^ raises it, nothing lowers it."""
    model = ToyMCCVAE((1, 1), style_dim=0, seed=3)
    with torch.no_grad():
        model.classifier_weight.fill_(2.0)
    mean, n = {}, 100_000
    x, y = X.expand(n, 3), torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(n, 2)
    for draws in (2, 20):
        noise = torch.Generator().manual_seed(draws)
        sample = lambda *shape, g=noise: torch.randn(*shape, dtype=torch.float64, generator=g)  # noqa: E731
        with torch.no_grad():
            given = core.OfficialNoise(z=sample(n, 2), qyx=sample(draws, n, 2), y=None)
            mean[draws] = core.official_loss(model, x, y, given).mean_weight.item()
    assert mean[2] > mean[20] > 1.0 and mean[2] > 1.2


def test_likelihood_floors():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 1, 60, 60), generator=rng).to(torch.uint8)
    x = core.to_images(images).double()
    direct = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1).mean()
    assert scores.likelihood_floor(images, "bernoulli") == pytest.approx(direct.item(), rel=1e-6)
    steps = torch.linspace(0, 1, 2001, dtype=torch.float64)  # what a second sigmoid is given
    best = 0.0
    for value in range(256):
        v = torch.full_like(steps, value / 255)
        best = best + (images == value).sum() * F.binary_cross_entropy_with_logits(steps, v, reduction="none").min() / 3
    assert scores.likelihood_floor(images, "bernoulli", sigmoids=2) == pytest.approx(best.item(), rel=1e-6)
    assert scores.likelihood_floor(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "laplace") == pytest.approx(
        12_288 * math.log(2)
    )
