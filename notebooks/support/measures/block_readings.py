"""Which labels other blocks and style tell: a linear reader on posterior means, tried on held-out images."""

import dataclasses
import itertools
import math

import numpy as np

from .intervals import auc, weighted_auc
from .latents import STYLE, probe_readings, probe_score

Codes = tuple[np.ndarray, np.ndarray]  # codes (N, Z) and labels (N, L)


def apart(others: float, own: float) -> float:
    """1 - (A - 1/2) / (B - 1/2) of two AUCs: 1 where the others tell nothing, 0 where they tell as much as the own;
    NaN where the own tell nothing."""
    return 1 - (others - 0.5) / (own - 0.5) if own > 0.5 else math.nan


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two classes that exclude each other, as they are read on the n test images of either.

    images (n,): their positions. first (n,): 1 for images of the first class. others, own (n,): the first class's
    probability as logistic regression, fitted on training images, reads it from the blocks of all other labels, and
    from the pair's own two."""

    images: np.ndarray
    first: np.ndarray
    others: np.ndarray
    own: np.ndarray

    def apart(self, weights: np.ndarray | None = None):
        """`apart` of the AUCs of others and own; weights (D, N): how often each test image counts, then (D,)."""
        if weights is None:
            return apart(auc(self.others, self.first), auc(self.own, self.first))
        a, b = (weighted_auc(read, self.first, weights[:, self.images]) for read in (self.others, self.own))
        return 1 - np.divide(a - 0.5, b - 0.5, out=np.full(len(a), np.nan), where=b > 0.5)


def read_pairs(train: Codes, test: Codes, latent_owner: np.ndarray) -> list[Pair]:
    """All pairs of classes; none at all where there are but two classes, or where one has no images.

    latent_owner (Z,): the label of each latent, or STYLE."""
    pairs = []
    if not all(part[1].any(0).all() for part in (train, test)):
        return pairs
    for pair in itertools.combinations(range(train[1].shape[1]), 2):
        own = np.isin(latent_owner, pair)
        others = ~own & (latent_owner != STYLE)
        images = np.flatnonzero(test[1][:, list(pair)].any(1))
        first = test[1][images, pair[0]]
        if others.any():
            codes = test[0][images]
            read = [probe_readings(_of_pair(train, pair, m), codes[:, m], "linear") for m in (others, own)]
            pairs.append(Pair(images, first, *read))
    return pairs


def blocks_apart(pairs: list[Pair]) -> float:
    """How little other blocks tell two classes apart: mean of `Pair.apart` over all pairs; NaN without any."""
    return float(np.mean([pair.apart() for pair in pairs])) if pairs else math.nan


def _of_pair(part: Codes, pair: tuple[int, int], latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, labels = part
    mine = labels[:, list(pair)].any(1)
    return codes[mine][:, latents], labels[mine, pair[0]]


def label_readings(train: Codes, test: Codes, latent_owner: np.ndarray, label: int) -> dict[str, float]:
    """AUC at which a label is read from its own block, the other labels' blocks, style, and the other labels
    themselves, which shows how far labels go together (1 where they exclude one another); chance is 1/2."""

    def read(take):
        return probe_score(*((take(*part), part[1][:, label]) for part in (train, test)), "linear")

    of = lambda mask: read(lambda codes, _: codes[:, mask])  # noqa: E731
    others = (latent_owner != label) & (latent_owner != STYLE)
    return {
        "auc_own": of(latent_owner == label),
        "auc_others": of(others),
        "auc_style": of(latent_owner == STYLE),
        "auc_labels": read(lambda _, labels: np.delete(labels, label, axis=1).astype(float)),
    }
