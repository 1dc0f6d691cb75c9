"""The audit of the objective: value and gradient of both estimators, and who moves the encoder."""

import torch
from torch import Tensor

import mccvae_core as core

PARTS = ("encoder", "decoder", "classifier", "prior")


def _gradient(value: Tensor, model: core.MCCVAE, retain: bool = False) -> dict[str, Tensor]:
    """Gradient of a scalar, one float64 vector for each of PARTS; zeros where it does not reach."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    flat = torch.autograd.grad(value, parameters, retain_graph=retain, allow_unused=True)
    flat = [
        (torch.zeros_like(p) if g is None else g).cpu().double().flatten()
        for p, g in zip(parameters, flat, strict=True)
    ]
    return {
        part: torch.cat([g for name, g in zip(names, flat, strict=True) if name.startswith(part)]) for part in PARTS
    }


def _encoder_gradients(model: core.MCCVAE, x: Tensor, y: Tensor, b: Tensor, draws: int, seed: int) -> dict[str, Tensor]:
    """Mean gradient on the encoder, by rao-blackwell at alpha = 0, of -E[w log p(x|z)] (`reconstruction`), of the terms
    of z_style and z_c (`latents`) and of -log q(y|x) (`labels`); b (B,) as in `rao_blackwell_loss`."""
    mean = dict.fromkeys(("reconstruction", "latents", "labels"), 0.0)
    for d in range(draws):
        terms = core.ccvae_loss(model, x, y, core.BOUND, b, generator=torch.Generator(x.device).manual_seed(seed + d))
        pieces = (terms.reconstruction + terms.weighting, terms.kl_style + terms.characteristics, -terms.log_qyx)
        for name, piece in zip(mean, pieces, strict=True):
            mean[name] = mean[name] + _gradient(piece, model, retain=True)["encoder"] / draws
    return mean


def gradient_norms(
    model: core.MCCVAE, images: Tensor, labels: Tensor, *, draws: int = 4, seed: int = 0
) -> dict[str, float]:
    """Who moves the encoder: norms of its mean gradient that come from `reconstruction`, `latents` and `labels`, on one
    batch of uint8 images with all labels. At label weight alpha, in the open or hidden in `official`, the last weighs 1
    + alpha."""
    device = next(model.parameters()).device
    x, y = core.to_images(images, device), labels.float().to(device)
    pieces = _encoder_gradients(model, x, y, _expected_log_px(model, x), draws, seed)
    return {name: g.norm().item() for name, g in pieces.items()}


def gradient_audit(model: core.MCCVAE, images: Tensor, labels: Tensor, *, draws: int = 60, seed: int = 0) -> dict:
    """Both estimators' labelled loss and gradient over `draws` of the noise, on one batch of uint8 images with all
    labels.

    For each estimator: `loss`, `loss_sd`, means of `mean_weight` and `ess` (of LossTerms), and for each of PARTS `norm`
    of the mean gradient and `sd`, the root of the summed variances of its entries. `slope` and `r2`: least squares, on
    the encoder, of the difference of the two mean gradients on the gradient of -log q(y|x), without intercept: the
    label weight that `official` hides, to be held against `minus_f` (mean of -f, f as in `official_loss`)."""
    model.eval()
    device = next(model.parameters()).device
    x, y = core.to_images(images, device), labels.float().to(device)
    b = _expected_log_px(model, x)
    result, mean = {}, {}
    for estimator in core.ESTIMATORS:
        values, total, squares = [], dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
        for d in range(draws):
            terms = core.ccvae_loss(
                model, x, y, core.Objective(estimator), b, generator=torch.Generator(device).manual_seed(seed + d)
            )
            values.append(terms.values().cpu().double())
            for part, g in _gradient(terms.loss, model).items():
                total[part], squares[part] = total[part] + g, squares[part] + g**2
        values = torch.stack(values)
        term = dict(zip(core.LOSS_TERMS, values.mean(0).tolist(), strict=True))
        mean[estimator] = {part: total[part] / draws for part in PARTS}
        variance = {
            part: (squares[part] / draws - mean[estimator][part] ** 2).clamp(min=0) * draws / (draws - 1)
            for part in PARTS
        }
        result[estimator] = {
            **{name: term[name] for name in ("loss", "mean_weight", "ess")},
            "loss_sd": values[:, core.LOSS_TERMS.index("loss")].std().item(),
            "norm": {part: g.norm().item() for part, g in mean[estimator].items()},
            "sd": {part: v.sum().sqrt().item() for part, v in variance.items()},
        }
        if estimator == "official":
            result["minus_f"] = sum(term[name] for name in ("reconstruction", "kl_style", "characteristics", "log_qyz"))
    hidden = _encoder_gradients(model, x, y, b, 1, seed)["labels"]  # integrated: any draw gives the same
    difference = mean["official"]["encoder"] - mean["rao-blackwell"]["encoder"]
    slope = (hidden @ difference / (hidden @ hidden)).item()
    result["slope"], result["r2"] = (
        slope,
        (1 - ((difference - slope * hidden) ** 2).sum() / (difference**2).sum()).item(),
    )
    return result


@torch.no_grad()
def _expected_log_px(model: core.MCCVAE, x: Tensor, draws: int = 8) -> Tensor:
    """E log p(x|z) of each image, (B,), from draws of their own: a control variate."""
    q, noise = model.encode(x), torch.Generator(x.device).manual_seed(1_000)
    z = (q.loc + q.scale * torch.randn(q.loc.shape, generator=noise, device=x.device) for _ in range(draws))
    return torch.stack([model.log_px(x, z_d) for z_d in z]).mean(0)
