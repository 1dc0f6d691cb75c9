"""Each loss term against brute force in float64; `official` against its equation written a second time."""

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import KS, ToyMCCVAE, posterior_grid
from torch import nn
from torch.distributions import Bernoulli, Laplace, Normal

import mccvae_core as core

X = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)


def repeated(y, n):
    """n copies of the toy's image, and of labels y."""
    return X.expand(n, 3), torch.tensor(y, dtype=torch.float64).expand(n, len(y))


def integral(log_q, f, low=-15, high=15, points=60_001):
    """Trapezoid rule for E_q f in one dimension."""
    z = torch.linspace(low, high, points, dtype=torch.float64)
    return torch.trapezoid(log_q(z).exp() * f(z), z)


def close_to_mean(samples, expected, errors=4.5):
    """The samples' mean agrees with the expectation within its standard error."""
    error = samples.std() / math.sqrt(len(samples))
    assert abs(samples.mean() - expected) < errors * error + 1e-12, (
        samples.mean().item(),
        float(expected),
        error.item(),
    )


def per_image(model, y, n, seed=0, **noise):
    """Terms of `official` for n independent draws, (n,) each, by putting every draw into a batch of its own kind."""
    x, y = repeated(y, n)
    drawn = core.OfficialNoise.draw(model, y, torch.Generator().manual_seed(seed))
    kept = {}
    original = core.LossTerms.of

    def keep(objective, **terms):
        kept.update(terms)
        return original(objective, **terms)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(core.LossTerms, "of", keep)
        core.official_loss(model, x, y, dataclasses.replace(drawn, **noise))
    return kept


@pytest.mark.parametrize("y", [(0, 1), (1, 1)])
def test_kl_terms_equal_numerical_integration(toy, y):
    x, labels = repeated(y, 1)
    terms = core.ccvae_loss(toy, x, labels, core.Objective())
    q, prior = toy.encode(x), toy.conditional_prior(labels)
    kl = []
    for j in range(toy.config.latent_dim):
        own = Normal(q.loc[0, j], q.scale[0, j])
        target = (
            Normal(prior.loc[0, j], prior.scale[0, j])
            if j < toy.config.characteristic_dim
            else Normal(torch.zeros(()).double(), 1.0)
        )
        kl.append(integral(own.log_prob, lambda z, own=own, target=target: own.log_prob(z) - target.log_prob(z)))
    assert terms.characteristics.item() == pytest.approx(sum(kl[: toy.config.characteristic_dim]).item(), rel=1e-8)
    assert terms.kl_style.item() == pytest.approx(sum(kl[toy.config.characteristic_dim :]).item(), rel=1e-8)


