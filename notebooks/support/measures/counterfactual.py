"""Counterfactual pictures measured as others define it, for any method that reconstructs and intervenes.

    composition    L1 distance from the image after some cycles of encode and decode without an intervention.
    effectiveness  F1 and accuracy of a judge on the labels that were intervened on.
    minimality     counterfactual latent divergence (CLD): has no more changed than the intervention asks for?
    realism        kernel inception distance (KID) of the counterfactuals from real images.

Composition and effectiveness: Monteiro et al., "Measuring axiomatic soundness of counterfactual image models", ICLR
2023. CLD: Sanchez & Tsaftaris, "Diffusion causal models for counterfactual estimation", CLeaR 2022. All four with these
distances: Melistas et al., "Benchmarking counterfactual image generation", NeurIPS 2024. They have networks of their
own behind CLD and realism; here a VAE and a judge of this project stand there, so none of their numbers belongs in
the same column.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import mccvae_core as core

from .block_effects import Move, block_path
from .blocks import block_coordinates

CYCLES = (1, 10)
WEIGHTS = (0.8, 0.2)  # of the two shares in CLD, as in the code of Melistas et al.
BATCH = 256


@dataclasses.dataclass(frozen=True)
class Method:
    """What makes counterfactuals; images are float (N, *image_shape) in [0, 1].

    reconstruct(images) -> images: encode and decode, no label changed.
    intervene(images, towards) -> images: towards gives the value, 0 or 1, that each label to change shall take.
    """

    reconstruct: Callable[[Tensor], Tensor]
    intervene: Callable[[Tensor, dict[int, int]], Tensor]


def walk_method(model: core.MCCVAE) -> Method:
    """A model as a method: posterior means decoded; an intervention is the far end of `mccvae_core.latent_walk`, whole
    blocks moved."""

    def reconstruct(images):
        return model.decode(model.encode(images).loc)

    def intervene(images, towards):
        return core.latent_walk(model, model.encode(images).loc, towards, steps=2).images[-1]

    return Method(torch.no_grad()(reconstruct), torch.no_grad()(intervene))


def along_method(model: core.MCCVAE, spread: float = 2.0) -> Method:
    """The same, where an intervention moves each label's block along w alone, to `spread` standard deviations on the
    side of the value asked for; what lies across it stays."""
    of_labels = [block_coordinates(model, label) for label in range(model.config.labels)]

    def intervene(images, towards):
        z = model.encode(images).loc
        for label, value in towards.items():
            z = block_path(model, of_labels[label], z, Move("along", spread=spread))[int(value)]
        return model.decode(z)

    return Method(walk_method(model).reconstruct, torch.no_grad()(intervene))


# --- interventions ----------------------------------------------------------------------------------------------


def flipped(labels: Tensor, label: int) -> Tensor:
    """Target labels (N, L) for labels (N, L) of 0 and 1 that can all be on: one label turned into its opposite."""
    targets = labels.clone()
    targets[:, label] = 1 - targets[:, label]
    return targets


def flipped_by_turns(labels: Tensor) -> Tensor:
    """Target labels (N, L) for labels (N, L) that can all be on: of image n the label n mod L is flipped."""
    number = torch.arange(len(labels))
    targets, label = labels.clone(), number % labels.shape[1]
    targets[number, label] = 1 - targets[number, label]
    return targets


def another_class(labels: Tensor, *, seed: int = 0) -> Tensor:
    """Target labels (N, L) for labels that exclude one another: a random other class for each image.

    Raises ValueError where an image has not exactly one label."""
    if not (labels.sum(1) == 1).all():
        raise ValueError("these labels don't exclude one another; use `flipped`")
    count = labels.shape[1]
    noise = torch.Generator().manual_seed(seed)
    step = torch.randint(1, count, (len(labels),), generator=noise)
    return torch.nn.functional.one_hot((labels.argmax(1) + step) % count, count).to(labels.dtype)


def counterfactuals(method: Method, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """What the method makes of images (N, *image_shape) when their labels (N, L) are turned into targets (N, L).

    Images with the same change go together; where nothing changes, it is the reconstruction."""
    changes, group = (targets.long() - labels.long()).unique(dim=0, return_inverse=True)
    made = torch.empty_like(images)
    for number, change in enumerate(changes):
        towards = {int(i): int(change[i] > 0) for i in change.nonzero().flatten()}
        for index in torch.nonzero(group == number).flatten().split(BATCH):
            mine = images[index]
            made[index] = method.intervene(mine, towards) if towards else method.reconstruct(mine)
    return made


# --- the four measures ------------------------------------------------------------------------------------------


def composition(reconstruct: Callable[[Tensor], Tensor], images: Tensor, cycles=CYCLES) -> dict[int, float]:
    """L1 after each of so many cycles: mean absolute difference of a pixel, in [0, 1], between images
    (N, *image_shape) in [0, 1] and what repeated reconstruction makes of them. 0 is best."""
    totals = dict.fromkeys(cycles, 0.0)
    for batch in images.split(BATCH):
        now = batch
        for cycle in range(1, max(cycles) + 1):
            now = reconstruct(now)
            if cycle in totals:
                totals[cycle] += (now - batch).abs().double().sum().item()
    return {cycle: total / images.numel() for cycle, total in totals.items()}


def effectiveness(probabilities: Tensor, labels: Tensor, targets: Tensor) -> dict[str, float]:
    """A judge's reading (N, L) of counterfactuals, against the labels (N, L) they had and the targets (N, L) they have.

    f1: F1 of the reading, threshold 1/2, on the images in which a label was intervened on, mean over the labels that
    were turned on at least once. accuracy: share of the intervened labels that read as asked for. kept: share of the
    other labels that read as the image's own. 1 is best for all three; NaN where there is nothing to count.
    """
    read, changed = probabilities > 0.5, labels.bool() != targets.bool()
    right = read == targets.bool()
    scores = []
    for label in torch.nonzero(changed.any(0)).flatten().tolist():
        mine = changed[:, label]
        asked = targets[mine, label].numpy()
        if asked.any():
            scores.append(f1_score(asked, read[mine, label].numpy(), zero_division=0.0))
    return {
        "f1": float(np.mean(scores)) if scores else math.nan,
        "accuracy": right[changed].double().mean().item(),
        "kept": right[~changed].double().mean().item(),
    }


def minimality(
    factual: Normal, made: Normal, labels: Tensor, targets: Tensor, reference: tuple[Normal, Tensor], weights=WEIGHTS
) -> dict[str, float]:
    """Counterfactual latent divergence, means over images; the lower the better.

    Let d = KL(q(z|x*) || q(z|x)) be the divergence of a counterfactual x* from its image x. Reference images r have
    divergences KL(q(z|r) || q(z|x)); S_x are those of the r with x's values of the intervened labels, S_x* those of the
    r with x*'s. Then

        CLD = log(w_1 exp P(S_x* <= d) + w_2 exp P(S_x >= d)).

    nearer: P(S_x* <= d), the share of real images with the target labels that are at least as near to x as x* is; 0
    where less has changed than in any of them. further: P(S_x >= d), the share with x's own labels that are at least as
    far from x as x* is; 1 where nothing has changed.

    factual, made: Normals (N, Z). labels, targets (N, L). reference: Normal (M, Z) and labels (M, L). Images of whose
    labels or targets the reference has none don't count; `n` says how many do. Raises ValueError where none is left.
    """
    codes, known = reference
    shares = []
    for i, changed in enumerate(labels != targets):
        same, other = ((known == wanted[i])[:, changed].all(1) for wanted in (labels, targets))
        if not (same.any() and other.any()):
            continue
        image = Normal(factual.loc[i], factual.scale[i], validate_args=False)
        d = kl_divergence(Normal(made.loc[i], made.scale[i], validate_args=False), image).sum()
        others = kl_divergence(codes, image).sum(1)
        shares.append([(others[other] <= d).double().mean(), (others[same] >= d).double().mean()])
    if not shares:
        raise ValueError("no reference image has the labels, or the targets, of any image; give more reference images")
    nearer, further = torch.tensor(shares, dtype=torch.float64).T
    cld = (weights[0] * nearer.exp() + weights[1] * further.exp()).log()
    means = {"cld": cld, "nearer": nearer, "further": further}
    return {name: value.mean().item() for name, value in means.items()} | {"n": len(shares)}


def posterior_means(model: core.VAE, images: Tensor) -> Normal:
    """Normals (N, Z) at the means of q(z|x) with unit variance, for images (N, *image_shape) in [0, 1]: with them the
    divergence of `minimality` is half the squared distance of two posterior means."""
    with torch.no_grad():
        means = torch.cat([model.encode(batch).loc for batch in images.split(BATCH)]).cpu()
    return Normal(means, torch.ones_like(means), validate_args=False)


def realism(real: Tensor, made: Tensor) -> float:
    """KID (Binkowski et al. 2018) of features (M, n) of pictures from those of real images (N, n).

    It is the unbiased squared maximum mean discrepancy under the kernel (x.y / n + 1)^3, over all pairs, with features
    in units of the real ones' spread. 0 in expectation, and at times below it, for two samples of one distribution.
    Ours because torchmetrics takes as many pictures as real images, or random subsets.
    """
    scale, n = real.double().std(), real.shape[1]
    x, y = real.double() / scale, made.double() / scale
    kernel = lambda a, b: (a @ b.T / n + 1) ** 3  # noqa: E731
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    return (sum(within) - 2 * kernel(x, y).mean()).item()


def counterfactual_scores(
    method: Method,
    images: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    reader: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], Normal],
    reference: tuple[Tensor, Tensor],
) -> dict[str, float]:
    """All four measures of a method, on images (N, *image_shape) in [0, 1] with labels (N, L) turned into targets.

    reader: probabilities (N, L); features: (N, n); encode: Normal (N, Z); each of images in [0, 1]. reference: real
    images in [0, 1] that are none of these, and their labels, for minimality and realism.
    """
    made = counterfactuals(method, images, labels, targets)
    real, known = reference
    l1 = composition(method.reconstruct, images)
    least = minimality(encode(images), encode(made), labels, targets, (encode(real), known))
    return (
        {"n": len(images)}
        | {f"composition_{cycles}": value for cycles, value in l1.items()}
        | effectiveness(reader(made), labels, targets)
        | {("minimality_n" if name == "n" else name): value for name, value in least.items()}
        | {"kid": realism(features(real), features(made))}
    )
