"""Pictures drawn from known factors: numbers to draw from, antialiased shapes on many small pictures at once, data sets
of them.

Every factor is a number in [0, 1]. A part belongs to one label and shows only what that label says; style belongs to
none.

Coordinates run from -1 (left, top) to 1 (right, bottom). Every size, place and colour is one number, or one for each
picture, (n,); colours of an RGB picture are (3,) or (n, 3). Edges are `soft` wide, by default two pixels.
"""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from .common import Dataset, Split, resize
from .files import digest_arrays
from .tasks import Task

# ranges of a part under label 0 (nothing there, or little of it) and 1
ABSENT, LOW, HIGH = (0.0, 0.0), (0.0, 0.3), (0.6, 1.0)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """n pictures and their factors. images: uint8 (n, side, side[, 3]); labels: uint8 (n, L); parts, style: float32 (n,
    P), (n, S)."""

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    style: np.ndarray


# --- numbers to draw from ---------------------------------------------------------------------------------------


def uniforms(
    n: int, seed: int, code: int, widths: tuple[int, ...], keep: Callable[[np.ndarray], bool] | None = None
) -> list[np.ndarray]:
    """Uniform numbers in [0, 1), a block (n, width) for each of the widths.

    Picture i has a generator of its own, from seed, the drawing's code and i: it is the same for every n. All numbers
    of a picture that `keep` refuses are drawn again.
    """
    rows = np.empty((n, sum(widths)), dtype=np.float32)
    for i in range(n):
        rng = np.random.default_rng([seed, code, i])
        rows[i] = rng.random(rows.shape[1])
        while keep is not None and not keep(rows[i]):
            rows[i] = rng.random(rows.shape[1])
    return np.split(rows, np.cumsum(widths)[:-1], axis=1)


def correlate(labels: np.ndarray, shared: np.ndarray, copies: np.ndarray, correlation) -> np.ndarray:
    """Fair independent labels (n, L), bool, made such that any two have this correlation, one number or one a picture
    (n,).

    Each label takes the picture's fair bit, shared (n, 1) < 1/2, with probability sqrt(correlation), where its copies
    (n, L) says so: two do with probability `correlation`, and the rate of each stays 1/2.
    """
    return np.where(copies < np.sqrt(np.reshape(correlation, (-1, 1))), shared < 0.5, labels)


def owned(labels: np.ndarray, u: np.ndarray, owner: tuple[int, ...], under_0: list[tuple[float, float]]) -> np.ndarray:
    """Parts (n, P) from uniform u (n, P): in HIGH where the owning label is 1, in the label's range of `under_0` where
    it is 0."""
    low = np.array(under_0, dtype=np.float32)[list(owner)]  # (P, 2)
    start, end = np.moveaxis(np.where(labels[:, owner, None] == 1, np.float32(HIGH), low), -1, 0)
    return start + (end - start) * u


def named(names: tuple[str, ...], columns: np.ndarray) -> SimpleNamespace:
    """The columns of (n, len(names)) by name, each (n,)."""
    return SimpleNamespace(**dict(zip(names, columns.T, strict=True)))


def painted(
    paint: Callable, part_names: tuple[str, ...], parts: np.ndarray, style_names: tuple[str, ...], style: np.ndarray
) -> np.ndarray:
    """The pictures that `paint` makes of parts and style by name, a few at a time, which then stay in the processor's
    cache."""
    rows = [slice(start, start + 50) for start in range(0, len(parts), 50)]
    return np.concatenate([paint(named(part_names, parts[r]), named(style_names, style[r])) for r in rows])


# --- shapes -----------------------------------------------------------------------------------------------------


