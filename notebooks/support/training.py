"""Train one model into a run's folder: a finished run is read, an interrupted one goes on."""

import copy
import dataclasses
import functools
import hashlib
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import torch

import mccvae_core as core
from data import Dataset, own
from data.files import hold, write_atomically

from . import code_identity, machine, runs_below, weights
from .measures import blocks, calibration, gradients, quantities, scores
from .records import SPLITS
from .runs import (
    BEST_WEIGHTS,
    CHECKPOINT,
    SCORES,
    WEIGHTS,
    Run,
    RunError,
    deciding_folder,
    has_weights,
    load_data,
    only_looked_at,
    published_weights,
    read_run,
    run_folder,
    versions,
)  # fmt: skip
from .settings import ModelSpec, Profile, SettingsError, read_profile

# over-fitting raises the validation loss by tenths of a percent between two looks, a breakdown by several percent
JUMP = 1.02


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
        "sigmoids": spec.sigmoids, "classes": spec.classes, "coding": spec.coding,
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
    for name in SPLITS:
        split, exclusive = getattr(data, name), data.task.exclusive
        metrics[name] = scores.evaluate(
            model, split.images, split.labels, exclusive=exclusive, objective=objective, reference=data.train.labels
        )
        if any(data.units):
            read = core.predict(model, split.images)
            metrics[name]["numbers"] = quantities.by_label(read, split.labels, data.labels, data.units)
    metrics["test"] |= scores.picture_scores(model, data.test.images, data.test.labels)
    if data.task.name == own.TASK.name:
        metrics["calibration"] = calibration.fit(model, data.validation)
    return metrics


def measure(model: core.VAE, data: Dataset, epochs: int, epoch: int) -> dict[str, float]:
    """What the history of a model with a classifier holds beside the loss's terms.

    Of labels of 0 and 1, where one is known, `validation_accuracy`, and `separation` of the conditional prior along the
    classifier's direction, in sd, mean over labels; of each that is a number `error of <label>` in validation, see
    `quantities.scores`; and, at epochs 1, 2, 4, 8, ... and the last, `gradient_<from>`, see
    `gradients.gradient_norms`, on 32 validation images."""
    if not isinstance(model, core.MCCVAE):
        return {}
    images, labels = data.validation.images, data.validation.labels
    read, binary, row = core.predict(model, images), data.of_kind("binary"), {}
    if binary and not labels[:, binary].isnan().all():
        found = scores.classification_scores(read[:, binary], labels[:, binary], exclusive=data.task.exclusive)
        row = {"validation_accuracy": found["accuracy"]}
        if not model.categorical:
            apart = [blocks.separation(blocks.block_coordinates(model, label)) for label in binary]
            row["separation"] = sum(apart) / len(apart)
    for name, one in quantities.by_label(read, labels, data.labels, data.units).items():
        row[f"error of {name}"] = one["error"]
    if epoch == epochs or epoch & (epoch - 1) == 0:
        some = data.validation.some(32)
        row |= {
            f"gradient_{name}": norm for name, norm in gradients.gradient_norms(model, some.images, some.labels).items()
        }
    return row


def _json(value) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


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
