"""Images of one's own: a folder of pictures whose labels a table or the folders' names say, turned to 64x64 and kept as
one `.npz`.

`layout` says which images there are and what is known of each; `gather` reads them; `read` makes the data set of what
it kept.
"""

import contextlib
import dataclasses
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import copies, tasks
from .columns import UNKNOWN, add_alike, counted
from .common import Dataset, Split
from .continuous import KINDS, Unit, strata, unit_of
from .files import MAX_BYTES, DataError, digest_arrays, read_npz
from .labels import check_labels
from .layout import FITS, Listing, Options, listing
from .messages import shown
from .pictures import RAW_SIDE, Picture, doubtful, read_pictures

LIKELIHOODS = {1: "bernoulli", 3: "laplace"}  # of grey values and of colours, as the paper has them
TASK = tasks.OWN
KEYS = ("x", "y", "names", "labels", "part", "group", "exclusive", "fit")
MORE = ("kinds", "mean", "sd")  # where a label is continuous
CHOICE = "choice"  # where labels are the values of a categorical one
SHARES = (0.7, 0.1, 0.2)  # of training, validation and test among the images that have a label
AS_THEY_ARE = Options()
SHOWN = 50  # problems in a message
FAINT = 12  # of 255: differences between colours that a lossy file of a grey picture has
# --- pictures ---------------------------------------------------------------------------------------------------


def is_grey(pixels: np.ndarray) -> bool:
    """Whether uint8 (..., 3) has no colour, whatever the mode of the files was. What lossy files add to grey (FAINT) is
    none."""
    return int((pixels.max(-1) - pixels.min(-1)).max(initial=0)) <= FAINT


def to_tensor(pixels: np.ndarray, channels: int) -> torch.Tensor:
    """uint8 (N, side, side, 3) -> (N, channels, side, side); colours become grey where one channel is wanted."""
    if channels == 1:
        pixels = grey(pixels)[..., None]
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))


def grey(pixels: np.ndarray) -> np.ndarray:
    """uint8 (N, side, side, 3) -> (N, side, side), by Pillow's weights of the colours."""
    return np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in pixels])


# --- a folder and its labels -------------------------------------------------------------------------------------


