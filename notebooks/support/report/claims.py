"""The paper's claims, each with its test, its margin and its verdict on every task: written down before the runs that
decide them, but for those marked `late`, which came or changed when some of these runs were known.

A comparison is a mean difference, paired over seeds, with its 95 % interval (Student); a level is a mean with such an
interval. `better`: holds if the interval lies above 0; does not hold if it lies below the margin, the least difference
that would matter. `alike`: holds if the interval lies within ± margin; does not hold if it lies outside. `differs`: the
other way round. `reaches`: holds if the interval lies above -margin; does not hold if it lies below. `level`: holds if
the interval lies beyond the bound, on the claim's side; does not hold if it lies on the other. Else it is open. All
scores are turned so that more is what the claim says."""

import dataclasses
import math
import re
from pathlib import Path

import pandas as pd

from data import TASKS

from ..experiments import objective
from ..experiments.characteristics import as_many_latents, paired
from ..runs import Run, is_published
from ..settings import Profile
from ..show import numbers, tables

STYLE = "as many in style"
VERDICTS = ("holds", "does not hold", "open")
NOT_TRIED, NOT_MEANT = "not tried", "not meant"
LATE = " †"
ACCURACY, LOSS, SHARE = 0.01, 0.001, 0.05  # a point; a thousandth of the second model's loss; of all effects


@dataclasses.dataclass(frozen=True)
class Claim:
    """number: of the claim; some have several tests. says: it, in our words. kind: see above. score: a column of
    `run_scores`, with - before it where less is what the claim says. first, second: models; -e4x: with four times the
    task's epochs, *: any number;
    second None: none, STYLE: the one with as many latents, put into style. margin: or a level's bound; of RELATIVE
    scores as a share of the second model's.
    tasks: those that the claim is about; none named: all. late: the test came or changed when some results were
    known."""

    number: int
    says: str
    section: str
    kind: str
    score: str
    first: str
    second: str | None
    margin: float
    tasks: tuple[str, ...] = ()
    late: bool = False


