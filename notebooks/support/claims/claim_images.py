"""Each image's part in the primary scores, and from it the intervals over images of the mean over training seeds.

A run's parts lie in <run>/scores/claim_images.npz: for each primary test of its model the arrays below as
"<column>/<array>", and "<column>/groups", what is drawn together: the person on chest X-rays, else the image. N: images
of the split, or the test images from which blocks move.

    accuracy, unbiased_loss, psnr, moved_share   values (N,): the score is their mean.
    own_label_share    changes (L, J, N, L): of every label by judge and start, when a label's whole block moves.
    along_share        along (L, J, N), across (M, L, J, N): of the own label; NaN where there are fewer moves than M.
    parts_split        changes (J, 2, N, P): of the label's P parts, along and across.
    blocks_apart       of each pair of classes p: images_p, first_p, others_p, own_p, see `block_readings.Pair`.

What the interval takes as given: the judges, what real images give them, and the readers of codes, fitted on training
images.
"""

import dataclasses
import functools
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mccvae_core as core
from data import TASKS, Dataset, chest_xray
from data.files import write_atomically

from ..measures import by_image, judged, parts
from ..measures.block_readings import Pair
from . import verdicts
from .block_scores import Changes, parts_of_task
from .claim_judges import Panel
from .preregistration import Preregistration, PrimaryTest, Score

FILE = "claim_images.npz"
COLUMNS = ["claim", "task", "score", "low", "high", "mean", "seeds", "images", "groups"]
KINDS = {"along": "along", "whole block": "whole"}  # of claims.yaml -> of moves

Values = dict[str, np.ndarray]  # of a run, or without "<column>/" of one score
Statistic = Callable[[np.ndarray], np.ndarray]  # weights (D, N), how often each image counts -> (D,)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What single test images had in a model's scores: what moves of blocks change, by label, from the images `starts`
    (names), and how pairs of classes are read among the images `coded` (names)."""

    changes: Changes
    starts: np.ndarray
    pairs: list[Pair]
    coded: np.ndarray


# --- what each image adds -----------------------------------------------------------------------------------------


def values_of(tests: list[PrimaryTest], model: core.MCCVAE, data: Dataset, judges: Panel, seen: Seen) -> Values:
    """The arrays of the file, for the primary tests of a model's task that are about this model."""
    values = {}
    for test in {test.column: test for test in tests}.values():
        part = getattr(data, test.split)
        if test.score in EVALUATED:
            names, arrays = part.names, {"values": EVALUATED[test.score](model, part.images, part.labels).numpy()}
        elif test.score == "blocks_apart":
            names, arrays = seen.coded, _of_pairs(seen.pairs)
        else:
            names, arrays = seen.starts, MOVED[test.score](test, data, judges, seen.changes)
        arrays = arrays | {"groups": groups_of(data, names)}
        values |= {f"{test.column}/{name}": array for name, array in arrays.items()}
    return values


def groups_of(data: Dataset, names: np.ndarray) -> np.ndarray:
    """What is drawn together, (N,) of text: the person whom a chest X-ray shows, else the image itself."""
    if data.task.name == chest_xray.TASK.name:
        return np.array([chest_xray.person_of(str(name)) for name in names])
    return names.astype(str)


EVALUATED = {
    "accuracy": by_image.accuracies,
    "unbiased_loss": by_image.unbiased_losses,
    "psnr": lambda model, images, labels: by_image.psnrs(model, images),
}


def _own_label_share(test: PrimaryTest, data: Dataset, judges: Panel, changes: Changes) -> Values:
    count = len(data.labels)
    moves = [of_label[KINDS[test.coordinates]][0] for of_label in changes]
    return {"changes": np.stack([np.abs(move.rises[..., :count]) for move in moves]).astype(np.float32)}


def _moved_share(test: PrimaryTest, data: Dataset, judges: Panel, changes: Changes) -> Values:
    moves = [of_label[KINDS[test.coordinates]][0] for of_label in changes]
    shares = [move.rises[..., label] / judges.ceiling[:, label, None] for label, move in enumerate(moves)]
    return {"values": np.nanmean(shares, axis=0).mean(0)}


def _along_share(test: PrimaryTest, data: Dataset, judges: Panel, changes: Changes) -> Values:
    own = lambda move, label: np.abs(move.rises[..., label])  # noqa: E731
    along = np.stack([own(of_label["along"][0], label) for label, of_label in enumerate(changes)])
    most = max(1, *(len(of_label.get("across", ())) for of_label in changes))
    across = np.full((most, *along.shape), np.nan)
    for label, of_label in enumerate(changes):
        for number, move in enumerate(of_label.get("across", ())):
            across[number, label] = own(move, label)
    return {"along": along.astype(np.float32), "across": across.astype(np.float32)}


def _parts_split(test: PrimaryTest, data: Dataset, judges: Panel, changes: Changes) -> Values:
    """Of attributes alone, whose change has a value for each start; and of blocks with one variable across."""
    label = data.labels.index(test.label)
    if not judges.attribute_names or len(changes[label].get("across", ())) != 1:
        return {"changes": np.zeros((1, 2, len(changes[label]["along"][0].odds[0]), 0))}
    mine = parts_of_task(data, judges).of_label[label]
    moves = [changes[label][kind][0] for kind in ("along", "across")]
    odds = np.stack([np.abs(move.odds[..., len(data.labels) :][..., mine]) for move in moves], axis=1)
    return {"changes": odds.astype(np.float32)}


MOVED = {
    "own_label_share": _own_label_share,
    "moved_share": _moved_share,
    "along_share": _along_share,
    "parts_split": _parts_split,
}


def _of_pairs(pairs: list[Pair]) -> Values:
    return {f"{name}_{p}": value for p, pair in enumerate(pairs) for name, value in vars(pair).items()}


