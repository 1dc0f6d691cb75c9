"""What the walks of Figures 9 to 12 change, measured over test images."""

import pandas as pd

import mccvae_core as core
from data import TASKS, Dataset

from ..measures import block_effects
from ..runs import Run
from ..show.numbers import listed
from ..show.tables import named_columns
from ..show.walks import walk_rows, walk_starts


def intervention_tables(data: dict[str, Dataset], trained: list[Run]) -> pd.DataFrame:
    """`intervention_table` of each run, in the order of the paper's figures; data by task. Those of published runs are
    kept."""
    tables = [
        run.scores(
            "interventions", lambda run=run: intervention_table(data[run.record["task"]], {run.spec.title: run.model()})
        )
        for run in trained
    ]
    return pd.concat(tables, ignore_index=True).sort_values("figure", kind="stable", ignore_index=True)


def intervention_table(data: Dataset, models: dict[str, core.MCCVAE], count: int = 64) -> pd.DataFrame:
    """What each walk of the paper changes on average over test images: see `block_effects.intervention_effects`.

    share: a latent's pixel change as a share of the sum over the latents of its block, where one is moved alone.
    """
    rows = []
    for number, (what, towards) in data.task.walks.items():
        goal = {data.labels.index(label): value for label, value in towards.items()}
        images = data.test.take(walk_starts(data, towards)).some(count).images
        for name, (model, within) in walk_rows(models, goal).items():
            effect = block_effects.intervention_effects(model, core.posterior(model, images).loc, goal, within=within)
            title, _, which = name.partition("\n")
            about = {
                "task": data.task.name,
                "figure": number,
                "walk": what,
                "stand_in": data.stand_in,
                "model_title": title,
            }
            rows.append(about | {"latents": which or "the one", "n": len(images)} | effect)
    table = pd.DataFrame(rows)
    single = table["latents"].str.startswith("latent")
    total = table[single].groupby(["figure", "model_title"])["pixels"].transform("sum")
    table.loc[single, "share"] = table["pixels"] / total
    return table


def intervention_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The walks' effects, for showing."""
    shown = table.assign(figure="Figure " + table["figure"].astype(str) + ": " + table["walk"])
    names = {
        "figure": "walk",
        "model_title": "model",
        "latents": "latents",
        "n": "images",
        "moved": "moved",
        "others": "others",
        "pixels": "pixels",
        "share": "share",
    }
    return named_columns(shown, names)


def finding(table: pd.DataFrame) -> str:
    """How far the walks move their labels and others, and how evenly a block's latents share the work."""
    whole = table[~table["latents"].str.startswith("latent")].groupby("task", sort=False)[["moved", "others"]].mean()
    on = lambda column: listed(f"{v:.2f} on {TASKS[task].title}" for task, v in whole[column].items())  # noqa: E731
    sentence = (
        "Walking a label's whole block moves its probability, which the model itself reads "
        f"again from the picture, by {on('moved')}, and every other label's by {on('others')}"
    )
    single = table[table["latents"].str.startswith("latent")]
    if len(single):
        top = single.groupby(["figure", "model_title"])["share"].max()
        sentence += (
            f"; in MCCVAE the stronger latent of a block does {100 * top.min():.0f} to {100 * top.max():.0f} "
            "% of the pixel change"
        )
    return sentence + " (one seed of each model)."
