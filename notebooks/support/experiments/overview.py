"""The whole reproduction in one table, `results`: every model of every task, beside the paper."""

import pandas as pd
from scipy import stats

from ..runs import Run
from ..show.numbers import as_printed, decimal, plus_minus
from ..show.tables import about_run
from .paper import PAPER

RESULTS = {  # of a run: where its metrics have it, its name for people, its digits
    "train_accuracy": (("train", "accuracy"), "train accuracy", 3),
    "test_accuracy": (("test", "accuracy"), "test accuracy", 3),
    "train_loss": (("train", "loss", "loss_alpha0"), "train loss", 0),
    "test_bound": (("test", "bound", "loss_alpha0"), "test loss, unbiased", 0),
    "psnr": (("test", "psnr"), "PSNR, dB", 1),
    "ssim": (("test", "ssim"), "SSIM", 3),
}


def results_table(runs: list[Run]) -> pd.DataFrame:
    """The whole reproduction at a glance: a row a task and model, of each of RESULTS the mean over seeds and
    `<name>_half`, half its 95 % interval (Student; NaN for one seed); the paper's three numbers and the majority's
    accuracy on the test part beside them."""

    def found(run, path):
        value = run.metrics
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    rows = [
        about_run(run)
        | {"majority": run.metrics["test"].get("majority_accuracy")}
        | {name: found(run, path) for name, (path, *_) in RESULTS.items()}
        for run in runs
    ]
    frame = pd.DataFrame(rows).astype({name: float for name in ("majority", *RESULTS)})
    grouped = frame.groupby(["task", "task_title", "model", "model_title", "stand_in"], sort=False)
    table = grouped[["majority", *RESULTS]].mean()
    table.insert(0, "seeds", grouped.size())
    for name in RESULTS:
        n = grouped[name].count()
        table[f"{name}_half"] = stats.t.ppf(0.975, n - 1) * grouped[name].std() / n**0.5
    table = table.reset_index()
    for key, name in (("table_1", "train_accuracy"), ("table_2", "test_accuracy"), ("table_3", "train_loss")):
        papers = [
            PAPER[key].get(model, {}).get(task) for task, model in zip(table["task"], table["model"], strict=True)
        ]
        table[f"paper_{name}"] = pd.Series(papers, dtype=float)
    return table


def results_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`results_table` for showing: the paper's, where it has any, / ours ± half the 95 % interval."""
    shown = table[["task_title", "model_title", "seeds"]].rename(columns={"task_title": "task", "model_title": "model"})
    for name, (_, title, digits) in RESULTS.items():
        ours = [plus_minus(mean, half, digits) for mean, half in zip(table[name], table[f"{name}_half"], strict=True)]
        paper = table.get(f"paper_{name}")
        if paper is not None and paper.notna().any():  # own images have none
            title = f"{title}: paper / ours"
            ours = [
                "–" if mean == "–" else f"{as_printed(number)} / {mean}"
                for number, mean in zip(paper, ours, strict=True)
            ]
        shown[title] = ours
    shown.insert(5, "test, majority", [decimal(v, 3) for v in table["majority"]])
    return shown
