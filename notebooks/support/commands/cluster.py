"""What the graph asks of a cluster: time and memory of a job from the measured costs of profiles/costs.yaml, short
trainings put together, and the sum of it all for a dry run.

Asked is MARGIN times the time that was measured; a job that fails asks more
each time."""

import functools
import itertools
import math
import re

import numpy as np
import pandas as pd
import yaml

from data.tasks import TASKS

from .. import IMAGES, OUTPUTS, ROOT
from ..settings import ModelSpec, Profile

MARGIN = 2  # a node may be slower than the machine measured, and busy
START = 1.0  # minutes until a kernel has its data
JOB = 20.0  # minutes: trainings shorter than that share a job with other seeds of their model
WAYS = 5  # to spend latents, that the experiment allocation trains at most, a seed
COSTS = yaml.safe_load((ROOT / "profiles" / "costs.yaml").read_text())


def images(profile: Profile, task: str) -> int:
    """Number of images of a task, all splits together, at most. A profile's `images` limits each split of a real set,
    all of an embedded one."""
    whole, limit = _whole(profile, task), profile.given("images", task)
    if limit is None:
        return whole
    return limit if profile.source == "embedded" else min(whole, 3 * limit)


def _whole(profile: Profile, task: str) -> int:
    return len(_own_labels(profile.profile)) if profile.source == "own" else COSTS["images"][profile.source][task]


@functools.cache
def _own_labels(profile: str) -> np.ndarray:
    """The labels (N, L) of a profile of own images: of the arrays in its file the only one that is read."""
    with np.load(OUTPUTS / profile / IMAGES) as file:
        return file["y"]


def labels(profile: str) -> int:
    """How many labels own images have."""
    return _own_labels(profile).shape[1]


def training_minutes(profile: Profile, task: str, model: str) -> float:
    """Expected of a training on one core."""
    epochs = ModelSpec.parse(model).epochs or profile.value("epochs", TASKS[task])
    return START + COSTS["milliseconds"][task] * images(profile, task) * epochs / 60_000


def experiment_minutes(profile: Profile, runs: int, trains: bool = False) -> float:
    """Expected of the notebook of an experiment on so many runs; trains: the one that trains models itself."""
    minutes = START + runs * COSTS["experiment_seconds"] / 60
    if trains:
        seeds = {task: len(profile.given("seeds", task)) for task in profile.allocation}
        minutes += sum(WAYS * n * training_minutes(profile, task, "mccvae") for task, n in seeds.items())
    return minutes


def asked_minutes(minutes: float, attempt: int) -> int:
    """Of a cluster, at its n-th attempt."""
    return math.ceil(MARGIN * minutes) * attempt


def asked_mb(profile: Profile, tasks: list[str], attempt: int) -> int:
    """Memory, for a job that holds the data of these tasks."""
    size = sum(images(profile, task) * (3 * 64 * 64 if task in ("celeba", "own") else 64 * 64) for task in tasks)
    return math.ceil(COSTS["memory_mb"] + COSTS["copies"] * size / 1e6) * attempt


def seeds_per_job(minutes: float, seeds: int) -> int:
    """How many trainings of so many minutes one job takes, one after the other."""
    return max(1, min(seeds, math.ceil(JOB / minutes)))


def options(profile: Profile) -> list[str]:
    """Of Snakemake on a cluster: how many seeds of each model make a job, which does them one after the other on one
    core."""
    together = []
    for task in TASKS.values():
        for model, runs in itertools.groupby(profile.runs(task), key=lambda run: run[0]):
            seeds = seeds_per_job(training_minutes(profile, task.name, model), len(list(runs)))
            together.append(f"{task.name}-{model}={seeds}")
    return ["--group-components", *together, "--cores", "1"]


def plan(dry_run: str) -> str:
    """What Snakemake's dry run on a cluster would ask for: a line a rule with its steps, jobs, core hours and largest
    memory. Steps that ask for no time run where the command is given."""
    steps = []
    group = rule = None
    for number, line in enumerate(dry_run.splitlines()):
        if "Group job" in line:
            group = number
        elif match := re.match(r"( *)rule (\w+):$", line):
            rule, job = match[2], group if match[1] else number  # a group's steps are indented
        elif line.strip().startswith("resources:") and "runtime=" in line:
            asked = dict(re.findall(r"\b(mem_mb|runtime)=(\d+)", line))
            steps.append(
                {"rule": rule, "job": job, "hours": int(asked["runtime"]) / 60, "GB": int(asked["mem_mb"]) / 1000}
            )
    if not steps:
        return "Nothing would be asked of the cluster."
    table = pd.DataFrame(steps)
    asked = {
        "steps": ("rule", "size"),
        "jobs": ("job", "nunique"),
        "core hours asked": ("hours", "sum"),
        "GB asked, largest": ("GB", "max"),
    }
    rules = table.groupby("rule", sort=False).agg(**asked)
    return pd.concat([rules, table.groupby(lambda _: "in all").agg(**asked)]).round(1).to_string()
