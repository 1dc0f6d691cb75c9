"""The official loss over many draws of w: with one, a few images of great weight decide it."""

import math

import torch
from torch import Tensor
from torch.distributions import kl_divergence

import mccvae_core as core

DRAWS, DECODED, BATCH = 50, 2, 256


@torch.no_grad()
def official_loss(
    model: core.MCCVAE, images: Tensor, labels: Tensor, *, draws: int = DRAWS, decoded: int = DECODED, seed: int = 0
) -> tuple[float, float]:
    """`mccvae_core.official_loss` at alpha = 0 of uint8 images (N, *image_shape) and their labels (N, L), its mean in
    nats per image over `draws` of z, w and q^(y|x), and its standard error over images and draws.

    Decoding is what costs, so that only `decoded` of the draws are. With bars for means over all draws, r = log p(x|z)
    and S the sample covariance over the decoded draws, E[w r] is estimated by w_bar r_bar + (1 - 1/draws) S(w, r).
    That has no bias, since w_bar and r_bar share draws; with all draws decoded it is their mean of w r.

    Raises ValueError for a full block_prior, of which there is no official loss, and unless 2 <= decoded <= draws.
    """
    if model.config.block_prior == "full":
        raise ValueError("a full block_prior needs the estimator 'rao-blackwell'; it has no official loss")
    if not 2 <= decoded <= draws:
        raise ValueError(f"decoded must be between 2 and draws = {draws}, not {decoded}")
    noise, losses = torch.Generator().manual_seed(seed), []
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        losses.append(_losses(model, core.to_images(x), y.float(), draws, decoded, noise))
    losses = torch.cat(losses).double()
    return losses.mean().item(), (losses.std() / math.sqrt(len(losses))).item()


def _losses(model: core.MCCVAE, x: Tensor, y: Tensor, draws: int, decoded: int, noise: torch.Generator) -> Tensor:
    """The estimate for each image, (B,)."""
    q = model.encode(x)
    q_c, q_style = model.split_posterior(q)
    kl = core.kl_standard_normal(q_style) + kl_divergence(q_c, model.conditional_prior(y)).sum(1)
    w, rest, r = [], [], []
    for draw in range(draws):
        z = q.loc + q.scale * torch.randn(q.loc.shape, generator=noise)
        log_qyz, log_qyx = model.log_qyz(y, model.split(z)[0]), _log_qyx(model, q_c, y, noise)
        w.append((log_qyz - log_qyx).exp())
        rest.append(w[-1] * (-kl - log_qyz) + log_qyx)
        if draw < decoded:
            r.append(model.log_px(x, z))
    w, rest, r = (torch.stack(values).double() for values in (w, rest, r))
    few = w[:decoded]
    covariance = ((few - few.mean(0)) * (r - r.mean(0))).sum(0) / (decoded - 1)
    of_pictures = w.mean(0) * r.mean(0) + (1 - 1 / draws) * covariance
    return -(rest.mean(0) + of_pictures + model.log_py(y))


def _log_qyx(model: core.MCCVAE, q_c, y: Tensor, noise: torch.Generator) -> Tensor:
    """log q^(y|x) (B,) from OFFICIAL_DRAWS draws of the labels' logits, under q(z|x) independent normals."""
    mean = model.label_logits(q_c.loc)
    sd = ((q_c.scale * model.classifier_weight) ** 2 @ model.block).sqrt()
    u = mean + sd * torch.randn(core.OFFICIAL_DRAWS, *mean.shape, generator=noise)
    log_qyz = torch.nn.functional.logsigmoid((2 * y - 1) * u).sum(-1)
    return log_qyz.logsumexp(0) - math.log(core.OFFICIAL_DRAWS)
