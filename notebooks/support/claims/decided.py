"""What the deciding runs say of the primary tests: each test's outcome, and how far its runs were trained.

A folder of deciding runs holds claim_scores.csv, one row per run: task, model, seed, precision, weights ("last" or
"best") and a column for each `PrimaryTest.column`, mean over the judges. Beside it lie the runs' records, in
<task>/<model>/seed<n>/, and, where intervals over images were computed, claim_intervals.csv: claim, task, low, high, in
the score's unit, a difference turned so that more is what the claim says, and the seeds whose mean it is of. An
interval of other seeds than a test's stays out.
"""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from data import TASKS
from data.messages import PlainError, quoted

from .. import DECIDING, runs
from ..runs import Run
from ..settings import Profile, read_profile
from . import preregistration, verdicts
from .preregistration import Claim, Preregistration, PrimaryTest, Score, TaskRule
from .verdicts import Outcome

SCORES, INTERVALS = "claim_scores.csv", "claim_intervals.csv"
RUN = ("task", "model", "seed", "precision", "weights")
PAPER_FACES = 162_770  # CelebA's whole training part, of which a run here may have fewer
LEAST_SEPARATION = 0.5  # sd between the conditional prior's two means, below which its samples show little


class DecidedError(PlainError):
    """The deciding runs can't be read; the message says where the fault is and what to do."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """How far runs were trained; NaN where a record lacks it.

    fall: of the validation loss over the last tenth of the epochs, nats per image, below 0 where it rises. Of the
    weights that are scored: separation of the conditional prior, in sd, mean over labels; steps of the optimiser, and
    paper_steps, the paper's.
    """

    fall: float = math.nan
    separation: float = math.nan
    steps: float = math.nan
    paper_steps: float = math.nan

    def far_enough(self, margin: float) -> bool:
        """Whether samples for a label and walks from prior to prior can be judged (not so where something is unknown).

        Not where the priors lie close together and training could still move them: it was shorter than the paper's, or
        the loss still falls by more than `margin`, in nats. No primary test is about such pictures: all walk by 2 sd.
        """
        return self.separation >= LEAST_SEPARATION or (self.steps >= self.paper_steps and self.fall <= margin)


@dataclasses.dataclass(frozen=True)
class Decided:
    """A primary test with its outcome. holm: Holm's p over all primary tests. trained: by model, mean over seeds."""

    claim: Claim
    test: PrimaryTest
    score: Score
    rule: TaskRule
    outcome: Outcome
    holm: float
    precision: str
    trained: dict[str, Trained]

    @property
    def models(self) -> list[str]:
        return self.test.models

    def in_margins(self, value):
        """A value, or an array of them, in margins; of a level in units of its bound."""
        return np.asarray(value, float) / self.outcome.limit


def decide_all(folder: Path, claims: Preregistration) -> list[Decided]:
    """All primary tests from the folder's runs; without runs they are not tested. Raises DecidedError."""
    scores, found = read_scores(folder, claims), []
    records = read_records(folder, scores)
    intervals = read_intervals(folder)
    for claim, test in claims.tests:
        rule, score = claims.tasks[test.task], claims.scores[test.score]
        mine = _runs_of(test, rule, scores)
        try:
            outcome = verdicts.judge(test, score, rule, mine, tests=len(claims.tests))
        except ValueError as error:
            raise DecidedError(f"{folder / SCORES}: {error}") from None
        if images := intervals.get((claim.id, test.task, outcome.seeds)):
            outcome = outcome.with_images(images)
        used = mine[mine["seed"].isin(outcome.seeds)]
        trained = {model: _trained(records, part) for model, part in used.groupby("model")}
        found.append(Decided(claim, test, score, rule, outcome, math.nan, _precision(test, used), trained))
    adjusted = verdicts.holm(np.array([one.outcome.p for one in found]))
    return [dataclasses.replace(one, holm=float(p)) for one, p in zip(found, adjusted, strict=True)]


