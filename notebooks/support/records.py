"""What a run's record may hold: types, ranges, and what must agree; a value that can't be is named."""

import math
import re

import pandas as pd

from data import SOURCES, TASKS, chest_xray, own
from data.continuous import Unit
from data.messages import quoted
from mccvae_core import ESTIMATORS, PRECISIONS

from .settings import ModelSpec

SPLITS = ("train", "validation", "test")
RECORD = (
    "task",
    "model",
    "seed",
    "epochs",
    "characteristics",
    "style_dim",
    "batch_size",
    "data",
    "code",
    "versions",
    "device",
    "seconds",
    "sha256",
)


def _whole(least: int):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value) -> bool:
    return isinstance(value, str) and bool(value)


def _sha256(value) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{64}", value))


def _all(test, kind):
    """A list or dict, not empty, whose values all pass the test."""
    values = dict.values if kind is dict else list
    return lambda value: isinstance(value, kind) and bool(value) and all(map(test, values(value)))


def _units(value) -> bool:
    try:
        return isinstance(value, list) and any([unit and Unit(**unit) for unit in value])
    except (TypeError, ValueError):
        return False


VALUES = {  # of run.json: what a value must be, in words and as a test; older records lack some
    "task": ("one of the tasks", lambda value: _text(value) and value in TASKS),
    "model": ("a model's name", _text),
    "seed": ("a whole number from 0 on", _whole(0)),
    "epochs": ("a whole number above 0", _whole(1)),
    "batch_size": ("a whole number above 0", _whole(1)),
    "characteristics": ("a list of whole numbers above 0", _all(_whole(1), list)),
    "style_dim": ("a whole number from 0 on", _whole(0)),
    "estimator": (f"one of {', '.join(ESTIMATORS)}", lambda value: _text(value) and value in ESTIMATORS),
    "label_weight": ("a number from 0 on", lambda value: _number(value) and value >= 0),
    "precision": (f"one of {', '.join(PRECISIONS)}", lambda value: _text(value) and value in PRECISIONS),
    "seconds": ("a number from 0 on", lambda value: _number(value) and value >= 0),
    "code": ("a sha256", _text),
    "versions": ("names with versions", _all(_text, dict)),
    "device": ("a text", _text),
    "sha256": ("files with their sha256", _all(_sha256, dict)),
    "data": ("what was trained on", lambda value: isinstance(value, dict)),
}
DATA = {
    "source": (f"one of {', '.join(SOURCES)}", lambda value: _text(value) and value in SOURCES),
    "stand_in": ("true or false", lambda value: isinstance(value, bool)),
    "description": ("a text", _text),
    "labels": ("a list of different names", lambda value: _all(_text, list)(value) and len(set(value)) == len(value)),
    "n": ("images of each part", lambda value: _all(_whole(1), dict)(value) and set(value) == set(SPLITS)),
    "sha256": ("a sha256", _text),
}
SOME = {  # of some data alone
    "units": ("of each label null, or of a number its mean, sd, low and high", _units),
    "choices": ("of each label a name or an empty text", _all(lambda name: isinstance(name, str), list)),
}


def check_record(record) -> None:
    """Raises ValueError that names the first value of a run.json which can't be, and what it must be."""
    if not isinstance(record, dict):
        raise ValueError("run.json holds no record")
    if lacking := [key for key in RECORD if key not in record]:
        raise ValueError(f"run.json lacks {', '.join(lacking)}")
    _test(record, VALUES, "")
    if lacking := [key for key in DATA if key not in record["data"]]:
        raise ValueError(f"data of run.json lacks {', '.join(lacking)}")
    _test(record["data"], DATA | SOME, "data, ")
    labels, latents = len(record["data"]["labels"]), len(record["characteristics"])
    if "units" in record["data"] and len(record["data"]["units"]) != labels:
        raise ValueError(f"run.json names {labels} labels and has {len(record['data']['units'])} units")
    spec = ModelSpec.parse(record["model"])
    choices = record["data"].get("choices", [""] * labels)
    columns = 1 if spec.coding == "one" else choices.count("") + len(set(choices) - {""})
    if len(choices) != labels or latents != columns:
        raise ValueError(f"run.json names {labels} labels and has characteristics of {latents}")
    known = {chest_xray.SICK} if spec.classes else set(TASKS[record["task"]].labels)
    unknown = set(record["data"]["labels"]) - known
    if record["task"] != own.TASK.name and record["data"]["source"] == "real" and unknown:
        raise ValueError(f"run.json: {record['task']} has no label {quoted(min(unknown))}")


def _test(values: dict, tests: dict, where: str) -> None:
    for key, (what, test) in tests.items():
        if key in values and not test(values[key]):
            raise ValueError(f"run.json: {where}{key} must be {what}, not {quoted(values[key])}")


def check_scores(record: dict, metrics, history: pd.DataFrame) -> None:
    """Raises ValueError where metrics.json or history.csv are not those of a whole run with this record."""
    for part in SPLITS:
        scores = metrics.get(part) if isinstance(metrics, dict) else None
        if not isinstance(scores, dict) or not _whole(1)(scores.get("n")):
            raise ValueError(f"metrics.json has no scores of the {part} part")
        for loss in ("loss", *["bound"] * ("bound" in scores)):
            if not isinstance(scores.get(loss), dict) or not _number(scores[loss].get("loss_alpha0")):
                raise ValueError(f"metrics.json has no {loss} of the {part} part")
        if "accuracy" in scores and not (_number(scores["accuracy"]) and 0 <= scores["accuracy"] <= 1):
            raise ValueError(
                f"metrics.json: the {part} part's accuracy must lie in [0, 1], not {quoted(scores['accuracy'])}"
            )
    if "epoch" not in history or list(history["epoch"]) != list(range(1, record["epochs"] + 1)):
        raise ValueError(f"history.csv has not one row for each of the {record['epochs']} epochs")