@pytest.mark.parametrize("y", [(0, 1), (1, 1)])
def test_sampled_terms_have_the_means_that_quadrature_gives(toy, y):
    n = 40_000
    z, weight = posterior_grid(toy)
    with torch.no_grad():
        z_c, _ = toy.split(z)
        q_y = toy.log_qyz(torch.tensor(y).double(), z_c)
        log_qyx = (weight @ q_y.exp()).log()
        terms = per_image(toy, y, n)
        close_to_mean(terms["reconstruction"], -(weight @ toy.log_px(X, z)))
        close_to_mean(terms["log_qyz"], weight @ q_y)
        close_to_mean(terms["log_qyx"].exp(), log_qyx.exp())
    expected = sum(
        Bernoulli(torch.tensor(p)).log_prob(torch.tensor(float(v)))
        for p, v in zip(toy.config.label_prior, y, strict=True)
    )
    assert terms["log_py"][0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_q_hat_is_unbiased_and_its_variance_falls_as_one_over_the_draws(toy):
    y, n = (1, 0), 4000
    z, weight = posterior_grid(toy)
    with torch.no_grad():
        q = toy.log_qyz(torch.tensor(y).double(), toy.split(z)[0]).exp()
        mean = weight @ q
        variance = weight @ (q - mean) ** 2
    estimate = per_image(toy, y, n)["log_qyx"].exp()
    close_to_mean(estimate, mean)
    assert estimate.var().item() == pytest.approx(variance.item() / core.OFFICIAL_DRAWS, rel=0.15)


def test_the_weight_has_mean_one_when_q_hat_is_exact(toy):
    y, n = (1, 0), 20_000
    many = torch.randn(
        200_000, 1, toy.config.characteristic_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        q = toy.encode(X[None])
        q_c_loc, q_c_scale = toy.split(q.loc)[0], toy.split(q.scale)[0]
        log_qyx = toy.log_qyz(torch.tensor(y).double(), q_c_loc + q_c_scale * many).logsumexp(0) - math.log(len(many))
    weights = per_image(toy, y, n)["weight"]
    log_q_hat = per_image(toy, y, n)["log_qyx"]
    close_to_mean(weights * (log_q_hat - log_qyx).exp(), 1.0)


def naive_official(model, x, y, noise):
    """The equation in `official_loss`'s docstring once more: one image, one latent, one draw at a time."""
    c, k_of = model.config.characteristic_dim, model.config.characteristics
    starts = [sum(k_of[:i]) for i in range(len(k_of))]
    softplus = nn.functional.softplus

    def q_label(i, value, z_c):
        u = model.classifier_bias[i]
        for j in range(starts[i], starts[i] + k_of[i]):
            u = u + model.classifier_weight[j] * z_c[j]
        p = 1 / (1 + torch.exp(-u))
        return p if value == 1 else 1 - p

    def q_all(values, z_c):
        return math.prod(
            (q_label(i, values[i], z_c) for i in range(len(k_of))), start=torch.ones((), dtype=torch.float64)
        )

    total = 0
    for b in range(len(x)):
        q = model.encode(x[b : b + 1])
        loc, scale = q.loc[0], q.scale[0]
        z = loc + scale * noise.z[b]
        labelled = not bool(torch.isnan(y[b]).any())
        values = (
            [int(v) for v in y[b]] if labelled else [int(noise.y[b, i] < q_label(i, 1, z)) for i in range(len(k_of))]
        )
        kl = 0
        for j in range(model.config.latent_dim):
            m, s = torch.zeros(()).double(), torch.ones(()).double()
            if j < c:
                i = max(i for i, start in enumerate(starts) if start <= j)
                m, s = model.prior_loc[values[i], j], softplus(model.prior_raw_scale[values[i], j])
            kl = kl + torch.log(s / scale[j]) + (scale[j] ** 2 + (loc[j] - m) ** 2) / (2 * s**2) - 0.5
        f = model.log_px(x[b : b + 1], z[None])[0] - kl - torch.log(q_all(values, z))
        log_py = sum(math.log(p if v else 1 - p) for p, v in zip(model.config.label_prior, values, strict=True))
        if labelled:
            draws = [q_all(values, loc[:c] + scale[:c] * eps) for eps in noise.qyx[:, b]]
            q_hat = sum(draws) / len(draws)
            w = q_all(values, z.detach()) / q_hat
            total = total - (w * f + torch.log(q_hat) + log_py)
        else:
            total = total - (f + log_py)
    return total / len(x)


LABELS = [[0, 1], [1, 1], [math.nan, math.nan], [1, 0]]


def test_official_equals_its_equation_written_a_second_time_value_and_gradient(toy):
    y = torch.tensor(LABELS, dtype=torch.float64)
    x = torch.randn(len(y), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    noise = core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(4))
    assert noise.qyx.shape[0] == 100
    ours, theirs = core.official_loss(toy, x, y, noise).loss, naive_official(toy, x, y, noise)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-7)  # p(y) is stored in float32
    parameters = [p for p in toy.parameters() if p.requires_grad]
    for a, b in zip(*(torch.autograd.grad(value, parameters) for value in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_official_gradient_is_that_of_the_loss_with_only_the_numerators_z_frozen(toy):
    """Finite differences of the value, where w's numerator keeps the unmoved encoder's z."""
    x, y = repeated((1, 0), 1)
    noise = core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(5))
    frozen = copy.deepcopy(toy)

    def value():
        with torch.no_grad():
            plain = core.official_loss(toy, x, y, noise)
            q = frozen.encode(x)
            z_c = toy.split(q.loc + q.scale * noise.z)[0]  # frozen latents, moving classifier
            w = (toy.log_qyz(y, z_c) - plain.log_qyx).exp()
            minus_f = plain.reconstruction + plain.kl_style + plain.characteristics + plain.log_qyz
            return (w * minus_f - plain.log_qyx - plain.log_py).item()

    loss = core.official_loss(toy, x, y, noise).loss
    for parameter in (toy.q_loc, toy.q_raw, toy.classifier_weight, toy.classifier_bias, toy.prior_loc, toy.A):
        (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        flat, step = parameter.data.view(-1), 1e-5
        for i in range(len(flat)):
            flat[i] += step
            up = value()
            flat[i] -= 2 * step
            difference = (up - value()) / (2 * step)
            flat[i] += step
            assert gradient.reshape(-1)[i].item() == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_official_unlabelled_gradient_is_exact(toy):
    """With the drawn labels fixed nothing in it is detached, so autograd must agree with finite differences."""
    x, y = repeated((math.nan, math.nan), 3)
    noise = core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(6))
    names = ["q_loc", "q_raw", "classifier_weight", "classifier_bias", "prior_loc", "prior_raw_scale", "A"]

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.toy = toy

        def forward(self):
            return core.official_loss(self.toy, x, y, noise).loss

    def loss(*values):
        return torch.func.functional_call(Loss(), {f"toy.{n}": v for n, v in zip(names, values, strict=True)}, ())

    assert torch.autograd.gradcheck(loss, [getattr(toy, n).detach().clone().requires_grad_() for n in names])


def test_terms_add_up_and_label_weight_adds_log_qyx(toy):
    y = torch.tensor(LABELS, dtype=torch.float64)
    x = X.expand(len(y), 3)
    noise = core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(7))
    t = core.official_loss(toy, x, y, noise, core.Objective(label_weight=30.0))
    total = t.reconstruction + t.kl_style + t.characteristics + t.log_qyz + t.weighting - t.log_qyx - t.log_py
    assert t.loss_alpha0.item() == pytest.approx(total.item(), rel=1e-12)
    assert t.loss.item() == pytest.approx((total - 30 * t.log_qyx).item(), rel=1e-12)


def test_a_mixed_batch_is_the_mean_of_its_images(toy):
    y = torch.tensor(LABELS, dtype=torch.float64)
    x = torch.randn(len(y), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    noise = core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(9))
    whole = core.official_loss(toy, x, y, noise)
    single = []
    for i in range(len(y)):
        part = core.OfficialNoise(noise.z[i : i + 1], noise.qyx[:, i : i + 1], noise.y[i : i + 1])
        single.append(core.official_loss(toy, x[i : i + 1], y[i : i + 1], part))
    for name in set(core.LOSS_TERMS) - {"ess"}:
        assert getattr(whole, name).item() == pytest.approx(
            sum(getattr(s, name).item() for s in single) / len(y), rel=1e-9
        )
    w = torch.tensor([s.mean_weight.item() for s in single])
    assert whole.ess.item() == pytest.approx((w.sum() ** 2 / (w**2).sum()).item(), rel=1e-6)


def test_unlabelled_images_draw_labels_from_the_classifier(toy):
    n = 20_000
    x, y = repeated((math.nan, math.nan), n)
    noise = core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(10))
    with torch.no_grad():
        terms = core.official_loss(toy, x, y, noise)
        z, weight = posterior_grid(toy)
        p = toy.label_logits(toy.split(z)[0]).sigmoid()
        entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(1)
    assert terms.log_qyz.item() == pytest.approx(-(weight @ entropy).item(), abs=0.03)
    assert terms.log_qyx.item() == 0
    assert terms.mean_weight.item() == 1