PARTS = ("celeba", "chest_xray", "stick_figures")  # whose drawn images have parts
CLAIMS = (
    Claim(1, "CCVAE classifies training images better than MCCVAE", "4.5", "better", "train_accuracy", "ccvae",
          "mccvae", ACCURACY),
    Claim(1, "CCVAE classifies test images better than MCCVAE", "4.5", "better", "test_accuracy", "ccvae", "mccvae",
          ACCURACY),
    Claim(2, "Reconstruction moves MCCVAE's encoder more than CCVAE's", "4.5", "better", "share_reconstruction",
          "mccvae", "ccvae", 0.01),
    Claim(2, "After four times the epochs MCCVAE classifies as well", "4.5", "reaches", "test_accuracy", "mccvae-e4x",
          "ccvae-e4x", ACCURACY),
    Claim(3, "More style latents lower CCVAE's training loss", "4.6", "better", "-train_loss", "ccvae_more_style",
          "ccvae", LOSS),
    Claim(3, "… and it reconstructs better", "4.6", "better", "-train_reconstruction", "ccvae_more_style", "ccvae",
          LOSS, late=True),
    Claim(3, "More style latents make no difference to interventions", "4.7", "alike", "label_alone",
          "ccvae_more_style", "ccvae", SHARE, late=True),
    Claim(3, "… nor to swapped latents", "4.7", "alike", "swap_taken", "ccvae_more_style", "ccvae", SHARE, late=True),
    Claim(4, "MCCVAE's training loss is lower than CCVAE's", "4.6", "better", "-train_loss", "mccvae", "ccvae", LOSS),
    Claim(4, "… also than CCVAE's with more style", "4.6", "better", "-train_loss", "mccvae", "ccvae_more_style",
          LOSS, late=True),
    Claim(4, "… also by the unbiased loss", "4.6", "better", "-train_bound", "mccvae", "ccvae", LOSS),
    Claim(4, "… also than with as many latents in style", "4.6", "better", "-train_bound", "mccvae", STYLE, LOSS),
    Claim(4, "… and it comes from reconstruction", "4.6", "better", "-train_reconstruction", "mccvae", "ccvae", LOSS),
    Claim(5, "MCCVAE reconstructs test images better than CCVAE", "4.6", "better", "-test_reconstruction", "mccvae",
          "ccvae", LOSS),
    Claim(5, "… and than CCVAE with more style", "4.6", "better", "-test_reconstruction", "mccvae",
          "ccvae_more_style", LOSS, late=True),
    Claim(5, "… than CCVAE by PSNR, dB", "4.6", "better", "test_psnr", "mccvae", "ccvae", 0.1),
    Claim(5, "… by SSIM", "4.6", "better", "test_ssim", "mccvae", "ccvae", 0.005),
    Claim(5, "… by KID, in a judge's features", "4.6", "better", "-reconstruction_kid", "mccvae", "ccvae", 0.1),
    Claim(6, "A label's latents change that label alone (CCVAE)", "4.7", "level", "label_alone", "ccvae", None, 0.8,
          late=True),
    Claim(6, "A label's latents change that label alone (MCCVAE)", "4.7", "level", "label_alone", "mccvae", None, 0.8,
          late=True),
    Claim(6, "A walk over a label's latents changes it easily (CCVAE)", "4.7", "level", "moved", "ccvae", None, 0.5,
          late=True),
    Claim(6, "A walk over a label's latents changes it easily (MCCVAE)", "4.7", "level", "moved", "mccvae", None, 0.5,
          late=True),
    Claim(6, "… so do latents swapped in from another image (MCCVAE)", "4.7", "level", "swap_taken", "mccvae", None,
          0.8),
    Claim(6, "MCCVAE and CCVAE don't differ much in that", "4.7", "alike", "swap_taken", "mccvae", "ccvae", SHARE,
          late=True),
    Claim(7, "Each of a label's two latents takes a part of its own", "3, 4.7", "level", "parts_apart", "mccvae",
          None, 0.5, PARTS, late=True),
    Claim(8, "One of the two does almost all the work, 95 % of it", "4.7", "level", "-effective_latents", "mccvae",
          None, -1.2),
    Claim(9, "The prior p(y) matters where classes are uneven", "4.3", "differs", "test_accuracy", "mccvae-rb*-x3",
          "mccvae-rb*-x3-y0.5", ACCURACY, ("chest_xray",)),
    Claim(9, "… and not on MNIST", "4.2", "alike", "test_accuracy", "mccvae-rb*-x3", "mccvae-rb*-x3-y0.5", ACCURACY,
          ("mnist",)),
    Claim(10, "Latents where a trained model confuses chests, 1 3 2, help", "5", "better", "test_accuracy",
          "mccvae-k1.3.2", "mccvae", ACCURACY, ("chest_xray",)),
    Claim(10, "… and improve these chests' reconstruction", "5", "better", "-test_reconstruction", "mccvae-k1.3.2",
          "mccvae", LOSS, ("chest_xray",)),
    Claim(11, "What a conditional VAE encodes still holds the labels", "1", "level", "z_auc", "cvae", None, 0.6),
    Claim(11, "… more than CCVAE's style does", "1, 2.1", "better", "z_auc", "cvae", "ccvae", 0.02),
    Claim(11, "CCVAE's style has nothing to do with the labels", "2.1", "level", "-z_auc", "ccvae", None, -0.6,
          late=True),
    Claim(11, "CCVAE's walk is more gradual than a conditional VAE's", "1", "better", "steps", "ccvae", "cvae", 0.5),
    Claim(12, "A walk to a disease changes the lungs", "1", "level", "lungs", "mccvae", None, 1.2, ("chest_xray",)),
    Claim(12, "… in MCCVAE by the unbiased estimator", "1", "level", "lungs", "mccvae-rb*-x3", None, 1.2,
          ("chest_xray",), late=True),
)  # fmt: skip
NEEDED = (
    Claim(
        10, "Latents help where labels are confused", "5", "better", "test_accuracy", "where needed", "k = 2", ACCURACY
    ),
    Claim(
        10,
        "… and improve the reconstruction",
        "5",
        "better",
        "-test_reconstruction",
        "where needed",
        "k = 2",
        LOSS,
        late=True,
    ),
)
LOSSES = ("train_loss", "train_bound", "train_reconstruction", "test_reconstruction")
DRAWN_SCORES = ("label_alone", "swap_taken", "parts_apart", "effective_latents")
DRAWN = {
    TASKS[task].title: title
    for task, title in (("celeba", "drawn faces"), ("mnist", "embedded digits"), ("chest_xray", "drawn chests"))
}
DRAWN |= {TASKS["stick_figures"].title: "stick figures"}
RELATIVE = (*LOSSES, "reconstruction_kid")  # whose margin is a share of the second model's


