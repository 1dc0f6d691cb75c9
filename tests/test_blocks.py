"""A block's own coordinates, on priors, codes and models made by hand whose answer is known."""

import math

import numpy as np
import pytest
import torch
from support.measures import block_effects as effects
from support.measures import blocks
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import mccvae_core as core

KS = (1, 2, 3)


def random_block(k, seed=0):
    """A label's block with correlated latents, other in each class, and any w."""
    rng = torch.Generator().manual_seed(seed)
    roots = torch.eye(k) + 0.6 * torch.randn(2, k, k, generator=rng)
    weight, means = torch.randn(k, generator=rng), torch.randn(2, k, generator=rng)
    return blocks.BlockCoordinates(0, tuple(range(k)), weight, 0.3, means, roots @ roots.mT + 0.1 * torch.eye(k))


def rotation(k, seed=1):
    """A random rotation (k, k); for k = 1 the identity."""
    q = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    q[:, 0] *= torch.linalg.det(q).sign()
    return q


def turn_block(c, q):
    """The coordinates of the block q z."""
    means, covariances = c.means @ q.T, q @ c.covariances @ q.T
    return blocks.BlockCoordinates(c.label, c.latents, q @ c.weight, c.bias, means, covariances)


class LinearPictures(core.MCCVAE):
    """Each latent lights pixels of its own, as many as `lit` says; the encoder reads z back from the picture."""

    def __init__(self, characteristics, style_dim=1, lit=None):
        super().__init__(core.ModelConfig((1, 60, 60), characteristics, style_dim, "bernoulli", 0.5))
        lit = lit or [9] * self.config.latent_dim
        self.register_buffer("pixels", torch.zeros(self.config.latent_dim, 3600))
        for j, count in enumerate(lit):
            self.pixels[j, 60 * j : 60 * j + count] = 1
        self.encoder = self.decoder = nn.Identity()
        self.double().requires_grad_(False)

    def decode(self, z):
        return (z @ self.pixels).sigmoid().unflatten(-1, (1, 60, 60))

    def encode(self, x):
        loc = x.flatten(1).logit() @ self.pixels.T / self.pixels.sum(1)
        return Normal(loc, torch.ones_like(loc))


