"""Walks as pictures: a row of pictures per way of moving a label's latents, and under it, as lines, the probabilities
that the model reads from each picture when it is encoded again."""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import mccvae_core as core
from data import Dataset

from ..measures import block_effects, blocks
from ..settings import Profile
from . import figures

SPREAD = 2.0  # standard deviations to each side
STEPS = 7
NARROW = 5  # steps of the picture that has to be read on a telephone
OPENING_STEPS = ("−2 sd", "−1", "0", "+1", "+2 sd")
LINES = 3  # probabilities under the pictures
KINDS = ("along", "across", "both")
OPENING_TASKS = ("chest_xray", "mnist")  # whose pictures may open the report: no faces
COLOURS = ("#0072B2", "#D55E00", "#555555", "#7A5C00", "#CC79A7")  # of the lines, to be read as text on white too


def walk_starts(data: Dataset, towards: dict[str, int]) -> list[int]:
    """Positions of the test images whose labels are all at the other value than the walk goes to; of own images, where
    none is, of all."""
    y = data.test.labels
    fits = torch.stack([y[:, data.labels.index(label)] == 1 - value for label, value in towards.items()]).all(0)
    if data.source == "own" and not fits.any():
        fits[:] = True
    if not fits.any():
        raise ValueError(
            f"no test image of {data.task.title} has the labels from which this walk starts ({', '.join(towards)}); "
            "use more images"
        )
    return torch.nonzero(fits).flatten().tolist()


def walk_rows(models: dict[str, core.MCCVAE], moved: Iterable[int]) -> dict[str, tuple[core.MCCVAE, int | None]]:
    """The rows of a walk figure: each model, an MCCVAE once for each latent that the blocks of all moved labels have,
    and once for all together; of a number for all together alone."""
    rows = {}
    for title, model in models.items():
        k = min(len(core.block_of(model, label)) for label in moved)
        if k == 1 or model.continuous[list(moved)].any():  # a number moves its block
            rows[title] = (model, None)
        else:
            rows |= {f"{title}\nlatent {j + 1} of {k}": (model, j) for j in range(k)}
            rows[f"{title}\n{'both' if k == 2 else f'all {k}'} together"] = (model, None)
    return rows


@torch.no_grad()
def walk_figure(
    number: int, data: Dataset, models: dict[str, core.MCCVAE], profile: Profile, *, save: bool = True
) -> None:
    """The paper's Figures 9 to 12, and of own images one for each label: a walk a row, and a map of its change. Over
    the steps of a number stand its values."""
    what, towards = data.task.walks[number]
    start = walk_starts(data, towards)[0]
    goal = {data.labels.index(label): value for label, value in towards.items()}
    drawn = {}
    for name, (model, within) in walk_rows(models, goal).items():
        z = core.posterior(model, data.test.images[start : start + 1]).loc[0]
        walk = _walk(model, data, z, goal, within)
        drawn[name] = (model.decode(z[None])[0], walk.images, _heights(data, walk.reencoded))
    fig, largest, shown = _sheet(drawn, data, list(goal))
    text = figures.caption(f"Figure {number}. Latent walk, {data.task.title}: {what}", data)
    fig.suptitle(text)
    below = (
        f"{text}. {_lines_said(data, shown)} after the picture was encoded again. "
        f"Change: |last step − first|, from 0 (dark) to {largest:.2f} (bright)."
    )
    name = f"figure_{number}" if save else None
    figures.show(fig, below, _alt(text, drawn, data, shown), profile=profile, name=name)


def _walk(model: core.MCCVAE, data: Dataset, z: Tensor, goal: dict[int, int], within: int | None) -> core.Walk:
    """`core.latent_walk` to the values of the goal {label: value}; a number goes from the lower to the upper end of its
    unit."""
    if numbers := {label: data.unit(label).ends for label in goal if data.unit(label)}:
        z = core.latent_walk(model, z, {label: low for label, (low, _) in numbers.items()}, steps=2).z[-1]
        goal = goal | {label: high for label, (_, high) in numbers.items()}
    return core.latent_walk(model, z, goal, within=within, steps=STEPS)