@pytest.mark.parametrize("labels", [[[1.0, 0.0]], [[math.nan, math.nan]]], ids=["labelled", "unlabelled"])
def test_official_moves_no_weight_by_the_label_prior(labels):
    """p(y) adds a number to the loss and nothing to its gradient, with labels and without: trained so, it can't matter
    (claim 9)."""
    toy, y = ToyMCCVAE((1, 2)), torch.tensor(labels).double().expand(3, -1)
    x, noise = X.expand(3, -1), core.OfficialNoise.draw(toy, y, torch.Generator().manual_seed(0))
    losses, gradients = [], []
    for prior in (0.5, 0.1):
        toy.label_prior.fill_(prior)
        losses.append(core.official_loss(toy, x, y, noise).loss)
        gradients.append(
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(losses[-1], list(toy.parameters()), allow_unused=True)
                    if g is not None
                ]
            )
        )
    assert losses[0] != losses[1] and torch.equal(*gradients)


@pytest.mark.parametrize("y", [[[1.0, math.nan]], [[math.nan, 0.0]]])
def test_official_refuses_partly_known_labels(y):
    with pytest.raises(ValueError, match="only part"):
        core.ccvae_loss(ToyMCCVAE((1, 1)), X[None], torch.tensor(y).double(), core.Objective())


