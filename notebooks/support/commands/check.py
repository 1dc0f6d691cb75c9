"""`python -m support.commands.check HERE [FOLDER]`: prove an outputs folder, the published one where none is named;
HERE is where the command was given.

Every file is held against its checksum, in its run's record and in checksums.txt; tables, findings and verdicts are
computed again from the records; of one run a task the scores are computed again from its weights, where the data are at
hand. Nothing in the folder changes. The exit status is 0 if all is as it was written, 1 if something differs, with a
line for each, 2 if the folder can't be checked.

`python -m support.commands.check HERE FOLDER --seal` writes FOLDER/checksums.txt anew, after runs, scores or weights
were published on purpose."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import mccvae_core as core
from data import DataError
from data.files import digest, open_regular, reason, shown, write_atomically

from .. import OUTPUTS, PUBLISHED, code_identity, runs, weights
from ..experiments import (
    characteristics,
    classification,
    conditional,
    intervention,
    lungs,
    overview,
    paired_seeds,
    reconstruction,
    task_judges,
)
from ..measures import scores
from ..report import earlier_verdicts
from ..runs import Run, RunError
from ..settings import Profile, SettingsError, read_profile
from ..show import tables

SUMS = "checksums.txt"  # as sha256sum writes and reads it
MADE = (
    "tables",
    "figures",
    "notebooks",
    "benchmarks",
    "report.html",
    "details.html",
    "README.md",
    SUMS,
)  # made from the rest, or words
TOLERANCE = {"accuracy": 0.002, "loss, nats": 0.5, "PSNR, dB": 0.02}
SHOWN = 40  # of the differences
RELATIVE = 1e-5  # of a table's numbers, which have six digits: another processor may round the last otherwise


@dataclasses.dataclass(frozen=True)
class Elsewhere(Profile):
    """A profile whose outputs lie in another folder."""

    at: Path

    @property
    def folder(self) -> Path:
        return self.at


class NoData(dict):
    """In place of `runs.Datasets`: a score that is not kept can't be computed here."""

    def __init__(self, profile: Profile):
        super().__init__()
        self.profile = profile

    def __missing__(self, task: str):
        raise DataError(f"a file of kept scores or the judge of {task} is missing")


def check(folder: Path, profile: Profile) -> list[str]:
    """What differs in the outputs folder of a profile, a line each; says of each part how much was looked at."""
    names, faults = _files(folder)
    faults += _told("checksums", _sums(folder, names))
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere, PUBLISHED if (folder / "runs").is_dir() else folder.name)
        for name in names:
            if Path(name).parts[0] not in ("figures", "notebooks", "benchmarks", "report.html", "details.html"):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, copy / name)
        there = Elsewhere(
            **{field.name: getattr(profile, field.name) for field in dataclasses.fields(Profile)}, at=copy
        )
        faults += _told("records", _records(there, vouched=(folder / SUMS).exists()))
        faults += _told("tables and verdicts", _tables(there, folder / "tables"))
        faults += _told("scores", _scores(there))
        return list(dict.fromkeys(fault.replace(str(copy), str(folder)) for fault in faults))


def _told(what: str, found: tuple[str, list[str]]) -> list[str]:
    about, faults = found
    print(f"{what}: {about}; {len(faults) or 'none'} differ{'s' if len(faults) == 1 else ''}", flush=True)
    return faults


# --- files --------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """Names, with /, of the regular files below a folder, and a line for whatever else lies there or can't be read."""
    names, faults = [], []
    closed = lambda error: faults.append(f"{shown(error.filename)} can't be read ({reason(error)})")  # noqa: E731
    for path, _, files in os.walk(folder, onerror=closed):
        for file in (Path(path, name) for name in sorted(files) if name != ".lock"):
            name = file.relative_to(folder).as_posix()
            try:
                if file.is_symlink():
                    raise OSError(0, "it is a link")
                open_regular(file).close()
                names.append(name)
            except OSError as error:
                faults.append(f"{shown(name)} can't be read ({reason(error)})")
    return sorted(names), faults


