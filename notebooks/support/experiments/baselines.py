"""What stands beside the models in every table: principal components with as many numbers, read by logistic regression.

    python -m support.experiments.baselines [PROFILE [TASK ...]]

writes <profile>/baselines.csv from the data, for the paper's models of which the profile has weights (the first seed of
each); without a name the published profile's. Rows of other tasks stay. Columns:

    what          linear: PCA with as many components as the `models` have latents. model: one of these models.
    task, models, latents, seed, n (test images), n_train, seconds (of the processor, to fit the linear model)
    psnr, ssim, reconstruction   of test images, `linear.picture_scores`; of models at the posterior mean. The
                  reconstruction term alone is in nats per image; no bound has a place beside it.
    train_accuracy, accuracy, majority_accuracy
    moves         edit: the linear edit, `linear.LinearModel.intervene`, that turns a label into its opposite, against
                  the reconstruction. along, whole: of a model's block, from -2 to +2 sd.
    moved_share   rise of the judge's probability of the label, as a share of how far real images with and without it
                  differ; own_label_share: `judged.own_share`; means over labels, from `starts` test images.
    data, versions   sha256 of the data's content; of what it was made with
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

import mccvae_core as core
from data import TASKS, DataError, Dataset
from data.files import write_atomically
from data.messages import quoted

from .. import PUBLISHED, runs
from ..measures import blocks, judge, judged, linear
from ..measures.block_effects import Move, block_path
from ..runs import Run, RunError
from ..settings import ModelSpec, Profile, SettingsError, read_profile

FILE = "baselines.csv"
COLUMNS = (
    *("what", "task", "stand_in", "models", "latents", "seed", "n", "n_train", "psnr", "ssim", "reconstruction"),
    *("train_accuracy", "accuracy", "majority_accuracy", "seconds"),
    *("moves", "starts", "moved_share", "own_label_share", "data", "versions"),
)
STARTS = 128  # test images that are edited
READ = 2_000  # test images at most from which the judge's own difference is taken
MODELS = ("ccvae", "ccvae_more_style", "mccvae")
PICTURES = "Beside PCA with as many numbers per image: test pictures at the posterior mean"
EDITS = "Beside the linear edit: what interventions on a label change, as one judge reads it, means over labels"
Ends = Callable[[int], tuple[Tensor, Tensor, np.ndarray]]  # of a label: pictures before and after, signs (N,)


def make(profile: Profile, tasks: list[str] | None = None) -> pd.DataFrame:
    """Compute the baselines of a profile's tasks and write them, task by task. Raises SettingsError for another task
    and where the profile has weights of none of MODELS."""
    of_profile = runs.compared(profile)
    if unknown := [task for task in tasks or [] if task not in of_profile]:
        raise SettingsError(f"the profile has no task {quoted(unknown[0])} to compare; it has {', '.join(of_profile)}")
    made_with = "; ".join(f"{name} {version}" for name, version in runs.versions().items())
    table = read(profile.folder)
    for task in tasks or of_profile:
        trained = [run for run in runs.first_runs(profile, task, characteristics=True) if run.spec.name in MODELS]
        if not trained:
            continue
        data = runs.load_data(profile, task)
        file = runs.runs_below(profile.folder) / task / "judge.safetensors"
        reader = judge.load_judge(file) if file.exists() else None
        about = {"data": data.content, "versions": made_with}
        mine = pd.DataFrame([row | about for row in rows_of(data, trained, reader)]).reindex(columns=COLUMNS)
        others = table[table["task"] != task]
        table = pd.concat([others, mine], ignore_index=True) if len(others) else mine
        write_atomically(profile.folder / FILE, table.to_csv(index=False, float_format="%.6g").encode())
        print(f"{data.task.title}: {len(mine)} rows", flush=True)
    if not len(table):
        raise SettingsError(f"the profile {profile.profile} has weights of none of {', '.join(MODELS)}")
    return table


def rows_of(data: Dataset, trained: list[Run], reader: judge.Judge | None) -> Iterator[dict]:
    """The rows of a task, for its trained models; without a judge there is nothing of interventions."""
    latents = {run.spec.name: run.spec.config(data).latent_dim for run in trained}
    real, some = core.to_images(data.test.images), data.test.some(STARTS)
    images, labels = core.to_images(some.images), some.labels.numpy()
    about = {"task": data.task.name, "stand_in": data.stand_in}
    for count in sorted(set(latents.values())):
        who = " ".join(name for name, its in latents.items() if its == count)
        row, model = linear.linear_row(data, count)
        row = about | {"what": "linear", "models": who} | row
        yield row | intervened(data, reader, "edit", edit_ends(model, images, labels), len(images))
    for run in trained:
        model = run.model().cpu()
        z = core.posterior(model, some.images).loc
        row = about | {"what": "model", "models": run.spec.name, "latents": latents[run.spec.name]}
        row |= {"seed": run.record["seed"], "n": len(real), "n_train": len(data.train)}
        row |= linear.picture_scores(real, core.reconstruct(model, data.test.images), data.task.likelihood)
        row |= {"accuracy": linear.accuracy(core.predict(model, data.test.images), data.test.labels)}
        for moves in ("along", "whole") if reader else ("",):
            yield row | intervened(data, reader, moves, walk_ends(model, z, moves), len(images))


def edit_ends(model: linear.LinearModel, images: Tensor, labels: np.ndarray) -> Ends:
    """The linear edit of images (N, *image_shape) with labels (N, L), each label to the value that an image lacks."""

    def ends(label):
        before, after = model.reconstruct(images), images.clone()
        for value in (0, 1):
            mine = np.flatnonzero(labels[:, label] == 1 - value)
            if len(mine):
                after[mine] = model.intervene(images[mine], {label: value})
        return before, after, 1 - 2.0 * labels[:, label]

    return ends


def walk_ends(model: core.MCCVAE, z: Tensor, kind: str) -> Ends:
    """Both ends of a block's walk, along or whole, from the starts z (N, Z)."""

    def ends(label):
        path = block_path(model, blocks.block_coordinates(model, label), z, Move(kind))
        return *(judged.decode(model, end) for end in path), np.ones(len(z))

    return ends


