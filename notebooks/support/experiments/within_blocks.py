"""How the latents of a label's block share its work: table `blocks`."""

import math

import numpy as np
import pandas as pd
import torch

import mccvae_core as core
from data import Dataset

from ..measures import judge as judging
from ..measures import latents
from ..runs import Run
from .codes import PROBED, STARTS, about_codes, codes


def block_table(data: Dataset, run: Run, judge: judging.Judge, starts: int = STARTS) -> pd.DataFrame:
    """A row a label: disentanglement and completeness within its block (`latents.block_dci`, drawn data), and the
    effective number of latents by the judge's reading of the label and by pixels, when each latent alone goes over its
    range."""
    model = run.model()
    parts = data.train.some(PROBED), data.test.some(PROBED)
    z_train, z_test = (codes(model, part.images) for part in parts)
    z, rows = torch.from_numpy(codes(model, data.test.some(starts).images)), []
    singles = [[j] for j in range(model.config.characteristic_dim)]
    on_labels, _ = judging.effect_matrix(model, z, singles, judge)
    pixels = [pixel_change(model, z, j) for j in range(model.config.characteristic_dim)]
    for label, name in enumerate(data.labels):
        block, mine = core.block_of(model, label), [p for p, owner in enumerate(data.part_label) if owner == label]
        dci = (math.nan, math.nan)
        if mine:
            with_it = [part.labels[:, label].bool().numpy() for part in parts]
            values = [part.parts.numpy()[mask][:, mine] for part, mask in zip(parts, with_it, strict=True)]
            train, test = (
                (z[mask][:, block], v) for z, mask, v in zip((z_train, z_test), with_it, values, strict=True)
            )
            importance = latents.block_importance(train, test)
            dci = latents.block_dci(importance)
        effective = {
            "effective_latents": latents.effective_number(on_labels[block, label]),
            "effective_latents_pixels": latents.effective_number(np.array(pixels)[block]),
        }
        rows.append(
            about_codes(run, data)
            | {"label": name, "k": len(block), "disentanglement": dci[0], "completeness": dci[1]}
            | effective
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def pixel_change(model: core.MCCVAE, z: torch.Tensor, latent: int) -> float:
    """Mean absolute change of the image, in [0, 1], when one latent goes over its range, from the starts z (N, Z)."""
    ends = z.repeat(2, 1)
    low, high = core.characteristic_range(model, latent)
    ends[: len(z), latent], ends[len(z) :, latent] = low, high
    first, last = model.decode(ends).split(len(z))
    return (last - first).abs().mean().item()
