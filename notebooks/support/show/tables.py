"""Every table and every finding, from the records of runs alone. The paper's numbers are read from paper.yaml."""

import io
from pathlib import Path

import pandas as pd
import torch.nn.functional as F
import yaml
from IPython.display import HTML, display
from scipy import stats

import mccvae_core as core
from data import TASKS, Dataset, own
from data.files import read_limited, reason, write_atomically

from .. import ROOT
from ..measures import block_effects, gradients, scores
from ..runs import NAMES, PAPER_TASKS, PARTS, Run, RunError, only_looked_at
from ..settings import ModelSpec, Profile
from .figures import STAND_IN
from .markup import Markup, escaped, link
from .walks import walk_rows, walk_starts

PAPER = yaml.safe_load((ROOT / "notebooks" / "support" / "paper.yaml").read_text())
SCORES = ("accuracy", "majority_accuracy", "balanced_accuracy", "exact_match", "majority_exact_match",
          "argmax_accuracy", "majority_argmax_accuracy", "argmax_balanced_accuracy", "sampled_accuracy")  # fmt: skip
MAX_TABLE = 256 << 20  # bytes
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
    """Mean over seeds of each value, the sd of the first, the number of seeds, and the paper's number; a row a task and
    model."""
    keys = ["task", "task_title", "model", "model_title", "stand_in", "n"]
    grouped = frame.groupby(keys, sort=False)
    table = grouped[values].mean()
    table.insert(1, f"{values[0]}_sd", grouped[values[0]].std())
    table.insert(0, "seeds", grouped.size())
    table = table.reset_index()
    table.insert(
        keys.index("n") + 1,
        "paper",
        [paper.get(m, {}).get(t) for t, m in zip(table["task"], table["model"], strict=True)],
    )
    return table


def accuracy_table(runs: list[Run], part: str) -> pd.DataFrame:
    """Table 1 (part "train") or 2 ("test"): the paper's accuracy beside ours, and the majority's."""
    frame = score_frame(runs)
    return _over_seeds(frame[frame["part"] == part], list(SCORES), PAPER[{"train": "table_1", "test": "table_2"}[part]])


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
            _about(run)
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
    return _over_seeds(frame, ["loss", *[v for v in values if v != "loss"]], PAPER["table_3"])


RESULTS = {  # of a run: where its metrics have it, its name for people, its digits
    "train_accuracy": (("train", "accuracy"), "train accuracy", 3),
    "test_accuracy": (("test", "accuracy"), "test accuracy", 3),
    "train_loss": (("train", "loss", "loss_alpha0"), "train loss", 0),
    "test_bound": (("test", "bound", "loss_alpha0"), "test loss, unbiased", 0),
    "psnr": (("test", "psnr"), "PSNR, dB", 1),
    "ssim": (("test", "ssim"), "SSIM", 3),
}


def results_table(runs: list[Run]) -> pd.DataFrame:
    """The whole reproduction at a glance: a row a task and model, of each of RESULTS the mean over seeds and
    `<name>_half`, half its 95 % interval (Student; NaN for one seed); the paper's three numbers and the majority's
    accuracy on the test part beside them."""

    def found(run, path):
        value = run.metrics
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    rows = [
        _about(run)
        | {"majority": run.metrics["test"].get("majority_accuracy")}
        | {name: found(run, path) for name, (path, *_) in RESULTS.items()}
        for run in runs
    ]
    frame = pd.DataFrame(rows).astype({name: float for name in ("majority", *RESULTS)})
    grouped = frame.groupby(["task", "task_title", "model", "model_title", "stand_in"], sort=False)
    table = grouped[["majority", *RESULTS]].mean()
    table.insert(0, "seeds", grouped.size())
    for name in RESULTS:
        n = grouped[name].count()
        table[f"{name}_half"] = stats.t.ppf(0.975, n - 1) * grouped[name].std() / n**0.5
    table = table.reset_index()
    for key, name in (("table_1", "train_accuracy"), ("table_2", "test_accuracy"), ("table_3", "train_loss")):
        papers = [
            PAPER[key].get(model, {}).get(task) for task, model in zip(table["task"], table["model"], strict=True)
        ]
        table[f"paper_{name}"] = pd.Series(papers, dtype=float)
    return table


