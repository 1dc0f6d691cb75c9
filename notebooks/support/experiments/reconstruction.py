"""Table 3: the training loss beside the paper's, its terms, and what of it is reconstruction."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

import mccvae_core as core
from data import TASKS, Dataset

from .. import PUBLISHED
from ..runs import Run
from ..settings import Profile
from ..show import figures, tables
from ..show.numbers import decimal, listed, signed
from ..show.tables import about_run, named_columns
from .paper import PAPER, differences, over_seeds, wide

SPLIT_TERMS = (
    "reconstruction",
    "kl_style",
    "characteristics",
    "log_qyz",
    "weighting",
    "log_qyx",
    "log_py",
    "mean_weight",
)


def loss_frame(runs: list[Run]) -> pd.DataFrame:
    """One row a run: its labelled loss at alpha = 0 over the whole training part with the final weights, the loss's
    terms, the running mean of the last epoch, the test part's loss and reconstruction, and for both parts the bound by
    rao-blackwell."""
    rows = []
    for run in runs:
        train, test = run.metrics["train"]["loss"], run.metrics["test"]["loss"]
        terms = {term: train[term] for term in SPLIT_TERMS} | {"ess_share": train["ess"] / run.metrics["train"]["n"]}
        last = run.history["labelled_loss_alpha0"].iloc[-1]
        bound = {
            "bound": run.metrics["train"]["bound"]["loss_alpha0"],
            "test_bound": run.metrics["test"]["bound"]["loss_alpha0"],
        }
        seconds = {"seconds": run.record["seconds"], "epochs": run.record["epochs"]}
        rows.append(
            about_run(run)
            | {"n": run.metrics["train"]["n"], "loss": train["loss_alpha0"], "last_epoch_mean": last}
            | bound
            | terms
            | {"test_loss": test["loss_alpha0"], "test_reconstruction": test["reconstruction"]} | seconds
        )  # fmt: skip
    return pd.DataFrame(rows)


def loss_table(runs: list[Run]) -> pd.DataFrame:
    """Table 3: `loss_frame`, means over seeds, beside the paper's. Between models only the bounds may be compared."""
    frame = loss_frame(runs)
    values = [
        c for c in frame.columns if c not in ("task", "task_title", "model", "model_title", "seed", "stand_in", "n")
    ]
    return over_seeds(frame, ["loss", *[v for v in values if v != "loss"]], PAPER["table_3"])


def display_losses(table: pd.DataFrame, text: str, **options) -> None:
    """Table 3 in the paper's layout, the last epoch's running mean beside it; options as of `display_table`."""
    text = f"{text}; ours: {tables.seeds_note(table)}"
    tables.display_table(wide(table, "loss", 0, {"last_epoch_mean": "last epoch"}), text, index=True, **options)


def term_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The train loss and its terms, and the test part's, for showing."""
    shown = table.assign(minus_log_qyx=-table["log_qyx"], minus_log_py=-table["log_py"])
    names = {
        "task_title": "task", "model_title": "model", "loss": "loss", "reconstruction": "reconstruction",
        "kl_style": "KL style",
        "characteristics": "terms of z_c", "log_qyz": "log q(y|z_c)", "weighting": "weighting",
        "minus_log_qyx": "−log q(y|x)",
        "minus_log_py": "−log p(y)", "mean_weight": "mean w", "ess_share": "ESS of w / n", "bound": "unbiased",
        "test_bound": "test, unbiased",
        "test_reconstruction": "test reconstruction",
    }  # fmt: skip
    table = named_columns(shown, names)
    return table.assign(
        **{
            c: table[c].map(lambda v: decimal(v, 1))
            for c in list(names.values())[2:]
            if c not in ("mean w", "ESS of w / n")
        }
    )


def finding(frame: pd.DataFrame) -> str:
    """Where MCCVAE's loss differs from CCVAE's, paired over seeds, and how much of that is reconstruction; from a
    `loss_frame`."""
    loss, pixels = (differences(frame, value, "mccvae", "ccvae") for value in ("loss", "reconstruction"))
    if not loss:
        worst = frame.groupby("task_title", sort=False)["loss"].mean()
        return "The training loss is " + listed(f"{v:,.0f} nats on {t}" for t, v in worst.items()) + "."
    return (
        "MCCVAE's training loss minus CCVAE's is "
        + listed(f"{signed(d, 1)} nats on {t} ({signed(pixels[t], 1)} of it reconstruction)" for t, d in loss.items())
        + "; the rest comes from the latents' terms and from w, so the loss alone does not measure the pictures."
    )


