"""Every figure: made from a model, data or records, shown with its alt text, saved beside its caption."""

import base64
import io
import itertools
import json
import re
from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from PIL import Image

import mccvae_core as core
from data import TASKS, Dataset
from data.files import write_atomically

from .. import PUBLISHED, ROOT
from ..runs import Run, only_looked_at
from ..settings import Profile
from .markup import markdown

plt.style.use(["petroff10", ROOT / "notebooks" / "support" / "show" / "style.mplstyle"])
STAND_IN = "stand-in data"


def caption(text: str, data: Dataset) -> str:
    """A caption that says so where the data are a stand-in."""
    return f"{text} ({STAND_IN})" if data.stand_in else text


def show(fig: Figure, text: str, alt: str, *, profile: Profile | None = None, name: str | None = None) -> None:
    """Display a figure with its caption and alt text; with a profile and a name also save figures/<name>.png and
    .json."""
    png = _small_png(fig)
    plt.close(fig)
    if name is not None and not only_looked_at(profile.folder):
        folder = profile.folder / "figures"
        write_atomically(folder / f"{name}.png", png)
        write_atomically(folder / f"{name}.json", json.dumps({"caption": text, "alt": alt}, indent=1).encode())
    display_png(png, text, alt)


def _small_png(fig: Figure) -> bytes:
    """A figure as a PNG of at most 256 colours: a third of the size, and no pixel further from its colour than can be
    seen."""
    drawn, small = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB")
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def display_png(png: bytes, text: str, alt: str) -> None:
    """A picture with its alt text, its caption under it."""
    display(
        {"image/png": base64.b64encode(png).decode(), "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}}
    )
    display(Markdown(f"*{markdown(text)}*"))


def display_saved(profile: Profile, name: str) -> None:
    """Display a figure that `show` saved. Raises ValueError where its files are broken."""
    path = profile.folder / "figures" / f"{name}.png"
    try:
        about, png = json.loads(path.with_suffix(".json").read_bytes()), path.read_bytes()
        text, alt = about["caption"], about["alt"]
        plt.imread(io.BytesIO(png))
    except (ValueError, TypeError, KeyError, SyntaxError, OSError) as error:
        raise ValueError(f"{path} or the .json beside it is broken ({error}); delete both and run again") from None
    display_png(png, text, alt)


def picture(ax, image: torch.Tensor, **options) -> None:
    """An image (channels, H, W), without axes."""
    ax.imshow(image.detach().cpu().permute(1, 2, 0).squeeze(-1).numpy(), vmin=0, **({"vmax": 1} | options))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _sheet(rows: dict[str, torch.Tensor], title: str, columns: list[str] | None = None) -> Figure:
    """Rows of images (N, channels, H, W), each with its name at the left, all in one axes: many take twice as long."""
    count = max(len(images) for images in rows.values())
    channels, height, width = next(iter(rows.values())).shape[1:]
    down, across = height + height // 12, width + width // 12  # from one image to the next
    sheet = torch.ones(channels, down * len(rows) - height // 12, across * count - width // 12)
    for r, images in enumerate(rows.values()):
        for c, image in enumerate(images.detach().cpu()):
            sheet[:, r * down : r * down + height, c * across : c * across + width] = image
    fig, ax = plt.subplots(figsize=(0.95 * count + 1.6, 1.0 * len(rows) + 0.5))
    picture(ax, sheet)
    ax.set_yticks([r * down + height / 2 for r in range(len(rows))], list(rows))
    ax.set_xticks([c * across + width / 2 for c in range(len(columns or []))], columns or [])
    ax.tick_params(length=0, labelsize="medium", top=False, labeltop=True, labelbottom=False)
    fig.suptitle(title)
    return fig


def label_text(data: Dataset, y: torch.Tensor) -> str:
    """The names of the labels that are 1, and with a question mark those that are not known."""
    marks = {0: None, 1: ""}
    named = [(name, marks.get(value, "?")) for name, value in zip(data.labels, y.tolist(), strict=True)]
    return ", ".join(name + mark for name, mark in named if mark is not None) or "none"


def examples(data: Dataset, count: int = 8) -> list[int]:
    """Positions in the test part: classes by turns where labels exclude each other, else the first images."""
    if not data.task.exclusive:
        return list(range(min(count, len(data.test))))
    classes = data.test.labels.argmax(1)
    turn = torch.stack([(classes[:i] == c).sum() for i, c in enumerate(classes)])  # how many of its class came before
    return sorted(range(len(classes)), key=lambda i: (int(turn[i]), int(classes[i])))[:count]


def colours(tasks: Iterable[str], titles: Iterable[str]) -> dict[str, str]:
    """Model's title -> its colour, the same in every figure: the paper's models have the cycle's first, others follow
    in their order. Of two tasks' models that differ only in the label weight, the n-th of each have the same colour,
    since it is scaled to the task's pixels."""
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    slots = {title: title for title in ("CCVAE", "CCVAE more style", "MCCVAE", "VAE", "conditional VAE")}
    counted = {}
    for task, title in dict.fromkeys(zip(tasks, titles, strict=True)):
        alike = re.sub(r"rb[\d.]+", "rb", title)
        if title not in slots:
            counted[task, alike] = counted.get((task, alike), 0) + 1
            slots[title] = (alike, counted[task, alike])
    places = {slot: place for place, slot in enumerate(dict.fromkeys(slots.values()))}
    return {title: cycle[places[slot] % len(cycle)] for title, slot in slots.items()}


def data_sheet(data: Dataset, profile: Profile) -> None:
    """Meet the data: test images and how often each label is 1."""
    index = examples(data, 10)
    images = core.to_images(data.test.images[index])
    title = caption(f"{data.task.title}: test images", data)
    titles = [label_text(data, data.test.labels[i]) if data.task.exclusive else "" for i in index]
    show(
        _sheet({"": images}, title, titles),
        title,
        f"{len(index)} test images of {data.task.title}, one in a column"
        + (f": {', '.join(titles)}" if data.task.exclusive else "")
        + ".",
    )
    rates = pd.DataFrame(
        {part: getattr(data, part).labels.float().nanmean(0).numpy() for part in ("train", "test")},
        index=list(data.labels),
    )
    fig, ax = plt.subplots(figsize=(6.5, 0.25 * len(rates) + 1.2))
    long = rates.rename_axis("label").reset_index().melt("label", var_name="part", value_name="rate")
    sns.barplot(long, x="rate", y="label", hue="part", ax=ax)
    ax.set(xlabel="share of images with the label", ylabel="", xlim=(0, 1))
    text = caption(f"{data.task.title}: how often each label is 1", data)
    alt = f"{text}. Train: " + ", ".join(f"{label} {rate:.2f}" for label, rate in rates["train"].items()) + "."
    show(fig, text, alt)


def training_curves(run: Run, data: Dataset) -> None:
    """The loss and its terms over the epochs of a run."""
    history = run.history
    panels = {
        "loss and reconstruction": ["labelled_loss", "labelled_reconstruction", "unlabelled_loss"],
        "other terms": [
            "labelled_kl_style",
            "labelled_characteristics",
            "labelled_log_qyx",
            "labelled_log_qyz",
            "labelled_weighting",
        ],
        "weight w": ["labelled_mean_weight"],
    }
    fig, axes = plt.subplots(1, 3, figsize=(11, 3))
    for ax, (title, columns) in zip(axes, panels.items(), strict=True):
        columns = [c for c in columns if c in history]
        long = history.melt("epoch", columns, var_name="term", value_name="value")
        long["term"] = long["term"].str.replace("labelled_", "labelled ").str.replace("_", " ")
        sns.lineplot(
            long, x="epoch", y="value", hue="term", style="term", markers=len(history) < 60, dashes=False, ax=ax
        )
        ax.set(title=title, ylabel="nats per image" if ax is not axes[2] else "mean of w (expectation 1)")
        ax.legend(fontsize=7, title=None)
    first, last = history.iloc[0], history.iloc[-1]
    text = caption(f"{data.task.title}: training of {run.spec.title}, seed {run.record['seed']}", data)
    alt = (
        f"{text}. The labelled loss goes from {first.labelled_loss:.0f} to "
        f"{last.labelled_loss:.0f} nats per image in {len(history)} epochs."
    )
    show(fig, text, alt)


def _must_stay_private(data: Dataset, profile: Profile) -> bool:
    """CelebA's agreement forbids to publish any of its photographs; a report of one's own may show them."""
    return data.task.name == "celeba" and data.source == "real" and profile.profile == PUBLISHED


def reconstructions(data: Dataset, models: dict[str, core.VAE], profile: Profile, *, name: str | None = None) -> None:
    """The paper's Figures 6 to 8: originals, then one row per model. Photographs that may not be published stay out of
    what is."""
    index = examples(data)
    images, labels = data.test.images[index], data.test.labels[index]
    originals = {} if _must_stay_private(data, profile) else {"original": core.to_images(images)}
    rows = originals | {title: core.reconstruct(model, images, labels) for title, model in models.items()}
    number = f"Figure {data.task.reconstruction_figure}. " if name and data.task.reconstruction_figure else ""
    text = caption(f"{number}Reconstructed test images, {data.task.title}", data)
    columns = [label_text(data, y) for y in labels] if data.task.exclusive else None
    first = (
        f"{len(index)} originals in the first row, below them"
        if originals
        else f"of {len(index)} photographs, not shown,"
    )
    alt = f"{text}: {first} the reconstructions by {', '.join(models)}."
    if not originals:
        text += " (the photographs may not be published)"
    show(_sheet(rows, text, columns), text, alt, profile=profile, name=name)


def faces(data: Dataset, models: dict[str, core.VAE], profile: Profile, count: int = 8) -> None:
    """The paper's Figure 3: pictures generated by each model, a row each, where it can for the labels of the same test
    images."""
    y = data.test.take(examples(data, count)).labels.float()
    rows = {}
    for title, model in models.items():
        device = next(model.parameters()).device
        rows[title] = core.generate(model, y.to(device), generator=torch.Generator(device).manual_seed(0))
    text = caption(f"Figure 3. Pictures generated by different VAEs, {data.task.title}", data)
    knows = "; a VAE does not know them" if any(type(model) is core.VAE for model in models.values()) else ""
    listed = "; ".join(f"{i}. {label_text(data, one)}" for i, one in enumerate(y, 1))
    below = f"{text}. Each column has the labels of one test image{knows}: {listed}."
    alt = f"{text}: {len(y)} pictures in each of the rows {', '.join(rows)}."
    show(_sheet(rows, text, [str(i) for i in range(1, len(y) + 1)]), below, alt, profile=profile, name="figure_3")


def reconstruction_name(task: str) -> str:
    """What the figure of a task's reconstructions is called: by the paper's number where it has one."""
    return f"figure_{TASKS[task].reconstruction_figure or task}"


def samples(data: Dataset, model: core.MCCVAE, title: str, count: int = 8) -> None:
    """Images generated from label vectors: a row for each class, or for both values of each label that the paper walks
    along (of every label, where it walks none)."""
    eye = torch.eye(len(data.labels))
    if data.task.exclusive:
        wanted = {label: eye[i].repeat(count, 1) for i, label in enumerate(data.labels)}
    else:
        others = data.test.some(count).labels.float()
        wanted = {}
        walked = [label for _, towards in data.task.walks.values() for label in towards]
        for label, value in itertools.product(walked or data.labels, (0.0, 1.0)):
            y = others.clone()
            y[:, data.labels.index(label)] = value
            wanted[f"{label} = {value:.0f}"] = y
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(0)
    rows = {name: core.generate(model, y.to(device), generator=noise) for name, y in wanted.items()}
    text = caption(f"{data.task.title}: samples of {title}, z_c from the conditional prior of the row's label", data)
    show(_sheet(rows, text), text, f"{text}: {count} generated images in each of the rows {', '.join(rows)}.")


def accuracy_figure(frame: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Test accuracy of every run beside the majority's, a panel a task; seeds are points."""
    tasks = list(frame["task"].unique())
    palette = colours(frame["task"], frame["model_title"])
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
        f" ({STAND_IN})" if stand_in else ""
    )
    best = frame[frame["part"] == "test"].groupby("task_title")[["accuracy", "majority_accuracy"]].mean()
    alt = (
        f"{text}. Means over models: "
        + "; ".join(f"{task} {row.accuracy:.2f} against {row.majority_accuracy:.2f}" for task, row in best.iterrows())
        + "."
    )
    show(fig, text, alt, profile=profile, name="accuracy")


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
    palette = colours(table["task_title"], table["model_title"])
    fig, axes = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 3.2), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        part = table[table["task"] == task]
        part = part.assign(**{title: -part[term] for term, title in minus.items()}).rename(columns=names)
        long = part.melt(["model_title"], [*names.values(), *minus.values()], var_name="term", value_name="nats")
        sns.barplot(long, x="nats", y="term", hue="model_title", palette=palette, ax=ax)
        ax.set(title=part["task_title"].iloc[0], xlabel="nats per image", ylabel="")
        # below: bars reach everywhere
        ax.legend(title=None, fontsize=7, loc="upper center", bbox_to_anchor=(0.4, -0.2), ncol=2)
    text = "The training loss's terms beside reconstruction" + (f" ({STAND_IN})" if stand_in else "")
    largest = [f"{task} {part['weighting'].abs().max():.0f}" for task, part in table.groupby("task_title", sort=False)]
    alt = f"{text}. Largest absolute weighting term: {', '.join(largest)} nats; all numbers are in the table of terms."
    show(fig, text, alt, profile=profile, name="loss_terms")


def gradient_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Spread of the gradient by estimator and part, a panel a task, mean over its models."""
    tasks = list(table["task_title"].unique())
    fig, axes = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 2.8), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        sns.barplot(table[table["task_title"] == task], x="sd", y="part", hue="estimator", errorbar=None, ax=ax)
        ax.set(title=task, xscale="log", xlabel="sd of the gradient over draws of the noise", ylabel="")
        ax.legend(title=None, fontsize=7)
    text = "Spread of the labelled loss's gradient, mean over models" + (f" ({STAND_IN})" if stand_in else "")
    mean = table.groupby(["estimator", "part"], sort=False)["sd"].mean()
    alt = (
        f"{text}. On the encoder: official {mean['official', 'encoder']:,.1f}, rao-blackwell "
        f"{mean['rao-blackwell', 'encoder']:,.1f}, means over tasks."
    )
    show(fig, text, alt, profile=profile, name="gradients")


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
    palette = colours(frame["task"], frame["model"])
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
        f" ({STAND_IN})" if stand_in else ""
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
    show(fig, text, alt, profile=profile, name="terms_over_training")


def encoder_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Shares of the encoder's gradient over training: a row a share, a column a task, mean over seeds."""
    shares = {"share_reconstruction": "reconstruction", "share_latents": "latents", "share_labels": "labels"}
    tasks = list(table["task_title"].unique())
    palette = colours(table["task_title"], table["model_title"])
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
        f" ({STAND_IN})" if stand_in else ""
    )
    last = table[table["epoch"] == table.groupby(["task", "model"])["epoch"].transform("max")].groupby(
        ["task_title", "model_title"], sort=False
    )
    alt = (
        f"{text}. Labels' share at the last epoch: "
        + "; ".join(f"{t}, {m}, {v:.2f}" for (t, m), v in last["share_labels"].mean().items())
        + "."
    )
    show(fig, text, alt, profile=profile, name="encoder")


def trade_off_figure(table: pd.DataFrame, profile: Profile, stand_in: bool) -> None:
    """Test accuracy against the unbiased test loss, a point a run, a panel a task."""
    tasks = list(table["task_title"].unique())
    palette = colours(table["task_title"], table["model_title"])
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
        "mean over seeds; better is up and left" + (f" ({STAND_IN})" if stand_in else "")
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
    show(fig, text, alt, profile=profile, name="trade_off")
