"""The report's body: of each question the one figure that answers it and the sentences that numbers make, from records.

The runs that decide the claims bring what moves of a block change (`deciding_scores`); all else is of the report's own
runs. Models have names in words here: one with the paper's settings its name, one trained by the unbiased estimator
"without bias".
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from data import TASKS

from ..claims import claim_scores, preregistration
from ..runs import Run
from ..settings import ModelSpec
from ..show import figures
from ..show.numbers import signed
from ..show.strips import Panel, Row

LINEAR = "linear model"  # principal components and logistic regression
NO_LINEAR = pd.DataFrame({"what": []})
MOVES = ("along", "across")  # of a label's block
SECTIONS = {  # of each experiment: its place in the page of details
    "classification": "Classification",
    "reconstruction": "Reconstruction",
    "intervention": "Intervention",
    "characteristics": "What-the-latents-hold",
}
SIDES = {"label_own": "own latents", "label_others": "other labels'", "label_style": "style"}
READINGS = {  # of the deciding runs; label_labels: what the other labels themselves tell, without an image
    "label_own": "auc_own",
    "label_others": "auc_others",
    "label_style": "auc_style",
    "label_labels": "auc_labels",
}


WITHOUT_BIAS = "without bias"  # of a model's name in words
TELL_ALL = 0.995  # AUC from which labels tell all, since they exclude one another


def in_words(spec: ModelSpec) -> str | None:
    """A model's name for a reader who knows no options; None for one that the body leaves out."""
    title, plain = ModelSpec.parse(spec.base).title, dataclasses.replace(spec, label_weight=None, rate_factor=1.0)
    if plain.name != spec.base or (spec.label_weight is None and spec.rate_factor != 1):
        return None
    return title if spec.label_weight is None else f"{title}, {WITHOUT_BIAS}"


def _by_task(trained: Iterable[Run]) -> dict[str, dict[ModelSpec, list[Run]]]:
    """The runs of the models that have names in words, by task and model."""
    found: dict[str, dict[ModelSpec, list[Run]]] = {}
    for run in trained:
        if in_words(run.spec):
            found.setdefault(run.record["task"], {}).setdefault(run.spec, []).append(run)
    return found


def score_panels(trained: list[Run], what: str, read: Callable[[Run], float | None], **options) -> list[Panel]:
    """A score of every run, a panel per task, a row per model. what: the score with its unit. options: of `Panel`,
    beside line, which may be a function of a task's runs."""
    line = options.pop("line", lambda runs: None)
    colours = figures.colours([run.record["task"] for run in trained], [run.spec.title for run in trained])
    panels = []
    for task, models in _by_task(trained).items():
        rows = []
        for spec, runs in models.items():
            values = tuple(float(v) for v in map(read, runs) if v is not None)
            if values:
                rows.append(Row(in_words(spec), values, colours[spec.title]))
        if rows:
            every = [run for runs in models.values() for run in runs]
            panels.append(Panel(f"{TASKS[task].title}: {what}", rows, line=line(every), **options))
    return panels


def _with_rows(panels: list[Panel], task: str, *, before: Iterable[Row] = (), after: Iterable[Row] = ()) -> list[Panel]:
    """The panels, a task's with more rows."""
    opens = f"{TASKS[task].title}: "
    more = lambda panel: dataclasses.replace(panel, rows=[*before, *panel.rows, *after])  # noqa: E731
    return [more(panel) if panel.title.startswith(opens) else panel for panel in panels]


def gap_sentence(trained: list[Run], what: str, read: Callable[[Run], float], digits: int) -> str:
    """A score's mean of MCCVAE minus that of CCVAE, per task; nothing where one of them is missing."""
    said = []
    for task, models in _by_task(trained).items():
        pair = {spec.name: runs for spec, runs in models.items() if spec.name in ("ccvae", "mccvae")}
        if len(pair) == 2:
            means = {name: np.mean([read(run) for run in runs]) for name, runs in pair.items()}
            gap = signed(float(means["mccvae"] - means["ccvae"]), digits)
            said.append(f"{gap} on {TASKS[task].title}")
    return f"{what}, MCCVAE minus CCVAE: {', '.join(said)}." if said else ""


def linear_ahead(panels: Iterable[Panel]) -> str:
    """Where a linear model's row lies above every seed of its panel's models; nothing where it does nowhere."""
    ahead = []
    for panel in panels:
        linear = [row.mean for row in panel.rows if row.name == LINEAR]
        others = [value for row in panel.rows if row.name != LINEAR for value in row.values]
        if linear and linear[0] > max(others, default=math.inf):
            ahead.append(panel.title.partition(":")[0])
    return f"A linear model with as many numbers is ahead on {' and '.join(ahead)}." if ahead else ""


