"""Run folders, `outputs/<profile>/<task>/<model>/seed<n>/`: where they lie, and what is there."""

import dataclasses
import functools
import gzip
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import platform
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd

import mccvae_core as core
from data import TASKS, DataError, Dataset, load, own
from data.files import read_limited, write_atomically
from data.messages import PlainError

from . import DECIDING, IMAGES, OUTPUTS, PUBLISHED, ROOT, machine, runs_below, weights
from .records import check_record, check_scores
from .settings import ModelSpec, Profile, SettingsError

COMPARING = ("classification", "reconstruction", "intervention", "objective")  # experiments on the paper's tasks
# Tables 1 to 3 and Figures 6 to 12
PAPER_TASKS = tuple(task.name for task in TASKS.values() if task.reconstruction_figure)
# columns of scores; a digit's name is no number
NAMES = dict.fromkeys(("label", "on", "on_label", "target", "disease"), str)
WEIGHTS = "model.safetensors"  # after the last epoch
BEST_WEIGHTS = "best.safetensors"  # where the validation loss was lowest
SCORES = "scores"  # folder beside a published run's records
CHECKPOINT = "checkpoint.safetensors"  # and beside it the one before, and one of other settings that was set aside


MAX_RECORD = 64 << 20  # bytes of a record's file
PARTS = ("metrics.json", "history.csv")  # of a record beside run.json, which has their checksums
PACKED = ".gz"  # what is added to the name of a part that is published packed


class MissingRunError(PlainError, FileNotFoundError):
    """A run that is asked for is not there; the message says how to make it."""