def read_scores(folder: Path, claims: Preregistration) -> pd.DataFrame:
    """claim_scores.csv; without the file a table without rows. Raises DecidedError where it is not what it must be."""
    path, wanted = folder / SCORES, list(dict.fromkeys(test.column for _, test in claims.tests))
    if not path.exists():
        return pd.DataFrame(columns=[*RUN, *wanted])
    table = _read_csv(path, RUN)
    if bad := set(table["weights"]) - {"last", "best"}:
        raise DecidedError(f"{path}: weights must be last or best, not {quoted(min(map(str, bad)))}")
    for column in ("seed", *(name for name in wanted if name in table)):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise DecidedError(f"{path}: {column} must hold numbers alone; mend it or make the file again")
    return table


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DecidedError(f"{path} can't be read as a table ({error}); make it again") from None
    if lacking := [name for name in columns if name not in table]:
        raise DecidedError(f"{path} has no column {', '.join(lacking)}; make it again")
    return table


def read_intervals(folder: Path) -> dict[tuple[str, str, tuple[int, ...]], verdicts.Interval]:
    """claim_intervals.csv by claim, task and seeds, which are in ascending order; nothing without the file. Raises
    DecidedError where it is not what it must be."""
    path = folder / INTERVALS
    if not path.exists():
        return {}
    table, found = _read_csv(path, ("claim", "task", "low", "high", "seeds")), {}
    for row in table.itertuples():
        try:
            seeds = tuple(sorted(map(int, str(row.seeds).split())))
        except ValueError:
            raise DecidedError(f"{path}: seeds must be whole numbers, not {quoted(row.seeds)}; make it again") from None
        found[row.claim, row.task, seeds] = (float(row.low), float(row.high))
    return found