def _vouched(names: list[str]) -> list[str]:
    """The files that checksums.txt lists: what is published and not made from the rest. Weights beside a record stand
    in that."""
    kinds = (".json", ".csv", ".txt", ".safetensors", "")
    beside = (runs.WEIGHTS, runs.BEST_WEIGHTS, "data.json")
    paths = {name: Path(name) for name in names if not Path(name).name.startswith((".", "checkpoint"))}
    mine = {name: path for name, path in paths.items() if path.parts[0] not in MADE and "figures" not in path.parts}
    return [name for name, path in mine.items() if path.suffix in kinds and path.name not in beside]


def seal(folder: Path) -> None:
    """Write the folder's checksums.txt."""
    lines = [f"{digest(folder / name)}  {name}\n" for name in _vouched(_files(folder)[0])]
    write_atomically(folder / SUMS, "".join(lines).encode())


def _sums(folder: Path, names: list[str]) -> tuple[str, list[str]]:
    if SUMS not in names:
        return f"there is no {SUMS}", [f"{SUMS} is missing"] if (folder / "runs").is_dir() else []
    faults, listed = [], {}
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        sha256, _, name = line.partition("  ")
        listed[name] = sha256
    there = set(names)
    for name, sha256 in listed.items():
        if name not in there:
            faults.append(f"{shown(name)} is missing")
        elif digest(folder / name) != sha256:
            faults.append(f"{shown(name)} is not what was written, its checksum differs from that in {SUMS}")
    new = [name for name in _vouched(names) if name not in listed]
    faults += [f"{shown(name)} is not among what {SUMS} lists" for name in new]
    return f"{len(listed):,} files", faults


# --- records ------------------------------------------------------------------------------------------------------


def _records(profile: Profile, vouched: bool) -> tuple[str, list[str]]:
    """Every run's record and what it says of its files. vouched: a checksum elsewhere stands for records of before they
    held any."""
    below, faults, old = runs.runs_below(profile.folder), [], 0
    asked = {runs.run_folder(profile, *run) for run in runs._asked(profile, None)}
    found = sorted(path.parent for path in profile.folder.rglob("run.json"))
    for folder in found:
        try:
            if vouched and "sha256" not in json.loads((folder / "run.json").read_bytes()):
                old += 1
                continue
            run = runs.read_run(folder)
            if any((folder / name).exists() for name in (runs.WEIGHTS, runs.BEST_WEIGHTS)):
                run.check_weights()
            if runs.is_published(profile.folder) and folder.is_relative_to(below) and folder not in asked:
                faults.append(f"{folder} is no run of the profile {profile.profile}")
        except (RunError, OSError, ValueError, TypeError, RecursionError) as error:
            faults.append(
                str(error) if isinstance(error, RunError) else f"{folder / 'run.json'} can't be read ({reason(error)})"
            )
    faults += [f"{folder} is missing, a run of the profile {profile.profile}" for folder in sorted(asked - set(found))]
    decide = {folder for folder in found if folder.is_relative_to(runs.deciding_folder(profile.folder) or below)}
    faults += [fault for folder in sorted(asked & set(found) | decide) for fault in _half_weights(folder)]
    return f"{len(found)} runs" + (f", {old} of them without checksums of their own" if old else ""), faults


def _half_weights(folder: Path) -> list[str]:
    """Whether a run's published weights, if there are any, are of a model with its latents."""
    half = runs.published_weights(folder)
    if not half.exists() or not runs.is_published(folder.parents[3]):
        return []
    try:
        record, model = runs.read_run(folder).record, weights.load_model(half)
    except RunError:
        return []  # told already
    except weights.CheckpointError as error:
        return [str(error)]
    has = {"characteristics": list(model.config.characteristics), "style_dim": model.config.style_dim}
    return [f"{half} has {key} {value}, its run {record[key]}" for key, value in has.items() if value != record[key]]


# --- tables -------------------------------------------------------------------------------------------------------