def normal(n, d, seed=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- coordinates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", KS)
def test_a_block_is_what_its_parts_say(k):
    c, z = random_block(k), normal(50, k)
    a, r = c.decompose(z)
    assert torch.allclose(c.compose(a, r), z)
    assert (r @ c.weight).abs().max() < 1e-12
    assert torch.allclose(c.across_coordinates(r) @ c.across.T, r)
    assert torch.allclose(c.logit(z), c.weight @ c.mean + c.bias + a * c.logit_sd)
    a_moved, r_kept = c.decompose(c.compose(a + 1.5, r))
    assert torch.allclose(a_moved, a + 1.5) and torch.allclose(r_kept, r)


@pytest.mark.parametrize("k", KS)
def test_the_basis_across_is_orthonormal_and_completes_the_covariance(k):
    c = random_block(k)
    assert c.across.shape == (k, k - 1)
    identity = torch.eye(k - 1, dtype=torch.float64)
    for basis in (c, c.turned(rotation(k - 1)) if k > 1 else c):
        E = basis.across
        assert torch.allclose(E.T @ torch.linalg.solve(c.covariance, E), identity)
        assert (c.weight @ E).abs().sum() < 1e-12
        assert torch.allclose(torch.outer(c.along, c.along) + E @ E.T, c.covariance)


@pytest.mark.parametrize("k", (2, 3))
def test_along_and_across_are_independent_under_the_prior(k):
    """By samples: also their squares do not go together, and each has standard deviation 1."""
    c = random_block(k)
    n = 200_000
    z = c.mean + normal(n, k) @ torch.linalg.cholesky(c.covariance).T
    a, r = c.decompose(z)
    codes = torch.column_stack([a, c.across_coordinates(r)])
    noise = 5 / math.sqrt(n)
    for values in (codes, codes**2):
        together = np.corrcoef(values.T.numpy())
        assert np.abs(together - np.eye(k)).max() < noise
    assert (codes.std(0) - 1).abs().max() < noise and codes.mean(0).abs().max() < noise
    plain = z - (z @ c.weight / (c.weight @ c.weight))[:, None] * c.weight  # without Sigma: not independent of a
    assert np.abs(np.corrcoef(a, plain.T)[0, 1:]).max() > 10 * noise


@pytest.mark.parametrize("prior", ("diagonal", "full"))
def test_the_prior_of_a_model_is_read_as_it_samples(prior):
    """Means and covariances of blocks of 1, 2 and 3 latents, against the samples from which `generate` decodes."""
    config = core.ModelConfig((1, 60, 60), (1, 3, 2), 1, "bernoulli", 0.5, 1.0, prior)
    model = core.build_model("MCCVAE", config, seed=0)
    for parameter in (model.prior_raw_scale, *([model.prior_lower] if prior == "full" else [])):
        nn.init.normal_(parameter, std=0.8)
    n, drawn = 100_000, []
    model.decode = lambda z: drawn.append(z)
    for value in (0, 1):
        core.generate(model, torch.full((n, 3), float(value)), generator=torch.Generator().manual_seed(value))
    for label, k in enumerate((1, 3, 2)):
        c = blocks.block_coordinates(model, label)
        assert c.size == k and torch.equal(c.weight, model.classifier_weight[list(c.latents)].detach().double())
        for value in (0, 1):
            z, scale = drawn[value][:, c.latents].double(), c.covariances[value].diagonal().sqrt()
            assert ((z.mean(0) - c.means[value]) / scale).abs().max() < 5 / math.sqrt(n)
            off = (torch.cov(z.T).reshape(k, k) - c.covariances[value]) / torch.outer(scale, scale)
            assert off.abs().max() < 8 / math.sqrt(n)


# --- priors: separation, KL, Bayes, AUC -------------------------------------------------------------------------


@pytest.mark.parametrize("k", KS)
def test_a_turned_block_has_the_same_numbers(k):
    c, q, z = random_block(k), rotation(k), normal(400, k)
    turned, z_turned = turn_block(c, q), z @ q.T
    a, r = c.decompose(z)
    a_turned, r_turned = turned.decompose(z_turned)
    assert torch.allclose(a_turned, a) and torch.allclose(r_turned, r @ q.T)
    assert blocks.separation(turned) == pytest.approx(blocks.separation(c))
    assert blocks.prior_divergence(turned) == pytest.approx(blocks.prior_divergence(c), nan_ok=True)
    y = (c.logit(z) + normal(400, 1)[:, 0] > 0).double()
    assert blocks.two_posteriors(turned, z_turned, y, 0.4) == pytest.approx(blocks.two_posteriors(c, z, y, 0.4))
    y = (z[:, -1] > 0).double()
    aucs = [blocks.across_auc(c_, (z_, y), (z_, y)) for c_, z_ in ((c, z), (turned, z_turned))]
    assert aucs[0] == pytest.approx(aucs[1], abs=1e-3)


def test_separation_is_counted_in_standard_deviations_of_the_logit():
    means, covariances = torch.tensor([[0.0, 0.0], [3.0, 1.0]]), torch.stack([torch.eye(2), 3 * torch.eye(2)])
    c = blocks.BlockCoordinates(0, (0, 1), torch.tensor([2.0, -2.0]), 0.0, means, covariances)
    assert blocks.separation(c) == pytest.approx(4 / math.sqrt(8 * 2))  # w.(3, 1) = 4, Sigma = 2 I


def quadrature(gaussian, nodes=4):
    """Points (M, k) and weights (M,) that integrate polynomials of low degree under a Gaussian exactly."""
    point, weight = np.polynomial.hermite_e.hermegauss(nodes)
    k = len(gaussian.loc)
    grid = torch.cartesian_prod(*[torch.tensor(point)] * k).reshape(-1, k)
    weights = torch.cartesian_prod(*[torch.tensor(weight / weight.sum())] * k).reshape(-1, k).prod(1)
    return gaussian.loc + grid @ gaussian.scale_tril.T, weights


@pytest.mark.parametrize("k", KS)
def test_the_parts_of_the_divergence_add_up_to_it(k):
    """Against torch's closed form, and quadrature of log p(z|1) / p(z|0), whose logit's part is taken out by hand."""
    c = random_block(k, seed=3)
    zero, one = (MultivariateNormal(m, s) for m, s in zip(c.means, c.covariances, strict=True))
    divergence = blocks.prior_divergence(c)
    assert divergence["along"] + divergence["across"] == pytest.approx(divergence["total"])
    assert divergence["total"] == pytest.approx(kl_divergence(one, zero).item())
    z, weights = quadrature(one)
    logit = [Normal(c.weight @ p.loc, (c.weight @ p.covariance_matrix @ c.weight).sqrt()) for p in (zero, one)]
    log_u = [p.log_prob(z @ c.weight) for p in logit]
    log_given_u = [p.log_prob(z) - u for p, u in zip((zero, one), log_u, strict=True)]
    assert divergence["along"] == pytest.approx((weights @ (log_u[1] - log_u[0])).item())
    assert divergence["across"] == pytest.approx((weights @ (log_given_u[1] - log_given_u[0])).item(), abs=1e-12)
    assert divergence["share_across"] == pytest.approx(divergence["across"] / divergence["total"])


def test_the_divergence_of_two_latents_by_a_sum_over_a_fine_grid():
    """No formula of a conditional or of the logit: densities on a grid of (u, v), v across; the marginal by sums."""
    c = random_block(2, seed=5)
    line = torch.linspace(-14, 14, 701, dtype=torch.float64)
    u, v = torch.meshgrid(line, line, indexing="ij")
    z = c.mean + u[..., None] * c.along + v[..., None] * c.across[:, 0]
    p0, p1 = (MultivariateNormal(m, s).log_prob(z).exp() for m, s in zip(c.means, c.covariances, strict=True))
    p0, p1 = p0 / p0.sum(), p1 / p1.sum()
    u0, u1 = p0.sum(1), p1.sum(1)
    along = torch.special.xlogy(u1, u1 / u0).nansum().item()
    total = torch.special.xlogy(p1, p1 / p0).nansum().item()
    expected = {"along": along, "across": total - along, "total": total, "share_across": 1 - along / total}
    assert blocks.prior_divergence(c) == pytest.approx(expected, rel=1e-6)


def test_a_label_that_the_prior_puts_in_one_place_has_its_divergence_there():
    covariances, w = torch.eye(2).repeat(2, 1, 1), torch.tensor([1.0, 1.0])
    for shift, share in (((1.0, 1.0), 0), ((1.0, -1.0), 1), ((2.0, 0.0), 0.5)):
        c = blocks.BlockCoordinates(0, (0, 1), w, 0.0, torch.tensor([(0.0, 0.0), shift]), covariances)
        assert blocks.prior_divergence(c)["share_across"] == pytest.approx(share, abs=1e-12)
    c = blocks.BlockCoordinates(0, (0, 1), w, 0.0, torch.zeros(2, 2), covariances)
    assert math.isnan(blocks.prior_divergence(c)["share_across"]) and blocks.separation(c) == 0


def test_bayes_rule_by_counting_draws():
    """Of draws from p(y) p(z|y), the share with y = 1 among those with p(y = 1|z) near p is p; q is miscalibrated."""
    c, prior, n = random_block(2), 0.3, 100_000
    y = (torch.rand(n, generator=torch.Generator().manual_seed(0)) < prior).double()
    roots = torch.linalg.cholesky(c.covariances)[y.long()]
    z = c.means[y.long()] + (roots @ normal(n, 2)[..., None])[..., 0]
    p = blocks.bayes_probability(c, z, prior)
    for low in np.arange(0, 1, 0.1):
        near = (p >= low) & (p < low + 0.1)
        assert abs((y - p)[near].sum()) <= 5 * 0.5 * math.sqrt(near.sum())
    scores = blocks.two_posteriors(c, z, y, prior)
    assert scores["bayes_calibration"] < 0.01 < 0.05 < scores["classifier_calibration"]
    assert scores["bayes_nats"] < scores["classifier_nats"]
    assert scores["difference"] == pytest.approx((p - c.logit(z).sigmoid()).abs().mean().item())


def test_bayes_rule_is_the_classifier_where_the_classes_differ_by_a_shift():
    """With one covariance S the log ratio is linear, w = S^-1 (mu_1 - mu_0): p(y|z) is q(y|z), nothing lies across."""
    means, S = torch.tensor([[0.5, 0.0], [1.0, 2.0]]), torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    w = torch.linalg.solve(S, means[1] - means[0])
    bias = -(means.sum(0) @ w / 2).item()
    c = blocks.BlockCoordinates(0, (0, 1), w, bias, means, S.repeat(2, 1, 1))
    z, y = normal(100, 2), torch.arange(100) % 2
    assert blocks.two_posteriors(c, z, y, 0.5)["difference"] < 1e-6
    assert blocks.prior_divergence(c)["across"] < 1e-12


def test_calibration_error_on_three_images_by_hand():
    p, y = torch.tensor([0.12, 0.18, 1.0]), torch.tensor([0, 1, 1])
    assert blocks.calibration_error(p, y) == pytest.approx(2 / 3 * (0.5 - 0.15))


def test_what_lies_across_is_read_from_r_alone():
    c = random_block(2)
    y = (torch.arange(800) % 2).double()
    halves = lambda z: ((z[:400], y[:400]), (z[400:], y[400:]))  # noqa: E731
    a, r = 5 * y, normal(800, 2) @ torch.outer(c.across[:, 0], c.across[:, 0])
    assert abs(blocks.across_auc(c, *halves(c.compose(a, r))) - 0.5) < 0.09  # it is along; 0.09: 3 sd of chance
    assert blocks.across_auc(c, *halves(c.compose(a, r + 9 * y[:, None] * c.across[:, 0]))) > 0.99
    assert blocks.across_auc(random_block(1), *halves(y[:, None])) == 0.5
    z = normal(800, 2)
    assert math.isnan(blocks.across_auc(c, (z, torch.zeros(800)), (z, y)))


# --- moves and what they change ---------------------------------------------------------------------------------


def set_block(model, c):
    """Give a model with a full block_prior the prior and classifier of these coordinates."""
    latents = list(c.latents)
    model.classifier_weight.data[latents] = c.weight.to(model.classifier_weight)
    for value in (0, 1):
        root = torch.linalg.cholesky(c.covariances[value])
        scale = root.diagonal()
        whitening = torch.linalg.inv(root / scale[:, None])
        model.prior_loc.data[value, latents] = c.means[value].to(model.prior_loc)
        model.prior_raw_scale.data[value, latents] = scale.expm1().log().to(model.prior_loc)
        for row, latent in enumerate(latents):
            model.prior_lower.data[value, latent, latents] = whitening[row].to(model.prior_loc)


def full_model(k=3):
    """An untrained network with blocks of 1 and k latents, all of its prior full and its second block random."""
    config = core.ModelConfig((1, 60, 60), (1, k), 2, "bernoulli", 0.5, 0.5, "full")
    model = core.build_model("MCCVAE", config, seed=0).double().requires_grad_(False)
    for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
        parameter.data *= math.sqrt(6)  # from torch's default spread to He's, so that no signal dies on the way
    c = random_block(k)
    set_block(model, blocks.BlockCoordinates(1, tuple(range(1, 1 + k)), c.weight, 0.0, c.means, c.covariances))
    return model


def turn_model(model, q):
    """The same model with the latents q z in its second block: encoder, decoder, classifier and prior turned."""
    turned = core.build_model("MCCVAE", model.config, seed=0).double().requires_grad_(False)
    turned.load_state_dict(model.state_dict())
    c = blocks.block_coordinates(model, 1)
    set_block(turned, turn_block(c, q))
    latents = list(c.latents)
    for values in (turned.encoder.loc.weight.data, turned.encoder.loc.bias.data):
        values[latents] = q @ values[latents]
    weight = turned.decoder.layers[0].weight.data
    weight[:, latents] = weight[:, latents] @ q.T
    return turned


@pytest.mark.parametrize("k", (2, 3))
def test_no_rotation_changes_the_effects_along_and_across(k):
    """A real encoder and decoder; the effects in single latents do change."""
    model, q, z = full_model(k), rotation(k), normal(6, 3 + k)
    turned, z_turned = turn_model(model, q), z.clone()
    z_turned[:, 1 : 1 + k] = z[:, 1 : 1 + k] @ q.T
    assert torch.allclose(turned.decode(z_turned), model.decode(z))
    one, two = (effects.block_effects(m, z_, 1, effects.own_reading(m)) for m, z_ in ((model, z), (turned, z_turned)))
    for kind in ("along", "across"):
        assert one.labels[kind].max() > 1e-3 and one.pixels[kind].max() > 1e-3
        assert np.allclose(two.labels[kind], one.labels[kind], rtol=1e-6)
        assert np.allclose(two.pixels[kind], one.pixels[kind], rtol=1e-6)
    assert one.effective()["own"] == pytest.approx(two.effective()["own"])
    assert one.effective()["single"] != pytest.approx(two.effective()["single"], rel=1e-3)
    a, b = normal(20, 3 + k, 8), normal(20, 3 + k, 9)
    for part in ("along", "across"):
        expected = model.decode(effects.swap_part(blocks.block_coordinates(model, 1), a, b, part))
        turned_pair = [torch.cat([v[:, :1], v[:, 1 : 1 + k] @ q.T, v[:, 1 + k :]], dim=1) for v in (a, b)]
        swapped = effects.swap_part(blocks.block_coordinates(turned, 1), *turned_pair, part)
        assert torch.allclose(turned.decode(swapped), expected)


@pytest.mark.parametrize("k", KS)
def test_one_direction_alone_is_one_variable_here_and_k_single_latents(k):
    """The classifier adds up the latents of a block and the pictures show them all alike."""
    model, z = LinearPictures((k, 1)), normal(30, k + 2)
    found = effects.block_effects(model, z, 0, effects.own_reading(model))
    assert found.effective() == pytest.approx({"own": 1, "single": k}, rel=1e-3)
    assert found.effective()["own"] == pytest.approx(1)
    assert found.labels["across"].shape == (k - 1, 2) and np.allclose(found.labels["across"], 0)
    assert found.labels["along"][0, 0] > 0.2 and found.labels["along"][0, 1] < 1e-12
    assert found.effective("pixels")["own"] == pytest.approx(k, rel=0.1)  # across changes as many pixels as along


def test_effects_are_those_of_two_ends_by_hand():
    """k = 2, w = (1, 1), softplus(1) the standard deviation: the logit at a = +-2 is +-2 sqrt(2) sd, from any start."""
    model, z, sd = LinearPictures((2, 1)), normal(40, 4), math.log1p(math.e)
    found = effects.block_effects(model, z, 0, effects.own_reading(model))
    rise = math.tanh(math.sqrt(2) * sd)  # sigmoid(u) - sigmoid(-u) = tanh(u / 2)
    assert found.labels["along"][0, 0] == pytest.approx(rise)
    assert found.labels["whole"][0, 0] == pytest.approx(math.tanh(2 * sd))
    other = z[:, [1, 0]]
    single = ((other + 2 * sd).sigmoid() - (other - 2 * sd).sigmoid()).mean(0)
    assert np.allclose(found.labels["single"][:, 0], single)
    middle = z[:, :2].mean(1)  # z1 - z2 goes from -2 to +2 of its standard deviations, sqrt(2) sd
    ends = [(middle + sign * math.sqrt(2) * sd).sigmoid() for sign in (1, -1)]
    pixels = 9 / 3600 * 2 * (ends[0] - ends[1]).mean().item()
    assert found.pixels["across"] == pytest.approx([pixels])
    labels, mean_pixels = found.score("across")
    assert labels == pytest.approx([0, 0], abs=1e-12) and mean_pixels == pytest.approx(pixels)


def test_the_basis_across_begins_with_what_changes_most_pixels():
    """w = (1, 0, 0): across lie the second latent, which lights 9 pixels, and the third, which lights 40: first."""
    model = LinearPictures((3,), style_dim=0, lit=[9, 9, 40])
    model.classifier_weight[1:] = 0
    c = effects.order_across(model, blocks.block_coordinates(model, 0), torch.zeros(5, 3, dtype=torch.float64))
    sd = math.log1p(math.e)
    assert torch.allclose(c.across, sd * torch.tensor([[0.0, 0], [0, 1], [1, 0]], dtype=torch.float64), atol=1e-7)
    found = effects.block_effects(model, normal(20, 3), 0, effects.own_reading(model))
    assert found.pixels["across"][0] > 3 * found.pixels["across"][1] > 0
    assert found.score("across")[1] == pytest.approx(math.sqrt((found.pixels["across"] ** 2).mean()))


@pytest.mark.parametrize("shape", ((6,), (4, 6), (2, 2, 6)))
def test_walks_leave_what_they_do_not_move(shape):
    model, z = LinearPictures((1, 3), style_dim=2), normal(4, 6)[: math.prod(shape[:-1])].reshape(shape)
    model.classifier_weight[:] = torch.tensor([1.0, 0.5, -2.0, 0.1])
    c, steps = blocks.block_coordinates(model, 1), 5
    _, r = c.decompose(z[..., 1:4])
    along = effects.block_walk(model, c, z, effects.Move("along"), steps)
    assert along.images.shape == (steps, *shape[:-1], 1, 60, 60) and along.reencoded.shape == (steps, *shape[:-1], 2)
    assert torch.allclose(along.reencoded, along.probabilities)  # this encoder reads z back
    a_t, r_t = c.decompose(along.z[..., 1:4])
    assert torch.allclose(r_t, r.expand_as(r_t))
    assert torch.allclose(a_t, torch.linspace(-2, 2, steps).double().reshape(-1, *[1] * (z.ndim - 1)).expand_as(a_t))
    for number in (0, 1):
        across = effects.block_walk(model, c, z, effects.Move("across", number, 1.0), steps)
        moved = across.z[..., 1:4]
        assert torch.allclose(c.logit(moved), c.logit(z[..., 1:4]).expand(moved.shape[:-1]), atol=1e-12)
        assert torch.allclose(across.probabilities, across.probabilities[:1].expand_as(across.probabilities))
        now, start = (c.across_coordinates(v) for v in (c.decompose(moved)[1], r))
        assert np.allclose(now[0, ..., number], -1) and np.allclose(now[-1, ..., number], 1)
        assert torch.allclose(now[..., 1 - number], start[..., 1 - number].expand(moved.shape[:-1]))
    whole, single = (effects.block_walk(model, c, z, effects.Move(kind, 0), steps).z for kind in ("whole", "single"))
    assert torch.allclose(whole, core.latent_walk(model, z, {1: 1}, steps=steps).z)
    assert torch.allclose(single, core.latent_walk(model, z, {1: 1}, within=0, steps=steps).z)
    for path in (along.z, across.z, whole):
        assert torch.equal(path[..., [0, 4, 5]], z[..., [0, 4, 5]].expand(steps, *z.shape[:-1], 3))


def test_matrices_and_the_share_of_the_own_label():
    """Blocks that move their label alone have a share of 1, even matrices 0; exclusive labels reach one half."""
    model, z = LinearPictures((2, 1, 2)), normal(10, 6)
    found = [effects.block_effects(model, z, label, effects.own_reading(model)) for label in range(3)]
    for kind in ("along", "whole"):
        matrix = effects.effect_matrix(found, kind)
        assert np.allclose(matrix, np.diag(matrix.diagonal())) and matrix.diagonal().min() > 0.1
        assert effects.own_label_share(matrix, exclusive=False) == pytest.approx(1)
    across = effects.effect_matrix(found, "across")
    assert np.isnan(across[1]).all() and np.allclose(across[[0, 2]], 0)
    assert effects.own_label_share(np.ones((4, 4)), exclusive=False) == pytest.approx(0)
    swapped = np.eye(4) + (1 - np.eye(4)) / 3  # what one label gains the three others lose
    assert effects.own_label_share(swapped, exclusive=True) == pytest.approx(1)
    assert effects.own_label_share(swapped, exclusive=False) == pytest.approx(1 / 3)
    assert math.isnan(effects.own_label_share(np.zeros((3, 3)), exclusive=False))
    assert math.isnan(effects.own_label_share(np.eye(2), exclusive=True))


def test_effective_numbers_by_hand():
    assert effects.effective_number([2.0, 0, 0]) == 1 and effects.effective_number([1, 1, 1]) == pytest.approx(3)
    assert effects.effective_number([0.9, 0.1]) == pytest.approx(math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)))
    assert math.isnan(effects.effective_number([0.0, 0.0]))


