"""Characteristic-capturing VAEs: models, losses, training, evaluation and interventions.

This file is the method of Bardusco & Bourbon, "Capturing Label Characteristics in VAEs" (the paper),
and of its parent, Joy et al., "Capturing Label Characteristics in VAEs", ICLR 2021 (CCVAE). Read it
from top to bottom: tensors come in, tensors go out; nothing here plots or knows a data set.

    import torch, mccvae_core as core

    images = torch.randint(0, 256, (200, 1, 64, 64), dtype=torch.uint8)      # yours: (N, channels, 64, 64)
    labels = (images.float().mean((1, 2, 3)) > 127.5).float()[:, None]       # yours: (N, L) of 0, 1 or NaN, not known
    config = core.ModelConfig((1, 64, 64), characteristics=(2,), style_dim=5, likelihood="bernoulli", label_prior=0.5)
    model = core.build_model("MCCVAE", config, seed=0)
    unbiased = core.Objective("rao-blackwell", label_weight=900.0)           # "official" is the paper's, biased
    core.fit(model, images, labels, unbiased, batch_size=64, epochs=2, seed=0)
    print(core.predict(model, images[:3]))                                   # q(y = 1|x)
    z = core.posterior(model, images[:3]).loc
    walk = core.latent_walk(model, z, {0: 1})                                # label 0 towards the value 1
    print(walk.images.shape, walk.reencoded[:, 0, 0])                        # 7 pictures of each; how each reads again

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

A label may be continuous instead (`ModelConfig.label_kinds`; ours, not the paper's). Then y_i is standardised, and

    p(y_i) = N(0, 1),   q(y_i|z_c^i) = N(u_i, s_i^2),   p(z_c^i|y_i) = N(a_i + c_i y_i, diag sigma_i^2),

so that all that the bounds ask of it is Gaussian and in closed form (`continuous_label_terms`). Or it is categorical,
one of V values, V columns of y of which one is 1. Then with u_i = W_i z_c^i + b_i, one logit for each value,

    q(y_i|z_c^i) = softmax(u_i),   p(z_c^i|y_i = v) = N(a_iv, diag sigma_iv^2)      (`categorical_label_terms`).

The classifier is linear, u_i = w_i . z_c^i + b_i, so it sees one direction of a block, and k_i - 1 others leave y_i's
probability as it is: q(y_i|z_c^i + r) = q(y_i|z_c^i) for each r with w_i . r = 0. What encoder and prior put there is
no matter of these formulas; it has to be measured (notebooks/support/measures/blocks.py).

Shapes: B images, L labels (columns of y), C = sum_i k_i characteristics, S style latents, Z = C + S latents.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

LIKELIHOODS = ("bernoulli", "laplace", "bernoulli-two-sigmoids")
ESTIMATORS = ("official", "rao-blackwell")
PRECISIONS = ("float32", "bf16")
STARTS = ("ones", "linear")
KINDS = ("binary", "continuous", "categorical")
LEARNING_RATE = 2e-4  # Adam, paper section 4
OFFICIAL_DRAWS = 100  # K, further draws of z for q(y|x) in the official estimator
NODES = 32  # of the Gauss-Hermite quadrature over a label's logit
NODES_2D = 20  # along each of two directions, where a categorical label's logits span as many
POINTS = 512  # K, of the quasi-Monte Carlo sum over a categorical label's logits where they span more than two
SOBOL_BITS = 30  # of torch's Sobol points
VALIDATE_EVERY = 5  # epochs between two looks at the validation loss
CHECK_EVERY = 32  # batches between two looks for a loss that is not finite, on a device that is waited for
MIN_SCALE = 1e-3  # floor of every standard deviation, as in the official code
MIN_READING_SCALE = 0.05  # of a continuous label, as a share of its own standard deviation


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
    label_prior: p(y_i = 1), one number for all labels or one for each; of a categorical label, in its place, the
        probabilities (p_1, ..., p_V) of its values, which say how many there are.
    start_std: spread of the random start of the classifier's weights around 1 and of the conditional prior's means
        around 0. 0 is the official code's start, where the latents of one block begin exactly alike.
    start: "ones", as above, or "linear": classifier and conditional prior start as the layers of the paper's words do
        (section 4), nn.Linear's default with the weights outside the blocks set to zero.
    block_prior: "diagonal", or "full" for a p(z_c^i|y_i) whose k_i latents may be correlated (ours, not the paper's).
    label_kinds: "binary", "continuous" or "categorical", one for all labels or one for each; `label_prior` says nothing
        of a continuous one.

    Raises ValueError where a value makes no model.
    """

    image_shape: tuple[int, int, int]
    characteristics: tuple[int, ...]
    style_dim: int
    likelihood: str
    label_prior: float | tuple[float | tuple[float, ...], ...]
    start_std: float = 0.0
    block_prior: str = "diagonal"
    start: str = "ones"
    label_kinds: str | tuple[str, ...] = "binary"

    def __post_init__(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        set_("image_shape", tuple(self.image_shape))
        set_("characteristics", tuple(self.characteristics))
        prior, kinds = self.label_prior, self.label_kinds
        set_("label_kinds", (kinds,) * len(self.characteristics) if isinstance(kinds, str) else tuple(kinds))
        each = tuple(prior) if hasattr(prior, "__iter__") else (float(prior),) * len(self.characteristics)
        set_("label_prior", tuple(tuple(p) if hasattr(p, "__iter__") else p for p in each))
        if (
            len(self.image_shape) != 3
            or self.image_shape[0] not in (1, 3)
            or self.image_shape[1:] not in ((60, 60), (64, 64))
        ):
            raise ValueError(f"image_shape must be (1 or 3, 60, 60) or (1 or 3, 64, 64), not {self.image_shape}")
        if not self.characteristics or min(self.characteristics) < 1:
            raise ValueError(f"characteristics must give every label at least one latent, not {self.characteristics}")
        if self.style_dim < 0:
            raise ValueError(f"style_dim must be 0 or more, not {self.style_dim}")
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {LIKELIHOODS}, not {self.likelihood!r}")
        if self.block_prior not in ("diagonal", "full"):
            raise ValueError(f"block_prior must be 'diagonal' or 'full', not {self.block_prior!r}")
        if self.start not in STARTS or (self.start == "linear" and self.start_std):
            raise ValueError(
                f"start must be one of {STARTS}, 'linear' without a start_std, not {self.start!r}, {self.start_std}"
            )
        if len(self.label_kinds) != len(self.characteristics) or not set(self.label_kinds) <= set(KINDS):
            raise ValueError(f"label_kinds must be one of {KINDS}, once or for each label, not {kinds}")
        if len(self.label_prior) != len(self.characteristics) or not all(
            map(_is_prior, self.label_prior, self.label_kinds)
        ):
            raise ValueError(
                "label_prior must lie inside (0, 1), once or for each label; of a categorical label it must be the "
                f"probabilities of its values, two or more with the sum 1; not {prior}"
            )
        if set(self.label_kinds) != {"binary"} and (self.block_prior, self.start) != ("diagonal", "ones"):
            raise ValueError("labels that are not binary need the block_prior 'diagonal' and the start 'ones'")

    @property
    def columns(self) -> tuple[int, ...]:
        """How many columns of y each label takes: V if it is categorical, else 1."""
        return tuple(len(p) if isinstance(p, tuple) else 1 for p in self.label_prior)

    @property
    def labels(self) -> int:
        """L, the columns of y. A binary or continuous label has one, so that without categorical ones L labels."""
        return sum(self.columns)

    @property
    def has_continuous(self) -> bool:
        return "continuous" in self.label_kinds

    @property
    def characteristic_dim(self) -> int:
        """C = sum_i k_i."""
        return sum(self.characteristics)

    @property
    def latent_dim(self) -> int:
        """Z = C + S."""
        return self.characteristic_dim + self.style_dim


def _is_prior(p: float | tuple[float, ...], kind: str) -> bool:
    """Whether p is what `ModelConfig.label_prior` says of a label of this kind."""
    if kind != "categorical":
        return not isinstance(p, tuple) and 0 < p < 1
    return isinstance(p, tuple) and len(p) > 1 and all(0 < part < 1 for part in p) and abs(sum(p) - 1) < 1e-6


def _image_sides(side: int) -> list[int]:
    """Side of the feature maps after 0, 1, ..., 4 stride-2 convolutions: 64 32 16 8 4, or 60 30 15 7 3."""
    return [side >> i for i in range(5)]


def _in_precision(layers: nn.Module, x: Tensor, precision: str) -> Tensor:
    """layers(x); "bf16" computes inside the layers in bfloat16. Parameters and what comes out are float32."""
    if precision == "float32":
        return layers(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return layers(x).float()


class Encoder(nn.Module):
    """q(z|x) after Higgins et al. (2017) as CCVAE uses it: 4x4 stride-2 convolutions of 32, 32, 64 and 128
    channels, a layer of 256, then mean and standard deviation (softplus). (B, *image_shape) -> Normal (B, Z)."""

    precision = "float32"  # see `computing_in`

    def __init__(self, image_shape, latent_dim):
        super().__init__()
        channels = (image_shape[0], 32, 32, 64, 128)
        pairs = itertools.pairwise(channels)
        convolutions = [m for i, o in pairs for m in (nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), nn.ReLU())]
        self.features = nn.Sequential(
            *convolutions, nn.Flatten(), nn.Linear(128 * _image_sides(image_shape[1])[-1] ** 2, 256), nn.ReLU()
        )
        self.loc = nn.Linear(256, latent_dim)
        self.scale = nn.Linear(256, latent_dim)

    def forward(self, x):
        h = _in_precision(self.features, x, self.precision)
        return Normal(self.loc(h), F.softplus(self.scale(h)).clamp(min=MIN_SCALE), validate_args=False)


class Decoder(nn.Module):
    """The encoder's mirror. (..., latents) -> logits (..., *image_shape); the image mean is their sigmoid."""

    precision = "float32"  # see `computing_in`

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
            layers += [
                nn.ConvTranspose2d(i, o, kernel_size=4, stride=2, padding=1, output_padding=large - 2 * small),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z):
        logits = _in_precision(self.layers, z.reshape(-1, z.shape[-1]), self.precision)
        return logits.reshape(*z.shape[:-1], *self.image_shape)


def _check_images(model: "VAE", x: Tensor) -> None:
    """Raise ValueError unless x is float (B, *image_shape) in [0, 1].

    The values are looked at on the CPU alone: another device would have to wait."""
    shape = model.config.image_shape
    if not isinstance(x, Tensor) or not x.is_floating_point() or tuple(x.shape[1:]) != shape:
        wanted = f"a float tensor (B, {', '.join(map(str, shape))})"
        raise ValueError(f"x must be {wanted}, as `to_images` makes it of uint8, not {_described(x)}")
    if x.device.type == "cpu" and len(x) and not (x.amin() >= 0 and x.amax() <= 1):
        raise ValueError(
            f"x must lie in [0, 1]; it goes from {x.amin():g} to {x.amax():g}. Divide by the largest value"
        )


def _described(value) -> str:
    """Type and shape of what was given in an image's place."""
    kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
    return f"{kind} {tuple(getattr(value, 'shape', ()))}"


class VAE(nn.Module):
    """Kingma & Welling's VAE (section 1), without labels. It has as many latents as an MCCVAE of the same config."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.image_shape, config.latent_dim)
        self.decoder = Decoder(config.image_shape, config.latent_dim)

    def encode(self, x: Tensor) -> Normal:
        """q(z|x), a Normal (B, Z), for images x (B, *image_shape) in [0, 1]. Raises ValueError for others."""
        _check_images(self, x)
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x|z), (B, *image_shape) in [0, 1], for latents z (B, Z)."""
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
    of its label, started at mean 0 and softplus(1).

    block_prior "full": the deviations e = (z_c^i - mean) / scale of a block become independent standard normals by
    (I + T) e, T strictly lower triangular, one matrix for each value of the label, started at 0.
    start "linear": as nn.Linear layers start, every weight and bias uniform on +-1/sqrt(inputs). The classifier has C
    inputs, the conditional prior L; the prior's values are bias for y_i = 0 and bias + weight for y_i = 1.

    Of a continuous label u_i is the mean of q(y_i|z_c^i). The rows of its prior's means are a_i and a_i + c_i, those of
    y_i = 0 and 1; the first row of its standard deviations is sigma_i. A categorical label's W_i, a_iv and sigma_iv are
    `value_weight`, `value_loc` and `value_raw_scale` where its rows and columns meet; W_i starts at random, a_iv as its
    columns.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        k, v = config.characteristics, config.columns
        owner = [sum(v[:i]) for i, k_i in enumerate(k) for _ in range(k_i)]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)  # (C,): its label's first column
        block = torch.block_diag(*map(torch.ones, k, v))  # (C, L): 1 where latent and column are of one label
        self.register_buffer("block", block, persistent=False)
        is_continuous = [
            kind == "continuous" for kind, v_i in zip(config.label_kinds, v, strict=True) for _ in range(v_i)
        ]
        self.register_buffer("continuous", torch.tensor(is_continuous), persistent=False)  # (L,)
        prior = [p for each in config.label_prior for p in (each if isinstance(each, tuple) else [each])]
        self.register_buffer("label_prior", torch.tensor(prior), persistent=False)  # (L,): p(y_i = 1)
        self.categorical = [  # of each categorical label: where in y it is, and where in z_c
            (slice(sum(v[:i]), sum(v[: i + 1])), slice(sum(k[:i]), sum(k[: i + 1])))
            for i, kind in enumerate(config.label_kinds)
            if kind == "categorical"
        ]
        self.classifier_weight = nn.Parameter(1 + config.start_std * torch.randn(config.characteristic_dim))
        self.classifier_bias = nn.Parameter(torch.zeros(config.labels))
        self.prior_loc = nn.Parameter(config.start_std * torch.randn(2, config.characteristic_dim))  # rows: y_i = 0, 1
        self.prior_raw_scale = nn.Parameter(torch.ones(2, config.characteristic_dim))
        if config.start == "linear":
            self._start_as_linear_layers()
        if config.block_prior == "full":
            self.prior_lower = nn.Parameter(torch.zeros(2, config.characteristic_dim, config.characteristic_dim))
        if config.has_continuous:
            self.reading_raw_scale = nn.Parameter(torch.ones(config.labels))
        if self.categorical:
            self.value_weight = nn.Parameter(torch.randn(config.characteristic_dim, config.labels))
            self.value_loc = nn.Parameter(self.value_weight.detach().T.clone())
            self.value_raw_scale = nn.Parameter(torch.ones(config.labels, config.characteristic_dim))

    @torch.no_grad()
    def _start_as_linear_layers(self):
        to_labels, to_latents = (
            self.config.characteristic_dim**-0.5,
            self.config.labels**-0.5,
        )  # bounds of nn.Linear's start
        for parameter in (self.classifier_weight, self.classifier_bias):
            parameter.uniform_(-to_labels, to_labels)
        for parameter in (self.prior_loc, self.prior_raw_scale):
            parameter.uniform_(-to_latents, to_latents)  # rows: bias, weight
            parameter[1] += parameter[0]

    def values_of(self, label: int) -> slice | None:
        """The columns of the categorical label that the column `label` is a value of; None of another kind of label."""
        return next((columns for columns, _ in self.categorical if columns.start <= label < columns.stop), None)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., Z) -> z_c (..., C), z_style (..., S)."""
        return z[..., : self.config.characteristic_dim], z[..., self.config.characteristic_dim :]

    def split_posterior(self, q: Normal) -> tuple[Normal, Normal]:
        """q(z|x), a Normal (..., Z) -> q(z_c|x) and q(z_style|x)."""
        parts = zip(self.split(q.loc), self.split(q.scale), strict=True)
        q_c, q_style = (Normal(loc, scale, validate_args=False) for loc, scale in parts)
        return q_c, q_style

    def label_logits(self, z_c: Tensor) -> Tensor:
        """u (..., L) for characteristics z_c (..., C): the logit of q(y_i = 1|z_c^i), or a continuous label's mean."""
        u = (z_c * self.classifier_weight) @ self.block + self.classifier_bias
        for columns, latents in self.categorical:
            W = self.value_weight[latents, columns]
            u[..., columns] = z_c[..., latents] @ W + self.classifier_bias[columns]
        return u

    def read_labels(self, z_c: Tensor) -> Tensor:
        """What characteristics z_c (..., C) say, (..., L): q(y_i = 1|z_c^i), or the mean of a continuous label."""
        u = self.label_logits(z_c)
        read = torch.where(self.continuous, u, u.sigmoid())
        for columns, _ in self.categorical:
            read[..., columns] = u[..., columns].softmax(-1)
        return read

    def reading_scale(self) -> Tensor:
        """s (L,), the standard deviation of q(y_i|z_c^i) of continuous labels; of others without a meaning."""
        return F.softplus(self.reading_raw_scale).clamp(min=MIN_READING_SCALE)

    def conditional_prior(self, y: Tensor) -> Normal:
        """p(z_c|y), a Normal (..., C), for known labels y (..., L); of a full block_prior means and scales."""
        y_c = y[..., self.owner]
        loc = torch.where(y_c > 0.5, self.prior_loc[1], self.prior_loc[0])
        raw_scale = torch.where(y_c > 0.5, self.prior_raw_scale[1], self.prior_raw_scale[0])
        if self.config.has_continuous:
            continuous = self.continuous[self.owner]
            loc = torch.where(continuous, torch.lerp(*self.prior_loc, y_c), loc)
            raw_scale = torch.where(continuous, self.prior_raw_scale[0], raw_scale)
        for columns, latents in self.categorical:
            loc[..., latents] = y[..., columns] @ self.value_loc[columns, latents]
            raw_scale[..., latents] = y[..., columns] @ self.value_raw_scale[columns, latents]
        return Normal(loc, F.softplus(raw_scale).clamp(min=MIN_SCALE), validate_args=False)

    def prior_whitening(self, value: int) -> Tensor | None:
        """I + T of the value of the labels, (C, C), zero outside the blocks; None for a diagonal prior."""
        if self.config.block_prior == "diagonal":
            return None
        within = (self.block @ self.block.T).tril(-1)
        return (
            torch.eye(len(within), device=within.device, dtype=self.prior_lower.dtype)
            + self.prior_lower[value] * within
        )

    def log_qyz(self, y: Tensor, z_c: Tensor) -> Tensor:
        """log q(y|z_c) = sum_i log Ber(y_i; sigmoid(u_i)), (...,), for binary y (..., L) and z_c (..., C)."""
        return F.logsigmoid((2 * y - 1) * self.label_logits(z_c)).sum(-1)

    def log_py(self, y: Tensor) -> Tensor:
        """log p(y) = sum_i log Ber(y_i; p_i), (...,), for y (..., L)."""
        return torch.where(y > 0.5, self.label_prior.log(), (-self.label_prior).log1p()).sum(-1)


