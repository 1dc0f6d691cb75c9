"""The judges: a network per task that reads labels and factors from images, and how well it does: table `judge`."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from data import Dataset, Split

from .. import runs
from ..measures import judge as judging
from ..measures import latents
from ..show.numbers import listed

JUDGE_STEPS, JUDGE_EPOCHS = 1_000, 15  # of 64 images, no more than so many epochs

READ = 0.01  # what a judge's accuracy must have over the majority's


def factors(split: Split) -> torch.Tensor:
    """(N, F): the parts, then the style of drawn images."""
    return torch.cat([split.parts, split.style], dim=1)


def factor_owner(data: Dataset) -> np.ndarray:
    """(F,): the label of each factor, STYLE for style."""
    return np.array([*data.part_label, *[latents.STYLE] * len(data.style_names)], dtype=int)


def train_judge(data: Dataset, seed: int = 0) -> judging.Judge:
    """The task's judge: about JUDGE_STEPS steps on the training part.

    A set too small for these gets JUDGE_EPOCHS of half batches: as many steps as twice the epochs, the same scores,
    half the time."""
    train = data.train
    epochs = judging.judge_epochs(len(train), JUDGE_STEPS, JUDGE_EPOCHS)
    batch_size = 32 if epochs == JUDGE_EPOCHS else 64
    images, labels = train.images, train.labels
    return judging.fit_judge(images, labels, factors(train), epochs=epochs, seed=seed, batch_size=batch_size)


class Judges(dict):
    """task -> its judge, trained when first asked for; that of published runs is kept, so that all of them have the
    same."""

    def __init__(self, data: runs.Datasets):
        super().__init__()
        self.data = data

    def __missing__(self, task: str) -> judging.Judge:
        folder = self.data.profile.folder
        file = runs.runs_below(folder) / task / "judge.safetensors"
        if runs.is_published(folder) and file.exists():
            self[task] = judging.load_judge(file)
        else:
            self[task] = train_judge(self.data[task])
            if runs.is_published(folder):
                judging.save_judge(file, self[task])
        return self[task]


def judge_tables(tasks: Iterable[str], data: runs.Datasets, judges: Judges) -> pd.DataFrame:
    """`judge_table` of each task; of the published runs it is kept."""
    tables = [
        runs.kept(
            runs.runs_below(data.profile.folder) / task / "judge.csv",
            lambda task=task: judge_table(data[task], judges[task]),
        )
        for task in tasks
    ]
    return pd.concat(tables, ignore_index=True)


def judge_table(data: Dataset, judge: judging.Judge) -> pd.DataFrame:
    """The judge's own test scores: a row a label (accuracy, majority's beside it), part or style factor (R²; of a part
    also among the images that have its label)."""
    accuracy, r2 = judging.judge_scores(judge, data.test.images, data.test.labels, factors(data.test))
    within = {latents.STYLE: np.full(len(r2), math.nan)}
    for label in set(data.part_label):
        mine = data.test.take(np.flatnonzero(data.test.labels[:, label]))
        within[label] = judging.judge_scores(judge, mine.images, mine.labels, factors(mine))[1]
    rate = data.test.labels.float().mean(0).numpy()
    about = {"task_title": data.task.title, "stand_in": data.stand_in, "n": len(data.test)}
    rows = [
        about | {"target": name, "kind": "label", "accuracy": a, "majority": max(p, 1 - p)}
        for name, a, p in zip(data.labels, accuracy, rate, strict=True)
    ]
    names = [*data.part_names, *data.style_names]
    for f, (name, owner) in enumerate(zip(names, factor_owner(data), strict=True)):
        kind = "style" if owner == latents.STYLE else "part"
        rows.append(about | {"target": name, "kind": kind, "r2": r2[f], "r2_within": within[owner][f]})
    return pd.DataFrame(rows)


def judge_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`judge_table` for showing: a row a task and kind, mean and lowest score, and the labels that it can't judge: read
    less than READ better than by the majority's answer."""
    rows = []
    for (task, kind), part in table.groupby(["task_title", "kind"], sort=False):
        value, score = ("accuracy", "accuracy") if kind == "label" else ("r2", "R²")
        worst = part.loc[part[value].idxmin()]
        row = {"task": task, "reads": f"{kind}: {len(part)}", "score": score, "mean": part[value].mean()}
        row |= {"lowest": f"{worst[value]:.3f} ({worst['target'].replace('_', ' ')})"}
        if kind == "label":
            unread = part.loc[part["accuracy"] < part["majority"] + READ, "target"].str.replace("_", " ")
            row |= {"majority": part["majority"].mean(), "hardly better than the majority": listed(unread) or "none"}
        if kind == "part":
            row |= {"among images with the label": part["r2_within"].mean()}
        rows.append(row)
    return pd.DataFrame(rows)
