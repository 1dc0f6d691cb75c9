"""A label's block of latents in its own coordinates: along the classifier's direction, and across it.

The classifier of a label is linear in its block z (k,): u = w.z + b. It sees one direction and ignores the k - 1
others; what the encoder and the conditional prior put there has to be measured. With mu_v and Sigma_v of p(z|y = v),
their means mu and Sigma over v = 0, 1, and sigma_u^2 = w'Sigma w, every block is

    z = mu + a Sigma w / sigma_u + r,    a = w.(z - mu) / sigma_u,    r what is left.

    w.r = w.(z - mu) - a w'Sigma w / sigma_u = 0: r leaves the logit u = w.mu + b + a sigma_u as it is.
    Cov(r, a) = Sigma w / sigma_u - Var(a) Sigma w / sigma_u = 0 under N(mu, Sigma), where Var(a) = 1: independent.

*Along* is a; *across* is r = E c, where the columns of E (k, k - 1) are Sigma-orthonormal: w'E = 0, E'Sigma^-1 E = I
and Sigma = Sigma w w'Sigma / sigma_u^2 + E E'. So a and each entry of c have standard deviation 1 under N(mu, Sigma).
A block that is turned by any rotation, with w and both p(z|y = v) turned too, keeps its a; its r is turned with it.

Shapes: N images, L labels, k latents of the label, Z latents in all. Everything here is float64 on the CPU.
"""

import dataclasses
import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import mccvae_core as core

BINS = 10  # of the expected calibration error


