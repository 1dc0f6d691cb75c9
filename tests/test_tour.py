"""The tour: from a fresh kernel to its answer, with the X-rays and without them."""

import os

import nbformat
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from support import ROOT, runs
from support.experiments import tour
from support.settings import SettingsError, read_profile

from data import DataError

NOTEBOOK = nbformat.read(ROOT / "notebooks" / "tour.ipynb", as_version=4)


@pytest.fixture
def without_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MCCVAE_DATA", str(tmp_path))
    monkeypatch.setattr("data.common.CACHE", tmp_path)


def test_the_tour_runs_from_a_fresh_kernel_and_ends_with_its_answer():
    """From another folder than Jupyter's too: the kernel starts in the project's."""
    notebook = NOTEBOOK.copy()
    assert len(notebook.cells) <= 12
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}, timeout=300).execute()
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    pictures = [any("image/png" in output.get("data", {}) for output in shown) for shown in outputs]
    assert sum(pictures) == 2
    said = [output.get("text", "") for shown in outputs for output in shown]
    assert said[-1].startswith("Moved along the classifier's direction, bacteria changes by 0.")
    times = [cell.metadata.execution for cell in notebook.cells if cell.cell_type == "code"]
    first = notebook.cells[pictures.index(True)].metadata.execution["iopub.status.idle"]
    assert (pd.Timestamp(first) - pd.Timestamp(times[0]["iopub.status.busy"])).total_seconds() < 60


def test_without_the_x_rays_their_published_latents_are_drawn_and_the_tour_says_so(without_data):
    shown = tour.pictures(read_profile("published"))
    assert shown.stand_in and shown.source.startswith("The X-rays are missing (chest_xray_64.npz is not here")
    assert shown.images.shape == (tour.COUNT, *tour.TASK.image_shape) and shown.images.dtype == torch.uint8
    assert (shown.labels.sum(1) == 1).all() and "MCCVAE_DOWNLOAD" not in os.environ
    model = tour.models(read_profile("published"))["MCCVAE"]
    read = model.label_logits(model.split(tour.core.posterior(model, shown.images).loc)[0]) > 0
    assert (read == (shown.labels == 1)).float().mean() > 0.7  # these are the X-rays' labels


def test_without_published_latents_the_reason_is_given(without_data, monkeypatch):
    monkeypatch.setattr(runs, "SCORES", "no scores")
    with pytest.raises(DataError, match=r"chest_xray_64\.npz is not here"):
        tour.pictures(read_profile("published"))


def test_wrong_labels_and_profiles_are_told():
    with pytest.raises(SettingsError, match="label must be one of normal, bacteria, virus, not 'flu'"):
        tour.label_number("flu")
    with pytest.raises(FileNotFoundError, match=r"run notebooks/chest_xray\.ipynb"):
        tour.models(read_profile("quick"))


@pytest.mark.parametrize(
    ("across", "says"),
    [(0.05, "the second latent tunes the picture rather than the label"), (0.3, "both directions tune the label")],
)
def test_the_answer_follows_the_numbers(across, says):
    rows = [("CCVAE", "along", 0.2), ("MCCVAE", "along", 0.3), ("MCCVAE", "across", across)]
    effects = pd.DataFrame(rows, columns=["model", "direction", "label"]).assign(pixel=0.05)
    said = tour.answer(effects, "virus")
    assert says in said and "virus changes by 0.30" in said and f"across it, by {across:.2f}" in said