def test_unknown_estimator_and_wrong_shapes_are_refused():
    model = ToyMCCVAE((1, 1))
    with pytest.raises(ValueError, match="estimator"):
        core.ccvae_loss(model, X[None], torch.ones(1, 2).double(), core.Objective("best"))
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        core.ccvae_loss(model, X[None], torch.ones(1, 3).double(), core.Objective())


# --- likelihoods, blocks, baselines ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 60, 60), (3, 60, 60), (1, 64, 64), (3, 64, 64)])
@pytest.mark.parametrize("likelihood", core.LIKELIHOODS)
def test_log_px_is_the_named_density_at_the_decoded_mean(shape, likelihood):
    model = core.build_model("MCCVAE", core.ModelConfig(shape, (2, 1), 3, likelihood, 0.5), seed=0).double()
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, *shape, dtype=torch.float64, generator=rng)
    z = 3 * torch.randn(2, 6, dtype=torch.float64, generator=rng)
    mean = model.decode(z)
    assert mean.shape == x.shape and model.encode(x).loc.shape == (2, 6)
    if likelihood == "bernoulli-two-sigmoids":
        torch.testing.assert_close(mean, model.decoder(z).sigmoid().sigmoid())
    if likelihood != "laplace":
        expected = x * mean.log() + (1 - x) * (1 - mean).log()
    else:
        expected = Laplace(mean, 1.0).log_prob(x)
    torch.testing.assert_close(model.log_px(x, z), expected.flatten(1).sum(1), rtol=1e-10, atol=0)
    assert torch.autograd.gradcheck(lambda v: model.log_px(x[:1], v), z[:1].clone().requires_grad_())


def test_the_networks_are_those_of_higgins_et_al():
    for side, flat in ((60, 128 * 3 * 3), (64, 128 * 4 * 4)):
        model = core.VAE(core.ModelConfig((3, side, side), (1,), 4, "laplace", 0.5))
        convolutions = [m for m in model.encoder.features if isinstance(m, nn.Conv2d)]
        assert [m.out_channels for m in convolutions] == [32, 32, 64, 128]
        assert all(m.kernel_size == (4, 4) and m.stride == (2, 2) for m in convolutions)
        dense = [m for m in model.encoder.features if isinstance(m, nn.Linear)]
        assert [(m.in_features, m.out_features) for m in dense] == [(flat, 256)]
        back = [m for m in model.decoder.layers if isinstance(m, nn.ConvTranspose2d)]
        assert [(m.in_channels, m.out_channels) for m in back] == [(128, 64), (64, 32), (32, 32), (32, 3)]
        assert [(m.in_features, m.out_features) for m in model.decoder.layers if isinstance(m, nn.Linear)] == [
            (5, 256),
            (256, flat),
        ]


