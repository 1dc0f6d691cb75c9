"""What several readers see when a label's block moves, so that a score can say how much it depends on its judge.

`block_effects` has the moves; here each end is decoded once and read by all. A reader takes images (N, *image_shape)
in [0, 1] to log-odds (N, T): of the model's L labels first, then of further attributes that no model was trained on.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

import mccvae_core as core

from .block_effects import BATCH, MOVES, Move, block_path, moves_of
from .blocks import BlockCoordinates

Reader = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Change:
    """What one move changes from its lower to its upper end, by J readers: means over the starts.

    rise, change (J, T): of the probabilities, with and without its sign. log_odds (J, T): absolute change of the
    log-odds. pixels: absolute change of the image, in [0, 1]. lighter, moved (H, W): change of each pixel, with and
    without its sign. measured (Q,): absolute change of what `measure` takes from an image.
    rises, odds (J, N, T): change of probabilities and log-odds from each start, with its sign; None for several moves.
    """

    rise: np.ndarray
    change: np.ndarray
    log_odds: np.ndarray
    pixels: np.ndarray
    lighter: np.ndarray
    moved: np.ndarray
    measured: np.ndarray
    rises: np.ndarray | None = None
    odds: np.ndarray | None = None


@torch.no_grad()
def change_of(
    model: core.MCCVAE,
    coordinates: BlockCoordinates,
    z: Tensor,
    move: Move,
    readers: Sequence[Reader],
    measure: Callable[[Tensor], np.ndarray] | None = None,
) -> Change:
    """The change that a move makes from the starts z (N, Z). measure: images -> (N, Q), numbers of each picture."""
    low, high = (decode(model, end) for end in block_path(model, coordinates, z, move))
    odds = [[reader(images).detach().cpu().double() for images in (low, high)] for reader in readers]
    differences = [up.sigmoid() - down.sigmoid() for down, up in odds]
    rises, changed = (np.stack([d.numpy() for d in each]) for each in (differences, [up - down for down, up in odds]))
    pixels = (high - low).mean(1).double().numpy()
    return Change(
        rise=rises.mean(1),
        change=np.abs(rises).mean(1),
        log_odds=np.abs(changed).mean(1),
        pixels=np.float64((high - low).abs().double().mean().item()),
        lighter=pixels.mean(0),
        moved=np.abs(pixels).mean(0),
        measured=np.abs(measure(high) - measure(low)).mean(0) if measure else np.zeros(0),
        rises=rises,
        odds=changed,
    )


def decode(model: core.MCCVAE, z: Tensor) -> Tensor:
    """Images (N, *image_shape) in [0, 1], on the CPU, of latents (N, Z)."""
    return torch.cat([model.decode(part).cpu() for part in z.split(BATCH)])


def changes_of_block(
    model: core.MCCVAE,
    coordinates: BlockCoordinates,
    z: Tensor,
    readers: Sequence[Reader],
    measure: Callable[[Tensor], np.ndarray] | None = None,
) -> dict[str, list[Change]]:
    """All moves of a block by their kind; of a block with one latent along and whole, since nothing lies across it and
    its single latent is the whole block. Single latents, which decide nothing, are read by the first reader alone."""
    found = {}
    for kind in MOVES if coordinates.size > 1 else ("along", "whole"):
        mine = readers[:1] if kind == "single" else readers
        found[kind] = [change_of(model, coordinates, z, move, mine, measure) for move in moves_of(coordinates, kind)]
    return found


def together(changes: list[Change]) -> Change:
    """One change for all moves of a kind: the root of the mean square, which no turn of the basis across changes; of a
    single move that itself, with its signs."""
    if len(changes) == 1:
        return changes[0]
    names = [field.name for field in dataclasses.fields(Change) if field.name not in ("rises", "odds")]
    return Change(**{name: np.sqrt(np.mean([getattr(c, name) ** 2 for c in changes], axis=0)) for name in names})


def own_share(change: np.ndarray, label: int, *, exclusive: bool) -> np.ndarray:
    """The own label's share of all changes (..., L) that a move of its block makes: 0 for an even share, 1 for the
    most.

    The most is all, or half where labels exclude one another, since what one gains the others lose. NaN where nothing
    changes, and where the even share is already the most.
    """
    even, most = 1 / change.shape[-1], 0.5 if exclusive else 1.0
    total = change.sum(-1)
    if even >= most:
        return np.full(np.shape(total), math.nan)
    share = np.divide(change[..., label], total, out=np.full(np.shape(total), math.nan), where=total > 0)
    return (share - even) / (most - even)


def along_share(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """along / (along + across), 1 where one variable does all the work; NaN where neither does any."""
    total = np.asarray(along + across, dtype=float)
    return np.divide(along, total, out=np.full(total.shape, math.nan), where=total > 0)