def gather(
    folder: Path, table: Path | None = None, options: Options = AS_THEY_ARE
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays KEYS of the images of a folder, whose labels stand in a table or are its folders' names, and remarks
    for the user.

    x: uint8 (N, 64, 64) if no picture has any colour, else (N, 64, 64, 3); y: int8 (N, L) of 0, 1 and UNKNOWN; names
    (N,), labels (L,);
    part (N,): 0 for training, 1 for validation, 2 for test; group (N,): images of one stay in one part, "" for none;
    exclusive: of each
    image exactly one label is 1; fit: how pictures were made square.
    Where a label is continuous, MORE too: kinds (L,); mean and sd float64 (L,), of its training values, NaN for others.
    Then y is float64, in the user's units, NaN where not known. Where labels are the values of a class column, CHOICE
    too, (L,): its name, "" for other labels.
    Raises DataError with every problem that was found, each with its row and column.
    """
    problems = []
    listed = listing(folder, table, options, problems)
    if problems:
        raise DataError(together(problems, table))
    return read_listed(listed, table, options)


def read_listed(listed: Listing, table: Path | None, options: Options) -> tuple[dict[str, np.ndarray], list[str]]:
    """What `gather` gives, of a listing without a fault: pictures that can't be read are left out and named, if they
    are few."""
    pictures, bad, kept = {}, {}, []
    paths = [listed.folder / name for name in listed.files]
    for i, (name, picture) in enumerate(zip(listed.files, read_pictures(paths, fit=options.fit), strict=True)):
        if isinstance(picture, DataError):
            bad[i] = f"{listed.where[i]}: {shown(name)} {picture}".removeprefix(": ")
        else:
            pictures[name] = picture
            kept.append(i)
        if 3 * RAW_SIDE**2 * len(kept) > MAX_BYTES:
            raise DataError(f"more than {MAX_BYTES // (3 * RAW_SIDE**2):,} images; leave some out")
    lines = []
    add_alike(bad, lines, lambda n: f"{counted(n, 'picture')} more that can't be read")
    problems = lines if 2 * len(kept) <= listed.named else []
    if not problems and bad:
        listed = listed.take(kept)
        check_labels(listed.labels, listed.y, problems)
        problems += lines if problems else []
    if problems:
        raise DataError(together(problems, table))
    return _arrays(pictures, listed, options, [f"Left out: {line}." for line in lines])


def _arrays(
    pictures: dict[str, Picture], listed: Listing, options: Options, said: list[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """What `gather` gives, of pictures and labels without a fault."""
    x, names = np.stack([picture.pixels for picture in pictures.values()]), list(pictures)
    coloured = [name for name, pixels in zip(names, x, strict=True) if not is_grey(pixels)]
    remarks = [
        f"{counted(len(x), 'image')}, {'in colour' if coloured else 'grey'}; {counted(len(listed.labels), 'label')}."
    ]
    if 0 < len(coloured) <= len(names) / 20:
        remarks.append(
            f"Only {counted(len(coloured), 'picture')} in colour, as {shown(coloured[0])}: leave "
            "these out, or turn them to grey, if the set is meant to be."
        )
    remarks += listed.remarks + said
    if left := listed.left - set(names):
        remarks.append(
            f"Left out, since nothing names them as images: {counted(len(left), 'other file')} in "
            f"the folder, as {shown(min(left))}."
        )
    owner, more = copies.who_is_with_whom(x, listed, names)
    part = parts_of(strata(listed.y, listed.kinds), owner, listed.parts)
    if lacking := [name for number, name in enumerate(("training", "validation", "test")) if number not in part]:
        raise DataError(
            f"the images of {counted(len(set(owner)), 'group' if listed.groups else 'picture')} "
            f"leave none for {lacking[0]}; add others"
        )
    if (torn := [i for i in np.flatnonzero(part == 2) if (part[owner == owner[i]] < 2).any()]) and listed.parts:
        twin = np.flatnonzero((owner == owner[torn[0]]) & (part < 2))[0]
        more.append(
            f"{counted(len(torn), 'image')} for the test with a copy, or another of the group, in "
            f"another part, as {shown(names[torn[0]])} and "
            f"{shown(names[twin])}: scores of these say little. Your own parts are kept."
        )
    arrays = {
        "x": x if coloured else grey(x),
        "y": np.where(np.isnan(listed.y), UNKNOWN, listed.y).astype(np.int8),
        "names": np.array(names),
        "labels": np.array(listed.labels),
        "part": part,
        "group": np.array(listed.groups or [""] * len(names)),
        "exclusive": np.array(listed.one_of),
        "fit": np.array(options.fit),
    }
    if "continuous" in listed.kinds:
        arrays |= {"y": listed.y, "kinds": np.array(listed.kinds)}
        units = _units(arrays)
        arrays |= {what: np.array([getattr(unit, what, np.nan) for unit in units]) for what in ("mean", "sd")}
    if any(listed.choices):
        arrays[CHOICE] = np.array(listed.choices)
    return arrays, remarks + more + doubtful(pictures)


def _units(arrays: dict[str, np.ndarray]) -> list[Unit | None]:
    """The unit of each label of `gather`'s arrays, None of binary ones; mean and sd as they are kept, if they are.
    Raises DataError where a label's training values don't differ."""
    units = []
    train = arrays["y"][arrays["part"] == 0]
    for i, (name, kind) in enumerate(zip(arrays["labels"], arrays["kinds"], strict=True)):
        unit = unit_of(name, train[~np.isnan(train[:, i]), i]) if kind == "continuous" else None
        if unit and "sd" in arrays:  # another processor may round their last digit otherwise
            unit = dataclasses.replace(unit, mean=float(arrays["mean"][i]), sd=float(arrays["sd"][i]))
        units.append(unit)
    return units


def parts_of(y: np.ndarray, owner: np.ndarray, given: list[int] | None) -> np.ndarray:
    """The part of each image, uint8 (N,): as given; those of validation and test of which none are given are drawn from
    training."""
    if given is None:
        return split(y, owner)
    part = np.array(given, np.uint8)
    drawn = [0, *(p for p in (1, 2) if p not in given)]
    if len(drawn) > 1:
        mine = np.flatnonzero(part == 0)
        shares = np.array([SHARES[p] for p in drawn])
        part[mine] = np.array(drawn)[split(y[mine], owner[mine], shares=tuple(shares / shares.sum()))]
    return part


def together(problems: list[str], table: Path | None) -> str:
    """All problems in one message, in the order of the table's rows, those of the whole before them."""

    def row(problem):
        found = re.match(r"row (\d+)", problem)
        return int(found[1]) if found else 0

    lines = sorted(problems, key=row)
    more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    count = "a problem" if len(lines) == 1 else f"{len(lines):,} problems"
    rows = f" (rows and columns of {table.name}, the header being row 1)" if table else ""
    return "\n".join([f"{count}{rows}; nothing was made:", *(f"  {line}" for line in [*lines[:SHOWN], *more])])


# --- the data set -----------------------------------------------------------------------------------------------


def split(
    y: np.ndarray, together: np.ndarray | None = None, seed: int = 0, shares: tuple[float, ...] = SHARES
) -> np.ndarray:
    """Part of each image, uint8 (N,): 0 training, 1 validation, 2 test, `shares` of those that have a label; the others
    are for training.

    Iterative stratification (Sechidis et al. 2011): of the label and value that has the fewest images left, each goes
    where most of them
    are still wanted. So each value of a label is in training, and in every part where there are enough of it.
    together (N,): images with the same number go to one part, large groups first.
    """
    unit = np.arange(len(y)) if together is None else np.unique(together, return_inverse=True)[1]
    image_classes = np.concatenate([y == 0, y == 1], axis=1)  # (N, 2L)
    classes = np.zeros((unit.max(initial=-1) + 1, image_classes.shape[1]), int)
    np.add.at(classes, unit, image_classes)
    sizes = np.bincount(unit, image_classes.any(1)).astype(int)
    part, order = np.zeros(len(classes), np.uint8), np.random.default_rng([seed, 5]).permutation(len(classes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    free = sizes > 0
    wanted, room = np.outer(shares, classes.sum(0)), np.array(shares) * sizes.sum()
    while free.any():
        left = classes[free].sum(0)
        rarest = np.where(left > 0, left, len(y) + 1).argmin()
        for i in order[(free & (classes[:, rarest] > 0))[order]]:
            part[i] = max(range(len(shares)), key=lambda p: (round(wanted[p, rarest], 6), room[p]))
            wanted[part[i]] -= classes[i]
            room[part[i]] -= sizes[i]
            free[i] = False
    for column in classes.T:
        if column.any() and not column[part == 0].any():
            part[np.flatnonzero(column)[0]] = 0
    return part[unit]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """`gather`'s arrays of a file; one from before there were groups lacks the last three of KEYS. Raises DataError for
    a file that is not there or is none."""
    again = f"./run_all.sh own IMAGES LABELS name={shown(path.parent.name.removeprefix('own_'))}"
    if not path.exists():
        raise DataError(f"{path} is not there; make it: {again}")
    mend = f"delete it and give the images again: {again}"
    try:
        arrays = read_npz(path, KEYS, mend)
    except DataError:
        arrays = read_npz(path, KEYS[:5], mend)
        arrays |= {
            "group": np.full(arrays["names"].shape, ""),
            "exclusive": np.array(False),
            "fit": np.array("stretch"),
        }
    if arrays["y"].dtype.kind == "f":
        with contextlib.suppress(DataError):  # without them its labels don't fit, which is told below
            arrays |= read_npz(path, MORE, mend)
    with contextlib.suppress(DataError):
        arrays |= read_npz(path, (CHOICE,), mend)
    x, _, names, labels, part, group, exclusive, fit = (arrays[key] for key in KEYS)
    shapes = names.ndim == labels.ndim == 1 and x.shape[:3] == (len(names), RAW_SIDE, RAW_SIDE)
    if not (
        shapes
        and x.dtype == np.uint8
        and x.shape[3:] in ((), (3,))
        and part.shape == group.shape == (len(x),)
        and _are_labels(arrays)
        and set(part) == {0, 1, 2}
        and exclusive.dtype == bool
        and exclusive.shape == fit.shape == ()
        and str(fit) in FITS
    ):
        raise DataError(f"{path}: its arrays don't fit together; {mend}")
    return arrays


def _are_labels(arrays: dict[str, np.ndarray]) -> bool:
    """Whether y, and with a continuous label MORE, are what `gather` gives."""
    y, shape = arrays["y"], arrays["labels"].shape
    if CHOICE in arrays and not _are_choices(arrays[CHOICE], y, shape):
        return False
    if y.shape != (len(arrays["x"]), *shape):
        return False
    if "kinds" not in arrays:
        return bool(np.isin(y, (0, 1, UNKNOWN)).all())
    kinds, mean, sd = (arrays[key] for key in MORE)
    if not (kinds.shape == mean.shape == sd.shape == shape and set(kinds) <= set(KINDS)):
        return False
    number = kinds == "continuous"
    fits = np.where(number, np.isfinite(y), (y == 0) | (y == 1)) | np.isnan(y)
    return bool(fits.all() and np.isfinite(mean[number]).all() and (sd[number] > 0).all())


def _are_choices(choice: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether labels of one class column stand side by side, two or more, and each image has one of them or none
    known."""
    if choice.shape != shape or choice.dtype.kind != "U" or y.shape[1:] != shape:
        return False
    known = np.where((y == UNKNOWN) | np.isnan(y.astype(float)), np.nan, y)
    for name in set(choice.tolist()) - {""}:
        at = np.flatnonzero(choice == name)
        total = known[:, at].sum(1)
        if len(at) < 2 or at[-1] - at[0] != len(at) - 1 or not (np.isnan(known[:, at]).all(1) | (total == 1)).all():
            return False
    return True


def read(path: Path) -> Dataset:
    """The data set of a file of `gather`'s arrays. Raises DataError for a file that is none."""
    return dataset(read_arrays(path))


def dataset(arrays: dict[str, np.ndarray]) -> Dataset:
    """The data set of `gather`'s arrays; labels float32 with NaN where not known; with a continuous one float64, that
    one standardised."""
    x, y, names, labels, part, _, exclusive, fit = (arrays[key] for key in KEYS)
    channels, names_of_labels = (1 if x.ndim == 3 else 3), tuple(map(str, labels))
    task = dataclasses.replace(
        TASK,
        labels=names_of_labels,
        exclusive=bool(exclusive),
        image_shape=(channels, RAW_SIDE, RAW_SIDE),
        likelihood=LIKELIHOODS[channels],
        more_style_dim=TASK.style_dim + len(labels),
        walks={number: (label, {label: 1}) for number, label in enumerate(names_of_labels, 1)},
    )
    images = torch.from_numpy(x)[:, None] if channels == 1 else torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    units = tuple(_units(arrays)) if "kinds" in arrays else ()
    known = y if units else np.where(y == UNKNOWN, np.nan, y).astype(np.float32)
    values = known.copy()
    for i, unit in enumerate(units):
        values[:, i] = unit.standardised(known[:, i]) if unit else known[:, i]
    everything = Split(images, torch.from_numpy(values), names)
    rates = ", ".join(map(_known_of, names_of_labels, known.T, units or [None] * len(labels)))
    description = (
        f"{len(x):,} images of one's own, {'grey' if channels == 1 else 'RGB'}, turned to "
        f"{RAW_SIDE}×{RAW_SIDE}; known of each label: {rates}"
    )
    parts = [everything.take(np.flatnonzero(part == p)) for p in range(3)]
    more = [arrays[key] for key in (*MORE, CHOICE) if key in arrays]
    sha256 = digest_arrays(x, y, names, labels, part, *more)
    choices = tuple(map(str, arrays[CHOICE])) if CHOICE in arrays else ()
    about = {"fit": str(fit), "units": units, "choices": choices}
    return Dataset(task, "own", False, names_of_labels, description, *parts, sha256, **about)


def _known_of(name: str, y: np.ndarray, unit: Unit | None) -> str:
    """How many of y (N,) are known, and what they are."""
    there = y[~np.isnan(y)]
    if unit:
        return f"{name} {len(there):,} (from {unit.text(there.min())} to {unit.text(there.max())})"
    return f"{name} {len(there):,} ({(there == 1).sum() / len(there):.0%} of them 1)"