# --- files ----------------------------------------------------------------------------------------------------------


def write_values(folder: Path, made_from: str, values: Values) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, made_from=np.array(made_from), **values)
    write_atomically(folder / FILE, file.getvalue())


def read_values(folder: Path, made_from: str) -> Values | None:
    """What `write_values` wrote; None where it is not there, or was made from something else."""
    if not (folder / FILE).exists():
        return None
    with np.load(folder / FILE, allow_pickle=False) as file:
        if file["made_from"] != made_from:
            return None
        return {name: file[name] for name in file.files if name != "made_from"}


# --- scores of weighted images ----------------------------------------------------------------------------------------


def statistic(score: str, values: Values, *, exclusive: bool) -> Statistic:
    """The score as a function of how often each image counts; with once each it is the run's own."""
    if "values" in values:
        return verdicts.mean_over_images(values["values"].astype(float))
    return functools.partial(WEIGHTED[score], values, exclusive)


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means (D, ...) over the images of values (..., N, n), (..., D, n) with the axis of draws in its place."""
    return np.matmul(weights / weights.sum(1, keepdims=True), values.astype(float))


def _weighted_own(values: Values, exclusive: bool, weights: np.ndarray) -> np.ndarray:
    means = _weighted(weights, values["changes"])  # (L, J, D, L)
    shares = [judged.own_share(of_label, label, exclusive=exclusive) for label, of_label in enumerate(means)]
    return np.nanmean(shares, axis=0).mean(0)


def _weighted_along(values: Values, exclusive: bool, weights: np.ndarray) -> np.ndarray:
    along, across = (_weighted(weights, values[name][..., None])[..., 0] for name in ("along", "across"))
    has = ~np.isnan(across[0]).all((1, 2))  # labels with a variable across
    if not has.any():
        return np.full(len(weights), np.nan)
    across = np.sqrt(np.nanmean(across[:, has] ** 2, axis=0))
    return np.nanmean(judged.along_share(along[has], across), axis=0).mean(0)


def _weighted_parts(values: Values, exclusive: bool, weights: np.ndarray) -> np.ndarray:
    means = _weighted(weights, values["changes"])  # (J, 2, D, P)
    if means.shape[-1] < 2:
        return np.full(len(weights), np.nan)
    return np.array([[parts.split_bits(judge[:, d]) for judge in means] for d in range(len(weights))]).mean(1)


def _weighted_apart(values: Values, exclusive: bool, weights: np.ndarray) -> np.ndarray:
    names = ("images", "first", "others", "own")
    count = sum(name.startswith("own_") for name in values)
    pairs = [Pair(*(values[f"{name}_{p}"] for name in names)) for p in range(count)]
    return np.mean([pair.apart(weights) for pair in pairs], axis=0) if pairs else np.full(len(weights), np.nan)


WEIGHTED = {
    "own_label_share": _weighted_own,
    "along_share": _weighted_along,
    "parts_split": _weighted_parts,
    "blocks_apart": _weighted_apart,
}


# --- intervals ------------------------------------------------------------------------------------------------------


def intervals(claims: Preregistration, task: str, of_runs: dict[tuple[str, int], Values], **options) -> list[dict]:
    """Rows of claim_intervals.csv for a task's primary tests, of those seeds that all models of a test have among the
    runs, (model, seed) -> `Values`. options: of `verdicts.bootstrap_interval`."""
    rows, rule = [], claims.tasks.get(task)
    for claim, test in claims.tests:
        if test.task != task:
            continue
        seeds = [seed for seed in sorted(rule.seeds) if all(_has(of_runs, test, m, seed) for m in test.models)]
        if len(seeds) < rule.least:
            continue
        row = _interval(test, claims.scores[test.score], of_runs, seeds, len(claims.tests), options)
        if row is not None:
            about = {"claim": claim.id, "task": task, "score": test.column, "seeds": " ".join(map(str, seeds))}
            rows.append(about | row)
    return rows


def _has(of_runs: dict[tuple[str, int], Values], test: PrimaryTest, model: str, seed: int) -> bool:
    return f"{test.column}/groups" in of_runs.get((model, seed), ())


def _interval(test: PrimaryTest, score: Score, of_runs, seeds: list[int], tests: int, options: dict) -> dict | None:
    """One test's interval, turned as its outcome is; None for a score that these runs don't have."""
    exclusive, of_models = TASKS[test.task].exclusive, []
    groups = of_runs[test.first, seeds[0]][f"{test.column}/groups"]
    for model in test.models:
        values = [of_column(of_runs[model, seed], test.column) for seed in seeds]
        if any(not np.array_equal(one["groups"], groups) for one in values):
            raise ValueError(f"{test.column} of {model}: the runs were scored on different images; score them again")
        of_models.append(_mean_statistic([statistic(test.score, one, exclusive=exclusive) for one in values]))
    if test.kind == "level":
        whole = of_models[0]
    else:
        whole = lambda weights: score.sign * (of_models[0](weights) - of_models[1](weights))  # noqa: E731
    mean = float(whole(np.ones((1, len(groups))))[0])
    if np.isnan(mean):
        return None
    low, high = verdicts.bootstrap_interval(whole, groups, tests=tests, **options)
    return {"low": low, "high": high, "mean": mean, "images": len(groups), "groups": len(set(groups))}


def of_column(values: Values, column: str) -> Values:
    """The arrays of one score, without their prefix."""
    return {name.partition("/")[2]: array for name, array in values.items() if name.startswith(f"{column}/")}


def _mean_statistic(each: list[Statistic]) -> Statistic:
    return lambda weights: np.mean([one(weights) for one in each], axis=0)