KINDS = {
    "better": "better",
    "alike": "no difference",
    "differs": "a difference",
    "reaches": "reaches",
    "level": "level",
}
MEASURES = {  # scores by names for people, where the column's own is none
    "train_bound": "train loss, unbiased",
    "share_reconstruction": "reconstruction's share of the encoder's gradient",
    "label_alone": "own label alone, from 0 (even share) to 1",
    "moved": "judge's probability rises by",
    "swap_taken": "swaps taken",
    "parts_apart": "parts apart",
    "z_auc": "labels read from what no label owns, AUC",
    "steps": "effective steps of 6",
    "lungs": "change in lungs, times that elsewhere",
    "reconstruction_kid": "KID of reconstructions",
    "test_psnr": "test PSNR, dB",
    "test_ssim": "test SSIM",
}


def run_scores(profile: Profile, runs: list[Run]) -> pd.DataFrame:
    """A row a run: accuracies and losses of its records, its encoder's shares, and its row of the experiment
    characteristics."""
    rows = []
    for run in runs:
        train, test = run.metrics["train"], run.metrics["test"]
        row = {"task": run.record["task"], "model": run.spec.name, "seed": run.record["seed"]}
        row |= {f"test_{name}": test.get(name) for name in ("psnr", "ssim")}
        if run.spec.has_blocks:
            row |= {"latents": sum(run.record["characteristics"]) + run.record["style_dim"]}
            row |= {
                "train_accuracy": train["accuracy"],
                "test_accuracy": test["accuracy"],
                "train_loss": train["loss"]["loss_alpha0"],
            }
            row |= {
                "train_bound": train["bound"]["loss_alpha0"],
                "train_reconstruction": train["bound"]["reconstruction"],
            }
            row |= {"test_reconstruction": test["bound"]["reconstruction"]}
        rows.append(row)
    frame = pd.DataFrame(rows)
    shares = objective.encoder_table(runs)
    if len(shares):
        last = shares.sort_values("epoch").drop_duplicates(["task", "model", "seed"], keep="last")
        frame = frame.merge(last[["task", "model", "seed", "share_reconstruction"]], how="left")
    if "characteristics" in profile.experiments:
        scores = tables.read_table(profile, "characteristics", runs)
        scores = scores.assign(task=scores["task_title"].map({task.title: name for name, task in TASKS.items()}))
        labels = {run.record["task"]: len(run.record["characteristics"]) for run in runs}
        scores = with_shares(
            scores,
            scores["task"].map(labels),
            scores["task"].map({name: task.exclusive for name, task in TASKS.items()}),
        )
        wanted = ["label_alone", "swap_taken", "parts_apart", "effective_latents", "reconstruction_kid"]
        frame = frame.merge(scores[["task", "model", "seed", *[name for name in wanted if name in scores]]], how="left")
        for table, columns in (("conditional", ["z_auc", "moved", "steps"]), ("lungs", ["lungs"])):
            scores = tables.read_table(profile, table)
            frame = frame.merge(scores.groupby(["task", "model", "seed"], as_index=False)[columns].mean(), how="left")
    return frame


def with_shares(scores: pd.DataFrame, labels: pd.Series, exclusive: pd.Series) -> pd.DataFrame:
    """A `characteristics` table with what claims 6 and 7 are judged by.

    label_alone: `label_diagonal`, the own label's share of all effects on labels, from 0 for an even share, 1 / L, to 1
    for the most there can
    be: all, and half where labels exclude one another, since what one gains the others lose. parts_apart: the lesser of
    disentanglement and completeness, since two latents that carry the same part have the first without the second."""
    even, most = 1 / labels, exclusive.map({True: 0.5, False: 1.0})
    scores = scores.assign(label_alone=(scores["label_diagonal"] - even) / (most - even))
    both = [name for name in ("disentanglement", "completeness") if name in scores]
    return scores.assign(parts_apart=scores[both].min(axis=1, skipna=False)) if len(both) == 2 else scores