def results_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`results_table` for showing: the paper's, where it has any, / ours ± half the 95 % interval."""
    shown = table[["task_title", "model_title", "seeds"]].rename(columns={"task_title": "task", "model_title": "model"})
    for name, (_, title, digits) in RESULTS.items():
        ours = [_pm(mean, half, digits) for mean, half in zip(table[name], table[f"{name}_half"], strict=True)]
        paper = table.get(f"paper_{name}")
        if paper is not None and paper.notna().any():  # own images have none
            title = f"{title}: paper / ours"
            ours = [
                "–" if mean == "–" else f"{_paper(number)} / {mean}" for number, mean in zip(paper, ours, strict=True)
            ]
        shown[title] = ours
    shown.insert(5, "test, majority", [_number(v, 3) for v in table["majority"]])
    return shown


def intervention_tables(data: dict[str, Dataset], trained: list[Run]) -> pd.DataFrame:
    """`intervention_table` of each run, in the order of the paper's figures; data by task. Those of published runs are
    kept."""
    tables = [
        run.scores(
            "interventions", lambda run=run: intervention_table(data[run.record["task"]], {run.spec.title: run.model()})
        )
        for run in trained
    ]
    return pd.concat(tables, ignore_index=True).sort_values("figure", kind="stable", ignore_index=True)


def intervention_table(data: Dataset, models: dict[str, core.MCCVAE], count: int = 64) -> pd.DataFrame:
    """What each walk of the paper changes on average over test images: see `block_effects.intervention_effects`.

    share: a latent's pixel change as a share of the sum over the latents of its block, where one is moved alone.
    """
    rows = []
    for number, (what, towards) in data.task.walks.items():
        goal = {data.labels.index(label): value for label, value in towards.items()}
        images = data.test.take(walk_starts(data, towards)).some(count).images
        for name, (model, within) in walk_rows(models, goal).items():
            effect = block_effects.intervention_effects(model, core.posterior(model, images).loc, goal, within=within)
            title, _, which = name.partition("\n")
            about = {
                "task": data.task.name,
                "figure": number,
                "walk": what,
                "stand_in": data.stand_in,
                "model_title": title,
            }
            rows.append(about | {"latents": which or "the one", "n": len(images)} | effect)
    table = pd.DataFrame(rows)
    single = table["latents"].str.startswith("latent")
    total = table[single].groupby(["figure", "model_title"])["pixels"].transform("sum")
    table.loc[single, "share"] = table["pixels"] / total
    return table


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


def encoder_table(runs: list[Run]) -> pd.DataFrame:
    """Who moves the encoder over training: shares of its gradient's norms, a row a run and measured epoch
    (`runs.measure`).

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
                _about(run)
                | {"epoch": int(row["epoch"]), "label_weight": weight}
                | shares
                | {"share_labels_bare": bare}
            )
    return pd.DataFrame(rows)


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
            rows.append(_about(run) | weight | rates | bounds | {"like": like, "history": run.history})
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


def floor_table(data: Dataset, runs: list[Run]) -> pd.DataFrame:
    """Table 3 held against its likelihood: the least that any decoder can reach on these images, what our models of
    this task reached, and the paper's losses; a row a likelihood. `needed_w`: the mean of w at which our reconstruction
    would give the paper's lowest loss."""
    task, rows = data.task, []
    for sigmoids in (1, 2) if task.likelihood == "bernoulli" else (1,):
        ours = [
            run.metrics["train"]["loss"]
            for run in runs
            if run.spec.sigmoids == sigmoids and run.spec.estimator == "official"
        ]
        best = min(ours, key=lambda terms: terms["loss_alpha0"], default={})
        papers = {m: PAPER["table_3"][m].get(task.name) for m in PAPER["table_3"]}
        rows.append(
            {"task_title": task.title, "likelihood": task.likelihood, "sigmoids": sigmoids, "stand_in": data.stand_in}
            | {"floor": scores.likelihood_floor(data.train.images, task.likelihood, sigmoids=sigmoids)}
            | {"ours": best.get("loss_alpha0"), "ours_reconstruction": best.get("reconstruction")}
            | {f"paper, {ModelSpec.parse(m).title}": loss for m, loss in papers.items()}
            | {"needed_w": min(v for v in papers.values() if v) / best["reconstruction"] if best else None}
        )
    return pd.DataFrame(rows)


