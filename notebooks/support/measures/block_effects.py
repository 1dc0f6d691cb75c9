"""What a move of a label's block changes in the picture: walks, effects and swaps along w, across it and of all of it.

`blocks` has the coordinates. Four kinds of move; the rest of z stays as encoded:

    along    a goes from -spread to +spread standard deviations.
    across   one coordinate of the Sigma-orthonormal basis does; there are k - 1 of these moves.
    whole    all latents of the block go over `mccvae_core.characteristic_range` together, as in the paper's figures.
    single   one latent does; there are k of these moves.

`along` and `across` do not depend on how the block's latents are turned; `whole` and `single` do.
A reader is any function that takes images (N, *image_shape) in [0, 1] to probabilities (N, L) of the labels.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import mccvae_core as core

from .blocks import BlockCoordinates, block_coordinates

MOVES = ("along", "across", "whole", "single")
PARTS = ("along", "across", "whole")  # of a block, as they are swapped
BATCH = 256

Reader = Callable[[Tensor], Tensor]


def own_reading(model: core.MCCVAE) -> Reader:
    """The reader that encodes a picture again: q(y_i = 1|z_c) at the mean of q(z|x)."""

    @torch.no_grad()
    def read(images: Tensor) -> Tensor:
        codes = torch.cat([model.encode(batch).loc for batch in images.split(BATCH)])
        return model.label_logits(model.split(codes)[0]).sigmoid()

    return read


@dataclasses.dataclass(frozen=True)
class Move:
    """A move of a block: its kind (MOVES), which of that kind, from 0, and how far to each side in standard deviations.

    Raises ValueError for another kind and for a spread that is not above 0."""

    kind: str
    number: int = 0
    spread: float = 2.0

    def __post_init__(self):
        if self.kind not in MOVES:
            raise ValueError(f"a move must be one of {MOVES}, not {self.kind!r}")
        if not self.spread > 0:
            raise ValueError(f"spread must be above 0, not {self.spread}")


def moves_of(coordinates: BlockCoordinates, kind: str, spread: float = 2.0) -> list[Move]:
    """All moves of one kind that a block has: k - 1 across, k of single latents, one of any other kind."""
    count = {"across": coordinates.size - 1, "single": coordinates.size}.get(kind, 1)
    return [Move(kind, number, spread) for number in range(count)]


def block_path(model: core.MCCVAE, coordinates: BlockCoordinates, z: Tensor, move: Move, steps: int = 2) -> Tensor:
    """z (..., Z) on its way in equal steps from the lower to the upper end of a move, (steps, ..., Z).

    Raises ValueError for a move that the block does not have, for fewer than two steps, and for z that is not the
    model's."""
    count = len(moves_of(coordinates, move.kind))
    if not 0 <= move.number < count:
        about = f"label {coordinates.label} has {count} moves of the kind {move.kind!r}"
        raise ValueError(f"{about}, counted from 0; there is no number {move.number}")
    if steps < 2:
        raise ValueError(f"steps must be 2 or more, not {steps}")
    _check_latents(model, z)
    path, latents = z.expand(steps, *z.shape).clone(), list(coordinates.latents)
    t = torch.linspace(0, 1, steps, dtype=torch.float64).reshape(-1, *[1] * (z.ndim - 1))
    if move.kind in ("whole", "single"):
        for latent in latents if move.kind == "whole" else [latents[move.number]]:
            low, high = core.characteristic_range(model, latent, move.spread)
            path[..., latent] = (low + (high - low) * t).to(z)
        return path
    block = z[..., latents].cpu().double()
    a, r = coordinates.decompose(block)
    if move.kind == "along":
        now, direction = a, coordinates.along
    else:
        now, direction = coordinates.across_coordinates(r)[..., move.number], coordinates.across[:, move.number]
    target = move.spread * (2 * t - 1)
    path[..., latents] = (block + (target - now)[..., None] * direction).to(z)
    return path


@torch.no_grad()
def block_walk(model: core.MCCVAE, coordinates: BlockCoordinates, z: Tensor, move: Move, steps: int = 7) -> core.Walk:
    """The walk of `block_path` from the starts z (..., Z), with the shapes of `mccvae_core.Walk`: z, its images, the
    model's reading of z (which knows no picture), and its reading of each picture when that is encoded again."""
    path = block_path(model, coordinates, z, move, steps)
    images = _decode(model, path.reshape(-1, path.shape[-1]))
    probabilities = model.label_logits(model.split(path)[0]).sigmoid()
    reencoded = own_reading(model)(images).unflatten(0, path.shape[:-1])
    return core.Walk(path, images.unflatten(0, path.shape[:-1]), probabilities, reencoded)