def _with_linear(panels: list[Panel], linear: pd.DataFrame, score: str) -> list[Panel]:
    """The panels with a row of a linear model that has as many numbers per image as CCVAE latents. linear:
    baselines.csv."""
    for row in linear[(linear["what"] == "linear")].itertuples():
        if "ccvae" in str(row.models).split() and not np.isnan(value := getattr(row, score)):
            panels = _with_rows(panels, row.task, after=[Row(LINEAR, (float(value),), "#555555")])
    return panels


def accuracy_of(run: Run) -> float | None:
    return run.metrics["test"].get("accuracy")


def psnr_of(run: Run) -> float | None:
    return run.metrics["test"].get("psnr")


def accuracy_panels(trained: list[Run], linear: pd.DataFrame = NO_LINEAR) -> list[Panel]:
    def majority(runs):
        found = [run.metrics["test"].get("majority_accuracy") for run in runs]
        return (float(np.mean([v for v in found if v is not None])), "always the more frequent value")

    return _with_linear(
        score_panels(trained, "test accuracy per label", accuracy_of, line=majority), linear, "accuracy"
    )


def psnr_panels(trained: list[Run], linear: pd.DataFrame = NO_LINEAR) -> list[Panel]:
    return _with_linear(score_panels(trained, "PSNR of test images, dB", psnr_of, digits=1), linear, "psnr")


