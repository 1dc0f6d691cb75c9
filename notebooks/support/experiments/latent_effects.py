"""What moving one latent changes: table `effects`, and the figure of its matrix."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

import mccvae_core as core
from data import Dataset

from ..measures import judge as judging
from ..measures import latents
from ..runs import Run
from ..settings import Profile
from ..show.figures import caption, show
from .codes import STARTS, about_codes, codes
from .task_judges import factor_owner


def effect_table(data: Dataset, run: Run, judge: judging.Judge, starts: int = STARTS) -> pd.DataFrame:
    """The matrix of effects: a row a characteristic and a thing that the judge reads; see `judging.effect_matrix`."""
    model = run.model()
    z = torch.from_numpy(codes(model, data.test.some(starts).images))
    count, owner = model.config.characteristic_dim, latents.latent_owners(model)
    on_labels, on_factors = judging.effect_matrix(model, z, [[j] for j in range(count)], judge)
    number = {j: 1 + core.block_of(model, owner[j]).index(j) for j in range(count)}
    columns = [(name, "label", i) for i, name in enumerate(data.labels)]
    columns += [
        (name, "style" if o == latents.STYLE else "part", o)
        for name, o in zip([*data.part_names, *data.style_names], factor_owner(data), strict=True)
    ]
    effects = np.concatenate([on_labels, on_factors], axis=1)
    return pd.DataFrame(
        [
            about_codes(run, data)
            | {"label": data.labels[owner[j]], "latent": number[j], "n": len(z), "on": name, "kind": kind}
            | {"on_label": None if o == latents.STYLE else data.labels[o], "effect": effects[j, c]}
            for j in range(count)
            for c, (name, kind, o) in enumerate(columns)
        ]
    )


def diagonal_shares(effects: pd.DataFrame) -> pd.DataFrame:
    """Of each run's effects on labels, and on parts, the share that falls on what the moved latent owns; beside it that
    of chance."""
    rows = []
    for keys, part in effects[effects["kind"] != "style"].groupby(
        ["task_title", "model_title", "seed", "kind"], sort=False
    ):
        own = part["label"] == part["on_label"]
        about = dict(zip(("task_title", "model_title", "seed", "kind"), keys, strict=True))
        rows.append(
            about | {"diagonal_share": part.loc[own, "effect"].sum() / part["effect"].sum(), "chance": own.mean()}
        )
    return pd.DataFrame(rows)


def effect_figure(effects: pd.DataFrame, data: Dataset, run: Run, profile: Profile, name: str) -> None:
    """The matrix of effects of one run: latents down, what the judge reads across, outlined where a latent owns what
    changes."""
    about = about_codes(run, data)
    table = effects[(effects[["task", "model", "seed"]] == [about["task"], about["model"], about["seed"]]).all(axis=1)]
    table = table.assign(row=table["label"] + ", latent " + table["latent"].astype(str), column=table["on"])
    order = {"label": 0, "part": 1, "style": 2}
    columns = table.drop_duplicates("column").sort_values("kind", key=lambda k: k.map(order), kind="stable")
    pivot = table.pivot_table(index="row", columns="column", values="effect", sort=False)[list(columns["column"])]
    fig, ax = plt.subplots(figsize=(0.42 * pivot.shape[1] + 2.5, 0.3 * pivot.shape[0] + 2))
    most = max(0.1, math.ceil(10 * pivot.to_numpy().max()) / 10)
    sns.heatmap(pivot, ax=ax, cmap="cividis", vmin=0, vmax=most, cbar_kws={"label": "mean absolute change"})
    owner = dict(zip(table["row"], table["label"], strict=True))
    for r, row in enumerate(pivot.index):
        for c, on_label in enumerate(columns["on_label"]):
            if on_label == owner[row]:
                ax.add_patch(plt.Rectangle((c, r), 1, 1, fill=False, edgecolor="white", linewidth=1.5))
    for edge in (columns["kind"] == "label").sum(), (columns["kind"] != "style").sum():
        ax.axvline(edge, color="white", linewidth=3)
    title = table["model_title"].iloc[0]
    kinds = [f"{kind}s" if kind != "style" else kind for kind in columns["kind"].unique()]
    ax.set(xlabel=f"what the judge reads: {', '.join(kinds)}", ylabel="latent that is moved")
    ax.tick_params(axis="y", rotation=0)
    text = caption(
        f"{data.task.title}, {title}: what moving one latent over its range changes, mean "
        f"over {table['n'].iloc[0]} test images",
        data,
    )
    own = table["label"] == table["on_label"]
    alt = f"{text}. White frames: the latent's own. Share of effects on labels that falls on the own label: "
    labels = table["kind"] == "label"
    alt += f"{table.loc[own & labels, 'effect'].sum() / table.loc[labels, 'effect'].sum():.2f}."
    show(fig, text, alt, profile=profile, name=name)
