"""Scores of a model image by image, whose means over images are those of `scores`: for intervals over images."""

import torch
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
    labels (N, L): the same draws, so that the mean is the same. An image's control variate is the mean of
    the others in its batch; multiplied by w - 1, whose expectation is 0, it ties no image to another on average."""
    device, losses = next(model.parameters()).device, []
    noise = torch.Generator(device).manual_seed(seed)
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        x, y = core.to_images(x, device), y.float().to(device)
        losses.append(core.ccvae_loss(model, x, y, core.BOUND, generator=noise).each.cpu())
    return torch.cat(losses)
