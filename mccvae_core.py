"""Characteristic-capturing VAEs: models, losses, training, evaluation and interventions.

This file is the method of Bardusco & Bourbon, "Capturing Label Characteristics in VAEs" (the paper),
and of its parent, Joy et al., "Capturing Label Characteristics in VAEs", ICLR 2021 (CCVAE). Read it
from top to bottom: tensors come in, tensors go out; nothing here plots or knows a data set.

The model (paper, sections 2 and 3.2). An image x has binary labels y = (y_1, ..., y_L). Its latent vector is

    z = [z_c | z_style],   z_c = [z_c^1 | ... | z_c^L],   z_c^i = (z_c^{i,1}, ..., z_c^{i,k_i}),

where only the block z_c^i, the *characteristics* of label i, may speak about y_i:

    p(x, z, y) = p(x|z) p(z_style) prod_i p(z_c^i|y_i) p(y_i)        generative model
    q(z|x) prod_i q(y_i|z_c^i)                                        encoder and block-diagonal classifier

k_i = 1 for every label is CCVAE; more is MCCVAE. One labelled image contributes (section 2.3)

    L(x, y) = E_q(z|x)[ w log p(x|z) p(z|y) / (q(y|z_c) q(z|x)) ] + log q(y|x) + log p(y),
    w = q(y|z_c) / q(y|x),   q(y|x) = E_q(z|x) q(y|z_c),

and one unlabelled image

    L(x) = E_q(z|x) q(y|z_c)[ log p(x|z) p(z|y) p(y) / (q(y|z_c) q(z|x)) ].

Both are lower bounds to maximise; every loss below is their negative, in nats per image.

Shapes: B images, L labels, C = sum_i k_i characteristics, S style latents, Z = C + S latents.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import time
import warnings
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

LIKELIHOODS = ("bernoulli", "laplace", "bernoulli-two-sigmoids")
ESTIMATORS = ("official", "rao-blackwell")
LEARNING_RATE = 2e-4  # Adam, paper section 4
OFFICIAL_DRAWS = 100  # K, further draws of z for q(y|x) in the official estimator
NODES = 32  # of the Gauss-Hermite quadrature over a label's logit
CHECKPOINT_SECONDS = 60  # between checkpoints within an epoch
MIN_SCALE = 1e-3  # floor of every standard deviation, as in the official code


# ---------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What defines a model, all of it.

    image_shape: (channels, height, width); height and width are equal, 60 or 64.
    characteristics: (k_1, ..., k_L), the number of latents of each label; all ones is CCVAE.
    style_dim: S.
    likelihood: "bernoulli" (pixels in [0, 1], sections 4.2 and 4.3) or "laplace" (scale 1, section 4.4); and
        "bernoulli-two-sigmoids", a likely slip that the audit tests: the logits went through a sigmoid already.
    label_prior: p(y_i = 1), one number for all labels or one for each.
    start_std: spread of the random start of the classifier's weights around 1 and of the conditional prior's means around
        0. 0 is the official code's start, where the latents of one block begin exactly alike.
    block_prior: "diagonal", or "full" for a p(z_c^i|y_i) whose k_i latents may be correlated (ours, not the paper's).

    Raises ValueError where a value makes no model.
    """

    image_shape: tuple[int, int, int]
    characteristics: tuple[int, ...]
    style_dim: int
    likelihood: str
    label_prior: float | tuple[float, ...]
    start_std: float = 0.0
    block_prior: str = "diagonal"

    def __post_init__(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        set_("image_shape", tuple(self.image_shape))
        set_("characteristics", tuple(self.characteristics))
        prior = self.label_prior
        set_("label_prior", tuple(prior) if hasattr(prior, "__iter__") else (float(prior),) * len(self.characteristics))
        if len(self.image_shape) != 3 or self.image_shape[0] not in (1, 3) or self.image_shape[1:] not in ((60, 60), (64, 64)):
            raise ValueError(f"image_shape must be (1 or 3, 60, 60) or (1 or 3, 64, 64), not {self.image_shape}")
        if not self.characteristics or min(self.characteristics) < 1:
            raise ValueError(f"characteristics must give every label at least one latent, not {self.characteristics}")
        if self.style_dim < 0:
            raise ValueError(f"style_dim must be 0 or more, not {self.style_dim}")
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {LIKELIHOODS}, not {self.likelihood!r}")
        if self.block_prior not in ("diagonal", "full"):
            raise ValueError(f"block_prior must be 'diagonal' or 'full', not {self.block_prior!r}")
        if len(self.label_prior) != len(self.characteristics) or not all(0 < p < 1 for p in self.label_prior):
            raise ValueError(f"label_prior must lie inside (0, 1), once or for each label, not {prior}")

    @property
    def labels(self) -> int:
        """L."""
        return len(self.characteristics)

    @property
    def characteristic_dim(self) -> int:
        """C = sum_i k_i."""
        return sum(self.characteristics)

    @property
    def latent_dim(self) -> int:
        """Z = C + S."""
        return self.characteristic_dim + self.style_dim


def _image_sides(side: int) -> list[int]:
    """Side of the feature maps after 0, 1, ..., 4 stride-2 convolutions: 64 32 16 8 4, or 60 30 15 7 3."""
    return [side >> i for i in range(5)]


class Encoder(nn.Module):
    """q(z|x) after Higgins et al. (2017) as CCVAE uses it: 4x4 stride-2 convolutions of 32, 32, 64 and 128
    channels, a layer of 256, then mean and standard deviation (softplus). (B, *image_shape) -> Normal (B, Z)."""

    def __init__(self, image_shape, latent_dim):
        super().__init__()
        channels = (image_shape[0], 32, 32, 64, 128)
        pairs = itertools.pairwise(channels)
        convolutions = [m for i, o in pairs for m in (nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), nn.ReLU())]
        self.features = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(128 * _image_sides(image_shape[1])[-1] ** 2, 256), nn.ReLU())
        self.loc = nn.Linear(256, latent_dim)
        self.scale = nn.Linear(256, latent_dim)

    def forward(self, x):
        h = self.features(x)
        return Normal(self.loc(h), F.softplus(self.scale(h)).clamp(min=MIN_SCALE), validate_args=False)


class Decoder(nn.Module):
    """The encoder's mirror. (..., latents) -> logits (..., *image_shape); the image mean is their sigmoid."""

    def __init__(self, image_shape, latent_dim):
        super().__init__()
        self.image_shape = image_shape
        channels, sides = (128, 64, 32, 32, image_shape[0]), _image_sides(image_shape[1])[::-1]
        layers = [
            nn.Linear(latent_dim, 256),
            nn.ReLU(),
            nn.Linear(256, 128 * sides[0] ** 2),
            nn.ReLU(),
            nn.Unflatten(1, (128, sides[0], sides[0])),
        ]
        for (i, o), (small, large) in zip(itertools.pairwise(channels), itertools.pairwise(sides), strict=True):
            layers += [nn.ConvTranspose2d(i, o, kernel_size=4, stride=2, padding=1, output_padding=large - 2 * small), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z):
        return self.layers(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], *self.image_shape)


class VAE(nn.Module):
    """Kingma & Welling's VAE (section 1), without labels; its Z latents are as many as the MCCVAE's of the same config."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.image_shape, config.latent_dim)
        self.decoder = Decoder(config.image_shape, config.latent_dim)

    def encode(self, x: Tensor) -> Normal:
        """q(z|x), a Normal (B, Z), for images x (B, *image_shape) in [0, 1]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x|z), (B, *image_shape) in [0, 1]: the one sigmoid that the decoder's output meets (but for the audit's slip)."""
        return self._logits(z).sigmoid()

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), (B,), in nats per image: a sum over pixels and channels.

        Bernoulli: x log m + (1-x) log(1-m), from logits. Laplace, scale 1: -|x - m| - log 2. m = decode(z).
        """
        logits = self._logits(z)
        if self.config.likelihood == "laplace":
            log_p = -(x - logits.sigmoid()).abs() - math.log(2)
        else:
            log_p = -F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return log_p.flatten(1).sum(1)

    def _logits(self, z):
        logits = self.decoder(z)
        return logits.sigmoid() if self.config.likelihood == "bernoulli-two-sigmoids" else logits


class ConditionalVAE(VAE):
    """Conditional VAE (section 1): the decoder takes [z | y], labels beside the latents."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.decoder = Decoder(config.image_shape, config.latent_dim + config.labels)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Mean of p(x|z,y) for latents z (B, Z) and labels y (B, L)."""
        return super().decode(torch.cat([z, y], dim=-1))

    def log_px(self, x: Tensor, z: Tensor, y: Tensor) -> Tensor:
        """log p(x|z,y), (B,), in nats per image."""
        return super().log_px(x, torch.cat([z, y], dim=-1))