MODELS = {cls.__name__: cls for cls in (VAE, ConditionalVAE, MCCVAE)}


def build_model(kind: str, config: ModelConfig, seed: int) -> VAE:
    """A new "VAE", "ConditionalVAE" or "MCCVAE" whose starting weights are a function of the seed alone.

    Raises ValueError for another kind. CCVAE is an MCCVAE with one characteristic for each label."""
    if kind not in MODELS:
        raise ValueError(f"kind must be one of {tuple(MODELS)}, not {kind!r}; CCVAE is an MCCVAE whose k_i are all 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[kind](config).to(memory_format=torch.channels_last)


@contextlib.contextmanager
def computing_in(model: VAE, precision: str) -> Iterator[None]:
    """Inside a with block, compute a model's encoder features and decoder layers in "float32" or "bf16".

    Only training does this. Parameters, likelihoods, losses and the optimiser are float32 always."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}")
    model.encoder.precision = model.decoder.precision = precision
    try:
        yield
    finally:
        model.encoder.precision = model.decoder.precision = "float32"


# ---------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised. Raises ValueError for another estimator, and for `official` with a block_penalty.

    estimator: how section 2.3's expectations are estimated, "official" (`official_loss`) or "rao-blackwell"
        (`rao_blackwell_loss`).
    label_weight: alpha adds alpha * sum_i log q(y_i|x) over known labels to the bound; 0 is the paper's formula.
    block_penalty: weight of `block_total_correlation` in the rao-blackwell loss (ours, not the paper's).
    """

    estimator: str = "official"
    label_weight: float = 0.0
    block_penalty: float = 0.0

    def __post_init__(self):
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {ESTIMATORS}, not {self.estimator!r}")
        if self.block_penalty and self.estimator == "official":
            raise ValueError("a block_penalty needs the estimator 'rao-blackwell'")


BOUND = Objective("rao-blackwell")  # the unbiased loss at alpha = 0, by which models are compared


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
    characteristics  the terms of z_c: in `official` KL(q(z_c|x) || p(z_c|y)); in `rao-blackwell` their whole
                     expectation, E[w_i (log q(z_c^i|x) + log q(y_i|z_c^i) - log p(z_c^i|y_i))] summed over labels.
    log_qyz          log q(y|z_c) inside the expectation; 0 in `rao-blackwell`, where `characteristics` has it.
    weighting        what w adds, image by image: in `official`
                     (w - 1)(reconstruction + kl_style + characteristics + log_qyz);
                     in `rao-blackwell` (w - 1)(reconstruction + b), b the control variate for log p(x|z).
    log_qyx          sum of log q(y_i|x) over the known labels; 0 where none is known.
    log_py           log p(y), of labels that are not known its expectation.
    block_correlation  `block_total_correlation`, where a block_penalty asks for it; else 0.
    mean_weight      mean of w; its expectation is 1.
    ess              effective sample size of w, (sum w)^2 / sum w^2, in images: B where all weigh the same.

    Of each image (B,), without their graphs, and no terms: log_px, log p(x|z), from which control variates are made;
    each, its part in loss_alpha0.
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
    each: Tensor

    @classmethod
    def of(
        cls,
        objective: Objective,
        *,
        weight: Tensor | None = None,
        block_correlation: Tensor | None = None,
        **parts: Tensor,
    ) -> "LossTerms":
        """The terms of a batch from those of each image, (B,) each, by name; a term that is not given is 0, w is 1."""
        zero, log_px = torch.zeros_like(parts["reconstruction"]), -parts["reconstruction"].detach()
        adding, subtracting = (
            ("reconstruction", "kl_style", "characteristics", "log_qyz", "weighting"),
            ("log_qyx", "log_py"),
        )
        if unknown := set(parts) - {*adding, *subtracting}:
            raise TypeError(f"no terms: {', '.join(unknown)}")
        mean = {name: parts.get(name, zero).mean() for name in adding + subtracting}
        each = sum(parts.get(name, zero) for name in adding) - sum(parts.get(name, zero) for name in subtracting)
        w = (zero + 1 if weight is None else weight).detach()
        loss_alpha0 = sum(mean[name] for name in adding) - sum(mean[name] for name in subtracting)
        block_correlation = zero.sum() if block_correlation is None else block_correlation
        loss = loss_alpha0 - objective.label_weight * mean["log_qyx"] + objective.block_penalty * block_correlation
        share = w / w.max().clamp(min=torch.finfo(w.dtype).tiny)  # squares of a small w would be 0
        ess = share.sum() ** 2 / (share**2).sum().clamp(min=1e-12)
        kept = {"block_correlation": block_correlation, "mean_weight": w.mean(), "ess": ess}
        return cls(loss=loss, loss_alpha0=loss_alpha0, **mean, **kept, log_px=log_px, each=each.detach())

    def values(self) -> Tensor:
        """All terms in the order of LOSS_TERMS, (12,), without their graph."""
        return torch.stack([getattr(self, name).detach() for name in LOSS_TERMS])


LOSS_TERMS = tuple(field.name for field in dataclasses.fields(LossTerms) if field.name not in ("log_px", "each"))


def kl_standard_normal(q: Normal) -> Tensor:
    """KL(q || N(0, 1)) of a Normal (B, n), summed over its n latents, (B,)."""
    return kl_divergence(q, Normal(torch.zeros_like(q.loc), 1.0, validate_args=False)).sum(1)


def ccvae_loss(
    model: MCCVAE,
    x: Tensor,
    y: Tensor,
    objective: Objective,
    control_variate: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
) -> LossTerms:
    """The loss of section 2.3 for images x (B, *image_shape) in [0, 1] and labels y (B, L) of 0, 1 or NaN (not known).

    All labels of an image known: the first objective, L(x, y); none known: the second, L(x). `rao_blackwell_loss` alone
    takes any pattern of missing labels and a `control_variate` (B,). Noise comes from `generator`, or torch's default
    one. Raises ValueError for images and labels that don't fit, for an image of which `official` knows only some labels
    (it has no formula for those), and for `official` with a full block_prior or labels that are not binary (ours).
    """
    if y.shape != (len(x), model.config.labels):
        raise ValueError(f"y must be (B, L) = {(len(x), model.config.labels)}, not {tuple(y.shape)}")
    if objective.estimator == "official":
        if model.config.block_prior == "full" or set(model.config.label_kinds) != {"binary"}:
            raise ValueError("a full block_prior and labels that are not binary need the estimator 'rao-blackwell'")
        return official_loss(model, x, y, OfficialNoise.draw(model, y, generator), objective)
    noise = torch.randn(len(x), model.config.latent_dim, generator=generator, device=x.device, dtype=y.dtype)
    return rao_blackwell_loss(model, x, y, noise, objective, control_variate, label_points(model, y, generator))


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


def official_loss(
    model: MCCVAE, x: Tensor, y: Tensor, noise: OfficialNoise, objective: Objective = Objective("official")
) -> LossTerms:
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
        raise ValueError(
            "estimator 'official' needs all labels of an image or none; some images here have only part of theirs"
        )

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
        objective,
        reconstruction=reconstruction,
        kl_style=kl_style,
        characteristics=kl_c,
        log_qyz=log_qyz,
        weighting=(weight - 1) * minus_f,
        log_qyx=log_qyx,
        log_py=model.log_py(y),
        weight=weight,
    )


