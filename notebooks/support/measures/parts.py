"""Which part of a label each coordinate of its block changes, and whether each has parts of its own."""

import numpy as np

LEAST_AUC, LEAST_POSITIVES = 0.85, 40  # of an attribute that a judge reads
LEAST_RATE = 0.05  # by which an attribute's rates with and without the label differ, to be one of its parts


def split_bits(changes: np.ndarray) -> float:
    """Mutual information in bits between the coordinate and the part that it changes, for changes (K, P) from 0 up.

    Every part weighs the same; p(coordinate | part) is its share of that part's change. 0 where all coordinates change
    the same parts or one changes all; log2 K where each changes parts of its own, as many each. A part that nothing
    changes has no say; NaN where no part is left.
    """
    changes = np.asarray(changes, dtype=float)
    shares = changes[:, changes.sum(0) > 0]
    if shares.shape[1] == 0:
        return float("nan")
    shares = shares / shares.sum(0)
    return max(0.0, float(_bits(shares.mean(1)) - _bits(shares).mean()))  # rounding may leave it just below 0


def _bits(p: np.ndarray) -> np.ndarray:
    """Entropy in bits over the first axis."""
    return -(p * np.log2(np.where(p > 0, p, 1))).sum(0)


def split_by_chance(changes: np.ndarray, *, draws: int = 500, seed: int = 0) -> tuple[float, float]:
    """`split_bits` if what one coordinate changes had nothing to do with what another does: its mean over permutations
    of each coordinate's parts, and the share of them that reach the value observed (itself counted, so never 0)."""
    rng, observed = np.random.default_rng(seed), split_bits(changes)
    values = np.array([split_bits(rng.permuted(changes, axis=1)) for _ in range(draws)])
    return float(values.mean()), float((1 + (values >= observed - 1e-12).sum()) / (1 + draws))


def parts_of(labels: np.ndarray, attributes: np.ndarray, label: int) -> np.ndarray:
    """(P,) of bool: the attributes (N, P) whose rates with and without the label, column of labels (N, L), differ by
    LEAST_RATE or more."""
    with_it = labels[:, label].astype(bool)
    if with_it.all() or not with_it.any():
        return np.zeros(attributes.shape[1], dtype=bool)
    return np.abs(attributes[with_it].mean(0) - attributes[~with_it].mean(0)) >= LEAST_RATE - 1e-12
