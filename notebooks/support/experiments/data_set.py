"""What a data set's notebook shows: its images and labels, and one trained model."""

import pandas as pd

from data import Dataset

from ..runs import PARTS, Run
from ..show.figures import STAND_IN
from .classification import ACCURACIES


def known_table(data: Dataset) -> pd.DataFrame:
    """Number of images of each split of which a label is known, and how many of these have it: one row per label."""
    columns = {}
    for part in PARTS:
        y = getattr(data, part).labels
        pairs = zip((~y.isnan()).sum(0).tolist(), (y == 1).sum(0).tolist(), strict=True)
        columns[f"{part}, {len(y):,} images"] = [f"{known:,} known, {ones:,} of them 1" for known, ones in pairs]
    return pd.DataFrame({"label": data.labels, **columns})


def scores_of(run: Run) -> pd.DataFrame:
    """One run's scores and losses: a row a score, a column a part of the data."""
    shown = {}
    for part in PARTS:
        metrics = run.metrics[part]
        scores = {s.replace("_", " "): metrics[s] for s in ACCURACIES if s in metrics}
        shown[f"{part} (n = {metrics['n']:,})"] = scores | {
            "loss, nats": metrics["loss"]["loss_alpha0"],
            "reconstruction, nats": metrics["loss"]["reconstruction"],
        }
    return pd.DataFrame(shown).rename_axis(columns="score")


def finding(run: Run, data: Dataset) -> str:
    """What one trained model reaches on the test part."""
    test = run.metrics["test"]
    what = f"After {run.record['epochs']} epochs {run.spec.title} (seed {run.record['seed']})"
    sentence = f"{what} reconstructs test images at {test['loss']['reconstruction']:,.0f} nats"
    if "accuracy" in test:
        majority = f"always the majority: {100 * test['majority_accuracy']:.1f} %"
        sentence += f" and reads {100 * test['accuracy']:.1f} % of their labels right ({majority})"
    if "argmax_accuracy" in test:
        majority = f"majority: {100 * test['majority_argmax_accuracy']:.1f} %"
        sentence += (
            f"; the most probable one is right for {100 * test['argmax_accuracy']:.1f} % of the images ({majority})"
        )
    return sentence + (f", all on {STAND_IN}." if data.stand_in else ".")
