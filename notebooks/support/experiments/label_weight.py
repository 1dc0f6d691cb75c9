"""Accuracy against loss: what a label weight in the open buys and costs."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from ..runs import Run
from ..settings import ModelSpec, Profile
from ..show import figures
from ..show.numbers import plus_minus
from ..show.tables import about_run, named_columns


def trade_off_table(runs: list[Run]) -> pd.DataFrame:
    """Loss by rao-blackwell at alpha = 0 beside accuracy, a row a run with a classifier: what a label weight buys and
    costs.

    `chosen`: of a task's models (means over seeds) the one with the best validation accuracy, among equals the one with
    the lower validation loss; test has no say in it. `epochs_to_official` and `seconds_to_official`: when the run's
    validation accuracy first reached the final one of the official models with the same latents and labels, at the
    paper's learning rate (mean over seeds)."""
    rows = []
    for run in runs:
        if "accuracy" in run.metrics["test"] and run.spec.sigmoids == 1:
            rates = {f"{part}_accuracy": run.metrics[part]["accuracy"] for part in ("validation", "test")}
            bounds = {f"{part}_bound": run.metrics[part]["bound"]["loss_alpha0"] for part in ("validation", "test")}
            weight = {
                "estimator": run.record["estimator"],
                "label_weight": run.record["label_weight"],
                "epochs": run.record["epochs"],
            }
            like = (run.spec.base, run.spec.k, run.spec.labelled_fraction)
            rows.append(about_run(run) | weight | rates | bounds | {"like": like, "history": run.history})
    table = pd.DataFrame(rows)
    mean = table.groupby(["task", "model"])[["validation_accuracy", "validation_bound"]].mean().reset_index()
    best = mean.sort_values(["validation_accuracy", "validation_bound"], ascending=[False, True]).drop_duplicates(
        "task"
    )
    chosen = set(zip(best["task"], best["model"], strict=True))
    paper_rate = table["model"].map(lambda name: ModelSpec.parse(name).rate_factor == 1)
    official = (
        table[(table["estimator"] == "official") & paper_rate].groupby(["task", "like"])["validation_accuracy"].mean()
    )
    reached = [
        _first_reaching(row.history, official.get((row.task, row.like), float("nan"))) for row in table.itertuples()
    ]
    return table.drop(columns=["like", "history"]).assign(
        chosen=[key in chosen for key in zip(table["task"], table["model"], strict=True)],
        epochs_to_official=[epochs for epochs, _ in reached],
        seconds_to_official=[seconds for _, seconds in reached],
    )


def _first_reaching(history: pd.DataFrame, accuracy: float) -> tuple[float, float]:
    """The first epoch with this validation accuracy, and the seconds of training until then; NaN where there is
    none."""
    there = history.index[history["validation_accuracy"] >= accuracy - 1e-9]
    return (
        (float(history["epoch"][there[0]]), history["seconds"][: there[0] + 1].sum())
        if len(there)
        else (float("nan"),) * 2
    )


def trade_off_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Loss against accuracy, mean ± sd over seeds, a row a model, for showing."""
    keys = ["task_title", "model_title", "estimator", "label_weight", "epochs", "chosen"]
    values = {
        "validation_accuracy": 3,
        "test_accuracy": 3,
        "test_bound": 1,
        "epochs_to_official": 1,
        "seconds_to_official": 0,
    }
    grouped = table.groupby(keys, sort=False)
    shown = grouped.size().rename("seeds").reset_index()
    for value, digits in values.items():
        pairs = zip(grouped[value].mean(), grouped[value].std(), strict=True)
        shown[value] = [plus_minus(mean, sd, digits) for mean, sd in pairs]
    names = {
        "task_title": "task", "model_title": "model", "estimator": "estimator", "label_weight": "label weight",
        "epochs": "epochs", "seeds": "seeds",
        "validation_accuracy": "validation accuracy", "test_accuracy": "test accuracy",
        "test_bound": "test loss, unbiased",
        "epochs_to_official": "epochs to official's accuracy", "seconds_to_official": "seconds to it",
        "chosen": "chosen on validation",
    }  # fmt: skip
    return named_columns(shown.assign(chosen=shown["chosen"].map({True: "yes", False: ""})), names)


def against_official(trade_off: pd.DataFrame) -> list[str]:
    """For each task with models of both estimators: the -rb model with the best validation accuracy against `official`
    of the same base."""
    sentences = []
    for task, part in trade_off.groupby("task_title", sort=False):
        mean = part.groupby(["model", "model_title", "estimator", "epochs"], sort=False)[
            ["validation_accuracy", "test_accuracy", "test_bound"]
        ].mean()
        mean = mean.reset_index()
        ours = mean[mean["estimator"] == "rao-blackwell"].sort_values("validation_accuracy", ascending=False)
        if ours.empty:
            continue
        best = ours.iloc[0]
        spec = ModelSpec.parse(best["model"])
        for rate in dict.fromkeys((1.0, spec.rate_factor)):  # the paper's, and the one that the -rb model has
            official = mean[mean["model"] == ModelSpec(spec.base, k=spec.k, rate_factor=rate).name]
            for there in official.itertuples():
                sentences.append(
                    f"{best['model_title']} has on {task} in {best['epochs']} instead of {there.epochs} epochs "
                    f"{100 * (best['test_accuracy'] - there.test_accuracy):+.1f} points of test accuracy and "
                    f"{best['test_bound'] - there.test_bound:+,.0f} nats of test loss against {there.model_title}"
                )
    return sentences


def trade_off_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Test accuracy against the unbiased test loss, a point a run, a panel a task."""
    tasks = list(table["task_title"].unique())
    palette = figures.colours(table["task_title"], table["model_title"])
    fig, axes = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 3), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        part = table[table["task_title"] == task]
        named = part.assign(model=part["model_title"])
        sns.scatterplot(
            named, x="test_bound", y="test_accuracy", hue="model", palette=palette, style="estimator", s=60, ax=ax
        )
        mean = part.groupby("model_title", sort=False)[["test_bound", "test_accuracy"]].mean()
        ax.plot(mean["test_bound"], mean["test_accuracy"], "+", color="0.2", markersize=9)
        ax.set(title=task, xlabel="test loss by rao-blackwell, nats per image", ylabel="test accuracy per label")
        ax.legend(title=None, fontsize=6)
    text = (
        "What the label weight buys and costs: accuracy against loss, a point a run, + the "
        "mean over seeds; better is up and left" + (f" ({figures.STAND_IN})" if stand_in else "")
    )
    best = table.loc[table.groupby("task_title", sort=False)["test_accuracy"].idxmax()]
    alt = (
        f"{text}. Most accurate: "
        + "; ".join(
            f"{r.task_title}, {r.model_title}, {r.test_accuracy:.3f} at {r.test_bound:,.0f} nats"
            for r in best.itertuples()
        )
        + "."
    )
    figures.show(fig, text, alt, profile=profile, name="trade_off")
