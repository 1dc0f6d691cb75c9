"""The estimators' audit: spread of gradients, hidden label weight, noise of w, and who moves the encoder."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

import mccvae_core as core
from data import TASKS, Dataset

from ..measures import gradients
from ..runs import Run
from ..settings import Profile
from ..show import figures
from ..show.numbers import decimal, listed
from ..show.tables import about_run, named_columns, rounded_columns
from .label_weight import against_official


def audit_table(data: Dataset, models: dict[str, core.MCCVAE], draws: int, count: int = 32) -> pd.DataFrame:
    """`gradients.gradient_audit` of each model on `count` test images: a row a model, estimator and part of the
    network."""
    rows, some = [], data.test.some(count)
    for title, model in models.items():
        audit = gradients.gradient_audit(model, some.images, some.labels, draws=draws)
        about = {
            "task": data.task.name,
            "task_title": data.task.title,
            "stand_in": data.stand_in,
            "model_title": title,
            "n": min(count, len(data.test)),
            "draws": draws,
        }
        whole = {"slope": audit["slope"], "minus_f": audit["minus_f"], "r2": audit["r2"]}
        for estimator in core.ESTIMATORS:
            e = audit[estimator]
            for part in gradients.PARTS:
                one = {
                    "estimator": estimator,
                    **{name: e[name] for name in ("loss", "loss_sd", "mean_weight", "ess")},
                    "part": part,
                    "norm": e["norm"][part],
                    "sd": e["sd"][part],
                }
                rows.append(about | one | whole)
    return pd.DataFrame(rows)


def audit_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Gradients by estimator and part, for showing."""
    names = {
        "task_title": "task", "model_title": "model", "estimator": "estimator", "loss": "loss", "loss_sd": "sd of loss",
        "part": "part", "norm": "norm of mean gradient", "sd": "sd of gradient",
    }  # fmt: skip
    return rounded_columns(named_columns(table, names), 1, list(names.values())[3:5] + list(names.values())[6:])


