"""Differences between models, paired over seeds, with their verdicts: table `comparison`."""

import dataclasses
import math

import pandas as pd

from ..settings import ModelSpec
from ..show.numbers import decimal, interval
from ..show.tables import named_columns
from .characteristics import NATS, SCORES

COMPARED = (
    "part_own", "effective_latents", "label_own", "label_style", "label_diagonal", "swap_taken", "sample_accuracy",
    "sample_kid",
    "test_accuracy", "test_bound",
)  # fmt: skip


def paired(table: pd.DataFrame, value: str, first: str, second: str) -> dict | None:
    """Difference first − second of a value over the seeds that both models have: both means, their difference, its
    95 % interval (Student), n; None without a pair."""
    from scipy import stats

    pivot = table.pivot_table(index="seed", columns="model", values=value)
    if not {first, second} <= set(pivot.columns):
        return None
    pivot = pivot[[first, second]].dropna()
    if pivot.empty:
        return None
    d = pivot[first] - pivot[second]
    half = stats.t.ppf(0.975, len(d) - 1) * d.std() / math.sqrt(len(d)) if len(d) > 1 else math.nan
    means = {"first_mean": pivot[first].mean(), "second_mean": pivot[second].mean()}
    return means | {"difference": d.mean(), "low": d.mean() - half, "high": d.mean() + half, "n": len(d)}


def verdict(test: dict, better: int = 0) -> str:
    """In words: better or worse, where a score has a better side (SCORES), else more or less; or not to be told."""
    if test["n"] < 2:
        return "can't be told from one seed"
    sign = 1 if test["low"] > 0 else -1 if test["high"] < 0 else 0
    if not sign:
        return "no difference can be told"
    return {1: "better", -1: "worse", 0: {1: "more", -1: "less"}[sign]}[sign * better]


def comparison_table(table: pd.DataFrame) -> pd.DataFrame:
    """`paired` of each pair of `as_many_latents` and `variants`, and of each of COMPARED, on each task, with its
    verdict."""
    rows = []
    for task, part in table.groupby("task_title", sort=False):
        for first, second in as_many_latents(part) + variants(part):
            for value in COMPARED:
                if value in part and (test := paired(part, value, first, second)):
                    titles = {"first": ModelSpec.parse(first).title, "second": ModelSpec.parse(second).title}
                    rows.append(
                        {"task_title": task}
                        | titles
                        | {"value": value}
                        | test
                        | {"verdict": verdict(test, SCORES[value][1])}
                    )
    columns = [
        "task_title",
        "first",
        "second",
        "value",
        "first_mean",
        "second_mean",
        "difference",
        "low",
        "high",
        "n",
        "verdict",
    ]
    return pd.DataFrame(rows, columns=columns)


def comparison_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`comparison_table` for showing."""
    digits = [1 if value in NATS else 3 for value in table["value"]]
    shown = table.assign(
        value=[SCORES[value][0] for value in table["value"]],
        interval=[interval(r.low, r.high, d) for r, d in zip(table.itertuples(), digits, strict=True)],
        **{
            name: [decimal(v, d) for v, d in zip(table[name], digits, strict=True)]
            for name in ("first_mean", "second_mean", "difference")
        },
    )
    names = {
        "task_title": "task", "first": "model", "second": "against", "value": "score", "first_mean": "the model's",
        "second_mean": "the other's",
        "difference": "difference", "interval": "95 % interval", "n": "seeds", "verdict": "verdict",
    }  # fmt: skip
    return named_columns(shown, names)


def as_many_latents(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (MCCVAE, CCVAE) that differ in where they have their latents and not in how many, on every task that has
    both."""
    totals = table.groupby("model")["latents"].agg(lambda v: tuple(sorted(set(v))))
    specs = {name: ModelSpec.parse(name) for name in table["model"].unique()}
    return [
        (one, two)
        for one, a in specs.items()
        for two, b in specs.items()
        if a.base == "mccvae"
        and b.base.startswith("ccvae")
        and b == dataclasses.replace(a, base=b.base, k=b.k, style_dim=b.style_dim)
        and totals[one] == totals[two]
    ]


def variants(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (variant, plain): each MCCVAE with an option of `settings.OPTIONS` for its block, or other style, against
    the same model without it, and one without such an option but of the estimator rao-blackwell against the official
    one."""
    pairs = []
    for name in table["model"].unique():
        spec = ModelSpec.parse(name)
        plain = dataclasses.replace(spec, start_std=0.0, block_penalty=0.0, block_prior="diagonal", style_dim=None)
        if spec == plain:
            plain = dataclasses.replace(spec, label_weight=None, rate_factor=1.0)
        if spec.base == "mccvae" and spec != plain and plain.name in set(table["model"]):
            pairs.append((name, plain.name))
    return pairs
