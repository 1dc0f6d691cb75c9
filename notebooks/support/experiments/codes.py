"""The codes of a run's model, and what is said of it in each table of what the latents hold."""

import numpy as np
import torch

import mccvae_core as core
from data import Dataset

from ..runs import Run

PROBED = 3_000  # images that a probe is fitted on, at most, and as many that it is tried on

STARTS = 64  # test images from which single latents are moved


def codes(model: core.MCCVAE, images: torch.Tensor) -> np.ndarray:
    """Posterior means (N, Z) of uint8 images."""
    return core.posterior(model, images).loc.cpu().numpy()


def about_codes(run: Run, data: Dataset) -> dict:
    spec = run.spec
    about = {
        "task": data.task.name,
        "task_title": data.task.title,
        "stand_in": data.stand_in,
        "model": spec.name,
        "model_title": spec.title,
    }
    return about | {"seed": run.record["seed"], "latents": sum(run.record["characteristics"]) + run.record["style_dim"]}
