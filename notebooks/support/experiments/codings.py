"""Labels of which each image has exactly one: as coins, which the paper takes, or as one categorical label.

    python -m support.experiments.codings [PROFILE]

writes <profile>/codings.csv from the runs of the profile (default: categorical) and their data, one row per run:
task, model, base (the model without -vone), coding (coins or one), seed, n (test images); accuracy: share of test
images whose most probable label is the true one; loss, unbiased; psnr; and samples: share of pictures, one drawn for
each test image's label, whose most probable label is that one to the task's judge. `differences` compares both codings
over paired seeds."""

import sys

import pandas as pd
import torch

import mccvae_core as core
from data import DataError, Dataset
from data.files import write_atomically

from .. import runs
from ..measures import judge as judging
from ..runs import Run, RunError
from ..settings import Profile, SettingsError, read_profile
from ..show.numbers import decimal, interval, signed
from . import task_judges
from .paired_seeds import paired

FILE = "codings.csv"
SCORES = {"accuracy": 100, "samples": 100, "loss": 1, "psnr": 1}  # each score's factor for people: points, nats, dB


def coding_row(run: Run, data: Dataset, judge: judging.Judge) -> dict:
    """A row of the table, see the module."""
    test, spec = run.metrics["test"], run.spec
    return {
        "task": data.task.name,
        "model": spec.name,
        "base": spec.name.removesuffix("-vone"),
        "coding": spec.coding,
        "seed": run.record["seed"],
        "n": test["n"],
        "accuracy": test["argmax_accuracy"],
        "samples": samples_right(run.model(), data.test.labels, judge),
        "loss": test["bound"]["loss"],
        "psnr": test["psnr"],
    }


@torch.no_grad()
def samples_right(model: core.MCCVAE, labels: torch.Tensor, judge: judging.Judge, *, seed: int = 0) -> float:
    """Share of pictures, one drawn for each row of one-hot labels (N, L), that the judge reads as what was asked."""
    device = next(model.parameters()).device
    drawn = core.generate(model, labels.float().to(device), generator=torch.Generator(device).manual_seed(seed)).cpu()
    return (judge.read(drawn)[0].argmax(1) == labels.argmax(1)).float().mean().item()


def make(profile: Profile) -> pd.DataFrame:
    """Compute the table of a profile's finished runs and write it. Raises SettingsError where there is none."""
    rows, judges, data = [], {}, {}
    for record in sorted(runs.runs_below(profile.folder).glob("*/*/seed*/run.json")):
        run = runs.read_run(record.parent)
        task = run.record["task"]
        if task not in data:
            data[task] = runs.load_data(profile, task)
            judges[task] = task_judges.train_judge(data[task])
        rows.append(coding_row(run, data[task], judges[task]))
        print(f"{task} {run.spec.name} seed {run.record['seed']}", flush=True)
    if not rows:
        raise SettingsError(f"the profile {profile.profile} has no trained run; make it first")
    table = pd.DataFrame(rows)
    write_atomically(profile.folder / FILE, table.to_csv(index=False, float_format="%.6g").encode())
    return table


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """One categorical label against coins, paired over seeds, for showing: each score's means, and the difference with
    its 95 % interval."""
    rows = []
    for (task, base), mine in table.groupby(["task", "base"], sort=False):
        row = {"task": task, "model": base}
        for score, factor in SCORES.items():
            test = paired(mine.assign(model=mine["coding"]), score, "one", "coins")
            if test is None:
                continue
            digits = 2 if score == "psnr" else 1
            coins, one, by = (factor * test[name] for name in ("second_mean", "first_mean", "difference"))
            ends = interval(factor * test["low"], factor * test["high"], digits)
            means = f"{decimal(coins, digits)} to {decimal(one, digits)}"
            row |= {"seeds": test["n"], score: f"{means}: {signed(by, digits)} ({ends})"}
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    try:
        print(differences(make(read_profile((sys.argv[1:] or ["categorical"])[0]))).to_string())
    except (SettingsError, RunError, DataError) as error:
        sys.exit(f"codings: {error}")
