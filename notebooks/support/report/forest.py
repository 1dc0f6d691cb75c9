"""Two narrow figures of the primary tests: the forest plot of their outcomes, and their gaps over training."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data import TASKS

from ..claims import verdicts
from ..claims.decided import Decided
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED
from ..runs import Run
from ..settings import ModelSpec
from ..show import figures

WIDTH = 4.8  # inches: on a telephone's screen letters stay as large as the page's small print
ROW = 0.46  # inches
FARTHEST = 10.0  # margins: beyond it an arrow
LOOKS = {  # of a verdict: colour (Okabe and Ito's, told apart by the colour-blind), marker
    REPRODUCED: ("#0072B2", "o"),
    REVERSED: ("#D55E00", "s"),
    NO_DIFFERENCE: ("#7A5C00", "D"),
    INCONCLUSIVE: ("#555555", "^"),
    NOT_TESTED: ("#8A8A8A", "x"),
}
HISTORY = {"accuracy": "validation_accuracy", "unbiased_loss": "validation_bound"}  # scores that training records
SCORE_NAMES = {  # what a test compares, in a few words
    "accuracy": "accuracy",
    "unbiased_loss": "loss",
    "psnr": "PSNR",
    "blocks_apart": "other blocks don't know the label",
    "own_label_share": "a walk changes its own label alone",
    "moved_share": "a walk changes its label",
    "parts_split": "two variables change different parts",
    "along_share": "one variable does the work",
}


def model_title(name: str) -> str:
    return ModelSpec.parse(name).title


def described(one: Decided) -> str:
    """What a test asks, in a line, with its data set."""
    return f"{TASKS[one.test.task].title}, {asked(one)}"


def asked(one: Decided) -> str:
    """What a test asks, in a line: the claim's side of a comparison, or what a model is said to do."""
    test = one.test
    name = SCORE_NAMES.get(test.score, test.score.replace("_", " "))
    if test.kind == "level":
        return f"{model_title(test.first)}: {name}"
    sign = "=" if test.kind == "tie" else ">" if one.score.better == "more" else "<"
    return f"{test.split} {name}: {model_title(test.first)} {sign} {model_title(test.second)}"


def limit_text(one: Decided) -> str:
    """The margin or bound with its unit."""
    what = "bound" if one.test.kind == "level" else "margin"
    return f"{what} {one.outcome.limit:g} {one.score.unit}"


def forest(found: list[Decided]) -> Figure:
    """All primary tests, one row each: every seed a dot, the intervals as bars, the verdict's word at the right."""
    levels = [one for one in found if one.test.kind == "level"]
    panels = {
        "Difference in margins, more to the right is what the paper says": [one for one in found if one not in levels],
        "Level as a share of its bound, which the paper's word asks for": levels,
    }
    panels = {title: rows for title, rows in panels.items() if rows}
    heights = [len(rows) + 0.6 for rows in panels.values()]
    size = (WIDTH, ROW * sum(heights) + 0.5)
    fig, axes = plt.subplots(len(panels), 1, figsize=size, height_ratios=heights, squeeze=False)
    for ax, (title, rows) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(ax, title, rows)
    return fig


def _panel(ax: Axes, title: str, rows: list[Decided]) -> None:
    level = rows[0].test.kind == "level"
    ax.set(xlim=_limits(rows, level), ylim=(len(rows) - 0.4, -0.5), yticks=[], xlabel=title)
    for y, one in enumerate(rows):
        _words(ax, y, one)
        if one.outcome.word == NOT_TESTED:
            continue
        if not level:
            ax.fill_between([-1, 1], y - 0.08, y + 0.45, color="0.9", zorder=0, linewidth=0)
        ax.vlines(1 if level else 0, y - 0.08, y + 0.45, color="0.25", linewidth=1, zorder=1)
        _row(ax, y + 0.14, one)
    ax.spines["left"].set_visible(False)
    ax.grid(False)


def _words(ax: Axes, y: float, one: Decided) -> None:
    """What is asked at the left, the verdict at the right; one without seeds stands where its dots would."""
    place = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8}
    tested, colour = one.outcome.word != NOT_TESTED, LOOKS[one.outcome.word][0]
    ax.text(0, y - 0.28, described(one), ha="left", color="0.1" if tested else "0.4", **place)
    if tested:
        ax.text(1, y - 0.28, one.outcome.word, ha="right", color=colour, weight="bold", **place)
    else:
        ax.text(0, y + 0.14, one.outcome.says, ha="left", color=colour, **place)


def _limits(rows: list[Decided], level: bool) -> tuple[float, float]:
    """The axis: all dots and intervals, but no farther than FARTHEST."""
    drawn = [-1.5, 1.5] if not level else [0.0, 1.2]
    for one in rows:
        ends = [one.outcome.low, one.outcome.high, *one.outcome.values, *(one.outcome.images or ())]
        drawn += [float(end) for end in one.in_margins(ends) if math.isfinite(end)]
    room = 0.04 * (max(drawn) - min(drawn))
    return max(min(drawn) - room, -FARTHEST), min(max(drawn) + room, FARTHEST)