def rao_blackwell_loss(
    model: MCCVAE,
    x: Tensor,
    y: Tensor,
    noise: Tensor,
    objective: Objective = BOUND,
    control_variate: Tensor | None = None,
    points: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> LossTerms:
    """Section 2.3's objective, unbiased in value and gradient; what can be summed or integrated is. noise (B, Z).

    Labels may be missing one by one (NaN). With K the known labels and M the missing ones,

        L(x, y_K) = E_q(z|x)[ w sum_{y_M} q(y_M|z_c) log p(x|z) p(z|y) p(y_M) / (q(y|z_c) q(z|x)) ]
                    + log q(y_K|x) + log p(y_K),
        w = prod_{i in K} w_i,   w_i = q(y_i|z_c^i) / q(y_i|x),

    which is L(x, y) where all are known and L(x) where none is. All factors but p(x|z) split over labels, and
    E[w_i] = 1, so the terms of label i need w_i alone (`label_terms`), the style's need no weight and are a KL in
    closed form, and only E[w log p(x|z)] is left to one draw of z: w (log p(x|z) - b) + b, with the gradient through w.
    b, the control variate, must not depend on this z; None or NaN stand for the mean over the batch's other images.

    A known continuous label needs no weight: with w_i taken into it, q(z_c^i|x) becomes q(z_c^i|x, y_i), which is
    Gaussian too, and z is drawn from that (`given_continuous_labels`). A categorical label is summed over its values at
    `points`, by default those of `label_points`. All is exact but where its logits span more than two directions:
    there log q(y_i|x) and w_i have a bias of the order 1/K, which a test holds below 1e-3 nats.
    """
    known = ~y.isnan()
    q = model.encode(x)
    z = q.loc + q.scale * noise
    q_c, q_style = model.split_posterior(q)
    if model.config.has_continuous:
        z = torch.cat([given_continuous_labels(model, q_c, y, model.split(noise)[0]), model.split(z)[1]], dim=1)
    characteristics, log_qyx_i, log_py_i = label_terms(model, q_c, y, points)

    u = model.label_logits(model.split(z)[0])
    log_qyz_i = F.logsigmoid(torch.where(y > 0.5, u, -u))
    for columns, _ in model.categorical:
        log_qyz_i[:, columns] = torch.where(y[:, columns] > 0.5, u[:, columns].log_softmax(1), 0.0)
    log_w_i = log_qyz_i - log_qyx_i
    w = torch.where(known & ~model.continuous, log_w_i, 0.0).sum(1).exp()
    log_px = model.log_px(x, z)
    b = (log_px.sum() - log_px).detach() / max(len(x) - 1, 1)
    if control_variate is not None:
        b = torch.where(control_variate.isnan(), b, control_variate.detach())
    kl_style = kl_standard_normal(q_style)
    return LossTerms.of(
        objective,
        reconstruction=-log_px,
        kl_style=kl_style,
        characteristics=characteristics.sum(1),
        weighting=-(w - 1) * (log_px - b),
        log_qyx=torch.where(known, log_qyx_i, 0.0).sum(1),
        log_py=log_py_i.sum(1),
        weight=w,
        block_correlation=block_total_correlation(model, q_c, y) if objective.block_penalty else None,
    )


def label_terms(
    model: MCCVAE, q_c: Normal, y: Tensor, points: Sequence[tuple[Tensor, Tensor]] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What each label adds to the bound besides w log p(x|z), by quadrature over its logit alone; (B, L) each.

    q_c: q(z_c|x), a Normal (B, C). y (B, L), NaN where not known. Returned, with v the label's value,

        characteristics  known: -E[w_i c_v]; missing: -E[sum_v q(v|z_c^i) c_v],
                         c_v = log p(z_c^i|v) - log q(z_c^i|x) - log q(v|z_c^i);
        log_qyx          log q(y_i|x) = log E q(y_i|z_c^i) (of a missing label: of the value 0, not used);
        log_py           log p(y_i); missing: sum_v q(v|x) log p(v).

    Under q(z|x) the logit u = w.z_c^i + b is Normal(mu, tau^2), and with eps = (u - mu) / tau

        z_c^{i,j} | u  ~  Normal(m_j + s_j r_j eps, s_j^2 (1 - r_j^2)),   r_j = s_j w_j / tau,   sum_j r_j^2 = 1,

    so that given u the quadratic forms log p(z_c^i|v) and log q(z_c^i|x) have their means in closed form, for any k_i.
    With a full block_prior so has log p(z_c^i|v) = -1/2 |(I + T) e|^2 - sum_j log scale_j, where
    Cov(z|u) = diag(s^2) - (s r)(s r)^T.
    """
    nodes = (
        torch.from_numpy(a).to(y.dtype).to(y.device) for a in _hermite_nodes(NODES)
    )  # no float64 on a device: Apple's has none
    eps, log_omega = (a[:, None, None] for a in nodes)  # (n, 1, 1)
    m, s = q_c.loc, q_c.scale
    tau = (
        (s * model.classifier_weight) ** 2 @ model.block + 1e-12
    ).sqrt()  # (B, L); never 0, so that no gradient is NaN
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
    c = torch.where(
        known,
        torch.where(one, integral[1], integral[0]),
        sum(v.exp() * c for v, c in zip(log_q_v, integral, strict=True)),
    )
    log_p1, log_p0 = model.label_prior.log(), (-model.label_prior).log1p()
    log_py = torch.where(known, torch.where(one, log_p1, log_p0), log_q_v[1].exp() * log_p1 + log_q_v[0].exp() * log_p0)
    terms = (-c, torch.where(one, log_q_v[1], log_q_v[0]), log_py)
    if model.config.has_continuous:
        both = zip(continuous_label_terms(model, q_c, y), terms, strict=True)
        terms = tuple(torch.where(model.continuous, closed_form, quadrature) for closed_form, quadrature in both)
    points = label_points(model, y) if points is None else points
    for (columns, latents), at in zip(model.categorical, points, strict=True):
        for term, of_label in zip(terms, categorical_label_terms(model, q_c, y, columns, latents, *at), strict=True):
            term[:, columns] = of_label
    return terms


def continuous_label_terms(model: MCCVAE, q_c: Normal, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`label_terms` of continuous labels, in closed form; (B, L) each, of other labels without a meaning.

    Under q(z|x) the mean u = w.z_c^i + b of q(y_i|z_c^i) is Normal(mu, tau^2), and y_i itself Normal(mu, v) with
    v = tau^2 + s^2. With g_j = Cov(z_j, y_i) / v, the deviations d_j = z_c^{i,j} - a_j - c_j y_i of p(z_c^i|y_i) have

        known     mean m_j + g_j (y_i - mu) - a_j - c_j y_i,   variance s_j^2 - g_j^2 v   (under q(z_c^i|x, y_i));
        missing   mean m_j - a_j - c_j mu,                     variance s_j^2 - g_j^2 v + (g_j - c_j)^2 v,

    and log q(z_c^i|x) + log q(y_i|z_c^i) = log q(z_c^i|x, y_i) + log q(y_i|x), whose first term is minus an entropy.
    """
    w, variance, known = model.classifier_weight, q_c.scale**2, ~y.isnan()
    a, c = model.prior_loc[0], model.prior_loc[1] - model.prior_loc[0]
    prior_variance = F.softplus(model.prior_raw_scale[0]).clamp(min=MIN_SCALE) ** 2
    mu, s2 = model.label_logits(q_c.loc), model.reading_scale() ** 2
    v = (w**2 * variance) @ model.block + s2  # (B, L)
    y = torch.where(known, y, mu)
    of = lambda per_label: per_label[:, model.owner]  # noqa: E731 (B, L) -> (B, C)
    g = w * variance / of(v)
    d_mean = q_c.loc + g * of(y - mu) - a - c * of(y)
    d_variance = variance - g**2 * of(v) + torch.where(of(known), 0.0, (g - c) ** 2 * of(v))
    log_qyx = -0.5 * (math.log(2 * math.pi) + v.log() + torch.where(known, (y - mu) ** 2 / v, 1.0))
    each = (prior_variance / variance).log() + (d_mean**2 + d_variance) / prior_variance - 1
    characteristics = 0.5 * (each @ model.block - (s2 / v).log()) + log_qyx
    log_py = -0.5 * (math.log(2 * math.pi) + torch.where(known, y**2, mu**2 + v))
    return characteristics, log_qyx, log_py


def given_continuous_labels(model: MCCVAE, q_c: Normal, y: Tensor, noise: Tensor) -> Tensor:
    """z_c ~ q(z_c|x, y_K), K the known continuous labels among y (B, L), for standard normal noise (B, C).

    With S = diag(s_j), r = S w / tau and v = tau^2 + s^2, q(z_c^i|x, y_i) has the mean m + S r tau (y_i - mu) / v and
    the covariance S (I - tau^2 / v r r^T) S, of which S (I - (1 - s / sqrt(v)) r r^T) is a root.
    """
    known = model.continuous & ~y.isnan()
    sw, s = q_c.scale * model.classifier_weight, model.reading_scale()  # S w
    tau2 = sw**2 @ model.block + 1e-12
    v, mu = tau2 + s**2, model.label_logits(q_c.loc)
    shrink = torch.where(known, (1 - s / v.sqrt()) / tau2, 0.0) * ((sw * noise) @ model.block)
    shift = torch.where(known, (torch.where(known, y, mu) - mu) / v, 0.0)
    return q_c.loc + q_c.scale * (noise + sw * (shift - shrink)[:, model.owner])


def label_points(model: MCCVAE, like: Tensor, generator: torch.Generator | None = None) -> list[tuple[Tensor, Tensor]]:
    """Of each categorical label the points (K, r) and log weights (K,) at which its logits are taken, for eta ~ N(0, 1)
    of r = min(k_i, V - 1) dimensions, as many as the logits' differences span.

    r = 1, 2: Gauss-Hermite's. r > 2: K = POINTS of a scrambled Sobol sequence, shifted at random (a digital shift, Owen
    1995 and Matousek 1998), so that each point is standard normal; noise comes from `generator`. like: of the device
    and type that they get."""
    points = []
    for columns, latents in model.categorical:
        r = min(latents.stop - latents.start, columns.stop - columns.start - 1)
        if r <= 2:
            nodes, log_weights = _hermite_nodes(NODES if r == 1 else NODES_2D)
            eta, log_omega = (
                np.array([*itertools.product(nodes, repeat=r)]),
                [*itertools.product(log_weights, repeat=r)],
            )
            points.append((torch.from_numpy(eta).to(like), torch.tensor(log_omega).sum(1).to(like)))
        else:
            bits = torch.randint(1 << SOBOL_BITS, (r,), generator=generator, device=like.device)
            p = ((_sobol(r, POINTS).to(like.device) ^ bits) + 0.5).to(like) / (1 << SOBOL_BITS)
            eta = torch.special.ndtri(p.clamp(1e-6, 1 - 1e-6))
            points.append((eta, torch.full_like(eta[:, 0], -math.log(POINTS))))
    return points


@functools.cache
def _sobol(dimensions: int, n: int) -> Tensor:
    """n points of a scrambled Sobol sequence, (n, dimensions), as whole numbers below 2^SOBOL_BITS."""
    engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0)
    return (engine.draw(n, dtype=torch.float64) * (1 << SOBOL_BITS)).long()


def categorical_label_terms(
    model: MCCVAE, q_c: Normal, y: Tensor, columns: slice, latents: slice, eta: Tensor, log_omega: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`label_terms` of a categorical label at its columns of y, (B, V) each, by the points of `label_points`.

    With z_c^i = m + s e, e ~ N(0, I), the logits are u = mu + A'e, A = diag(s) W. U, (k, r) with orthonormal columns,
    spans what moves their differences (all of e where k < V), so that eta = U'e decides them, and given eta

        e  ~  Normal(U eta, I - U U'),

    so that E e and E e^2 under q(z|x, v) ~ q(z|x) q(v|z_c^i), which the quadratic forms of `label_terms`' c_v need,
    follow from those of eta.
    """
    W, m, s = model.value_weight[latents, columns], q_c.loc[:, latents], q_c.scale[:, latents]
    A, y = s[:, :, None] * W, y[:, columns]  # (B, k, V)
    k, r = len(W), eta.shape[1]
    if k == r:
        U = torch.eye(k, device=y.device, dtype=y.dtype)[None]
    else:
        D = A[:, :, 1:] - A[:, :, :1]
        gram = D.mT @ D
        floor = 1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1) + 1e-12  # so that equal logits have a root, too
        root = torch.linalg.cholesky(gram + floor[:, None, None] * torch.eye(r, device=y.device, dtype=y.dtype))
        U = torch.linalg.solve_triangular(root, D.mT, upper=False).mT
    mu = m @ W + model.classifier_bias[columns]
    log_v = (mu[:, :, None] + A.mT @ U @ eta.T).log_softmax(1)  # (B, V, K)
    weighted = log_omega + log_v
    log_q_v = weighted.logsumexp(2)  # (B, V): log q(v|x)
    w_v = (weighted - log_q_v[:, :, None]).exp()  # what the points weigh in q(z|x, v)

    squares = (eta[:, :, None] * eta[:, None]).flatten(1)  # (K, r r)
    e_mean, eta2 = w_v @ eta @ U.mT, (w_v @ squares).unflatten(2, (r, r))
    e2 = (U[:, None] @ eta2 * U[:, None]).sum(3) + 1 - (U**2).sum(2)[:, None]  # (B, V, k): E e^2 under q(z|x, v)
    p_loc, p_scale = model.value_loc[columns, latents], F.softplus(model.value_raw_scale[columns, latents])
    p_scale = p_scale.clamp(min=MIN_SCALE)
    gap, ratio = (m[:, None] - p_loc) / p_scale, s[:, None] / p_scale
    quadratic = gap**2 + 2 * gap * ratio * e_mean + ratio**2 * e2 - e2
    integral = (ratio.log() - 0.5 * quadratic).sum(2) - (w_v * log_v).sum(2)  # (B, V): E c_v under q(z|x, v)

    share = torch.where(y.isnan(), log_q_v.exp(), y)  # of each value: 1 of the known one, else q(v|x)
    log_p = model.label_prior[columns].log()
    return -share * integral, torch.where(y > 0.5, log_q_v, 0.0), share * log_p


def block_total_correlation(model: MCCVAE, q_c: Normal, y: Tensor) -> Tensor:
    """How far the latents of a block depend on each other beyond their label, in nats, summed over labels; a scalar.

    The total correlation of a Gaussian with the covariance of the batch's aggregate posterior of z_c^i among images
    with y_i = v, S = Cov(m) + diag(mean s^2): 1/2 (sum_j log S_jj - log det S), mean over v = 0, 1. q_c: q(z_c|x), a
    Normal (B, C); y (B, L), NaN where not known: those images don't count.
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

    x (B, *image_shape) in [0, 1]; y (B, L) is used by a ConditionalVAE alone, which needs every label. Raises
    ValueError for other images, and for labels that are missing.
    """
    q = model.encode(x)
    z = q.loc + q.scale * torch.randn(q.loc.shape, generator=generator, device=x.device, dtype=x.dtype)
    if isinstance(model, ConditionalVAE):
        if y is None or y.isnan().any():
            raise ValueError("a ConditionalVAE trains on all labels; some are missing (NaN)")
        reconstruction = -model.log_px(x, z, y)
    else:
        reconstruction = -model.log_px(x, z)
    return LossTerms.of(Objective(), reconstruction=reconstruction, kl_style=kl_standard_normal(q))


def model_loss(
    model: VAE, x: Tensor, y: Tensor, objective: Objective, control_variate: Tensor | None = None, *, generator=None
) -> LossTerms:
    """The loss that this kind of model is trained with: `ccvae_loss` for an MCCVAE, else `vae_loss`."""
    if isinstance(model, MCCVAE):
        return ccvae_loss(model, x, y, objective, control_variate, generator=generator)
    return vae_loss(model, x, y, generator=generator)


# ---------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------


class TrainingError(Exception):
    """Training can't go on; the message says where and why."""


def to_images(images: Tensor, device: torch.device | str | None = None) -> Tensor:
    """uint8 (B, channels, H, W) -> float in [0, 1], there or on a device, channels last (1.3 times as fast on a CPU).

    Raises ValueError for another type: one scale, 0 to 255, for all doors that take uint8."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        raise ValueError(f"images must be a uint8 tensor, values 0 to 255, not {_described(images)}")
    return images.to(device or images.device).float().div_(255).contiguous(memory_format=torch.channels_last)


def labelled_subset(labels: Tensor, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of a random, stratified subset of round(fraction * N) images, at least one and not all.

    labels (N, L). Systematic sampling over the images sorted by their labels (ties in random order): every label
    vector gets its share to within one image, however many vectors there are.
    """
    n = len(labels)
    size = min(max(1, round(fraction * n)), n - 1)
    rng = np.random.default_rng([seed, 1])
    order = np.lexsort([rng.random(n), *labels.numpy().T])
    return np.sort(order[((np.arange(size) + rng.random()) * n / size).astype(int)])


def epoch_batches(
    n: int, batch_size: int, subset: np.ndarray | None, seed: int, epoch: int
) -> list[tuple[np.ndarray, bool]]:
    """An epoch: ceil(n / batch_size) pairs (indices, labelled), labelled and unlabelled by turns (section 4).

    `subset` None: all images are labelled, and one random order of them is cut into batches. Otherwise labelled
    batches cycle through random orders of the subset and unlabelled ones through the rest, at least one of each.
    A function of (seed, epoch) alone, so that a resumed training sees the same batches.
    """
    rng = np.random.default_rng([seed, 2, epoch])
    count = math.ceil(n / batch_size)
    if subset is None:
        order = rng.permutation(n)
        return [(order[i * batch_size : (i + 1) * batch_size], i % 2 == 0) for i in range(count)]
    rest, count = np.setdiff1d(np.arange(n), subset), max(count, 2)

    def cycle(pool, batches):
        rounds = math.ceil(batches * batch_size / len(pool))
        return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[: batches * batch_size].reshape(
            batches, -1
        )

    turns = zip(cycle(subset, (count + 1) // 2), itertools.chain(cycle(rest, count // 2), [None]), strict=False)
    return [(index, turn == 0) for pair in turns for turn, index in enumerate(pair) if index is not None]


@dataclasses.dataclass
class Best:
    """The weights with the lowest validation loss so far: their `epoch`, `loss` in nats per image, and `weights`."""

    epoch: int
    loss: float
    weights: dict[str, Tensor]


@dataclasses.dataclass
class TrainingState:
    """All that a training needs to go on, bit for bit as if it had not been interrupted.

    log_px (N,): running log p(x|z) of each image, the control variates; NaN before its first turn.
    noise: the generator of the epoch under way.
    precision: in which the layers compute.
    history: one row for each finished epoch.
    batches: (labelled, images, LossTerms.values()) of the finished batches of the epoch under way.
    seconds: that these took.
    best: None without validation images.
    """

    model: VAE
    optimizer: torch.optim.Adam
    log_px: Tensor
    noise: torch.Generator
    precision: str = "float32"
    history: list[dict] = dataclasses.field(default_factory=list)
    batches: list[tuple[bool, int, Tensor]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    best: Best | None = None


class Keeper(Protocol):
    """Where `fit` keeps its state. The core touches no file."""

    def restore(self, state: TrainingState) -> None:
        """Put what was kept into the state, in place; leave it as it is where nothing was kept."""

    def keep(self, state: TrainingState, epoch_done: bool) -> None:
        """Called after every batch, and after every epoch with `epoch_done`; keeps the state when it sees fit."""


def fit(
    model: VAE,
    images: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    labelled_fraction: float = 1.0,
    by_turns: bool = True,
    learning_rate: float = LEARNING_RATE,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    validation: tuple[Tensor, Tensor] | None = None,
    keeper: Keeper | None = None,
    measure: Callable[[int], dict] | None = None,
    on_epoch: Callable[[dict], None] | None = None,
) -> TrainingState:
    """Train in place with Adam and return the state, whose `history` has a dict for each epoch.

    images: uint8 (N, *image_shape), kept on the device as they are.
    labels: (N, L) of 0 and 1, of continuous labels numbers, standardised; for `rao-blackwell` alone NaN, not known.
    by_turns: batches with labels and without take turns (section 4); False: every image counts in every batch for
        those of its labels that are known.
    precision: see `computing_in`. Whatever is measured is measured in float32.
    validation: images and labels whose unbiased loss (`BOUND`) is taken every VALIDATE_EVERY epochs and after the last
        one; the weights where it is lowest are kept as `best`.
    keeper: gets the state after each batch and epoch. From what it restores, training ends in the same weights and
        history as one that was never interrupted.

    A row of the history holds `epoch` (from 1), `labelled_<term>` and `unlabelled_<term>` for every term of LossTerms,
    means over that epoch's images, `seconds`, `validation_bound` where it was taken, and what `measure(epoch)` returns
    when asked after the epoch. `on_epoch(row)` comes last.

    Raises ValueError for data that don't fit the model. Raises TrainingError where the loss stops being finite: before
    a step is taken on the CPU; within CHECK_EVERY batches, and before anything is kept, on another device.
    """
    _check_fit(model, images, labels, objective, labelled_fraction)
    model.to(device).train()
    images, labels = images.to(device), labels.float().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    log_px = torch.full((len(images),), torch.nan, device=device)
    state = TrainingState(model, optimizer, log_px, torch.Generator(device), precision)
    if keeper is not None:
        keeper.restore(state)
    subset = None if labelled_fraction == 1 else labelled_subset(labels.cpu(), labelled_fraction, seed)
    for epoch in range(len(state.history) + 1, epochs + 1):
        if not state.batches:
            state.noise.manual_seed(int(np.random.SeedSequence([seed, 3, epoch]).generate_state(1, np.uint64)[0] >> 1))
        start = time.perf_counter() - state.seconds
        for index, labelled in epoch_batches(len(images), batch_size, subset, seed, epoch)[len(state.batches) :]:
            index = torch.from_numpy(index).to(device)
            _train_batch(state, images, labels, index, labelled or not by_turns, objective)
            state.seconds = time.perf_counter() - start
            if keeper is not None:
                keeper.keep(state, epoch_done=False)
        _check_finite(state)
        row = _row(state, epoch)
        if validation is not None and (epoch % VALIDATE_EVERY == 0 or epoch == epochs):
            row["validation_bound"] = _validate(state, epoch, *validation)
        state.history.append(row if measure is None else row | measure(epoch))
        state.batches, state.seconds = [], 0.0
        if keeper is not None:
            keeper.keep(state, epoch_done=True)
        if on_epoch is not None:
            on_epoch(state.history[-1])
    return state


def _check_fit(model: VAE, images: Tensor, labels: Tensor, objective: Objective, labelled_fraction: float) -> None:
    shape = model.config.image_shape
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or tuple(images.shape[1:]) != shape:
        wanted = f"a uint8 tensor (N, {', '.join(map(str, shape))})"
        raise ValueError(f"images must be {wanted}, not {_described(images)}")
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels must be a tensor (N, L), not {_described(labels)}")
    missing, wanted = labels.isnan(), (len(images), model.config.labels)
    if labels.shape != wanted:
        raise ValueError(f"labels must be (N, L) = {wanted}, not {tuple(labels.shape)}")
    for i, (kind, y) in enumerate(zip(model.config.label_kinds, labels.split(model.config.columns, 1), strict=True)):
        if not (y.isnan() | (y.isfinite() if kind == "continuous" else (y == 0) | (y == 1))).all():
            raise ValueError(f"label {i} is {kind}: it must be {'finite' if kind == 'continuous' else '0, 1'} or NaN")
        if kind == "categorical" and not (y.isnan().all(1) | (y.sum(1) == 1)).all():
            raise ValueError(f"label {i} is categorical: one of its columns must be 1, the others 0, or all NaN")
    if missing.any() and (objective.estimator != "rao-blackwell" or isinstance(model, ConditionalVAE)):
        raise ValueError(
            f"only an MCCVAE by 'rao-blackwell' trains on missing labels; {int(missing.sum())} are missing"
        )
    if not 0 < labelled_fraction <= 1:
        raise ValueError(f"labelled_fraction must lie in (0, 1], not {labelled_fraction}")


def _train_batch(
    state: TrainingState, images: Tensor, labels: Tensor, index: Tensor, labelled: bool, objective: Objective
) -> None:
    """A step of Adam on the images at `index` (B,), with their labels or without."""
    with_labels = isinstance(state.model, MCCVAE)
    y, before = labels[index], state.log_px[index]
    if with_labels and not labelled:
        y = torch.full_like(y, torch.nan)
    with computing_in(state.model, state.precision):
        terms = model_loss(state.model, to_images(images[index]), y, objective, before, generator=state.noise)
    state.batches.append((labelled or not with_labels, len(index), terms.values()))
    if index.device.type == "cpu" or len(state.batches) % CHECK_EVERY == 0:  # looking makes another device wait
        _check_finite(state)
    state.optimizer.zero_grad(set_to_none=True)
    terms.loss.backward()
    state.optimizer.step()
    state.log_px[index] = torch.where(before.isnan(), terms.log_px, (before + terms.log_px) / 2)


def _check_finite(state: TrainingState) -> None:
    """Raise TrainingError, naming batch and terms, where a loss of the last CHECK_EVERY batches is not finite."""
    first = max(0, len(state.batches) - CHECK_EVERY)
    values = torch.stack([values for *_, values in state.batches[first:]])
    if values.isfinite().all():
        return
    for number, row in enumerate(values.tolist(), first + 1):
        if bad := [name for name, value in zip(LOSS_TERMS, row, strict=True) if not math.isfinite(value)]:
            where = f"epoch {len(state.history) + 1}, batch {number}"
            raise TrainingError(
                f"{where}: {', '.join(bad)} is not a finite number; the last checkpoint, where there is one, is kept"
            )


def _row(state: TrainingState, epoch: int) -> dict:
    """The epoch's means for the history."""
    row = {"epoch": epoch}
    for prefix, kind in (("labelled", True), ("unlabelled", False)):
        means = _means([(n, values) for is_labelled, n, values in state.batches if is_labelled == kind])
        row |= {f"{prefix}_{name}": value for name, value in means.items()}
    return row | {"seconds": round(state.seconds, 3)}


def _validate(state: TrainingState, epoch: int, images: Tensor, labels: Tensor) -> float:
    """The unbiased loss on validation images; where it is the lowest so far, the weights are kept."""
    loss = evaluate_loss(state.model, images, labels)["loss"]
    if state.best is None or loss < state.best.loss:
        weights = {name: value.detach().clone() for name, value in state.model.state_dict().items()}
        state.best = Best(epoch, loss, weights)
    return loss


def _means(batches: list[tuple[int, Tensor]]) -> dict[str, float]:
    """Means over images of batches' (size, LossTerms.values()), so that a smaller last batch weighs what it should.

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
    """`read_labels` (N, L) of uint8 images (N, *image_shape), at the mean of q(z|x), or at one draw (`sampled`)."""
    device, out = next(model.parameters()).device, []
    noise = torch.Generator(device).manual_seed(seed)
    for batch in images.split(batch_size):
        q = posterior(model, batch)
        z = q.loc + q.scale * torch.randn(q.loc.shape, generator=noise, device=device) if sampled else q.loc
        out.append(model.read_labels(model.split(z)[0]).cpu())
    return torch.cat(out)


@torch.no_grad()
def evaluate_loss(
    model: VAE, images: Tensor, labels: Tensor, objective: Objective = BOUND, *, seed: int = 0, batch_size: int = 256
) -> dict[str, float]:
    """The labelled loss over a set of uint8 images (N, *image_shape): every term of LossTerms, means in nats per image.

    One draw of the noise per image, a function of the seed."""
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    batches = []
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        batches.append(
            (len(x), model_loss(model, to_images(x, device), y.float().to(device), objective, generator=noise).values())
        )
    return _means(batches)


@torch.no_grad()
def reconstruct(model: VAE, images: Tensor, labels: Tensor | None = None, *, batch_size: int = 512) -> Tensor:
    """The decoder's mean at the mean of q(z|x), (N, *image_shape) in [0, 1] on the CPU, of uint8 images.

    Labels (N, L) are used by a ConditionalVAE alone, which needs them."""
    device, out = next(model.parameters()).device, []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        given = (labels[part].float().to(device),) if isinstance(model, ConditionalVAE) else ()
        out.append(model.decode(posterior(model, images[part]).loc, *given).cpu())
    return torch.cat(out)


# ---------------------------------------------------------------------------------------------------------
# Interventions
# ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Walk:
    """T steps of a latent walk from one start, or from each of several: `...` stands for the starts.

    z (T, ..., Z); images (T, ..., *image_shape) in [0, 1]; probabilities (T, ..., L) of `read_labels`, which by
    the blocks change for the moved labels alone; reencoded (T, ..., L), the same after the picture was encoded
    again, which shows what really changed in it.
    """

    z: Tensor
    images: Tensor
    probabilities: Tensor
    reencoded: Tensor


def characteristic_range(model: MCCVAE, latent: int, spread: float = 2.0) -> tuple[float, float]:
    """From where p(z|y_i = 0) puts a characteristic (0 <= latent < C) to where p(z|y_i = 1) does, `spread` standard
    deviations of each prior further out on either side; of a categorical label from the lowest of all values' ends to
    the highest."""
    if (columns := model.values_of(model.owner[latent].item())) is not None:
        loc, scale = model.value_loc[columns, latent], F.softplus(model.value_raw_scale[columns, latent])
        return (loc - spread * scale).min().item(), (loc + spread * scale).max().item()
    loc, scale = model.prior_loc[:, latent], F.softplus(model.prior_raw_scale[:, latent]).clamp(min=MIN_SCALE)
    if model.config.block_prior == "full":  # the sd of the latent itself
        inverse = torch.stack([torch.linalg.inv(model.prior_whitening(v)) for v in (0, 1)])
        scale = scale * inverse[:, latent].norm(dim=1)
    up = 1.0 if loc[1] >= loc[0] else -1.0
    return (loc[0] - up * spread * scale[0]).item(), (loc[1] + up * spread * scale[1]).item()


def block_of(model: MCCVAE, label: int) -> list[int]:
    """Positions in z of the characteristics of a label. Raises ValueError for a label that the model lacks."""
    if not isinstance(label, int | np.integer) or not 0 <= label < model.config.labels:
        raise ValueError(f"label must lie between 0 and {model.config.labels - 1}, not {label!r}")
    return torch.nonzero(model.block[:, label]).flatten().tolist()


@torch.no_grad()
def latent_walk(
    model: MCCVAE, z: Tensor, towards: dict[int, float], *, within: int | None = None, steps: int = 7
) -> Walk:
    """Intervene on labels (section 4.7): move their characteristics over the conditional prior, the rest of z stays.

    z (..., Z). towards: for each label to move, the value (0 or 1) to walk to. The walk starts at the other value's end
    of `characteristic_range` and goes in `steps` equal steps. within: move only that characteristic of each block (0 is
    its first); None: all of them together. A continuous label goes from where it is to any number, its whole block
    along Sigma w, Sigma = diag(sigma_i^2): so the block goes with the reading u_i under p(z_c^i|y_i). A categorical
    label's block goes from where it is, or from the mean of p(z_c^i|y_i) of the value that goes to 0, to that of the
    value that goes to 1.

    Raises ValueError for a label or characteristic that is not there, and for a value that a label can't have.
    """
    path = z.expand(steps, *z.shape).clone()
    t = torch.linspace(0, 1, steps, device=z.device).reshape(-1, *[1] * (z.ndim - 1))
    for label, value in towards.items():
        block = block_of(model, label)
        if model.continuous[label]:
            path[..., block] += t[..., None] * _to_reading(model, z, label, block, value)
            continue
        if value not in (0, 1):
            raise ValueError(f"label {label} can go towards 0 or 1, not {value!r}")
        if within is not None and not 0 <= within < len(block):
            raise ValueError(f"label {label} has {len(block)} characteristics; there is no number {within}")
        chosen = block if within is None else [block[within]]
        if (columns := model.values_of(label)) is not None:
            start, end = _between_values(model, z, columns, chosen, towards)
            path[..., chosen] = start + (end - start) * t[..., None]
            continue
        for latent in chosen:
            start, end = characteristic_range(model, latent)[:: 1 if value else -1]
            path[..., latent] = start + (end - start) * t
    images = model.decode(path)
    again = model.encode(images.flatten(0, -4)).loc.unflatten(0, path.shape[:-1])
    probabilities, reencoded = (model.read_labels(model.split(latents)[0]) for latents in (path, again))
    return Walk(path, images, probabilities, reencoded)


def _to_reading(model: MCCVAE, z: Tensor, label: int, block: list[int], value: float) -> Tensor:
    """The step (..., k) of a continuous label's block that makes u_i the value. Raises ValueError for NaN and inf."""
    if not math.isfinite(value):
        raise ValueError(f"label {label} can go towards a finite number, not {value!r}")
    w, nothing = model.classifier_weight[block], torch.zeros(model.config.labels, device=z.device)
    sigma_w = model.conditional_prior(nothing).variance[block] * w
    gap = value - model.label_logits(model.split(z)[0])[..., label]
    return gap[..., None] * sigma_w / (w @ sigma_w)


def _between_values(
    model: MCCVAE, z: Tensor, columns: slice, latents: list[int], towards: dict[int, float]
) -> tuple[Tensor, Tensor]:
    """Where a categorical label's latents start and end. Raises ValueError unless one value goes to 1, at most one to
    0."""
    left, reached = (
        [v for v, to in towards.items() if columns.start <= v < columns.stop and to == end] for end in (0, 1)
    )
    if len(reached) != 1 or len(left) > 1:
        where = f"columns {columns.start} to {columns.stop - 1} are one categorical label"
        raise ValueError(f"{where}: one of them goes towards 1, one more at most towards 0, not {towards}")
    return model.value_loc[left[0], latents] if left else z[..., latents], model.value_loc[reached[0], latents]


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
    by_value = [
        torch.linalg.solve_triangular(model.prior_whitening(v), e.T, upper=False, unitriangular=True).T for v in (0, 1)
    ]
    return torch.where(y[:, model.owner] > 0.5, by_value[1], by_value[0])


@torch.no_grad()
def generate(model: VAE, y: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw one image for each row of labels y (B, L): (B, *image_shape) in [0, 1].

    z_c ~ p(z_c|y), z_style ~ N(0, 1), then the decoder's mean. A ConditionalVAE takes y beside z ~ N(0, 1). Of y a VAE
    uses the number of rows alone.
    """
    z = torch.randn(len(y), model.config.latent_dim, generator=generator, device=y.device)
    if isinstance(model, ConditionalVAE):
        return model.decode(z, y)
    if isinstance(model, MCCVAE):
        prior = model.conditional_prior(y)
        z_c, z_style = model.split(z)
        z = torch.cat([prior.loc + prior.scale * _coloured(model, z_c, y), z_style], dim=1)
    return model.decode(z)
