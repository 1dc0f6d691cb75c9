"""Which labels other blocks and style tell: a linear reader on posterior means, tried on held-out images."""

import itertools
import math

import numpy as np

from .latents import STYLE, probe_score

Codes = tuple[np.ndarray, np.ndarray]  # codes (N, Z) and labels (N, L)


def apart(others: float, own: float) -> float:
    """1 - (A - 1/2) / (B - 1/2) of two AUCs: 1 where the others tell nothing, 0 where they tell as much as the own;
    NaN where the own tell nothing."""
    return 1 - (others - 0.5) / (own - 0.5) if own > 0.5 else math.nan


def blocks_apart(train: Codes, test: Codes, latent_owner: np.ndarray) -> float:
    """How little other blocks tell two classes apart: mean of `apart` over all pairs of classes that exclude each
    other.

    latent_owner (Z,): the label of each latent, or STYLE. A: AUC, on test images, at which logistic regression fitted
    on training images tells the pair from the blocks of all other labels; B: from the pair's own two. NaN for two
    classes.
    """
    scores = []
    for pair in itertools.combinations(range(train[1].shape[1]), 2):
        own = np.isin(latent_owner, pair)
        others = ~own & (latent_owner != STYLE)
        read = lambda mask: probe_score(*(_of_pair(part, pair, mask) for part in (train, test)), "linear")  # noqa: B023,E731
        a, b = read(others), read(own)
        scores.append(apart(a, b) if others.any() else math.nan)
    return float(np.mean(scores)) if scores else math.nan


def _of_pair(part: Codes, pair: tuple[int, int], latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, labels = part
    mine = labels[:, list(pair)].any(1)
    return codes[mine][:, latents], labels[mine, pair[0]]


def label_readings(train: Codes, test: Codes, latent_owner: np.ndarray, label: int) -> dict[str, float]:
    """AUC at which a label is read from its own block, the other labels' blocks, style, and the other labels
    themselves, which shows how far labels go together (1 where they exclude one another); chance is 1/2."""
    read = lambda take: probe_score(*((take(*part), part[1][:, label]) for part in (train, test)), "linear")  # noqa: E731
    of = lambda mask: read(lambda codes, _: codes[:, mask])  # noqa: E731
    others = (latent_owner != label) & (latent_owner != STYLE)
    return {
        "auc_own": of(latent_owner == label),
        "auc_others": of(others),
        "auc_style": of(latent_owner == STYLE),
        "auc_labels": read(lambda _, labels: np.delete(labels, label, axis=1).astype(float)),
    }
