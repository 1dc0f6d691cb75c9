"""Tables 1 and 2: how well labels are read, beside the paper's accuracy and the majority's."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from ..records import SPLITS
from ..runs import Run
from ..settings import Profile
from ..show import figures, tables
from ..show.numbers import listed, signed
from ..show.tables import about_run, named_columns
from .paper import PAPER, PAPERS, differences, over_seeds, wide

ACCURACIES = ("accuracy", "majority_accuracy", "balanced_accuracy", "exact_match", "majority_exact_match",
          "argmax_accuracy", "majority_argmax_accuracy", "argmax_balanced_accuracy", "sampled_accuracy")  # fmt: skip


def score_frame(runs: list[Run]) -> pd.DataFrame:
    """One row a run and part: the scores of metrics.json. Models without a classifier have none and are left out."""
    rows = [
        about_run(run) | {"part": part, "n": run.metrics[part]["n"]} | {s: run.metrics[part].get(s) for s in ACCURACIES}
        for run in runs
        for part in SPLITS
        if "accuracy" in run.metrics[part]
    ]
    return pd.DataFrame(rows)


def accuracy_table(runs: list[Run], part: str) -> pd.DataFrame:
    """Table 1 (part "train") or 2 ("test"): the paper's accuracy beside ours, and the majority's."""
    frame = score_frame(runs)
    return over_seeds(
        frame[frame["part"] == part], list(ACCURACIES), PAPER[{"train": "table_1", "test": "table_2"}[part]]
    )


def display_accuracy(table: pd.DataFrame, text: str, *, beside: pd.DataFrame | None = None, **options) -> None:
    """Table 1 or 2 in the paper's layout, the majority beside it; beside: further rows, of baselines. Options as of
    `display_table`."""
    text = f"{text}; ours: {tables.seeds_note(table)}"
    models = list(dict.fromkeys(table["model_title"]))
    if beside is not None and len(beside):
        table = pd.concat([table, beside[beside["task_title"].isin(table["task_title"])]], ignore_index=True)
        models = list(dict.fromkeys([*models, *table["model_title"]]))
    shown = wide(table, "accuracy", 3, {"majority_accuracy": "majority"})
    tables.display_table(shown.loc[models], text, index=True, **options)


def score_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The scores beside the paper's accuracy, for showing."""
    titles = {
        "majority_exact_match": "exact match, majority",
        "majority_argmax_accuracy": "argmax, majority",
        "argmax_balanced_accuracy": "balanced argmax",
    }
    names = {"task_title": "task", "model_title": "model"}
    wanted = ("sampled_accuracy", "balanced_accuracy", "exact_match", "majority_exact_match", "argmax_accuracy",
              "majority_argmax_accuracy", "argmax_balanced_accuracy")  # fmt: skip
    return named_columns(
        table, names | {c: titles.get(c, c.replace("_", " ").removesuffix(" accuracy")) for c in wanted}
    )


def finding(frame: pd.DataFrame) -> str:
    """CCVAE against MCCVAE, paired over seeds, and the paper's models against the majority; from a `score_frame`."""
    test = frame[frame["part"] == "test"]
    gap = differences(test, "accuracy", "ccvae", "mccvae")
    papers = test[test["model"].isin(PAPERS)] if test["model"].isin(PAPERS).any() else test
    lift = (
        papers.groupby("task_title", sort=False)[["accuracy", "majority_accuracy"]]
        .mean()
        .eval("accuracy - majority_accuracy")
    )
    parts = []
    if gap:
        parts.append(
            "in test accuracy CCVAE minus MCCVAE is "
            + listed(f"{signed(100 * d, 1)} points on {t}" for t, d in gap.items())
        )
    parts.append(
        "always answering the more frequent value is worse by "
        + listed(f"{100 * d:.1f} points on {t}" for t, d in lift.items())
    )
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def accuracy_figure(frame: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Test accuracy of every run beside the majority's, a panel a task; seeds are points."""
    tasks = list(frame["task"].unique())
    palette = figures.colours(frame["task"], frame["model_title"])
    fig, axes = plt.subplots(1, len(tasks), figsize=(3.4 * len(tasks), 2.8), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        part = frame[(frame["task"] == task) & (frame["part"] == "test")]
        sns.stripplot(
            part,
            x="accuracy",
            y="model_title",
            hue="model_title",
            palette=palette,
            ax=ax,
            size=7,
            jitter=False,
            legend=False,
        )
        ax.axvline(part["majority_accuracy"].mean(), color="0.3", linestyle="--", linewidth=1)
        low = min(part["accuracy"].min(), part["majority_accuracy"].min())
        ax.set(
            title=part["task_title"].iloc[0],
            xlabel="test accuracy per label",
            ylabel="",
            xlim=(max(0, low - 0.05), 1.005),
        )
    text = "Test accuracy per label of each run; dashed: always answering the majority" + (
        f" ({figures.STAND_IN})" if stand_in else ""
    )
    best = frame[frame["part"] == "test"].groupby("task_title")[["accuracy", "majority_accuracy"]].mean()
    alt = (
        f"{text}. Means over models: "
        + "; ".join(f"{task} {row.accuracy:.2f} against {row.majority_accuracy:.2f}" for task, row in best.iterrows())
        + "."
    )
    figures.show(fig, text, alt, profile=profile, name="accuracy")