def _runs_of(test: PrimaryTest, rule: TaskRule, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that decide a test: its task, models and seeds, with the weights that the rule names."""
    mine = scores[(scores["task"] == test.task) & scores["model"].isin([test.first, test.second])]
    mine = mine[(mine["weights"] == rule.epoch) & mine["seed"].isin(rule.seeds)]
    return mine if len(mine) else mine.assign(**{test.column: math.nan})  # without runs nothing was left unmeasured


def _precision(test: PrimaryTest, used: pd.DataFrame) -> str:
    """The one precision of a test's runs. Raises DecidedError where there are two, which can't be compared."""
    found = sorted(map(str, used["precision"].unique()))
    if len(found) > 1:
        where = "; ".join(f"{p}: {_named(used[used['precision'] == p])}" for p in found)
        raise DecidedError(
            f"{test.column} on {test.task} is read from runs of two precisions, which can't be compared ({where}); "
            "keep those of one precision, and train the others again in it"
        )
    return found[0] if found else ""


def _named(part: pd.DataFrame) -> str:
    return ", ".join(f"{row.model} seed {row.seed}" for row in part.itertuples())


def read_records(folder: Path, scores: pd.DataFrame) -> dict[tuple[str, str, int], Run]:
    """The records of all runs that have scores. Raises DecidedError for one that is missing or broken."""
    found = {}
    for task, model, seed in scores[["task", "model", "seed"]].drop_duplicates().itertuples(index=False):
        place = folder / str(task) / str(model) / f"seed{seed}"
        try:
            found[task, model, seed] = runs.read_run(place)
        except runs.RunError as error:
            raise DecidedError(f"{folder / SCORES} has scores of {task} {model} seed {seed}, but {error}") from None
    return found


def scored_runs(records: dict[tuple[str, str, int], Run], claims: Preregistration) -> list[Run]:
    """The runs with the metrics of the weights that decide on their task."""
    best = {task for task, rule in claims.tasks.items() if rule.epoch == "best"}
    return [
        dataclasses.replace(run, metrics=run.metrics["best"]) if task in best else run
        for (task, _, _), run in records.items()
    ]


def all_runs(profile: Profile) -> list[Run]:
    """The runs that tables of scores are made of: a profile's own; of the published one, and of that whose runs decide,
    all deciding ones that are there, with the metrics of the weights that decide."""
    folder = _deciding(profile)
    if folder is None:
        return runs.read_runs(profile)
    asked = [(task.name, *run) for task in TASKS.values() for run in read_profile(DECIDING).runs(task)]
    places = {run: folder.joinpath(*run[:2], f"seed{run[2]}") for run in asked}
    found = {run: runs.read_run(place) for run, place in places.items() if (place / "run.json").exists()}
    return scored_runs(found, preregistration.read())


def main_runs(profile: Profile, tasks: Iterable[str] | None = None) -> list[Run]:
    """`all_runs` of these tasks, None: of those that are compared as in the paper; of deciding runs the paper's models,
    and those that differ in the estimator alone."""
    tasks = runs.compared(profile) if tasks is None else tasks
    found = [run for run in all_runs(profile) if run.record["task"] in tasks]
    if _deciding(profile) is None:
        return found
    return [run for run in found if dataclasses.replace(run.spec, label_weight=None).name == run.spec.base]


def _deciding(profile: Profile) -> Path | None:
    """The folder of deciding runs, where a profile has one."""
    folder = runs.deciding_folder(profile.folder) or profile.folder
    return folder if folder.name == DECIDING and folder.is_dir() else None


def _trained(records: dict[tuple[str, str, int], Run], part: pd.DataFrame) -> Trained:
    """Mean over a model's runs."""
    keys = part[["task", "model", "seed"]].itertuples(index=False, name=None)
    each = [dataclasses.astuple(trained_far(records[key], part["weights"].iloc[0])) for key in keys]
    return Trained(*map(float, np.mean(each, axis=0)))


def scored_epoch(run: Run, weights: str) -> int:
    """The epoch of a run's weights: "last", or "best", that of the lowest validation loss."""
    return run.metrics["best"]["epoch"] if weights == "best" else run.record["epochs"]


def trained_far(run: Run, weights: str = "last") -> Trained:
    """How far one run was trained."""
    record, history, epoch = run.record, run.history, scored_epoch(run, weights)
    n, batch = record["data"]["n"]["train"], record["batch_size"]
    task = TASKS[record["task"]]
    whole = PAPER_FACES if task.name == "celeba" else n
    separation = history["separation"][history["epoch"] == epoch].mean() if "separation" in history else math.nan
    return Trained(
        fall=last_fall(history, record["epochs"]),
        separation=float(separation),
        steps=epoch * math.ceil(n / batch),
        paper_steps=task.epochs * math.ceil(whole / task.batch_size),
    )


def last_fall(history: pd.DataFrame, epochs: int) -> float:
    """Validation loss at nine tenths of the epochs minus that at the end, between two looks on a straight line."""
    looks = history[["epoch", "validation_bound"]].dropna() if "validation_bound" in history else history[:0]
    if len(looks) < 2:
        return math.nan
    before, end = np.interp([0.9 * epochs, epochs], looks["epoch"], looks["validation_bound"])
    return float(before - end)


def loss_margin(claims: Preregistration, task: str) -> float:
    """The least difference in loss that matters on a task, nats per image; NaN where no primary test has one."""
    of_task = [test for _, test in claims.tests if test.task == task]
    margins = [test.margin for test in of_task if claims.scores[test.score].unit == "nats"]
    return margins[0] if margins else math.nan


def verdict_table(found: list[Decided], claims: Preregistration) -> pd.DataFrame:
    """One row per primary test: what was tested, the outcome, how far the runs were trained."""
    rows = []
    for one in found:
        test, outcome = one.test, one.outcome
        images = outcome.images or (math.nan, math.nan)
        row = {
            "claim": one.claim.id, "task": test.task, "kind": test.kind, "score": test.column, "unit": one.score.unit,
            "first": test.first, "second": test.second, "limit": outcome.limit, "weights": one.rule.epoch,
            "precision": one.precision, "seeds": " ".join(map(str, outcome.seeds)), "n": len(outcome.seeds),
            "planned": len(one.rule.seeds), "verdict": outcome.word, "says": outcome.says, "mean": outcome.mean,
            "low": outcome.low, "high": outcome.high, "images_low": images[0], "images_high": images[1],
            "p": outcome.p, "p_holm": one.holm, "first_better": outcome.better,
            "values": " ".join(f"{value:.6g}" for value in outcome.values),
        }  # fmt: skip
        for name, model in (("first", test.first), ("second", test.second)):
            far = one.trained.get(model, Trained())
            row |= {f"fall_{name}": far.fall, f"separation_{name}": far.separation, f"steps_{name}": far.steps}
            if model in one.trained:
                row[f"samples_can_be_judged_{name}"] = far.far_enough(loss_margin(claims, test.task))
        rows.append(row)
    return pd.DataFrame(rows)