def _row(ax: Axes, y: float, one: Decided) -> None:
    colour, marker = LOOKS[one.outcome.word]
    left, right = ax.get_xlim()
    ends = one.in_margins([one.outcome.low, one.outcome.high])
    shown = np.clip(ends, left, right)
    ax.plot(shown, [y, y], color=colour, linewidth=2, zorder=2, solid_capstyle="butt")
    for end, edge, arrow in ((ends[0], left, "<"), (ends[1], right, ">")):
        if not left <= end <= right:
            ax.plot(edge, y, arrow, color=colour, clip_on=False, markersize=6)
    if one.outcome.images:
        over_images = np.clip(one.in_margins(one.outcome.images), left, right)
        ax.plot(over_images, [y + 0.13] * 2, color="0.35", linewidth=1.2, zorder=2, linestyle=(0, (2, 1)))
    values = np.clip(one.in_margins(one.outcome.values), left, right)
    ax.plot(values, np.full(len(values), y), "o", color="white", markeredgecolor=colour, markersize=4, zorder=3)
    ax.plot(np.clip(one.in_margins(one.outcome.mean), left, right), y, marker, color=colour, markersize=6, zorder=4)


def forest_caption(found: list[Decided]) -> str:
    level = 100 * (1 - verdicts.ALPHA / len(found))
    dashed = " Dashed: the interval over images." if any(one.outcome.images for one in found) else ""
    return (
        f"The {len(found)} primary tests. Ring: a seed; filled mark: the mean; bar: the {level:.1f} % interval over "
        f"seeds. Grey band: differences too small to matter; line: no difference, or the bound.{dashed}"
    )


def forest_alt(found: list[Decided]) -> str:
    """What is seen, row by row."""
    said = []
    for one in found:
        outcome = one.outcome
        if outcome.word == NOT_TESTED:
            said.append(f"{described(one)}: {outcome.says}")
            continue
        places = one.in_margins([outcome.mean, outcome.low, outcome.high])
        mean, low, high = (f"{value:.2f}".replace("-", "−") for value in places)
        unit = "of the bound" if one.test.kind == "level" else "margins"
        said.append(f"{described(one)}: {outcome.word}, {mean} {unit}, {low} to {high}, {len(outcome.seeds)} seeds")
    return f"Forest plot, one row for each of {len(found)} tests. {'; '.join(said)}."


def gaps_over_training(one: Decided, records: dict[tuple[str, str, int], Run]) -> pd.DataFrame | None:
    """What a test compares, on validation images, at each look of training: one row per epoch and seed, columns epoch,
    seed, first, second and gap, in margins, turned so that more is what the claim says.

    None for a test without runs, of a level, or of a score that training does not record.
    """
    column = HISTORY.get(one.test.score)
    if one.test.kind == "level" or column is None or not one.outcome.seeds:
        return None
    frames = []
    for name, model in (("first", one.test.first), ("second", one.test.second)):
        for seed in one.outcome.seeds:
            history = records[one.test.task, model, seed].history
            if column not in history:
                return None
            looks = history[["epoch", column]].dropna().rename(columns={column: "value"})
            frames.append(looks.assign(seed=seed, side=name))
    wide = pd.concat(frames).pivot(index=["epoch", "seed"], columns="side", values="value").dropna().reset_index()
    gap = one.score.sign * (wide["first"] - wide["second"])
    return wide.rename_axis(columns=None).assign(gap=one.in_margins(gap))


def curves(gaps: list[tuple[Decided, pd.DataFrame]]) -> Figure:
    """Both models over training at the left, their gap in margins at the right, one row per test."""
    fig, axes = plt.subplots(len(gaps), 2, figsize=(WIDTH, 1.5 * len(gaps) + 0.3), squeeze=False)
    colours = figures.colours([], [])
    for (left, right), (one, gap) in zip(axes, gaps, strict=True):
        means = gap.groupby("epoch")[["first", "second", "gap"]].mean()
        for side, name in (("first", one.test.first), ("second", one.test.second)):
            title, style = model_title(name), "--" if name.startswith("mccvae") else "-"
            left.plot(means.index, means[side], style, color=colours[title], label=title)
        left.legend(fontsize=6)
        left.set_ylim(*_without_the_start(gap[["first", "second"]]))
        left.set_title(f"{TASKS[one.test.task].title}, validation {SCORE_NAMES[one.test.score]}", fontsize=8)
        right.axhspan(-1, 1, color="0.9", zorder=0)
        right.axhline(0, color="0.25", linewidth=1)
        for _, mine in gap.groupby("seed"):
            right.plot(mine["epoch"], mine["gap"], color="0.6", linewidth=0.7)
        right.plot(means.index, means["gap"], color=LOOKS[REPRODUCED][0], linewidth=1.8)
        right.set_title("gap in margins", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    return fig


def _without_the_start(values: pd.DataFrame) -> tuple[float, float]:
    """Axis limits in which the end of training is seen: the tenth of the values farthest from the last is cut off."""
    last = values.iloc[-1].mean()
    far = (values - last).abs().stack().quantile(0.9)
    inside = values.where((values - last).abs() <= max(far, 1e-9))
    room = 0.08 * float(inside.max().max() - inside.min().min()) or 1e-3
    return float(inside.min().min()) - room, float(inside.max().max()) + room


CURVES_CAPTION = (
    "The gaps over training, on validation images: left both models, mean over seeds; right the gap in margins, a thin "
    "line per seed, above 0 what the paper says. Training records no PSNR."
)


def curves_alt(gaps: list[tuple[Decided, pd.DataFrame]]) -> str:
    """The mean gap at the first, the middle and the last look of each row."""
    said = []
    for one, gap in gaps:
        means = gap.groupby("epoch")["gap"].mean()
        looks = means.iloc[[0, len(means) // 2, -1]]
        values = ", ".join(f"{value:.1f} at epoch {epoch}" for epoch, value in looks.items()).replace("-", "−")
        said.append(f"{described(one)}: gap {values}")
    return f"Learning curves of {len(gaps)} tests, gaps in margins. {'; '.join(said)}."
