"""Scores of a model on a data set: classification, loss, pictures; and the least loss that any decoder can reach."""

import contextlib
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

import mccvae_core as core


def classification_scores(
    probabilities: Tensor, labels: Tensor, *, exclusive: bool, reference: Tensor | None = None
) -> dict:
    """Scores of probabilities (N, L) against labels (N, L) of 0 and 1, and those of the majority's answer beside them.

    Labels that are not known (NaN) don't count; `exclusive` ones must all be known.

    accuracy           share of the N*L labels that are right at threshold 1/2: how the paper counts. balanced_accuracy
    mean over labels of (true positive rate + true negative rate) / 2; labels without both values are left out.
    exact_match        share of images with every label right, of those with every label known. argmax_accuracy
    `exclusive` labels only: share of images whose most probable label is the true one; argmax_balanced_accuracy  the
    mean of that share over classes. majority_*         the same scores of an answer that ignores the image: each
    label's, or for exact_match and argmax the whole vector's, most frequent value in `reference` (the training labels;
    None: `labels`).
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
        "majority_exact_match": _number((vectors[counts.argmax()] == labels[whole]).all(1).float().mean())
        if len(vectors)
        else None,
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


def evaluate(
    model: core.VAE,
    images: Tensor,
    labels: Tensor,
    *,
    exclusive: bool,
    objective: core.Objective,
    reference: Tensor | None = None,
    seed: int = 0,
) -> dict:
    """Scores of a model on uint8 images (N, *image_shape) with labels (N, L).

    `classification_scores` at the posterior mean; the accuracy at one posterior draw (`sampled_accuracy`); and the
    terms of `core.evaluate_loss` at alpha = 0 twice: `loss` with the model's own estimator, `bound` with the unbiased
    one, by which alone models may be compared. A VAE or ConditionalVAE has no classifier and one estimator: n, `loss`
    and `bound` alone; a model of which no label of 0 and 1 is known here, too (of numbers: `quantities`)."""
    model.eval()
    if not isinstance(model, core.MCCVAE):
        loss = core.evaluate_loss(model, images, labels, seed=seed)
        return {"n": len(images), "loss": loss, "bound": loss}
    with _encoded_once(model, images):
        objectives = core.Objective(objective.estimator), core.BOUND
        loss, bound = (core.evaluate_loss(model, images, labels, one, seed=seed) for one in objectives)
        read, drawn = core.predict(model, images), core.predict(model, images, sampled=True, seed=seed)
    binary = torch.nonzero(~model.continuous.cpu()).flatten()
    labels, reference = labels[:, binary], None if reference is None else reference[:, binary]
    if labels.isnan().all():
        return {"n": len(images), "loss": loss, "bound": bound}
    scores = classification_scores(read[:, binary], labels, exclusive=exclusive, reference=reference)
    sampled = classification_scores(drawn[:, binary], labels, exclusive=exclusive)
    return {**scores, "sampled_accuracy": sampled["accuracy"], "loss": loss, "bound": bound}


class _Encoded(nn.Module):
    """Stands in for an encoder that sees the same images again and again, in their order; q: q(z|x) of all, (N, Z)."""

    def __init__(self, q: Normal):
        super().__init__()
        self.q, self.start = q, 0

    def forward(self, x: Tensor) -> Normal:
        """The next len(x) images' posteriors; after the last image come the first."""
        part = slice(self.start, self.start + len(x))
        self.start = part.stop % len(self.q.loc)
        return Normal(self.q.loc[part], self.q.scale[part], validate_args=False)


@contextlib.contextmanager
def _encoded_once(model: core.VAE, images: Tensor) -> Iterator[None]:
    """Inside a with block whatever goes through all these images, in their order, encodes none of them again."""
    encoder, model.encoder = model.encoder, _Encoded(core.posterior(model, images))
    try:
        yield
    finally:
        model.encoder = encoder


def picture_scores(model: core.VAE, images: Tensor, labels: Tensor, *, batch_size: int = 512) -> dict[str, float]:
    """How near reconstructions (`reconstruct`) come to uint8 images (N, *image_shape), means over images: `psnr`,
    10 log10(1 / mean squared error of the image) in dB, and `ssim`, see `structural_similarity`."""
    psnr, ssim = [], []
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        drawn, real = core.reconstruct(model, x, y), core.to_images(x)
        psnr.append(image_psnr(drawn, real))
        ssim.append(structural_similarity(drawn, real))
    return {"psnr": torch.cat(psnr).mean().item(), "ssim": torch.cat(ssim).mean().item()}


def image_psnr(drawn: Tensor, real: Tensor) -> Tensor:
    """PSNR in dB (N,) of pictures against the real ones, both (N, *image_shape) in [0, 1]."""
    return -10 * ((drawn - real) ** 2).flatten(1).mean(1).clamp(min=1e-10).log10()


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) of two batches of images (N, channels, H, W) in [0, 1], as torchmetrics computes it:
    (N,).

    To import torchmetrics takes two seconds in each notebook that trains, and its convolution is slower than
    products."""
    down, across = (_blur(size) for size in first.shape[2:])
    pairs = torch.stack([first, second, first * first, second * second, first * second])
    a, b, aa, bb, ab = down @ pairs @ across.T
    variances = (aa - a * a).clamp(min=0) + (bb - b * b).clamp(min=0)
    luminance = (2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2)
    structure = (2 * (ab - a * b) + 0.03**2) / (variances + 0.03**2)
    return (luminance * structure).flatten(1).mean(1)


def _blur(size: int) -> Tensor:
    """The matrix (size, size) that blurs a line of pixels: Gaussian, sd 1.5, 11 pixels, the line reflected at its
    ends."""
    window = torch.exp(-((torch.arange(-5, 6) / 1.5) ** 2) / 2)
    lines = F.pad(torch.eye(size)[:, None], (5, 5), mode="reflect")
    return F.conv1d(lines, (window / window.sum())[None, None])[:, 0].T


def likelihood_floor(images: Tensor, likelihood: str, *, sigmoids: int = 1) -> float:
    """The least -log p(x|z) that any decoder can reach, mean over uint8 images (N, *image_shape), in nats per image.

    Bernoulli with one sigmoid: the pixels' entropy, at m = x. With two (a BCE-with-logits on what went through a
    sigmoid already) m = sigmoid(sigmoid(.)) stays between 1/2 and 0.731, so at m = x clamped to that. Laplace: log 2 a
    value."""
    if likelihood == "laplace":
        return math.log(2) * images[0].numel()
    counts = torch.bincount(images.flatten().int(), minlength=256).double()
    x = torch.arange(256, dtype=torch.float64) / 255
    m = x if sigmoids == 1 else x.clamp(0.5, torch.sigmoid(torch.ones(())).item())
    bits = -torch.xlogy(x, m) - torch.xlogy(1 - x, 1 - m)
    return (counts @ bits / len(images)).item()
