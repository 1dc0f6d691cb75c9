"""The verdict on a primary test: an interval over training seeds is held against the margin written down before.

All intervals have the level 1 - 0.05 / m for m primary tests (Bonferroni), so that by chance at most one family of
tests in twenty has a wrong `reproduced` or `reversed`. Differences are turned so that more is what the claim says.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from ..measures.intervals import resampled
from .preregistration import PrimaryTest, Score, TaskRule

ALPHA = 0.05
REPRODUCED, REVERSED, INCONCLUSIVE = "reproduced", "reversed", "inconclusive"
NO_DIFFERENCE, NOT_TESTED = "no difference that matters", "not tested"
WORDS = (REPRODUCED, REVERSED, NO_DIFFERENCE, INCONCLUSIVE, NOT_TESTED)
MOST_SEEDS = 1000  # beyond it, "more than"

Interval = tuple[float, float]  # low, high


def student_half(n, sd, tests: int):
    """Half the width of Student's interval of a mean at level 1 - 0.05 / tests; arrays or numbers n > 1, sd.

    It takes seeds to be about normal. A family of 15 tests simulated with uniform ones had wrong words in up to 12 % of
    cases instead of 5, with exponential ones in up to 35 %: where the seeds' dots lie skewed, trust the verdict less.
    """
    n = np.asarray(n)
    return stats.t.ppf(1 - ALPHA / (2 * tests), n - 1) * sd / np.sqrt(n)


def decide(kind: str, low, high, limit):
    """The verdict's word for an interval [low, high]; numbers or arrays of equal shape.

    limit: the margin of a difference or a tie (> 0), the bound of a level. The first word that fits: a difference
    inside both margins is none that matters, one above 0 is reproduced, one below 0 reversed; in a tie the first of
    these is reproduced and the other two are reversed. A level is reproduced where all of the interval reaches the
    bound, reversed where none does.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    if kind == "level":
        rules = [(low >= limit, REPRODUCED), (high < limit, REVERSED)]
    else:
        same, more = (REPRODUCED, REVERSED) if kind == "tie" else (NO_DIFFERENCE, REPRODUCED)
        rules = [((-limit < low) & (high < limit), same), (low > 0, more), (high < 0, REVERSED)]
    found = np.select([where for where, _ in rules], [word for _, word in rules], INCONCLUSIVE)
    return found if found.ndim else str(found)


def p_value(kind: str, values: np.ndarray, limit: float) -> float:
    """Two-sided p of a Student test over seeds that agrees with `decide`: p < 0.05 / m where the interval excludes it.

    Null hypothesis: no difference; for a tie: a difference of the margin or more; for a level: the bound itself.
    """
    error, mean = np.std(values, ddof=1) / math.sqrt(len(values)), np.mean(values)
    nulls = {"difference": [0.0], "tie": [-limit, limit], "level": [limit]}[kind]
    if kind == "tie" and abs(mean) >= limit:
        return 1.0
    return max(_two_sided(mean - null, error, len(values)) for null in nulls)