def readings(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """characteristics.csv, where of tasks with deciding runs these stand, by their scores (`deciding_scores`)."""
    rows = []
    means = scores[(scores["coordinates"] == "") & (scores["label"] == "") & (scores["split"] == "test")]
    for (task, model, _), mine in means.groupby(["task", "model", "seed"], sort=False):
        value = mine.set_index("score")["value"]
        about = {"task_title": TASKS[task].title, "model": model}
        about["model_title"] = ModelSpec.parse(model).title
        if READINGS["label_own"] in value:
            rows.append(about | {column: value.get(score, math.nan) for column, score in READINGS.items()})
    others = table[~table["task_title"].isin([TASKS[task].title for task in scores["task"].unique()])]
    return pd.concat([pd.DataFrame(rows), others], ignore_index=True) if rows else table


def reading_panels(table: pd.DataFrame) -> list[Panel]:
    """How well a label is read from its own latents, from other labels' and from style, a row per model and place; and
    from the other labels themselves. A panel per task. table: `readings`."""
    table = table[table["model"].isin(("ccvae", "mccvae"))]
    colours, panels = figures.colours([], []), []
    for task, part in table.groupby("task_title", sort=False):
        rows = []
        for title, mine in part.groupby("model_title", sort=False):
            for column, place in SIDES.items():
                values = tuple(mine[column].dropna())
                if values:
                    rows.append(Row(f"{title}, {place}", values, colours[title]))
        # labels that exclude one another tell all, and would hide the question
        others = part.get("label_labels", pd.Series(dtype=float)).dropna()
        for value in others[others < TELL_ALL].head(1):  # all models have the same
            rows.append(Row("the other labels themselves", (float(value),), "#555555"))
        title = f"{task}: area under the curve for a label"
        panels.append(Panel(title, rows, digits=2, line=(0.5, "chance"), limits=(0.45, 1.0)))
    return panels


# --- what moves of a block change, by the runs that decide -----------------------------------------------------


def deciding_scores(folder: Path) -> pd.DataFrame:
    """Every score of the deciding runs with the weights that decide: columns task, model, seed, coordinates, label,
    score, value. Without runs a table without rows."""
    claims, frames = preregistration.read(), []
    for task, rule in claims.tasks.items():
        for file in sorted((folder / task).glob(f"*/seed*/scores/{claim_scores.TABLE}")):
            model, seed = file.parts[-4], int(file.parts[-3].removeprefix("seed"))
            if seed in rule.seeds:
                table = claim_scores.read_table(file)
                frames.append(table[table["weights"] == rule.epoch].assign(task=task, model=model, seed=seed))
    columns = ["task", "model", "seed", "coordinates", "label", "split", "score", "value"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def _moved(scores: pd.DataFrame, task: str, model: str, kind: str, score: str) -> tuple[float, ...]:
    """A score of one kind of move, mean over labels and judges, a number per seed."""
    at = {"task": task, "model": model, "coordinates": kind, "label": "", "score": score}
    mine = scores[np.logical_and.reduce([scores[name] == value for name, value in at.items()])]
    return tuple(mine["value"])


def move_panels(scores: pd.DataFrame) -> list[Panel]:
    """What a move along or across changes: of the label, and of the picture; two panels per task."""
    colours, panels = figures.colours([], []), []
    whats = {
        "change": "change of the label's probability, by judges",
        "pixels": "change of a pixel, share of its range",
    }
    for task in dict.fromkeys(scores["task"]):
        for score, what in whats.items():
            rows = []
            for model in ("ccvae", "mccvae"):
                title = ModelSpec.parse(model).title
                for kind in MOVES:
                    if values := _moved(scores, task, model, kind, score):
                        rows.append(Row(f"{title}, {kind}", values, colours[title]))
            if rows:
                high = 1.15 * max(max(row.values) for row in rows)
                panels.append(Panel(f"{TASKS[task].title}: {what}", rows, limits=(0.0, high)))
    return panels


def second_latent(scores: pd.DataFrame) -> str:
    """One sentence: what a label's second latent does, beside its first; nothing without runs."""
    said, more = [], []
    for task in dict.fromkeys(scores["task"]):
        at = {
            (kind, score): np.mean(_moved(scores, task, "mccvae", kind, score))
            for kind in MOVES
            for score in ("change", "pixels")
            if _moved(scores, task, "mccvae", kind, score)
        }
        if len(at) < 4:
            continue
        label = at["across", "change"] / at["along", "change"]
        picture = at["across", "pixels"] / at["along", "pixels"]
        more.append(picture > 1 > label)
        title = TASKS[task].title
        first = f"{picture:.1f} times the pixels and {label:.1f} times the label on {title}"
        said.append(f"{picture:.1f} and {label:.1f} on {title}" if said else first)
    if not said:
        return ""
    opens = "Across the direction that the classifier reads, a label's latents change"
    if all(more):
        opens = "The second latent is mostly style. Across the direction that the classifier reads, the picture changes"
        opens += " more than along it, and the label less"
    return f"{opens}: {'; '.join(said)}."


def rests_on(trained: list[Run]) -> str:
    """Images, steps and seeds of the runs, one clause per data set."""
    said = []
    for task in dict.fromkeys(run.record["task"] for run in trained):
        mine = [run for run in trained if run.record["task"] == task]
        n, seeds = mine[0].record["data"]["n"], {run.record["seed"] for run in mine}
        steps = sorted({run.record["epochs"] * math.ceil(n["train"] / run.record["batch_size"]) for run in mine})
        many = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        said.append(
            f"{TASKS[task].title}, {n['train']:,} images to train on and {n['test']:,} to test, {many} steps, "
            f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        )
    return "; ".join(said)


# --- sentences ---


def hidden_weight(table: pd.DataFrame) -> str:
    """How large the label weight is that official hides on the encoder. table: objective.csv."""
    official = table[table["estimator"] == "official"].drop_duplicates(["task_title", "model_title"])
    weight, loss = official["slope"], official["minus_f"]
    return (
        f"In {len(official)} trained models the hidden weight of a label is {weight.min():,.0f} to "
        f"{weight.max():,.0f}, about the loss that w multiplies ({loss.min():,.0f} to {loss.max():,.0f} nats). The "
        "objective's own weight is 1."
    )


def bias_effect(trained: list[Run]) -> str:
    """What training without the bias changes in MCCVAE, mean over pairs of a seed per task; nothing where no task has
    two."""
    said = []
    for task, models in _by_task(trained).items():
        named = {in_words(spec): {run.record["seed"]: run for run in runs} for spec, runs in models.items()}
        biased, unbiased = named.get("MCCVAE", {}), named.get(f"MCCVAE, {WITHOUT_BIAS}", {})
        if len(seeds := sorted(set(biased) & set(unbiased))) < 2:
            continue
        loss = lambda run: run.metrics["test"]["bound"]["loss_alpha0"]  # noqa: E731
        gap = lambda read: float(np.mean([read(unbiased[s]) - read(biased[s]) for s in seeds]))  # noqa: E731, B023
        changes = (
            f"{signed(gap(loss), 0)} nats, {signed(gap(psnr_of), 1)} dB, {signed(100 * gap(accuracy_of), 1)} points"
        )
        said.append(f"{changes} on {TASKS[task].title} ({len(seeds)} pairs)")
    opens = "Trained without bias, by the objective's own gradient and a label weight chosen on validation images, "
    return f"{opens}MCCVAE's test loss, PSNR and accuracy change by {'; '.join(said)}." if said else ""


def kept_apart(table: pd.DataFrame) -> str:
    """Whether other labels' latents tell a label better than these labels themselves, where that can be answered.
    table: `readings`."""
    said = []
    if "label_labels" not in table:
        return ""
    for title, part in table[table["label_labels"] < TELL_ALL].groupby("task_title", sort=False):
        by_model = part.groupby("model")["label_others"].mean().reindex(["ccvae", "mccvae"]).dropna()
        found = " and ".join(f"{value:.2f} ({ModelSpec.parse(model).title})" for model, value in by_model.items())
        labels = part["label_labels"].mean()
        more = "are not kept apart" if (by_model > labels).all() else "may be kept apart"
        said.append(
            f"On {title} blocks {more}: other labels' latents tell a label at {found}, the labels at {labels:.2f}."
        )
    return " ".join(said)
