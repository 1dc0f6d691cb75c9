"""Pictures of a label's block: each latent's walk, and its parts against its latents."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mccvae_core as core
from data import Dataset

from ..measures import judge as judging
from ..runs import Run
from ..settings import Profile
from ..show.figures import caption, picture, show
from .codes import STARTS, codes


def label_to_show(data: Dataset) -> int:
    """The label that the paper walks along, Eyeglasses of CelebA; elsewhere the first that is moved, or the first of
    all."""
    moved = [
        label
        for _, towards in data.task.walks.values()
        for label, value in towards.items()
        if value and label in data.labels
    ]
    return data.labels.index(moved[-1]) if moved else 0


@torch.no_grad()
def latent_walks_figure(
    data: Dataset, run: Run, judge: judging.Judge, label: int, profile: Profile, name: str, steps: int = 7
) -> None:
    """A walk a row, one for each latent of a label's block; under each what the judge reads, the label and its parts,
    mean over STARTS test images without the label, of which the first is shown."""
    model = run.model()
    z = torch.from_numpy(codes(model, data.test.images[data.test.labels[:, label] == 0][:STARTS]))
    block, mine = core.block_of(model, label), [p for p, owner in enumerate(data.part_label) if owner == label]
    fig = plt.figure(figsize=(1.1 * steps + 3, 2.6 * len(block) + 0.6))
    grid = fig.add_gridspec(2 * len(block), steps, height_ratios=[1.2, 1] * len(block))
    words = []
    for r, latent in enumerate(block):
        walk = core.latent_walk(model, z, {label: 1}, within=r, steps=steps)
        p, read = (values.unflatten(0, (steps, len(z))).mean(1) for values in judge.read(walk.images.flatten(0, 1)))
        for t in range(steps):
            ax = fig.add_subplot(grid[2 * r, t])
            picture(ax, walk.images[t, 0])
            if t == 0:
                ax.set_ylabel(f"latent {r + 1}", rotation=0, ha="right", va="center")
        ax = fig.add_subplot(grid[2 * r + 1, :])
        low, high = core.characteristic_range(model, latent)
        where = np.linspace(low, high, steps)
        ax.plot(where, p[:, label], marker="o", label=f"{data.labels[label].replace('_', ' ')} (probability)")
        for i in mine:
            ax.plot(where, read[:, i], marker=".", linestyle="--", label=data.part_names[i].replace("_", " "))
        ax.set(ylim=(-0.1, 1.1), xlabel=f"value of latent {r + 1}", ylabel="judge's reading, mean")
        ax.legend(fontsize=7, ncol=4)
        words.append(f"latent {r + 1}: {data.labels[label]} from {p[0, label]:.2f} to {p[-1, label]:.2f}")
    text = caption(
        f"{data.task.title}, {run.spec.title}: each latent of “{data.labels[label]}” alone over its range", data
    )
    fig.suptitle(text)
    below = f"{text}. Curves: mean over {len(z)} test images without the label; pictures: the first of them."
    show(fig, below, f"{text}. Judge's probability at the ends: {'; '.join(words)}.", profile=profile, name=name)


def part_scatter(data: Dataset, run: Run, label: int, profile: Profile, name: str) -> None:
    """Parts of a label against the latents of its block, test images in which the label is 1."""
    model = run.model()
    mine = data.test.take(np.flatnonzero(data.test.labels[:, label]))
    z, block = codes(model, mine.images), core.block_of(model, label)
    parts = [p for p, owner in enumerate(data.part_label) if owner == label]
    fig, axes = plt.subplots(
        len(parts), len(block), figsize=(2.6 * len(block) + 1, 2.2 * len(parts)), squeeze=False, sharex="col"
    )
    words = []
    for row, p in zip(axes, parts, strict=True):
        for ax, j in zip(row, block, strict=True):
            ax.scatter(z[:, j], mine.parts[:, p], s=5, alpha=0.5)
            r = np.corrcoef(z[:, j], mine.parts[:, p])[0, 1]
            ax.set(title=f"r = {r:.2f}", ylabel=data.part_names[p].replace("_", " ") if j == block[0] else "")
            words.append(f"{data.part_names[p]} with latent {1 + block.index(j)}: {r:.2f}")
    for ax, j in zip(axes[-1], block, strict=True):
        ax.set_xlabel(f"latent {1 + block.index(j)} of “{data.labels[label]}”")
    text = caption(
        f"{data.task.title}, {run.spec.title}: the parts of “{data.labels[label]}” against "
        f"its latents, {len(mine)} test images",
        data,
    )
    fig.suptitle(text)
    show(fig, text, f"{text}. Correlations: {'; '.join(words)}.", profile=profile, name=name)
