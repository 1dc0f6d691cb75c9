"""What may stand behind the paper's numbers: hypotheses, what each predicts, and whether the paper's number fits.

    python -m support.experiments.forensics

writes objective/tables/forensics.csv of the published folder, from its records and the real data. Every hypothesis
is a function that computes its predictions, one row per number of the paper:

    hypothesis, task, number (whose, of the paper), low and high (what is predicted), paper, fits (yes, no, not run),
    from (what it was computed from)

A number fits that lies between low and high or no farther outside than WITHIN, of its kind. A hypothesis that fits is
possible and no more: several can fit one number.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from data import TASKS, DataError, Dataset
from data.files import read_limited, write_atomically

from .. import OUTPUTS, PUBLISHED, runs
from ..measures import scores
from ..runs import PAPER_TASKS, Run, RunError
from ..settings import ModelSpec, SettingsError, read_profile
from ..show.numbers import as_printed, decimal
from .paper import PAPER

NAME = "forensics"
NUMBERS = {"table_1": "train accuracy", "table_2": "test accuracy", "table_3": "train loss"}
WITHIN = {"table_1": 0.02, "table_2": 0.02, "table_3": 5.0}  # two points of accuracy, five nats
THRESHOLDS = (0.0, 0.1)  # of grey: above it a pixel counts as white
NORMAL = "normal"
TEXT = "What may stand behind the paper's numbers: what hypotheses predict for them"


@dataclasses.dataclass(frozen=True)
class Known:
    """What predictions are computed from: records of all runs on real data, and the data of tasks, where at hand."""

    runs: list[Run]
    data: dict[str, Dataset]

    def of(self, task: str, model: str) -> list[Run]:
        """The runs of a model, by its whole name, that were trained the most epochs."""
        mine = [run for run in self.runs if run.record["task"] == task and run.record["model"] == model]
        most = max((run.record["epochs"] for run in mine), default=0)
        return [run for run in mine if run.record["epochs"] == most]


def forensic_table(known: Known) -> pd.DataFrame:
    """All hypotheses' rows, in their order."""
    return pd.DataFrame([row for hypothesis in HYPOTHESES for row in hypothesis(known)])


def _row(hypothesis: str, table: str, model: str, task: str, low: float, high: float, source: str) -> dict:
    paper = PAPER[table][model][task]
    if math.isnan(low):
        fits = "not run"
    else:
        room = WITHIN[table]
        fits = "yes" if low - room <= paper <= high + room else "no"
    number = f"{NUMBERS[table]}, {ModelSpec.parse(model).title}"
    about = {"hypothesis": hypothesis, "task": task, "task_title": TASKS[task].title, "number": number}
    return about | {"low": low, "high": high, "paper": paper, "fits": fits, "from": source}


def _numbers(table: str, task: str) -> Iterator[str]:
    """The models of which the paper has this number."""
    yield from (model for model in PAPER[table] if task in PAPER[table][model])


def _mean(trained: list[Run], read: Callable[[Run], float]) -> float:
    return float(np.mean([read(run) for run in trained])) if trained else math.nan


def _trained(found: list[Run]) -> str:
    if not found:
        return "no run"
    seeds = len({run.record["seed"] for run in found})
    return f"{seeds} seed{'s' * (seeds > 1)} of {found[0].spec.title}, {found[0].record['epochs']} epochs"


# --- hypotheses -------------------------------------------------------------------------------------------------------


def normal_alone(known: Known) -> Iterator[dict]:
    """Chest: the paper's accuracy is that of one label, normal, and not the mean over three."""
    task = "chest_xray"
    place = TASKS[task].labels.index(NORMAL)
    for table, part in (("table_1", "train"), ("table_2", "test")):
        for model in _numbers(table, task):
            found = known.of(task, model)
            value = _mean(found, lambda run: run.metrics[part]["by_label"]["accuracy"][place])  # noqa: B023
            yield _row(f"the label {NORMAL} alone", table, model, task, value, value, _trained(found))


def as_published(known: Known) -> Iterator[dict]:
    """The paper's numbers are what its words say, after its epochs (CelebA: as many as fit into its steps)."""
    for table, part in (("table_1", "train"), ("table_2", "test")):
        for task in PAPER_TASKS:
            for model in _numbers(table, task):
                found = known.of(task, model)
                value = _mean(found, lambda run: run.metrics[part]["accuracy"])  # noqa: B023
                yield _row("accuracy per label", table, model, task, value, value, _trained(found))