def test_swaps_take_the_label_along_and_leave_it_across():
    model, rng = LinearPictures((2, 1)), np.random.default_rng(0)
    a, b = torch.from_numpy(rng.normal(size=(2, 200, 4)))
    scores = effects.swap_effects(model, a, b, 0, effects.own_reading(model))
    pairs = int(((a[:, :2].sum(1) > 0) != (b[:, :2].sum(1) > 0)).sum())
    for part, taken in (("along", 1.0), ("across", 0.0), ("whole", 1.0)):
        assert scores[part] == {"pairs": pairs, "taken": taken, "kept": 1.0}
    c = blocks.block_coordinates(model, 0)
    assert torch.allclose(effects.swap_part(c, a, b, "whole")[:, :2], b[:, :2])
    (a_a, r_a), (a_b, r_b) = (c.decompose(z[:, :2]) for z in (a, b))
    for part, expected in (("along", (a_b, r_a)), ("across", (a_a, r_b))):
        swapped = effects.swap_part(c, a, b, part)
        assert all(torch.allclose(*pair) for pair in zip(c.decompose(swapped[:, :2]), expected, strict=True))
        assert torch.equal(swapped[:, 2:], a[:, 2:])
    same = effects.swap_effects(model, a, a, 0, effects.own_reading(model))["along"]
    assert same["pairs"] == 0 and math.isnan(same["taken"]) and math.isnan(same["kept"])


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", (-1, 2))
def test_a_label_that_is_not_there(label):
    with pytest.raises(ValueError, match=f"label must lie between 0 and 1, not {label}"):
        blocks.block_coordinates(LinearPictures((2, 1)), label)