@pytest.mark.parametrize("k", KS, ids=str)
def test_a_label_sees_its_own_block_alone(k):
    model = ToyMCCVAE(k)
    z_c = torch.randn(sum(k), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(model.label_logits, z_c)
    owner = torch.tensor([i for i, n in enumerate(k) for _ in range(n)])
    own = torch.arange(len(k))[:, None] == owner
    assert (jacobian[~own] == 0).all() and (jacobian[own] != 0).all()
    for i in range(len(k)):
        y = torch.zeros(2, len(k), dtype=torch.float64)
        y[1, i] = 1
        prior = model.conditional_prior(y)
        changed = (prior.loc[0] != prior.loc[1]) & (prior.scale[0] != prior.scale[1])
        assert changed.tolist() == (owner == i).tolist()


def test_starting_values_are_the_official_ones():
    model = core.MCCVAE(core.ModelConfig((1, 60, 60), (2, 1), 1, "bernoulli", (0.2, 0.7)))
    assert (model.classifier_weight == 1).all() and (model.classifier_bias == 0).all()
    prior = model.conditional_prior(torch.tensor([[0.0, 1.0]]))
    assert (prior.loc == 0).all()
    torch.testing.assert_close(prior.scale, torch.full((1, 3), math.log(1 + math.e)))
    spread = core.MCCVAE(core.ModelConfig((1, 60, 60), (50,), 1, "bernoulli", 0.2, start_std=0.5))
    assert 0.3 < spread.prior_loc.std().item() < 0.7


class MaskedMCCVAE(core.MCCVAE):
    """Section 4's form: dense layers, started block-diagonal, their gradients multiplied by a block-diagonal mask."""

    def __init__(self, config):
        super().__init__(config)
        self.dense = nn.Linear(config.characteristic_dim, config.labels)
        self.prior_mean = nn.Linear(2 * config.labels, config.characteristic_dim, bias=False)
        self.prior_scale = nn.Linear(2 * config.labels, config.characteristic_dim, bias=False)
        mask = self.block.T.clone()
        both = torch.cat([self.block, self.block], dim=1)
        for layer, start, m in ((self.dense, 1.0, mask), (self.prior_mean, 0.0, both), (self.prior_scale, 1.0, both)):
            layer.weight.data = start * m
            layer.weight.register_hook(lambda gradient, m=m: gradient * m.to(gradient.dtype))
        nn.init.zeros_(self.dense.bias)

    def label_logits(self, z_c):
        return self.dense(z_c)

    def conditional_prior(self, y):
        values = torch.cat([1 - y, y], dim=-1)
        return Normal(self.prior_mean(values), nn.functional.softplus(self.prior_scale(values)), validate_args=False)


@pytest.mark.parametrize("k", KS, ids=str)
def test_blocks_and_masked_gradients_are_the_same_model_through_adam(k):
    config = core.ModelConfig((1, 60, 60), k, 2, "bernoulli", 0.3)
    blocks = core.build_model("MCCVAE", config, seed=0).double()
    masked = MaskedMCCVAE(config).double()
    masked.load_state_dict(blocks.state_dict(), strict=False)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 60, 60, dtype=torch.float64, generator=rng)
    y = torch.tensor(list(itertools.product((0, 1), repeat=2)) + [[math.nan] * 2] * 2, dtype=torch.float64)
    losses = {}
    for name, model in (("blocks", blocks), ("masked", masked)):
        adam = torch.optim.Adam(model.parameters(), lr=0.01)
        losses[name] = []
        for step in range(6):
            loss = core.ccvae_loss(model, x, y, core.Objective(), generator=torch.Generator().manual_seed(step)).loss
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses[name].append(loss.item())
    np.testing.assert_allclose(losses["blocks"], losses["masked"], rtol=1e-8)
    assert losses["blocks"][0] != losses["blocks"][-1]
    z_c = torch.randn(5, sum(k), dtype=torch.float64, generator=rng)
    torch.testing.assert_close(blocks.label_logits(z_c), masked.label_logits(z_c), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        blocks.conditional_prior(y[:4]).loc, masked.conditional_prior(y[:4]).loc, rtol=1e-6, atol=1e-8
    )
    assert (masked.dense.weight[~blocks.block.T.bool()] == 0).all()


def test_vae_and_conditional_vae_losses_are_negative_elbos():
    config = core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, 60, 60, dtype=torch.float64, generator=rng)
    y = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for kind, given in (("VAE", ()), ("ConditionalVAE", (y,))):
        model = core.build_model(kind, config, seed=0).double()
        terms = core.vae_loss(model, x, y, generator=torch.Generator().manual_seed(1))
        q = model.encode(x)
        assert q.loc.shape == (1, 3)  # as many latents as the CCVAE
        z = q.loc + q.scale * torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        kl = sum(
            integral(n.log_prob, lambda v, n=n: n.log_prob(v) - Normal(0.0, 1.0).log_prob(v))
            for n in (Normal(q.loc[0, j], q.scale[0, j]) for j in range(3))
        )
        assert terms.kl_style.item() == pytest.approx(kl.item(), rel=1e-7)
        assert terms.loss.item() == pytest.approx((kl - model.log_px(x, z, *given)).item(), rel=1e-9)
    with pytest.raises(ValueError, match="all labels"):
        core.vae_loss(model, x, torch.full((1, 2), math.nan))
    changed = core.vae_loss(model, x, 1 - y, generator=torch.Generator().manual_seed(1))
    assert changed.reconstruction.item() != terms.reconstruction.item()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": (1, 28, 28)}, "image_shape"),
        ({"image_shape": (2, 60, 60)}, "image_shape"),
        ({"characteristics": ()}, "characteristics"),
        ({"characteristics": (1, 0)}, "characteristics"),
        ({"style_dim": -1}, "style_dim"),
        ({"likelihood": "normal"}, "likelihood"),
        ({"label_prior": 1.0}, "label_prior"),
        ({"label_prior": (0.5,)}, "label_prior"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(small_config, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(small_config, **change)
