"""Scores of a model image by image, whose means over images are those of `scores`: for intervals over images."""

import torch
import torch.nn.functional as F
from torch import Tensor

import mccvae_core as core

from .scores import image_psnr

BATCH = 256  # of `mccvae_core.evaluate_loss`, whose noise and control variates are drawn batch by batch


def accuracies(model: core.MCCVAE, images: Tensor, labels: Tensor) -> Tensor:
    """Share of each image's known labels that q(y|x) reads rightly at one half, (N,); NaN where none is known.

    images: uint8 (N, *image_shape); labels (N, L) of 0, 1 or NaN."""
    y, known = labels.float() > 0.5, ~labels.float().isnan()
    right = ((core.predict(model, images) > 0.5) == y) & known
    return right.sum(1) / known.sum(1)


@torch.no_grad()
def psnrs(model: core.MCCVAE, images: Tensor) -> Tensor:
    """PSNR in dB of each image's reconstruction at the posterior mean, (N,), of uint8 images (N, *image_shape)."""
    each = []
    for part in images.split(2 * BATCH):
        each.append(image_psnr(core.reconstruct(model, part), core.to_images(part)))
    return torch.cat(each)


@torch.no_grad()
def unbiased_losses(model: core.MCCVAE, images: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
    """Each image's part, (N,) in nats, in `mccvae_core.evaluate_loss` by BOUND of uint8 images (N, *image_shape) with
    labels (N, L), all known: the same draws, so that the mean is the same. An image's control variate is the mean of
    the others in its batch; multiplied by w - 1, whose expectation is 0, it ties no image to another on average."""
    device, losses = next(model.parameters()).device, []
    noise = torch.Generator(device).manual_seed(seed)
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        losses.append(_losses(model, core.to_images(x, device), y.float().to(device), noise).cpu())
    return torch.cat(losses)


def _losses(model: core.MCCVAE, x: Tensor, y: Tensor, noise: torch.Generator) -> Tensor:
    """As `mccvae_core.rao_blackwell_loss` at alpha = 0, before the mean over the batch."""
    q = model.encode(x)
    z = q.loc + q.scale * torch.randn(q.loc.shape, generator=noise, device=x.device, dtype=y.dtype)
    q_c, q_style = model.split_posterior(q)
    characteristics, log_qyx, log_py = core.label_terms(model, q_c, y)
    u = model.label_logits(model.split(z)[0])
    w = (F.logsigmoid(torch.where(y > 0.5, u, -u)) - log_qyx).sum(1).exp()
    log_px = model.log_px(x, z)
    b = (log_px.sum() - log_px) / max(len(x) - 1, 1)
    of_labels = (characteristics - log_qyx - log_py).sum(1)
    return core.kl_standard_normal(q_style) + of_labels - log_px - (w - 1) * (log_px - b)
