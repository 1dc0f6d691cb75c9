"""Put the runs that decide the claims beside the published ones, and weights of some seeds in half precision.

    python -m support.commands.publish [SEED ...]

Takes from `outputs/trained_out` every finished run: its record, packed, and where it has them its scores of the claims;
the tables of scores and of intervals, the judges' tables. Rows of other runs that are published stay. Of these seeds
the weights that claims.yaml reads, last or best, of the runs with scores go to `outputs/published/weights`. Seal the
folder afterwards (`python -m support.commands.check .. outputs/published --seal`).
"""

import gzip
import sys
from pathlib import Path

import pandas as pd

from data.files import write_atomically

from .. import DECIDING, OUTPUTS, PUBLISHED, runs, weights
from ..claims import claim_scores, decided, preregistration
from ..runs import Run, RunError

JUDGES = "judges.csv"
RUN, TEST = ["task", "model", "seed"], ["claim", "task"]  # what a row of the two tables is about


def publish(folder: Path, published: Path, seeds: list[int]) -> list[str]:
    """Copy the runs of `folder` into a folder of its name in `published`. Returns the weights that were written.

    Raises DecidedError or RunError for runs whose records are not whole, and RunError for weights that are not
    theirs."""
    claims, target, written = preregistration.read(), published / folder.name, []
    scored = decided.read_records(folder, decided.read_scores(folder, claims))
    for file in sorted(folder.glob("*/*/seed*/run.json")):
        run, place = runs.read_run(file.parent), target / file.parent.relative_to(folder)
        task, model, seed = run.record["task"], run.record["model"], run.record["seed"]
        _copy(file, place / "run.json")
        for name in runs.PARTS:
            content = gzip.compress(runs.read_part(run.folder, name), mtime=0)  # the same bytes at any time
            write_atomically(place / f"{name}{runs.PACKED}", content)
        if (task, model, seed) in scored:
            table = f"{runs.SCORES}/{claim_scores.TABLE}"
            _copy(run.folder / table, place / table)
            if seed in seeds:
                written.append(_half(run, runs.published_weights(place), claims.tasks[task].epoch))
    for judges in folder.glob(f"*/{JUDGES}"):
        _copy(judges, target / judges.relative_to(folder))
    for name, about in ((decided.SCORES, RUN), (decided.INTERVALS, TEST)):
        if (folder / name).exists():
            _merge(folder / name, target / name, about)
    return written


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, source.read_bytes())


def _half(run: Run, target: Path, which: str) -> str:
    """Write a run's weights, last or best, in half precision."""
    file = claim_scores.files_of(run)[which]
    target.parent.mkdir(exist_ok=True)
    weights.save_model(target, weights.load_model(file).half(), epoch=decided.scored_epoch(run, which))
    return target.name


def _merge(source: Path, target: Path, about: list[str]) -> None:
    """The rows of `source`, after those of `target` that are about something else."""
    new = pd.read_csv(source)
    if target.exists():
        old = pd.read_csv(target)
        new = pd.concat([old[~old.set_index(about).index.isin(new.set_index(about).index)], new], ignore_index=True)
    write_atomically(target, new.to_csv(index=False, float_format="%.8g").encode())


def main(arguments: list[str]) -> int:
    if not all(word.isdecimal() for word in arguments):
        print("Use: python -m support.commands.publish [SEED ...]")
        return 2
    try:
        written = publish(OUTPUTS / DECIDING, OUTPUTS / PUBLISHED, [int(word) for word in arguments])
    except (decided.DecidedError, RunError, OSError) as error:
        print(error)
        return 1
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