def test_a_model_without_blocks():
    vae = core.build_model("VAE", core.ModelConfig((1, 60, 60), (1,), 1, "bernoulli", 0.5), seed=0)
    with pytest.raises(TypeError, match="this model is a VAE"):
        blocks.block_coordinates(vae, 0)


BROKEN = {
    "weight is 0": {"weight": torch.zeros(2)},
    "weight must be finite": {"weight": torch.tensor([1.0, math.nan])},
    r"weight must be \(2,\), not \(3,\)": {"weight": torch.ones(3)},
    r"means must be \(2, 2\), not \(2,\)": {"means": torch.ones(2)},
    "covariances must be positive definite": {"covariances": -torch.eye(2).repeat(2, 1, 1)},
    r"turn must be \(1, 1\)": {"turn": torch.eye(2)},
}


@pytest.mark.parametrize(("message", "changed"), BROKEN.items(), ids=str)
def test_coordinates_that_make_no_block(message, changed):
    good = {"weight": torch.ones(2), "means": torch.zeros(2, 2), "covariances": torch.eye(2).repeat(2, 1, 1)}
    with pytest.raises(ValueError, match=f"label 7: {message}"):
        blocks.BlockCoordinates(7, (0, 1), bias=0.0, **(good | changed))


C2 = random_block(2)
Z4 = torch.zeros(3, 4, dtype=torch.float64)


