"""The published report in Firefox: what moves in it computes the same there as the core. Other tests take Chromium."""

import json
import os

import numpy as np
import pytest
import torch
from firefox import firefox
from support import OUTPUTS, PUBLISHED, runs
from support.report import explorer, instrument
from support.settings import read_profile
from test_explorer import SHOWN, pixels


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """The published report. Without Firefox skipped, or failed where MCCVAE_FIREFOX is "required"."""
    try:
        with firefox(tmp_path_factory.mktemp("firefox")) as tab:
            tab.open(OUTPUTS / PUBLISHED / "report.html")
            yield tab
            assert tab.errors == []
    except FileNotFoundError as error:
        pytest.fail(str(error)) if os.environ.get("MCCVAE_FIREFOX") == "required" else pytest.skip(str(error))


def test_the_instruments_numbers_are_the_cores(tab):
    at = {"mean": -2.5, "spread": 0.3, "nats": 9000}
    for name, value in at.items():
        control = f"document.querySelector('section.instrument [data-set={name}]')"
        tab.evaluate(f"(({control}).value = {value}, {control}.dispatchEvent(new Event('input', {{bubbles: true}})))")
    exact = json.loads(tab.evaluate("document.querySelector('section.instrument').dataset.exact"))
    assert exact == pytest.approx(instrument.values(-2.5, 0.3, 1, 9000.0), abs=1e-4, rel=0)


def test_the_explorers_picture_is_pytorchs(tab):
    model = explorer.chosen(runs.first_runs(read_profile(PUBLISHED), "chest_xray"))[0].model()
    z = torch.randn(3, model.config.latent_dim, generator=torch.Generator().manual_seed(2))
    open_ = "window.explorers.chest_xray.open()"
    for row in z:
        tab.evaluate(f"({open_}.move({row.tolist()}), {open_}.draw())")
        text, chances, _ = tab.evaluate(f"({SHOWN})('chest_xray')")
        with torch.no_grad():
            wanted = (
                255 * explorer.half_precision(model).decode(row[None])[0].permute(1, 2, 0).expand(-1, -1, 3).numpy()
            )
            p = 100 * model.label_logits(model.split(row)[0]).sigmoid().numpy()
        assert np.ptp(wanted) > 100 and np.abs(pixels(text) - wanted).max() <= 0.51
        assert np.abs(np.array(chances) - p).max() <= 0.51


def test_a_margin_moves(tab):
    words = "[...document.querySelectorAll('figure[data-moves=margin] .strip-value')].map((e) => e.textContent)"
    slider = "document.querySelector('figure[data-moves=margin] input')"
    before = tab.evaluate(words)
    tab.evaluate(f"(({slider}).value = 0.1, {slider}.dispatchEvent(new Event('input')))")
    assert len(before) > 3 and tab.evaluate(words) != before
