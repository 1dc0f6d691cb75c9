"""The linear baseline: principal components for the pictures, logistic regression for the labels.

A model with Z latents stands beside PCA with Z components, fitted on the same training split at the same size. PCA
minimises the squared error, so its PSNR is its own objective; its likelihood and its labels are not.
"""

import dataclasses
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from data import Dataset, Split
from mccvae_core import to_images

from .scores import structural_similarity

LEVEL = 1 / 255  # between two grey levels
LOWEST, HIGHEST = LEVEL / 2, 1 - LEVEL / 2  # a pixel whose mean is 0 or 1 has an infinite loss under a Bernoulli
BATCH = 512


@dataclasses.dataclass(frozen=True, eq=False)
class LinearModel:
    """PCA and one logistic regression per label, both fitted on a training split by `fit_linear`.

    codes (N, Z) and labels (N, L) are those of the training images.
    """

    image_shape: tuple[int, int, int]
    pca: PCA
    readers: list[LogisticRegression]
    codes: np.ndarray
    labels: np.ndarray

    def encode(self, images: Tensor) -> np.ndarray:
        """Codes (N, Z), of unit variance on the training split, of images (N, *image_shape) in [0, 1]."""
        parts = [self.pca.transform(batch.flatten(1).numpy()) for batch in images.split(BATCH)]
        return np.concatenate(parts)

    def decode(self, codes: np.ndarray) -> Tensor:
        """Images (N, *image_shape), cut to [0, 1], of codes (N, Z)."""
        flat = torch.from_numpy(self.pca.inverse_transform(codes)).float()
        return flat.clamp(0, 1).unflatten(1, self.image_shape)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images (N, *image_shape) in [0, 1] that Z numbers each leave of images in [0, 1]."""
        return torch.cat([self.decode(self.encode(batch)) for batch in images.split(BATCH)])

    def read(self, images: Tensor) -> Tensor:
        """Probabilities (N, L) of the labels of images (N, *image_shape) in [0, 1]."""
        return self.read_codes(self.encode(images))

    def read_codes(self, codes: np.ndarray) -> Tensor:
        """Probabilities (N, L) of the labels, for codes (N, Z)."""
        columns = [reader.predict_proba(codes)[:, 1] for reader in self.readers]
        return torch.from_numpy(np.stack(columns, axis=1))

    def shift(self, towards: dict[int, int]) -> np.ndarray:
        """The change of the code (Z,) that an edit makes: the difference of two class means on the training split.

        towards: the value, 0 or 1, of each label to change. One class is the training images whose labels have all
        these values, the other those that have all the opposite ones. Raises ValueError where a class is empty.
        """
        labels, values = list(towards), np.array(list(towards.values()))
        there = (self.labels[:, labels] == values).all(1)
        opposite = (self.labels[:, labels] == 1 - values).all(1)
        if not (there.any() and opposite.any()):
            raise ValueError(f"no training image has the labels {towards}, or none their opposites: nothing to edit by")
        return self.codes[there].mean(0) - self.codes[opposite].mean(0)

    def intervene(self, images: Tensor, towards: dict[int, int]) -> Tensor:
        """Images (N, *image_shape) in [0, 1] after the linear edit: `shift` added to the codes of images in [0, 1]."""
        shift = self.shift(towards)
        return torch.cat([self.decode(self.encode(batch) + shift) for batch in images.split(BATCH)])


def fit_linear(split: Split, latents: int, *, seed: int = 0) -> LinearModel:
    """PCA with `latents` components of a split's images, and logistic regression of its labels on the codes.

    PCA is scikit-learn's with svd_solver "randomized", whitened. Each label has a reader of its own, as in the models,
    even where labels exclude one another. Raises ValueError for more components than images or pixels allow, and for a
    label with one value.
    """
    most = min(len(split), split.images[0].numel())
    if not 1 <= latents <= most:
        raise ValueError(f"latents must be between 1 and {most}, the images' rank at most, not {latents}")
    labels = split.labels.numpy()
    if (constant := np.flatnonzero(labels.min(0) == labels.max(0))).size:
        raise ValueError(f"label {constant[0]} has one value on all {len(split)} images; leave it out or add images")
    x = split.images.flatten(1).numpy() * np.float32(LEVEL)
    pca = PCA(latents, whiten=True, svd_solver="randomized", random_state=seed).fit(x)
    codes = pca.transform(x)
    readers = [LogisticRegression(max_iter=1_000).fit(codes, column) for column in labels.T]
    return LinearModel(tuple(split.images.shape[1:]), pca, readers, codes, labels)


def picture_scores(real: Tensor, made: Tensor, likelihood: str) -> dict[str, float]:
    """How near pictures `made` come to `real` ones, (N, *image_shape) in [0, 1] each; means over images.

    psnr: 10 log10(1 / mean squared error of the image), dB. ssim: `scores.structural_similarity`.
    reconstruction: -log p(x|z), nats per image, with `made` as the likelihood's mean, cut to [1/510, 1 - 1/510]. It may
    stand beside a model's own reconstruction at the posterior mean, never beside a bound.
    Raises ValueError for another likelihood than "bernoulli" and "laplace" (of scale 1).
    """
    if likelihood not in ("bernoulli", "laplace"):
        raise ValueError(f"likelihood must be 'bernoulli' or 'laplace', not {likelihood!r}")
    psnr, ssim, nats = [], [], []
    for x, m in zip(real.split(BATCH), made.split(BATCH), strict=True):
        squares = ((m - x) ** 2).flatten(1).mean(1)
        psnr.append(-10 * squares.clamp(min=1e-10).log10())
        ssim.append(structural_similarity(m, x))
        mean = m.clamp(LOWEST, HIGHEST)
        if likelihood == "laplace":
            loss = (x - mean).abs() + math.log(2)
        else:
            loss = F.binary_cross_entropy(mean, x, reduction="none")
        nats.append(loss.flatten(1).sum(1))
    scores = {"psnr": psnr, "ssim": ssim, "reconstruction": nats}
    return {name: torch.cat(values).double().mean().item() for name, values in scores.items()}


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of the N*L labels that are right at threshold 1/2, the paper's count; (N, L) each."""
    return ((probabilities > 0.5) == labels.bool()).double().mean().item()


def majority_accuracy(training_labels: Tensor, labels: Tensor) -> float:
    """`accuracy` of the answer that ignores the image: each label's more frequent value in training."""
    majority = (training_labels.double().mean(0) > 0.5).double()
    return accuracy(majority.expand(len(labels), -1), labels)


def linear_row(data: Dataset, latents: int, *, seed: int = 0) -> tuple[dict, LinearModel]:
    """The baseline's row for a task, and the model itself: `picture_scores` and accuracies on the test split, and the
    seconds to make it.

    seconds: of `fit_linear` alone, on all of the processor's cores together, so that what else runs there has no say.
    n: test images.
    """
    start = time.process_time()
    model = fit_linear(data.train, latents, seed=seed)
    seconds = time.process_time() - start
    real = to_images(data.test.images)
    about = {"task": data.task.name, "stand_in": data.stand_in, "latents": latents, "seed": seed}
    labels = {
        "train_accuracy": accuracy(model.read_codes(model.codes), data.train.labels),
        "accuracy": accuracy(model.read(real), data.test.labels),
        "majority_accuracy": majority_accuracy(data.train.labels, data.test.labels),
    }
    scores = picture_scores(real, model.reconstruct(real), data.task.likelihood)
    row = about | {"n": len(data.test), "n_train": len(data.train)} | scores | labels | {"seconds": seconds}
    return row, model