class MCCVAE(VAE):
    """CCVAE with k_i latents for label i (section 3.2). k_i = 1 everywhere is CCVAE (section 2).

    Block-diagonal maps are stored as their blocks; the paper's dense weights with masked gradients take the
    same values through training. Classifier: u_i = w_i . z_c^i + b_i, q(y_i|z_c^i) = Ber(sigmoid(u_i)), started
    at w = 1, b = 0. Conditional prior: a mean and a standard deviation for each characteristic and each value
    of its label, started at mean 0 and softplus(1). With block_prior "full" the deviations e = (z_c^i - mean) / scale of a block
    are made independent standard normals by (I + T) e, T strictly lower triangular, a matrix for each value of the label,
    started at 0.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        owner = [i for i, k in enumerate(config.characteristics) for _ in range(k)]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)  # (C,): the label of each characteristic
        self.register_buffer("block", F.one_hot(self.owner, config.labels).float(), persistent=False)  # (C, L)
        self.register_buffer("label_prior", torch.tensor(config.label_prior), persistent=False)  # (L,): p(y_i = 1)
        self.classifier_weight = nn.Parameter(1 + config.start_std * torch.randn(config.characteristic_dim))
        self.classifier_bias = nn.Parameter(torch.zeros(config.labels))
        self.prior_loc = nn.Parameter(config.start_std * torch.randn(2, config.characteristic_dim))  # rows: y_i = 0, 1
        self.prior_raw_scale = nn.Parameter(torch.ones(2, config.characteristic_dim))
        if config.block_prior == "full":
            self.prior_lower = nn.Parameter(torch.zeros(2, config.characteristic_dim, config.characteristic_dim))

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., Z) -> z_c (..., C), z_style (..., S)."""
        return z[..., : self.config.characteristic_dim], z[..., self.config.characteristic_dim :]

    def split_posterior(self, q: Normal) -> tuple[Normal, Normal]:
        """q(z|x), a Normal (..., Z) -> q(z_c|x) and q(z_style|x)."""
        parts = zip(self.split(q.loc), self.split(q.scale), strict=True)
        q_c, q_style = (Normal(loc, scale, validate_args=False) for loc, scale in parts)
        return q_c, q_style

    def label_logits(self, z_c: Tensor) -> Tensor:
        """u (..., L), the logits of q(y_i = 1|z_c^i), for characteristics z_c (..., C)."""
        return (z_c * self.classifier_weight) @ self.block + self.classifier_bias

    def conditional_prior(self, y: Tensor) -> Normal:
        """p(z_c|y), a Normal (..., C), for labels y (..., L) of 0 and 1; with a full block_prior its means and scales alone."""
        y_c = y[..., self.owner]
        loc = torch.where(y_c > 0.5, self.prior_loc[1], self.prior_loc[0])
        raw_scale = torch.where(y_c > 0.5, self.prior_raw_scale[1], self.prior_raw_scale[0])
        return Normal(loc, F.softplus(raw_scale).clamp(min=MIN_SCALE), validate_args=False)

    def prior_whitening(self, value: int) -> Tensor | None:
        """I + T of the value of the labels, (C, C), zero outside the blocks; None for a diagonal prior."""
        if self.config.block_prior == "diagonal":
            return None
        within = (self.block @ self.block.T).tril(-1)
        return torch.eye(len(within), device=within.device, dtype=self.prior_lower.dtype) + self.prior_lower[value] * within

    def log_qyz(self, y: Tensor, z_c: Tensor) -> Tensor:
        """log q(y|z_c) = sum_i log Ber(y_i; sigmoid(u_i)), (...,), for y (..., L) and z_c (..., C)."""
        return F.logsigmoid((2 * y - 1) * self.label_logits(z_c)).sum(-1)

    def log_py(self, y: Tensor) -> Tensor:
        """log p(y) = sum_i log Ber(y_i; p_i), (...,), for y (..., L)."""
        return torch.where(y > 0.5, self.label_prior.log(), (-self.label_prior).log1p()).sum(-1)


MODELS = {cls.__name__: cls for cls in (VAE, ConditionalVAE, MCCVAE)}


