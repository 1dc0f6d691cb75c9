"""Toys on which every expectation can be computed by brute force."""

import dataclasses
import itertools
import math
import os
import shutil
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from support import weights
from support.commands import page
from torch import nn
from torch.distributions import Normal

import mccvae_core as core

KS = [(1, 1), (2, 2), (1, 3)]
RUN_FILES = {  # of a run that a notebook has trained
    "train.ipynb",
    "model.safetensors",
    "best.safetensors",
    "history.csv",
    "metrics.json",
    "run.json",
}


class ToyMCCVAE(core.MCCVAE):
    """The real classifier, conditional prior and losses around an encoder and a decoder small enough for quadrature.

    q(z|x) is the same free Gaussian for every image; log p(x|z) = -1/2 |x - A z|^2 + cos(b.z), x (B, 3).
    """

    def __init__(self, characteristics, style_dim=1, seed=0, block_prior="diagonal", kinds="binary", values=3):
        kinds = (kinds,) * len(characteristics) if isinstance(kinds, str) else kinds
        of_values = (0.5, 0.2, *[0.3 / (values - 2)] * (values - 2))  # of every categorical label
        prior = tuple(of_values if kind == "categorical" else 0.3 + 0.1 * i for i, kind in enumerate(kinds))
        options = {"block_prior": block_prior, "label_kinds": kinds}
        config = core.ModelConfig((1, 60, 60), characteristics, style_dim, "bernoulli", prior, **options)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            super().__init__(config)
            self.encoder, self.decoder = nn.Identity(), nn.Identity()
            for parameter in (self.classifier_weight, self.classifier_bias, self.prior_loc, self.prior_raw_scale):
                nn.init.normal_(parameter, std=0.7)
            self.q_loc = nn.Parameter(0.6 * torch.randn(config.latent_dim))
            self.q_raw = nn.Parameter(0.5 * torch.randn(config.latent_dim))
            self.A = nn.Parameter(0.5 * torch.randn(3, config.latent_dim))
            self.b = nn.Parameter(torch.randn(config.latent_dim))
            if block_prior == "full":
                nn.init.normal_(self.prior_lower, std=0.7)
            for parameter in (self.value_weight, self.value_loc, self.value_raw_scale) if self.categorical else ():
                nn.init.normal_(parameter, std=0.7)
        self.double()

    def encode(self, x):
        shape = (len(x), self.config.latent_dim)
        return Normal(self.q_loc.expand(shape), nn.functional.softplus(self.q_raw).expand(shape), validate_args=False)

    def log_px(self, x, z):
        return -0.5 * ((x - z @ self.A.T) ** 2).sum(-1) + torch.cos(z @ self.b)


def posterior_grid(model, nodes=12):
    """Gauss-Hermite nodes z (M, Z) of the toy's q(z|x) and their weights (M,)."""
    point, weight = np.polynomial.hermite_e.hermegauss(nodes)
    dim = model.config.latent_dim
    index = np.array(list(itertools.product(range(nodes), repeat=dim)))
    weights = torch.tensor((weight / math.sqrt(2 * math.pi))[index].prod(1))
    q = model.encode(torch.zeros(1, 3))
    return q.loc[0] + q.scale[0] * torch.tensor(point[index]), weights


def fit(model, images, labels, checkpoint=None, identity=None, **options):
    """The history of `mccvae_core.fit`; of the options those that are an Objective's go into one, a checkpoint into a
    keeper."""
    fields = {field.name for field in dataclasses.fields(core.Objective)} & set(options)
    objective = core.Objective(**{name: options.pop(name) for name in fields})
    keeper = None if checkpoint is None else weights.CheckpointKeeper(checkpoint, identity)
    return core.fit(model, images, labels, objective, keeper=keeper, **options).history


@pytest.fixture(params=KS, ids=str)
def toy(request):
    return ToyMCCVAE(request.param)


@pytest.fixture
def small_data():
    """60 random grey images and labels of two exclusive classes, learnable from their brightness."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    images = torch.randint(0, 80, (60, 1, 60, 60), generator=rng) + 120 * labels[:, None, None, None]
    return images.to(torch.uint8), torch.nn.functional.one_hot(labels, 2).to(torch.uint8)


@pytest.fixture
def small_config():
    return core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5)


LONGEST = ("test_graph.py", "test_faults.py", "test_own.py")  # each runs graphs, for minutes


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_addoption(parser):
    parser.addoption(
        "--long", action="store_true", help="try each fault as often as tests/README.md says, not only a few times"
    )

    for name, (_, many, about) in COUNTS.items():
        parser.addoption(f"--{name}", type=int, default=None, help=f"{about} (with --long {many})")


COUNTS = {  # by default, with --long, what is counted
    "kills": (6, 300, "kills of a training, with --long one of five seconds"),
    "full": (28, 1, "the disk is full at each so-many-th write"),
    "cuts": (2, 30, "power cuts"),
}


@pytest.fixture(scope="session")
def counts(request):
    """The counts of kills, full disks and power cuts, by name."""
    option = request.config.getoption
    given = {name: option(f"--{name}") for name in COUNTS}
    usual = {name: many if option("--long") else few for name, (few, many, _) in COUNTS.items()}
    return types.SimpleNamespace(**{name: usual[name] if given[name] is None else given[name] for name in COUNTS})


@pytest.fixture
def often(request):
    """often(few, many): how many times to try, by default or with --long."""
    return lambda few, many: many if request.config.getoption("--long") else few


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")  # as Linux distributions name it


def without_browser():
    """Skips the test that asks for a browser, or fails it where there must be one."""
    why = "no Chromium: install it (Debian: apt-get install chromium; elsewhere: python -m playwright install chromium)"
    pytest.fail(why) if os.environ.get("MCCVAE_BROWSER") == "required" else pytest.skip(why)


@pytest.fixture(scope="module")  # no longer: while playwright runs, no other test can run an event loop of its own
def browser():
    """A Chromium without a window: the machine's, else playwright's own. Without one the tests are skipped, or fail
    where the environment variable MCCVAE_BROWSER is "required"."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = next(filter(None, map(shutil.which, BROWSERS)), own if Path(own).exists() else None)
        if path is None:
            without_browser()
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def open_page(browser):
    """open_page(file, **options): the page in a context without a network; what it logged and asked for is in `errors`
    and `requests`."""

    def open_(file, **options):
        tab = browser.new_context(offline=True, **options).new_page()
        tab.errors, tab.requests = [], []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on(
            "console", lambda message: tab.errors.append(message.text) if message.type in ("error", "warning") else None
        )
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.goto(file.as_uri())
        return tab

    return open_


def page_of(folder, cells):
    """The page, folder/report.html, that the project makes of a notebook with these cells."""
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "report.ipynb")
    assert page.main(folder / "report.ipynb", folder / "report.html") == 0
    return folder / "report.html"
