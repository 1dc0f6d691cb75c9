"""Table 3 held against its likelihoods: the least loss that any decoder can reach."""

import pandas as pd
import torch.nn.functional as F

from data import Dataset

from ..measures import scores
from ..runs import Run
from ..settings import ModelSpec
from ..show.tables import rounded_columns
from .paper import PAPER


def floor_table(data: Dataset, runs: list[Run]) -> pd.DataFrame:
    """Table 3 held against its likelihood: the least that any decoder can reach on these images, what our models of
    this task reached, and the paper's losses; a row a likelihood. `needed_w`: the mean of w at which our reconstruction
    would give the paper's lowest loss."""
    task, rows = data.task, []
    for sigmoids in (1, 2) if task.likelihood == "bernoulli" else (1,):
        ours = [
            run.metrics["train"]["loss"]
            for run in runs
            if run.spec.sigmoids == sigmoids and run.spec.estimator == "official"
        ]
        best = min(ours, key=lambda terms: terms["loss_alpha0"], default={})
        papers = {m: PAPER["table_3"][m].get(task.name) for m in PAPER["table_3"]}
        rows.append(
            {"task_title": task.title, "likelihood": task.likelihood, "sigmoids": sigmoids, "stand_in": data.stand_in}
            | {"floor": scores.likelihood_floor(data.train.images, task.likelihood, sigmoids=sigmoids)}
            | {"ours": best.get("loss_alpha0"), "ours_reconstruction": best.get("reconstruction")}
            | {f"paper, {ModelSpec.parse(m).title}": loss for m, loss in papers.items()}
            | {"needed_w": min(v for v in papers.values() if v) / best["reconstruction"] if best else None}
        )
    return pd.DataFrame(rows)


def floor_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Floors beside what was reached and the paper's losses, for showing."""
    names = {
        "task_title": "task",
        "ours": "ours, lowest loss",
        "ours_reconstruction": "its reconstruction",
        "needed_w": "w needed for the paper's",
    }
    shown = table.drop(columns="stand_in").rename(columns=names)
    return rounded_columns(
        shown, 0, [c for c in shown if c in ("floor", *list(names.values())[1:3]) or c.startswith("paper")]
    )


def variant_table(data: Dataset, count: int = 5_000) -> pd.DataFrame:
    """Floors of two sigmoids on other treatments of the same grey images: could one of them explain a published
    loss?"""
    images = data.train.some(count).images
    larger = F.interpolate(images.float(), scale_factor=64 / 60, mode="bilinear", antialias=True).round().clamp(0, 255)
    variants = {
        "as everywhere here": images,
        "resized to 64×64, the middle 60×60 cut out": larger[..., 2:-2, 2:-2],
        "at 64×64": larger,
        "every pixel that is not black made white": (images > 0) * 255,
        "black and white exchanged": 255 - images,
    }
    return pd.DataFrame(
        [
            {
                "task_title": data.task.title,
                "images": what,
                "n": len(images),
                "mean grey": variant.float().mean().item() / 255,
            }
            | {
                f"floor, {n} sigmoid{'s' * (n - 1)}": scores.likelihood_floor(variant, "bernoulli", sigmoids=n)
                for n in (1, 2)
            }
            for what, variant in variants.items()
        ]
    )


def variant_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Floors of other treatments, for showing."""
    return rounded_columns(table.rename(columns={"task_title": "task"}), 0, [c for c in table if c.startswith("floor")])