def moved(model, move, steps=2, z=Z4):
    return effects.block_path(model, blocks.block_coordinates(model, 0), z, move, steps)


REFUSED = {
    r"z_block must be \(..., 2\), its block's latents, not \(4, 3\)": lambda m: C2.decompose(torch.zeros(4, 3)),
    r"r must be \(..., 2\)": lambda m: C2.compose(torch.zeros(4), torch.zeros(4, 1)),
    r"prior must lie inside \(0, 1\), not 1": lambda m: blocks.bayes_probability(C2, torch.zeros(1, 2), 1),
    r"labels must be \(3,\), one per image": lambda m: blocks.two_posteriors(C2, Z4[:, :2], torch.zeros(2), 0.5),
    "labels must be 0 or 1": lambda m: blocks.calibration_error(torch.ones(1), torch.tensor([math.nan])),
    "a move must be one of": lambda m: effects.Move("around"),
    "spread must be above 0": lambda m: effects.Move("along", 0, 0.0),
    "1 moves of the kind 'across', counted from 0; there is no number 1": lambda m: moved(m, effects.Move("across", 1)),
    "there is no number 2": lambda m: moved(m, effects.Move("single", 2)),
    "steps must be 2 or more": lambda m: moved(m, effects.Move("along"), steps=1),
    r"z must be \(..., 4\), the model's latents": lambda m: moved(m, effects.Move("along"), z=Z4[:, :3]),
    "with at least one start": lambda m: effects.block_effects(m, Z4[:0], 0, effects.own_reading(m)),
    r"reader must return \(N, L\) = \(3, 2\)": lambda m: effects.block_effects(m, Z4, 0, lambda x: torch.zeros(len(x))),
    "part must be one of": lambda m: effects.swap_part(C2, Z4, Z4, "single"),
    "must have one shape": lambda m: effects.swap_part(C2, Z4, Z4[:1], "along"),
    "of all 0 labels": lambda m: effects.effect_matrix([], "along"),
    "on must be 'label' or 'pixels'": lambda m: effects.BlockEffects(0, {}, {}).effective("sound"),
}


@pytest.mark.parametrize(("message", "call"), REFUSED.items(), ids=lambda part: part if isinstance(part, str) else "")
def test_bad_input_is_refused_in_words(message, call):
    with pytest.raises(ValueError, match=message):
        call(LinearPictures((2, 1)))
