"""The paper beside our runs: its numbers, means over seeds next to them, and the layout of its tables."""

import pandas as pd
import yaml

from .. import ROOT
from ..show.numbers import as_printed, decimal, plus_minus

PAPER = yaml.safe_load((ROOT / "notebooks" / "support" / "paper.yaml").read_text())

PAPERS = tuple(PAPER["table_3"])  # the models that the paper has


def over_seeds(frame: pd.DataFrame, values: list[str], paper: dict) -> pd.DataFrame:
    """Mean over seeds of each value, the sd of the first, the number of seeds, and the paper's number; a row a task and
    model."""
    keys = ["task", "task_title", "model", "model_title", "stand_in", "n"]
    grouped = frame.groupby(keys, sort=False)
    table = grouped[values].mean()
    table.insert(1, f"{values[0]}_sd", grouped[values[0]].std())
    table.insert(0, "seeds", grouped.size())
    table = table.reset_index()
    table.insert(
        keys.index("n") + 1,
        "paper",
        [paper.get(m, {}).get(t) for t, m in zip(table["task"], table["model"], strict=True)],
    )
    return table


def wide(table: pd.DataFrame, value: str, digits: int, extra: dict[str, str]) -> pd.DataFrame:
    """The paper's layout: models down, tasks across; in each task the paper's number, ours (mean ± sd over seeds), and
    extra columns."""
    columns = {}
    for task, part in table.groupby("task_title", sort=False):
        part = part.set_index("model_title")
        columns[(task, "paper")] = part["paper"].map(as_printed)
        columns[(task, "ours")] = pd.Series(
            {m: plus_minus(r[value], r[f"{value}_sd"], digits) for m, r in part.iterrows()}
        )
        for column, title in extra.items():
            columns[(task, title)] = part[column].map(lambda v: decimal(v, digits))
    return pd.DataFrame(columns).rename_axis(index=None, columns=["task", "model"]).fillna("–")


def differences(frame: pd.DataFrame, value: str, first: str, second: str) -> dict[str, float]:
    """Value of the first model minus that of the second, a row of the frame a run, mean over the seeds that both have,
    for each task that has such."""
    pivot = frame.pivot_table(index=["task_title", "seed"], columns="model", values=value, sort=False)
    if not {first, second} <= set(pivot.columns):
        return {}
    return (pivot[first] - pivot[second]).dropna().groupby(level=0, sort=False).mean().to_dict()