def longer(known: Known) -> Iterator[dict]:
    """The same after longer training: of chest models until they know their labels by heart, of CelebA's until they
    have had the paper's number of steps."""
    words = {"chest_xray": ("e400", "until labels are known by heart"), "celeba": ("e398", "the paper's 12,720 steps")}
    for task, (option, what) in words.items():
        for table, part in (("table_1", "train"), ("table_2", "test")):
            for model in _numbers(table, task):
                found = known.of(task, f"{model}-{option}")
                value = _mean(found, lambda run: run.metrics[part]["accuracy"])  # noqa: B023
                yield _row(f"accuracy per label, {what}", table, model, task, value, value, _trained(found))


def two_classes(known: Known) -> Iterator[dict]:
    """Chest: one label, sick or not."""
    task = "chest_xray"
    for table, part in (("table_1", "train"), ("table_2", "test")):
        for model in _numbers(table, task):
            found = known.of(task, f"{model}-c2")
            value = _mean(found, lambda run: run.metrics[part]["accuracy"])  # noqa: B023
            yield _row("accuracy of two classes, sick or not", table, model, task, value, value, _trained(found))


def two_sigmoids(known: Known) -> Iterator[dict]:
    """The decoder's output went through a sigmoid twice: from the floor with the KL of our model to its loss."""
    for task in ("mnist", "chest_xray"):
        for model in _numbers("table_3", task):
            found = known.of(task, f"{model}-s2") or known.of(task, "ccvae-s2")
            floor = _floor(known, task, lambda images: images, sigmoids=2)
            low, high = floor + _latents(found), _mean(found, _loss)
            yield _row("two sigmoids end the decoder", "table_3", model, task, min(low, high), high, _trained(found))


def binarised(known: Known) -> Iterator[dict]:
    """MNIST: pixels above a threshold are white, and two sigmoids: from the floor with the KL of our model with two
    sigmoids to the floor with all that this model's loss lies above its own."""
    task, found = "mnist", known.of("mnist", "ccvae-s2")
    plain = _floor(known, task, lambda images: images, sigmoids=2)
    for threshold in THRESHOLDS:
        floor = _floor(known, task, lambda images: (images > 255 * threshold).byte() * 255, sigmoids=2)  # noqa: B023
        low, high = floor + _latents(found), floor + _mean(found, _loss) - plain
        for model in _numbers("table_3", task):
            known_floor = "" if math.isnan(floor) else f" (floor {floor:,.0f})"
            what = f"pixels above {threshold:g} white, two sigmoids{known_floor}"
            yield _row(what, "table_3", model, task, low, high, _trained(found))


def misprint(known: Known) -> Iterator[dict]:
    """CelebA: MCCVAE's loss with one digit printed wrongly. Predicted: CCVAE's, less what MCCVAE gains on the other
    tasks in the paper; it fits where one other digit brings the printed number there."""
    ccvae, mccvae = PAPER["table_3"]["ccvae"], PAPER["table_3"]["mccvae"]
    gains = [ccvae[task] - mccvae[task] for task in ccvae if task in mccvae and task != "celeba"]
    low, high = ccvae["celeba"] - max(gains), ccvae["celeba"] - min(gains)
    row = _row("as printed", "table_3", "mccvae", "celeba", low, high, "the paper's other two differences")
    yield row
    near = [value for value in one_digit_away(mccvae["celeba"]) if low <= value <= high]
    meant = ", ".join(f"{value:,}" for value in near) or "no other number"
    what = f"{mccvae['celeba']:,} is misprinted for {meant}"
    yield row | {"hypothesis": what, "fits": "yes" if near else "no"}


def one_digit_away(number: int) -> list[int]:
    """All numbers that differ from this one in one digit, the first of which is not 0."""
    digits, found = str(number), []
    for place, there in enumerate(digits):
        for digit in "0123456789":
            if digit != there and (place or digit != "0"):
                found.append(int(digits[:place] + digit + digits[place + 1 :]))
    return sorted(found)


def random_start(known: Known) -> Iterator[dict]:
    """Classifier and conditional prior start at random, as the paper's words suggest."""
    for task in PAPER_TASKS:
        for model in _numbers("table_3", task):
            found = known.of(task, f"{model}-dlinear")
            loss = _mean(found, _loss)
            yield _row("classifier and prior start at random", "table_3", model, task, loss, loss, _trained(found))


def which_loss(known: Known) -> Iterator[dict]:
    """Which of section 2.3's two losses is printed, and when: of the final weights, or the last epoch's mean."""
    printed = {
        "loss with labels, final weights": _loss,
        "loss with labels, mean of the last epoch": lambda run: run.history["labelled_loss_alpha0"].iloc[-1],
        "loss without labels, mean of the last epoch": lambda run: run.history["unlabelled_loss_alpha0"].iloc[-1],
    }
    for what, read in printed.items():
        for task in PAPER_TASKS:
            for model in _numbers("table_3", task):
                found = known.of(task, model)
                value = _mean(found, read)
                yield _row(what, "table_3", model, task, value, value, _trained(found))


