"""Where a disease would show (section 1's hope): the change that a walk from normal to a disease makes, by lung
field."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import ndimage

import mccvae_core as core
from data import Dataset

from ..runs import Run
from ..settings import Profile
from ..show.figures import caption, picture, show

HEALTHY = "normal"
STARTS = 64  # healthy test images that the walks start from


def lung_fields(data: Dataset) -> np.ndarray:
    """Both lungs in the mean of the healthy training images, (H, W) of bool: the two largest dark patches of its
    middle.

    A template, the same for every image: where lungs are on average, not where one child's are."""
    healthy = data.train.images[data.train.labels[:, data.labels.index(HEALTHY)] == 1]
    mean = healthy.float().mean((0, 1)).numpy()
    side = len(mean)
    middle = np.zeros_like(mean, dtype=bool)
    middle[round(0.17 * side) : round(0.83 * side), round(0.15 * side) : round(0.85 * side)] = True
    dark = ndimage.binary_opening((mean < np.median(mean[middle])) & middle, iterations=3)
    patches, _ = ndimage.label(dark)
    size = np.bincount(patches.ravel())[1:]
    return np.isin(patches, 1 + np.argsort(size)[-2:])


def disease_maps(data: Dataset, model: core.MCCVAE) -> dict[str, np.ndarray]:
    """Disease -> mean absolute change (H, W) of healthy test images when their labels walk from normal to it, end to
    end."""
    healthy = data.test.take(np.flatnonzero(data.test.labels[:, data.labels.index(HEALTHY)])).some(STARTS)
    z, maps = core.posterior(model, healthy.images).loc, {}
    for disease in (label for label in data.labels if label != HEALTHY):
        towards = {data.labels.index(HEALTHY): 0, data.labels.index(disease): 1}
        first, last = core.latent_walk(model, z, towards, steps=2).images
        maps[disease] = (last - first).abs().mean((0, 1)).cpu().numpy()
    return maps


COLUMNS = (
    "task",
    "task_title",
    "stand_in",
    "model",
    "model_title",
    "seed",
    "disease",
    "lungs",
    "area",
    "share_left",
    "share_right",
)


def lung_table(data: dict[str, Dataset], trained: list[Run]) -> pd.DataFrame:
    """`lung_rows` of every run; data by task. Those of published runs are kept."""
    tables = [
        run.scores("lungs", lambda run=run: pd.DataFrame(lung_rows(data[run.record["task"]], run))) for run in trained
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def lung_rows(data: Dataset, run: Run) -> list[dict]:
    """A row a disease: `lungs`, the mean change in the lung fields as a multiple of that in the rest of the picture,
    and each lung's share of the change (left and right of the picture, so the patient's right and left)."""
    fields, rows = lung_fields(data), []
    left = np.arange(fields.shape[1]) < fields.shape[1] / 2
    about = {"task": data.task.name, "task_title": data.task.title, "stand_in": data.stand_in, "model": run.spec.name}
    about |= {"model_title": run.spec.title, "seed": run.record["seed"]}
    for disease, change in disease_maps(data, run.model()).items():
        shares = {
            f"share_{name}": change[fields & side].sum() / change.sum()
            for name, side in (("left", left), ("right", ~left))
        }
        rows.append(
            about
            | {"disease": disease, "lungs": change[fields].mean() / change[~fields].mean(), "area": fields.mean()}
            | shares
        )
    return rows


def lung_columns(table: pd.DataFrame) -> pd.DataFrame:
    """For showing: means over seeds."""
    keys = ["task_title", "model_title", "disease"]
    mean = table.groupby(keys, sort=False)[["lungs", "share_left", "share_right", "area"]].mean().reset_index()
    names = {"task_title": "task", "model_title": "model", "lungs": "change in lungs, times that elsewhere"}
    names |= {
        "share_left": "share in the left field",
        "share_right": "in the right",
        "area": "lungs' share of the picture",
    }
    return mean.rename(columns=names)


def lung_figure(data: Dataset, models: dict[str, core.MCCVAE], profile: Profile) -> None:
    """Maps of change, a row a disease and a column a model, the lung fields outlined; a healthy test image beside
    them."""
    fields, maps = lung_fields(data), {title: disease_maps(data, model) for title, model in models.items()}
    diseases = [label for label in data.labels if label != HEALTHY]
    largest = max(change.max() for one in maps.values() for change in one.values())
    fig, axes = plt.subplots(
        len(diseases), 1 + len(maps), figsize=(1.8 * (1 + len(maps)) + 0.8, 1.9 * len(diseases) + 0.6), squeeze=False
    )
    example = core.to_images(
        data.test.take(np.flatnonzero(data.test.labels[:, data.labels.index(HEALTHY)])).images[:1]
    )[0]
    for line, disease in zip(axes, diseases, strict=True):
        picture(line[0], example)
        for ax, (title, one) in zip(line[1:], maps.items(), strict=True):
            picture(ax, torch.from_numpy(one[disease])[None], cmap="cividis", vmax=largest)
            ax.set_title(title if disease == diseases[0] else "")
        for ax in line:
            ax.contour(fields, [0.5], colors="white", linewidths=0.8)
        line[0].set_ylabel(f"to {disease}", rotation=0, ha="right", va="center")
    text = caption(f"Where a walk from {HEALTHY} to a disease changes the picture, {data.task.title}", data)
    fig.suptitle(text)
    below = (
        f"{text}. Mean absolute change over test images, from 0 (dark) to {largest:.2f} "
        "(bright); white: lung fields of the mean healthy image; first column: one of the "
        "test images."
    )
    words = [
        f"{title}, {disease}: {one[disease][fields].mean() / one[disease][~fields].mean():.2f}"
        for title, one in maps.items()
        for disease in diseases
    ]
    show(
        fig,
        below,
        f"{text}. Change in the lungs as a multiple of that elsewhere: {'; '.join(words)}.",
        profile=profile,
        name="lungs",
    )
