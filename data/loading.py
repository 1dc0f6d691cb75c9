"""Which module has a task's data, and the one way to load them."""

import dataclasses
from pathlib import Path

from . import celeba, chest_xray, mnist, own, stick_figures
from .common import Dataset
from .messages import DataError, quoted
from .tasks import SOURCES, TASKS

MODULES = {module.TASK.name: module for module in (celeba, mnist, chest_xray, stick_figures)}
# drawn, each label for itself
CORRELATED = (("celeba", "embedded"), ("stick_figures", "real"), ("stick_figures", "embedded"))


def load(
    task: str, source: str, *, images: int | None = None, correlation: float = 0.0, file: Path | None = None
) -> Dataset:
    """The data of a task. source: "real", or "embedded" for the stand-in that needs no network; "own" for the task
    "own", from `file`.

    images: use no more than this many; of a real set in each part, of an embedded one in all. correlation: of any two
    labels, in [0, 1), for the drawn sets of CORRELATED, in training and validation; in test they stay independent.
    Raises DataError where the data can't be had or are bad: never another set in their place."""
    if task not in TASKS:
        raise DataError(f"there is no task {quoted(task)}; there are: {', '.join(TASKS)}")
    if source not in SOURCES:
        raise DataError(f"there is no source {quoted(source)}; there are: {', '.join(SOURCES)}")
    if (task == own.TASK.name) != (source == "own"):
        raise DataError(f"the source of {task} can't be {quoted(source)}: 'own' is the one source of the task 'own'")
    if images is not None and images < 50:
        raise DataError(f"images = {images} is too few; give 50 or more, or none for all")
    if not 0 <= correlation < 1:
        raise DataError(f"correlation = {correlation} is not in [0, 1)")
    if correlation and (task, source) not in CORRELATED:
        takers = ", ".join(f"{name} ({kind})" for name, kind in CORRELATED)
        raise DataError(
            f"labels of {task} ({source}) can't be given a correlation; those of drawn images can: {takers}"
        )
    given = {"correlation": correlation} if correlation else {}
    if source == "embedded":
        return MODULES[task].embedded(images, **given)
    data = own.read(file) if source == "own" else MODULES[task].real(**given)
    if empty := [part for part in ("train", "validation", "test") if not len(getattr(data, part))]:
        raise DataError(
            f"{task}: there is no image in its {empty[0]} part; mend the set that MCCVAE_DATA names, or get it again"
        )
    if images is None:
        return data
    return dataclasses.replace(
        data,
        description=f"{data.description}; no more than {images:,} images of each part were used",
        **{part: getattr(data, part).some(images) for part in ("train", "validation", "test")},
    )