def loss_terms_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """The training loss's terms of each model, a panel a task, reconstruction left out (it is too large to draw beside
    the others)."""
    names = {
        "kl_style": "KL style",
        "characteristics": "terms of z_c",
        "log_qyz": "log q(y|z_c)",
        "weighting": "weighting",
    }
    minus = {"log_qyx": "−log q(y|x)", "log_py": "−log p(y)"}
    tasks = list(table["task"].unique())
    palette = figures.colours(table["task_title"], table["model_title"])
    fig, axes = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 3.2), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        part = table[table["task"] == task]
        part = part.assign(**{title: -part[term] for term, title in minus.items()}).rename(columns=names)
        long = part.melt(["model_title"], [*names.values(), *minus.values()], var_name="term", value_name="nats")
        sns.barplot(long, x="nats", y="term", hue="model_title", palette=palette, ax=ax)
        ax.set(title=part["task_title"].iloc[0], xlabel="nats per image", ylabel="")
        # below: bars reach everywhere
        ax.legend(title=None, fontsize=7, loc="upper center", bbox_to_anchor=(0.4, -0.2), ncol=2)
    text = "The training loss's terms beside reconstruction" + (f" ({figures.STAND_IN})" if stand_in else "")
    largest = [f"{task} {part['weighting'].abs().max():.0f}" for task, part in table.groupby("task_title", sort=False)]
    alt = f"{text}. Largest absolute weighting term: {', '.join(largest)} nats; all numbers are in the table of terms."
    figures.show(fig, text, alt, profile=profile, name="loss_terms")


def reconstruction_name(task: str) -> str:
    """What the figure of a task's reconstructions is called: by the paper's number where it has one."""
    return f"figure_{TASKS[task].reconstruction_figure or task}"


def _must_stay_private(data: Dataset, profile: Profile) -> bool:
    """CelebA's agreement forbids to publish any of its photographs; a report of one's own may show them."""
    return data.task.name == "celeba" and data.source == "real" and profile.profile == PUBLISHED


def reconstructions(data: Dataset, models: dict[str, core.VAE], profile: Profile, *, name: str | None = None) -> None:
    """The paper's Figures 6 to 8: originals, then one row per model. Photographs that may not be published stay out of
    what is."""
    index = figures.examples(data)
    images, labels = data.test.images[index], data.test.labels[index]
    originals = {} if _must_stay_private(data, profile) else {"original": core.to_images(images)}
    rows = originals | {title: core.reconstruct(model, images, labels) for title, model in models.items()}
    number = f"Figure {data.task.reconstruction_figure}. " if name and data.task.reconstruction_figure else ""
    text = figures.caption(f"{number}Reconstructed test images, {data.task.title}", data)
    columns = [figures.label_text(data, y) for y in labels] if data.task.exclusive else None
    first = (
        f"{len(index)} originals in the first row, below them"
        if originals
        else f"of {len(index)} photographs, not shown,"
    )
    alt = f"{text}: {first} the reconstructions by {', '.join(models)}."
    if not originals:
        text += " (the photographs may not be published)"
    figures.show(figures.sheet(rows, text, columns), text, alt, profile=profile, name=name)


def faces(data: Dataset, models: dict[str, core.VAE], profile: Profile, count: int = 8) -> None:
    """The paper's Figure 3: pictures generated by each model, a row each, where it can for the labels of the same test
    images."""
    y = data.test.take(figures.examples(data, count)).labels.float()
    rows = {}
    for title, model in models.items():
        device = next(model.parameters()).device
        rows[title] = core.generate(model, y.to(device), generator=torch.Generator(device).manual_seed(0))
    text = figures.caption(f"Figure 3. Pictures generated by different VAEs, {data.task.title}", data)
    knows = "; a VAE does not know them" if any(type(model) is core.VAE for model in models.values()) else ""
    listed = "; ".join(f"{i}. {figures.label_text(data, one)}" for i, one in enumerate(y, 1))
    below = f"{text}. Each column has the labels of one test image{knows}: {listed}."
    alt = f"{text}: {len(y)} pictures in each of the rows {', '.join(rows)}."
    figures.show(
        figures.sheet(rows, text, [str(i) for i in range(1, len(y) + 1)]), below, alt, profile=profile, name="figure_3"
    )
