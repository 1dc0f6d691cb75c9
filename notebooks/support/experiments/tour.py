"""The stops of notebooks/tour.ipynb: trained models read a few chest X-rays and walk a label's block."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

import mccvae_core as core
from data import TASKS, DataError

from .. import runs
from ..measures import block_effects
from ..settings import Profile, SettingsError
from ..show import figures

TASK = TASKS["chest_xray"]  # its pictures may be shown to everyone (CC BY 4.0); CelebA's may not
MODELS = ("CCVAE", "MCCVAE")
COUNT = 8  # pictures
MOSTLY = 0.75  # share of a block's effect on its label from which one direction does the work


@dataclasses.dataclass(frozen=True)
class Pictures:
    """images: uint8 (N, *image_shape). labels: float (N, L), 0 or 1. source: one sentence on what they are.
    stand_in: they are not the task's real images."""

    images: Tensor
    labels: Tensor
    source: str
    stand_in: bool


def label_number(name: str) -> int:
    """A label's number by its name. Raises SettingsError for another name."""
    if name not in TASK.labels:
        raise SettingsError(f"label must be one of {', '.join(TASK.labels)}, not {name!r}")
    return TASK.labels.index(name)


def models(profile: Profile) -> dict[str, core.MCCVAE]:
    """CCVAE and MCCVAE of the profile's first seed, on the CPU. Raises SettingsError where it has not both."""
    found = {run.spec.title: run for run in _runs(profile)}
    if lacking := [title for title in MODELS if title not in found]:
        raise SettingsError(f"the profile {profile.profile} has no {lacking[0]} for {TASK.title}; take 'published'")
    return {title: found[title].model().cpu() for title in MODELS}


def _runs(profile: Profile) -> list[runs.Run]:
    return runs.first_runs(profile, TASK.name, characteristics=True)


def pictures(profile: Profile) -> Pictures:
    """Test images where the data are at hand; else what MCCVAE draws from such images' published latents.

    Nothing is downloaded. Raises DataError where neither is there."""
    try:
        with _no_download():
            data = runs.load_data(profile, TASK.name)
    except DataError as error:
        return _reconstructed(profile, error)
    index = figures.examples(data, COUNT)
    return Pictures(data.test.images[index], data.test.labels[index].float(), data.description, data.stand_in)


@contextlib.contextmanager
def _no_download() -> Iterator[None]:
    before = os.environ.get("MCCVAE_DOWNLOAD")
    os.environ["MCCVAE_DOWNLOAD"] = "never"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MCCVAE_DOWNLOAD"]
        else:
            os.environ["MCCVAE_DOWNLOAD"] = before


@torch.no_grad()
def _reconstructed(profile: Profile, error: DataError) -> Pictures:
    run = next(run for run in _runs(profile) if run.spec.title == "MCCVAE")
    file = run.folder / runs.SCORES / "starts.csv"  # the latents from which the report's explorer starts
    if not file.is_file():
        raise error
    table = pd.read_csv(file)[:COUNT]
    z = torch.tensor(table.filter(regex=r"^z\d+$").to_numpy(), dtype=torch.float32)
    images = (255 * run.model().cpu().decode(z)).round().byte()
    named = [set(start.partition(": ")[2].split(", ")) for start in table["start"]]
    labels = torch.tensor([[float(label in names) for label in TASK.labels] for names in named])
    why = str(error).splitlines()[0]
    source = f"The X-rays are missing ({why}), so MCCVAE's reconstructions of {len(images)} of them stand in for them."
    return Pictures(images, labels, source, True)


def _draw(ax, image: Tensor, title: str) -> None:
    ax.imshow(image.squeeze(0).numpy(), vmin=0, vmax=1)
    ax.set_title(title)
    ax.axis("off")


def _caption(text: str, shown: Pictures) -> str:
    return f"{text} ({figures.STAND_IN})" if shown.stand_in else text


