"""Run folders: train a model into one, read what is there. `outputs/<profile>/<task>/<model>/seed<n>/`."""

import copy
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import torch

import mccvae_core as core
from data import TASKS, DataError, Dataset, load, own
from data.files import hold, read_limited, write_atomically

from . import DECIDING, IMAGES, OUTPUTS, PUBLISHED, ROOT, code_identity, machine, runs_below, weights
from .measures import blocks, gradients, scores
from .records import PARTS, check_record, check_scores
from .settings import ModelSpec, Profile, SettingsError, read_profile

# Tables 1 to 3 and Figures 6 to 12
PAPER_TASKS = tuple(task.name for task in TASKS.values() if task.reconstruction_figure)
# columns of scores; a digit's name is no number
NAMES = dict.fromkeys(("label", "on", "on_label", "target", "disease"), str)
WEIGHTS = "model.safetensors"  # after the last epoch
# over-fitting raises the validation loss by tenths of a percent between two looks, a breakdown by several percent
JUMP = 1.02
BEST_WEIGHTS = "best.safetensors"  # where the validation loss was lowest
SCORES = "scores"  # folder beside a published run's records
CHECKPOINT = "checkpoint.safetensors"  # and beside it the one before, and one of other settings that was set aside


MAX_RECORD = 64 << 20  # bytes of a record's file


class RunError(Exception):
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
    """The tasks of the notebooks that compare models as the paper does: the paper's, or the user's own images."""
    return (own.TASK.name,) if profile.source == "own" else PAPER_TASKS


def train(
    profile: Profile,
    task: str,
    model: str,
    seed: int,
    data: Dataset | None = None,
    folder: Path | None = None,
    precision: str | None = None,
) -> Run:
    """Train one model, evaluate it on every part, write its folder, the profile's or another; a finished run with the
    same settings, data and code is read instead, an interrupted one goes on. In a live notebook with a bar, else one
    line an epoch."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise SettingsError(f"seed must be a whole number from 0 on, not {seed!r}")
    data = load_data(profile, task) if data is None else data
    spec = ModelSpec.parse(model)
    data, epochs = spec.seen(data), profile.value("epochs", data.task)
    # changed by hand: a run of its own
    if spec.epochs is None and epochs != read_profile(profile.profile).value("epochs", data.task):
        spec = dataclasses.replace(spec, epochs=epochs)
    identity = {
        "task": task, "model": spec.name, "estimator": spec.estimator, "label_weight": spec.label_weight or 0.0,
        "characteristics": list(spec.config(data).characteristics), "style_dim": spec.config(data).style_dim,
        "labelled_fraction": spec.labelled_fraction, "learning_rate": core.LEARNING_RATE * spec.rate_factor,
        "seed": seed, "epochs": spec.epochs or epochs, "batch_size": profile.value("batch_size", data.task),
        "start_std": spec.start_std, "start": spec.start, "block_prior": spec.block_prior,
        "by_turns": not data.train.labels.is_floating_point(), "block_penalty": spec.block_penalty,
        "sigmoids": spec.sigmoids, "classes": spec.classes,
        "data": data.summary(), "precision": precision or machine.precision_of(profile.folder, machine.choose_device()),
        "code": code_identity.code_version(),
    }  # fmt: skip
    folder = folder or run_folder(profile, task, spec.name, seed)
    if only_looked_at(profile.folder):
        return _published(profile, identity)
    with hold(folder):
        if run := _finished(folder, identity):
            print(f"{_label(identity)}: already trained, read from its folder")
            for checkpoint in filter(Path.is_file, folder.glob("checkpoint*")):
                checkpoint.unlink()
            return run
        return _train(folder, spec, data, identity)


def _published(profile: Profile, identity: dict) -> Run:
    """A published run by hand: its weights are there, or nothing is done. Its metrics are those of its weights. Raises
    SettingsError with the seeds whose weights there are, RunError where data or settings differ from the run's."""
    task, model, seed = (identity[key] for key in ("task", "model", "seed"))
    found = {}
    for place in (runs_below(profile.folder), deciding_folder(profile.folder)):
        for record in (place / task / model).glob("seed*/run.json"):
            if has_weights(run := read_run(record.parent)):
                found[run.record["seed"]] = run
    if seed not in found:
        seeds = ", ".join(map(str, sorted(found)))
        with_seed = f"the seed {seeds}" if found else "no seed"
        raise SettingsError(
            f"{_label(identity)}: of {task} {model} the weights of {with_seed} are published; take that, or another "
            "profile, which trains"
        )
    run = found[seed]
    known = identity | {key: run.record.get(key, identity[key]) for key in ("epochs", "precision", "code")}
    if differs := code_identity.differences(run.record, known):
        raise RunError(f"{_label(identity)}: it was published with other settings or data: {'; '.join(differs)}")
    print(f"{_label(identity)}: published weights, {run.epoch_of_weights()} epochs")
    return dataclasses.replace(run, metrics=run.metrics_of_weights())


