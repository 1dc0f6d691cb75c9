"""How well a label that is a number is read: errors and correlation, with 95 % intervals; and how sure the model is."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

import mccvae_core as core
from data.continuous import Unit

from .intervals import DRAWS, resampled

SCORES = ("error", "error_of_mean", "gain", "correlation")


def scores(read: np.ndarray, y: np.ndarray, mean: float) -> dict[str, float | None]:
    """SCORES of readings and true values (N,), in their unit: the mean absolute error; that of always answering `mean`,
    the training labels'; how much less the first is; Pearson's correlation. None where there is nothing to say it
    of."""
    if not len(y):
        return dict.fromkeys(SCORES)
    found = _weighted(read, y, mean, np.ones((1, len(y))))
    return {name: float(value[0]) if np.isfinite(value[0]) else None for name, value in found.items()}


def intervals(
    read: np.ndarray, y: np.ndarray, mean: float, groups: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """95 % intervals of SCORES: percentiles over draws of as many images, or of as many whole groups (N,). A score of
    fewer than two images or groups, or that most draws do not have, has none."""
    each = np.arange(len(y)) if groups is None else groups
    if len(np.unique(each)) < 2:
        return {}
    parts = [_weighted(read, y, mean, weights.astype(float)) for weights in resampled(each, DRAWS)]
    ends = {}
    for name in SCORES:
        drawn = np.concatenate([part[name] for part in parts])
        drawn = drawn[np.isfinite(drawn)]
        if 2 * len(drawn) > DRAWS:
            ends[name] = tuple(map(float, np.percentile(drawn, (2.5, 97.5))))
    return ends


def _weighted(read: np.ndarray, y: np.ndarray, mean: float, weights: np.ndarray) -> dict[str, np.ndarray]:
    """SCORES (D,) where image n counts weights[:, n] times, for weights (D, N); a correlation of what does not differ
    is NaN."""
    share = weights / weights.sum(1, keepdims=True)
    error, of_mean = share @ np.abs(read - y), share @ np.abs(mean - y)
    scale = max(np.ptp(y), np.ptp(read)) or 1.0
    a, b = ((values - values.mean()) / scale for values in (read, y))
    a_mean, b_mean = share @ a, share @ b
    a_var, b_var = share @ a**2 - a_mean**2, share @ b**2 - b_mean**2
    differ = (a_var > 1e-12) & (b_var > 1e-12)
    root = np.sqrt(np.where(differ, a_var * b_var, 1.0))
    r = np.where(differ, np.clip((share @ (a * b) - a_mean * b_mean) / root, -1, 1), np.nan)
    return dict(zip(SCORES, (error, of_mean, of_mean - error, r), strict=True))


def by_label(read: Tensor, labels: Tensor, names: tuple[str, ...], units: tuple[Unit | None, ...]) -> dict[str, dict]:
    """n and `scores` of each continuous label, by name, in the user's unit; of standardised readings and labels (N, L),
    labels NaN where not known. units: as `Dataset.units`."""
    found = {}
    for i, (name, unit) in enumerate(zip(names, units, strict=bool(units))):
        if unit:
            known = ~labels[:, i].isnan()
            value, y = (unit.undone(column[known, i].double()).numpy() for column in (read, labels))
            found[name] = {"n": int(known.sum())} | scores(value, y, unit.mean)
    return found


@torch.no_grad()
def predicted_sd(model: core.MCCVAE, q: Normal) -> Tensor:
    """The standard deviation (N, L) of q(y_i|x) of continuous labels, standardised, for q(z|x), a Normal (N, Z): the
    block's spread along w, and that of q(y_i|z_c^i). Of other labels it has no meaning."""
    spread = model.split(q.variance)[0] * model.classifier_weight**2
    return (spread @ model.block + model.reading_scale() ** 2).sqrt()