def hidden_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The hidden label weight and the spread of w, a row a model, for showing."""
    names = {
        "task_title": "task", "model_title": "model", "slope": "hidden label weight", "minus_f": "−f", "r2": "R²",
        "mean_weight": "mean w", "ess": "ESS of w, images",
    }  # fmt: skip
    official = table[table["estimator"] == "official"].drop_duplicates(["task_title", "model_title"])
    return rounded_columns(
        rounded_columns(named_columns(official, names), 0, ["hidden label weight", "−f"]), 1, ["ESS of w, images"]
    )


def weight_table(data: Dataset, models: dict[str, core.MCCVAE], repeats: int = 5, count: int = 500) -> pd.DataFrame:
    """The official loss of `count` training images evaluated `repeats` times with other noise: how far w's mean and the
    loss move."""
    rows, some = [], data.train.some(count)
    images, labels = some.images, some.labels
    for title, model in models.items():
        terms = pd.DataFrame(
            [
                core.evaluate_loss(model, images, labels, core.Objective("official"), seed=seed)
                for seed in range(repeats)
            ]
        )
        exact = core.evaluate_loss(model, images, labels)["loss_alpha0"]
        w, loss = terms["mean_weight"], terms["loss_alpha0"]
        rows.append(
            {
                "task_title": data.task.title,
                "model_title": title,
                "stand_in": data.stand_in,
                "n": len(images),
                "repeats": repeats,
            }
            | {
                "mean_weight": w.mean(),
                "lowest_mean_weight": w.min(),
                "highest_mean_weight": w.max(),
                "ess_share": terms["ess"].mean() / len(images),
            }
            | {"loss": loss.mean(), "lowest_loss": loss.min(), "highest_loss": loss.max(), "bound": exact}
        )
    return pd.DataFrame(rows)


def weight_columns(table: pd.DataFrame) -> pd.DataFrame:
    """How far w and the official loss move with the noise, for showing."""
    shown = table.assign(
        w=[
            f"{r.mean_weight:.3f} ({r.lowest_mean_weight:.3f} to {r.highest_mean_weight:.3f})"
            for r in table.itertuples()
        ],
        official=[
            f"{decimal(r.loss, 0)} ({decimal(r.lowest_loss, 0)} to {decimal(r.highest_loss, 0)})"
            for r in table.itertuples()
        ],
    )
    names = {
        "task_title": "task", "model_title": "model", "w": "mean w (lowest to highest)", "ess_share": "ESS of w / n",
        "official": "official loss (lowest to highest)", "bound": "unbiased loss",
    }  # fmt: skip
    return rounded_columns(named_columns(shown, names), 0, ["unbiased loss"])


def encoder_table(runs: list[Run]) -> pd.DataFrame:
    """Who moves the encoder over training: shares of its gradient's norms, a row a run and measured epoch
    (`training.measure`).

    `label_weight` is the one in the open or, in `official`, the hidden one, taken as that epoch's mean of -f: the
    labels' gradient weighs 1 + label_weight. `share_labels_bare` is the labels' share if it weighed 1, as section 2.3
    says."""
    rows = []
    for run in runs:
        measured = run.history.dropna(subset="gradient_labels") if "gradient_labels" in run.history else run.history[:0]
        for _, row in measured.iterrows():
            minus_f = sum(
                row[f"labelled_{term}"] for term in ("reconstruction", "kl_style", "characteristics", "log_qyz")
            )
            weight = minus_f if run.record["estimator"] == "official" else run.record["label_weight"]
            labels = (1 + weight) * row["gradient_labels"]
            parts = {
                "reconstruction": row["gradient_reconstruction"],
                "latents": row["gradient_latents"],
                "labels": labels,
            }
            shares = {f"share_{name}": norm / sum(parts.values()) for name, norm in parts.items()}
            bare = row["gradient_labels"] / (sum(parts.values()) - labels + row["gradient_labels"])
            rows.append(
                about_run(run)
                | {"epoch": int(row["epoch"]), "label_weight": weight}
                | shares
                | {"share_labels_bare": bare}
            )
    return pd.DataFrame(rows)


def encoder_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of the encoder's gradient at the last epoch, means over seeds, a row a model, for showing."""
    shares = ["share_reconstruction", "share_latents", "share_labels", "share_labels_bare"]
    last = table[table["epoch"] == table.groupby(["task", "model", "seed"])["epoch"].transform("max")]
    mean = (
        last.groupby(["task_title", "model_title", "epoch"], sort=False)[["label_weight", *shares]].mean().reset_index()
    )
    names = {
        "task_title": "task", "model_title": "model", "epoch": "epoch", "label_weight": "label weight",
        "share_reconstruction": "reconstruction",
        "share_latents": "latents", "share_labels": "labels", "share_labels_bare": "labels, if they weighed 1",
    }  # fmt: skip
    return rounded_columns(named_columns(mean, names), 0, ["label weight"])


def finding(audit: pd.DataFrame, trade_off: pd.DataFrame) -> str:
    """How much noise and which hidden weight the official estimator has on models that it trained, and what the weight
    in the open does instead."""
    own = [title for title in audit["model_title"].unique() if ", rb" not in title and "sigmoids" not in title]
    audit = audit[audit["model_title"].isin(own)]
    spread = audit.pivot_table(
        index=["task_title", "model_title", "part"], columns="estimator", values="sd", sort=False
    )
    ratio = (spread["official"] / spread["rao-blackwell"]).unstack("part")
    models = audit.drop_duplicates(["task_title", "model_title"])
    sentence = (
        "On the models that it trained the official estimator's gradient scatters "
        f"{ratio['encoder'].min():,.0f} to {ratio['encoder'].max():,.0f} times as much on the "
        "encoder and "
        f"{ratio['classifier'].min():,.0f} to {ratio['classifier'].max():,.0f} times on the "
        "classifier as rao-blackwell's, and on the encoder it hides a label "
        f"weight of {models['slope'].min():,.0f} to {models['slope'].max():,.0f} (−f: "
        f"{models['minus_f'].min():,.0f} to {models['minus_f'].max():,.0f}; "
        f"R² {models['r2'].min():.2f} to {models['r2'].max():.2f}), on top of the objective's own 1"
    )
    open_weight = listed(against_official(trade_off))
    return sentence + (f"; with the weight in the open, chosen on validation, {open_weight}." if open_weight else ".")


