"""Swapped blocks, samples and reconstructions, beside what the model costs: table `exchange`."""

import pandas as pd
import torch

from data import Dataset

from ..measures import judge as judging
from ..runs import Run
from .codes import about_codes, codes


def exchange_table(data: Dataset, run: Run, judge: judging.Judge, pairs: int = 200) -> pd.DataFrame:
    """Swaps of one label's characteristics between test images that differ in it, samples for the test part's label
    vectors, and reconstructions; beside them what the model costs, its test accuracy and loss."""
    model = run.model()
    z = torch.from_numpy(codes(model, data.test.images))
    taken, kept, count = [], [], 0
    for label in range(len(data.labels)):
        with_it, without = (torch.nonzero(data.test.labels[:, label] == v).flatten()[:pairs] for v in (1, 0))
        n = min(len(with_it), len(without))
        if n:
            scores = judging.swap_scores(model, z[with_it[:n]], z[without[:n]], label, judge)
            taken.append(scores["taken"])
            kept.append(scores["kept"])
            count += scores["pairs"]
    some = data.test.some(1_000)
    drawn = judging.generation_scores(model, some.images, some.labels, judge)
    # over labels with a pair
    mean = {name: pd.Series(v, dtype=float).mean() for name, v in (("swap_taken", taken), ("swap_kept", kept))}
    swap = {"pairs": count} | mean | costs(run)
    swap |= {"reconstruction_kid": judging.reconstruction_distance(model, some.images, some.labels, judge)}
    return pd.DataFrame([about_codes(run, data) | swap | {f"sample_{name}": value for name, value in drawn.items()}])


def costs(run: Run) -> dict[str, float]:
    """Accuracy per label, and loss and reconstruction by rao-blackwell, nats per image, on the test part."""
    test = run.metrics["test"]
    return {
        "test_accuracy": test["accuracy"],
        "test_bound": test["bound"]["loss_alpha0"],
        "test_reconstruction": test["bound"]["reconstruction"],
    }