def judge(claim: Claim, scores: pd.DataFrame) -> dict | None:
    """The claim's test on one task's `run_scores`: value (of the claim's side), its interval, n, verdict; None where it
    can't be tried."""
    name = claim.score.lstrip("-")
    sign = -1 if claim.score.startswith("-") else 1
    first, second = (_model(model, scores) for model in (claim.first, claim.second))
    if name not in scores or (claim.second and not second):
        return None
    if second is None:
        level = scores.loc[scores["model"] == first, ["seed", name]].dropna()
        zero = level.assign(model="zero", **{name: 0.0})
        test = paired(pd.concat([level.assign(model="level"), zero]), name, "level", "zero") if len(level) else None
    else:
        test = paired(scores, name, first, second)
    if test is None:
        return None
    low, high = sorted((sign * test["low"], sign * test["high"])) if test["n"] > 1 else (math.nan, math.nan)
    margin = claim.margin * abs(test["second_mean"]) if name in RELATIVE else claim.margin
    found = {
        "measured": f"{first} − {second}" if second else first,
        "value": sign * test["difference"],
        "low": low,
        "high": high,
        "margin": margin,
        "n": test["n"],
    }
    return found | {"verdict": verdict(claim.kind, low, high, margin)}


def _model(name: str | None, scores: pd.DataFrame) -> str | None:
    """The name of a run's folder for one of CLAIMS."""
    if name == STYLE:
        return next((style for several, style in as_many_latents(scores) if several == "mccvae"), None)
    if name is None or not len(scores):
        return None
    pattern = re.escape(name.replace("-e4x", f"-e{4 * TASKS[scores['task'].iloc[0]].epochs}")).replace(r"\*", r"[\d.]+")
    return next((model for model in scores["model"] if re.fullmatch(pattern, model)), None)


def verdict(kind: str, low: float, high: float, margin: float) -> str:
    """Of an interval; one with NaN, from a single seed, tells nothing."""
    holds, fails = {
        "better": (low > 0 and high >= margin, high < margin),
        "alike": (-margin <= low and high <= margin, low > margin or high < -margin),
        "differs": (low > margin or high < -margin, -margin <= low and high <= margin),
        "reaches": (low > -margin, high < -margin),
        "level": (low > margin, high < margin),
    }[kind]
    return VERDICTS[0] if holds else VERDICTS[1] if fails else VERDICTS[2]


def claims_table(profile: Profile, runs: list[Run]) -> pd.DataFrame:
    """A row a test and task."""
    scores, rows = run_scores(profile, runs), []
    for claim in CLAIMS:
        for task in (task for task in TASKS.values() if not claim.tasks or task.name in claim.tasks):
            if found := judge(claim, scores[scores["task"] == task.name]):
                rows.append(dataclasses.asdict(claim) | {"task_title": task.title} | found)
    if "allocation" in profile.experiments:
        rows += _needed(tables.read_table(profile, "allocation"))
    if is_published(profile.folder):
        rows += _beside(profile.folder)
    columns = [field.name for field in dataclasses.fields(Claim)]
    return pd.DataFrame(rows, columns=[*columns, "task_title", "measured", "value", "low", "high", "n", "verdict"])


def _needed(allocation: pd.DataFrame, titles: dict[str, str] | None = None, about: str = "") -> list[dict]:
    """NEEDED on each task of an `allocation` table, the way to spend the latents standing for the model; titles: for
    some task's title another; about: what to say of the runs."""
    rows = []
    for title, part in allocation.groupby("task_title", sort=False):
        for claim in NEEDED:
            if found := judge(claim, part.assign(model=part["way"])):
                found["measured"] += about
                rows.append(dataclasses.asdict(claim) | {"task_title": (titles or {}).get(title, title)} | found)
    return rows


def _beside(folder: Path) -> list[dict]:
    """The claims about what a label is made of and where latents are needed, by the experiments that are published
    beside the runs: on drawn data, whose parts are known, and on real chests by the profile quick."""
    there = folder / "characteristics" / "tables"
    effects = tables.read_csv(there / "effects.csv")
    labels = effects[effects["kind"] == "label"].groupby("task_title")["label"].nunique()
    scores = tables.read_csv(there / "characteristics.csv")
    exclusive = scores["task_title"].map({task.title: task.exclusive for task in TASKS.values()})
    scores, rows = with_shares(scores, scores["task_title"].map(labels), exclusive), []
    for title, part in scores.groupby("task_title", sort=False):
        for claim in (claim for claim in CLAIMS if claim.score.lstrip("-") in DRAWN_SCORES and claim.second is None):
            if found := judge(
                claim, part.assign(task=next(task.name for task in TASKS.values() if task.title == title))
            ):
                rows.append(dataclasses.asdict(claim) | {"task_title": DRAWN[title]} | found)
    rows += _needed(tables.read_csv(there / "allocation.csv"), DRAWN)
    return rows + _needed(tables.read_csv(folder / "quick" / "tables" / "allocation.csv"), about=" (profile quick)")


