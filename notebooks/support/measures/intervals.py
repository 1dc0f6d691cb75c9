"""How well one label is read, with 95 % intervals that hold for few images and for scores of 0 and 1."""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

Z = 1.959964  # of a 95 % interval
DRAWS = 2_000  # of images or groups
SCORES = ("auc", "balanced_accuracy", "sensitivity", "specificity")


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Wilson's interval of a share of n; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p, middle = hits / n, (hits + Z**2 / 2) / (n + Z**2)
    half = Z / (n + Z**2) * np.sqrt(n * p * (1 - p) + Z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def resampled(groups: np.ndarray, draws: int, seed: int = 0, at_once: int = 200) -> Iterator[np.ndarray]:
    """A bootstrap's draws of as many groups as there are, `at_once` together: how often each image was drawn, (d, N).
    groups (N,): what is drawn together."""
    group, of_image = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    for start in range(0, draws, at_once):
        size = (min(at_once, draws - start), len(group))
        picked = generator.integers(len(group), size=size, dtype=np.int32)
        yield np.stack([np.bincount(row, minlength=len(group)) for row in picked])[:, of_image]


def auc(probability: np.ndarray, y: np.ndarray) -> float:
    """Area under the curve of probabilities (N,) for y of 0 and 1; NaN where one value is missing."""
    ones, zeros = int(y.sum()), int((1 - y).sum())
    if not ones or not zeros:
        return np.nan
    return float((rankdata(probability)[y == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def weighted_auc(readings: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`auc` of readings (N,) for y (N,) of 0 and 1 where image n counts weights[:, n] times, (D,) for weights (D, N):
    draws of a bootstrap. NaN for a draw without one of the values."""
    order = np.argsort(readings, kind="stable")
    first = np.flatnonzero(np.diff(readings[order], prepend=-np.inf))  # of each run of equal readings
    weights, y = weights[:, order], y[order].astype(float)
    ones, zeros = (np.add.reduceat(weights * of, first, axis=1) for of in (y, 1 - y))
    above = (ones * (np.cumsum(zeros, axis=1) - zeros / 2)).sum(1)  # pairs in their right order, equal ones half
    pairs = ones.sum(1) * zeros.sum(1)
    return np.divide(above, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def auc_interval(area: float, ones: float, zeros: float) -> tuple[float, float]:
    """Newcombe's interval of an area under the curve (2006, method 5): where it lies Z standard errors away, of the
    area's own."""
    n = (ones + zeros) / 2

    def away(true, sign):
        spread = true * (1 - true) * (2 * n - 1 - (3 * n - 3) / ((2 - true) * (1 + true))) / (ones * zeros)
        return sign * (area - true) - Z * np.sqrt(max(spread, 0))

    below, above = area - 1e-9, area + 1e-9  # of 0 and 1 the spread is 0
    low = brentq(away, 0, below, args=(1,)) if below > 0 and away(below, 1) < 0 else 0.0
    high = brentq(away, above, 1, args=(-1,)) if above < 1 and away(above, -1) < 0 else 1.0
    return float(low), float(high)


def scores(probability: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """SCORES of a label; NaN where the images of a value are missing."""
    ones, zeros = y == 1, y == 0
    sensitivity, specificity = (
        float(right.mean()) if len(right) else np.nan for right in (probability[ones] > 0.5, probability[zeros] <= 0.5)
    )
    return dict(
        zip(SCORES, (auc(probability, y), (sensitivity + specificity) / 2, sensitivity, specificity), strict=True)
    )


def intervals(
    probability: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """95 % intervals of SCORES, of probabilities (N,), y (N,) of 0 and 1. Images of one of `groups` (N,) are not
    independent: then groups are
    drawn again and again (percentiles); a score that no draw changes has the interval of as many images as there are
    groups."""
    ones, zeros = _independent(y == 1, groups), _independent(y == 0, groups)
    found = scores(probability, y)
    sensitivity, specificity = (
        wilson(found[name] * n, n) if n else (0.0, 1.0) for name, n in (("sensitivity", ones), ("specificity", zeros))
    )
    low, high = (  # of the mean of two shares, from their intervals (Newcombe's square-and-add)
        np.hypot(found["sensitivity"] - sensitivity[0], found["specificity"] - specificity[0]) / 2,
        np.hypot(sensitivity[1] - found["sensitivity"], specificity[1] - found["specificity"]) / 2,
    )
    area = auc_interval(found["auc"], ones, zeros) if ones and zeros else (0.0, 1.0)
    middle = found["balanced_accuracy"]
    balanced = (max(0.0, middle - low), min(1.0, middle + high)) if ones and zeros else (0.0, 1.0)
    closed = dict(zip(SCORES, (area, balanced, sensitivity, specificity), strict=True))
    return closed if groups is None else closed | _by_group(probability, y, groups)


def _independent(mask: np.ndarray, groups: np.ndarray | None) -> int:
    """How many images, or where they are in groups how many groups."""
    return int(mask.sum()) if groups is None else len(set(groups[mask]))


def _by_group(probability, y, groups) -> dict[str, tuple[float, float]]:
    """Percentiles over draws of whole groups, of those scores that the draws change."""
    rows = []
    for times in (row for weights in resampled(groups, DRAWS) for row in weights):
        index = np.repeat(np.arange(len(y)), times)
        rows.append(list(scores(probability[index], y[index]).values()))
    rows = np.array(rows)
    ends = {
        name: np.percentile(column[~np.isnan(column)], (2.5, 97.5))
        for name, column in zip(SCORES, rows.T, strict=True)
        if not np.isnan(column).all()
    }
    return {name: (float(low), float(high)) for name, (low, high) in ends.items() if high > low}


def calibration(probability: np.ndarray, y: np.ndarray, bins: int = 5) -> list[dict[str, float]]:
    """Of each bin of the probability that holds images: n, the mean probability, the share that is 1, and its
    interval."""
    which, rows = np.minimum((probability * bins).astype(int), bins - 1), []
    for number in np.unique(which):
        mine = which == number
        low, high = wilson(y[mine].sum(), mine.sum())
        about = {"from": number / bins, "to": (number + 1) / bins, "n": int(mine.sum()), "low": low, "high": high}
        rows.append(about | {"probability": float(probability[mine].mean()), "share": float(y[mine].mean())})
    return rows


def calibration_error(probability: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error: mean distance of probability and share over five bins, weighted by their images."""
    rows = calibration(probability, y)
    return sum(row["n"] * abs(row["probability"] - row["share"]) for row in rows) / len(y)
