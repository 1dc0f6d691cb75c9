"""The instrument: its numbers are the core's, the bound's and the page's; by keyboard, without scripts, on paper."""

import json
import re

import nbformat
import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import page_of
from support import ROOT
from support.report import instrument
from support.show import mathml

import mccvae_core as core

SETTINGS = [  # mean, spread, label, nats: the default, corners of the sliders, no picture at all
    (1.0, 1.0, 1, 2300.0),
    (-2.5, 0.3, 1, 9000.0),
    (4.0, 2.5, 0, 10000.0),
    (-4.0, 0.2, 0, 50.0),
    (0.0, 1.5, 1, 0.0),
]
NAMES = ("mean", "spread", "label", "nats")


def densely(mean, spread, label, nats):
    """[official, unbiased] gradients, (2,) each, and the hidden weight, from a fine grid over u and by differences.

    unbiased: that of KL(q(u|x, y) || p(u)), to which the bound comes down where every u draws the image equally well.
    """
    prior, sign = np.log1p(np.e), 2 * label - 1

    def parts(mean, spread):
        u = mean + spread * np.linspace(-12, 12, 40_001)
        q = np.exp(-(((u - mean) / spread) ** 2) / 2)
        q /= q.sum()
        log_y = -np.logaddexp(0, -sign * u)
        qyx = (q * np.exp(log_y)).sum()
        given_y = q * np.exp(log_y) / qyx
        step = u[1] - u[0]
        log_prior = -np.log(prior) - (u / prior) ** 2 / 2 - np.log(2 * np.pi) / 2
        kl = lambda density: (density * (np.log(density.clip(1e-300) / step) - log_prior)).sum()  # noqa: E731
        return np.array([kl(given_y), kl(q), -np.log(qyx), (given_y * log_y).sum()])

    h = 1e-4
    by_mean = (parts(mean + h, spread) - parts(mean - h, spread)) / (2 * h)
    by_spread = (parts(mean, spread + h) - parts(mean, spread - h)) / (2 * h)
    _, kl, _, expected = parts(mean, spread)
    weight = nats + kl + expected
    return np.array(
        [[d[1] + weight * d[2] for d in (by_mean, by_spread)], [d[0] for d in (by_mean, by_spread)]]
    ), weight


@pytest.mark.parametrize("at", SETTINGS)
def test_the_cores_gradients_are_those_of_a_fine_grid(at):
    now, (expected, weight) = instrument.values(*at), densely(*at)
    found = [[now[f"{row}_{name}"] for name in ("mean", "spread")] for row in ("official", "unbiased")]
    assert found == pytest.approx(expected, rel=2e-4, abs=2e-4) and now["weight"] == pytest.approx(weight, abs=1e-3)


def test_the_hidden_weight_follows_the_picture_and_the_unbiased_gradient_does_not():
    small, large = instrument.values(1.0, 0.8, 0, 100.0), instrument.values(1.0, 0.8, 0, 4100.0)
    assert large["weight"] - small["weight"] == pytest.approx(4000)
    assert large["weight"] == pytest.approx(4100, rel=2e-3)
    for name in ("mean", "spread"):
        assert large[f"unbiased_{name}"] == pytest.approx(small[f"unbiased_{name}"], abs=1e-8)
        difference = large[f"official_{name}"] - large[f"unbiased_{name}"]
        assert large[f"hidden_{name}"] == pytest.approx(difference, rel=2e-3)  # the audit's slope is the hidden weight


@pytest.mark.parametrize("draws", [core.OFFICIAL_DRAWS, 1000])
def test_the_losses_as_training_calls_them_have_this_mean_gradient(monkeypatch, draws):
    """Without the stand-in's quadrature. The mean of 1/q^(y|x) is above 1/q(y|x), less so with more draws for q^."""
    now = instrument.values(1.0, 1.0, 1, 20.0)
    monkeypatch.setattr(instrument.OneLabel, "log_qyz", core.MCCVAE.log_qyz)
    monkeypatch.setattr(core, "OFFICIAL_DRAWS", draws)
    model, noise = instrument.OneLabel(), torch.Generator().manual_seed(0)
    x, y = torch.zeros(1000, 1, dtype=torch.float64), torch.ones(1000, 1, dtype=torch.float64)
    for estimator, row in (("official", "official"), ("rao-blackwell", "unbiased")):
        found = []
        for _ in range(20):
            at = model.put(1.0, 1.0, 20.0)
            loss = core.model_loss(model, x, y, core.Objective(estimator), generator=noise).loss
            found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, at)]).numpy())
        expected, error = np.array([now[f"{row}_mean"], now[f"{row}_spread"]]), np.std(found, 0, ddof=1) / 20**0.5
        assert (np.abs(np.mean(found, 0) - expected) < 4 * error + 3 / draws * np.abs(expected)).all(), estimator


@pytest.mark.parametrize("spread, label", [(0.0, 1), (-1.0, 1), (1.0, 2)])
def test_settings_that_have_no_gradient_are_refused(spread, label):
    with pytest.raises(ValueError, match="spread must be positive and label 0 or 1"):
        instrument.values(0.0, spread, label, 100.0)


def test_formulas():
    assert mathml.mathml("w = {q}/{^q_c}") == (
        "<math><mi>w</mi><mo>=</mo><mfrac><mrow><mi>q</mi></mrow>"
        "<mrow><msub><mover><mi>q</mi><mo>^</mo></mover><mi>c</mi></msub></mrow></mfrac></math>"
    )
    assert (
        mathml.in_text("a <m>x</m>, <m>[[1.31</m>") == "a <math><mi>x</mi></math>, <math><mo>[</mo><mn>1.31</mn></math>"
    )
    for wrong in ("{a}", "{a", "a}", "x_", "_x", "{a}/"):
        with pytest.raises(ValueError, match="formula"):
            mathml.mathml(wrong)