@torch.no_grad()
def order_across(model: core.MCCVAE, coordinates: BlockCoordinates, z: Tensor) -> BlockCoordinates:
    """The coordinates with the basis across that the pixels choose, the direction that changes most of them first.

    With J the decoder's derivative at each start of z (N, Z), the basis diagonalises the mean of (J E)'(J E) over the
    starts. So it does not depend on how the latents are turned (where eigenvalues differ), and what is measured along
    it does not either. Each direction points to where the picture gets lighter.
    """
    _check_starts(model, z)
    if coordinates.size == 1:
        return coordinates
    directions = torch.zeros(coordinates.size - 1, z.shape[1], dtype=z.dtype, device=z.device)
    directions[:, list(coordinates.latents)] = coordinates.across.T.to(z)
    gram, light = 0.0, 0.0
    for start in z.split(BATCH):
        slopes = torch.stack([_slope(model, start, direction) for direction in directions])
        gram, light = gram + slopes @ slopes.T, light + slopes.sum(1)
    turn = torch.linalg.eigh(gram).eigenvectors.flip(1)  # eigenvalues come in ascending order
    return coordinates.turned(turn * torch.where(light @ turn < 0, -1.0, 1.0))


def _slope(model: core.MCCVAE, z: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the images of z (N, Z) in a direction (Z,), all in one row: by a central difference, whose step
    balances rounding against curvature."""
    step = torch.finfo(z.dtype).eps ** (1 / 3)
    ahead, behind = (model.decode(z + sign * step * direction).flatten().cpu().double() for sign in (1, -1))
    return (ahead - behind) / (2 * step)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockEffects:
    """What the moves of one label's block change, as means over the starts, by the kind of move (MOVES).

    labels[kind] (moves, L): absolute change of the reader's probabilities from end to end. pixels[kind] (moves,):
    absolute change of the image, in [0, 1]. Moves across are in the order of `order_across`.
    """

    label: int
    labels: dict[str, np.ndarray]
    pixels: dict[str, np.ndarray]

    def score(self, kind: str) -> tuple[np.ndarray, float]:
        """Labels (L,) and pixels of one kind: the root of the mean square over its moves; NaN where there is none."""
        labels, pixels = self.labels[kind], self.pixels[kind]
        if len(pixels) == 0:
            return np.full(labels.shape[1], math.nan), math.nan
        return np.sqrt((labels**2).mean(0)), float(np.sqrt((pixels**2).mean()))

    def effective(self, on: str = "label") -> dict[str, float]:
        """`effective_number` of the variables that change the own label (on = "label") or the picture (on = "pixels").

        own: of those along and across. single: of single latents. Raises ValueError for another `on`."""
        if on not in ("label", "pixels"):
            raise ValueError(f"on must be 'label' or 'pixels', not {on!r}")
        changes = self.pixels
        if on == "label":
            changes = {kind: rows[:, self.label] for kind, rows in self.labels.items()}
        own = np.concatenate([changes["along"], changes["across"]])
        return {"own": effective_number(own), "single": effective_number(changes["single"])}


def effective_number(effects: np.ndarray) -> float:
    """How many variables do the work: exp(entropy of the shares) of effects (k,), none below 0.

    1: one does it all, the paper's "one variable"; k: an even split. NaN where there is no effect."""
    effects = np.asarray(effects, dtype=float)
    if effects.sum() == 0:
        return math.nan
    shares = effects[effects > 0] / effects.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def block_effects(model: core.MCCVAE, z: Tensor, label: int, reader: Reader, *, spread: float = 2.0) -> BlockEffects:
    """The effects of all moves of a label's block from the starts z (N, Z).

    Raises ValueError for a label that the model lacks, for z that is not the model's, and for a reader whose answer is
    not (N, L)."""
    coordinates = order_across(model, block_coordinates(model, label), z)
    labels, pixels = {}, {}
    for kind in MOVES:
        moves = moves_of(coordinates, kind, spread)
        changes = [_change(model, block_path(model, coordinates, z, move), reader) for move in moves]
        labels[kind] = np.array([on_labels for on_labels, _ in changes]).reshape(len(moves), model.config.labels)
        pixels[kind] = np.array([on_pixels for _, on_pixels in changes])
    return BlockEffects(label, labels, pixels)


def effect_matrix(effects: list[BlockEffects], kind: str) -> np.ndarray:
    """(L, L): row i is what moving the block of label i changes in each label's probability, `BlockEffects.score`.

    effects: those of all labels, in their order. Raises ValueError where they are not."""
    labels = effects[0].labels[kind].shape[1] if effects else 0
    got = [e.label for e in effects]
    if not got or got != list(range(labels)):
        raise ValueError(f"a matrix needs the effects of all {labels} labels in their order, not of the labels {got}")
    return np.stack([e.score(kind)[0] for e in effects])


def own_label_share(matrix: np.ndarray, *, exclusive: bool) -> float:
    """The moved label's share of all effects (L, L), "own label alone", from 0 for an even share to 1 for the most.

    The even share is 1 / L. The most there can be is all, and one half where labels exclude one another, since what
    one gains the others lose. NaN where nothing changes, and where the even share is already the most.
    """
    even, most = 1 / len(matrix), 0.5 if exclusive else 1.0
    if not matrix.sum() > 0 or even >= most:
        return math.nan
    return float((np.trace(matrix) / matrix.sum() - even) / (most - even))


def swap_part(coordinates: BlockCoordinates, z_a: Tensor, z_b: Tensor, part: str) -> Tensor:
    """z_a (..., Z) with part of a label's block as z_b (..., Z) has it: "along" takes a, "across" r, "whole" both.

    Raises ValueError for another part and for shapes that differ."""
    if part not in PARTS:
        raise ValueError(f"part must be one of {PARTS}, not {part!r}")
    if z_a.shape != z_b.shape:
        raise ValueError(f"z_a and z_b must have one shape, not {tuple(z_a.shape)} and {tuple(z_b.shape)}")
    latents = list(coordinates.latents)
    (a, r), (a_b, r_b) = (coordinates.decompose(z[..., latents]) for z in (z_a, z_b))
    block = coordinates.compose(a if part == "across" else a_b, r if part == "along" else r_b)
    swapped = z_a.clone()
    swapped[..., latents] = block.to(z_a)
    return swapped


@torch.no_grad()
def swap_effects(model: core.MCCVAE, z_a: Tensor, z_b: Tensor, label: int, reader: Reader) -> dict[str, dict]:
    """What the reader sees when one part of a label's block, each of PARTS, goes from images b into images a.

    z_a and z_b (N, Z). It is held against the reader's reading of the reconstructions of a and b, and only pairs count
    whose label it reads differently: `pairs` of them. taken: share of these whose label now reads as b's does. kept:
    share of their other labels that read as a's do. NaN without such a pair; kept also where there is no other label.
    """
    coordinates = block_coordinates(model, label)
    for z in (z_a, z_b):
        _check_starts(model, z)
    a, b = (_read(model, reader, _decode(model, z)) > 0.5 for z in (z_a, z_b))
    differ, others, scores = a[:, label] != b[:, label], np.arange(a.shape[1]) != label, {}
    for part in PARTS:
        c = _read(model, reader, _decode(model, swap_part(coordinates, z_a, z_b, part))) > 0.5
        taken, kept = (c == b)[differ, label], (c == a)[differ][:, others]
        shares = {name: float(v.mean()) if v.size else math.nan for name, v in (("taken", taken), ("kept", kept))}
        scores[part] = {"pairs": int(differ.sum())} | shares
    return scores


def intervention_effects(
    model: core.MCCVAE, z: Tensor, towards: dict[int, int], *, within: int | None = None
) -> dict[str, float]:
    """What a whole walk, end to end, changes, as means over the starts z (N, Z); see `core.latent_walk`.

    moved: rise of the re-encoded probability of the value walked to, mean over the moved labels, in [-1, 1].
    others: absolute change of the other labels' re-encoded probabilities.
    pixels: absolute change of the image, in [0, 1].
    """
    walk = core.latent_walk(model, z, towards, within=within, steps=2)
    change = walk.reencoded[1] - walk.reencoded[0]
    sign = torch.tensor([1.0 if value else -1.0 for value in towards.values()], device=z.device)
    others = [label for label in range(model.config.labels) if label not in towards]
    return {
        "moved": (change[:, list(towards)] * sign).mean().item(),
        "others": change[:, others].abs().mean().item(),
        "pixels": (walk.images[1] - walk.images[0]).abs().mean().item(),
    }


@torch.no_grad()
def _change(model: core.MCCVAE, ends: Tensor, reader: Reader) -> tuple[np.ndarray, float]:
    """Mean absolute change of the reader's probabilities (L,) and of the image, between two ends (2, N, Z)."""
    low, high = (_decode(model, z) for z in ends)
    labels = np.abs(_read(model, reader, high) - _read(model, reader, low)).mean(0)
    return labels, (high - low).abs().mean().item()


def _decode(model: core.MCCVAE, z: Tensor) -> Tensor:
    return torch.cat([model.decode(part) for part in z.split(BATCH)])


def _read(model: core.MCCVAE, reader: Reader, images: Tensor) -> np.ndarray:
    """The reader's probabilities (N, L) of images. Raises ValueError for another shape."""
    probabilities, shape = reader(images), (len(images), model.config.labels)
    if tuple(probabilities.shape) != shape:
        raise ValueError(f"the reader must return (N, L) = {shape} probabilities, not {tuple(probabilities.shape)}")
    return probabilities.detach().cpu().double().numpy()


def _check_latents(model: core.MCCVAE, z: Tensor) -> None:
    if z.ndim == 0 or z.shape[-1] != model.config.latent_dim:
        raise ValueError(f"z must be (..., {model.config.latent_dim}), the model's latents, not {tuple(z.shape)}")


def _check_starts(model: core.MCCVAE, z: Tensor) -> None:
    _check_latents(model, z)
    if z.ndim != 2 or len(z) == 0:
        raise ValueError(f"z must be (N, {model.config.latent_dim}) with at least one start, not {tuple(z.shape)}")