@dataclasses.dataclass(frozen=True, eq=False)
class BlockCoordinates:
    """The coordinates of one label's block; `block_coordinates` reads them from a model.

    label: its number. latents: the block's positions in z, k of them. weight (k,) and bias: the classifier's w and b.
    means (2, k) and covariances (2, k, k): of p(z|y = 0) and p(z|y = 1). turn (k - 1, k - 1): an orthogonal matrix
    that chooses the basis across; None: the one that the singular value decomposition gives.

    Raises ValueError for shapes that do not fit, for values that are not finite, for a weight of 0, and for a
    covariance that is not positive definite.
    """

    label: int
    latents: tuple[int, ...]
    weight: Tensor
    bias: float
    means: Tensor
    covariances: Tensor
    turn: Tensor | None = None

    def __post_init__(self):
        k = len(self.latents)
        shapes = {"weight": (k,), "means": (2, k), "covariances": (2, k, k), "turn": (k - 1, k - 1)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            if tuple(value.shape) != shape:
                raise ValueError(f"label {self.label}: {name} must be {shape}, not {tuple(value.shape)}")
            value = value.detach().cpu().double()
            if not value.isfinite().all():
                raise ValueError(f"label {self.label}: {name} must be finite; look whether the model's weights are")
            object.__setattr__(self, name, value)
        if not self.weight.any():
            raise ValueError(f"label {self.label}: weight is 0, so no direction of the block is along it")
        if torch.linalg.cholesky_ex(self.covariances).info.any():
            raise ValueError(f"label {self.label}: covariances must be positive definite")

    @property
    def size(self) -> int:
        """k."""
        return len(self.latents)

    @property
    def mean(self) -> Tensor:
        """mu (k,)."""
        return self.means.mean(0)

    @property
    def covariance(self) -> Tensor:
        """Sigma (k, k), the mean covariance within the classes."""
        return self.covariances.mean(0)

    @property
    def logit_sd(self) -> float:
        """sigma_u, the standard deviation of the logit under N(mu, Sigma)."""
        return (self.weight @ self.covariance @ self.weight).sqrt().item()

    @property
    def along(self) -> Tensor:
        """Sigma w / sigma_u (k,): how the block changes when a grows by 1."""
        return self.covariance @ self.weight / self.logit_sd

    @functools.cached_property
    def across(self) -> Tensor:
        """E (k, k - 1), the Sigma-orthonormal basis across w; without columns where k = 1."""
        root = torch.linalg.cholesky(self.covariance)
        normal = root.T @ self.weight / self.logit_sd  # w where Sigma is the identity: a unit vector
        basis = root @ torch.linalg.svd(normal[None], full_matrices=True).Vh[1:].T
        return basis if self.turn is None else basis @ self.turn

    def decompose(self, z_block: Tensor) -> tuple[Tensor, Tensor]:
        """z_block (..., k) -> a (...,) and r (..., k). Raises ValueError for another number of latents."""
        deviation = self._checked(z_block, "z_block") - self.mean
        a = deviation @ self.weight / self.logit_sd
        return a, deviation - a[..., None] * self.along

    def compose(self, a: Tensor, r: Tensor) -> Tensor:
        """a (...,) and r (..., k) -> the block (..., k). Raises ValueError for another number of latents."""
        return self.mean + a.cpu().double()[..., None] * self.along + self._checked(r, "r")

    def across_coordinates(self, r: Tensor) -> Tensor:
        """c (..., k - 1) with r = E c, for r (..., k) as `decompose` gives it."""
        return self._checked(r, "r") @ torch.linalg.solve(self.covariance, self.across)

    def logit(self, z_block: Tensor) -> Tensor:
        """u = w.z + b (...,), the logit of q(y = 1|z), for z_block (..., k)."""
        return self._checked(z_block, "z_block") @ self.weight + self.bias

    def turned(self, turn: Tensor) -> "BlockCoordinates":
        """The same coordinates with the basis E turn across, for an orthogonal turn (k - 1, k - 1)."""
        return dataclasses.replace(self, turn=turn if self.turn is None else self.turn @ turn.cpu().double())

    def _checked(self, value: Tensor, name: str) -> Tensor:
        if value.ndim == 0 or value.shape[-1] != self.size:
            shape = tuple(value.shape)
            raise ValueError(f"label {self.label}: {name} must be (..., {self.size}), its block's latents, not {shape}")
        return value.detach().cpu().double()


@torch.no_grad()
def block_coordinates(model: core.MCCVAE, label: int) -> BlockCoordinates:
    """The coordinates of a label's block, from the model's classifier and conditional prior.

    With a full block_prior (I + T)(z - mean) / scale is a standard normal, so Sigma_v = D (I + T)^-1 (I + T)^-T D,
    D = diag(scale). A column of a categorical label is its value against the others: `_of_value`. Raises TypeError for
    a model without blocks, ValueError for a label that the model lacks.
    """
    if not isinstance(model, core.MCCVAE):
        raise TypeError(f"only an MCCVAE or CCVAE has blocks; this model is a {type(model).__name__}")
    latents = core.block_of(model, label)
    if (columns := model.values_of(label)) is not None:
        return _of_value(model, label, columns, latents)
    means, covariances = [], []
    for value in (0, 1):
        prior = model.conditional_prior(torch.full_like(model.label_prior, value))  # of a number: its mean, 1 sd above
        root = torch.diag(prior.scale[latents].cpu().double())
        whitening = model.prior_whitening(value)
        if whitening is not None:
            root = root @ torch.linalg.inv(whitening[latents][:, latents].cpu().double())
        means.append(prior.loc[latents])
        covariances.append(root @ root.T)
    weight, bias = model.classifier_weight[latents], model.classifier_bias[label].item()
    return BlockCoordinates(label, tuple(latents), weight, bias, torch.stack(means), torch.stack(covariances))


def _of_value(model: core.MCCVAE, label: int, columns: slice, block: list[int]) -> BlockCoordinates:
    """A categorical label's block, for its value at column `label` (1) against the other values together (0): these
    have the mean and covariance of the mixture of their priors, and their logits' mean, all weighted by p(y)."""
    others = [column for column in range(columns.start, columns.stop) if column != label]
    p = model.label_prior[others].cpu().double()
    p = p / p.sum()
    loc = model.value_loc[:, block].detach().cpu().double()
    variance = torch.nn.functional.softplus(model.value_raw_scale[:, block]).clamp(min=core.MIN_SCALE) ** 2
    variance = variance.detach().cpu().double()
    mean = p @ loc[others]
    apart = loc[others] - mean
    spread = (p @ variance[others]).diag() + (apart * p[:, None]).T @ apart
    W, b = model.value_weight[block].cpu().double(), model.classifier_bias.cpu().double()
    weight, bias = W[:, label] - W[:, others] @ p, (b[label] - b[others] @ p).item()
    means, covariances = torch.stack([mean, loc[label]]), torch.stack([spread, variance[label].diag()])
    return BlockCoordinates(label, tuple(block), weight, bias, means, covariances)


def separation(coordinates: BlockCoordinates) -> float:
    """|w.(mu_1 - mu_0)| / sigma_u: how far apart the prior puts the label's values along w, in standard deviations."""
    shift = coordinates.weight @ (coordinates.means[1] - coordinates.means[0])
    return abs(shift.item()) / coordinates.logit_sd


def prior_divergence(coordinates: BlockCoordinates) -> dict[str, float]:
    """KL(p(z|1) || p(z|0)) of a block in nats, as the sum of what lies along w and what lies across it.

    along: KL of the logit u. across: the mean over u ~ p(u|1) of the KL of r given u. Both are between Gaussians, in
    closed form. total: their sum, by the chain rule. share_across: across / total; NaN where total is 0.
    """
    c = coordinates
    to_across = torch.linalg.solve(c.covariance, c.across).T
    to_coordinates = torch.cat([c.weight[None] / c.logit_sd, to_across])  # (k, k): z -> (a, c)
    mean = (c.means - c.mean) @ to_coordinates.T
    covariance = to_coordinates @ c.covariances @ to_coordinates.T
    variance = covariance[:, 0, 0]
    slope = covariance[:, 1:, 0] / variance[:, None]  # of E[c|a]
    given = covariance[:, 1:, 1:] - slope[:, :, None] * covariance[:, None, 0, 1:]  # Cov[c|a]
    shift = mean[1] - mean[0]
    along = _gaussian_kl(shift[:1, None], covariance[1, :1, :1], covariance[0, :1, :1])
    middle = shift[1:] - slope[0] * shift[0]  # E[c|a, 1] - E[c|a, 0] at a = E[a|1]
    shifts = torch.stack([middle, variance[1].sqrt() * (slope[1] - slope[0])], dim=1)
    across = _gaussian_kl(shifts, given[1], given[0])
    total = along + across
    return {"along": along, "across": across, "total": total, "share_across": across / total if total > 0 else math.nan}


def _gaussian_kl(shifts: Tensor, first: Tensor, second: Tensor) -> float:
    """Mean KL(N(m_1, first) || N(m_0, second)), where (m_1 - m_0)(m_1 - m_0)' has the mean shifts shifts', (d, d)."""
    if len(first) == 0:
        return 0.0
    inner = torch.linalg.solve(second, first + shifts @ shifts.T).trace() - len(first)
    return 0.5 * (inner + torch.logdet(second) - torch.logdet(first)).item()


def bayes_probability(coordinates: BlockCoordinates, z_block: Tensor, prior: float) -> Tensor:
    """p(y = 1|z) (...,) of the generative side, by Bayes' rule from p(z|y) and p(y = 1) = prior, for blocks (..., k).

    Raises ValueError for a prior outside (0, 1) and for another number of latents."""
    if not 0 < prior < 1:
        raise ValueError(f"prior must lie inside (0, 1), not {prior}")
    z = coordinates._checked(z_block, "z_block")
    classes = [MultivariateNormal(m, s) for m, s in zip(coordinates.means, coordinates.covariances, strict=True)]
    log_ratio = classes[1].log_prob(z) - classes[0].log_prob(z)
    return (log_ratio + math.log(prior) - math.log1p(-prior)).sigmoid()


def two_posteriors(coordinates: BlockCoordinates, z_block: Tensor, y: Tensor, prior: float) -> dict[str, float]:
    """The generative side's p(y|z) (`bayes_probability`) against the classifier's q(y|z): blocks (N, k), labels (N,).

    difference: the mean of |p(y = 1|z) - q(y = 1|z)|. For each side, `bayes` and `classifier`: nats, the mean of
    -log p(y|z); calibration, `calibration_error`. Raises ValueError where labels and blocks do not fit.
    """
    y = _binary(y, len(z_block))
    p = bayes_probability(coordinates, z_block, prior)
    q = coordinates.logit(z_block).sigmoid()
    scores = {"difference": (p - q).abs().mean().item()}
    for name, probability in (("bayes", p), ("classifier", q)):
        scores[f"{name}_nats"] = torch.nn.functional.binary_cross_entropy(probability, y).item()
        scores[f"{name}_calibration"] = calibration_error(probability, y)
    return scores


def calibration_error(probability: Tensor, y: Tensor) -> float:
    """Expected calibration error (Naeini et al. 2015) of p(y = 1) (N,) for labels (N,), in [0, 1].

    The mean of |rate of the label - mean probability| over BINS equal bins of probability, weighted by their images."""
    y = _binary(y, len(probability))
    number = (probability * BINS).long().clamp(max=BINS - 1)
    surplus = torch.zeros(BINS, dtype=torch.float64).index_add(0, number, y - probability.double())
    return surplus.abs().sum().item() / len(y)


def across_auc(coordinates: BlockCoordinates, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """How well r alone tells the label: area under the curve of a logistic regression on c, on held-out images.

    train and test: blocks (N, k) and labels (N,). Chance is 1/2, the value for k = 1, where nothing lies across. A
    linear reader sees a shift across w, not another spread. NaN where either part has only one value of the label.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    labels = [_binary(y, len(z)).numpy() for z, y in (train, test)]
    codes = [coordinates.across_coordinates(coordinates.decompose(z)[1]).numpy() for z, _ in (train, test)]
    if min(len(np.unique(y)) for y in labels) < 2:
        return math.nan
    if coordinates.size == 1:
        return 0.5
    reader = LogisticRegression().fit(codes[0], labels[0])
    return float(roc_auc_score(labels[1], reader.decision_function(codes[1])))


def _binary(y: Tensor, count: int) -> Tensor:
    """Labels (N,) as float64. Raises ValueError for another shape, none at all, and values other than 0 and 1."""
    if count == 0 or tuple(y.shape) != (count,):
        raise ValueError(f"labels must be ({count},), one per image and at least one, not {tuple(y.shape)}")
    y = y.cpu().double()
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("labels must be 0 or 1; leave out images whose label is not known")
    return y
