"""What the official estimator optimises, as an instrument: one image, one label, and both estimators' gradients.

`values` computes every number by the core's own losses. `templates/report/instrument.js` computes the same in the page,
where the sliders move. Without a script the page shows the state of DEFAULT, drawn from `values`.
"""

import functools
import json
import math
from string import Template

import numpy as np
import torch
from torch.distributions import Normal

import mccvae_core as core

from .. import ROOT
from ..show import mathml

PARTS = ROOT / "notebooks" / "templates" / "report"
DEFAULT = {"mean": 1.0, "spread": 1.0, "label": 1, "nats": 2300.0}  # MNIST's losses are about that large
ROWS = ("unbiased", "hidden", "rest", "official")
LEFT, RIGHT, BASE, TOP, ENDS = 34, 350, 122, 10, 8  # of the figure, in its pixels; the logit goes from -ENDS to ENDS


class OneLabel(core.MCCVAE):
    """One image with one label, whose only latent is its logit: q(z|x) = N(mean, spread^2).

    Classifier and prior are as they start; every z draws the picture equally well: -log p(x|z) = nats. All in float64.
    log_qyz gives the K further draws of z the weights of a quadrature, so that official's mean over them, q^(y|x), is
    the exact q(y|x). The code's 100 draws change its gradients by a percent or two.
    """

    def __init__(self):
        with torch.random.fork_rng(devices=[]):
            super().__init__(core.ModelConfig((1, 60, 60), (1,), 0, "bernoulli", 0.5))
        self.double()
        self.log_weight = torch.tensor(quadrature()[1]).log()

    def put(self, mean: float, spread: float, nats: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Take these settings. Returns mean and spread as leaves of the graph."""
        at = tuple(torch.tensor([[v]], dtype=torch.float64, requires_grad=True) for v in (mean, spread))
        self.at, self.nats = at, nats
        return at

    def encode(self, x):
        return Normal(*(part.expand(len(x), 1) for part in self.at), validate_args=False)

    def log_px(self, x, z):
        return -self.nats + 0 * z.sum(-1)

    def log_qyz(self, y, z_c):
        own = super().log_qyz(y, z_c)
        return own + (len(z_c) * self.log_weight.exp()).log()[:, None] if z_c.dim() == 3 else own


@functools.cache
def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the core's quadrature, (core.NODES,) each, for a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(core.NODES)
    return nodes, weights / weights.sum()


@functools.cache
def _model() -> OneLabel:
    return OneLabel()


def values(mean: float, spread: float, label: int, nats: float) -> dict[str, float]:
    """Both estimators' expected gradients for u ~ N(mean, spread^2), a label of 0 or 1 and -log p(x|z) = nats.

    log_qyx: log q(y|x). weight: the hidden label weight h = E[-w f], in nats. For each of "mean" and "spread" the
    gradients of the loss by that parameter, in nats by a unit of the logit:

        official_* = unbiased_* + hidden_* + rest_*,   hidden_* = h times the gradient of -log q(y|x).

    rest: official leaves w out of the KL, so it has the KL of q(z|x) where the bound has that of w q(z|x).

    Raises ValueError where spread is not positive or label neither 0 nor 1.
    """
    if spread <= 0 or label not in (0, 1):
        raise ValueError(f"spread must be positive and label 0 or 1, not {spread} and {label}")
    model, (nodes, weights) = _model(), map(torch.tensor, quadrature())
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), label, dtype=torch.float64)
    at, nodes = model.put(mean, spread, nats), nodes.reshape(-1, 1, 1)
    losses, h = [0.0, 0.0], 0.0
    for node, weight in zip(nodes, weights, strict=True):
        terms = core.official_loss(model, x, y, core.OfficialNoise(node, nodes, None))
        minus_f = terms.reconstruction + terms.kl_style + terms.characteristics + terms.log_qyz
        h += weight * (minus_f + terms.weighting).detach()
        losses[0] += weight * terms.loss
        losses[1] += weight * core.rao_blackwell_loss(model, x, y, node).loss
    official, unbiased = (_gradient(loss, at) for loss in losses)
    log_qyx = core.label_terms(model, model.encode(x), y)[1].sum()
    hidden = h * _gradient(-log_qyx, at)
    now = {"log_qyx": log_qyx.item(), "weight": h.item()}
    for row, gradient in zip(ROWS, (unbiased, hidden, official - unbiased - hidden, official), strict=True):
        now |= {f"{row}_mean": gradient[0].item(), f"{row}_spread": gradient[1].item()}
    return now


def _gradient(value, at):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, at)])


def instrument_html() -> str:
    """The instrument as HTML for `IPython.display.HTML`: formulas, sliders, a figure, gradients, style, script.

    It begins at DEFAULT, and without scripts stays there.
    """
    mean, spread, label, nats = DEFAULT.values()
    now = values(**DEFAULT)
    nodes, weights = quadrature()
    fill = {"mean": shown(mean, 2), "spread": shown(spread, 2), "label": label, "nats": shown(nats, 0)}
    fill |= {"at_mean": mean, "at_spread": spread, "at_nats": nats}
    fill |= {f"checked{label}": "checked", f"checked{1 - label}": ""}
    fill |= {name: shown(value) for name, value in now.items()}
    fill |= _figure(mean, spread, label, math.exp(now["log_qyx"]))
    fill |= {"nodes": json.dumps([nodes.tolist(), weights.tolist()]), "prior": repr(math.log1p(math.e))}
    fill |= {kind: (PARTS / f"instrument.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")}
    return Template(mathml.in_text((PARTS / "instrument.html").read_text(encoding="utf-8"))).substitute(fill)


def shown(value: float, digits: int | None = None) -> str:
    """A number as the page writes it: whole from 100 on, else with two decimals."""
    digits = (0 if abs(value) >= 100 else 2) if digits is None else digits
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def _figure(mean, spread, label, qyx):
    """The figure's parts: paths of q(u|x) and w q(u|x), of w, and where w = 1 and its largest value stand."""
    u = np.linspace(mean - 3 * spread, mean + 3 * spread, 61)
    w = 1 / (1 + np.exp((1 - 2 * label) * u)) / qyx
    density = np.exp(-(((u - mean) / spread) ** 2) / 2)
    largest, peak = w.max(), max(density.max(), (w * density).max())
    one = _up(1 / largest)
    paths = {"q": _path(u, density / peak), "wq": _path(u, w * density / peak), "w": _path(u, w / largest)}
    return paths | {"one": f"{one:.1f}", "top": shown(largest) if one - TOP > 14 else ""}


def _path(u, heights):
    return "M" + " L".join(f"{_across(a):.1f},{_up(b):.1f}" for a, b in zip(u, heights, strict=True))


def _across(u):
    return LEFT + (u + ENDS) / (2 * ENDS) * (RIGHT - LEFT)


def _up(share):
    return BASE - share * (BASE - TOP)
