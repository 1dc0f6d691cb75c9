"""Copies of a picture, and what is nearly one: saved again with loss or at another size, a little brighter.

Two images are nearly copies where no 4x4 block's mean differs by more than FAR of 255 and blocks differ by NEAR in the
root of the mean
square. Candidates are each image's nearest ones along the set's principal components, so that a large set takes
seconds.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .columns import counted
from .messages import shown

if TYPE_CHECKING:
    from .layout import Listing

NEAR, FAR = 5.0, 25.0  # of 255: JPEG at quality 50 or half the size stays below, two pictures of one kind do not
DIRECTIONS, NEIGHBOURS = 8, 5
MANY = 0.05  # of all images: more near-copies of one another are rather what such a set looks like


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


def who_is_with_whom(x, listed: "Listing", names: list[str]) -> tuple[np.ndarray, list[str]]:
    """A number for each image, the same for those that may not be parted: copies and near-copies of a picture, and the
    images of a group; and remarks."""
    y, labels, groups = listed.y, listed.labels, listed.groups
    (same, kin), remarks = alike(x), []
    sets = sets_of(same)
    if sets:
        surplus = sum(map(len, sets)) - len(sets)
        remarks.append(
            f"{counted(surplus, 'picture')} more than once, as {shown(names[sets[0][1]])}, a copy "
            f"of {shown(names[sets[0][0]])}: "
            "copies go to the same part."
        )
    near = [group for group in sets_of(kin) if len(set(same[group])) > 1]
    first = [
        names[next(i for i in group if same[i] == kind)]
        for group in near[:1]
        for kind in dict.fromkeys(same[group].tolist())
    ]
    if (largest := max(map(len, near), default=0)) > max(20, len(x) * MANY):
        remarks.append(
            f"{largest:,} images are nearly copies of one another, as {shown(first[0])} and "
            f"{shown(first[1])}; they are not kept in one part: if "
            "they show one thing again and again, as frames of a film do, say what belongs together by group=."
        )
        near, kin = [], same
    elif near:
        remarks.append(
            f"{counted(sum(map(len, near)), 'image')} nearly copies of another, as "
            f"{shown(first[0])} and {shown(first[1])}: these go to the same part."
        )
    binary = [i for i, kind in enumerate(listed.kinds) if kind == "binary"]
    opposite = [(group, i) for group in sets_of(kin) for i in binary if {0, 1} <= set(y[group, i])]
    if opposite:
        group, label = opposite[0]
        zero, one = (next(names[i] for i in group if y[i, label] == value) for value in (0, 1))
        remarks.append(
            f"{counted(len(opposite), 'label')} of copies contradict each other, as "
            f"{labels[label]}: 0 for {shown(zero)}, 1 for {shown(one)}; correct one."
        )
    if not groups:
        return kin, remarks
    number = {who: i for i, who in enumerate(dict.fromkeys(filter(None, groups)), len(x))}
    remarks.append(f"{counted(len(number), 'group')}: the images of each are in one part.")
    links = [(i, number[who]) for i, who in enumerate(groups) if who] + [
        (i, int(a) + len(x) + len(number)) for i, a in enumerate(kin)
    ]
    return joined(np.array(links), 2 * len(x) + len(number))[: len(x)], remarks