def build_model(kind: str, config: ModelConfig, seed: int) -> VAE:
    """A new "VAE", "ConditionalVAE" or "MCCVAE" whose starting weights are a function of the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[kind](config).to(memory_format=torch.channels_last)


# ---------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LossTerms:
    """A loss over a batch and its parts, scalars: means in nats per image.

    Their sum, for every estimator and model:

        loss_alpha0 = reconstruction + kl_style + characteristics + log_qyz + weighting - log_qyx - log_py
        loss        = loss_alpha0 - label_weight * log_qyx + block_penalty * block_correlation

    loss             to minimise, the label weight in it.
    loss_alpha0      the negative of section 2.3's bound.
    reconstruction   -log p(x|z).
    kl_style         KL(q(z_style|x) || N(0, 1)).
    characteristics  the terms of z_c: in `official` KL(q(z_c|x) || p(z_c|y)); in `rao-blackwell` their whole expectation,
                     E[w_i (log q(z_c^i|x) + log q(y_i|z_c^i) - log p(z_c^i|y_i))] summed over labels.
    log_qyz          log q(y|z_c) inside the expectation; 0 in `rao-blackwell`, where `characteristics` has it.
    weighting        what w adds, image by image: in `official` (w - 1)(reconstruction + kl_style + characteristics + log_qyz);
                     in `rao-blackwell` (w - 1)(reconstruction + b), b the control variate for log p(x|z).
    log_qyx          sum of log q(y_i|x) over the known labels; 0 where none is known.
    log_py           log p(y), of labels that are not known its expectation.
    block_correlation  `block_total_correlation`, where a block_penalty asks for it; else 0.
    mean_weight      mean of w; its expectation is 1.
    ess              effective sample size of w, (sum w)^2 / sum w^2, in images: B where all weigh the same.

    log_px (B,), log p(x|z) of each image without its graph, is no term: it is what a control variate is made from.
    """

    loss: Tensor
    loss_alpha0: Tensor
    reconstruction: Tensor
    kl_style: Tensor
    characteristics: Tensor
    log_qyz: Tensor
    weighting: Tensor
    log_qyx: Tensor
    log_py: Tensor
    block_correlation: Tensor
    mean_weight: Tensor
    ess: Tensor
    log_px: Tensor

    @classmethod
    def of(
        cls,
        *,
        weight: Tensor | None = None,
        label_weight: float = 0.0,
        block_penalty: float = 0.0,
        block_correlation: Tensor | None = None,
        **parts: Tensor,
    ):
        """The terms of a batch from those of each image, (B,) each, by name; what a model lacks is 0, its weight w 1."""
        zero, log_px = torch.zeros_like(parts["reconstruction"]), -parts["reconstruction"].detach()
        adding, subtracting = ("reconstruction", "kl_style", "characteristics", "log_qyz", "weighting"), ("log_qyx", "log_py")
        mean = {name: parts.pop(name, zero).mean() for name in adding + subtracting}
        if parts:
            raise TypeError(f"no terms: {', '.join(parts)}")
        w = (zero + 1 if weight is None else weight).detach()
        loss_alpha0 = sum(mean[name] for name in adding) - sum(mean[name] for name in subtracting)
        block_correlation = zero.sum() if block_correlation is None else block_correlation
        loss = loss_alpha0 - label_weight * mean["log_qyx"] + block_penalty * block_correlation
        share = w / w.max().clamp(min=torch.finfo(w.dtype).tiny)  # squares of a small w would be 0
        ess = share.sum() ** 2 / (share**2).sum().clamp(min=1e-12)
        kept = {"block_correlation": block_correlation, "mean_weight": w.mean(), "ess": ess, "log_px": log_px}
        return cls(loss=loss, loss_alpha0=loss_alpha0, **mean, **kept)

    def values(self) -> Tensor:
        """All terms in the order of LOSS_TERMS, (12,), without their graph."""
        return torch.stack([getattr(self, name).detach() for name in LOSS_TERMS])


LOSS_TERMS = tuple(field.name for field in dataclasses.fields(LossTerms) if field.name != "log_px")


def kl_standard_normal(q: Normal) -> Tensor:
    """KL(q || N(0, 1)) of a Normal (B, n), summed over its n latents, (B,)."""
    return kl_divergence(q, Normal(torch.zeros_like(q.loc), 1.0, validate_args=False)).sum(1)


def ccvae_loss(
    model: MCCVAE,
    x: Tensor,
    y: Tensor,
    estimator: str = "official",
    label_weight: float = 0.0,
    control_variate: Tensor | None = None,
    block_penalty: float = 0.0,
    *,
    generator: torch.Generator | None = None,
) -> LossTerms:
    """The loss of section 2.3 for images x (B, *image_shape) in [0, 1] and labels y (B, L) of 0, 1 or NaN (not known).

    All labels of an image known: the first objective, L(x, y); none known: the second, L(x). `estimator` names
    how its expectations are estimated: see `official_loss` and `rao_blackwell_loss`, which alone takes any pattern of
    missing labels and a `control_variate` (B,). `label_weight` alpha adds alpha * sum_i log q(y_i|x) over known
    labels to the bound, 0 being the paper's formula; `block_penalty` times `block_total_correlation` is added to the rao-blackwell loss
    (ours, not the paper's). Noise comes from `generator`, or torch's default one.

    Raises ValueError for another estimator, for shapes that don't fit, for an image of which `official` knows only some
    labels (it has no formula for those), and for `official` with what is ours: a block_penalty or a full block_prior.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {ESTIMATORS}, not {estimator!r}")
    if y.shape != (len(x), model.config.labels):
        raise ValueError(f"y must be (B, L) = {(len(x), model.config.labels)}, not {tuple(y.shape)}")
    if estimator == "official":
        if block_penalty or model.config.block_prior == "full":
            raise ValueError("a block_penalty and a full block_prior need the estimator 'rao-blackwell'")
        return official_loss(model, x, y, OfficialNoise.draw(model, y, generator), label_weight)
    noise = torch.randn(len(x), model.config.latent_dim, generator=generator, device=x.device, dtype=y.dtype)
    return rao_blackwell_loss(model, x, y, noise, label_weight, control_variate, block_penalty)


@dataclasses.dataclass(frozen=True)
class OfficialNoise:
    """All randomness of `official_loss`, so that with it given the loss is a plain function.

    z (B, Z): standard normal, for the one z. qyx (K, B, C): standard normal, for q(y|x). y (B, L): uniform on
    [0, 1), for the labels that are not known. A part that the batch does not need is None.
    """

    z: Tensor
    qyx: Tensor | None
    y: Tensor | None

    @classmethod
    def draw(cls, model, y, generator=None):
        missing = y.isnan()
        like = {"generator": generator, "device": y.device, "dtype": y.dtype}
        z = torch.randn(len(y), model.config.latent_dim, **like)
        qyx = None if missing.all() else torch.randn(OFFICIAL_DRAWS, len(y), model.config.characteristic_dim, **like)
        return cls(z, qyx, torch.rand(y.shape, **like) if missing.any() else None)


def official_loss(model: MCCVAE, x: Tensor, y: Tensor, noise: OfficialNoise, label_weight: float = 0.0) -> LossTerms:
    """What the official CCVAE code computes, for given noise. One encoding of x serves all of it.

    With one z ~ q(z|x) and f = log p(x|z) - KL(q(z|x) || p(z|y)) - log q(y|z_c):

        labelled     -[w f + log q^(y|x) + log p(y)],   w = q(y|sg(z_c)) / q^(y|x),
                     q^(y|x) = 1/K sum_k q(y|z_c^(k)) over K further draws, its gradient kept;
        unlabelled   -[f + log p(y)],   y ~ Ber(q(y|z_c)), no gradient through that draw.

    sg(.) stops the gradient to z; the classifier's weights keep theirs. Since w's numerator stops it and w's
    denominator does not, the gradient is not that of section 2.3's bound.
    Source: the equations that the official code, github.com/thwjoy/ccvae_pytorch, computes.
    """
    known = ~y.isnan()
    labelled = known.all(1)
    if (known.any(1) & ~labelled).any():
        raise ValueError("estimator 'official' needs all labels of an image or none; some images here have only part of theirs")

    q = model.encode(x)
    z = q.loc + q.scale * noise.z
    z_c, _ = model.split(z)
    if noise.y is not None:
        drawn = (noise.y < model.label_logits(z_c).sigmoid()).to(y.dtype)
        y = torch.where(known, y, drawn)
    q_c, q_style = model.split_posterior(q)

    reconstruction = -model.log_px(x, z)
    kl_style = kl_standard_normal(q_style)
    kl_c = kl_divergence(q_c, model.conditional_prior(y)).sum(1)
    log_qyz = model.log_qyz(y, z_c)
    minus_f = reconstruction + kl_style + kl_c + log_qyz
    log_qyx, weight = torch.zeros_like(minus_f), torch.ones_like(minus_f)
    if noise.qyx is not None:
        log_qyx_all = model.log_qyz(y, q_c.loc + q_c.scale * noise.qyx).logsumexp(0) - math.log(len(noise.qyx))
        log_qyx = torch.where(labelled, log_qyx_all, 0.0)
        weight = torch.where(labelled, (model.log_qyz(y, z_c.detach()) - log_qyx_all).exp(), 1.0)
    return LossTerms.of(
        reconstruction=reconstruction,
        kl_style=kl_style,
        characteristics=kl_c,
        log_qyz=log_qyz,
        weighting=(weight - 1) * minus_f,
        log_qyx=log_qyx,
        log_py=model.log_py(y),
        weight=weight,
        label_weight=label_weight,
    )


def rao_blackwell_loss(
    model: MCCVAE,
    x: Tensor,
    y: Tensor,
    noise: Tensor,
    label_weight: float = 0.0,
    control_variate: Tensor | None = None,
    block_penalty: float = 0.0,
) -> LossTerms:
    """Section 2.3's objective, unbiased in value and gradient, everything summed or integrated that can be; noise (B, Z).

    Labels may be missing one by one (NaN). With K the known labels and M the missing ones,

        L(x, y_K) = E_q(z|x)[ w sum_{y_M} q(y_M|z_c) log p(x|z) p(z|y) p(y_M) / (q(y|z_c) q(z|x)) ] + log q(y_K|x) + log p(y_K),
        w = prod_{i in K} w_i,   w_i = q(y_i|z_c^i) / q(y_i|x),

    which is L(x, y) where all are known and L(x) where none is. All factors but p(x|z) split over labels, and
    E[w_i] = 1, so the terms of label i need w_i alone (`label_terms`), the style's need no weight and are a KL in
    closed form, and only E[w log p(x|z)] is left to one draw of z: w (log p(x|z) - b) + b, with the gradient through w.
    b, the control variate, must not depend on this z; None, or NaN for an image: the mean over the batch's other images.
    """
    known = ~y.isnan()
    q = model.encode(x)
    z = q.loc + q.scale * noise
    q_c, q_style = model.split_posterior(q)
    characteristics, log_qyx_i, log_py_i = label_terms(model, q_c, y)

    u = model.label_logits(model.split(z)[0])
    log_w_i = F.logsigmoid(torch.where(y > 0.5, u, -u)) - log_qyx_i
    w = torch.where(known, log_w_i, 0.0).sum(1).exp()
    log_px = model.log_px(x, z)
    b = (log_px.sum() - log_px).detach() / max(len(x) - 1, 1)
    if control_variate is not None:
        b = torch.where(control_variate.isnan(), b, control_variate.detach())
    kl_style = kl_standard_normal(q_style)
    return LossTerms.of(
        reconstruction=-log_px,
        kl_style=kl_style,
        characteristics=characteristics.sum(1),
        weighting=-(w - 1) * (log_px - b),
        log_qyx=torch.where(known, log_qyx_i, 0.0).sum(1),
        log_py=log_py_i.sum(1),
        weight=w,
        label_weight=label_weight,
        block_penalty=block_penalty,
        block_correlation=block_total_correlation(model, q_c, y) if block_penalty else None,
    )


def label_terms(model: MCCVAE, q_c: Normal, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each label adds to the bound besides w log p(x|z), by quadrature over its logit alone; (B, L) each.

    q_c: q(z_c|x), a Normal (B, C). y (B, L), NaN where not known. Returned, with v the label's value,

        characteristics  known: -E[w_i c_v]; missing: -E[sum_v q(v|z_c^i) c_v],
                         c_v = log p(z_c^i|v) - log q(z_c^i|x) - log q(v|z_c^i);
        log_qyx          log q(y_i|x) = log E q(y_i|z_c^i) (of a missing label: of the value 0, not used);
        log_py           log p(y_i); missing: sum_v q(v|x) log p(v).

    Under q(z|x) the logit u = w.z_c^i + b is Normal(mu, tau^2), and with eps = (u - mu) / tau

        z_c^{i,j} | u  ~  Normal(m_j + s_j r_j eps, s_j^2 (1 - r_j^2)),   r_j = s_j w_j / tau,   sum_j r_j^2 = 1,

    so that given u the quadratic forms log p(z_c^i|v) and log q(z_c^i|x) have their means in closed form, for any k_i; with a full
    block_prior log p(z_c^i|v) = -1/2 |(I + T) e|^2 - sum_j log scale_j has, where Cov(z|u) = diag(s^2) - (s r)(s r)^T.
    """
    eps, log_omega = (torch.as_tensor(a, dtype=y.dtype, device=y.device)[:, None, None] for a in _hermite_nodes(NODES))  # (n, 1, 1)
    m, s = q_c.loc, q_c.scale
    tau = ((s * model.classifier_weight) ** 2 @ model.block + 1e-12).sqrt()  # (B, L); never 0, so that no gradient is NaN
    r = s * model.classifier_weight / tau[:, model.owner]  # (B, C)
    u = model.label_logits(m) + tau * eps  # (n, B, L)
    z_mean, z_var = m + s * r * eps, s**2 * (1 - r**2)  # (n, B, C) and (B, C), given u
    r2, k = r**2 @ model.block, model.block.sum(0)
    log_q_z = -s.log() @ model.block - 0.5 * (r2 * eps**2 + k - r2)  # (n, B, L); log(2 pi) cancels against log p's

    integral, log_q_v = [], []
    for value, sign in ((0, -1), (1, 1)):
        p, whitening = model.conditional_prior(torch.full_like(y[:1], value)), model.prior_whitening(value)
        if whitening is None:
            e2 = ((z_mean - p.loc) ** 2 + z_var) / p.scale**2  # E e^2 given u
        else:
            e_mean, e_s, e_sr = ((z_mean - p.loc) / p.scale) @ whitening.T, s / p.scale, (s * r / p.scale) @ whitening.T
            e2 = e_mean**2 + e_s**2 @ (whitening**2).T - e_sr**2
        log_p_z = (-p.scale.log() - 0.5 * e2) @ model.block
        log_v = F.logsigmoid(sign * u)  # log q(v|z_c^i)
        log_q_v.append((log_omega + log_v).logsumexp(0))  # log q(v|x)
        w_v = (log_omega + log_v - log_q_v[value]).exp()  # quadrature weights with w_i in them
        integral.append((w_v * (log_p_z - log_q_z - log_v)).sum(0))
    known, one = ~y.isnan(), y > 0.5
    c = torch.where(known, torch.where(one, integral[1], integral[0]), sum(v.exp() * c for v, c in zip(log_q_v, integral, strict=True)))
    log_p1, log_p0 = model.label_prior.log(), (-model.label_prior).log1p()
    log_py = torch.where(known, torch.where(one, log_p1, log_p0), log_q_v[1].exp() * log_p1 + log_q_v[0].exp() * log_p0)
    return -c, torch.where(one, log_q_v[1], log_q_v[0]), log_py


def block_total_correlation(model: MCCVAE, q_c: Normal, y: Tensor) -> Tensor:
    """How far the latents of a block depend on each other beyond their label, in nats, summed over labels; a scalar.

    The total correlation of a Gaussian with the covariance of the batch's aggregate posterior of z_c^i among images with
    y_i = v, S = Cov(m) + diag(mean s^2): 1/2 (sum_j log S_jj - log det S), mean over v = 0, 1. q_c: q(z_c|x), a Normal
    (B, C); y (B, L), NaN where not known: those images don't count.
    """
    m, s, within, total = q_c.loc, q_c.scale, model.block @ model.block.T, 0.0
    for value in (0, 1):
        w = (y == value).to(m.dtype)[:, model.owner]  # (B, C)
        n = w.sum(0)
        residual = w * (m - (w * m).sum(0) / n.clamp(min=1))
        variance = (w * s**2).sum(0) / n.clamp(min=1) + (n == 0)
        S = residual.T @ residual / n.clamp(min=1) * within + torch.diag(variance)
        total = total + 0.25 * (S.diagonal().log().sum() - torch.linalg.slogdet(S)[1])
    return total


@functools.cache
def _hermite_nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights (n,) with sum_n exp(log weight) f(node) ~ E f(eps), eps ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, np.log(weights / weights.sum())


def vae_loss(model: VAE, x: Tensor, y: Tensor | None = None, *, generator: torch.Generator | None = None) -> LossTerms:
    """Negative ELBO of the baselines, -log p(x|z[,y]) + KL(q(z|x) || N(0, 1)) (section 1), one z, in nats per image.

    x (B, *image_shape); y (B, L) is used by a ConditionalVAE alone, which needs every label.
    """
    q = model.encode(x)
    z = q.loc + q.scale * torch.randn(q.loc.shape, generator=generator, device=x.device, dtype=x.dtype)
    if isinstance(model, ConditionalVAE):
        if y is None or y.isnan().any():
            raise ValueError("a ConditionalVAE trains on all labels; some are missing (NaN)")
        reconstruction = -model.log_px(x, z, y)
    else:
        reconstruction = -model.log_px(x, z)
    return LossTerms.of(reconstruction=reconstruction, kl_style=kl_standard_normal(q))


def model_loss(
    model: VAE, x, y, estimator: str, label_weight: float = 0.0, control_variate=None, block_penalty: float = 0.0, *, generator=None
) -> LossTerms:
    """The loss that this kind of model is trained with: `ccvae_loss` for an MCCVAE, else `vae_loss`."""
    if isinstance(model, MCCVAE):
        return ccvae_loss(model, x, y, estimator, label_weight, control_variate, block_penalty, generator=generator)
    return vae_loss(model, x, y, generator=generator)


# ---------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------


class TrainingError(Exception):
    """Training can't go on; the message says where and why."""


class CheckpointError(Exception):
    """A checkpoint or weights file is broken or belongs to another configuration; the message names file and reason."""


class BrokenCheckpointError(CheckpointError):
    """The file is not what was written."""


def choose_device() -> torch.device:
    """The device that MCCVAE_DEVICE names ("cpu", "cuda", "cuda:1", "mps"); without it CUDA where there, else Apple's MPS, else the CPU.

    Raises ValueError, naming those that are there, for one that is not: never another in its place."""
    there = [f"cuda:{i}" for i in range(torch.cuda.device_count())] + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    wanted = os.environ.get("MCCVAE_DEVICE") or there[0]
    name = "cuda:0" if wanted == "cuda" else wanted
    if name not in there:
        raise ValueError(f"MCCVAE_DEVICE asks for {wanted!r}, which is not on this machine; there are: {', '.join(there)}")
    return torch.device(name)


def to_images(images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (B, channels, H, W) -> float in [0, 1], channels last (about 1.3 times faster convolutions on a CPU)."""
    return images.to(device).float().div_(255).contiguous(memory_format=torch.channels_last)


def labelled_subset(labels: Tensor, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of a random, stratified subset of round(fraction * N) images, at least one and not all; labels (N, L).

    Systematic sampling over the images sorted by their labels (ties in random order): every label vector gets
    its share to within one image, however many vectors there are.
    """
    n = len(labels)
    size = min(max(1, round(fraction * n)), n - 1)
    rng = np.random.default_rng([seed, 1])
    order = np.lexsort([rng.random(n), *labels.numpy().T])
    return np.sort(order[((np.arange(size) + rng.random()) * n / size).astype(int)])


def epoch_batches(n: int, batch_size: int, subset: np.ndarray | None, seed: int, epoch: int) -> list[tuple[np.ndarray, bool]]:
    """An epoch: ceil(n / batch_size) pairs (indices, labelled), labelled and unlabelled by turns (section 4).

    `subset` None: all images are labelled, and one random order of them is cut into batches. Otherwise labelled
    batches cycle through random orders of the subset and unlabelled ones through the rest, at least one of each. A function of
    (seed, epoch) alone, so that a resumed training sees the same batches.
    """
    rng = np.random.default_rng([seed, 2, epoch])
    count = math.ceil(n / batch_size)
    if subset is None:
        order = rng.permutation(n)
        return [(order[i * batch_size : (i + 1) * batch_size], i % 2 == 0) for i in range(count)]
    rest, count = np.setdiff1d(np.arange(n), subset), max(count, 2)

    def cycle(pool, batches):
        rounds = math.ceil(batches * batch_size / len(pool))
        return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[: batches * batch_size].reshape(batches, -1)

    turns = zip(cycle(subset, (count + 1) // 2), itertools.chain(cycle(rest, count // 2), [None]), strict=False)
    return [(index, turn == 0) for pair in turns for turn, index in enumerate(pair) if index is not None]


@dataclasses.dataclass
class TrainingState:
    """All that a training needs to go on, bit for bit as if it had not been interrupted.

    log_px (N,): running log p(x|z) of each image, the control variates; NaN before its first turn. noise: the generator of the
    epoch under way. history: a row for each epoch that is done. batches: (labelled, images, LossTerms.values()) of those of the
    epoch under way that are done. seconds: that these took.
    """

    model: VAE
    optimizer: torch.optim.Adam
    log_px: Tensor
    noise: torch.Generator
    history: list[dict] = dataclasses.field(default_factory=list)
    batches: list[tuple[bool, int, Tensor]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def fit(
    model: VAE,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    estimator: str = "official",
    label_weight: float = 0.0,
    block_penalty: float = 0.0,
    labelled_fraction: float = 1.0,
    by_turns: bool = True,
    learning_rate: float = LEARNING_RATE,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    identity: dict | None = None,
    measure=None,
    on_epoch=None,
) -> list[dict]:
    """Train in place with Adam and return the history, a dict for each epoch.

    images: uint8 (N, *image_shape), kept as they are; labels: (N, L) of 0 and 1, and, for `rao-blackwell` alone, NaN where not
    known. by_turns: batches with labels and without take turns (section 4); False: every image counts in every batch for those of
    its labels that are known. A `checkpoint` file is written after each epoch, and within a long one every CHECKPOINT_SECONDS; where it exists, training goes on from it, and ends in
    the same weights and history as one that was never interrupted. `identity` goes into it; a checkpoint with another one is
    refused. A row holds `epoch` (from 1), `labelled_<term>` and `unlabelled_<term>` for every term of LossTerms, means over that
    epoch's images, `seconds`, and what `measure(epoch)` returns, a dict, when asked after the epoch; at last comes `on_epoch(row)`.

    Raises ValueError for data that don't fit the model, TrainingError where the loss stops being finite (the
    last checkpoint stays), CheckpointError for a checkpoint that is broken or another run's.
    """
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != model.config.image_shape:
        raise ValueError(
            f"images must be uint8 (N, {', '.join(map(str, model.config.image_shape))}), not {images.dtype} {tuple(images.shape)}"
        )
    missing = labels.isnan()
    if labels.shape != (len(images), model.config.labels) or not ((labels == 0) | (labels == 1) | missing).all():
        raise ValueError(f"labels must be (N, L) = {(len(images), model.config.labels)} of 0, 1 or NaN, not {tuple(labels.shape)}")
    if missing.any() and (estimator != "rao-blackwell" or isinstance(model, ConditionalVAE)):
        raise ValueError(f"only an MCCVAE by 'rao-blackwell' trains on missing labels; {int(missing.sum())} are missing")
    if not 0 < labelled_fraction <= 1:
        raise ValueError(f"labelled_fraction must lie in (0, 1], not {labelled_fraction}")
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    state = TrainingState(model, optimizer, torch.full((len(images),), torch.nan, device=device), torch.Generator(device))
    if checkpoint is not None:
        load_checkpoint(checkpoint, state, identity)
    subset = None if labelled_fraction == 1 else labelled_subset(labels, labelled_fraction, seed)
    loss = functools.partial(model_loss, estimator=estimator, label_weight=label_weight, block_penalty=block_penalty)
    labels, saved = labels.float(), time.monotonic()
    for epoch in range(len(state.history) + 1, epochs + 1):
        if not state.batches:
            state.noise.manual_seed(int(np.random.SeedSequence([seed, 3, epoch]).generate_state(1, np.uint64)[0] >> 1))
        start = time.perf_counter() - state.seconds
        for index, labelled in epoch_batches(len(images), batch_size, subset, seed, epoch)[len(state.batches) :]:
            _train_batch(state, images, labels, torch.from_numpy(index), labelled or not by_turns, loss)
            state.seconds = time.perf_counter() - start
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, state, identity)
                saved = time.monotonic()
        row = {"epoch": epoch}
        for prefix, kind in (("labelled", True), ("unlabelled", False)):
            means = _means([(n, values) for is_labelled, n, values in state.batches if is_labelled == kind])
            row |= {f"{prefix}_{name}": value for name, value in means.items()}
        row["seconds"] = round(state.seconds, 3)
        state.history.append(row if measure is None else row | measure(epoch))
        state.batches, state.seconds = [], 0.0
        if checkpoint is not None:
            save_checkpoint(checkpoint, state, identity)
            saved = time.monotonic()
        if on_epoch is not None:
            on_epoch(state.history[-1])
    return state.history


def _train_batch(state: TrainingState, images: Tensor, labels: Tensor, index: Tensor, labelled: bool, loss) -> None:
    """A step of Adam on the images at `index` (B,). Raises TrainingError, the weights as they were, where the loss is not finite."""
    device, with_labels = state.log_px.device, isinstance(state.model, MCCVAE)
    y, before = labels[index].to(device), state.log_px[index.to(device)]
    if not labelled and with_labels:
        y = torch.full_like(y, torch.nan)
    terms = loss(state.model, to_images(images[index], device), y, control_variate=before, generator=state.noise)
    if not terms.loss.isfinite():
        bad = [name for name, value in zip(LOSS_TERMS, terms.values().tolist(), strict=True) if not math.isfinite(value)]
        where = f"epoch {len(state.history) + 1}, batch {len(state.batches) + 1}"
        raise TrainingError(f"{where}: {', '.join(bad)} is not a finite number; the last checkpoint, where there is one, is kept")
    state.optimizer.zero_grad(set_to_none=True)
    terms.loss.backward()
    state.optimizer.step()
    state.log_px[index.to(device)] = torch.where(before.isnan(), terms.log_px, (before + terms.log_px) / 2)
    state.batches.append((labelled or not with_labels, len(index), terms.values()))


def _means(batches: list[tuple[int, Tensor]]) -> dict[str, float]:
    """Means over images of batches' (size, LossTerms.values()), so a smaller last batch weighs what it should. One transfer.

    ess is that of all the images together, from each batch's sum of w and of w^2.
    """
    if not batches:
        return {}
    size = torch.tensor([n for n, _ in batches], dtype=torch.float64)
    table = torch.stack([values for _, values in batches]).cpu().double()
    means = dict(zip(LOSS_TERMS, (size @ table / size.sum()).tolist(), strict=True))
    sum_w = size * table[:, LOSS_TERMS.index("mean_weight")]
    squares = sum_w**2 / table[:, LOSS_TERMS.index("ess")].clamp(min=1e-12)
    means["ess"] = (sum_w.sum() ** 2 / squares.sum().clamp(min=1e-300)).item()
    return means


# ---------------------------------------------------------------------------------------------------------
# Files: weights and checkpoints, safetensors only
# ---------------------------------------------------------------------------------------------------------


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, rename: `path` is the old file or the new one, never half of one.

    Raises OSError, naming the file, where the disk is full or not to be written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {path} was not written, and is as it was before") from None
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _checksum(tensors: dict[str, Tensor], metadata: dict) -> str:
    """sha256 over names, types, shapes and bytes of the tensors, and over the metadata."""
    h = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        h.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        h.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return h.hexdigest()


def _write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Tensors and metadata, anything that JSON can hold; under one key, since safetensors writes several in random order, with their checksum."""
    tensors = _plain(tensors)
    about = json.dumps({"metadata": metadata, "sha256": _checksum(tensors, metadata)})
    write_atomically(path, safetensors.torch.save(tensors, {"about": about}))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            about = json.loads((file.metadata() or {}).get("about", "null"))
        metadata, checksum = about["metadata"], about["sha256"]
        damaged = checksum != _checksum(tensors, metadata)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise BrokenCheckpointError(f"{path} can't be read as safetensors ({error}); delete it and run again") from None
    if damaged:
        raise BrokenCheckpointError(f"{path} is damaged: its checksum is not that of its content; delete it and run again")
    return tensors, metadata


def save_model(path: Path, model: VAE) -> None:
    """Weights and config in one safetensors file, from which `load_model` rebuilds the model."""
    _write_safetensors(path, model.state_dict(), {"kind": type(model).__name__, "config": dataclasses.asdict(model.config)})


def load_model(path: Path) -> VAE:
    """The model that `save_model` wrote, on the CPU, in evaluation mode. Raises CheckpointError for a file that holds none."""
    tensors, metadata = _read_safetensors(Path(path))
    try:
        config = ModelConfig(**metadata["config"])
        if tensors["encoder.loc.bias"].shape != (config.latent_dim,):  # before anything of that size is made
            raise ValueError(f"it has not the {config.latent_dim} latents of its config")
        model = build_model(metadata["kind"], config, seed=0)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no model of this project ({error})") from None
    return model.eval()


def one_before(path: Path) -> Path:
    """Where `save_checkpoint` keeps the checkpoint before that at `path`."""
    return path.with_stem(f"{path.stem}.before")


def save_checkpoint(path: Path, state: TrainingState, identity: dict | None) -> None:
    """The whole state and whose it is. The checkpoint that was there is kept beside it, in case that this one gets broken.

    Raises TrainingError, having written nothing, where weights are not finite."""
    if bad := [name for name, value in state.model.state_dict().items() if not value.isfinite().all()]:
        raise TrainingError(f"epoch {len(state.history)}: the weights {bad[0]} are not finite numbers; the last checkpoint is kept")
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{name}": value for name, value in moments.items()}
    tensors |= {"log_px": state.log_px, "noise": state.noise.get_state()}
    if state.batches:
        labelled, sizes, values = zip(*state.batches, strict=True)
        tensors |= {"batches.labelled": torch.tensor(labelled), "batches.size": torch.tensor(sizes), "batches.values": torch.stack(values)}
    if path.is_file():
        os.replace(path, one_before(path))
    _write_safetensors(path, tensors, {"history": state.history, "identity": identity, "seconds": state.seconds})


def load_checkpoint(path: Path, state: TrainingState, identity: dict | None) -> None:
    """Restore the state in place from a checkpoint, or where that is broken from the one before it, with a warning; nothing without either.

    Raises CheckpointError, having changed nothing, where all that is there is broken, or where the identity differs (the
    differences are named)."""
    broken = []
    for candidate in filter(Path.is_file, (path, one_before(path))):
        try:
            _restore(candidate, state, identity)
        except BrokenCheckpointError as error:
            broken.append(str(error))
        else:
            if broken:
                warnings.warn(f"{broken[0]}. Training goes on from the one before it, {candidate.name}", stacklevel=2)
                path.unlink()  # it must not take the place of the good one when the next is written
            return
    if broken:
        raise BrokenCheckpointError("; ".join(broken))


def _restore(path: Path, state: TrainingState, identity: dict | None) -> None:
    tensors, metadata = _read_safetensors(path)
    try:
        history, seconds = metadata["history"], metadata["seconds"]
        theirs, ours = metadata["identity"] or {}, json.loads(json.dumps(identity)) or {}
        different = [f"{k} {theirs.get(k)!r} there, {ours.get(k)!r} here" for k in sorted({*theirs, *ours}) if theirs.get(k) != ours.get(k)]
        moments = {}
        for name in [name for name in tensors if name.startswith("adam.")]:
            _, i, key = name.split(".")
            moments.setdefault(int(i), {})[key] = tensors[name]
        parts = [tensors.get(f"batches.{name}", torch.empty(0)) for name in ("labelled", "size", "values")]
        batches = [(bool(labelled), int(n), values.to(state.log_px.device)) for labelled, n, values in zip(*parts, strict=True)]
        torch.Generator(state.noise.device).set_state(tensors["noise"])  # fails here rather than half way
        whole = [row["epoch"] for row in history] == list(range(1, len(history) + 1)) and all(row["seconds"] >= 0 for row in history)
        whole = whole and float(seconds) >= 0 and all(value.isfinite().all() for name, value in tensors.items() if name != "log_px")
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise BrokenCheckpointError(f"{path} is no whole checkpoint ({error} is missing or does not fit)") from None
    if different:
        raise CheckpointError(f"{path} is a checkpoint of another run: {'; '.join(different)}")
    parameters = state.optimizer.param_groups[0]["params"]
    wanted = {f"model.{name}": value.shape for name, value in state.model.state_dict().items()}
    wanted["log_px"] = state.log_px.shape
    for i, moment in moments.items():
        shape = parameters[i].shape if 0 <= i < len(parameters) else None
        wanted |= {f"adam.{i}.{key}": shape if key.startswith("exp_avg") else () for key in {*moment, "step", "exp_avg", "exp_avg_sq"}}
    unfit = [name for name, shape in wanted.items() if name not in tensors or shape is None or tensors[name].shape != shape]
    if unfit or not whole or any(values.shape != (len(LOSS_TERMS),) for *_, values in batches):
        raise BrokenCheckpointError(f"{path} is no whole checkpoint ({unfit[0] if unfit else 'history'} is missing or does not fit)")
    for i, moment in moments.items():  # in the parameter's own memory format, which the fused Adam takes for granted
        moments[i] = {key: torch.empty_like(parameters[i]).copy_(value) if value.ndim else value for key, value in moment.items()}
    state.model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    state.optimizer.load_state_dict({"state": moments, "param_groups": state.optimizer.state_dict()["param_groups"]})
    state.log_px.copy_(tensors["log_px"])
    state.noise.set_state(tensors["noise"])
    state.history, state.batches, state.seconds = history, batches, seconds


# ---------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def posterior(model: VAE, images: Tensor, *, batch_size: int = 512) -> Normal:
    """q(z|x) of uint8 images (N, *image_shape), a Normal (N, Z), on the model's device."""
    device = next(model.parameters()).device
    q = [model.encode(to_images(batch, device)) for batch in images.split(batch_size)]
    return Normal(torch.cat([part.loc for part in q]), torch.cat([part.scale for part in q]), validate_args=False)


@torch.no_grad()
def predict(model: MCCVAE, images: Tensor, *, sampled: bool = False, seed: int = 0, batch_size: int = 512) -> Tensor:
    """q(y_i = 1|z_c) of uint8 images (N, *image_shape), (N, L), at z = the mean of q(z|x), or at one draw of it (`sampled`)."""
    device, out = next(model.parameters()).device, []
    noise = torch.Generator(device).manual_seed(seed)
    for batch in images.split(batch_size):
        q = posterior(model, batch)
        z = q.loc + q.scale * torch.randn(q.loc.shape, generator=noise, device=device) if sampled else q.loc
        out.append(model.label_logits(model.split(z)[0]).sigmoid().cpu())
    return torch.cat(out)


def classification_scores(probabilities: Tensor, labels: Tensor, *, exclusive: bool, reference: Tensor | None = None) -> dict:
    """Scores of probabilities (N, L) against labels (N, L) of 0 and 1, and those of the majority's answer beside them.

    Labels that are not known (NaN) don't count; `exclusive` ones must all be known.

    accuracy           share of the N*L labels that are right at threshold 1/2: how the paper counts.
    balanced_accuracy  mean over labels of (true positive rate + true negative rate) / 2; labels without both values are left out.
    exact_match        share of images with every label right, of those with every label known.
    argmax_accuracy    `exclusive` labels only: share of images whose most probable label is the true one;
    argmax_balanced_accuracy  the mean of that share over classes.
    majority_*         the same scores of an answer that ignores the image: each label's, or for exact_match and
                       argmax the whole vector's, most frequent value in `reference` (the training labels; None: `labels`).
    by_label           accuracy, balanced_accuracy, majority_accuracy and positives of each label, as lists.
    """
    labels, reference = labels.float(), (labels if reference is None else reference).float()
    y, known, whole = labels > 0.5, ~labels.isnan(), ~labels.isnan().any(1)
    right = (probabilities > 0.5) == y
    majority = reference.nanmean(0) > 0.5
    rate = lambda mask: (right & mask).sum(0) / mask.sum(0)  # noqa: E731 (0/0 is NaN: a label without such images)
    balanced = (rate(y) + rate(known & ~y)) / 2
    vectors, counts = reference[~reference.isnan().any(1)].unique(dim=0, return_counts=True)
    scores = {
        "n": len(y),
        "accuracy": right[known].float().mean().item(),
        "majority_accuracy": (majority == y)[known].float().mean().item(),
        "balanced_accuracy": balanced.nanmean().item(),
        "majority_balanced_accuracy": 0.5,
        "exact_match": _number(right[whole].all(1).float().mean()),
        "majority_exact_match": _number((vectors[counts.argmax()] == labels[whole]).all(1).float().mean()) if len(vectors) else None,
    }
    if exclusive:
        hit = probabilities.argmax(1) == y.float().argmax(1)
        present = y.any(0)
        recall = (hit[:, None] & y).sum(0) / y.sum(0)
        scores["argmax_accuracy"] = hit.float().mean().item()
        scores["majority_argmax_accuracy"] = y[:, reference.sum(0).argmax()].float().mean().item()
        scores["argmax_balanced_accuracy"] = recall[present].mean().item()
        scores["majority_argmax_balanced_accuracy"] = 1 / int(present.sum())
    scores["by_label"] = {
        "accuracy": [_number(a) for a in rate(known)],
        "balanced_accuracy": [_number(b) for b in balanced],
        "majority_accuracy": [_number(m) for m in ((majority == y) & known).sum(0) / known.sum(0)],
        "positives": y.sum(0).tolist(),
    }
    return scores


def _number(value: Tensor) -> float | None:
    """A scalar; None for NaN, which stands for a mean over nothing."""
    return None if value.isnan() else value.item()


@torch.no_grad()
def evaluate_loss(model: VAE, images: Tensor, labels: Tensor, estimator: str, *, seed: int = 0, batch_size: int = 256) -> dict[str, float]:
    """The labelled loss at alpha = 0 over a whole set, every term of LossTerms, means in nats per image."""
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    batches = []
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        batches.append((len(x), model_loss(model, to_images(x, device), y.float().to(device), estimator, generator=noise).values()))
    return _means(batches)


def evaluate(
    model: VAE, images: Tensor, labels: Tensor, *, exclusive: bool, estimator: str, reference: Tensor | None = None, seed: int = 0
) -> dict:
    """`classification_scores` at the posterior mean, the accuracy at one posterior draw (`sampled_accuracy`), and the
    terms of `evaluate_loss` twice: `loss` by the model's own estimator, `bound` by rao-blackwell, which alone may be
    compared between models. A VAE or ConditionalVAE has no classifier and one estimator: n, `loss` and `bound` alone."""
    model.eval()
    loss, bound = (evaluate_loss(model, images, labels, e, seed=seed) for e in (estimator, "rao-blackwell"))
    if not isinstance(model, MCCVAE):
        return {"n": len(images), "loss": loss, "bound": bound}
    scores = classification_scores(predict(model, images), labels, exclusive=exclusive, reference=reference)
    sampled = classification_scores(predict(model, images, sampled=True, seed=seed), labels, exclusive=exclusive)
    return {**scores, "sampled_accuracy": sampled["accuracy"], "loss": loss, "bound": bound}


@torch.no_grad()
def reconstruct(model: VAE, images: Tensor, labels: Tensor | None = None, *, batch_size: int = 512) -> Tensor:
    """The decoder's mean at the mean of q(z|x), (N, *image_shape) in [0, 1] on the CPU, of uint8 images; a ConditionalVAE needs labels (N, L)."""
    device, out = next(model.parameters()).device, []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        given = (labels[part].float().to(device),) if isinstance(model, ConditionalVAE) else ()
        out.append(model.decode(posterior(model, images[part]).loc, *given).cpu())
    return torch.cat(out)


def picture_scores(model: VAE, images: Tensor, labels: Tensor, *, batch_size: int = 512) -> dict[str, float]:
    """How near reconstructions (`reconstruct`) come to uint8 images (N, *image_shape), means over images: `psnr`, 10 log10(1 / mean
    squared error of the image) in dB, and `ssim`, structural similarity in windows of 11 (Wang et al. 2004; torchmetrics)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    psnr, ssim = [], []
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        drawn, real = reconstruct(model, x, y), to_images(x)
        psnr.append(-10 * ((drawn - real) ** 2).flatten(1).mean(1).clamp(min=1e-10).log10())
        ssim.append(structural_similarity_index_measure(drawn, real, data_range=1.0, reduction="none"))
    return {"psnr": torch.cat(psnr).mean().item(), "ssim": torch.cat(ssim).mean().item()}


# ---------------------------------------------------------------------------------------------------------
# Audit of the objective
# ---------------------------------------------------------------------------------------------------------

PARTS = ("encoder", "decoder", "classifier", "prior")


def _gradient(value: Tensor, model: MCCVAE, retain: bool = False) -> dict[str, Tensor]:
    """Gradient of a scalar, one float64 vector for each of PARTS; zeros where it does not reach."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    flat = torch.autograd.grad(value, parameters, retain_graph=retain, allow_unused=True)
    flat = [(torch.zeros_like(p) if g is None else g).double().flatten() for p, g in zip(parameters, flat, strict=True)]
    return {part: torch.cat([g for name, g in zip(names, flat, strict=True) if name.startswith(part)]) for part in PARTS}


def _encoder_gradients(model: MCCVAE, x: Tensor, y: Tensor, b: Tensor, draws: int, seed: int) -> dict[str, Tensor]:
    """Mean gradient on the encoder, by rao-blackwell at alpha = 0, of -E[w log p(x|z)] (`reconstruction`), of the terms of
    z_style and z_c (`latents`) and of -log q(y|x) (`labels`); b (B,) as in `rao_blackwell_loss`."""
    mean = dict.fromkeys(("reconstruction", "latents", "labels"), 0.0)
    for d in range(draws):
        terms = ccvae_loss(model, x, y, "rao-blackwell", 0.0, b, generator=torch.Generator(x.device).manual_seed(seed + d))
        pieces = (terms.reconstruction + terms.weighting, terms.kl_style + terms.characteristics, -terms.log_qyx)
        for name, piece in zip(mean, pieces, strict=True):
            mean[name] = mean[name] + _gradient(piece, model, retain=True)["encoder"] / draws
    return mean


def gradient_norms(model: MCCVAE, images: Tensor, labels: Tensor, *, draws: int = 4, seed: int = 0) -> dict[str, float]:
    """Who moves the encoder: norms of its mean gradient that come from `reconstruction`, `latents` and `labels`, on one batch of
    uint8 images with all labels. At label weight alpha, in the open or hidden in `official`, the last weighs 1 + alpha."""
    device = next(model.parameters()).device
    x, y = to_images(images, device), labels.float().to(device)
    pieces = _encoder_gradients(model, x, y, _expected_log_px(model, x), draws, seed)
    return {name: g.norm().item() for name, g in pieces.items()}


def gradient_audit(model: MCCVAE, images: Tensor, labels: Tensor, *, draws: int = 60, seed: int = 0) -> dict:
    """Both estimators' labelled loss and gradient over `draws` of the noise, on one batch of uint8 images with all labels.

    For each estimator: `loss`, `loss_sd`, means of `mean_weight` and `ess` (of LossTerms), and for each of PARTS `norm` of the
    mean gradient and `sd`, the root of the summed variances of its entries. `slope` and `r2`: least squares, on the
    encoder, of the difference of the two mean gradients on the gradient of -log q(y|x), without intercept: the label
    weight that `official` hides, to be held against `minus_f` (mean of -f, f as in `official_loss`).
    """
    model.eval()
    device = next(model.parameters()).device
    x, y = to_images(images, device), labels.float().to(device)
    b = _expected_log_px(model, x)
    result, mean = {}, {}
    for estimator in ESTIMATORS:
        values, total, squares = [], dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
        for d in range(draws):
            terms = ccvae_loss(model, x, y, estimator, 0.0, b, generator=torch.Generator(device).manual_seed(seed + d))
            values.append(terms.values().double())
            for part, g in _gradient(terms.loss, model).items():
                total[part], squares[part] = total[part] + g, squares[part] + g**2
        values = torch.stack(values)
        term = dict(zip(LOSS_TERMS, values.mean(0).tolist(), strict=True))
        mean[estimator] = {part: total[part] / draws for part in PARTS}
        variance = {part: (squares[part] / draws - mean[estimator][part] ** 2).clamp(min=0) * draws / (draws - 1) for part in PARTS}
        result[estimator] = {
            **{name: term[name] for name in ("loss", "mean_weight", "ess")},
            "loss_sd": values[:, LOSS_TERMS.index("loss")].std().item(),
            "norm": {part: g.norm().item() for part, g in mean[estimator].items()},
            "sd": {part: v.sum().sqrt().item() for part, v in variance.items()},
        }
        if estimator == "official":
            result["minus_f"] = sum(term[name] for name in ("reconstruction", "kl_style", "characteristics", "log_qyz"))
    hidden = _encoder_gradients(model, x, y, b, 1, seed)["labels"]  # integrated: any draw gives the same
    difference = mean["official"]["encoder"] - mean["rao-blackwell"]["encoder"]
    slope = (hidden @ difference / (hidden @ hidden)).item()
    result["slope"], result["r2"] = slope, (1 - ((difference - slope * hidden) ** 2).sum() / (difference**2).sum()).item()
    return result


@torch.no_grad()
def _expected_log_px(model: MCCVAE, x: Tensor, draws: int = 8) -> Tensor:
    """E log p(x|z) of each image, (B,), from draws of their own: a control variate."""
    q, noise = model.encode(x), torch.Generator(x.device).manual_seed(1_000)
    z = (q.loc + q.scale * torch.randn(q.loc.shape, generator=noise, device=x.device) for _ in range(draws))
    return torch.stack([model.log_px(x, z_d) for z_d in z]).mean(0)


def likelihood_floor(images: Tensor, likelihood: str, *, sigmoids: int = 1) -> float:
    """The least -log p(x|z) that any decoder can reach, mean over uint8 images (N, *image_shape), in nats per image.

    Bernoulli with one sigmoid: the pixels' entropy, at m = x. With two (a BCE-with-logits on what went through a sigmoid
    already) m = sigmoid(sigmoid(.)) stays between 1/2 and 0.731, so at m = x clamped to that. Laplace: log 2 a value.
    """
    if likelihood == "laplace":
        return math.log(2) * images[0].numel()
    counts = torch.bincount(images.flatten().int(), minlength=256).double()
    x = torch.arange(256, dtype=torch.float64) / 255
    m = x if sigmoids == 1 else x.clamp(0.5, torch.sigmoid(torch.ones(())).item())
    bits = -torch.xlogy(x, m) - torch.xlogy(1 - x, 1 - m)
    return (counts @ bits / len(images)).item()


# ---------------------------------------------------------------------------------------------------------
# Interventions
# ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Walk:
    """T steps of a latent walk from one start, or from each of several: `...` stands for the starts.

    z (T, ..., Z); images (T, ..., *image_shape) in [0, 1]; probabilities (T, ..., L) of q(y_i = 1|z_c), which by
    the blocks change for the moved labels alone; reencoded (T, ..., L), the same after the picture was encoded
    again, which shows what really changed in it.
    """

    z: Tensor
    images: Tensor
    probabilities: Tensor
    reencoded: Tensor


def characteristic_range(model: MCCVAE, latent: int, spread: float = 2.0) -> tuple[float, float]:
    """From where p(z|y_i = 0) puts a characteristic (0 <= latent < C) to where p(z|y_i = 1) does, `spread` standard
    deviations of each prior further out on either side."""
    loc, scale = model.prior_loc[:, latent], F.softplus(model.prior_raw_scale[:, latent]).clamp(min=MIN_SCALE)
    if model.config.block_prior == "full":  # the sd of the latent itself
        inverse = torch.stack([torch.linalg.inv(model.prior_whitening(v)) for v in (0, 1)])
        scale = scale * inverse[:, latent].norm(dim=1)
    up = 1.0 if loc[1] >= loc[0] else -1.0
    return (loc[0] - up * spread * scale[0]).item(), (loc[1] + up * spread * scale[1]).item()


def block_of(model: MCCVAE, label: int) -> list[int]:
    """Positions in z of the characteristics of a label. Raises ValueError for a label that the model lacks."""
    if not 0 <= label < model.config.labels:
        raise ValueError(f"label must lie between 0 and {model.config.labels - 1}, not {label}")
    return torch.nonzero(model.owner == label).flatten().tolist()


@torch.no_grad()
def latent_walk(model: MCCVAE, z: Tensor, towards: dict[int, int], *, within: int | None = None, steps: int = 7) -> Walk:
    """Intervene on labels (section 4.7): move their characteristics over the conditional prior, all else as in z (..., Z).

    towards: for each label to move, the value (0 or 1) to walk to; the walk starts at the other value's end of
    `characteristic_range` and goes in `steps` equal steps. within: move only that characteristic of each block
    (0 is its first); None: all of them together. Raises ValueError for a label or characteristic that is not there.
    """
    path = z.expand(steps, *z.shape).clone()
    t = torch.linspace(0, 1, steps, device=z.device).reshape(-1, *[1] * (z.ndim - 1))
    for label, value in towards.items():
        block = block_of(model, label)
        if within is not None and not 0 <= within < len(block):
            raise ValueError(f"label {label} has {len(block)} characteristics; there is no number {within}")
        for latent in block if within is None else [block[within]]:
            start, end = characteristic_range(model, latent)[:: 1 if value else -1]
            path[..., latent] = start + (end - start) * t
    images = model.decode(path)
    again = model.encode(images.flatten(0, -4)).loc.unflatten(0, path.shape[:-1])
    probabilities, reencoded = (model.label_logits(model.split(latents)[0]).sigmoid() for latents in (path, again))
    return Walk(path, images, probabilities, reencoded)


def intervention_effects(model: MCCVAE, z: Tensor, towards: dict[int, int], *, within: int | None = None) -> dict[str, float]:
    """What a whole walk, end to end, changes, as means over the starts z (N, Z); see `latent_walk`.

    moved: rise of the re-encoded probability of the value walked to, mean over the moved labels, in [-1, 1].
    others: absolute change of the other labels' re-encoded probabilities. pixels: absolute change of the image, in [0, 1].
    """
    walk = latent_walk(model, z, towards, within=within, steps=2)
    change = walk.reencoded[1] - walk.reencoded[0]
    sign = torch.tensor([1.0 if value else -1.0 for value in towards.values()], device=z.device)
    others = [label for label in range(model.config.labels) if label not in towards]
    return {
        "moved": (change[:, list(towards)] * sign).mean().item(),
        "others": change[:, others].abs().mean().item(),
        "pixels": (walk.images[1] - walk.images[0]).abs().mean().item(),
    }


def swap_characteristics(model: MCCVAE, z_a: Tensor, z_b: Tensor, labels: list[int]) -> tuple[Tensor, Tensor]:
    """z_a and z_b (..., Z) with the characteristics of the given labels exchanged; style and other labels stay."""
    latents = [j for label in labels for j in block_of(model, label)]
    swapped_a, swapped_b = z_a.clone(), z_b.clone()
    swapped_a[..., latents], swapped_b[..., latents] = z_b[..., latents], z_a[..., latents]
    return swapped_a, swapped_b


def _coloured(model: MCCVAE, e: Tensor, y: Tensor) -> Tensor:
    """Standard normal e (B, C) -> (I + T)^-1 e, T by each image's labels y (B, L); e itself for a diagonal prior."""
    if model.config.block_prior == "diagonal":
        return e
    by_value = [torch.linalg.solve_triangular(model.prior_whitening(v), e.T, upper=False, unitriangular=True).T for v in (0, 1)]
    return torch.where(y[:, model.owner] > 0.5, by_value[1], by_value[0])


@torch.no_grad()
def generate(model: VAE, y: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Images (B, *image_shape) in [0, 1], one for each row of labels y (B, L): z_c ~ p(z_c|y), z_style ~ N(0, 1), then the decoder's mean.

    A ConditionalVAE takes y beside z ~ N(0, 1); a VAE ignores y but for the number of images.
    """
    z = torch.randn(len(y), model.config.latent_dim, generator=generator, device=y.device)
    if isinstance(model, ConditionalVAE):
        return model.decode(z, y)
    if isinstance(model, MCCVAE):
        prior = model.conditional_prior(y)
        z_c, z_style = model.split(z)
        z = torch.cat([prior.loc + prior.scale * _coloured(model, z_c, y), z_style], dim=1)
    return model.decode(z)


# ---------------------------------------------------------------------------------------------------------
# What the latents hold: scores with a label's block as the unit
# ---------------------------------------------------------------------------------------------------------

STYLE = -1  # as the owner of a latent, a target or a column: no label's
PROBES = ("linear", "boosted")


def latent_owners(model: MCCVAE) -> np.ndarray:
    """(Z,): the label that owns each latent, STYLE for those of z_style."""
    return np.concatenate([model.owner.cpu().numpy(), np.full(model.config.style_dim, STYLE)])


def _fitted_probe(probe: str, codes, target):
    """A scikit-learn model that reads a target (N,) from codes (N, n); classes where it has no more than two values."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if probe not in PROBES:
        raise ValueError(f"probe must be one of {PROBES}, not {probe!r}")
    binary = len(np.unique(target)) <= 2
    if probe == "linear":
        reader = LogisticRegression(max_iter=1000) if binary else RidgeCV(np.logspace(-3, 3, 13))
        return make_pipeline(StandardScaler(), reader).fit(codes, target)
    boosted = HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor
    return boosted(max_iter=60, early_stopping=False, random_state=0).fit(codes, target)


def _held_out_score(reader, codes, target) -> float:
    from sklearn.metrics import r2_score, roc_auc_score

    if hasattr(reader, "predict_proba"):
        return float(roc_auc_score(target, reader.predict_proba(codes)[:, 1]))
    return max(0.0, float(r2_score(target, reader.predict(codes))))


def probe_score(train: tuple, test: tuple, probe: str) -> float:
    """How well a target is read from codes, on held-out data; train and test are (codes (N, n), target (N,)).

    AUC for a target of two values (chance 1/2), else R^2, not below 0 (chance 0). "linear": logistic or ridge
    regression on standardised codes; "boosted": gradient-boosted trees. No codes at all: chance. NaN where the target
    has only one value in either part.
    """
    (codes, target), (test_codes, test_target) = train, test
    if min(len(np.unique(target)), len(np.unique(test_target))) < 2:
        return math.nan
    if codes.shape[1] == 0:
        return 0.5 if len(np.unique(target)) == 2 else 0.0
    return _held_out_score(_fitted_probe(probe, codes, target), test_codes, test_target)


def found(train: tuple, test: tuple, latent_owner: np.ndarray, owner: int, probe: str) -> dict[str, float]:
    """`probe_score` of one target from where it should be and from where it should not; codes are (N, Z).

    own: from the latents of its owner (a label's block; for STYLE z_style); others: from the other labels' blocks together;
    style: from z_style. The two last are leakage, where labels are independent of each other in the data.
    """
    sources = {"own": latent_owner == owner, "others": (latent_owner != owner) & (latent_owner != STYLE), "style": latent_owner == STYLE}
    return {name: probe_score((train[0][:, mask], train[1]), (test[0][:, mask], test[1]), probe) for name, mask in sources.items()}


def block_importance(train: tuple, test: tuple, *, repeats: int = 5, seed: int = 0) -> np.ndarray:
    """Which latent of a block carries which part: importance (k, P). train and test are (codes (N, k), parts (N, P)).

    importance[j, p]: by how much the held-out R^2 of the boosted probe of part p, fitted on the whole block, falls when
    latent j is permuted over the test images; mean over `repeats` permutations, not below 0.
    """
    (codes, parts), (test_codes, test_parts), rng = train, test, np.random.default_rng(seed)
    importance = np.zeros((codes.shape[1], parts.shape[1]))
    for p in range(parts.shape[1]):
        reader = _fitted_probe("boosted", codes, parts[:, p])
        whole = _held_out_score(reader, test_codes, test_parts[:, p])
        for j, _ in itertools.product(range(codes.shape[1]), range(repeats)):
            permuted = test_codes.copy()
            permuted[:, j] = rng.permutation(permuted[:, j])
            importance[j, p] += max(0.0, whole - _held_out_score(reader, permuted, test_parts[:, p])) / repeats
    return importance


def _entropy(shares: np.ndarray, axis: int) -> np.ndarray:
    """-sum p log p of shares that are normalised along the axis; NaN where they are all 0."""
    with np.errstate(invalid="ignore"):
        p = shares / shares.sum(axis, keepdims=True)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), p).sum(axis)


def block_dci(importance: np.ndarray) -> tuple[float, float]:
    """(disentanglement, completeness) of one block, from its importance (k, P); Eastwood & Williams (2018), within the block.

    disentanglement: 1 - H(a latent's shares over the parts) / log P, mean over latents weighted by their importance; 1:
    each latent carries one part. completeness: 1 - H(a part's shares over the latents) / log k, mean over parts; 1: each
    part sits in one latent. A single part is disentangled, a single latent complete. NaN where nothing is carried.
    """
    k, parts = importance.shape
    if importance.sum() == 0:
        return math.nan, math.nan
    weight = importance.sum(1) / importance.sum()
    by_latent = np.ones(k) if parts == 1 else 1 - _entropy(importance, axis=1) / math.log(parts)
    by_part = np.ones(parts) if k == 1 else 1 - _entropy(importance, axis=0) / math.log(k)
    return float(np.nansum(weight * by_latent)), float(np.nanmean(by_part))


def effective_number(effects: np.ndarray) -> float:
    """How many latents do the work of a block: exp(entropy of the shares) of effects (k,), none below 0.

    1: one latent does it all, the paper's "one variable"; k: an even split. NaN where there is no effect."""
    return float(np.exp(_entropy(np.asarray(effects, dtype=float), axis=0)))


# ---------------------------------------------------------------------------------------------------------
# An independent judge of pictures
# ---------------------------------------------------------------------------------------------------------


class Judge(nn.Module):
    """A small convolutional network that reads labels, and for drawn data the continuous factors, from a picture.

    It shares nothing with the models that it judges. `features` (B, 128) are those of its last hidden layer. Each pixel's place
    is given beside its colour, for it must read places.
    """

    def __init__(self, image_shape, labels: int, factors: int):
        super().__init__()
        channels = (image_shape[0] + 2, 24, 48, 64, 96)
        layers = [
            m
            for i, o in itertools.pairwise(channels)
            for m in (nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), nn.BatchNorm2d(o, momentum=0.3), nn.ReLU())
        ]
        side = _image_sides(image_shape[1])[-1]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * side**2, 128), nn.ReLU())
        self.labels, self.head = labels, nn.Linear(128, labels + factors)
        line = torch.linspace(-1, 1, image_shape[1])
        self.register_buffer("place", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None], persistent=False)
        self.register_buffer("mean", torch.zeros(factors))
        self.register_buffer("sd", torch.ones(factors))

    def features(self, x: Tensor) -> Tensor:
        """Images (B, *image_shape) in [0, 1] -> (B, 128)."""
        return self.layers(torch.cat([x, self.place.expand(len(x), -1, -1, -1)], 1).contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, *image_shape) in [0, 1] -> label logits (B, L) and factors (B, F)."""
        out = self.head(self.features(x))
        return out[:, : self.labels], self.mean + self.sd * out[:, self.labels :]

    @torch.no_grad()
    def read(self, x: Tensor, batch_size: int = 512) -> tuple[Tensor, Tensor]:
        """Label probabilities (N, L) and factors (N, F), on the CPU, of images (N, *image_shape) in [0, 1]."""
        self.eval()
        logits, factors = zip(*(self(batch) for batch in x.split(batch_size)), strict=True)
        return torch.cat(logits).sigmoid().cpu(), torch.cat(factors).cpu()


def fit_judge(images: Tensor, labels: Tensor, factors: Tensor, *, epochs: int, seed: int = 0, batch_size: int = 64) -> Judge:
    """A judge trained on uint8 images (N, *image_shape), labels (N, L) of 0 and 1 and factors (N, F): Adam, its rate going up and
    down over the `epochs`; labels by cross-entropy, factors, of unit variance, by squares."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(tuple(images.shape[1:]), labels.shape[1], factors.shape[1]).to(memory_format=torch.channels_last)
    if factors.shape[1]:
        judge.mean.copy_(factors.mean(0))
        judge.sd.copy_(factors.std(0).clamp(min=1e-3))
    adam = torch.optim.AdamW(judge.parameters(), weight_decay=0.02, fused=True)
    steps = epochs * math.ceil(len(images) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=3e-3, total_steps=steps)
    rng = np.random.default_rng([seed, 4])
    judge.train()
    for _ in range(epochs):
        for index in np.array_split(rng.permutation(len(images)), math.ceil(len(images) / batch_size)):
            logits, read = judge(to_images(images[index]))
            squares = ((read - factors[index]) / judge.sd) ** 2
            loss = F.binary_cross_entropy_with_logits(logits, labels[index].float()) + 3 * squares.sum() / max(1, squares.numel())
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            schedule.step()
    return judge.eval()


