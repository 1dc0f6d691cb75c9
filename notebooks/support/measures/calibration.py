"""Probabilities that can be taken at their word: what is read of the validation images says how far the model is too
sure, and a line through the log-odds mends it (Platt 1999)."""

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

import mccvae_core as core
from data.common import Split

from .quantities import predicted_sd

NEAR = 1e-6  # of a probability to 0 and 1, at most


def fit(model: core.MCCVAE, validation: Split) -> dict[str, list[float]]:
    """How to calibrate each label, L numbers each: `slope` and `shift` of the log-odds (`platt`), and `spread`, by
    which the predicted sd of a label that is a number is multiplied (`spread_factor`); 1 and 0 for labels of other
    kinds. The values of a categorical label have one slope together (`temperature`), no shift."""
    q = core.posterior(model, validation.images)
    read, labels = model.read_labels(model.split(q.loc)[0]).detach().cpu().numpy(), validation.labels.numpy()
    sd = predicted_sd(model, q).cpu().numpy() if model.config.has_continuous else np.ones_like(read)
    found = {"slope": [], "shift": [], "spread": []}
    for label, number in enumerate(model.continuous.tolist()):
        known = ~np.isnan(labels[:, label])
        value, y = read[known, label], labels[known, label]
        slope, shift = (1.0, 0.0) if number else platt(value, y)
        spread = spread_factor((y - value) / sd[known, label]) if number else 1.0
        for name, one in zip(found, (slope, shift, spread), strict=True):
            found[name].append(one)
    for columns, _ in model.categorical:
        known = ~np.isnan(labels[:, columns.start])
        slope = temperature(read[known, columns], labels[known, columns])
        found["slope"][columns] = [slope] * (columns.stop - columns.start)
        found["shift"][columns] = [0.0] * (columns.stop - columns.start)
    return found


def platt(probabilities: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """a > 0 and b, for which sigmoid(a logit(p) + b) fits y, 0 or 1, best (N,). log a and b have a standard normal
    prior, so that few images change little and none nothing."""
    p = np.clip(probabilities.astype(float), NEAR, 1 - NEAR)
    x = np.log(p) - np.log1p(-p)

    def minus_log_posterior(parameters):
        a, b = np.exp(parameters[0]), parameters[1]
        u = a * x + b
        off = 1 / (1 + np.exp(-np.clip(u, -700, 700))) - y
        value = (np.logaddexp(0, u) - y * u).sum() + 0.5 * (parameters @ parameters)
        return value, np.array([a * (off @ x), off.sum()]) + parameters

    found = minimize(minus_log_posterior, np.zeros(2), jac=True, method="BFGS")
    return float(np.exp(found.x[0])), float(found.x[1])


def temperature(probabilities: np.ndarray, y: np.ndarray) -> float:
    """a > 0, for which softmax(a log p) fits y (N, V), one of each row 1, best; log a has a standard normal prior."""
    log_p = np.log(np.clip(probabilities.astype(float), NEAR, 1))

    def minus_log_posterior(log_a):
        u = np.exp(log_a) * log_p
        return (logsumexp(u, axis=1) - (y * u).sum(1)).sum() + 0.5 * log_a**2

    return float(np.exp(minimize_scalar(minus_log_posterior, bounds=(-5, 5), method="bounded").x))


def spread_factor(residuals: np.ndarray) -> float:
    """The factor of a predicted sd: the root mean square of residuals in predicted sd (N,), one image more counted as
    1."""
    return float(np.sqrt((1 + (residuals**2).sum()) / (1 + len(residuals))))


def calibrated(read: torch.Tensor, model: core.MCCVAE, by: dict[str, list[float]] | None) -> torch.Tensor:
    """What a model reads of labels (N, L), its probabilities by `fit`'s numbers; as it is without them."""
    if by is None:
        return read
    p = read.double().clamp(NEAR, 1 - NEAR)
    u = torch.tensor(by["slope"]) * p.logit() + torch.tensor(by["shift"])
    p = u.sigmoid()
    for columns, _ in model.categorical:
        log_p = read[:, columns].double().clamp(min=NEAR).log()
        p[:, columns] = (by["slope"][columns.start] * log_p).softmax(1)
    return torch.where(model.continuous.cpu(), read, p.to(read))