# --- in the page ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The report's own cells around the instrument, and the page made of them as the report is made."""
    folder = tmp_path_factory.mktemp("instrument")
    report = nbformat.read(ROOT / "notebooks" / "report.ipynb", as_version=4)
    number = next(i for i, cell in enumerate(report.cells) if "instrument_html()" in cell.source)
    heading, cell = report.cells[number - 1 : number + 1]
    cell.outputs = [
        nbformat.v4.new_output("execute_result", {"text/html": instrument.instrument_html()}, execution_count=1)
    ]
    return page_of(folder, [nbformat.v4.new_markdown_cell("# A report"), heading, cell])


@pytest.fixture(scope="module")
def tab(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 1400, "height": 900})
    yield tab
    assert not tab.errors and tab.requests == [page_file.as_uri()]


def put(tab, mean, spread, label, nats):
    for name, value in (("mean μ", mean), ("spread τ", spread), ("−log p(x|z)", nats)):
        tab.get_by_label(name).fill(f"{value:g}")
    tab.get_by_role("radio", name=str(label)).check()


def said(tab):
    """What stands in the page by name; a number that stands in several places must be the same in all."""
    pairs = tab.locator("section.instrument [data-say]").evaluate_all(
        "(all) => all.map((e) => [e.dataset.say, e.textContent])"
    )
    assert len(set(map(tuple, pairs))) == len(dict(pairs))
    return dict(pairs)


@pytest.mark.parametrize("at", SETTINGS)
def test_the_pages_numbers_are_the_cores(tab, at):
    put(tab, *at)
    exact, now, text = (
        json.loads(tab.locator("section.instrument").get_attribute("data-exact")),
        instrument.values(*at),
        said(tab),
    )
    assert exact.keys() == now.keys() and exact == pytest.approx(now, abs=1e-4, rel=0)
    for name in set(now) & set(text):
        assert text[name] == instrument.shown(exact[name]), name
    assert {"weight", *(f"{row}_{by}" for row in instrument.ROWS for by in ("mean", "spread"))} <= set(text)
    assert (
        text["mean"] == f"{at[0]:.2f}".replace("-", "−")
        and text["nats"] == f"{at[3]:,.0f}"
        and text["label"] == str(at[2])
    )


def test_the_keyboard_moves_every_control_and_the_result_is_told(tab):
    put(tab, *SETTINGS[0])
    tab.get_by_label("mean μ").focus()
    reached = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowLeft"):
        before = said(tab)
        tab.keyboard.press(key)
        reached.append(tab.evaluate("document.activeElement.labels[0].textContent.split(':')[0].trim()"))
        after = said(tab)
        assert after["official_mean"] != before["official_mean"], key
        tab.keyboard.press("Tab")
    assert [name.split()[0] for name in reached] == ["mean", "spread", "−log", "0"]
    told = tab.get_by_role("status").filter(has_text="Hidden label weight")
    assert after["weight"] in told.inner_text() and after["official_mean"] in told.inner_text()


def test_without_scripts_the_default_stands_there_as_the_script_draws_it(open_page, page_file):
    pictures, texts = [], []
    for scripts in (True, False):
        tab = open_page(page_file, java_script_enabled=scripts)
        assert tab.locator(".instrument-controls").is_visible() == scripts
        pictures.append([tab.locator(f".instrument-{name}").get_attribute("d") for name in ("q", "wq", "w")])
        numbers = tab.locator("section.instrument [data-say]")
        texts.append([numbers.nth(i).text_content() for i in range(numbers.count())])
        tab.context.close()
    points = [np.array(re.findall(r"[\d.]+", " ".join(paths)), float) for paths in pictures]
    assert texts[0] == texts[1] and points[0] == pytest.approx(
        points[1], abs=0.11
    )  # a tenth of a pixel may round either way


def test_on_a_telephone_and_on_paper(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 390, "height": 800})
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
    for part in ("svg", "table", ".instrument-formulas math >> nth=4"):
        box = tab.locator(f"section.instrument {part}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, part
    tab.emulate_media(media="print")
    assert not tab.locator(".instrument-controls").is_visible()
    assert tab.locator("section.instrument svg").is_visible() and tab.locator("section.instrument table").is_visible()
    assert "−log p(x|z) = 2,300" in tab.locator("figcaption").inner_text()
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(open_page, page_file, scheme):
    tab = open_page(page_file, color_scheme=scheme)
    found = Axe().run(tab).response
    assert not found["violations"], [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]]
    tab.context.close()


def test_it_is_short_and_changes_nothing_of_the_random_numbers(page_file):
    state = torch.get_rng_state()
    instrument._model.cache_clear()
    html = instrument.instrument_html()
    assert torch.equal(state, torch.get_rng_state())
    assert re.search(r"\b(src|href)=|url\(|@import|fetch\(", html) is None
    report = page_file.read_text()
    text = report[report.index("section 2.3") : report.index("section 2.3") + len(html) * 2]
    text = text[: text.index("</section>")]
    for tag in ("math", "svg", "script", "style", "details"):
        text = re.sub(rf"<{tag}\b.*?</{tag}>", " ", text, flags=re.DOTALL)
    assert 100 < len(re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", " ", text))) <= 200