def save_judge(path: Path, judge: Judge) -> None:
    """A judge in one safetensors file, from which `load_judge` rebuilds it."""
    sizes = {"side": judge.place.shape[-1], "labels": judge.labels, "factors": len(judge.mean)}
    _write_safetensors(path, judge.state_dict(), {"judge": sizes})


def load_judge(path: Path) -> Judge:
    """The judge that `save_judge` wrote, on the CPU, in evaluation mode. Raises CheckpointError for a file that holds none."""
    tensors, metadata = _read_safetensors(Path(path))
    try:
        sizes, channels = metadata["judge"], tensors["layers.0.weight"].shape[1] - 2
        if tensors["head.bias"].shape != (sizes["labels"] + sizes["factors"],) or sizes["side"] not in (60, 64):
            raise ValueError("its sizes are not those of its weights")
        judge = Judge((channels, sizes["side"], sizes["side"]), sizes["labels"], sizes["factors"])
        judge.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} holds no judge of this project ({error})") from None
    return judge.to(memory_format=torch.channels_last).eval()


def judge_scores(judge: Judge, images: Tensor, labels: Tensor, factors: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The judge's own test, on uint8 images: accuracy of each label (L,) and R^2 of each factor (F,)."""
    from sklearn.metrics import r2_score

    p, read = judge.read(to_images(images))
    r2 = [r2_score(truth, value) for truth, value in zip(factors.T, read.T, strict=True)]
    return ((p > 0.5) == labels.bool()).float().mean(0).numpy(), np.array(r2)


@torch.no_grad()
def effect_matrix(model: MCCVAE, z: Tensor, moves: list[list[int]], judge: Judge) -> tuple[np.ndarray, np.ndarray]:
    """What each move changes, by the judge: means over the starts z (N, Z) of the absolute change of its label probabilities
    (R, L) and of its factors (R, F), when the latents of a move go together from one end of `characteristic_range` to the other."""
    rows = []
    for latents in moves:
        ends = []
        for end in (0, 1):
            moved = z.clone()
            for latent in latents:
                moved[:, latent] = characteristic_range(model, latent)[end]
            ends.append(judge.read(model.decode(moved)))
        rows.append([(high - low).abs().mean(0).numpy() for low, high in zip(*ends, strict=True)])
    labels, factors = zip(*rows, strict=True)
    return np.stack(labels), np.stack(factors)


def diagonal_share(effects: np.ndarray, row_owner: np.ndarray, column_owner: np.ndarray) -> float:
    """Share of all effects (R, T) that fall on what the moved latents own; columns that are STYLE's own nothing."""
    own = (row_owner[:, None] == column_owner[None, :]) & (column_owner[None, :] != STYLE)
    return float(effects[own].sum() / effects.sum())


@torch.no_grad()
def swap_scores(model: MCCVAE, z_a: Tensor, z_b: Tensor, label: int, judge: Judge) -> dict[str, float]:
    """One label's characteristics of images b put into images a, z (N, Z) each: what the judge then sees, against its
    reading of the reconstructions of a and b. Only pairs count whose label it reads differently: `pairs` of them.

    taken: share of these whose label now reads as b's does. kept: share of the other labels that read as a's do. NaN
    without such a pair, as in a model whose pictures don't show the label.
    """
    swapped, _ = swap_characteristics(model, z_a, z_b, [label])
    a, b, c = (judge.read(model.decode(z))[0] > 0.5 for z in (z_a, z_b, swapped))
    differ, others = a[:, label] != b[:, label], [i for i in range(a.shape[1]) if i != label]
    taken, kept = (c[:, label] == b[:, label])[differ], (c[:, others] == a[:, others])[differ]
    return {"pairs": int(differ.sum()), "taken": taken.float().mean().item(), "kept": kept.float().mean().item()}


def generation_scores(model: VAE, images: Tensor, labels: Tensor, judge: Judge, *, seed: int = 0) -> dict[str, float]:
    """Samples for the label vectors of held-out uint8 images, one each, held against those images.

    accuracy: share of labels that the judge reads as asked for. kid, kid_sd: their `kernel_distance`. diversity: variance of
    the features among pictures of the same label vector, as a share of the real images'; below 1 the samples are too alike.
    """
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    drawn = generate(model, labels.float().to(device), generator=noise).cpu()
    p, _ = judge.read(drawn)
    features = {"real": judge_features(judge, to_images(images)), "drawn": judge_features(judge, drawn)}
    kid, kid_sd = kernel_distance(features["real"], features["drawn"], seed=seed)
    _, group = labels.unique(dim=0, return_inverse=True)
    within = {name: _variance_within(f, group) for name, f in features.items()}
    return {
        "n": len(images),
        "accuracy": ((p > 0.5) == labels.bool()).float().mean().item(),
        "kid": kid,
        "kid_sd": kid_sd,
        "diversity": within["drawn"] / within["real"],
    }


def reconstruction_distance(model: VAE, images: Tensor, labels: Tensor, judge: Judge) -> float:
    """The `kernel_distance` of reconstructions (`reconstruct`) from the uint8 images that they are of; a little below 0 where they are the
    same pictures, since that is an unbiased estimate for sets drawn apart."""
    real, drawn = (judge_features(judge, x) for x in (to_images(images), reconstruct(model, images, labels)))
    return kernel_distance(real, drawn)[0]


@torch.no_grad()
def judge_features(judge: Judge, images: Tensor, batch_size: int = 512) -> Tensor:
    """`Judge.features` (N, 128), float64, of images (N, *image_shape) in [0, 1]."""
    return torch.cat([judge.features(batch) for batch in images.split(batch_size)]).double()


def kernel_distance(real: Tensor, drawn: Tensor, *, seed: int = 0, subsets: int = 20) -> tuple[float, float]:
    """Kernel inception distance (Binkowski et al. 2018) of features (N, n), in units of the real ones' spread: mean and sd over
    `subsets` of half the images (torchmetrics). 0 in expectation for two samples of the same distribution."""
    from torchmetrics.image.kid import KernelInceptionDistance

    scale = real.std()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features: they are few
        torch.manual_seed(seed)
        kid = KernelInceptionDistance(feature=nn.Identity(), subsets=subsets, subset_size=len(real) // 2).set_dtype(torch.float64)
        kid.inception.num_features = real.shape[1]
        kid.update(real / scale, real=True)
        kid.update(drawn / scale, real=False)
        mean, sd = kid.compute()
    return mean.item(), sd.item()


def _variance_within(features: Tensor, group: Tensor) -> float:
    """Variance of features (N, n) about the mean of their group (N,), over groups of two and more."""
    total, freedom = 0.0, 0
    for g in group.unique():
        mine = features[group == g]
        if len(mine) > 1:
            total, freedom = total + ((mine - mine.mean(0)) ** 2).sum().item(), freedom + len(mine) - 1
    return total / freedom if freedom else math.nan


# ---------------------------------------------------------------------------------------------------------
# Latents where they are needed (section 5)
# ---------------------------------------------------------------------------------------------------------


def misreading(probabilities: Tensor, labels: Tensor) -> np.ndarray:
    """Confusion between labels, (L, L): the share of images on which labels i and j are both read wrongly; on the diagonal: i is.

    For labels of which one is on, both are wrong where one was taken for the other: the confusion matrix, made symmetric.
    """
    wrong = ((probabilities > 0.5) != labels.bool()).double()
    return (wrong.T @ wrong / len(wrong)).numpy()


def reconstruction_by_label(model: VAE, images: Tensor, labels: Tensor, *, batch_size: int = 512) -> np.ndarray:
    """(L,): how much worse, in nats, images with a label are reconstructed at the posterior mean than those without it."""
    device, nats = next(model.parameters()).device, []
    with torch.no_grad():
        for batch in images.split(batch_size):
            x = to_images(batch, device)
            nats.append(-model.log_px(x, model.encode(x).loc).cpu())
    nats, y = torch.cat(nats).double(), labels.double()
    with_it, without = (nats @ y / y.sum(0)), (nats @ (1 - y) / (1 - y).sum(0))
    return (with_it - without).nan_to_num().numpy()


def allocate_characteristics(confusion: np.ndarray, errors: np.ndarray, total: int) -> tuple[int, ...]:
    """(k_1, ..., k_L) with sum `total`, more latents where a model with one each fails (section 5).

    A label's need is the mean of its share of the confusion (`misreading`'s row sums) and of its share of the surplus
    reconstruction error (`reconstruction_by_label`, not below 0). Every label keeps one latent; the others go by need, in whole
    numbers by largest remainders, ties to the first. Raises ValueError where total is below L.
    """
    count = len(errors)
    if total < count:
        raise ValueError(f"{count} labels need at least {count} latents, not {total}")
    shares = [np.clip(v, 0, None) for v in (confusion.sum(1), errors)]
    shares = [v / v.sum() if v.sum() > 0 else np.full(count, 1 / count) for v in shares]
    quota = (total - count) * (shares[0] + shares[1]) / 2
    k = np.floor(quota).astype(int)
    for i in np.argsort(-(quota - k), kind="stable")[: total - count - k.sum()]:
        k[i] += 1
    return tuple(int(v) for v in 1 + k)
