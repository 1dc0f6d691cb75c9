"""What a label's latents hold, by all scores together: table `characteristics`, and the sentence on it."""

import pandas as pd

from data import Dataset

from ..measures import judge as judging
from ..runs import Run
from ..show.numbers import listed, plus_minus
from .exchange import exchange_table
from .latent_effects import diagonal_shares, effect_table
from .where_found import found_table
from .within_blocks import block_table

SCORES = {  # of a run: name for people, and which way is better: 1 more, -1 less, 0 neither
    "label_own": ("label found", 1),
    "label_others": ("label in other blocks", -1),
    "label_style": ("label in style", -1),
    "part_own": ("parts found", 1),
    "part_others": ("parts in other blocks", -1),
    "part_style": ("parts in style", -1),
    "disentanglement": ("disentanglement", 1),
    "completeness": ("completeness", 1),
    "effective_latents": ("effective latents", 0),
    "label_diagonal": ("own label's share of effects", 1),
    "part_diagonal": ("own parts' share of effects", 1),
    "swap_taken": ("swap taken", 1),
    "swap_kept": ("swap kept", 1),
    "sample_accuracy": ("samples right", 1),
    "sample_kid": ("KID of samples", -1),
    "reconstruction_kid": ("KID of reconstructions", -1),
    "sample_diversity": ("diversity", 0),
    "test_accuracy": ("test accuracy", 1),
    "test_bound": ("test loss, unbiased", -1),
    "test_reconstruction": ("test reconstruction", -1),
}
NATS = ("test_bound", "test_reconstruction")


def score_all(
    trained: list[Run], data: dict[str, Dataset], judges: dict[str, judging.Judge]
) -> dict[str, pd.DataFrame]:
    """The four tables of all runs, joined in their order; data and judges by task. Those of published runs are kept."""
    tables = [run_tables(run, data, judges) for run in trained]
    return {name: pd.concat([table[name] for table in tables], ignore_index=True) for name in tables[0]}


def run_tables(run: Run, data: dict[str, Dataset], judges: dict[str, judging.Judge]) -> dict[str, pd.DataFrame]:
    """All four tables of a run."""
    task = run.record["task"]
    make = {
        "found": lambda: found_table(data[task], run),
        "blocks": lambda: block_table(data[task], run, judges[task]),
        "effects": lambda: effect_table(data[task], run, judges[task]),
        "exchange": lambda: exchange_table(data[task], run, judges[task]),
    }
    return {name: run.scores(name, table) for name, table in make.items()}


def summary_table(
    found: pd.DataFrame, blocks: pd.DataFrame, effects: pd.DataFrame, exchange: pd.DataFrame
) -> pd.DataFrame:
    """A row a run: labels and parts found (boosted probe), what leaks, effective latents, diagonal shares, swaps and
    samples."""
    keys = ["task_title", "model", "model_title", "seed", "latents", "stand_in"]
    boosted = found[found["probe"] == "boosted"]
    table = (
        boosted[boosted["kind"] == "label"]
        .groupby(keys, sort=False)[["own", "others", "style"]]
        .mean()
        .add_prefix("label_")
    )
    parts = (
        boosted[boosted["kind"] == "part"]
        .groupby(keys, sort=False)[["own", "others", "style"]]
        .mean()
        .add_prefix("part_")
    )
    table = table.join(parts)
    several = blocks[blocks["k"] > 1].groupby(keys, sort=False)
    table = table.join(
        several[["disentanglement", "completeness", "effective_latents", "effective_latents_pixels"]].mean()
    )
    shares = diagonal_shares(effects).pivot_table(
        index=["task_title", "model_title", "seed"], columns="kind", values="diagonal_share"
    )
    table = table.reset_index().merge(shares.add_suffix("_diagonal").reset_index(), how="left")
    return table.merge(exchange.drop(columns=["task", "sample_n"]), how="left")


def summary_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`summary_table` for showing: mean ± sd over seeds."""
    keys = {"task_title": "task", "model_title": "model", "latents": "latents"}
    grouped = table.groupby(list(keys), sort=False)
    shown = grouped.size().rename("seeds").reset_index().rename(columns=keys)
    return mean_scores(shown, grouped, [column for column in SCORES if column in table and table[column].notna().any()])


def mean_scores(shown: pd.DataFrame, grouped, columns: list[str]) -> pd.DataFrame:
    """`shown` with mean ± sd over seeds of some of SCORES, by their names for people."""
    for column in columns:
        pairs = zip(grouped[column].mean(), grouped[column].std(), strict=True)
        shown[SCORES[column][0]] = [plus_minus(m, s, 1 if column in NATS else 3) for m, s in pairs]
    return shown


def finding(summary: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Labels found, latents at work, whether several latents find more parts than as many in style, and what the best
    variant adds."""
    read = summary.groupby("task_title", sort=False)[["label_own", "label_others", "label_style"]].mean()
    sentence = "Labels are read from their own block with an area under the curve of " + listed(
        f"{row.label_own:.2f} on {task} (from the other blocks {row.label_others:.2f}, from "
        f"style {row.label_style:.2f})"
        for task, row in read.iterrows()
    )
    effective = summary.dropna(subset="effective_latents").groupby("task_title", sort=False)["effective_latents"].mean()
    if len(effective):
        sentence += (
            "; of a block's latents (two in MCCVAE), "
            + listed(f"{v:.2f} on {t}" for t, v in effective.items())
            + " do the work"
        )
    parts = comparison[comparison["value"] == "part_own"]
    against = parts[parts["second"].str.startswith("CCVAE")]
    if len(against):
        sentence += "; parts found in the own block (R²), " + listed(_change(r) for r in against.itertuples())
    options = parts[parts["second"].str.startswith("MCCVAE")]
    for task, mine in options.groupby("task_title", sort=False):
        best = mine.loc[mine["first_mean"].idxmax()]
        sentence += f"; of the options for a block the most parts on {task} are found by {_change(best)}"
        at_work = comparison[
            (comparison[["task_title", "first", "value"]] == [task, best["first"], "effective_latents"]).all(axis=1)
        ]
        sentence += "".join(
            f", at {r.first_mean:.2f} against {r.second_mean:.2f} effective latents" for r in at_work.itertuples()
        )
    return sentence + "."


def _change(row) -> str:
    """A row of `comparison_table` in words."""
    return (
        f"{row.first} {row.first_mean:.3f} against {row.second_mean:.3f} of {row.second} on "
        f"{row.task_title} (n = {row.n}, {row.verdict})"
    )