class RunError(PlainError):
    """A run's folder can't be used; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained model: its records as they lie in the folder."""

    folder: Path
    record: dict  # run.json
    metrics: dict  # metrics.json: {part: scores}
    history: pd.DataFrame  # an epoch a row

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec.parse(self.record["model"])

    def weights(self) -> Path:
        """The file of the weights; of a published run without them, that in half precision which is published. Raises
        RunError where they are not this run's."""
        path, half = self.folder / WEIGHTS, published_weights(self.folder)
        if not path.exists() and half.exists():
            return half
        return self._checked(WEIGHTS)

    def check_weights(self) -> None:
        """Raises RunError where a file of weights is not what was written. Runs of before the best weights were kept
        have none of those."""
        if self.weights().parent == self.folder and BEST_WEIGHTS in self.record["sha256"]:
            self._checked(BEST_WEIGHTS)

    def _checked(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing; train the run again to have its weights")
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.record["sha256"].get(name):
            raise RunError(
                f"{path} is not what was written, its checksum differs; delete {self.folder} and train the run again"
            )
        return path

    def model(self) -> core.VAE:
        """The trained model, on this machine's device. Raises RunError where its latents are not the record's."""
        model = weights.load_model(path := self.weights())
        for name, found in (
            ("characteristics", list(model.config.characteristics)),
            ("style_dim", model.config.style_dim),
        ):
            if found != self.record[name]:
                raise RunError(
                    f"{path} has {name} {found}, its run.json says {self.record[name]}; "
                    f"delete {self.folder} and train the run again"
                )
        return model.to(machine.choose_device())

    def epoch_of_weights(self) -> int:
        """After which epoch `weights()` were kept: the last, or, published in half precision, the best."""
        path = self.weights()
        epoch = None if path.parent == self.folder else weights.epoch_of(path)
        return self.record["epochs"] if epoch is None else epoch

    def metrics_of_weights(self) -> dict:
        """The metrics of `weights()`."""
        return self.metrics if self.epoch_of_weights() == self.record["epochs"] else self.metrics["best"]

    @property
    def calibration(self) -> dict[str, list[float]] | None:
        """That of `weights()`, as `measures.calibration.fit` gives it; None of a run that has none."""
        return self.metrics_of_weights()["calibration"] if "calibration" in self.metrics else None

    def scores(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """`kept` of this run."""
        return kept(self.folder / SCORES / f"{name}.csv", make)


def run_folder(profile: Profile, task: str, model: str, seed: int) -> Path:
    return runs_below(profile.folder) / task / model / f"seed{seed}"


def deciding_folder(folder: Path) -> Path | None:
    """Where, of a profile with this folder, the runs lie that decide the claims: of the published one beside its own;
    None where they are the profile's own."""
    return folder / DECIDING if is_published(folder) else None


def published_weights(folder: Path) -> Path:
    """Of a run's folder: where its weights in half precision are, if they are published."""
    task, model, seed = folder.parts[-3:]
    return folder.parents[3] / "weights" / f"{task}-{model}-{seed}.safetensors"


def load_data(profile: Profile, task: str) -> Dataset:
    """The task's data as this profile uses them."""
    of_task = functools.partial(profile.value, task=TASKS[task])
    file = OUTPUTS / profile.profile / IMAGES if profile.source == "own" else None
    try:
        return load(
            task, profile.source, images=of_task("images"), correlation=of_task("correlation") or 0.0, file=file
        )
    except DataError as error:
        if profile.source != "real" or "MCCVAE_DATA" in str(error):
            raise
        raise DataError(
            f"{error}\nIf you have the sets in a folder already: MCCVAE_DATA=<folder>, see data/README.md"
        ) from None


class Datasets(dict):
    """task -> its data as this profile uses them, loaded when first asked for."""

    def __init__(self, profile: Profile):
        super().__init__()
        self.profile = profile
        self.told: set[str] = set()

    def __missing__(self, task: str) -> Dataset:
        self[task] = load_data(self.profile, task)
        return self[task]

    def to_draw(self, tasks: Iterable[str]) -> Iterator[Dataset]:
        """The data of these tasks, for pictures. The published profile's records stand without data: a task whose data
        can't be had is then left out with a sentence, once."""
        for task in tasks:
            try:
                yield self[task]
            except DataError as error:
                if not is_published(self.profile.folder):
                    raise
                if task not in self.told:
                    print(f"{TASKS[task].title}: its pictures are not drawn anew: {error}")
                self.told.add(task)


def is_published(folder: Path) -> bool:
    """Whether a profile's folder is the tracked one, whose records stand without weights and without data."""
    return runs_below(folder) != folder


def only_looked_at(folder: Path) -> bool:
    """Whether a profile's folder is the tracked one, where a notebook that the graph does not run changes nothing."""
    return folder == OUTPUTS / PUBLISHED and "GRAPH_PID" not in os.environ


def kept(file: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of scores that needs weights and data. Among the published runs it is read from its file, since the
    weights of all seeds would be too large to publish, and made and put there where that is missing; elsewhere it is
    made."""
    places = ((runs_below(folder), deciding_folder(folder)) for folder in file.parents if is_published(folder))
    if not any(map(file.is_relative_to, itertools.chain(*places))):
        return make()
    if not file.exists():
        content = make().to_csv(index=False, float_format="%.6g").encode()
        if only_looked_at(next(folder for folder in file.parents if is_published(folder))):
            return pd.read_csv(io.BytesIO(content), dtype=NAMES)
        write_atomically(file, content)
    return pd.read_csv(file, dtype=NAMES)


def compared(profile: Profile) -> tuple[str, ...]:
    """The tasks of the notebooks that compare models as the paper does: the paper's, or the user's own images. Raises
    SettingsError for a profile that has none of them."""
    if profile.source == "own":
        return (own.TASK.name,)
    if not any(profile.runs(TASKS[task]) for task in PAPER_TASKS):
        asked = [name for name in profile.experiments if name in COMPARING]
        raise SettingsError(
            f"profile {profile.profile} has no model of {', '.join(PAPER_TASKS)}, which these experiments compare: "
            f"{', '.join(asked or COMPARING)}; add one, or take them out of its experiments"
        )
    return PAPER_TASKS


def read_part(folder: Path, name: str) -> bytes:
    """One of a record's PARTS, packed or not. Raises OSError or ValueError for a file that can't be read."""
    packed = folder / f"{name}{PACKED}"
    if (folder / name).exists() or not packed.exists():
        return read_limited(folder / name, MAX_RECORD)
    try:
        with gzip.open(io.BytesIO(read_limited(packed, MAX_RECORD))) as file:
            content = file.read(MAX_RECORD + 1)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{packed.name} can't be unpacked ({error})") from None
    if len(content) > MAX_RECORD:
        raise ValueError(f"{packed.name} holds more than {MAX_RECORD:,} bytes")
    return content


def read_run(folder: Path) -> Run:
    """The records of a finished run. Raises RunError where one is missing, was changed, or holds what can't be."""
    try:
        record = json.loads(read_limited(folder / "run.json", MAX_RECORD))
        check_record(record)
        contents = {name: read_part(folder, name) for name in PARTS}
        for name, content in contents.items():
            if record["sha256"][name] != hashlib.sha256(content).hexdigest():
                raise ValueError(f"{name} is not what was written, its checksum differs")
        metrics, history = json.loads(contents["metrics.json"]), pd.read_csv(io.BytesIO(contents["history.csv"]))
        check_scores(record, metrics, history)
        return Run(folder, record, metrics, history)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, SettingsError) as error:
        raise RunError(
            f"{folder} holds no whole record of a run ({error}); delete it and train the run again"
        ) from None


def sweep(profile: Profile) -> list[str]:
    """Takes the records from the profile's runs that are not whole, so that they count as not trained; says which and
    why."""
    why = []
    for task in TASKS.values():
        for model, seed in profile.runs(task):
            record = run_folder(profile, task.name, model, seed) / "run.json"
            try:
                if record.is_file():
                    read_run(record.parent).check_weights()
            except RunError as error:
                record.unlink()
                record.with_name("train.ipynb").unlink(missing_ok=True)
                why.append(f"{error}. That is done now")
    return why


def read_runs(profile: Profile, *, tasks: list[str] | None = None) -> list[Run]:
    """The runs that the profile asks for, in its order; of the published one those that are there, `missing` has the
    others.

    Elsewhere a run that is missing raises MissingRunError naming its folder."""
    absent = missing(profile, tasks=tasks)
    if absent and not is_published(profile.folder):
        task, model, seed = absent[0]
        where = run_folder(profile, *absent[0]).relative_to(OUTPUTS.parent)
        raise MissingRunError(
            f"{where} holds no finished run; run notebooks/{task}.ipynb with model={model!r}, "
            f"seed={seed}, or ./run_all.sh {profile.profile}; or set profile to {PUBLISHED!r}, whose runs are there"
        )
    read = [read_run(run_folder(profile, *run)) for run in _asked(profile, tasks) if run not in absent]
    for task in {run.record["task"] for run in read}:
        found = {run.record.get("precision", "float32") for run in read if run.record["task"] == task}
        if len(found) > 1:
            raise RunError(
                f"the {task} runs were computed in {' and '.join(sorted(found))}, which can't be "
                "compared; delete the run.json of those in one "
                f"of the two below {profile.folder}, and run again"
            )
    return read


def _asked(profile, tasks):
    return [(task, model, seed) for task in tasks or list(TASKS) for model, seed in profile.runs(TASKS[task])]


def missing(profile: Profile, *, tasks: list[str] | None = None) -> list[tuple[str, str, int]]:
    """(task, model, seed) of the profile's runs that are not there."""
    return [run for run in _asked(profile, tasks) if not (run_folder(profile, *run) / "run.json").exists()]


def first_runs(profile: Profile, task: str, *, characteristics: bool = False) -> list[Run]:
    """Of each model of the task its first seed; `characteristics`: only models that have them. Models of other classes
    than the task's (-c2) are left out. Of the published profile those whose weights are there: where runs that decide
    the claims have theirs, these alone, since the others were not trained as long."""
    published, first = is_published(profile.folder), {}
    found = read_runs(profile, tasks=[task])
    if published:
        found = _longest(deciding_folder(profile.folder), task) or [run for run in found if has_weights(run)]
    for run in found:
        if run.spec.classes is None and (run.spec.kind == "MCCVAE" or not characteristics):
            first.setdefault(run.spec.name, run)
    return list(first.values())


def has_weights(run: Run) -> bool:
    """Whether a run's weights are there, whole or in half precision."""
    return any(path.exists() for path in (run.folder / WEIGHTS, published_weights(run.folder)))


def _longest(folder: Path, task: str) -> list[Run]:
    """The runs that decide a task's claims and whose weights are there, by model and seed."""
    records = sorted(
        (folder / task).glob("*/seed*/run.json"), key=lambda file: (file.parts[-3], len(file.parts[-2]), file)
    )
    return [run for run in map(read_run, (file.parent for file in records)) if has_weights(run)]


def how_trained(shown: Iterable[Run]) -> str:
    """Of each task the epochs and the seeds of the runs that pictures are drawn from, one clause per task."""
    said = {}
    for run in shown:
        clause = f"{run.spec.title} {run.epoch_of_weights()} epochs, seed {run.record['seed']}"
        said.setdefault(TASKS[run.record["task"]].title, []).append(clause)
    return "; ".join(f"{title}: {', '.join(clauses)}" for title, clauses in said.items())


def models_by_title(profile: Profile, task: str, *, characteristics: bool = False) -> dict[str, core.VAE]:
    """Title -> trained model, of `first_runs`."""
    return {run.spec.title: run.model() for run in first_runs(profile, task, characteristics=characteristics)}


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("torch", "numpy", "scikit-learn")
    }


def commit() -> str | None:
    """The git commit of the code, with a + where files differ from it; None outside a repository."""
    try:
        out = [
            subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True, check=True).stdout.strip()
            for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
        return out[0] + ("+" if out[1] else "")
    except (OSError, subprocess.CalledProcessError):
        return None