def gradient_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Spread of the gradient by estimator and part, a panel a task, mean over its models."""
    tasks = list(table["task_title"].unique())
    fig, axes = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 2.8), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        sns.barplot(table[table["task_title"] == task], x="sd", y="part", hue="estimator", errorbar=None, ax=ax)
        ax.set(title=task, xscale="log", xlabel="sd of the gradient over draws of the noise", ylabel="")
        ax.legend(title=None, fontsize=7)
    text = "Spread of the labelled loss's gradient, mean over models" + (f" ({figures.STAND_IN})" if stand_in else "")
    mean = table.groupby(["estimator", "part"], sort=False)["sd"].mean()
    alt = (
        f"{text}. On the encoder: official {mean['official', 'encoder']:,.1f}, rao-blackwell "
        f"{mean['rao-blackwell', 'encoder']:,.1f}, means over tasks."
    )
    figures.show(fig, text, alt, profile=profile, name="gradients")


def terms_over_training(runs: list[Run], profile: Profile, stand_in: bool) -> None:
    """The labelled loss's terms over the epochs, a column a task, mean over each model's seeds."""
    terms = {
        "loss_alpha0": "loss",
        "reconstruction": "reconstruction",
        "kl_style": "KL style",
        "characteristics": "terms of z_c",
        "log_qyx": "log q(y|x)",
    }
    frames = [
        run.history[["epoch", *(f"labelled_{term}" for term in terms)]].assign(
            task=run.record["task"], model=run.spec.title, seed=run.record["seed"]
        )
        for run in runs
    ]
    frame = pd.concat(frames).rename(columns={f"labelled_{term}": title for term, title in terms.items()})
    tasks = list(frame["task"].unique())
    palette = figures.colours(frame["task"], frame["model"])
    fig, axes = plt.subplots(
        len(terms), len(tasks), figsize=(3.8 * len(tasks), 2.0 * len(terms)), squeeze=False, sharex="col"
    )
    for column, task in zip(axes.T, tasks, strict=True):
        for ax, title in zip(column, terms.values(), strict=True):
            sns.lineplot(
                frame[frame["task"] == task],
                x="epoch",
                y=title,
                hue="model",
                palette=palette,
                errorbar=None,
                ax=ax,
                legend=title == "loss",
            )
            ax.set(ylabel=f"{title}, nats")
        column[0].set_title(TASKS[task].title)
        column[0].legend(title=None, fontsize=6)
    text = "The labelled loss at label weight 0 and its terms over training, mean over seeds" + (
        f" ({figures.STAND_IN})" if stand_in else ""
    )
    last = (
        frame[frame["epoch"] == frame.groupby(["task", "model"])["epoch"].transform("max")]
        .groupby(["task", "model"], sort=False)["loss"]
        .mean()
    )
    alt = (
        f"{text}. Loss after the last epoch: "
        + "; ".join(f"{TASKS[t].title}, {m}, {v:,.0f}" for (t, m), v in last.items())
        + " nats."
    )
    figures.show(fig, text, alt, profile=profile, name="terms_over_training")


def encoder_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Shares of the encoder's gradient over training: a row a share, a column a task, mean over seeds."""
    shares = {"share_reconstruction": "reconstruction", "share_latents": "latents", "share_labels": "labels"}
    tasks = list(table["task_title"].unique())
    palette = figures.colours(table["task_title"], table["model_title"])
    fig, axes = plt.subplots(
        len(shares), len(tasks), figsize=(3.8 * len(tasks), 2.0 * len(shares)), squeeze=False, sharex="col", sharey=True
    )
    for column, task in zip(axes.T, tasks, strict=True):
        for ax, (share, title) in zip(column, shares.items(), strict=True):
            part = table[table["task_title"] == task]
            sns.lineplot(
                part,
                x="epoch",
                y=share,
                hue="model_title",
                palette=palette,
                marker="o",
                errorbar=None,
                ax=ax,
                legend=share == "share_reconstruction",
            )
            ax.set(ylabel=f"share of {title}", ylim=(0, 1))
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter("{x:g}")
        column[0].set_title(task)
        column[0].legend(title=None, fontsize=6)
    text = "Who moves the encoder: shares of its gradient's norms over training, mean over seeds" + (
        f" ({figures.STAND_IN})" if stand_in else ""
    )
    last = table[table["epoch"] == table.groupby(["task", "model"])["epoch"].transform("max")].groupby(
        ["task_title", "model_title"], sort=False
    )
    alt = (
        f"{text}. Labels' share at the last epoch: "
        + "; ".join(f"{t}, {m}, {v:.2f}" for (t, m), v in last["share_labels"].mean().items())
        + "."
    )
    figures.show(fig, text, alt, profile=profile, name="encoder")