def _label(identity: dict) -> str:
    return f"{identity['task']} {identity['model']} seed {identity['seed']}"


def _finished(folder: Path, identity: dict) -> Run | None:
    """The run in a folder, if it is whole and has this identity; else None, with one line that says why it is trained
    again."""
    if not (folder / "run.json").exists():
        return None
    try:
        run = read_run(folder)
        run.check_weights()
        published = run.weights() == published_weights(folder)
        differs = code_identity.differences(run.record, identity)
        if published:  # their weights can't be made anew by everyone: older code's stand
            differs = [line for line in differs if not line.startswith("code")]
        if not differs and isinstance(run.model(), core.VAE):
            return run
        why = "; ".join(differs)
    except (RunError, weights.CheckpointError) as error:
        why = str(error)
    print(f"{_label(identity)}: trained again, since {why}")
    return None


def _train(folder: Path, spec: ModelSpec, data: Dataset, identity: dict) -> Run:
    model, state = _fit(folder, spec, data, identity)
    objective = spec.objective
    metrics = _evaluate(model, data, objective)
    best = copy.deepcopy(model)
    best.load_state_dict(state.best.weights)
    of_best = metrics if state.best.epoch == identity["epochs"] else _evaluate(best, data, objective)
    metrics |= {"best": {"epoch": state.best.epoch, "validation_bound": state.best.loss, **of_best}}
    (folder / "run.json").unlink(missing_ok=True)  # of an earlier run: it must not stand beside these weights
    shutil.rmtree(folder / SCORES, ignore_errors=True)
    weights.save_model(folder / WEIGHTS, model)
    weights.save_model(folder / BEST_WEIGHTS, best)
    if (half := published_weights(folder)).exists():
        weights.save_model(half, copy.deepcopy(model).half())
    contents = {"history.csv": pd.DataFrame(state.history).to_csv(index=False).encode(), "metrics.json": _json(metrics)}
    files = contents | {name: (folder / name).read_bytes() for name in (WEIGHTS, BEST_WEIGHTS)}
    device = machine.choose_device()
    record = identity | {
        "versions": versions(),
        "device": machine.device_name(device),
        "threads": torch.get_num_threads(),
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    write_atomically(folder / "run.json", _json(record))  # last: a folder with run.json is complete
    # the checkpoint stays until the whole notebook has run: what fails after it costs no training
    return read_run(folder)


def _fit(folder: Path, spec: ModelSpec, data: Dataset, identity: dict) -> tuple[core.VAE, core.TrainingState]:
    """The model and its training's last state; from the folder's checkpoint where one is there that fits."""
    checkpoint, label, epochs = folder / CHECKPOINT, _label(identity), identity["epochs"]

    def attempt():
        model = core.build_model(spec.kind, spec.config(data), identity["seed"])
        with Progress(label, epochs) as progress:
            state = core.fit(
                model, data.train.images, data.train.labels, spec.objective, batch_size=identity["batch_size"],
                epochs=epochs,
                seed=identity["seed"], labelled_fraction=spec.labelled_fraction, by_turns=identity["by_turns"],
                learning_rate=identity["learning_rate"], precision=identity["precision"],
                device=machine.choose_device(),
                validation=(data.validation.images, data.validation.labels),
                keeper=weights.CheckpointKeeper(checkpoint, identity),
                measure=functools.partial(measure, model, data, epochs), on_epoch=progress,
            )  # fmt: skip
        return model, state

    try:
        return attempt()
    except weights.CheckpointError as error:
        aside = checkpoint.with_stem(f"{checkpoint.stem}.aside")
        print(f"{label}: starting afresh, with the old checkpoint set aside as {aside.name}: {error}")
        newest, *older = filter(Path.exists, (checkpoint, weights.one_before(checkpoint)))
        os.replace(newest, aside)
        for file in older:
            file.unlink()
        return attempt()


def _evaluate(model: core.VAE, data: Dataset, objective: core.Objective) -> dict[str, dict]:
    """Scores of a model on every split."""
    metrics = {}
    for name in PARTS:
        split, exclusive = getattr(data, name), data.task.exclusive
        metrics[name] = scores.evaluate(
            model, split.images, split.labels, exclusive=exclusive, objective=objective, reference=data.train.labels
        )
    metrics["test"] |= scores.picture_scores(model, data.test.images, data.test.labels)
    return metrics


def measure(model: core.VAE, data: Dataset, epochs: int, epoch: int) -> dict[str, float]:
    """What the history of a model with a classifier holds beside the loss's terms.

    `validation_accuracy`; `separation` of the conditional prior along the classifier's direction, in sd, mean over
    labels; and, at epochs 1, 2, 4, 8, ... and the last, `gradient_<from>`, see `gradients.gradient_norms`, on 32
    validation images."""
    if not isinstance(model, core.MCCVAE):
        return {}
    images, labels = data.validation.images, data.validation.labels
    read = scores.classification_scores(core.predict(model, images), labels, exclusive=data.task.exclusive)
    apart = [blocks.separation(blocks.block_coordinates(model, label)) for label in range(model.config.labels)]
    row = {"validation_accuracy": read["accuracy"], "separation": sum(apart) / len(apart)}
    if epoch == epochs or epoch & (epoch - 1) == 0:
        some = data.validation.some(32)
        row |= {
            f"gradient_{name}": norm for name, norm in gradients.gradient_norms(model, some.images, some.labels).items()
        }
    return row


def _json(value) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def read_run(folder: Path) -> Run:
    """The records of a finished run. Raises RunError where one is missing, was changed, or holds what can't be."""
    try:
        record = json.loads(read_limited(folder / "run.json", MAX_RECORD))
        check_record(record)
        contents = {name: read_limited(folder / name, MAX_RECORD) for name in ("metrics.json", "history.csv")}
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

    Elsewhere a run that is missing raises FileNotFoundError naming its folder."""
    absent = missing(profile, tasks=tasks)
    if absent and not is_published(profile.folder):
        task, model, seed = absent[0]
        where = run_folder(profile, *absent[0]).relative_to(OUTPUTS.parent)
        raise FileNotFoundError(
            f"{where} holds no finished run; run notebooks/{task}.ipynb with model={model!r}, "
            f"seed={seed}, or ./run_all.sh {profile.profile}"
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


class Progress:
    """`on_epoch` of the core's fit: a bar in a live notebook (a Jupyter server names its session), else one line an
    epoch."""

    def __init__(self, label: str, epochs: int):
        self.label, self.epochs, self.bar, self.validated = label, epochs, None, None
        if "JPY_SESSION_NAME" in os.environ:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=epochs, desc=label, unit="epoch")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

    def __call__(self, row: dict) -> None:
        loss, before = row.get("validation_bound"), self.validated
        self.validated = before if loss is None else loss
        if loss is not None and before is not None and loss > JUMP * before:
            print(
                f"{self.label}  epoch {row['epoch']}: the validation loss jumped from {before:.0f} to "
                f"{loss:.0f}: training breaks down. "
                f"The weights with the lowest loss are kept in {BEST_WEIGHTS}",
                flush=True,
            )
        if self.bar is not None:
            self.bar.update(row["epoch"] - self.bar.n)
            self.bar.set_postfix(loss=f"{row['labelled_loss']:.1f}")
        else:
            print(
                f"{self.label}  epoch {row['epoch']}/{self.epochs}  loss {row['labelled_loss']:.1f}  "
                f"{row['seconds']:.1f} s",
                flush=True,
            )
