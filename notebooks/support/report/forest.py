"""What the primary tests ask, in words for people, and a figure of their gaps over training."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from data import TASKS

from ..claims.decided import Decided
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED
from ..runs import Run
from ..settings import ModelSpec
from ..show import figures, strips
from ..show.strips import Panel

WIDTH = 4.8  # inches: on a telephone's screen letters stay as large as the page's small print
FARTHEST = 10.0  # margins: beyond it a bar ends in an arrow
COLOURS = {  # of a verdict (Okabe and Ito's, told apart by the colour-blind)
    REPRODUCED: "#0072B2",
    REVERSED: "#D55E00",
    NO_DIFFERENCE: "#7A5C00",
    INCONCLUSIVE: "#555555",
    NOT_TESTED: "#8A8A8A",
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


def picture(panels: list[Panel]) -> Figure:
    """Panels of rows as a picture, for paper and for other pages: dots, interval and word of each row."""
    heights = [len(panel.rows) + 1 for panel in panels]
    size = (2 * WIDTH, 0.36 * sum(heights) + 0.6)
    fig, axes = plt.subplots(len(panels), 1, figsize=size, height_ratios=heights, squeeze=False)
    for ax, panel in zip(axes[:, 0], panels, strict=True):
        if panel.band:
            ax.axvspan(*panel.band, color="0.9", zorder=0)
        if panel.line:
            ax.axvline(panel.line[0], color="0.25", linestyle="--", linewidth=1)
        for y, row in enumerate(panel.rows):
            ax.plot([row.low, row.high], [y, y], color=row.colour, linewidth=1.8)
            ax.plot(row.values, [y] * len(row.values), "o", markersize=4, fillstyle="none", color=row.colour)
            ax.plot(row.mean, y, "o", markersize=6, color=row.colour)
            ax.annotate(row.text, (1.01, y), xycoords=ax.get_yaxis_transform(), va="center", fontsize=8)
        names = [row.name for row in panel.rows]
        ax.set(yticks=range(len(names)), yticklabels=names, xlim=strips.limits_of(panel), ylim=(len(names) - 0.5, -0.5))
        ax.set_xlabel(panel.title)
    return fig


def picture_alt(panels: list[Panel]) -> str:
    return " ".join(strips.alt(panel) for panel in panels)


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
        right.plot(means.index, means["gap"], color=COLOURS[REPRODUCED], linewidth=1.8)
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
