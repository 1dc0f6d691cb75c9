"""What stands behind an answer: measure, limit, interval and seeds of each test, and how its models were trained."""

import numpy as np
import pandas as pd

from data import TASKS

from ..claims import verdicts
from ..claims.decided import Decided, Trained
from ..claims.preregistration import PAPER, Claim
from ..show.numbers import decimal
from . import forest
from .answers import seeds_text

LINEAR = {"train_accuracy": "train_accuracy", "test_accuracy": "accuracy", "test_psnr": "psnr"}  # -> of baselines


def numbers(claim: Claim, found: list[Decided], tests: int, beside: pd.DataFrame | None = None) -> list[str]:
    """What stands behind an answer, a line each. beside: `baselines.read`."""
    lines = [_paper(claim)]
    if claim.why_here:
        lines.append(claim.why_here)
    for one in found:
        lines.append(f"{TASKS[one.test.task].title}, {_measure(one)}: {one.outcome.says}. {_limit(one)}")
        if one.outcome.seeds:
            lines += [_statistics(one, tests), *_beside(one, beside), _training(one)]
    lines += [f"{TASKS[task].title}, no test: {why}." for task, why in claim.untested.items()]
    if claim.secondary:
        lines.append(f"Measured beside it, exploratory: {'; '.join(claim.secondary)}.")
    return [*lines, f"Written on {claim.written}, before the runs that decide."]


def _paper(claim: Claim) -> str:
    if claim.numbers is None:
        return f"The paper shows: {claim.shows}."
    table, models = PAPER[claim.numbers.table], (claim.numbers.lower, claim.numbers.higher)
    said = []
    for task in claim.numbers.differences():
        each = [f"{table[model][task]:g} ({forest.model_title(model)})" for model in models]
        said.append(f"{TASKS[task].title} {' and '.join(each)}")
    return f"The paper's {claim.numbers.table.replace('_', ' ').capitalize()}: {'; '.join(said)}."


def _measure(one: Decided) -> str:
    where = f", {one.test.coordinates}" if one.test.coordinates else ""
    label = f", label {one.test.label}" if one.test.label else ""
    return f"{one.score.says.rstrip('.')} ({one.test.split} images, {one.rule.epoch} weights{where}{label})"


def _limit(one: Decided) -> str:
    return f"{forest.limit_text(one).capitalize()}: {one.test.why}"


def _statistics(one: Decided, tests: int) -> str:
    """Interval, seeds, P(A > B) and p of a test that was made, in the score's own unit."""
    outcome, digits = one.outcome, 1 if one.score.unit == "nats" else 3
    level = 100 * (1 - verdicts.ALPHA / tests)
    turned = 1 if one.test.kind == "level" else one.score.sign  # outcomes have more for what the claim says

    def interval(ends):
        return " to ".join(decimal(end, digits) for end in sorted(turned * end for end in ends))

    each = ", ".join(decimal(turned * value, digits) for value in outcome.values)
    said = f"Mean {decimal(turned * outcome.mean, digits)}, {level:.1f} % interval over {seeds_text(one)} "
    said += f"{interval((outcome.low, outcome.high))} ({one.precision}; each: {each})"
    if outcome.images:
        said += f"; over {one.test.split} images {interval(outcome.images)}"
    else:
        said += f"; none over {one.test.split} images, which needs the runs' weights"
    better = "share of seeds that reach the bound" if one.test.kind == "level" else "P(first better)"
    return f"{said}; {better} {decimal(outcome.better, 2)}; Holm's p {_p(one.holm)}."


def _beside(one: Decided, beside: pd.DataFrame | None) -> list[str]:
    """What principal components with as many numbers as the models have latents reach in a test's own score."""
    column = LINEAR.get(one.test.column)
    if beside is None or column is None:
        return []
    mine, said = beside[(beside["what"] == "linear") & (beside["task"] == one.test.task)], []
    for model in one.models:
        title = forest.model_title(model)
        reached = [row[column] for _, row in mine.iterrows() if model in row["models"].split()]
        said += [f"{decimal(value, 3)} with as many numbers as {title} has latents" for value in reached]
    how = "PCA" if one.test.score == "psnr" else "PCA, read by logistic regression"
    return [f"{how}: {', '.join(said)}."] if said else []


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else decimal(value, 3)


def _training(one: Decided) -> str:
    """How far each model was trained."""
    best = "; scored are the weights where it was lowest" if one.rule.epoch == "best" else ""
    return f"Training: {'; '.join(_trained(name, one.trained[name]) for name in one.models)}{best}."


def _trained(name: str, far: Trained) -> str:
    if np.isnan(far.fall):
        change = "validation loss not recorded"
    else:
        way = "fell" if far.fall >= 0 else "rose"
        change = f"validation loss {way} by {decimal(abs(far.fall), 1)} nats in the last tenth"
    return f"{forest.model_title(name)}'s {change}, its priors lie {decimal(far.separation, 2)} sd apart"
