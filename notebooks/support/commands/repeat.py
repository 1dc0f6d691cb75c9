"""`python -m support.commands.repeat HERE RUN`: train a run again from its record and compare what comes out; HERE is
where the command was given.

RUN is a run's folder, say outputs/published/trained_out/celeba/ccvae/seed10. It is trained from scratch in a folder of
its own, which is deleted; nothing below outputs changes. The exit status is 0 if all scores are the same to the last
digit, 1 if some differ, 2 if the run can't be repeated."""

import math
import sys
import tempfile
from pathlib import Path

from data import DataError
from data.messages import plain

from .. import OUTPUTS, PUBLISHED, profile_names, runs, training
from ..runs import Run, RunError
from ..settings import Profile, SettingsError, read_profile

ABOUT = ("data", "code", "versions", "device", "threads")  # what may differ between two trainings of the same settings


def scores(run: Run) -> dict[str, float]:
    """Every number that the run's records hold of its model, by a name: all of metrics.json and the last epoch, but not
    how long that took."""
    flat, left = {}, list(run.metrics.items())
    while left:
        name, value = left.pop()
        if isinstance(value, dict | list):
            left += [
                (f"{name} {key}", v) for key, v in (value.items() if isinstance(value, dict) else enumerate(value))
            ]
        elif isinstance(value, int | float):
            flat[name] = value
    return flat | run.history.iloc[-1].drop("seconds").add_prefix("last epoch's ").to_dict()


def differences(first: Run, second: Run) -> dict[str, tuple[float, float]]:
    """The first run's scores that are not the same in the second, by name; NaN where that has none. It may have more:
    scores are added."""
    one, two = scores(first), scores(second)
    pairs = {name: (value, two.get(name, math.nan)) for name, value in one.items()}
    return {
        name: (a, b)
        for name, (a, b) in pairs.items()
        if a != b and not (name in two and math.isnan(a) and math.isnan(b))
    }


def repeat(folder: Path, profile: Profile) -> int:
    """Train the run of a folder again, with its profile's settings; say what differs. The exit status."""
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} is not a run's folder; name one with a run.json, as <task>/<model>/seed<n>")
    run = runs.read_run(folder)
    task, model, seed = (run.record[key] for key in ("task", "model", "seed"))
    with tempfile.TemporaryDirectory() as elsewhere:
        folder = Path(elsewhere, "runs", task, model, f"seed{seed}")
        again = training.train(
            profile, task, model, seed, folder=folder, precision=run.record.get("precision", "float32")
        )
    for key in ABOUT:
        if run.record.get(key) != again.record[key]:
            print(f"{key} then: {run.record.get(key)}\n{' ' * len(key)}  now: {again.record[key]}")
    found = differences(run, again)
    print(f"Of {len(scores(run))} scores {len(found)} differ{':' if found else '.'}")
    for name, (before, now) in sorted(found.items()):
        print(f"  {name}: {before:.6g}, now {now:.6g}")
    return int(bool(found))


def profile_of(folder: Path) -> Profile:
    """The profile below whose outputs a run's folder lies; of what is published, the one of the folder's name there."""
    outputs = OUTPUTS.resolve()  # it may be a link to another disk
    if not folder.is_relative_to(outputs) or folder == outputs:
        raise SettingsError(f"{folder} does not lie below {OUTPUTS}; name the folder of a run there")
    name, *below = folder.relative_to(outputs).parts
    beside = name == PUBLISHED and below and below[0] in profile_names()[0]
    return read_profile(below[0] if beside else name)


if __name__ == "__main__":
    wanted = Path(sys.argv[1], sys.argv[2]).resolve()
    try:
        sys.exit(repeat(wanted, profile_of(wanted)))
    except (RunError, SettingsError, DataError, OSError) as error:
        print(plain(f"run_all.sh: repeat: {error}"), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
