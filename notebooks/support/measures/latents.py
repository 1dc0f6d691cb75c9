"""What the latents hold: scores with a label's block as the unit."""

import itertools
import math

import numpy as np

import mccvae_core as core

STYLE = -1  # as the owner of a latent, a target or a column: no label's


PROBES = ("linear", "boosted")


def latent_owners(model: core.MCCVAE) -> np.ndarray:
    """(Z,): the label that owns each latent, STYLE for those of z_style."""
    return np.concatenate([model.owner.cpu().numpy(), np.full(model.config.style_dim, STYLE)])


def _fitted_probe(probe: str, codes, target):
    """A scikit-learn model that reads a target (N,) from codes (N, n); classes where it has no more than two values."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if probe not in PROBES:
        raise ValueError(f"probe must be one of {PROBES}, not {probe!r}")
    binary = len(np.unique(target)) <= 2
    if probe == "linear":
        reader = LogisticRegression(max_iter=1000) if binary else RidgeCV(np.logspace(-3, 3, 13))
        return make_pipeline(StandardScaler(), reader).fit(codes, target)
    boosted = HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor
    return boosted(max_iter=60, early_stopping=False, random_state=0).fit(codes, target)


def _held_out_score(reader, codes, target) -> float:
    from sklearn.metrics import r2_score, roc_auc_score

    if hasattr(reader, "predict_proba"):
        return float(roc_auc_score(target, reader.predict_proba(codes)[:, 1]))
    return max(0.0, float(r2_score(target, reader.predict(codes))))


def probe_score(train: tuple, test: tuple, probe: str) -> float:
    """How well a target is read from codes, on held-out data; train and test are (codes (N, n), target (N,)).

    AUC for a target of two values (chance 1/2), else R^2, not below 0 (chance 0). "linear": logistic or ridge
    regression on standardised codes; "boosted": gradient-boosted trees. No codes at all: chance. NaN where the target
    has only one value in either part.
    """
    (codes, target), (test_codes, test_target) = train, test
    if min(len(np.unique(target)), len(np.unique(test_target))) < 2:
        return math.nan
    if codes.shape[1] == 0:
        return 0.5 if len(np.unique(target)) == 2 else 0.0
    return _held_out_score(_fitted_probe(probe, codes, target), test_codes, test_target)


def probe_readings(train: tuple, codes: np.ndarray, probe: str) -> np.ndarray:
    """Probabilities (M,) that a probe, fitted on train = (codes (N, n), target (N,) of two values), reads from other
    codes (M, n)."""
    return _fitted_probe(probe, *train).predict_proba(codes)[:, 1]


def found(train: tuple, test: tuple, latent_owner: np.ndarray, owner: int, probe: str) -> dict[str, float]:
    """`probe_score` of one target from where it should be and from where it should not; codes are (N, Z).

    own: from the latents of its owner (a label's block; for STYLE z_style); others: from the other labels' blocks
    together;
    style: from z_style. The two last are leakage, where labels are independent of each other in the data.
    """
    sources = {
        "own": latent_owner == owner,
        "others": (latent_owner != owner) & (latent_owner != STYLE),
        "style": latent_owner == STYLE,
    }
    return {
        name: probe_score((train[0][:, mask], train[1]), (test[0][:, mask], test[1]), probe)
        for name, mask in sources.items()
    }


def block_importance(train: tuple, test: tuple, *, repeats: int = 5, seed: int = 0) -> np.ndarray:
    """Which latent of a block carries which part: importance (k, P). train and test are (codes (N, k), parts (N, P)).

    importance[j, p]: by how much the held-out R^2 of the boosted probe of part p, fitted on the whole block, falls when
    latent j is permuted over the test images; mean over `repeats` permutations, not below 0.
    """
    (codes, parts), (test_codes, test_parts), rng = train, test, np.random.default_rng(seed)
    importance = np.zeros((codes.shape[1], parts.shape[1]))
    for p in range(parts.shape[1]):
        reader = _fitted_probe("boosted", codes, parts[:, p])
        whole = _held_out_score(reader, test_codes, test_parts[:, p])
        for j, _ in itertools.product(range(codes.shape[1]), range(repeats)):
            permuted = test_codes.copy()
            permuted[:, j] = rng.permutation(permuted[:, j])
            importance[j, p] += max(0.0, whole - _held_out_score(reader, permuted, test_parts[:, p])) / repeats
    return importance


def _entropy(shares: np.ndarray, axis: int) -> np.ndarray:
    """-sum p log p of shares that are normalised along the axis; NaN where they are all 0."""
    with np.errstate(invalid="ignore"):
        p = shares / shares.sum(axis, keepdims=True)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), p).sum(axis)


def block_dci(importance: np.ndarray) -> tuple[float, float]:
    """(disentanglement, completeness) of one block, from its importance (k, P); Eastwood & Williams (2018), within the
    block.

    disentanglement: 1 - H(a latent's shares over the parts) / log P, mean over latents weighted by their importance; 1:
    each latent carries one part. completeness: 1 - H(a part's shares over the latents) / log k, mean over parts; 1:
    each part sits in one latent. A single part is disentangled, a single latent complete. NaN where nothing is carried.
    """
    k, parts = importance.shape
    if importance.sum() == 0:
        return math.nan, math.nan
    weight = importance.sum(1) / importance.sum()
    by_latent = np.ones(k) if parts == 1 else 1 - _entropy(importance, axis=1) / math.log(parts)
    by_part = np.ones(parts) if k == 1 else 1 - _entropy(importance, axis=0) / math.log(k)
    return float(np.nansum(weight * by_latent)), float(np.nanmean(by_part))


def effective_number(effects: np.ndarray) -> float:
    """How many latents do the work of a block: exp(entropy of the shares) of effects (k,), none below 0.

    1: one latent does it all, the paper's "one variable"; k: an even split. NaN where there is no effect."""
    return float(np.exp(_entropy(np.asarray(effects, dtype=float), axis=0)))
