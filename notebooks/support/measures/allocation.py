"""Latents where they are needed (section 5): how many each label gets, from what a first model confuses and draws
badly."""

import numpy as np
import torch
from torch import Tensor

import mccvae_core as core


def misreading(probabilities: Tensor, labels: Tensor) -> np.ndarray:
    """Confusion between labels, (L, L): the share of images on which labels i and j are both read wrongly; on the
    diagonal: i is.

    For labels of which one is on, both are wrong where one was taken for the other: the confusion matrix, made
    symmetric."""
    wrong = ((probabilities > 0.5) != labels.bool()).double()
    return (wrong.T @ wrong / len(wrong)).numpy()


def reconstruction_by_label(model: core.VAE, images: Tensor, labels: Tensor, *, batch_size: int = 512) -> np.ndarray:
    """(L,): how much worse, in nats, images with a label are reconstructed at the core.posterior mean than those
    without it."""
    device, nats = next(model.parameters()).device, []
    with torch.no_grad():
        for batch in images.split(batch_size):
            x = core.to_images(batch, device)
            nats.append(-model.log_px(x, model.encode(x).loc).cpu())
    nats, y = torch.cat(nats).double(), labels.double()
    with_it, without = (nats @ y / y.sum(0)), (nats @ (1 - y) / (1 - y).sum(0))
    return (with_it - without).nan_to_num().numpy()


def allocate_characteristics(confusion: np.ndarray, errors: np.ndarray, total: int) -> tuple[int, ...]:
    """(k_1, ..., k_L) with sum `total`, more latents where a model with one each fails (section 5).

    A label's need is the mean of its share of the confusion (`misreading`'s row sums) and of its share of the surplus
    reconstruction error (`reconstruction_by_label`, not below 0). Every label keeps one latent; the others go by need,
    in whole numbers by largest remainders, ties to the first. Raises ValueError where total is below L."""
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
