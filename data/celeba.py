"""CelebA (section 4.4; Liu et al. 2015), the 18 attributes of the paper. Non-commercial research only; see its own page.

Real: through torchvision, or from files that you put into data/cache/celeba. Embedded stand-in: drawn faces.
"""

from pathlib import Path

import numpy as np
import torch

from .common import DataError, Dataset, Split, Task, as_uint8, cached, checked_zip, digest, digest_arrays, read_images, resize
from .drawing import Canvas, split_drawn

ATTRIBUTES = (
    "Arched_Eyebrows", "Bags_Under_Eyes", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Eyeglasses",
    "Heavy_Makeup", "Male", "No_Beard", "Pale_Skin", "Receding_Hairline", "Smiling", "Wavy_Hair", "Wearing_Necktie", "Young",
)  # fmt: skip
TASK = Task(
    name="celeba",
    title="CelebA",
    labels=ATTRIBUTES,
    exclusive=False,
    image_shape=(3, 64, 64),
    likelihood="laplace",
    label_prior=0.5,
    batch_size=256,
    style_dim=27,
    more_style_dim=45,
    epochs=20,
    reconstruction_figure=6,
    walks={9: ("Male", {"Male": 1}), 10: ("Eyeglasses", {"Eyeglasses": 1})},
)
TOTAL = 202_599
KEYS = ("x", "attr", "attr_names", "names", "split")
# MD5 sums as torchvision lists them
FILES = {
    "img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    "list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
BY_HAND = f"""To get CelebA yourself:
  1. open https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, read its agreement (non-commercial research only), and follow its download link;
  2. from there save {", ".join(FILES)} (folders Img, Anno and Eval);
  3. put the three files into data/cache/celeba and run again."""


def _download(cache: Path) -> dict[str, np.ndarray]:
    folder = cache / "celeba"
    if not all((folder / name).exists() for name in FILES):
        from torchvision.datasets import CelebA

        try:
            CelebA(cache, split="all", download=True)
        except Exception as error:  # gdown and torchvision raise errors of several libraries
            check_files(folder)
            raise DataError(f"CelebA could not be downloaded ({str(error).strip()[:200]}).\n{BY_HAND}") from None
    check_files(folder)
    return read_folder(folder)


def check_files(folder: Path, md5: dict[str, str] = FILES) -> None:
    """Raise DataError for a file of the folder that is not the published one: a web page, a cut download, another checksum."""
    for name, expected in md5.items():
        path = folder / name
        if not path.exists():
            continue
        if name.endswith(".zip"):
            checked_zip(path, BY_HAND).close()
        if digest(path, "md5") != expected:
            raise DataError(f"{path} has another MD5 checksum than the published file; delete it.\n{BY_HAND}")


def read_attributes(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """File names, values (N, attributes) in {0, 1} and attribute names of list_attr_celeba.txt. Raises DataError where it is not that."""
    lines = path.read_text().splitlines()
    try:
        names = lines[1].split()
        rows = [line.split() for line in lines[2 : 2 + int(lines[0])]]
        values = np.array([row[1:] for row in rows], dtype=np.int8)
        if len(rows) != int(lines[0]) or values.shape[1:] != (len(names),) or not np.isin(values, (-1, 1)).all():
            raise ValueError("rows, columns or values are not as its header says")
    except (IndexError, ValueError) as error:
        raise DataError(f"{path} is not CelebA's attribute list ({error}); get it again.\n{BY_HAND}") from None
    return [row[0] for row in rows], (values == 1).astype(np.uint8), names


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """Arrays from CelebA's own files: every image of the attribute list, read from the archive's unpacked folder."""
    names, attr, attr_names = read_attributes(folder / "list_attr_celeba.txt")
    try:
        partition = dict(line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines() if line)
        split = np.array([int(partition[name]) for name in names], dtype=np.uint8)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{folder / 'list_eval_partition.txt'} does not give a part for every image ({error}); get it again.\n{BY_HAND}"
        ) from None
    images = folder / "img_align_celeba"
    if not images.is_dir():
        with checked_zip(folder / "img_align_celeba.zip", BY_HAND) as archive:
            wanted = [f"img_align_celeba/{name}" for name in names]
            if missing := set(wanted) - set(archive.namelist()):
                raise DataError(f"{folder / 'img_align_celeba.zip'} lacks {min(missing)}; get it again.\n{BY_HAND}")
            archive.extractall(folder, wanted)
    x = read_images([images / name for name in names], "RGB", modes=("RGB",), size=(178, 218))
    return {"x": x, "attr": attr, "attr_names": np.array(attr_names), "names": np.array(names), "split": split}


def columns(attr_names: np.ndarray, wanted: tuple[str, ...]) -> list[int]:
    """Positions of the wanted attributes. Raises DataError, with the known names, for one that is not there."""
    known = [str(name) for name in attr_names]
    if unknown := [name for name in wanted if name not in known]:
        raise DataError(f"CelebA has no attribute {unknown[0]!r}; it has: {', '.join(known)}")
    return [known.index(name) for name in wanted]


def real(attributes: tuple[str, ...] = ATTRIBUTES) -> Dataset:
    """CelebA at 64x64 RGB with the named attributes; parts as the cache's `split` says (the official one, if it was made from CelebA's files)."""
    arrays, sha256 = cached("celeba_64.npz", _download, KEYS)
    position = columns(arrays["attr_names"], attributes)
    x = as_uint8(arrays["x"], "celeba_64.npz")
    attr = arrays["attr"]
    if x.ndim != 4 or x.shape[3] != 3 or attr.shape != (len(x), len(arrays["attr_names"])) or not np.isin(attr, (0, 1)).all():
        raise DataError("celeba_64.npz: images and attributes don't fit together, or an attribute is not 0 or 1; delete it and run again")
    everything = Split(resize(x, TASK.image_shape), torch.from_numpy(attr[:, position].astype(np.uint8)), arrays["names"])
    parts = [everything.take(np.flatnonzero(arrays["split"] == part)) for part in range(3)]
    share = "all" if len(x) == TOTAL else f"{len(x):,} of {TOTAL:,} ({len(x) / TOTAL:.1%})"
    description = f"CelebA (Liu et al. 2015), {share} images, {len(attributes)} attributes"
    if len(x) != TOTAL:
        description += "; with parts of its own, by person, so not comparable with published CelebA numbers"
    return Dataset(TASK, "real", False, tuple(attributes), description, *parts, sha256)


DRAWN = ("Bangs", "Blond_Hair", "Eyeglasses", "Male", "Pale_Skin", "Smiling")


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n drawn faces, uint8 (n, 64, 64, 3), and their labels (n, 6) in the order of DRAWN, which are independent of each other.

    Place, size, background, clothes and the colours' shades vary with no regard to the labels.
    """
    rng = np.random.default_rng([seed, 64])
    labels = (rng.random((n, len(DRAWN))) < (0.4, 0.4, 0.35, 0.5, 0.4, 0.5)).astype(np.uint8)
    bangs, blond, glasses, male, pale, smiling = labels.T.astype(float)
    u = lambda low, high: rng.uniform(low, high, n)  # noqa: E731
    mix = lambda flag, off, on: np.outer(1 - flag, off) + np.outer(flag, on)  # noqa: E731
    shade = lambda colour, spread=0.06: np.clip(colour + rng.uniform(-spread, spread, (n, 1)), 0, 1)  # noqa: E731
    skin = shade(mix(pale, (0.78, 0.56, 0.42), (0.97, 0.87, 0.80)))
    hair = shade(mix(blond, (0.22, 0.14, 0.10), (0.90, 0.74, 0.38)), 0.08)
    dark = np.array((0.12, 0.09, 0.09))
    x, y, size = u(-0.1, 0.1), u(-0.08, 0.08), u(0.92, 1.08)

    c = Canvas(n, side=64, channels=3, background=rng.uniform(0.25, 0.85, (n, 3)))
    long = u(0.75, 1.0) * (1 - male) + u(0.42, 0.5) * male  # how far hair reaches down
    width = size * (0.50 + 0.06 * male + u(-0.02, 0.02))
    c.ellipse(x, y - 0.22 + 0.35 * (long - 0.45), width + 0.14, 0.55 + 0.5 * (long - 0.45), hair)
    c.ellipse(x, y + 1.05, u(0.75, 0.95), 0.45, rng.uniform(0.1, 0.9, (n, 3)))
    c.box(x, y + 0.6, 0.2 + 0.06 * male, 0.2, skin * 0.92)
    head = c.ellipse(x, y, width, 0.68 * size, skin)
    c.ellipse(x, y + 0.3, width * (0.66 + 0.25 * male), 0.44 * size, skin)
    c.ellipse(x, y - 0.72, width + 0.06, 0.36, hair, clip=None)
    c.box(x, y - 0.42, width, 0.16 * u(0.8, 1.2), hair, alpha=bangs, clip=head)
    for side in (-1, 1):
        eye = x + side * 0.24 * size
        c.ellipse(eye, y - 0.08, 0.1, 0.06, (0.97, 0.97, 0.97))
        c.ellipse(eye, y - 0.08, 0.05, 0.055, (0.15, 0.22, 0.3))
        c.arc(eye, y - 0.19, 0.13, -0.05, 0.045 + 0.05 * male, hair * 0.6)
        c.ring(eye, y - 0.08, 0.18, 0.15, u(0.04, 0.08), dark, alpha=glasses)
    c.arc(x, y - 0.1, 0.08, -0.03, 0.05, dark, alpha=glasses)
    c.arc(x, y + 0.17, 0.07, 0.03, 0.04, skin * 0.75)
    curve = smiling * u(0.10, 0.18) + (1 - smiling) * u(-0.05, 0.02)
    c.ellipse(x, y + 0.40, 0.17, 0.07, (0.98, 0.98, 0.98), alpha=smiling * u(0.5, 1.0))
    c.arc(x, y + 0.38 - curve / 3, 0.2 + 0.06 * smiling, curve, 0.06, mix(male, (0.80, 0.22, 0.28), (0.62, 0.34, 0.30)))
    return c.uint8(), labels


def embedded(count: int | None = None) -> Dataset:
    """Drawn faces with six of the attributes, a stand-in made in seconds."""
    count = 1600 if count is None else count
    x, y = draw(count, seed=0)
    train, validation, test = split_drawn(resize(x, TASK.image_shape), torch.from_numpy(y), "drawn face")
    description = f"stand-in data: {count:,} drawn faces with {len(DRAWN)} attributes in place of CelebA"
    return Dataset(TASK, "embedded", True, DRAWN, description, train, validation, test, digest_arrays(x, y))