def readings_figure(shown: Pictures, probabilities: Tensor) -> None:
    """The pictures, each with its true label and the probability (N, L) that the model gives to each label."""
    fig, axes = plt.subplots(1, len(shown.images), figsize=(1.15 * len(shown.images), 1.9))
    said = []
    for ax, image, y, p in zip(axes, core.to_images(shown.images), shown.labels, probabilities, strict=True):
        truth = TASK.labels[int(y.argmax())]
        read = "\n".join(f"{label} {chance:.2f}" for label, chance in zip(TASK.labels, p.tolist(), strict=True))
        _draw(ax, image, truth)
        ax.text(0.5, -0.05, read, transform=ax.transAxes, ha="center", va="top", fontsize=7)
        said.append(f"{truth}: {', '.join(read.splitlines())}")
    text = _caption("Chest X-rays, their labels, and the probabilities that the model reads", shown)
    figures.show(fig, text, f"{text}. {'; '.join(said)}.")


def walk_figure(walks: dict[str, core.Walk], label: int, shown: Pictures) -> None:
    """A row of pictures per walk, and the label's probability: by the latents, and by each picture encoded again."""
    fig = _walk_pictures(walks, label)
    name = TASK.labels[label]
    told = [
        f"{kind} from {walk.reencoded[0, label]:.2f} to {walk.reencoded[-1, label]:.2f} in the picture, "
        f"from {walk.probabilities[0, label]:.2f} to {walk.probabilities[-1, label]:.2f} by the latents"
        for kind, walk in walks.items()
    ]
    text = _caption(
        f"The block of {name} from −2 to +2 standard deviations, along the classifier's direction and across", shown
    )
    figures.show(fig, text, f"{text}. Probability of {name}: {'; '.join(told)}.")


def _walk_pictures(walks: dict[str, core.Walk], label: int) -> Figure:
    steps = len(next(iter(walks.values())).z)
    fig = plt.figure(figsize=(1.05 * steps + 3.2, 1.35 * len(walks) + 0.3))
    grid = fig.add_gridspec(len(walks), steps + 3)
    for row, (kind, walk) in enumerate(walks.items()):
        for step, image in enumerate(walk.images):
            ax = fig.add_subplot(grid[row, step])
            _draw(ax, image, f"{walk.reencoded[step, label]:.2f}")
            if step == 0:
                ax.text(-0.1, 0.5, kind, transform=ax.transAxes, ha="right", va="center")
        ax = fig.add_subplot(grid[row, steps:])
        at = np.linspace(-2, 2, steps)
        ax.plot(at, walk.reencoded[:, label], label="picture")
        ax.plot(at, walk.probabilities[:, label], "--", label="latents")
        ax.set(ylim=(0, 1), yticks=[0, 1], ylabel=f"p({TASK.labels[label]})")
        if row == 0:
            ax.legend(fontsize=7)
    ax.set_xlabel("standard deviations")
    return fig


def effects_table(models: dict[str, core.MCCVAE], images: Tensor, label: int) -> pd.DataFrame:
    """What a walk from −2 to +2 sd changes, mean absolute change over the pictures: a row per model and direction.

    label, others: of the probabilities read from the picture encoded again; pixel: of a pixel, in [0, 1]."""
    rows = []
    for title, model in models.items():
        z = core.posterior(model, images).loc
        effects = block_effects.block_effects(model, z, label, block_effects.own_reading(model))
        for kind in ("along", "across") if max(model.config.characteristics) > 1 else ("along",):
            labels, pixel = effects.score(kind)
            others = np.delete(labels, label).mean()
            rows.append({"model": title, "direction": kind, "label": labels[label], "others": others, "pixel": pixel})
    return pd.DataFrame(rows)


def answer(effects: pd.DataFrame, label: str) -> str:
    """One sentence from an `effects_table`."""
    at = effects.set_index(["model", "direction"])
    one, along, across = (at.loc[key] for key in (("CCVAE", "along"), ("MCCVAE", "along"), ("MCCVAE", "across")))
    share = along["label"] / (along["label"] + across["label"])
    means = (
        "the second latent tunes the picture rather than the label"
        if share > MOSTLY
        else "both directions tune the label"
    )
    return (
        f"Moved along the classifier's direction, {label} changes by {along['label']:.2f} in the picture read again "
        f"(CCVAE: {one['label']:.2f}); across it, by {across['label']:.2f}, while a pixel changes by "
        f"{along['pixel']:.3f} and {across['pixel']:.3f}: so {means}, in these {COUNT} pictures and this seed."
    )