def _two_sided(distance: float, error: float, n: int) -> float:
    if error == 0:
        return float(distance == 0)
    return float(2 * stats.t.sf(abs(distance) / error, n - 1))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values, in the order given; NaN (not tested) counts as a test that shows nothing."""
    filled = np.nan_to_num(np.asarray(p, float), nan=1.0)
    order = np.argsort(filled)
    stepped = np.maximum.accumulate(filled[order] * np.arange(len(filled), 0, -1))
    adjusted = np.empty_like(filled)
    adjusted[order] = np.minimum(stepped, 1)
    return np.where(np.isnan(p), np.nan, adjusted)


def probability_first_better(first: np.ndarray, second: np.ndarray) -> float:
    """P(A > B): the share of all pairs of runs in which the first model's is better; equal ones count half."""
    difference = np.subtract.outer(first, second)
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def seeds_needed(kind: str, mean: float, sd: float, limit: float, tests: int) -> int | None:
    """The least number of seeds whose interval would decide, if mean and spread over seeds stay as seen; None above
    MOST_SEEDS.
    """
    distance = abs(mean - limit) if kind == "level" else max(abs(mean), limit - abs(mean))
    n = np.arange(2, MOST_SEEDS + 1)
    enough = n[student_half(n, sd, tests) < distance]
    return int(enough[0]) if len(enough) else None


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, tests: int, *, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile interval over images, at level 1 - 0.05 / tests, of a statistic of the mean over seeds.

    statistic: weights (draws, images), how often each image was drawn -> values (draws,). groups (images,): what is
    drawn together, the person on chest, else the image's own name or number.
    """
    values = [statistic(weights) for weights in resampled(groups, draws, seed)]
    tail = ALPHA / (2 * tests)
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return float(low), float(high)


def mean_over_images(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic of `bootstrap_interval` for a mean over images; values (images,): each image's mean over seeds."""
    return lambda weights: weights @ values / weights.sum(1)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a primary test found.

    values: for each seed the difference, turned so that more is what the claim says, or the level. limit: margin or
    bound. low, high: the interval over seeds; images: the one over images of the mean over seeds. p: before Holm.
    better: P(A > B), for a level the share of seeds that reach the bound. needs: seeds that an inconclusive test would
    take, None: more than MOST_SEEDS. why: of a test that was not made.
    """

    kind: str
    word: str
    limit: float
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    better: float = math.nan
    needs: int | None = None
    images: Interval | None = None
    why: str = ""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    def with_images(self, images: Interval) -> "Outcome":
        """The same beside an interval over images (`bootstrap_interval`) of the difference, turned alike, or level."""
        return dataclasses.replace(self, images=images)

    @property
    def word_of_images(self) -> str | None:
        """The word that the interval over images would give."""
        return decide(self.kind, *self.images, self.limit) if self.images else None

    @property
    def says(self) -> str:
        """The verdict with what belongs to it, for people."""
        if self.word == NOT_TESTED:
            return f"{NOT_TESTED} ({self.why})"
        said = self.word
        if self.word == INCONCLUSIVE:
            count = f"about {self.needs}" if self.needs else f"more than {MOST_SEEDS}"
            said += f" (needs {count} seeds)"
        other = self.word_of_images
        if other is None or other == self.word:
            return said
        if self.word == INCONCLUSIVE:
            return f"{said}; over images alone: {other}"
        return f"{said}, over seeds alone; over images: {other}"


def not_tested(test: PrimaryTest, why: str) -> Outcome:
    """The outcome of a test that was not made, with its reason."""
    return Outcome(test.kind, NOT_TESTED, limit_of(test), why=why)


def limit_of(test: PrimaryTest) -> float:
    """What an interval is held against: the margin, of a level the bound."""
    return test.bound if test.kind == "level" else test.margin


def judge(test: PrimaryTest, score: Score, rule: TaskRule, runs: pd.DataFrame, *, tests: int) -> Outcome:
    """The outcome of a primary test.

    runs: the task's runs, columns model, seed and the test's; seeds that the rule does not name have no say. tests:
    number of primary tests of all claims. Raises ValueError where a model has two runs of one seed.
    """
    names = [name for name in (test.first, test.second) if name]
    if test.column not in runs:
        return not_tested(test, f"{test.column} was not measured")
    mine = runs[runs["seed"].isin(rule.seeds) & runs["model"].isin(names)]
    if mine.duplicated(["model", "seed"]).any():
        raise ValueError(f"{test.column}: a model has two runs of one seed; give one row per model and seed")
    table = mine.pivot(index="seed", columns="model", values=test.column).reindex(columns=names).dropna()
    if len(table) < rule.least:
        return not_tested(test, f"{len(table)} of at least {rule.least} seeds")
    if test.kind == "level":
        values = table[test.first].to_numpy(float)
        better = float(np.mean(values >= test.bound))
    else:
        first, second = (score.sign * table[name].to_numpy(float) for name in names)
        values, better = first - second, probability_first_better(first, second)
    return _outcome(test, tuple(table.index), values, better, tests)


def _outcome(test, seeds, values, better, tests) -> Outcome:
    limit, mean, sd = limit_of(test), float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(student_half(len(values), sd, tests))
    word = decide(test.kind, mean - half, mean + half, limit)
    return Outcome(
        kind=test.kind,
        word=word,
        limit=limit,
        seeds=seeds,
        values=tuple(values.tolist()),
        low=mean - half,
        high=mean + half,
        p=p_value(test.kind, values, limit),
        better=better,
        needs=seeds_needed(test.kind, mean, sd, limit, tests) if word == INCONCLUSIVE else None,
    )
