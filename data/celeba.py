"""CelebA (section 4.4; Liu et al. 2015), the 18 attributes of the paper. Non-commercial research only; see its own
page.

Real: through torchvision, or from files that you put into data/cache/celeba. Embedded stand-in: drawn faces.
"""

import os
import zipfile
from pathlib import Path

import numpy as np
import torch

from . import tasks
from .common import Dataset, Split, as_uint8, cached, resize
from .drawing import (
    ABSENT,
    LOW,
    Canvas,
    Drawing,
    correlate,
    drawn_dataset,
    not_in_test,
    owned,
    owners,
    painted,
    uniforms,
)
from .files import UNREADABLE, DataError, checked_zip, digest, digest_arrays, read_limited, reason
from .messages import quoted, shown
from .pictures import read_images

TASK = tasks.CELEBA
ATTRIBUTES = TASK.labels
TOTAL = 202_599
MAX_LIST = 100 << 20  # bytes of a list; that of the attributes has 27 million
KEYS = ("x", "attr", "attr_names", "names", "split")
# MD5 sums as torchvision lists them
FILES = {
    "img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    "list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
BY_HAND = f"""To get CelebA yourself:
  1. open https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, read its agreement (non-commercial research only),
     and follow its download link;
  2. from there save {", ".join(FILES)} (folders Img, Anno and Eval);
  3. put the three files into data/cache/celeba and run again."""


def _download(cache: Path) -> dict[str, np.ndarray]:
    folder = cache / "celeba"
    lists = [folder / name for name in FILES if name.endswith(".txt")]
    if not all(path.exists() for path in (*lists, pictures_in(folder))):
        from torchvision.datasets import CelebA

        try:
            CelebA(cache, split="all", download=True)
        except Exception as error:  # gdown and torchvision raise errors of several libraries
            check_files(folder)
            raise DataError(f"CelebA could not be downloaded ({str(error).strip()[:200]}).\n{BY_HAND}") from None
    check_files(folder)
    return read_folder(folder)


def pictures_in(folder: Path) -> Path:
    """The archive of the pictures, or where that is not there the folder into which it was unpacked."""
    archive = folder / "img_align_celeba.zip"
    return archive if archive.exists() or not archive.with_suffix("").is_dir() else archive.with_suffix("")


def check_files(folder: Path, md5: dict[str, str] = FILES) -> None:
    """Raise DataError for a file of the folder that is not the published one: a web page, a cut download, another
    checksum."""
    for name, expected in md5.items():
        path = folder / name
        if not path.exists():
            continue
        if name.endswith(".zip"):
            checked_zip(path, BY_HAND).close()
        if digest(path, "md5") != expected:
            raise DataError(f"{path} has another MD5 checksum than the published file; delete it.\n{BY_HAND}")


def read_attributes(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """File names, values (N, attributes) in {0, 1} and attribute names of list_attr_celeba.txt. Raises DataError where
    it is not that."""
    try:
        lines = read_limited(path, MAX_LIST).decode().splitlines()
        names = lines[1].split()
        rows = [line.split() for line in lines[2 : 2 + int(lines[0])]]
        values = np.array([row[1:] for row in rows], dtype=np.int8)
        if len(rows) != int(lines[0]) or values.shape[1:] != (len(names),) or not np.isin(values, (-1, 1)).all():
            raise ValueError("rows, columns or values are not as its header says")
    except UNREADABLE as error:
        raise DataError(f"{path} is not CelebA's attribute list ({reason(error)}); get it again.\n{BY_HAND}") from None
    return [row[0] for row in rows], (values == 1).astype(np.uint8), names


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """Arrays from CelebA's own files: every image of the attribute list, read out of the archive."""
    names, attr, attr_names = read_attributes(folder / "list_attr_celeba.txt")
    try:
        lines = read_limited(folder / "list_eval_partition.txt", MAX_LIST).decode().splitlines()
        partition = dict(line.split() for line in lines if line)
        split = np.array([int(partition[name]) for name in names], dtype=np.uint8)
    except UNREADABLE as error:
        raise DataError(
            f"{folder / 'list_eval_partition.txt'} does not give a part for every image "
            f"({reason(error)}); get it again.\n{BY_HAND}"
        ) from None
    checks = {"modes": ("RGB",), "size": (178, 218), "again": f"get it again.\n{BY_HAND}"}
    source = pictures_in(folder)
    if source.is_dir():
        there, again = set(os.listdir(source)), f"unpack img_align_celeba.zip there again.\n{BY_HAND}"
        if missing := set(names) - there:
            raise DataError(f"{source} lacks {shown(min(missing))}; {again}")
        x = read_images([source / name for name in names], "RGB", **checks | {"again": again})
    else:
        with checked_zip(source, BY_HAND) as archive:
            wanted = [f"img_align_celeba/{name}" for name in names]
            if missing := set(wanted) - set(archive.namelist()):
                raise DataError(f"{source} lacks {shown(min(missing))}; get it again.\n{BY_HAND}")
            x = read_images([zipfile.Path(archive, name) for name in wanted], "RGB", **checks)
    return {"x": x, "attr": attr, "attr_names": np.array(attr_names), "names": np.array(names), "split": split}


def columns(attr_names: np.ndarray, wanted: tuple[str, ...]) -> list[int]:
    """Positions of the wanted attributes. Raises DataError, with the known names, for one that is not there."""
    known = [str(name) for name in attr_names]
    if unknown := [name for name in wanted if name not in known]:
        raise DataError(f"CelebA has no attribute {quoted(unknown[0])}; it has: {', '.join(known)}")
    return [known.index(name) for name in wanted]


def real(attributes: tuple[str, ...] = ATTRIBUTES) -> Dataset:
    """CelebA at 64x64 RGB with the named attributes; parts as the cache's `split` says (the official one, if it was
    made from CelebA's files)."""
    arrays, sha256 = cached("celeba_64.npz", _download, KEYS)
    position = columns(arrays["attr_names"], attributes)
    x = as_uint8(arrays["x"], "celeba_64.npz")
    attr = arrays["attr"]
    if (
        x.ndim != 4
        or x.shape[3] != 3
        or arrays["attr_names"].ndim != 1
        or attr.shape != (len(x), len(arrays["attr_names"]))
        or not np.isin(attr, (0, 1)).all()
    ):
        raise DataError(
            "celeba_64.npz: images and attributes don't fit together, or an attribute is not 0 "
            "or 1; delete it and run again"
        )
    split, names = arrays["split"], arrays["names"]
    if 0 in x.shape[1:] or not split.shape == names.shape == (len(x),) or set(np.unique(split)) != {0, 1, 2}:
        raise DataError(
            "celeba_64.npz: names and split must have one entry an image, and each part (split "
            "0, 1, 2) images; mend or delete it and run again"
        )
    everything = Split(
        resize(x, TASK.image_shape), torch.from_numpy(attr[:, position].astype(np.uint8)), arrays["names"]
    )
    parts = [everything.take(np.flatnonzero(arrays["split"] == part)) for part in range(3)]
    share = "all" if len(x) == TOTAL else f"{len(x):,} of {TOTAL:,} ({len(x) / TOTAL:.1%})"
    description = f"CelebA (Liu et al. 2015), {share} images, {len(attributes)} attributes"
    if len(x) != TOTAL:
        description += "; with parts of its own, by person, so not comparable with published CelebA numbers"
    raw = digest_arrays(x)
    return Dataset(TASK, "real", False, tuple(attributes), description, *parts, sha256, raw_sha256=raw)


def other_attributes(names: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """What CelebA says of its images beside ATTRIBUTES, on which no model trains: names of the other attributes, and
    their values (N, attributes) in {0, 1} of the images with these file names (N,). Raises DataError for a name that
    CelebA's cache lacks."""
    arrays, _ = cached("celeba_64.npz", _download, ("attr", "attr_names", "names"))
    others = tuple(str(name) for name in arrays["attr_names"] if name not in ATTRIBUTES)
    row = {name: number for number, name in enumerate(arrays["names"].tolist())}
    if missing := [name for name in names.tolist() if name not in row]:
        raise DataError(
            f"celeba_64.npz has no image {shown(missing[0])}; it is not the set that these images came from"
        )
    rows = [row[name] for name in names.tolist()]
    return others, arrays["attr"][np.ix_(rows, columns(arrays["attr_names"], others))].astype(np.uint8)


PARTS = {  # of the drawn faces: what of a face each attribute is drawn from
    "Bangs": ("bangs_length", "bangs_width"),
    "Blond_Hair": ("hair_lightness", "hair_yellowness"),
    "Eyeglasses": ("frame_thickness", "lens_size"),
    "Male": ("jaw_width", "brow_thickness", "hair_shortness"),
    "Pale_Skin": ("skin_lightness", "skin_rosiness"),
    "Smiling": ("mouth_curve", "mouth_opening"),
}
PART_NAMES, PART_LABEL = owners(PARTS)
UNDER_0 = [ABSENT if label in ("Bangs", "Eyeglasses") else LOW for label in PARTS]
COLOURED = tuple(f"{thing}_{channel}" for thing in ("background", "clothes") for channel in ("red", "green", "blue"))
STYLE = ("x", "y", "size", *COLOURED, "exposure")


def draw(n: int, seed: int, correlation=0.0) -> Drawing:
    """n drawn faces, 64x64 RGB; any two labels have this correlation, one number or one for each face (n,).

    Under label 1 a part lies in HIGH; under label 0 it is 0 for bangs and eyeglasses, which are not there, and in LOW
    for the others. Within its range it is uniform and independent of every other part. So is style, with no regard to
    labels."""
    widths = (1, len(PARTS), len(PARTS), len(PART_LABEL), len(STYLE))
    shared, copies, own, u, style = uniforms(n, seed, 3, widths)
    labels = correlate(own < 0.5, shared, copies, correlation).astype(np.uint8)
    parts = owned(labels, u, PART_LABEL, UNDER_0)
    return Drawing(painted(paint, PART_NAMES, parts, STYLE, style), labels, parts, style)


def colours(base, *changes) -> np.ndarray:
    """RGB (n, 3): `base` and, for each pair (part (n,), difference (3,)), so much of the difference."""
    return np.clip(np.float32(base) + sum(np.outer(part, difference) for part, difference in changes), 0, 1)


def paint(p, s) -> np.ndarray:
    """Pictures, uint8 (n, 64, 64, 3), of parts p and style s, each a named column (n,) in [0, 1]. 1/32 of a length is a
    pixel."""

    def rgb(thing):
        return np.stack([getattr(s, f"{thing}_{channel}") for channel in ("red", "green", "blue")], 1)

    skin = colours((0.55, 0.36, 0.22), (p.skin_lightness, (0.40, 0.48, 0.46)), (p.skin_rosiness, (0.05, -0.08, 0.16)))
    hair = colours((0.12, 0.10, 0.16), (p.hair_lightness, (0.55, 0.52, 0.50)), (p.hair_yellowness, (0.28, 0.16, -0.20)))
    x, y, size = 0.16 * s.x - 0.08, 0.12 * s.y - 0.06, 0.92 + 0.16 * s.size
    c = Canvas(len(x), side=64, channels=3, background=0.25 + 0.6 * rgb("background"))
    long = 1.05 - 0.65 * p.hair_shortness  # how far hair reaches down
    back = c.ellipse(x, y - 0.22 + 0.35 * (long - 0.45), 0.64 * size, 0.55 + 0.5 * (long - 0.45), hair)
    c.ellipse(x, y + 1.05, 0.85, 0.45, 0.1 + 0.8 * rgb("clothes"))
    c.box(x, y + 0.6, 0.22, 0.2, skin * 0.92)
    head = c.ellipse(x, y, 0.5 * size, 0.68 * size, skin)
    c.ellipse(x, y + 0.3, (0.22 + 0.32 * p.jaw_width) * size, 0.44 * size, skin)
    c.ellipse(x, y - 0.76, 0.56 * size, 0.28, hair, clip=np.maximum(back, head))
    fringe = -0.52 + 0.34 * p.bangs_length  # its lower edge
    c.box(
        x,
        y + (fringe - 0.75) / 2,
        0.7 * p.bangs_width - 0.15,
        (fringe + 0.75) / 2,
        hair,
        alpha=p.bangs_length > 0,
        clip=head,
    )
    for side in (-1, 1):
        paint_eye(c, x + side * 0.24 * size, y - 0.08, p, hair * 0.6)
    c.arc(x, y - 0.1, 0.08, -0.03, 0.05, 0.1, alpha=p.frame_thickness > 0)
    c.arc(x, y + 0.17, 0.07, 0.03, 0.04, skin * 0.75)
    paint_mouth(c, x, y + 0.38, p)
    c.pixels *= (0.85 + 0.15 * s.exposure)[:, None, None, None]
    return c.uint8()


def paint_eye(c: Canvas, x, y, p, brow) -> None:
    """An eye, its brow and, where there are eyeglasses, a lens."""
    c.ellipse(x, y, 0.1, 0.06, (0.97, 0.97, 0.97))
    c.ellipse(x, y, 0.05, 0.055, (0.15, 0.22, 0.3))
    c.arc(x, y - 0.13, 0.13, -0.05, 0.02 + 0.14 * p.brow_thickness, brow)
    lens = 0.02 + 0.2 * p.lens_size
    c.ring(x, y, lens, 0.85 * lens, 0.11 * p.frame_thickness - 0.03, 0.1, alpha=p.frame_thickness > 0)


def paint_mouth(c: Canvas, x, y, p) -> None:
    """Lips about teeth."""
    curve, opening = 0.24 * p.mouth_curve - 0.06, 0.16 * p.mouth_opening
    y = y - curve / 2
    c.arc(x, y, 0.2, curve, opening, (0.98, 0.98, 0.98))
    for lip in (-1, 1):
        c.arc(x, y + lip * (opening / 2 + 0.02), 0.22, curve, 0.05, (0.70, 0.22, 0.26))


def embedded(count: int | None = None, correlation: float = 0.0) -> Dataset:
    """Drawn faces with six of the attributes, a stand-in made in seconds."""
    count = 1600 if count is None else count
    drawing = draw(count, 0, not_in_test(correlation, count))
    description = f"stand-in data: {count:,} drawn faces with {len(PARTS)} attributes in place of CelebA"
    return drawn_dataset(TASK, "embedded", True, drawing, PARTS, STYLE, description, "drawn face", correlation)
