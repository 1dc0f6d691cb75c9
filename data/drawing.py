"""Antialiased shapes on many small pictures at once, for the drawn stand-ins.

Coordinates run from -1 (left, top) to 1 (right, bottom). Every size, place and colour is one number, or one for each
picture, (n,); colours of an RGB picture are (3,) or (n, 3). Edges are `soft` wide, by default two pixels.
"""

import numpy as np
import torch

from .common import Split


class Canvas:
    """n pictures, painted from back to front. Each shape returns its mask (n, side, side) in [0, 1], for clipping others."""

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
            -1, 1, 1, channels if colour.size % channels == 0 and (colour.ndim == 2 or channels == 1 or colour.size == channels) else 1
        )
        mask = np.asarray(mask, dtype=np.float32)[..., None]
        self.pixels += mask * (colour - self.pixels)

    def _paint(self, distance, colour, soft, alpha, clip):
        """Fill where distance < 0, fading over `soft` around 0."""
        mask = np.clip(0.5 - distance / (self.edge if soft is None else soft), 0, 1)
        mask = mask if clip is None else mask * clip
        self.fill(colour, mask * self._each(alpha))
        return mask

    def ellipse(self, x, y, rx, ry, colour, *, soft=None, alpha=1.0, clip=None):
        """Filled ellipse with radii rx and ry about (x, y)."""
        rx, ry = self._each(rx), self._each(ry)
        r = np.hypot((self.x - self._each(x)) / rx, (self.y - self._each(y)) / ry)
        return self._paint((r - 1) * np.minimum(rx, ry), colour, soft, alpha, clip)

    def ring(self, x, y, rx, ry, width, colour, *, alpha=1.0):
        """Outline, `width` thick, of an ellipse."""
        rx, ry = self._each(rx), self._each(ry)
        r = np.hypot((self.x - self._each(x)) / rx, (self.y - self._each(y)) / ry)
        return self._paint(np.abs((r - 1) * np.minimum(rx, ry)) - self._each(width) / 2, colour, None, alpha, None)

    def arc(self, x, y, half_width, rise, width, colour, *, alpha=1.0, clip=None):
        """Stroke from (x - half_width, y) to (x + half_width, y) whose middle lies `rise` below (above, where negative)."""
        t = (self.x - self._each(x)) / self._each(half_width)
        distance = np.abs(self.y - self._each(y) - self._each(rise) * (1 - t**2)) - self._each(width) / 2
        outside = (np.abs(t) - 1) * self._each(half_width)
        return self._paint(np.maximum(distance, outside), colour, None, alpha, clip)

    def box(self, x, y, half_width, half_height, colour, *, alpha=1.0, clip=None):
        """Filled rectangle about (x, y)."""
        distance = np.maximum(
            np.abs(self.x - self._each(x)) - self._each(half_width), np.abs(self.y - self._each(y)) - self._each(half_height)
        )
        return self._paint(distance, colour, None, alpha, clip)

    def uint8(self) -> np.ndarray:
        """The pictures, (n, side, side, channels)."""
        return np.round(np.clip(self.pixels, 0, 1) * 255).astype(np.uint8)


def split_drawn(images: torch.Tensor, labels: torch.Tensor, name: str) -> tuple[Split, Split, Split]:
    """Train, validation and test: five sevenths and a seventh each. Drawn pictures are independent, so in their order."""
    n = len(images)
    everything = Split(images, labels, np.array([f"{name} {i}" for i in range(n)]))
    first, second = n - 2 * (n // 7), n - n // 7
    return everything.take(range(first)), everything.take(range(first, second)), everything.take(range(second, n))
