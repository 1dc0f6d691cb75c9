"""The verdict of each earlier claim on each task, as the table `claims`, and how it is shown."""

import dataclasses
import math
import re
from pathlib import Path

import pandas as pd

from data import TASKS

from ..experiments.paired_seeds import as_many_latents, paired
from ..runs import Run, is_published
from ..settings import Profile
from ..show import numbers, tables
from .earlier_claims import (
    CLAIMS,
    DRAWN,
    DRAWN_SCORES,
    LATE,
    LOSSES,
    NEEDED,
    NOT_MEANT,
    NOT_TRIED,
    RELATIVE,
    STYLE,
    VERDICTS,
    Claim,
)
from .earlier_scores import run_scores, with_shares

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