def coordinate_walk(model: core.MCCVAE, z: Tensor, goal: dict[int, int], kind: str, steps: int) -> Tensor:
    """z (Z,) on its way from -SPREAD to +SPREAD sd of the blocks of all labels in goal {label: value}, (steps, Z):
    along, towards the value; across; or both at once. The rest stays as it is."""
    path, t = z.expand(steps, -1).clone(), torch.linspace(-SPREAD, SPREAD, steps, dtype=torch.float64)
    for label, value in goal.items():
        own = block_effects.order_across(model, blocks.block_coordinates(model, label), z[None])
        latents = list(own.latents)
        a, r = own.decompose(z[latents])
        along = a.expand(steps) if kind == "across" else t * (1 if value else -1)
        c = own.across_coordinates(r)
        across = c.expand(steps, -1) if kind == "along" else t[:, None].expand(steps, len(c))
        path[:, latents] = own.compose(along, across @ own.across.T).to(z)
    return path


@torch.no_grad()
def opening_figure(number: int, data: Dataset, model: core.MCCVAE, profile: Profile, name: str) -> None:
    """One walk of the paper's, along, across and both at once: what each of a label's two latents does. Narrow."""
    what, towards = data.task.walks[number]
    goal = {data.labels.index(label): value for label, value in towards.items()}
    start = walk_starts(data, towards)[0]
    z = core.posterior(model, data.test.images[start : start + 1]).loc[0]
    drawn, read = {}, block_effects.own_reading(model)
    for kind in KINDS:
        images = model.decode(coordinate_walk(model, z, goal, kind, NARROW))
        drawn[kind] = (None, images, read(images))
    fig, _, shown = _sheet(drawn, data, list(goal), OPENING_STEPS)
    text = figures.caption(
        f"{data.task.title}, {what}: one test image while its labels' latents go from −2 to +2 standard deviations, "
        "along the direction that the classifier reads, across it, and both at once. Lines: the labels' probabilities "
        "that the model reads when the picture is encoded again",
        data,
    )
    figures.show(fig, f"{text}.", _alt(text, drawn, data, shown), profile=profile, name=name)


def _heights(data: Dataset, read: Tensor) -> Tensor:
    """What is read of labels (..., L), as the lines show it: probabilities, and where between the ends of its unit a
    number lies."""
    ends = [data.unit(label).ends if data.unit(label) else (0.0, 1.0) for label in range(len(data.labels))]
    low, high = torch.tensor(ends, dtype=read.dtype, device=read.device).T
    return (read - low) / (high - low)


def _said(data: Dataset, label: int, height: float) -> str:
    """A probability, or a number in its unit, of its `_heights`."""
    if not (unit := data.unit(label)):
        return f"{height:.2f}"
    low, high = unit.ends
    return unit.text(unit.undone(low + (high - low) * height))


def _lines_said(data: Dataset, shown: list[int]) -> str:
    """What the lines are, as the begin of a sentence."""
    said = {kind: [label for label in shown if data.kinds[label] == kind] for kind in ("binary", "continuous")}
    parts = [f"probability, from 0 to 1, of {_listed(data.labels, said['binary'])}"] if said["binary"] else []
    for label in said["continuous"]:
        parts.append(f"{data.labels[label]}, from {_said(data, label, 0.0)} to {_said(data, label, 1.0)}")
    return f"Lines: {'; '.join(parts)}"


