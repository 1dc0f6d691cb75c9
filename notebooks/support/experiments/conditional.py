"""A conditional VAE beside CCVAE and MCCVAE (section 1): what its z holds of the labels, and how gradually its pictures
change."""

import numpy as np
import pandas as pd
import torch

import mccvae_core as core
from data import Dataset

from ..measures import judge as judging
from ..measures import latents
from ..runs import SCORES, WEIGHTS, Run
from .codes import PROBED, codes

STEPS, STARTS = 7, 32  # of a walk, as in the paper's figures; test images that walks start from


def compared(runs: list[Run]) -> list[Run]:
    """The conditional VAEs, and of the same tasks the paper's CCVAE and MCCVAE and those CCVAEs whose style has as many
    latents as the conditional VAE: only between equally many does it mean something how well labels are read.

    Of the last, which are not in every published table, those whose scores or weights lie in their folder."""
    latents = {run.record["task"]: _latents(run) for run in runs if run.spec.kind == "ConditionalVAE"}
    return [
        run
        for run in runs
        if run.record["task"] in latents
        and (run.spec.name in ("cvae", "ccvae", "mccvae") or _as_many_in_style(run, latents[run.record["task"]]))
    ]


def _latents(run: Run) -> int:
    return sum(run.record["characteristics"]) + run.record["style_dim"]


def _as_many_in_style(run: Run, latents: int) -> bool:
    if not run.spec.has_blocks or run.spec.estimator != "official" or run.record["style_dim"] != latents:
        return False
    return any((run.folder / name).exists() for name in (WEIGHTS, f"{SCORES}/conditional.csv"))


@torch.no_grad()
def label_walk(model: core.VAE, z: torch.Tensor, y: torch.Tensor, label: int) -> torch.Tensor:
    """Pictures (STEPS, N, *image_shape) from the label's value 0 to 1, all else as in z (N, Z): of a conditional VAE y
    (N, L) goes there in equal steps, though it has only seen 0 and 1; of the others the label's characteristics go over
    their range."""
    if not isinstance(model, core.ConditionalVAE):
        return core.latent_walk(model, z, {label: 1}, steps=STEPS).images
    path = y.repeat(STEPS, 1, 1)
    path[..., label] = torch.linspace(0, 1, STEPS, device=y.device)[:, None]
    pictures = model.decode(z.repeat(STEPS, 1), path.flatten(0, 1))
    return pictures.unflatten(0, (STEPS, len(z)))


COLUMNS = ("task", "task_title", "stand_in", "model", "model_title", "seed", "label", "z_auc", "moved", "steps")


def conditional_table(data: dict[str, Dataset], trained: list[Run], judges: dict[str, judging.Judge]) -> pd.DataFrame:
    """`conditional_rows` of every run; data and judges by task. Those of published runs are kept."""

    def of(run):
        task = run.record["task"]
        return run.scores("conditional", lambda: pd.DataFrame(conditional_rows(data[task], run, judges[task])))

    return pd.concat(map(of, trained), ignore_index=True) if trained else pd.DataFrame(columns=COLUMNS)


def conditional_rows(data: Dataset, run: Run, judge: judging.Judge) -> list[dict]:
    """A row a label. z_auc: the label read from what no label owns, of a conditional VAE all of z, of the others
    z_style (boosted probe, held-out images). moved: by how much the judge's probability of the label rises over a
    `label_walk`. steps: over how many of its STEPS - 1 steps that change is spread, exp(entropy) of their shares of it,
    mean over starts; 1: it switches."""
    model, parts, some = run.model(), (data.train.some(PROBED), data.test.some(PROBED)), data.test.some(STARTS)
    free = latents.latent_owners(model) == latents.STYLE if isinstance(model, core.MCCVAE) else slice(None)
    train, test = (codes(model, part.images)[:, free] for part in parts)
    z, y = core.posterior(model, some.images).loc, some.labels.float().to(next(model.parameters()).device)
    about = {"task": data.task.name, "task_title": data.task.title, "stand_in": data.stand_in, "model": run.spec.name}
    about |= {"model_title": run.spec.title, "seed": run.record["seed"]}
    rows = []
    for label, name in enumerate(data.labels):
        values = [part.labels[:, label].numpy() for part in parts]
        auc = (
            latents.probe_score((train, values[0]), (test, values[1]), "boosted")
            if all(map(_varied, values))
            else np.nan
        )
        p = judge.read(label_walk(model, z, y, label).flatten(0, 1).cpu())[0][:, label].reshape(STEPS, -1).numpy()
        steps = [latents.effective_number(change) for change in np.abs(np.diff(p, axis=0)).T]
        rows.append(
            about | {"label": name, "z_auc": auc, "moved": (p[-1] - p[0]).mean(), "steps": pd.Series(steps).mean()}
        )
    return rows


def _varied(values: np.ndarray) -> bool:
    return len(np.unique(values)) > 1


def conditional_columns(table: pd.DataFrame) -> pd.DataFrame:
    """For showing: means over labels and seeds."""
    mean = table.groupby(["task_title", "model_title"], sort=False)[["z_auc", "moved", "steps"]].mean().reset_index()
    names = {"task_title": "task", "model_title": "model", "z_auc": "label read from what no label owns, AUC"}
    return mean.rename(
        columns=names | {"moved": "judge's probability rises by", "steps": f"over effective steps of {STEPS - 1}"}
    )