def variant_table(data: Dataset, count: int = 5_000) -> pd.DataFrame:
    """Floors of two sigmoids on other treatments of the same grey images: could one of them explain a published
    loss?"""
    images = data.train.some(count).images
    larger = F.interpolate(images.float(), scale_factor=64 / 60, mode="bilinear", antialias=True).round().clamp(0, 255)
    variants = {
        "as everywhere here": images,
        "resized to 64×64, the middle 60×60 cut out": larger[..., 2:-2, 2:-2],
        "at 64×64": larger,
        "every pixel that is not black made white": (images > 0) * 255,
        "black and white exchanged": 255 - images,
    }
    return pd.DataFrame(
        [
            {
                "task_title": data.task.title,
                "images": what,
                "n": len(images),
                "mean grey": variant.float().mean().item() / 255,
            }
            | {
                f"floor, {n} sigmoid{'s' * (n - 1)}": scores.likelihood_floor(variant, "bernoulli", sigmoids=n)
                for n in (1, 2)
            }
            for what, variant in variants.items()
        ]
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


# --- showing ------------------------------------------------------------------------------------------------


def known_table(data: Dataset) -> pd.DataFrame:
    """Number of images of each split of which a label is known, and how many of these have it: one row per label."""
    columns = {}
    for part in PARTS:
        y = getattr(data, part).labels
        pairs = zip((~y.isnan()).sum(0).tolist(), (y == 1).sum(0).tolist(), strict=True)
        columns[f"{part}, {len(y):,} images"] = [f"{known:,} known, {ones:,} of them 1" for known, ones in pairs]
    return pd.DataFrame({"label": data.labels, **columns})


def save_table(table: pd.DataFrame, profile: Profile, name: str) -> None:
    """tables/<name>.csv, whole numbers exact and others to six digits; not where the folder is `only_looked_at`."""
    if only_looked_at(profile.folder):
        return
    write_atomically(profile.folder / "tables" / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())


def read_table(profile: Profile, name: str, runs: list[Run] | None = None) -> pd.DataFrame:
    """`read_csv` of tables/<name>.csv. runs: those of the profile.

    Raises RunError where the table lacks one that it should have: a file cut at the end of a row can still be read."""
    path = profile.folder / "tables" / f"{name}.csv"
    table = read_csv(path)
    mine = [run for run in runs or [] if name in OF_RUNS and OF_RUNS[name](run)]
    keys = [key for key in ("task_title", "model", "seed") if key in table]
    wanted = [tuple(_about(run)[key] for key in keys) for run in mine]
    if lacking := [run for run in wanted if run not in set(table[keys].itertuples(index=False, name=None))]:
        raise RunError(
            f"{path} is not whole, it has no row of {', '.join(map(str, lacking[0]))}; delete it and run again"
        )
    return table


OF_RUNS = {  # table -> which of a profile's runs have rows in it
    "table_1": lambda run: run.spec.kind == "MCCVAE" and run.record["task"] in (*PAPER_TASKS, own.TASK.name),
    "table_2": lambda run: run.spec.kind == "MCCVAE" and run.record["task"] in (*PAPER_TASKS, own.TASK.name),
    "table_3": lambda run: run.record["task"] in (*PAPER_TASKS, own.TASK.name),
    "characteristics": lambda run: run.spec.has_blocks,
    "results": lambda run: True,
}


def read_csv(path: Path) -> pd.DataFrame:
    """Raises RunError for a file that is no table, or not a whole one."""
    try:
        content = read_limited(path, MAX_TABLE)
        if not content.endswith(b"\n"):
            raise ValueError("its last row is cut short")
        return pd.read_csv(io.BytesIO(content), dtype=NAMES)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is broken ({reason(error)}); delete it and run again") from None


def _number(value, digits: int) -> str:
    """Without a sign where it rounds to zero."""
    return "–" if pd.isna(value) else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def _signed(value: float, digits: int) -> str:
    """With a sign, which is + where it rounds to zero."""
    return f"{round(value, digits) + 0.0:+,.{digits}f}".replace("-", "−")


def _interval(low, high, digits: int) -> str:
    return "–" if pd.isna(low) or pd.isna(high) else f"{_number(low, digits)} to {_number(high, digits)}"


def _pm(mean, sd, digits) -> str:
    return _number(mean, digits) + (f" ± {_number(sd, digits)}" if pd.notna(sd) else "")


def _paper(value) -> str:
    """As the paper prints it: 0.90, 1, 9,676."""
    return "–" if pd.isna(value) else f"{value:,.0f}" if value >= 1 else f"{value:.2f}"


def wide(table: pd.DataFrame, value: str, digits: int, extra: dict[str, str]) -> pd.DataFrame:
    """The paper's layout: models down, tasks across; in each task the paper's number, ours (mean ± sd over seeds), and
    extra columns."""
    columns = {}
    for task, part in table.groupby("task_title", sort=False):
        part = part.set_index("model_title")
        columns[(task, "paper")] = part["paper"].map(_paper)
        columns[(task, "ours")] = pd.Series({m: _pm(r[value], r[f"{value}_sd"], digits) for m, r in part.iterrows()})
        for column, title in extra.items():
            columns[(task, title)] = part[column].map(lambda v: _number(v, digits))
    return pd.DataFrame(columns).rename_axis(index=None, columns=["task", "model"]).fillna("–")


def display_accuracy(table: pd.DataFrame, text: str, *, beside: pd.DataFrame | None = None, **options) -> None:
    """Table 1 or 2 in the paper's layout, the majority beside it; beside: further rows, of baselines. Options as of
    `display_table`."""
    text = f"{text}; ours: {seeds_note(table)}"
    models = list(dict.fromkeys(table["model_title"]))
    if beside is not None and len(beside):
        table = pd.concat([table, beside[beside["task_title"].isin(table["task_title"])]], ignore_index=True)
        models = list(dict.fromkeys([*models, *table["model_title"]]))
    shown = wide(table, "accuracy", 3, {"majority_accuracy": "majority"})
    display_table(shown.loc[models], text, index=True, **options)


def display_losses(table: pd.DataFrame, text: str, **options) -> None:
    """Table 3 in the paper's layout, the last epoch's running mean beside it; options as of `display_table`."""
    text = f"{text}; ours: {seeds_note(table)}"
    display_table(wide(table, "loss", 0, {"last_epoch_mean": "last epoch"}), text, index=True, **options)


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
        "task_title": "task", "model_title": "model", "loss": "loss", "reconstruction": "reconstruction",
        "kl_style": "KL style",
        "characteristics": "terms of z_c", "log_qyz": "log q(y|z_c)", "weighting": "weighting",
        "minus_log_qyx": "−log q(y|x)",
        "minus_log_py": "−log p(y)", "mean_weight": "mean w", "ess_share": "ESS of w / n", "bound": "unbiased",
        "test_bound": "test, unbiased",
        "test_reconstruction": "test reconstruction",
    }  # fmt: skip
    table = _columns(shown, names)
    return table.assign(
        **{
            c: table[c].map(lambda v: _number(v, 1))
            for c in list(names.values())[2:]
            if c not in ("mean w", "ESS of w / n")
        }
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


def _rounded(table: pd.DataFrame, digits: int, columns) -> pd.DataFrame:
    return table.assign(**{c: table[c].map(lambda v: _number(v, digits)) for c in columns})


def audit_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Gradients by estimator and part, for showing."""
    names = {
        "task_title": "task", "model_title": "model", "estimator": "estimator", "loss": "loss", "loss_sd": "sd of loss",
        "part": "part", "norm": "norm of mean gradient", "sd": "sd of gradient",
    }  # fmt: skip
    return _rounded(_columns(table, names), 1, list(names.values())[3:5] + list(names.values())[6:])


def hidden_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The hidden label weight and the spread of w, a row a model, for showing."""
    names = {
        "task_title": "task", "model_title": "model", "slope": "hidden label weight", "minus_f": "−f", "r2": "R²",
        "mean_weight": "mean w", "ess": "ESS of w, images",
    }  # fmt: skip
    official = table[table["estimator"] == "official"].drop_duplicates(["task_title", "model_title"])
    return _rounded(_rounded(_columns(official, names), 0, ["hidden label weight", "−f"]), 1, ["ESS of w, images"])


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
    return _rounded(_columns(mean, names), 0, ["label weight"])


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
        shown[value] = [_pm(mean, sd, digits) for mean, sd in pairs]
    names = {
        "task_title": "task", "model_title": "model", "estimator": "estimator", "label_weight": "label weight",
        "epochs": "epochs", "seeds": "seeds",
        "validation_accuracy": "validation accuracy", "test_accuracy": "test accuracy",
        "test_bound": "test loss, unbiased",
        "epochs_to_official": "epochs to official's accuracy", "seconds_to_official": "seconds to it",
        "chosen": "chosen on validation",
    }  # fmt: skip
    return _columns(shown.assign(chosen=shown["chosen"].map({True: "yes", False: ""})), names)


def floor_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Floors beside what was reached and the paper's losses, for showing."""
    names = {
        "task_title": "task",
        "ours": "ours, lowest loss",
        "ours_reconstruction": "its reconstruction",
        "needed_w": "w needed for the paper's",
    }
    shown = table.drop(columns="stand_in").rename(columns=names)
    return _rounded(shown, 0, [c for c in shown if c in ("floor", *list(names.values())[1:3]) or c.startswith("paper")])


def variant_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Floors of other treatments, for showing."""
    return _rounded(table.rename(columns={"task_title": "task"}), 0, [c for c in table if c.startswith("floor")])


def weight_columns(table: pd.DataFrame) -> pd.DataFrame:
    """How far w and the official loss move with the noise, for showing."""
    shown = table.assign(
        w=[
            f"{r.mean_weight:.3f} ({r.lowest_mean_weight:.3f} to {r.highest_mean_weight:.3f})"
            for r in table.itertuples()
        ],
        official=[
            f"{_number(r.loss, 0)} ({_number(r.lowest_loss, 0)} to {_number(r.highest_loss, 0)})"
            for r in table.itertuples()
        ],
    )
    names = {
        "task_title": "task", "model_title": "model", "w": "mean w (lowest to highest)", "ess_share": "ESS of w / n",
        "official": "official loss (lowest to highest)", "bound": "unbiased loss",
    }  # fmt: skip
    return _rounded(_columns(shown, names), 0, ["unbiased loss"])


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
    return pd.DataFrame(shown).rename_axis(columns="score")


def display_table(
    table: pd.DataFrame, text: str, *, stand_in: bool, index: bool = False, note=None, csv: str | None = None
) -> None:
    """A table with its caption; over a stand-in's results the words say so.

    note(task title, model title) -> markup behind a number: where it came from. It gets None for what a cell's row and
    column don't name.
    csv: the file of the table's full numbers, as seen from the page. Of a table without rows it says that there are
    none."""
    caption = escaped(f"{text} ({STAND_IN})" if stand_in else text)
    if csv:
        caption += f" {link(csv, csv.rpartition('/')[2])}".replace("<a ", '<a class="csv" ')
    if not len(table):
        display(HTML(f"<p><em>{caption}: no run of this profile is of that kind.</em></p>"))
        return
    shown = table.map(_cell)
    if note is not None:
        shown = _with_notes(table, shown, note)
    shown = shown.rename(columns=escaped, index=escaped)
    # no attribute of HTML's
    markup = shown.to_html(index=index, border=0, justify="left", escape=False).replace(' halign="left"', "")
    display(HTML(markup.replace("<thead>", f"<caption>{caption}</caption><thead>", 1)))


def _cell(value) -> str:
    """As markup."""
    if isinstance(value, Markup):
        return value
    text = escaped("–" if pd.isna(value) else f"{value:,.3f}" if isinstance(value, float) else str(value))
    return text.replace("± ", "±&nbsp;")  # a narrow column breaks before the sign, not after it too


def _with_notes(table: pd.DataFrame, shown: pd.DataFrame, note) -> pd.DataFrame:
    """Notes behind the number that they are of: in a table in the paper's layout behind each of ours, else behind the
    last column that says which model or task a row is of."""
    if table.columns.nlevels == 2:
        noted = {
            column: [cell if cell == "–" else cell + note(column[0], model) for model, cell in shown[column].items()]
            for column in shown
            if column[1] == "ours"
        }
    else:
        named = [column for column in ("task", "model") if column in table]
        of = lambda column: table[column] if column in table else [None] * len(table)  # noqa: E731
        marks = [note(task, model) for task, model in zip(of("task"), of("model"), strict=True)]
        noted = {
            column: [cell + mark for cell, mark in zip(shown[column], marks, strict=True)] for column in named[-1:]
        }
    shown = shown.copy()
    for column, cells in noted.items():
        shown[column] = cells
    return shown


def seeds_note(table: pd.DataFrame) -> str:
    """What stands behind the numbers of a table."""
    seeds = sorted({int(n) for n in table["seeds"]})
    counts = ", ".join(
        f"{title} {int(n):,}" for title, n in table.groupby("task_title", sort=False)["n"].first().items()
    )
    many = "one seed" if seeds == [1] else f"mean ± sd over {seeds[0]}{f' to {seeds[-1]}' * (len(seeds) > 1)} seeds"
    return f"{many}; images: {counts}"


# --- findings: sentences from numbers -------------------------------------------------------------------------


PAPERS = tuple(PAPER["table_3"])  # the models that the paper has


def _differences(frame: pd.DataFrame, value: str, first: str, second: str) -> dict[str, float]:
    """Value of the first model minus that of the second, a row of the frame a run, mean over the seeds that both have,
    for each task that has such."""
    pivot = frame.pivot_table(index=["task_title", "seed"], columns="model", values=value, sort=False)
    if not {first, second} <= set(pivot.columns):
        return {}
    return (pivot[first] - pivot[second]).dropna().groupby(level=0, sort=False).mean().to_dict()


def listed(parts) -> str:
    parts = list(parts)
    return "".join(parts) if len(parts) < 2 else ", ".join(parts[:-1]) + " and " + parts[-1]


def training_finding(run: Run, data: Dataset) -> str:
    """What one trained model reaches on the test part."""
    test = run.metrics["test"]
    what = f"After {run.record['epochs']} epochs {run.spec.title} (seed {run.record['seed']})"
    sentence = f"{what} reconstructs test images at {test['loss']['reconstruction']:,.0f} nats"
    if "accuracy" in test:
        majority = f"always the majority: {100 * test['majority_accuracy']:.1f} %"
        sentence += f" and reads {100 * test['accuracy']:.1f} % of their labels right ({majority})"
    if "argmax_accuracy" in test:
        majority = f"majority: {100 * test['majority_argmax_accuracy']:.1f} %"
        sentence += (
            f"; the most probable one is right for {100 * test['argmax_accuracy']:.1f} % of the images ({majority})"
        )
    return sentence + (f", all on {STAND_IN}." if data.stand_in else ".")


def classification_finding(frame: pd.DataFrame) -> str:
    """CCVAE against MCCVAE, paired over seeds, and the paper's models against the majority; from a `score_frame`."""
    test = frame[frame["part"] == "test"]
    gap = _differences(test, "accuracy", "ccvae", "mccvae")
    papers = test[test["model"].isin(PAPERS)] if test["model"].isin(PAPERS).any() else test
    lift = (
        papers.groupby("task_title", sort=False)[["accuracy", "majority_accuracy"]]
        .mean()
        .eval("accuracy - majority_accuracy")
    )
    parts = []
    if gap:
        parts.append(
            "On test images CCVAE's accuracy per label minus MCCVAE's is "
            + listed(f"{_signed(100 * d, 1)} points on {t}" for t, d in gap.items())
        )
    parts.append(
        "over always answering the majority the models gain "
        + listed(f"{_signed(100 * d, 1)} points on {t}" for t, d in lift.items())
        + f", and {'one seed' if test['seed'].nunique() == 1 else 'the spread over seeds'} "
        "limits what can be told from that"
    )
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def reconstruction_finding(frame: pd.DataFrame) -> str:
    """Where MCCVAE's loss differs from CCVAE's, paired over seeds, and how much of that is reconstruction; from a
    `loss_frame`."""
    loss, pixels = (_differences(frame, value, "mccvae", "ccvae") for value in ("loss", "reconstruction"))
    if not loss:
        worst = frame.groupby("task_title", sort=False)["loss"].mean()
        return "The training loss is " + listed(f"{v:,.0f} nats on {t}" for t, v in worst.items()) + "."
    return (
        "MCCVAE's training loss minus CCVAE's is "
        + listed(f"{_signed(d, 1)} nats on {t} ({_signed(pixels[t], 1)} of it reconstruction)" for t, d in loss.items())
        + "; the rest comes from the latents' terms and from w, so the loss alone does not measure the pictures."
    )


def intervention_finding(table: pd.DataFrame) -> str:
    """How far the walks move their labels and others, and how evenly a block's latents share the work."""
    whole = table[~table["latents"].str.startswith("latent")].groupby("task", sort=False)[["moved", "others"]].mean()
    on = lambda column: listed(f"{v:.2f} on {TASKS[task].title}" for task, v in whole[column].items())  # noqa: E731
    sentence = (
        "Walking a label's whole block moves its probability, which the model itself reads "
        f"again from the picture, by {on('moved')}, and every other label's by {on('others')}"
    )
    single = table[table["latents"].str.startswith("latent")]
    if len(single):
        top = single.groupby(["figure", "model_title"])["share"].max()
        sentence += (
            f"; in MCCVAE the stronger latent of a block does {100 * top.min():.0f} to {100 * top.max():.0f} "
            "% of the pixel change"
        )
    return sentence + " (one seed of each model)."


def objective_finding(audit: pd.DataFrame, trade_off: pd.DataFrame) -> str:
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


def save_finding(sentence: str, profile: Profile, name: str) -> None:
    """tables/finding_<name>.txt, from which the report takes it; and shown as the notebook's last line."""
    if not only_looked_at(profile.folder):
        write_atomically(profile.folder / "tables" / f"finding_{name}.txt", (sentence + "\n").encode())
    print(sentence)


def read_finding(profile: Profile, name: str) -> str:
    return (profile.folder / "tables" / f"finding_{name}.txt").read_text(errors="replace").strip()