def _sheet(
    drawn: dict[str, tuple], data: Dataset, moved: list[int], named: Sequence[str] | None = None
) -> tuple[Figure, float, list[int]]:
    """A figure of rows {name: (picture before or None, images (T, C, H, W), `_heights` of readings (T, L))}; the
    largest change of a pixel; the labels whose lines are drawn. named: the T steps."""
    changes = {name: (images[-1] - images[0]).abs().mean(0, keepdim=True) for name, (_, images, _) in drawn.items()}
    largest = max(change.max().item() for change in changes.values())
    shown, before = lines_of(drawn, moved), next(iter(drawn.values()))[0] is not None
    steps = len(next(iter(drawn.values()))[1])
    columns, labels = steps + 2 * before, data.labels
    named = named or [""] * steps
    if len(moved) == 1 and data.unit(moved[0]):
        named = [_said(data, moved[0], t / (steps - 1)) for t in range(steps)]
    size = (0.95 * columns + 1.9, 1.5 * len(drawn) + 0.5) if before else (0.8 * columns + 1.5, 1.2 * len(drawn) + 0.1)
    fig = plt.figure(figsize=size)
    ratios = {"height_ratios": [3, 1.4] * len(drawn), "width_ratios": [1] * columns + [0.8]}  # names in the last column
    grid = fig.add_gridspec(2 * len(drawn), columns + 1, **ratios)
    for r, (name, (first, images, probabilities)) in enumerate(drawn.items()):
        pictures = ([first] if before else []) + list(images)
        titles = ["start", *named] if before else named
        for column, (image, title) in enumerate(zip(pictures, titles, strict=False)):
            ax = fig.add_subplot(grid[2 * r, column])
            figures.picture(ax, image)
            ax.set_title(title if r == 0 else "")
            if column == 0:
                ax.set_ylabel(name, rotation=0, ha="right", va="center")
        if before:
            ax = fig.add_subplot(grid[2 * r, columns - 1])
            figures.picture(ax, changes[name], cmap="cividis", vmax=largest)
            ax.set_title("change" if r == 0 else "")
        under = fig.add_subplot(grid[2 * r + 1, int(before) : int(before) + steps])
        ends = probabilities[-1].tolist()
        names = [f"{labels[label].replace('_', ' ')} {_said(data, label, ends[label])}" for label in shown]
        _lines(under, probabilities[:, shown].clamp(0, 1), names)
    return fig, largest, shown


def lines_of(drawn: dict[str, tuple], moved: list[int]) -> list[int]:
    """The labels to draw: those that are moved, then those whose probability changes most in any row."""
    change = torch.stack([p.amax(0) - p.amin(0) for *_, p in drawn.values()]).amax(0)
    others = [label for label in change.argsort(descending=True).tolist() if label not in moved]
    return [*moved, *others][: max(LINES, len(moved))]


def _lines(ax: Axes, probabilities: Tensor, names: list[str]) -> None:
    """Heights (T, n) in [0, 1] as lines with their names at the ends, a colour each."""
    steps, ends = len(probabilities), _apart(probabilities[-1].tolist())
    for name, values, y, colour in zip(names, probabilities.T.tolist(), ends, COLOURS, strict=False):
        ax.plot(range(steps), values, color=colour, linewidth=1.6, clip_on=False)
        ax.text(steps - 1 + 0.12, y, name, color=colour, va="center", fontsize=8, clip_on=False)
    ax.set(xlim=(-0.5, steps - 0.5), ylim=(0, 1), yticks=[0, 1], xticks=[])
    ax.spines["bottom"].set_bounds(-0.5, steps - 1)
    ax.tick_params(axis="y", labelsize=7, length=2)
    ax.grid(False)


def _apart(ends: list[float], gap: float = 0.34) -> list[float]:
    """Heights in [0, 1] for names at these ends, so that none stands on another."""
    order = np.argsort(ends, kind="stable")
    heights = np.array(ends)[order]
    for n in range(1, len(heights)):
        heights[n] = max(heights[n], heights[n - 1] + gap)
    heights -= max(heights[-1] - 1.0 - gap / 3, 0)
    for n in range(len(heights) - 2, -1, -1):
        heights[n] = min(heights[n], heights[n + 1] - gap)
    return heights[np.argsort(order)].tolist()


def _listed(labels: tuple[str, ...], shown: list[int]) -> str:
    return ", ".join(labels[label] for label in shown)


def _alt(text: str, drawn: dict[str, tuple], data: Dataset, shown: list[int]) -> str:
    """What is seen: of each row what is read at its ends, and how much of the picture changes."""
    words, labels = [], data.labels
    for name, (_, images, p) in drawn.items():
        said = [(labels[label], *(_said(data, label, p[end, label].item()) for end in (0, -1))) for label in shown]
        ends = ", ".join(f"{label} from {first} to {last}" for label, first, last in said)
        change = 100 * (images[-1] - images[0]).abs().mean().item()
        words.append(f"{name.replace(chr(10), ', ')}: {ends}; the picture changes by {change:.0f} % of its range")
    return f"{text}. A row of {len(images)} pictures per walk. {'. '.join(words)}."
