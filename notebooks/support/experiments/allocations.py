"""Where to spend latents: models with as many of them, put in different places. The notebook `allocation`."""

import dataclasses
import math

import numpy as np
import pandas as pd

import mccvae_core as core
from data import Dataset

from .. import runs, training
from ..measures import allocation as allocating
from ..runs import Run
from ..settings import ModelSpec, Profile
from ..show.numbers import decimal, listed
from .characteristics import NATS, SCORES, mean_scores
from .codes import about_codes
from .exchange import costs
from .paired_seeds import paired, verdict
from .where_found import found_in_blocks


def where_needed(data: Dataset, run: Run) -> tuple[int, ...]:
    """(k_1, …, k_L) with as many characteristics as k = 2 has, from the validation part of a trained k = 1 model."""
    model, part = run.model(), data.validation
    confusion = allocating.misreading(core.predict(model, part.images), part.labels)
    errors = allocating.reconstruction_by_label(model, part.images, part.labels)
    return allocating.allocate_characteristics(confusion, errors, 2 * len(data.labels))


def at_random(labels: int, seed: int) -> tuple[int, ...]:
    """As many characteristics, each beyond the first of a label put at random."""
    extra = np.random.default_rng([seed, 5]).integers(0, labels, labels)
    return tuple(int(v) for v in 1 + np.bincount(extra, minlength=labels))


def train_allocations(profile: Profile, task: str, base: str, seed: int) -> dict[str, Run]:
    """k = 1, k = 2, the same total in style, the total where it is needed, and the total at random: all trained, by
    what they are.

    base: options that all share, such as "-rb300"; "" for the official estimator.
    """
    data = runs.load_data(profile, task)

    def train(base_model, **changes):
        spec = dataclasses.replace(ModelSpec.parse(f"{base_model}{base}"), **changes)
        return training.train(profile, task, spec.name, seed, data)

    def several(k):  # two everywhere is MCCVAE itself
        return train("mccvae", k=None if set(k) == {2} else k)

    one = train("ccvae")
    style = data.task.style_dim + len(data.labels)
    return {
        "k = 1": one,
        "k = 2": train("mccvae"),
        "all in style": train("ccvae_more_style")
        if style == data.task.more_style_dim
        else train("ccvae", style_dim=style),
        "where needed": several(where_needed(data, one)),
        "at random": several(at_random(len(data.labels), seed)),
    }


def allocation_table(data: Dataset, trained: dict[str, Run]) -> pd.DataFrame:
    """A row a way to spend the latents: test accuracy, test loss by rao-blackwell and labels and parts found in their
    own block."""
    rows = []
    for way, run in trained.items():
        found = found_in_blocks(data, run)
        about = about_codes(run, data) | {"way": way, "k": " ".join(map(str, run.record["characteristics"]))}
        rows.append(about | costs(run) | {"label_own": found["label"], "part_own": found.get("part", math.nan)})
    return pd.DataFrame(rows)


def allocation_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`allocation_table` for showing: mean ± sd over seeds, and the k of the first seed."""
    grouped = table.groupby(["task_title", "way"], sort=False)
    shown = grouped.agg(latents=("latents", "first"), k=("k", "first"), seeds=("seed", "size")).reset_index()
    shown = mean_scores(shown, grouped, ["test_accuracy", "test_bound", "test_reconstruction", "label_own", "part_own"])
    return shown.rename(columns={"task_title": "task", "way": "way to spend them", "k": "k by label (first seed)"})


def allocation_comparison(table: pd.DataFrame) -> pd.DataFrame:
    """`where needed` against every other way, paired over seeds."""
    rows = []
    for task, part in table.assign(model=table["way"]).groupby("task_title", sort=False):
        for way in ("k = 1", "k = 2", "all in style", "at random"):
            for value in ("test_accuracy", "test_bound", "part_own"):
                test = paired(part, value, "where needed", way)
                if test:
                    about = {"task_title": task, "first": "where needed", "second": way, "value": value}
                    rows.append(about | test | {"verdict": verdict(test, SCORES[value][1])})
    return pd.DataFrame(rows)


def finding(comparison: pd.DataFrame) -> str:
    """Does it help to put latents where they are needed? Only differences that can be told are named."""
    if comparison.empty:
        return "There was nothing to compare."
    if comparison["n"].max() < 2:
        rows = comparison[(comparison["value"] == "test_accuracy") & (comparison["second"] == "k = 2")].itertuples()
        seen = listed(f"{r.first_mean:.3f} against {r.second_mean:.3f} of k = 2 on {r.task_title}" for r in rows)
        return (
            "From one seed it can't be told whether latents help where a model with one each "
            f"fails; test accuracy with them is {seen}."
        )
    told = comparison[comparison["verdict"].isin(["better", "worse"])]
    named = [
        f"{r.verdict} than “{r.second}” on {r.task_title} in {SCORES[r.value][0]} "
        f"({_mean(r.value, r.first_mean)} against {_mean(r.value, r.second_mean)})"
        for r in told.itertuples()
    ]
    what = listed(named) if named else "neither better nor worse than any other way"
    seeds = listed(f"{n}" for n in sorted(set(comparison["n"])))
    return (
        f"Latents put where a model with one each fails are {what}; {len(told)} of "
        f"{len(comparison)} differences can be told, over {seeds} paired seeds."
    )


def _mean(value: str, mean: float) -> str:
    return decimal(mean, 1 if value in NATS else 3)
