"""What the data sets share: splits, reading and checking images, the cache of a real set.

A data set goes one way: the publisher's files -> a cache, one `.npz` of uint8 arrays at raw size -> `Split`s of
uint8 images at the task's size. Every fault raises `DataError`, whose message names the file and what to do.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .continuous import Unit
from .files import MADE_ANEW, DataError, digest, digest_arrays, hold, read_npz, write_npz
from .messages import quoted
from .tasks import Task

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "data" / "cache"
RESIZING = "bilinear, antialiased, corners not aligned, rounded"  # what `resize` does


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and what is known of them.

    images: uint8 (N, channels, H, W); labels: uint8 (N, L) of 0 and 1, or float with NaN where not known, standardised
    where continuous; names: where an image came from, (N,).
    parts, style: float32 (N, P) and (N, S), each value in [0, 1]: the factors from which an image was drawn, those
    that a label owns and the others. Given none, as for photographs and digits, they have no columns.
    """

    images: torch.Tensor
    labels: torch.Tensor
    names: np.ndarray
    parts: torch.Tensor = None
    style: torch.Tensor = None

    def __post_init__(self):
        for name in ("parts", "style"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.zeros(len(self.images), 0))

    def __len__(self):
        return len(self.images)

    def take(self, index) -> "Split":
        """The images at these positions, in this order."""
        index = np.asarray(index, dtype=np.int64)
        rows = torch.from_numpy(index)
        return Split(self.images[rows], self.labels[rows], self.names[index], self.parts[rows], self.style[rows])

    def some(self, limit: int | None) -> "Split":
        """At most `limit` images, a random draw that is always the same one; None: all. The first ones may be of one
        class: a set can be sorted."""
        if limit is None or limit >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(0).permutation(len(self))[:limit]))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The three parts of a task's data and what must be said of them.

    labels: names of the label columns. stand_in: these are not the task's real data. description: one sentence, with
    source and numbers. sha256: of the cache file, or of the arrays where there is none. raw_sha256: of the arrays at
    raw size, where that is another.
    part_names, style_names: of the columns of each part's `parts` and `style`; none unless the images were drawn.
    part_label: for each column of `parts` the position of the label that owns it.
    fit: of own images, how pictures were made square, so that new ones are made so too.
    units: of each label None, or of a continuous one what it was standardised by; none: all labels are 0 or 1.
    choices: of each label the name of the categorical one that it is a value of, or ""; none: there is none.
    """

    task: Task
    source: str
    stand_in: bool
    labels: tuple[str, ...]
    description: str
    train: Split
    validation: Split
    test: Split
    sha256: str
    part_names: tuple[str, ...] = ()
    part_label: tuple[int, ...] = ()
    style_names: tuple[str, ...] = ()
    raw_sha256: str | None = None
    fit: str | None = None
    units: tuple[Unit | None, ...] = ()
    choices: tuple[str, ...] = ()

    def __post_init__(self):
        if self.units and len(self.units) != len(self.labels):
            raise ValueError(f"units must be one for each of {len(self.labels)} labels, not {len(self.units)}")

    def unit(self, label: int) -> Unit | None:
        """That of the label at a position."""
        return self.units[label] if self.units else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of each label "binary" or "continuous", as the core names them."""
        return tuple("continuous" if self.unit(i) else "binary" for i in range(len(self.labels)))

    @property
    def columns(self) -> list[list[int]]:
        """The positions of each label's columns: those of a categorical one together."""
        columns = {}
        for i, name in enumerate(self.choices or [""] * len(self.labels)):
            columns.setdefault(name or i, []).append(i)
        return list(columns.values())

    def of_kind(self, kind: str) -> list[int]:
        """The positions of the labels of a kind."""
        return [i for i, one in enumerate(self.kinds) if one == kind]

    @property
    def label_prior(self) -> float | tuple[float, ...]:
        """The task's p(y_i = 1), or, where it has none, each label's rate in the training part; of a continuous label,
        which has none, ½. Raises DataError where that is 0 or 1."""
        if self.task.label_prior is not None:
            return self.task.label_prior
        rates = self.train.labels.float().nanmean(0).tolist()
        rates = [0.5 if kind == "continuous" else rate for rate, kind in zip(rates, self.kinds, strict=True)]
        if constant := [
            f"{name} = {rate:.0f}" for name, rate in zip(self.labels, rates, strict=True) if rate in (0, 1)
        ]:
            raise DataError(
                f"the label {constant[0]} on every training image, so there is nothing to learn of "
                "it; leave it out or add images"
            )
        return tuple(rates)

    @property
    def content(self) -> str:
        """sha256 over what a training sees of the data: pictures at raw size and how they are resized, names and labels
        in each split.

        Resized pictures themselves differ between processors."""
        h = hashlib.sha256(f"{self.raw_sha256 or self.sha256} {RESIZING} {self.task.image_shape}".encode())
        for split in (self.train, self.validation, self.test):
            h.update(digest_arrays(split.names.astype(str), split.labels.numpy()).encode())
        if self.units:
            h.update(json.dumps(self._units).encode())
        if self.choices:
            h.update(json.dumps(self.choices).encode())
        return h.hexdigest()

    @property
    def _units(self) -> list[dict | None]:
        return [unit and dataclasses.asdict(unit) for unit in self.units]

    def summary(self) -> dict:
        """For a run's record; no path in it."""
        return {
            "source": self.source,
            "stand_in": self.stand_in,
            "description": self.description,
            "labels": list(self.labels),
            "n": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "sha256": self.sha256,
            "content": self.content,
            **({"fit": self.fit} if self.fit else {}),
            **({"kinds": list(self.kinds), "units": self._units} if self.units else {}),
            **({"choices": list(self.choices)} if self.choices else {}),
        }


