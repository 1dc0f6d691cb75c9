"""What a data set's notebook shows: its images and labels, and one trained model."""

import itertools

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

import mccvae_core as core
from data import Dataset

from ..records import SPLITS
from ..runs import Run
from ..settings import Profile
from ..show import figures
from .classification import ACCURACIES

NUMBERS = {  # scores of a number's label, for people
    "error": "mean absolute error",
    "error_of_mean": "that of always the training mean",
    "correlation": "correlation",
}


def known_table(data: Dataset) -> pd.DataFrame:
    """Number of images of each split of which a label is known, and how many of these have it, or what a number's
    values are: one row per label."""
    columns = {}
    for part in SPLITS:
        y = getattr(data, part).labels
        columns[f"{part}, {len(y):,} images"] = [_known(data, i, column) for i, column in enumerate(y.T)]
    return pd.DataFrame({"label": data.labels, **columns})


def _known(data: Dataset, label: int, y: torch.Tensor) -> str:
    y = y[~y.isnan()]
    said, unit = f"{len(y):,} known", data.unit(label)
    if unit is None:
        return f"{said}, {int((y == 1).sum()):,} of them 1"
    if not len(y):
        return said
    low, mean, high = (unit.text(unit.undone(value)) for value in (y.min().item(), y.mean().item(), y.max().item()))
    return f"{said}, from {low} to {high}, mean {mean}"


def scores_of(run: Run) -> pd.DataFrame:
    """One run's scores and losses: a row a score, a column a part of the data."""
    shown = {}
    for part in SPLITS:
        metrics = run.metrics[part]
        scores = {s.replace("_", " "): metrics[s] for s in ACCURACIES if s in metrics}
        for name, one in metrics.get("numbers", {}).items():
            scores |= {f"{name}: {NUMBERS[s]}": one[s] for s in NUMBERS if one[s] is not None}
        shown[f"{part} (n = {metrics['n']:,})"] = scores | {
            "loss, nats": metrics["loss"]["loss_alpha0"],
            "reconstruction, nats": metrics["loss"]["reconstruction"],
        }
    return pd.DataFrame(shown).rename_axis(columns="score")


def finding(run: Run, data: Dataset) -> str:
    """What one trained model reaches on the test part."""
    test = run.metrics["test"]
    what = f"After {run.record['epochs']} epochs {run.spec.title} (seed {run.record['seed']})"
    sentence = f"{what} reconstructs test images at {test['loss']['reconstruction']:,.0f} nats"
    if "accuracy" in test:
        majority = f"always the majority: {100 * test['majority_accuracy']:.1f} %"
        sentence += f" and reads {100 * test['accuracy']:.1f} % of their labels right ({majority})"
    if "argmax_accuracy" in test:
        majority = f"majority: {100 * test['majority_argmax_accuracy']:.1f} %"
        sentence += (
            f"; the most probable one is right for {100 * test['argmax_accuracy']:.1f} % of the images ({majority})"
        )
    for name, one in test.get("numbers", {}).items():
        unit = data.units[data.labels.index(name)]
        if one["error"] is not None:
            error, of_mean = (unit.text(one[s], 1) for s in ("error", "error_of_mean"))
            sentence += f"; {name} is read with a mean absolute error of {error} (always the training mean: {of_mean})"
    return sentence + (f", all on {figures.STAND_IN}." if data.stand_in else ".")


def data_sheet(data: Dataset, profile: Profile) -> None:
    """Meet the data: test images and how often each label is 1, of those that are no numbers."""
    index = figures.examples(data, 10)
    images = core.to_images(data.test.images[index])
    title = figures.caption(f"{data.task.title}: test images", data)
    titles = [figures.label_text(data, data.test.labels[i]) if data.task.exclusive else "" for i in index]
    figures.show(
        figures.sheet({"": images}, title, titles),
        title,
        f"{len(index)} test images of {data.task.title}, one in a column"
        + (f": {', '.join(titles)}" if data.task.exclusive else "")
        + ".",
    )
    if not (binary := data.of_kind("binary")):
        return
    rates = pd.DataFrame(
        {part: getattr(data, part).labels[:, binary].float().nanmean(0).numpy() for part in ("train", "test")},
        index=[data.labels[i] for i in binary],
    )
    fig, ax = plt.subplots(figsize=(6.5, 0.25 * len(rates) + 1.2))
    long = rates.rename_axis("label").reset_index().melt("label", var_name="part", value_name="rate")
    sns.barplot(long, x="rate", y="label", hue="part", ax=ax)
    ax.set(xlabel="share of images with the label", ylabel="", xlim=(0, 1))
    text = figures.caption(f"{data.task.title}: how often each label is 1", data)
    alt = f"{text}. Train: " + ", ".join(f"{label} {rate:.2f}" for label, rate in rates["train"].items()) + "."
    figures.show(fig, text, alt)


def training_curves(run: Run, data: Dataset) -> None:
    """The loss and its terms over the epochs of a run."""
    history = run.history
    panels = {
        "loss and reconstruction": ["labelled_loss", "labelled_reconstruction", "unlabelled_loss"],
        "other terms": [
            "labelled_kl_style",
            "labelled_characteristics",
            "labelled_log_qyx",
            "labelled_log_qyz",
            "labelled_weighting",
        ],
        "weight w": ["labelled_mean_weight"],
    }
    fig, axes = plt.subplots(1, 3, figsize=(11, 3))
    for ax, (title, columns) in zip(axes, panels.items(), strict=True):
        columns = [c for c in columns if c in history]
        long = history.melt("epoch", columns, var_name="term", value_name="value")
        long["term"] = long["term"].str.replace("labelled_", "labelled ").str.replace("_", " ")
        sns.lineplot(
            long, x="epoch", y="value", hue="term", style="term", markers=len(history) < 60, dashes=False, ax=ax
        )
        ax.set(title=title, ylabel="nats per image" if ax is not axes[2] else "mean of w (expectation 1)")
        ax.legend(fontsize=7, title=None)
    first, last = history.iloc[0], history.iloc[-1]
    text = figures.caption(f"{data.task.title}: training of {run.spec.title}, seed {run.record['seed']}", data)
    alt = (
        f"{text}. The labelled loss goes from {first.labelled_loss:.0f} to "
        f"{last.labelled_loss:.0f} nats per image in {len(history)} epochs."
    )
    figures.show(fig, text, alt)


def samples(data: Dataset, model: core.MCCVAE, title: str, count: int = 8) -> None:
    """Images generated from label vectors: a row for each class, or for both values of each label that the paper walks
    along (of every label, where it walks none), of a number for both ends of its walk."""
    eye = torch.eye(len(data.labels))
    if data.task.exclusive:
        wanted = {label: eye[i].repeat(count, 1) for i, label in enumerate(data.labels)}
    else:
        others = data.test.some(count).labels.float().nan_to_num()  # 0: not there, or a number's mean
        wanted = {}
        walked = [label for _, towards in data.task.walks.values() for label in towards]
        for label, end in itertools.product(walked or data.labels, (0, 1)):
            y, i = others.clone(), data.labels.index(label)
            unit = data.unit(i)
            y[:, i] = unit.ends[end] if unit else end
            wanted[f"{label} = {unit.text(unit.undone(unit.ends[end])) if unit else end}"] = y
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(0)
    rows = {name: core.generate(model, y.to(device), generator=noise) for name, y in wanted.items()}
    text = figures.caption(
        f"{data.task.title}: samples of {title}, z_c from the conditional prior of the row's label", data
    )
    figures.show(
        figures.sheet(rows, text), text, f"{text}: {count} generated images in each of the rows {', '.join(rows)}."
    )
