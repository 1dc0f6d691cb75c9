"""What the graph asks of a cluster: each number worked out by hand, and the plan against Snakemake's own dry run."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from support import settings
from support.commands import cluster

from data import MODULES

ROOT = Path(__file__).resolve().parents[1]
PROFILES = sorted(path.stem for path in settings.PROFILES.glob("*.yaml"))
COSTS = {
    "milliseconds": {"mnist": 3.0, "celeba": 6.0},
    "memory_mb": 1000,
    "copies": 2,
    "experiment_seconds": 30,
    "images": {"real": {"mnist": 10_000, "celeba": 100_000}, "embedded": {"mnist": 2_000, "celeba": 1_000}},
}
MADE = settings.Profile(
    profile="made",
    source="real",
    models=[],
    seeds={"mnist": [0, 1, 2], "celeba": [7]},
    epochs={"mnist": 4, "celeba": None},
    batch_size=None,
    images={"celeba": 500},
    correlation=None,
    experiments=["allocation"],
    allocation=["mnist"],
)


@pytest.fixture
def costs(monkeypatch):
    monkeypatch.setattr(cluster, "COSTS", COSTS)


def test_costs_by_hand(costs):
    assert cluster.training_minutes(MADE, "mnist", "ccvae") == pytest.approx(1 + 10_000 * 4 * 3 / 60_000)
    assert cluster.training_minutes(MADE, "mnist", "mccvae-rb300-k2-e10-x3") == pytest.approx(
        1 + 10_000 * 10 * 3 / 60_000
    )
    # the task's 20 epochs
    assert cluster.training_minutes(MADE, "celeba", "ccvae") == pytest.approx(1 + 3 * 500 * 20 * 6 / 60_000)
    embedded = dataclasses.replace(MADE, source="embedded")
    assert cluster.training_minutes(embedded, "celeba", "ccvae-e1") == pytest.approx(1 + 500 * 6 / 60_000)
    assert cluster.experiment_minutes(MADE, 8) == pytest.approx(1 + 4)
    assert cluster.experiment_minutes(MADE, 8, trains=True) == pytest.approx(5 + 5 * 3 * 3)
    assert cluster.asked_minutes(10.1, 1) == 21 and cluster.asked_minutes(10.1, 3) == 63
    assert cluster.asked_mb(MADE, ["mnist"], 1) == 1082 and cluster.asked_mb(MADE, ["mnist"], 2) == 2164
    assert cluster.asked_mb(MADE, ["mnist", "celeba"], 1) == 1119


@pytest.mark.parametrize(
    "minutes, seeds, together", [(1, 10, 10), (4, 10, 5), (7, 10, 3), (19, 10, 2), (20, 10, 1), (500, 10, 1), (1, 3, 3)]
)
def test_short_trainings_share_a_job(minutes, seeds, together):
    assert cluster.seeds_per_job(minutes, seeds) == together


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_its_cost(name):
    profile = settings.read_profile(name)
    for task in settings.TASKS.values():
        for model, _ in profile.runs(task):
            assert 1 < cluster.training_minutes(profile, task.name, model) < 7 * 24 * 60  # a cell's limit
    assert 1_000 < cluster.asked_mb(profile, list(MODULES), 1) < 16_000


def test_the_plan_of_a_sweep_is_snakemakes():
    """Three tasks, four ways of training, eight numbers of latents, ten seeds."""
    profile = settings.read_profile("sweep")
    jobs, minutes = 0, 0
    for task in settings.TASKS.values():
        for model in dict.fromkeys(model for model, _ in profile.runs(task)):
            one = cluster.training_minutes(profile, task.name, model)
            jobs += -(-10 // cluster.seeds_per_job(one, 10))
            minutes += 10 * cluster.asked_minutes(one, 1)
    graph = [
        "snakemake",
        "--snakefile",
        "Snakefile",
        "--config",
        "profile=sweep",
        "--nolock",
        "--dry-run",
        *cluster.options(profile),
    ]
    done = subprocess.run([sys.executable, "-m", *graph], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = next(
        line for line in cluster.plan(done.stdout + done.stderr).splitlines() if line.startswith("train")
    ).split()
    assert line[1:3] == ["960", str(jobs)] and jobs < 960
    assert float(line[3]) == pytest.approx(minutes / 60, abs=0.06)
    assert float(line[4]) == round(cluster.asked_mb(profile, ["celeba"], 1) / 1000, 1)
