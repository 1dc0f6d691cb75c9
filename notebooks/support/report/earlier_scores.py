"""The scores of each run that the earlier claims are judged by."""

import pandas as pd

from data import TASKS

from ..experiments import objective
from ..runs import Run
from ..settings import Profile
from ..show import tables


def run_scores(profile: Profile, runs: list[Run]) -> pd.DataFrame:
    """A row a run: accuracies and losses of its records, its encoder's shares, and its row of the experiment
    characteristics."""
    rows = []
    for run in runs:
        train, test = run.metrics["train"], run.metrics["test"]
        row = {"task": run.record["task"], "model": run.spec.name, "seed": run.record["seed"]}
        row |= {f"test_{name}": test.get(name) for name in ("psnr", "ssim")}
        if run.spec.has_blocks:
            row |= {"latents": sum(run.record["characteristics"]) + run.record["style_dim"]}
            row |= {
                "train_accuracy": train["accuracy"],
                "test_accuracy": test["accuracy"],
                "train_loss": train["loss"]["loss_alpha0"],
            }
            row |= {
                "train_bound": train["bound"]["loss_alpha0"],
                "train_reconstruction": train["bound"]["reconstruction"],
            }
            row |= {"test_reconstruction": test["bound"]["reconstruction"]}
        rows.append(row)
    frame = pd.DataFrame(rows)
    shares = objective.encoder_table(runs)
    if len(shares):
        last = shares.sort_values("epoch").drop_duplicates(["task", "model", "seed"], keep="last")
        frame = frame.merge(last[["task", "model", "seed", "share_reconstruction"]], how="left")
    if "characteristics" in profile.experiments:
        scores = tables.read_table(profile, "characteristics", runs)
        scores = scores.assign(task=scores["task_title"].map({task.title: name for name, task in TASKS.items()}))
        labels = {run.record["task"]: len(run.record["characteristics"]) for run in runs}
        scores = with_shares(
            scores,
            scores["task"].map(labels),
            scores["task"].map({name: task.exclusive for name, task in TASKS.items()}),
        )
        wanted = ["label_alone", "swap_taken", "parts_apart", "effective_latents", "reconstruction_kid"]
        frame = frame.merge(scores[["task", "model", "seed", *[name for name in wanted if name in scores]]], how="left")
        for table, columns in (("conditional", ["z_auc", "moved", "steps"]), ("lungs", ["lungs"])):
            scores = tables.read_table(profile, table)
            frame = frame.merge(scores.groupby(["task", "model", "seed"], as_index=False)[columns].mean(), how="left")
    return frame


def with_shares(scores: pd.DataFrame, labels: pd.Series, exclusive: pd.Series) -> pd.DataFrame:
    """A `characteristics` table with what claims 6 and 7 are judged by.

    label_alone: `label_diagonal`, the own label's share of all effects on labels, from 0 for an even share, 1 / L, to 1
    for the most there can
    be: all, and half where labels exclude one another, since what one gains the others lose. parts_apart: the lesser of
    disentanglement and completeness, since two latents that carry the same part have the first without the second."""
    even, most = 1 / labels, exclusive.map({True: 0.5, False: 1.0})
    scores = scores.assign(label_alone=(scores["label_diagonal"] - even) / (most - even))
    both = [name for name in ("disentanglement", "completeness") if name in scores]
    return scores.assign(parts_apart=scores[both].min(axis=1, skipna=False)) if len(both) == 2 else scores
