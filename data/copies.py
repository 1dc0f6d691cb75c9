"""Copies of a picture, and what is nearly one: saved again with loss or at another size, a little brighter.

Two images are nearly copies where no 4x4 block's mean differs by more than FAR of 255 and blocks differ by NEAR in the
root of the mean
square. Candidates are each image's nearest ones along the set's principal components, so that a large set takes
seconds.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

NEAR, FAR = 5.0, 25.0  # of 255: JPEG at quality 50 or half the size stays below, two pictures of one kind do not
DIRECTIONS, NEIGHBOURS = 8, 5


def blocks(x: np.ndarray) -> np.ndarray:
    """Means of 4x4 blocks, less the image's mean brightness, of uint8 (N, 64, 64, 3): float32 (N, 768)."""
    n, side = len(x), x.shape[1] // 4
    means = np.stack([image.reshape(side, 4, side, 4, -1).mean((1, 3), dtype=np.float32) for image in x])
    return (means - means.mean((1, 2, 3), keepdims=True)).reshape(n, -1)


def near_pairs(x: np.ndarray) -> np.ndarray:
    """Pairs (P, 2) of positions of images that are nearly copies, of uint8 (N, 64, 64, 3)."""
    means = blocks(x)
    grey = means.reshape(len(x), -1, 3).mean(2)
    middle = grey.mean(0)
    axes = np.linalg.eigh(grey.T @ grey - len(x) * np.outer(middle, middle))[1][:, -DIRECTIONS:]
    places, reach = (
        grey @ axes,
        NEAR * np.sqrt(grey.shape[1]),
    )  # no farther than that in grey, and along fewer directions
    far, found = cKDTree(places).query(places, k=min(NEIGHBOURS + 1, len(x)), distance_upper_bound=reach)
    first = np.repeat(np.arange(len(x)), found.shape[1])[np.isfinite(far).ravel()]
    pairs = np.stack([first, found.ravel()[np.isfinite(far).ravel()]], 1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    plain = (means**2).mean(1) < (2 * NEAR) ** 2  # nearly black or of one colour: each is like every other
    kept = [i for i, (a, b) in enumerate(pairs) if not (plain[a] or plain[b]) and _is_near(means[a] - means[b])]
    return pairs[kept]


def _is_near(difference: np.ndarray) -> bool:
    return bool(np.abs(difference).max() <= FAR and np.sqrt((difference**2).mean()) <= NEAR)


def joined(pairs: np.ndarray, n: int) -> np.ndarray:
    """A number for each of n things, the same for those that a chain of pairs (P, 2) joins."""
    pairs = pairs.reshape(-1, 2)
    return connected_components(
        coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n)), directed=False
    )[1]


def alike(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers for each of uint8 (N, 64, 64, 3): the same for equal images, and for those that are nearly copies
    too."""
    pixels = np.ascontiguousarray(x).reshape(len(x), -1)
    first, same = np.unique(pixels.view(f"V{pixels.shape[1]}").ravel(), return_index=True, return_inverse=True)[1:]
    return same, joined(near_pairs(x[first]), len(first))[same]


def sets_of(number: np.ndarray) -> list[list[int]]:
    """Positions of the things that share a number with another, in order."""
    order = np.argsort(number, kind="stable")
    sets = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return sorted(group.tolist() for group in sets if len(group) > 1)
