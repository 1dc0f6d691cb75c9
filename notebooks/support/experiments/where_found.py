"""Where labels and parts are found: read from their own block, from other blocks, from style. Table `found`."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from data import Dataset

from ..measures import latents
from ..runs import Run
from .codes import PROBED, about_codes, codes


def _targets(data: Dataset, run: Run) -> Iterator[tuple[dict, tuple, tuple]]:
    """What is to be read from the codes of a run's model: every label, and, among the images that have its label, every
    part. What the target is, and of training and test images (codes (n, Z), values (n,))."""
    model, parts = run.model(), {"train": data.train.some(PROBED), "test": data.test.some(PROBED)}
    z = {name: codes(model, part.images) for name, part in parts.items()}
    targets = [(name, "label", i, None) for i, name in enumerate(data.labels)]
    targets += [
        (name, "part", label, p) for p, (name, label) in enumerate(zip(data.part_names, data.part_label, strict=True))
    ]
    for name, kind, label, p in targets:
        values = {n: (part.labels[:, label] if p is None else part.parts[:, p]).numpy() for n, part in parts.items()}
        mask = {
            n: np.full(len(part), True) if p is None else part.labels[:, label].bool().numpy()
            for n, part in parts.items()
        }
        about = {"target": name, "kind": kind, "label": label, "probe": None, "n": int(mask["test"].sum())}
        yield about, *((z[n][mask[n]], values[n][mask[n]]) for n in parts)


def found_table(data: Dataset, run: Run) -> pd.DataFrame:
    """`latents.found` of every label (AUC) and part (R², images whose label is 1, so that knowing the label
    alone scores 0): a row a target and probe."""
    owners, rows = latents.latent_owners(run.model()), []
    for about, train, test in _targets(data, run):
        for probe in latents.PROBES:
            target = {
                "target": about["target"],
                "kind": about["kind"],
                "label": data.labels[about["label"]],
                "probe": probe,
                "n": about["n"],
            }
            rows.append(about_codes(run, data) | target | latents.found(train, test, owners, about["label"], probe))
    return pd.DataFrame(rows)


def found_in_blocks(data: Dataset, run: Run) -> pd.Series:
    """Kind -> how well the boosted probe reads its targets from their own block: the mean of `found_table`'s `own`."""
    owners, rows = latents.latent_owners(run.model()), []
    for about, train, test in _targets(data, run):
        own = owners == about["label"]
        score = latents.probe_score((train[0][:, own], train[1]), (test[0][:, own], test[1]), "boosted")
        rows.append({"kind": about["kind"], "own": score})
    return pd.DataFrame(rows).groupby("kind")["own"].mean()