HYPOTHESES = (
    as_published,
    longer,
    normal_alone,
    two_classes,
    which_loss,
    two_sigmoids,
    binarised,
    misprint,
    random_start,
)


def _loss(run: Run) -> float:
    return run.metrics["train"]["loss"]["loss_alpha0"]


def _latents(found: list[Run]) -> float:
    """The loss without its reconstruction term, in nats."""
    return _mean(found, lambda run: _loss(run) - run.metrics["train"]["loss"]["reconstruction"])


def _floor(known: Known, task: str, treated: Callable[[Tensor], Tensor], *, sigmoids: int) -> float:
    """`scores.likelihood_floor` of a task's training images after a treatment; NaN where its data are not at hand."""
    if task not in known.data:
        return math.nan
    images = treated(known.data[task].train.images)
    return scores.likelihood_floor(images, TASKS[task].likelihood, sigmoids=sigmoids)


# --- records, showing -------------------------------------------------------------------------------------------------


def published_runs(folder: Path) -> list[Run]:
    """All records of official models below the published folder whose data are real. Raises RunError for a record that
    is not whole; those of before they held checksums are vouched for by the folder's own."""
    found = []
    for file in sorted(folder.rglob("run.json")):
        record = json.loads(read_limited(file, runs.MAX_RECORD))
        if record.get("data", {}).get("stand_in", True) or record.get("estimator") != "official":
            continue
        if "sha256" in record:
            found.append(runs.read_run(file.parent))
        else:
            metrics = json.loads(read_limited(file.with_name("metrics.json"), runs.MAX_RECORD))
            found.append(Run(file.parent, record, metrics, pd.read_csv(file.with_name("history.csv"))))
    return found


def sentence(table: pd.DataFrame) -> str:
    """Which hypotheses fit all of a task's numbers in the paper that they are about, and which were not run at all."""
    each = table.groupby(["hypothesis", "task_title"], sort=False)["fits"].agg(lambda fits: set(fits) - {"not run"})
    whole = [f"{name} ({task})" for (name, task), fits in each.items() if fits == {"yes"}]
    lacking = [name for name, fits in each.groupby(level=0, sort=False) if not set().union(*fits)]
    said = "These guesses miss none of the paper's numbers that we ran, within two points or five nats: "
    said += "; ".join(whole) or "none"
    return said + (f". Not run: {'; '.join(lacking)}." if lacking else ".")


def forensic_columns(table: pd.DataFrame) -> pd.DataFrame:
    """For showing: one row per hypothesis and task, its numbers side by side in the paper's order of models."""
    rows = []
    for (hypothesis, task), mine in table.groupby(["hypothesis", "task_title"], sort=False):
        rows.append({"hypothesis": hypothesis, "task": task} | _joined(mine))
    return pd.DataFrame(rows)


def _joined(mine: pd.DataFrame) -> dict:
    numbers = [number.partition(", ") for number in mine["number"]]
    kinds = dict.fromkeys(kind for kind, *_ in numbers)
    loss = "loss" in numbers[0][0]
    shown = lambda value: decimal(value, 0 if loss else 3)  # noqa: E731
    said = []
    for row in mine.itertuples():
        ends = [shown(row.low)] if row.low == row.high else [shown(row.low), shown(row.high)]
        said.append("–" if math.isnan(row.low) else " to ".join(ends))
    models = dict.fromkeys(model for _, _, model in numbers)
    return {
        "numbers": f"{' and '.join(kinds)}: {', '.join(models)}",
        "predicted / paper": ", ".join(
            f"{ours} / {as_printed(value)}" for ours, value in zip(said, mine["paper"], strict=True)
        ),
        "fits": ", ".join(mine["fits"]) if mine["fits"].nunique() > 1 else mine["fits"].iloc[0],
        "from": "; ".join(dict.fromkeys(mine["from"])),
    }


def known_of(data: list[Dataset]) -> Known:
    """The published records, and of these data the real ones."""
    return Known(published_runs(OUTPUTS / PUBLISHED), {d.task.name: d for d in data if not d.stand_in})


def main(arguments: list[str]) -> int:
    if arguments:
        print("Use: python -m support.experiments.forensics")
        return 2
    try:
        profile = read_profile(PUBLISHED)
        known = known_of([runs.load_data(profile, task) for task in ("mnist", "chest_xray")])
        file = profile.folder / "objective" / "tables" / f"{NAME}.csv"
        write_atomically(file, forensic_table(known).to_csv(index=False, float_format="%.6g").encode())
    except (SettingsError, RunError, DataError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
