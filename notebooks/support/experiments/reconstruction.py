"""Table 3: the training loss beside the paper's, its terms, and what of it is reconstruction."""

import pandas as pd

from ..runs import Run
from ..show import tables
from ..show.numbers import decimal, listed, signed
from ..show.tables import about_run, named_columns
from .paper import PAPER, differences, over_seeds, wide

SPLIT_TERMS = (
    "reconstruction",
    "kl_style",
    "characteristics",
    "log_qyz",
    "weighting",
    "log_qyx",
    "log_py",
    "mean_weight",
)


def loss_frame(runs: list[Run]) -> pd.DataFrame:
    """One row a run: its labelled loss at alpha = 0 over the whole training part with the final weights, the loss's
    terms, the running mean of the last epoch, the test part's loss and reconstruction, and for both parts the bound by
    rao-blackwell."""
    rows = []
    for run in runs:
        train, test = run.metrics["train"]["loss"], run.metrics["test"]["loss"]
        terms = {term: train[term] for term in SPLIT_TERMS} | {"ess_share": train["ess"] / run.metrics["train"]["n"]}
        last = run.history["labelled_loss_alpha0"].iloc[-1]
        bound = {
            "bound": run.metrics["train"]["bound"]["loss_alpha0"],
            "test_bound": run.metrics["test"]["bound"]["loss_alpha0"],
        }
        seconds = {"seconds": run.record["seconds"], "epochs": run.record["epochs"]}
        rows.append(
            about_run(run)
            | {"n": run.metrics["train"]["n"], "loss": train["loss_alpha0"], "last_epoch_mean": last}
            | bound
            | terms
            | {"test_loss": test["loss_alpha0"], "test_reconstruction": test["reconstruction"]} | seconds
        )  # fmt: skip
    return pd.DataFrame(rows)


def loss_table(runs: list[Run]) -> pd.DataFrame:
    """Table 3: `loss_frame`, means over seeds, beside the paper's. Between models only the bounds may be compared."""
    frame = loss_frame(runs)
    values = [
        c for c in frame.columns if c not in ("task", "task_title", "model", "model_title", "seed", "stand_in", "n")
    ]
    return over_seeds(frame, ["loss", *[v for v in values if v != "loss"]], PAPER["table_3"])


def display_losses(table: pd.DataFrame, text: str, **options) -> None:
    """Table 3 in the paper's layout, the last epoch's running mean beside it; options as of `display_table`."""
    text = f"{text}; ours: {tables.seeds_note(table)}"
    tables.display_table(wide(table, "loss", 0, {"last_epoch_mean": "last epoch"}), text, index=True, **options)


def term_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The train loss and its terms, and the test part's, for showing."""
    shown = table.assign(minus_log_qyx=-table["log_qyx"], minus_log_py=-table["log_py"])
    names = {
        "task_title": "task", "model_title": "model", "loss": "loss", "reconstruction": "reconstruction",
        "kl_style": "KL style",
        "characteristics": "terms of z_c", "log_qyz": "log q(y|z_c)", "weighting": "weighting",
        "minus_log_qyx": "−log q(y|x)",
        "minus_log_py": "−log p(y)", "mean_weight": "mean w", "ess_share": "ESS of w / n", "bound": "unbiased",
        "test_bound": "test, unbiased",
        "test_reconstruction": "test reconstruction",
    }  # fmt: skip
    table = named_columns(shown, names)
    return table.assign(
        **{
            c: table[c].map(lambda v: decimal(v, 1))
            for c in list(names.values())[2:]
            if c not in ("mean w", "ESS of w / n")
        }
    )


def finding(frame: pd.DataFrame) -> str:
    """Where MCCVAE's loss differs from CCVAE's, paired over seeds, and how much of that is reconstruction; from a
    `loss_frame`."""
    loss, pixels = (differences(frame, value, "mccvae", "ccvae") for value in ("loss", "reconstruction"))
    if not loss:
        worst = frame.groupby("task_title", sort=False)["loss"].mean()
        return "The training loss is " + listed(f"{v:,.0f} nats on {t}" for t, v in worst.items()) + "."
    return (
        "MCCVAE's training loss minus CCVAE's is "
        + listed(f"{signed(d, 1)} nats on {t} ({signed(pixels[t], 1)} of it reconstruction)" for t, d in loss.items())
        + "; the rest comes from the latents' terms and from w, so the loss alone does not measure the pictures."
    )