def tally(table: pd.DataFrame) -> str:
    """A line a task and set of drawn data: how many tests hold, do not hold, are open."""
    said = []
    for title in dict.fromkeys([*(task.title for task in TASKS.values()), *DRAWN.values()]):
        found = table.loc[table["task_title"] == title, "verdict"].value_counts()
        if n := int(found.sum()):
            counts = ", ".join(f"*{one}* {found.get(one, 0)}" for one in VERDICTS)
            said.append(f"- **{title}**, {n} test{'s' * (n > 1)}: {counts}")
    return "\n".join(said)


def _badge(text: str) -> str:
    return f'<span class="verdict {text.replace(" ", "-")}">{text}</span>'


def verdict_columns(table: pd.DataFrame, *, drawn: bool = False, real: bool = False) -> pd.DataFrame:
    """`claims_table` for showing: a row a test, a column a task; `drawn`: of what is published beside on drawn data,
    only what was tried.
    real: on real images, whose parts nobody knows."""
    mine = table[table["task_title"].isin(list(DRAWN.values())) == drawn]
    asked = pd.DataFrame(
        [dataclasses.asdict(claim) for claim in sorted((*CLAIMS, *NEEDED), key=lambda claim: claim.number)]
    )
    seeds = mine["n"].map(lambda n: f" <small>n = {n}</small>")
    badge = mine["verdict"].map(_badge) + seeds
    wide = mine.assign(badge=badge).pivot(index=["number", "says"], columns="task_title", values="badge").reset_index()
    titles = {task.title: task.name for task in TASKS.values()}
    tasks = [title for title in [*titles, *DRAWN.values()] if title in wide]
    shown = asked.merge(wide, how="inner" if drawn else "left", on=["number", "says"])
    for title in tasks:
        out = shown["tasks"].map(lambda meant, title=title: bool(meant) and titles.get(title, title) not in meant) & (
            not drawn
        )
        out |= (shown["score"] == "parts_apart") & (real and title != TASKS["stick_figures"].title)
        shown[title] = shown[title].fillna(_badge(NOT_TRIED)).mask(out & shown[title].isna(), _badge(NOT_MEANT))
    shown[tasks] = shown[tasks].map(tables.Markup)
    shown["says"] += shown["late"].map({True: LATE, False: ""})
    names = {"number": "no.", "says": "the paper claims", "section": "where"}
    return tables.named_columns(shown, names | {title: title for title in tasks})


def evidence_columns(table: pd.DataFrame) -> pd.DataFrame:
    """For showing: what each verdict rests on. A level stands as it was measured, with the bound that the claim's side
    lies beyond; a difference so that more supports the claim."""
    digits = [1 if score.lstrip("-") in LOSSES else 3 for score in table["score"]]
    level = table["kind"] == "level"
    turned = level & table["score"].str.startswith("-")
    number = lambda values: [numbers.decimal(v, d) for v, d in zip(values, digits, strict=True)]  # noqa: E731
    low, high = (table[one].mask(turned, -table[other]) for one, other in (("low", "high"), ("high", "low")))
    side = [(("< " if t else "> ") if is_level else "") for t, is_level in zip(turned, level, strict=True)]
    return pd.DataFrame(
        {
            "no.": table["number"],
            "the paper claims": table["says"] + table["late"].map({True: LATE, False: ""}),
            "task": table["task_title"],
            "score": [MEASURES.get(name, name.replace("_", " ")) for name in table["score"].str.lstrip("-")],
            "measured": table["measured"],
            "test": table["kind"].map(KINDS),
            "value": number(table["value"].mask(turned, -table["value"])),
            "95 % interval": [numbers.interval(a, b, d) for a, b, d in zip(low, high, digits, strict=True)],
            "margin or bound": [
                s + m for s, m in zip(side, number(table["margin"].mask(turned, -table["margin"])), strict=True)
            ],
            "seeds": table["n"],
            "verdict": table["verdict"],
        }
    )
