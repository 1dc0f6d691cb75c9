"""Every table and every finding, from the records of runs alone. The paper's numbers are read from paper.yaml."""

import html

import pandas as pd
import torch
import yaml
from IPython.display import HTML, display

import mccvae_core as core
from data import TASKS, Dataset

from . import ROOT
from .figures import STAND_IN, walk_rows
from .runs import PARTS, Run
from .settings import ModelSpec, Profile

PAPER = yaml.safe_load((ROOT / "notebooks" / "support" / "paper.yaml").read_text())
SCORES = ("accuracy", "majority_accuracy", "balanced_accuracy", "exact_match", "majority_exact_match", "argmax_accuracy",
          "majority_argmax_accuracy", "argmax_balanced_accuracy", "sampled_accuracy")  # fmt: skip
SPLIT_TERMS = ("reconstruction", "kl_style", "characteristics", "log_qyz", "weighting", "log_qyx", "log_py", "mean_weight")


def _about(run: Run) -> dict:
    task = TASKS[run.record["task"]]
    return {
        "task": task.name,
        "task_title": task.title,
        "model": run.record["model"],
        "model_title": run.spec.title,
        "seed": run.record["seed"],
        "stand_in": run.record["data"]["stand_in"],
    }


def score_frame(runs: list[Run]) -> pd.DataFrame:
    """One row a run and part: the scores of metrics.json. Models without a classifier have none and are left out."""
    rows = [
        _about(run) | {"part": part, "n": run.metrics[part]["n"]} | {s: run.metrics[part].get(s) for s in SCORES}
        for run in runs
        for part in PARTS
        if "accuracy" in run.metrics[part]
    ]
    return pd.DataFrame(rows)


def _over_seeds(frame: pd.DataFrame, values: list[str], paper: dict) -> pd.DataFrame:
    """Mean over seeds of each value, the sd of the first, the number of seeds, and the paper's number; a row a task and model."""
    keys = ["task", "task_title", "model", "model_title", "stand_in", "n"]
    grouped = frame.groupby(keys, sort=False)
    table = grouped[values].mean()
    table.insert(1, f"{values[0]}_sd", grouped[values[0]].std())
    table.insert(0, "seeds", grouped.size())
    table = table.reset_index()
    table.insert(keys.index("n") + 1, "paper", [paper.get(m, {}).get(t) for t, m in zip(table["task"], table["model"], strict=True)])
    return table


def accuracy_table(runs: list[Run], part: str) -> pd.DataFrame:
    """Table 1 (part "train") or 2 ("test"): the paper's accuracy beside ours, and the majority's."""
    frame = score_frame(runs)
    return _over_seeds(frame[frame["part"] == part], list(SCORES), PAPER[{"train": "table_1", "test": "table_2"}[part]])