class Canvas:
    """n pictures, painted from back to front. Each shape returns its mask (n, side, side) in [0, 1], for clipping
    others."""

    def __init__(self, n: int, side: int, channels: int, background):
        self.pixels = np.zeros((n, side, side, channels), dtype=np.float32)
        self.pixels += np.asarray(background, dtype=np.float32).reshape(-1, 1, 1, channels)
        grid = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
        self.x, self.y = grid[None, None, :], grid[None, :, None]
        self.edge = 4 / side

    def _each(self, value):
        return np.asarray(value, dtype=np.float32).reshape(-1, 1, 1)

    def fill(self, colour, mask) -> None:
        """Paint where mask (n, side, side) is 1, half where it is 1/2."""
        colour = np.asarray(colour, dtype=np.float32)
        channels = self.pixels.shape[-1]
        colour = colour.reshape(
            -1,
            1,
            1,
            channels
            if colour.size % channels == 0 and (colour.ndim == 2 or channels == 1 or colour.size == channels)
            else 1,
        )
        mask = np.asarray(mask, dtype=np.float32)
        for channel in range(channels):  # five times as fast as all at once
            plane = self.pixels[..., channel]
            plane += mask * (colour[..., channel % colour.shape[-1]] - plane)

    def _paint(self, distance, colour, soft, alpha, clip):
        """Fill where distance < 0, fading over `soft` around 0."""
        mask = np.clip(0.5 - distance / (self.edge if soft is None else soft), 0, 1)
        mask = mask if clip is None else mask * clip
        self.fill(colour, mask * self._each(alpha))
        return mask

    def ellipse(self, x, y, rx, ry, colour, *, soft=None, alpha=1.0, clip=None):
        """Filled ellipse with radii rx and ry about (x, y)."""
        rx, ry = self._each(rx), self._each(ry)
        r = np.sqrt(((self.x - self._each(x)) / rx) ** 2 + ((self.y - self._each(y)) / ry) ** 2)
        return self._paint((r - 1) * np.minimum(rx, ry), colour, soft, alpha, clip)

    def ring(self, x, y, rx, ry, width, colour, *, alpha=1.0):
        """Outline, `width` thick, of an ellipse."""
        rx, ry = self._each(rx), self._each(ry)
        r = np.sqrt(((self.x - self._each(x)) / rx) ** 2 + ((self.y - self._each(y)) / ry) ** 2)
        return self._paint(np.abs((r - 1) * np.minimum(rx, ry)) - self._each(width) / 2, colour, None, alpha, None)

    def arc(self, x, y, half_width, rise, width, colour, *, alpha=1.0, clip=None):
        """Stroke from (x - half_width, y) to (x + half_width, y) whose middle lies `rise` below (above, where
        negative)."""
        t = (self.x - self._each(x)) / self._each(half_width)
        distance = np.abs(self.y - self._each(y) - self._each(rise) * (1 - t**2)) - self._each(width) / 2
        outside = (np.abs(t) - 1) * self._each(half_width)
        return self._paint(np.maximum(distance, outside), colour, None, alpha, clip)

    def line(self, x0, y0, x1, y1, width, colour):
        """Straight stroke from (x0, y0) to (x1, y1) with round ends."""
        x0, y0, x1, y1 = (self._each(v) for v in (x0, y0, x1, y1))
        dx, dy, x, y = x1 - x0, y1 - y0, self.x - x0, self.y - y0
        squared = np.maximum(dx**2 + dy**2, 1e-12)
        # how far the nearest point is, as a share of the stroke
        along = np.clip(x * (dx / squared) + y * (dy / squared), 0, 1)
        distance = np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2)
        return self._paint(distance - self._each(width) / 2, colour, None, 1.0, None)

    def box(self, x, y, half_width, half_height, colour, *, alpha=1.0, clip=None):
        """Filled rectangle about (x, y)."""
        distance = np.maximum(
            np.abs(self.x - self._each(x)) - self._each(half_width),
            np.abs(self.y - self._each(y)) - self._each(half_height),
        )
        return self._paint(distance, colour, None, alpha, clip)

    def uint8(self) -> np.ndarray:
        """The pictures, (n, side, side, channels)."""
        return np.round(np.clip(self.pixels, 0, 1) * 255).astype(np.uint8)


# --- data sets --------------------------------------------------------------------------------------------------


def bounds(n: int) -> tuple[int, int]:
    """Where validation and test begin: five sevenths, one and one. Drawn pictures are independent, so they stay in
    their order."""
    return n - 2 * (n // 7), n - n // 7


def not_in_test(correlation: float, n: int) -> np.ndarray:
    """A correlation for each of n pictures, (n,): 0 in the test part, which shows what a model does when the
    correlation is broken."""
    return np.where(np.arange(n) < bounds(n)[1], correlation, 0.0)


def split_drawn(images: torch.Tensor, drawing: Drawing, name: str) -> tuple[Split, Split, Split]:
    """Train, validation and test of a drawing whose images have the task's size."""
    n = len(images)
    names = np.array([f"{name} {i}" for i in range(n)])
    labels, parts, style = map(torch.from_numpy, (drawing.labels, drawing.parts, drawing.style))
    everything = Split(images, labels, names, parts, style)
    first, second = bounds(n)
    return everything.take(range(first)), everything.take(range(first, second)), everything.take(range(second, n))


def drawn_dataset(
    task: Task, source: str, stand_in: bool, drawing: Drawing, parts: dict[str, tuple[str, ...]],
    style_names: tuple[str, ...],
    description: str, name: str, correlation: float = 0.0,
) -> Dataset:  # fmt: skip
    """The data set of a drawing. parts: label -> names of the parts that it owns, in the order of the drawing's
    columns."""
    if correlation:
        description += f"; any two labels have correlation {correlation:g} in training and validation, none in test"
    return Dataset(
        task,
        source,
        stand_in,
        tuple(parts),
        description,
        *split_drawn(resize(drawing.images, task.image_shape), drawing, name),
        digest_arrays(drawing.images, drawing.labels, drawing.parts, drawing.style),
        *owners(parts),
        style_names,
    )


def owners(parts: dict[str, tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of all parts in order, and for each the position of its label."""
    pairs = [(part, position) for position, mine in enumerate(parts.values()) for part in mine]
    return tuple(part for part, _ in pairs), tuple(position for _, position in pairs)