def intervened(data: Dataset, reader: judge.Judge | None, moves: str, ends: Ends, starts: int) -> dict:
    """moved_share and own_label_share of interventions on all labels, see the module."""
    if reader is None:
        return {}
    real = data.test.some(READ)
    read, known = reader.read(core.to_images(real.images))[0].numpy(), real.labels.numpy().astype(bool)
    moved, own = [], []
    for label in range(len(data.labels)):
        before, after, sign = ends(label)
        change = (reader.read(after)[0] - reader.read(before)[0]).double().numpy()
        apart = read[known[:, label], label].mean() - read[~known[:, label], label].mean()
        moved.append((sign * change[:, label]).mean() / apart)
        own.append(judged.own_share(np.abs(change).mean(0), label, exclusive=data.task.exclusive))
    return {"moves": moves, "starts": starts, "moved_share": np.mean(moved), "own_label_share": np.nanmean(own)}


# --- showing --------------------------------------------------------------------------------------------------------


def read(folder: Path, tasks=None) -> pd.DataFrame:
    """The baselines beside a profile's runs, of some tasks; a table without rows where none were made. Raises RunError
    for a file that is no table of them."""
    if not (folder / FILE).exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        table = pd.read_csv(folder / FILE)
    except ValueError as error:
        raise RunError(f"{folder / FILE} is no table ({error}); make it again") from None
    if lacking := [name for name in COLUMNS if name not in table]:
        raise RunError(f"{folder / FILE} has no column {lacking[0]}; make it again")
    return table[table["task"].isin(tasks)] if tasks is not None else table


def of_labels(baselines: pd.DataFrame, part: str) -> pd.DataFrame:
    """Rows for Table 1 (part "train") or 2 ("test"), as `classification.display_accuracy` takes them, one for each
    model of the paper and task."""
    found = baselines[baselines["what"] == "linear"]
    found = found.assign(models=found["models"].str.split()).explode("models", ignore_index=True)
    shown = pd.DataFrame({"task_title": [TASKS[task].title for task in found["task"]]})
    shown["model_title"] = [title(name) for name in found["models"]]
    shown["accuracy"] = found["train_accuracy" if part == "train" else "accuracy"].to_numpy()
    return shown.assign(accuracy_sd=np.nan, paper=np.nan)


def title(models: str) -> str:
    """Of a linear row, whose numbers are as many as these models have latents."""
    return f"PCA, as many numbers as {' and '.join(ModelSpec.parse(name).title for name in models.split())}"


def picture_columns(baselines: pd.DataFrame) -> pd.DataFrame:
    """Pictures of models and of PCA, for showing."""
    table = baselines.drop_duplicates(["task", "what", "models"]).sort_values(["task", "latents"], kind="stable")
    return pd.DataFrame(
        {
            "task": [TASKS[task].title for task in table["task"]],
            "model": [_who(row) for row in table.itertuples()],
            "numbers per image": table["latents"].astype(int),
            "PSNR, dB": table["psnr"].map("{:.1f}".format),
            "SSIM": table["ssim"].map("{:.3f}".format),
            "reconstruction term, nats": table["reconstruction"].map("{:,.0f}".format),
            "seconds to fit": ["–" if np.isnan(s) else f"{s:.1f}" for s in table["seconds"]],
        }
    )


def edit_columns(baselines: pd.DataFrame) -> pd.DataFrame:
    """Interventions of models and by the linear edit, for showing."""
    table = baselines.dropna(subset="moved_share").sort_values(["task", "latents"], kind="stable")
    return pd.DataFrame(
        {
            "task": [TASKS[task].title for task in table["task"]],
            "model": [_who(row) for row in table.itertuples()],
            "moves": table["moves"].map({"edit": "linear edit", "along": "block along", "whole": "whole block"}),
            "images": table["starts"].astype(int),
            "label moved, share of real images": table["moved_share"].map("{:.2f}".format),
            "own label alone": table["own_label_share"].map("{:.2f}".format),
        }
    )


def _who(row) -> str:
    return title(row.models) if row.what == "linear" else f"{ModelSpec.parse(row.models).title}, seed {row.seed:.0f}"


def main(arguments: list[str]) -> int:
    try:
        make(read_profile(*arguments[:1] or [PUBLISHED]), arguments[1:])
    except (SettingsError, RunError, DataError, FileNotFoundError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
