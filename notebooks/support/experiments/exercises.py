"""Checks for the exercises of the data-set notebooks. A check says right or not yet; no answer stops a notebook."""

import copy
import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

import mccvae_core as core

from ..show.markup import markdown

CLOSE = 1e-3  # of a logit, a latent or, as a share, a weight


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a check says of an answer; a notebook shows it as a sentence."""

    right: bool
    why: str

    def _repr_markdown_(self) -> str:
        return f"**{'Right' if self.right else 'Not yet'}.** {markdown(self.why)}"


def _check(function: Callable[..., tuple[bool, str]]) -> Callable[..., Checked]:
    """Of an answer that can't be used, whatever it is, the check says why, and that it is not right yet."""

    @functools.wraps(function)
    @torch.no_grad()
    def checked(*arguments) -> Checked:
        try:
            return Checked(*function(*arguments))
        except Exception as error:  # an answer may be anything
            return Checked(False, f"The answer can't be used ({type(error).__name__}: {error}).")

    return checked


def with_blocks(trained: core.VAE, untrained: core.MCCVAE, label: int) -> core.MCCVAE:
    """A copy on the CPU of the trained model, or of the untrained where that has no block of several latents."""
    has_block = isinstance(trained, core.MCCVAE) and not trained.categorical and len(core.block_of(trained, label)) > 1
    return copy.deepcopy(trained if has_block else untrained).cpu().eval()


@_check
def steps(model: core.MCCVAE, label: int, z: Tensor, raises: list, leaves: list) -> tuple[bool, str]:
    """Two steps of a label's block, k numbers each: `raises` must raise its logit by 1, `leaves` by 0."""
    latents, start, said = core.block_of(model, label), model.decode(z), []
    changes = []
    for name, step in (("raises", raises), ("leaves", leaves)):
        step = torch.as_tensor(step, dtype=z.dtype)
        if step.shape != (len(latents),):
            return False, f"{name} needs {len(latents)} numbers, one for each latent of the block."
        moved = z.clone()
        moved[..., latents] += step
        logit = (step * model.classifier_weight[latents]).sum().item()
        pixels = (model.decode(moved) - start).abs().mean().item()
        changes.append(logit)
        said.append(f"{name} changes the logit by {logit:.3f} and a pixel by {pixels:.4f} on average")
    right = abs(changes[0] - 1) < CLOSE and abs(changes[1]) < CLOSE and torch.as_tensor(leaves).abs().max().item() > 0.1
    seen = "The picture changes across w too, and the label's classifier cannot see it."
    asked = "The logit must change by 1 and by 0, and leaves must not be zero itself."
    return right, f"{'; '.join(said)}. {seen if right else asked}"


@_check
def weights(w: Tensor, log_qyz: Tensor, log_qyx: Tensor) -> tuple[bool, str]:
    """w (K, B) must be q(y|z_c) / q(y|x), from log q(y|z_c) (K, B) of K draws and log q(y|x) (B,)."""
    true = (log_qyz - log_qyx).exp()
    if tuple(w.shape) != tuple(true.shape):
        return False, f"w needs the shape {tuple(true.shape)}, one number per draw and image, not {tuple(w.shape)}."
    mean, error = w.mean().item(), (w.mean(1).std() / len(w) ** 0.5).item()
    if not torch.allclose(w.to(true), true, rtol=CLOSE):
        return (
            False,
            f"The mean of this w is {mean:.3f}. Both tensors hold logarithms; the mean of the right w is near 1.",
        )
    share = (true.sum(0) ** 2 / (true**2).sum(0)).mean().item() / len(true)
    told = f"The mean of w is {mean:.3f} ± {error:.3f}."
    return True, f"{told} Unequal weights leave {share:.0%} of the draws effective."


@_check
def swap(model: core.MCCVAE, label: int, z: tuple[Tensor, Tensor], swapped: tuple[Tensor, Tensor]) -> tuple[bool, str]:
    """`swapped` must be z_a and z_b (Z,) with the label's block exchanged, and nothing else."""
    wanted = core.swap_characteristics(model, *z, [label])
    for name, mine, theirs in zip("ab", swapped, wanted, strict=True):
        if mine.shape != theirs.shape:
            return False, f"{name} needs {len(theirs)} latents, not {tuple(mine.shape)}."
        if wrong := int((~((mine - theirs).abs() <= CLOSE)).sum()):  # NaN is wrong too
            return False, f"{wrong} of the {len(theirs)} latents of {name} are not as they should be."
    codes = torch.stack([z[0], wanted[0]])
    codes = torch.cat([codes, model.encode(model.decode(codes)).loc])
    before, after, _, again = model.label_logits(model.split(codes)[0]).sigmoid()[:, label].tolist()
    told = f"The latents of a gave the label {before:.2f} and now give {after:.2f}"
    return True, f"{told}; its new picture, encoded again, gives {again:.2f}. A classifier of latents sees no picture."