# --- images -----------------------------------------------------------------------------------------------


def as_uint8(array: np.ndarray, where: str) -> np.ndarray:
    """Images as uint8: uint8 as they are, floats from [0, 1]. Raises DataError for NaN, other values or other types."""
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{where} holds {array.dtype} values; store images as uint8, or as floats in [0, 1]")
    if np.isnan(array).any():
        raise DataError(
            f"{where} holds NaN at position {tuple(map(int, np.argwhere(np.isnan(array))[0]))}; "
            "remove or repair that image"
        )
    if array.size and (array.min() < 0 or array.max() > 1):
        raise DataError(
            f"{where} holds values from {array.min():g} to {array.max():g}; scale floats to [0, 1], or store uint8"
        )
    return np.round(array * 255).astype(np.uint8)


def resize(images: np.ndarray, image_shape: tuple[int, int, int], chunk: int = 4096) -> torch.Tensor:
    """uint8 (N, H, W) or (N, H, W, 3) -> uint8 (N, *image_shape), bilinear and antialiased."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    tensor = tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
    if tuple(tensor.shape[1:]) == tuple(image_shape):
        return tensor.contiguous()
    out = torch.empty(len(tensor), *image_shape, dtype=torch.uint8)
    for start in range(0, len(tensor), chunk):
        part = tensor[start : start + chunk].float()
        part = F.interpolate(part, image_shape[1:], mode="bilinear", antialias=True, align_corners=False)
        out[start : start + chunk] = part.round_().clamp_(0, 255).byte()
    return out


# --- the cache of a real set --------------------------------------------------------------------------------


def cached(
    name: str, build: Callable[[Path], dict[str, np.ndarray]], keys: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of the cache file `name` and its sha256.

    It is read from the folder that MCCVAE_DATA names, if it is there, else from data/cache; where neither has it,
    `build(data/cache)` gets the publisher's files and makes it, but not where MCCVAE_DOWNLOAD is "never". Raises
    DataError where that is not possible or the file is broken."""
    path, mend = CACHE / name, MADE_ANEW
    if named := os.environ.get("MCCVAE_DATA"):
        folder = ROOT / os.path.expanduser(
            named
        )  # a relative one is seen from the project's folder, wherever a notebook runs
        if not folder.is_dir():
            raise DataError(
                f"MCCVAE_DATA names {quoted(named)}, which is not a folder; correct it, or unset it to use data/cache"
            )
        if (folder / name).exists():
            path = folder / name
            mend = "put a whole one in its place, or take it out of that folder: it is then made anew in data/cache"
    if not path.exists():
        if os.environ.get("MCCVAE_DOWNLOAD") == "never":
            raise DataError(
                f"{name} is not here, neither in the folder that MCCVAE_DATA names nor in data/cache, "
                "and nothing is downloaded"
            )
        try:
            with hold(CACHE, wait=math.inf):  # another process may be making it
                if not path.exists():
                    write_npz(path, build(CACHE))
        except OSError as error:
            raise DataError(
                f"{path} can't be made ({error}); what was there is kept: make room or get the right "
                "to write, and run again"
            ) from None
    return read_npz(path, keys, mend), digest(path)


def check_labelled(path: str, images: np.ndarray, labels: np.ndarray, classes: int, ndim: int) -> np.ndarray:
    """Images as uint8, after a check that they and their class numbers fit together. Raises DataError."""
    images = as_uint8(images, path)
    if images.ndim != ndim or labels.ndim != 1 or len(images) != len(labels) or 0 in images.shape[1:]:
        raise DataError(
            f"{path}: images {images.shape} and labels {labels.shape} don't fit together; delete it and run again"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise DataError(f"{path}: labels must be whole numbers from 0 to {classes - 1}; delete it and run again")
    return images


def one_hot(classes: np.ndarray, count: int) -> torch.Tensor:
    """Class numbers (N,) -> uint8 (N, count)."""
    return torch.from_numpy(np.eye(count, dtype=np.uint8)[classes])
