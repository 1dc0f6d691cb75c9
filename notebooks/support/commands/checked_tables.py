"""Tables and findings computed again from an outputs folder's records, against those that lie in it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from data import DataError
from data.files import reason, shown, write_atomically

from .. import runs
from ..claims import decided, preregistration
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
from ..runs import RunError
from ..settings import Profile
from ..show import tables

VERDICTS = "verdicts.csv"
RELATIVE = 1e-5  # of a table's numbers, which have six digits: another processor may round the last otherwise


class NoData(dict):
    """In place of `runs.Datasets`: a score that is not kept can't be computed here."""

    def __init__(self, profile: Profile):
        super().__init__()
        self.profile = profile

    def __missing__(self, task: str):
        raise DataError(f"a file of kept scores or the judge of {task} is missing")


def _classification(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    trained = decided.main_runs(profile)
    yield "table_1.csv", classification.accuracy_table(trained, "train")
    yield "table_2.csv", classification.accuracy_table(trained, "test")
    yield "finding_classification.txt", classification.finding(classification.score_frame(trained))


def _reconstruction(profile: Profile) -> Iterator[tuple[str, pd.DataFrame | str]]:
    trained = decided.main_runs(profile)
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
    yield "results.csv", overview.results_table(decided.all_runs(profile))


def makers(profile: Profile) -> dict[str, Callable]:
    """Experiment -> what computes its tables from records; what needs data or weights only where its scores are
    kept."""
    kept = (
        {"intervention": _intervention, "characteristics": _characteristics}
        if runs.is_published(profile.folder)
        else {}
    )
    of = {"classification": _classification, "reconstruction": _reconstruction} | kept
    return {name: make for name, make in of.items() if name in profile.experiments} | {"report": _report}


def against_records(profile: Profile, theirs: Path) -> tuple[str, list[str]]:
    """The tables of the folder `theirs` against those computed again, which take their place below the profile's
    folder."""
    faults, done = [], set()
    for experiment, make in makers(profile).items():
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


def against_scores(profile: Profile, theirs: Path) -> tuple[str, list[str]]:
    """The verdicts in a folder's table against those that follow from the deciding runs' scores; they take the table's
    place below the profile's folder."""
    folder = runs.deciding_folder(profile.folder)
    if folder is None or not (folder / decided.SCORES).exists():
        return "no runs that decide", []
    try:
        claims = preregistration.read()
        table = decided.verdict_table(decided.decide_all(folder, claims), claims)
    except decided.DecidedError as error:
        return "not computed", [str(error)]
    ours = folder / "tables" / VERDICTS
    write_atomically(ours, table.to_csv(index=False, float_format="%.6g").encode())
    return f"{len(table)} computed again from scores", _differences(VERDICTS, ours, theirs / VERDICTS)


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