def _classification(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    trained = runs.read_runs(profile, tasks=runs.compared(profile))
    yield "table_1.csv", classification.accuracy_table(trained, "train")
    yield "table_2.csv", classification.accuracy_table(trained, "test")
    yield "finding_classification.txt", classification.finding(classification.score_frame(trained))


def _reconstruction(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    trained = runs.read_runs(profile, tasks=runs.compared(profile))
    yield "table_3.csv", reconstruction.loss_table(trained)
    yield "finding_reconstruction.txt", reconstruction.finding(reconstruction.loss_frame(trained))


def _intervention(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    trained = [run for task in runs.compared(profile) for run in runs.first_runs(profile, task, characteristics=True)]
    table = intervention.intervention_tables(NoData(profile), trained)
    yield "interventions.csv", table
    yield "finding_intervention.txt", intervention.finding(table)


def _characteristics(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    everything, data = runs.read_runs(profile), NoData(profile)
    trained, judges = [run for run in everything if run.spec.has_blocks], task_judges.Judges(data)
    found = characteristics.score_all(trained, data, judges)
    summary = characteristics.summary_table(**found)
    comparison = paired_seeds.comparison_table(summary)
    yield "judge.csv", task_judges.judge_tables(dict.fromkeys(run.record["task"] for run in trained), data, judges)
    for name, table in (found | {"characteristics": summary, "comparison": comparison}).items():
        yield f"{name}.csv", table
    yield "conditional.csv", conditional.conditional_table(data, conditional.compared(everything), judges)
    yield "lungs.csv", lungs.lung_table(data, [run for run in trained if run.record["task"] == "chest_xray"])
    yield "finding_characteristics.txt", characteristics.finding(summary, comparison)


def _report(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    trained = runs.read_runs(profile)
    yield "results.csv", overview.results_table(trained)
    yield "claims.csv", earlier_verdicts.claims_table(profile, trained)


def _makers(profile: Profile) -> dict[str, Callable]:
    """Experiment -> what computes its tables from records; what needs data or weights only where its scores are
    kept."""
    kept = (
        {"intervention": _intervention, "characteristics": _characteristics}
        if runs.is_published(profile.folder)
        else {}
    )
    of = {"classification": _classification, "reconstruction": _reconstruction} | kept
    return {name: make for name, make in of.items() if name in profile.experiments} | {"report": _report}


def _tables(profile: Profile, theirs: Path) -> tuple[str, list[str]]:
    """The tables of the folder `theirs` against those computed again, which take their place below the profile's
    folder."""
    faults, done = [], set()
    for experiment, make in _makers(profile).items():
        try:
            for name, content in make(profile):
                ours = profile.folder / "tables" / name
                if isinstance(content, str):
                    write_atomically(ours, f"{content}\n".encode())
                else:
                    tables.save_table(content, profile, ours.stem)
                done.add(name)
                faults += _differences(name, ours, theirs / name)
        except Exception as error:  # records that are not what they should be can stop any computation
            why = str(error) if isinstance(error, RunError | DataError) else f"{type(error).__name__}: {error}"
            faults.append(f"the tables of {experiment} can't be computed from the records ({why})")
    others = {path.name for path in theirs.glob("*.*")} - done if theirs.is_dir() else set()
    about = (
        f", not from records alone and so not computed again: {', '.join(map(shown, sorted(others)))}" if others else ""
    )
    return f"{len(done)} computed again{about}", faults


def _differences(name: str, ours: Path, theirs: Path) -> list[str]:
    """A line on the first difference of two tables or findings."""
    try:
        texts = ours.read_text(), theirs.read_bytes().decode(errors="replace")
        if name.endswith(".txt"):
            return [] if texts[0] == texts[1] else [f"tables/{name} is not the finding that the records give"]
        mine, found = (pd.read_csv(io.StringIO(text), dtype=runs.NAMES) for text in texts)
    except (OSError, ValueError) as error:
        return [f"tables/{name} can't be read ({reason(error)})"]
    if list(mine.columns) != list(found.columns):
        other = sorted(set(mine.columns) ^ set(found.columns)) or ["their order"]
        return [f"tables/{name} has other columns than the records give: {', '.join(map(shown, other))}"]
    if len(mine) != len(found):
        return [f"tables/{name} has {len(found)} rows, the records give {len(mine)}"]
    other = [(row, column) for column in mine for row in np.flatnonzero(~_same(mine[column], found[column]))]
    if not other:
        return []
    row, column = min(other, key=lambda place: place[0])
    what = f"row {row + 1}, {shown(column)}: {shown(found[column][row])}, the records give {shown(mine[column][row])}"
    return [f"tables/{name}, {what}" + (f"; {len(other)} cells differ" if len(other) > 1 else "")]


def _same(mine: pd.Series, found: pd.Series) -> np.ndarray:
    """Row for row, whether two columns say the same."""
    if all(pd.api.types.is_numeric_dtype(column) and column.dtype != bool for column in (mine, found)):
        return np.isclose(mine.astype(float), found.astype(float), rtol=RELATIVE, atol=1e-9, equal_nan=True)
    mine, found = (column.astype(object).where(column.notna(), "") for column in (mine, found))
    return (mine.astype(str) == found.astype(str)).to_numpy(dtype=bool)


# --- scores -------------------------------------------------------------------------------------------------------


def _scores(profile: Profile) -> tuple[str, list[str]]:
    """Scores of one run a task, of its first MCCVAE, on the test part, from the weights that are there."""
    faults, done, left = [], [], []
    for task in dict.fromkeys(task for task, *_ in runs._asked(profile, None)):
        try:
            there = runs.first_runs(profile, task, characteristics=True)
            run = next((run for run in there if run.spec.base == "mccvae"), there[0] if there else None)
            if run is None:
                left.append(f"{task} (no weights)")
                continue
            data = runs.load_data(profile, task)
            if other := code_identity._data_differences(run.record["data"], data.summary()):
                left.append(f"{task} ({other[0]})")
                continue
            done.append(f"{task}/{run.spec.name}/seed{run.record['seed']}")
            faults += _evaluated(run, data)
        except DataError as error:
            left.append(f"{task} ({str(error).splitlines()[0].partition(',')[0]})")
        except (RunError, weights.CheckpointError, FileNotFoundError) as error:
            faults.append(str(error))
    about = f"computed again of {', '.join(done) or 'no run'}"
    return about + (f"; left out: {', '.join(left)}" if left else ""), faults


def _evaluated(run: Run, data) -> list[str]:
    """A line for each score of a run that its weights don't give within TOLERANCE."""
    model, images, labels = run.model(), data.test.images, data.test.labels
    wanted = run.metrics_of_weights()["test"]
    read = scores.classification_scores(core.predict(model, images), labels, exclusive=data.task.exclusive)
    batches = zip(images.split(512), labels.split(512), strict=True)
    psnr = torch.cat([scores.image_psnr(core.reconstruct(model, x, y).cpu(), core.to_images(x)) for x, y in batches])
    found = {
        "accuracy": read["accuracy"],
        "loss, nats": core.evaluate_loss(model, images, labels, core.BOUND, seed=0)["loss_alpha0"],
    }
    found["PSNR, dB"] = psnr.mean().item()
    recorded = {
        "accuracy": wanted.get("accuracy"),
        "loss, nats": wanted["bound"]["loss_alpha0"],
        "PSNR, dB": wanted.get("psnr"),
    }
    return [
        f"{run.folder / 'metrics.json'}: test {name} {recorded[name]}, its weights give {value:.6g}"
        for name, value in found.items()
        if recorded[name] is not None and not abs(value - recorded[name]) <= TOLERANCE[name]
    ]


def profile_of(folder: Path) -> Profile:
    """The profile whose outputs these are. Raises SettingsError."""
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; name an outputs folder, say outputs/published")
    return read_profile(PUBLISHED if (folder / "runs").is_dir() else folder.name)


def main(here: str, *words: str) -> int:
    folder = (
        Path(here, *[word for word in words if word != "--seal"][:1])
        if set(words) - {"--seal"}
        else OUTPUTS / PUBLISHED
    )
    profile = profile_of(folder)
    if "--seal" in words:
        seal(folder)
        return 0
    os.environ["MCCVAE_DOWNLOAD"] = "never"
    faults = check(folder, profile)
    lines = [f"  {fault}" for fault in faults[:SHOWN]] + [f"  ... and {len(faults) - SHOWN} more"] * (
        len(faults) > SHOWN
    )
    print(*lines, sep="\n", end="\n" if lines else "")
    print(f"{folder}: {f'{len(faults)} differences' if faults else 'all that was checked is as it was written'}.")
    return int(bool(faults))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main(*sys.argv[1:]))
        except (SettingsError, OSError) as error:
            print(f"run_all.sh: check: {error}", file=sys.stderr)
            sys.exit(2)
    sys.exit(130)