def loss_table(runs: list[Run]) -> pd.DataFrame:
    """Table 3: labelled loss at alpha = 0 over the whole training part with the final weights, its terms, the
    running mean of the last epoch beside it, the test part's loss and reconstruction, and for both parts the bound by
    rao-blackwell, which may be compared between models."""
    rows = []
    for run in runs:
        train, test = run.metrics["train"]["loss"], run.metrics["test"]["loss"]
        terms = {term: train[term] for term in SPLIT_TERMS} | {"ess_share": train["ess"] / run.metrics["train"]["n"]}
        last = run.history["labelled_loss_alpha0"].iloc[-1]
        bound = {"bound": run.metrics["train"]["bound"]["loss_alpha0"], "test_bound": run.metrics["test"]["bound"]["loss_alpha0"]}
        seconds = {"seconds": run.record["seconds"], "epochs": run.record["epochs"]}
        rows.append(
            _about(run) | {"n": run.metrics["train"]["n"], "loss": train["loss_alpha0"], "last_epoch_mean": last} | bound | terms
            | {"test_loss": test["loss_alpha0"], "test_reconstruction": test["reconstruction"]} | seconds
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    values = [c for c in frame.columns if c not in ("task", "task_title", "model", "model_title", "seed", "stand_in", "n")]
    return _over_seeds(frame, ["loss", *[v for v in values if v != "loss"]], PAPER["table_3"])


def intervention_table(data: Dataset, models: dict[str, core.MCCVAE], count: int = 64) -> pd.DataFrame:
    """What each walk of the paper changes on average over test images: see `mccvae_core.intervention_effects`.

    share: a latent's pixel change as a share of the sum over the latents of its block, where one is moved alone.
    """
    rows = []
    for number, (what, towards) in data.task.walks.items():
        goal = {data.labels.index(label): value for label, value in towards.items()}
        fits = torch.stack([data.test.labels[:, label] != value for label, value in goal.items()]).all(0)
        images = data.test.images[fits][:count]
        for name, (model, within) in walk_rows(models).items():
            device = next(model.parameters()).device
            with torch.no_grad():
                z = model.encode(core.to_images(images, device)).loc
            effect = core.intervention_effects(model, z, goal, within=within)
            title, _, which = name.partition("\n")
            about = {"task": data.task.name, "figure": number, "walk": what, "stand_in": data.stand_in, "model_title": title}
            rows.append(about | {"latents": which or "the one", "n": len(images)} | effect)
    table = pd.DataFrame(rows)
    single = table["latents"].str.startswith("latent")
    total = table[single].groupby(["figure", "model_title"])["pixels"].transform("sum")
    table.loc[single, "share"] = table["pixels"] / total
    return table


def audit_table(data: Dataset, models: dict[str, core.MCCVAE], draws: int, count: int = 32) -> pd.DataFrame:
    """`mccvae_core.gradient_audit` of each model on `count` test images: a row a model, estimator and part of the network."""
    rows = []
    for title, model in models.items():
        audit = core.gradient_audit(model, data.test.images[:count], data.test.labels[:count], draws=draws)
        about = {
            "task": data.task.name,
            "task_title": data.task.title,
            "stand_in": data.stand_in,
            "model_title": title,
            "n": min(count, len(data.test)),
            "draws": draws,
        }
        shares = {f"share_{name}": value / sum(audit["share"].values()) for name, value in audit["share"].items()}
        whole = {"slope": audit["slope"], "minus_f": audit["minus_f"], "r2": audit["r2"]} | shares
        for estimator in core.ESTIMATORS:
            e = audit[estimator]
            for part in core.PARTS:
                one = {
                    "estimator": estimator,
                    "loss": e["loss"],
                    "loss_sd": e["loss_sd"],
                    "part": part,
                    "norm": e["norm"][part],
                    "sd": e["sd"][part],
                }
                rows.append(about | one | whole)
    return pd.DataFrame(rows)


def trade_off_table(runs: list[Run]) -> pd.DataFrame:
    """Test loss by rao-blackwell at alpha = 0 beside accuracy, a row a run with a classifier: what a label weight buys and costs.

    `chosen`: of a task's models (means over seeds) the one with the best validation accuracy; test has no say in it.
    """
    rows = []
    for run in runs:
        if "accuracy" in run.metrics["test"]:
            rates = {f"{part}_accuracy": run.metrics[part]["accuracy"] for part in ("validation", "test")}
            weight = {"estimator": run.record["estimator"], "label_weight": run.record["label_weight"], "epochs": run.record["epochs"]}
            rows.append(_about(run) | weight | rates | {"test_bound": run.metrics["test"]["bound"]["loss_alpha0"]})
    table = pd.DataFrame(rows)
    validation = table.groupby(["task", "model"])["validation_accuracy"].transform("mean")
    return table.assign(chosen=validation == validation.groupby(table["task"]).transform("max"))


def floor_table(data: Dataset) -> pd.DataFrame:
    """Table 3's published losses of a task beside the least that any decoder can reach on these images."""
    kind = data.task.likelihood
    floors = {n: core.likelihood_floor(data.train.images, kind, sigmoids=n) for n in ((1, 2) if kind == "bernoulli" else (1,))}
    papers = {model: row[data.task.name] for model, row in PAPER["table_3"].items() if data.task.name in row}
    return pd.DataFrame(
        [
            {"task_title": data.task.title, "likelihood": kind, "sigmoids": n, "floor": floor, "stand_in": data.stand_in}
            | {f"paper, {ModelSpec.parse(m).title}": papers.get(m) for m in PAPER["table_3"]}
            for n, floor in floors.items()
        ]
    )


# --- showing ------------------------------------------------------------------------------------------------


def save_table(table: pd.DataFrame, profile: Profile, name: str) -> None:
    """tables/<name>.csv, whole numbers exact and others to six digits."""
    core.write_atomically(profile.folder / "tables" / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())


def read_table(profile: Profile, name: str) -> pd.DataFrame:
    return pd.read_csv(profile.folder / "tables" / f"{name}.csv")


def _number(value, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:,.{digits}f}".replace("-", "−")


def _pm(mean, sd, digits) -> str:
    return _number(mean, digits) + (f" ± {_number(sd, digits)}" if pd.notna(sd) else "")


def _paper(value) -> str:
    """As the paper prints it: 0.90, 1, 9,676."""
    return "–" if pd.isna(value) else f"{value:,.0f}" if value >= 1 else f"{value:.2f}"


def wide(table: pd.DataFrame, value: str, digits: int, extra: dict[str, str]) -> pd.DataFrame:
    """The paper's layout: models down, tasks across; in each task the paper's number, ours (mean ± sd over seeds), and extra columns."""
    columns = {}
    for task, part in table.groupby("task_title", sort=False):
        part = part.set_index("model_title")
        columns[(task, "paper")] = part["paper"].map(_paper)
        columns[(task, "ours")] = pd.Series({m: _pm(r[value], r[f"{value}_sd"], digits) for m, r in part.iterrows()})
        for column, title in extra.items():
            columns[(task, title)] = part[column].map(lambda v: _number(v, digits))
    return pd.DataFrame(columns).rename_axis(index=None).fillna("–")


def display_accuracy(table: pd.DataFrame, text: str, *, stand_in: bool) -> None:
    """Table 1 or 2 in the paper's layout, the majority beside it."""
    text = f"{text}; ours: {seeds_note(table)}"
    display_table(wide(table, "accuracy", 3, {"majority_accuracy": "majority"}), text, stand_in=stand_in, index=True)


def display_losses(table: pd.DataFrame, text: str, *, stand_in: bool) -> None:
    """Table 3 in the paper's layout, the last epoch's running mean beside it."""
    text = f"{text}; ours: {seeds_note(table)}"
    display_table(wide(table, "loss", 0, {"last_epoch_mean": "last epoch"}), text, stand_in=stand_in, index=True)


def _columns(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return table[list(names)].rename(columns=names)


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
    return _columns(table, names | {c: titles.get(c, c.replace("_", " ").removesuffix(" accuracy")) for c in wanted})


def term_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The train loss and its terms, and the test part's, for showing."""
    shown = table.assign(minus_log_qyx=-table["log_qyx"], minus_log_py=-table["log_py"])
    names = {
        "task_title": "task", "model_title": "model", "loss": "loss", "reconstruction": "reconstruction", "kl_style": "KL style",
        "characteristics": "KL characteristics", "log_qyz": "log q(y|z_c)", "weighting": "weighting", "minus_log_qyx": "−log q(y|x)",
        "minus_log_py": "−log p(y)", "mean_weight": "mean w", "ess_share": "ESS of w / n", "bound": "unbiased", "test_bound": "test, unbiased",
        "test_reconstruction": "test reconstruction",
    }  # fmt: skip
    table = _columns(shown, names)
    return table.assign(
        **{c: table[c].map(lambda v: _number(v, 1)) for c in list(names.values())[2:] if c not in ("mean w", "ESS of w / n")}
    )


def intervention_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The walks' effects, for showing."""
    shown = table.assign(figure="Figure " + table["figure"].astype(str) + ": " + table["walk"])
    names = {
        "figure": "walk",
        "model_title": "model",
        "latents": "latents",
        "n": "images",
        "moved": "moved",
        "others": "others",
        "pixels": "pixels",
        "share": "share",
    }
    return _columns(shown, names)


def audit_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Gradients by estimator and part, for showing."""
    names = {
        "task_title": "task",
        "model_title": "model",
        "estimator": "estimator",
        "loss": "loss",
        "loss_sd": "its sd",
        "part": "part",
        "norm": "norm of mean gradient",
        "sd": "its sd ",
    }
    shown = _columns(table, names)
    return shown.assign(**{c: shown[c].map(lambda v: _number(v, 1)) for c in ("loss", "its sd", "norm of mean gradient", "its sd ")})


def hidden_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The hidden label weight and the shares of the encoder's gradient, a row a model, for showing."""
    names = {
        "task_title": "task", "model_title": "model", "slope": "hidden label weight", "minus_f": "−f", "r2": "R²",
        "share_reconstruction": "reconstruction", "share_latents": "latents", "share_labels": "labels",
    }  # fmt: skip
    shown = _columns(table.drop_duplicates(["task_title", "model_title"]), names)
    return shown.assign(**{c: shown[c].map(lambda v: _number(v, 0)) for c in ("hidden label weight", "−f")})


def trade_off_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Loss against accuracy, for showing."""
    names = {
        "task_title": "task", "model_title": "model", "estimator": "estimator", "label_weight": "label weight", "epochs": "epochs", "seed": "seed",
        "validation_accuracy": "validation accuracy", "test_accuracy": "test accuracy", "test_bound": "test loss, unbiased", "chosen": "chosen on validation",
    }  # fmt: skip
    shown = _columns(table, names)
    return shown.assign(
        **{
            "test loss, unbiased": shown["test loss, unbiased"].map(lambda v: _number(v, 1)),
            "chosen on validation": table["chosen"].map({True: "yes", False: ""}),
        }
    )


def floor_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Floors beside the paper's losses, for showing."""
    shown = table.drop(columns="stand_in").rename(columns={"task_title": "task"})
    numbers = [c for c in shown if c == "floor" or c.startswith("paper")]
    return shown.assign(**{c: shown[c].map(lambda v: _number(v, 0)) for c in numbers})


def scores_of(run: Run) -> pd.DataFrame:
    """One run's scores and losses: a row a score, a column a part of the data."""
    shown = {}
    for part in PARTS:
        metrics = run.metrics[part]
        scores = {s.replace("_", " "): metrics[s] for s in SCORES if s in metrics}
        shown[f"{part} (n = {metrics['n']:,})"] = scores | {
            "loss, nats": metrics["loss"]["loss_alpha0"],
            "reconstruction, nats": metrics["loss"]["reconstruction"],
        }
    return pd.DataFrame(shown)


def display_table(table: pd.DataFrame, text: str, *, stand_in: bool, index: bool = False) -> None:
    """A table with its caption; over a stand-in's results the words say so."""
    text = f"{text} ({STAND_IN})" if stand_in else text
    markup = table.to_html(index=index, border=0, float_format=lambda v: f"{v:,.3f}", na_rep="–", justify="left")
    display(HTML(markup.replace("<thead>", f"<caption>{html.escape(text)}</caption><thead>", 1)))


def seeds_note(table: pd.DataFrame) -> str:
    """What stands behind the numbers of a table."""
    seeds = sorted(set(table["seeds"]))
    counts = ", ".join(f"{title} {int(n):,}" for title, n in table.groupby("task_title", sort=False)["n"].first().items())
    many = f"mean ± sd over {seeds[0]} seeds" if seeds[0] > 1 else "one seed"
    return f"{many}; images: {counts}"


# --- findings: sentences from numbers -------------------------------------------------------------------------


def _differences(table: pd.DataFrame, value: str, first: str, second: str) -> dict[str, float]:
    """Value of the first model minus that of the second, for each task that has both."""
    pivot = table.pivot_table(index="task_title", columns="model", values=value, sort=False)
    return {} if not {first, second} <= set(pivot.columns) else (pivot[first] - pivot[second]).dropna().to_dict()


def _list(parts) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def training_finding(run: Run, data: Dataset) -> str:
    """What one trained model reaches on the test part."""
    test = run.metrics["test"]
    sentence = f"After {run.record['epochs']} epochs {run.spec.title} (seed {run.record['seed']}) reconstructs test images at {test['loss']['reconstruction']:,.0f} nats"
    if "accuracy" in test:
        sentence += f" and reads {100 * test['accuracy']:.1f} % of their labels rightly, where the majority's answer gets {100 * test['majority_accuracy']:.1f} %"
    if "argmax_accuracy" in test:
        sentence += f"; the most probable label is the true one for {100 * test['argmax_accuracy']:.1f} % of the images (majority {100 * test['majority_argmax_accuracy']:.1f} %)"
    return sentence + (f", all on {STAND_IN}." if data.stand_in else ".")


def classification_finding(train: pd.DataFrame, test: pd.DataFrame) -> str:
    """CCVAE against MCCVAE, and both against the majority."""
    gap = _differences(test, "accuracy", "ccvae", "mccvae")
    lift = (test.groupby("task_title", sort=False)[["accuracy", "majority_accuracy"]].mean()).eval("accuracy - majority_accuracy")
    parts = []
    if gap:
        parts.append(
            "On test images CCVAE's accuracy per label minus MCCVAE's is " + _list(f"{100 * d:+.1f} points on {t}" for t, d in gap.items())
        )
    parts.append(
        "over always answering the majority the models gain " + _list(f"{100 * d:+.1f} points on {t}" for t, d in lift.items())
        + f", and {'one seed' if test['seeds'].max() == 1 else 'the spread over seeds'} limits what can be told from that"
    )  # fmt: skip
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def reconstruction_finding(table: pd.DataFrame) -> str:
    """Where MCCVAE's loss differs from CCVAE's, and how much of that is reconstruction."""
    loss, pixels = (_differences(table, value, "mccvae", "ccvae") for value in ("loss", "reconstruction"))
    if not loss:
        worst = table.groupby("task_title", sort=False)["loss"].mean()
        return "The training loss is " + _list(f"{v:,.0f} nats on {t}" for t, v in worst.items()) + "."
    return (
        "MCCVAE's training loss minus CCVAE's is " + _list(f"{d:+,.1f} nats on {t} ({pixels[t]:+,.1f} of it reconstruction)" for t, d in loss.items())
        + "; the rest comes from the latents' terms and from w, so the loss alone does not measure the pictures."
    )  # fmt: skip


def intervention_finding(table: pd.DataFrame) -> str:
    """How far the walks move their labels and others, and how evenly a block's latents share the work."""
    whole = table[~table["latents"].str.startswith("latent")]
    moved, others = whole["moved"].mean(), whole["others"].mean()
    sentence = f"Walking a label's whole block moves its probability, read again from the picture, by {moved:.2f} on average and every other label's by {others:.2f}"
    single = table[table["latents"].str.startswith("latent")]
    if len(single):
        top = single.groupby(["figure", "model_title"])["share"].max()
        sentence += f"; in MCCVAE the stronger latent of a block does {100 * top.min():.0f} to {100 * top.max():.0f} % of the pixel change"
    return sentence + "."


def objective_finding(table: pd.DataFrame) -> str:
    """How much noise and which hidden weight the official estimator has."""
    spread = table.pivot_table(index=["task_title", "model_title", "part"], columns="estimator", values="sd", sort=False)
    ratio = (spread["official"] / spread["rao-blackwell"]).unstack("part")
    models = table.drop_duplicates(["task_title", "model_title"])
    return (
        f"The official estimator's gradient scatters {ratio['encoder'].min():,.0f} to {ratio['encoder'].max():,.0f} times as much on the encoder and "
        f"{ratio['classifier'].min():,.0f} to {ratio['classifier'].max():,.0f} times on the classifier as rao-blackwell's, and on the encoder it hides a label "
        f"weight of {models['slope'].min():,.0f} to {models['slope'].max():,.0f} (−f: {models['minus_f'].min():,.0f} to {models['minus_f'].max():,.0f}; "
        f"R² {models['r2'].min():.2f} to {models['r2'].max():.2f}), on top of the objective's own 1."
    )


def save_finding(sentence: str, profile: Profile, name: str) -> None:
    """tables/finding_<name>.txt, from which the report takes it; and shown as the notebook's last line."""
    core.write_atomically(profile.folder / "tables" / f"finding_{name}.txt", (sentence + "\n").encode())
    print(sentence)


def read_finding(profile: Profile, name: str) -> str:
    return (profile.folder / "tables" / f"finding_{name}.txt").read_text().strip()
