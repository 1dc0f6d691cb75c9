"""Chest X-rays of children (section 4.3; Kermany et al. 2018, CC BY 4.0). Labels: normal, bacteria, virus.

Real: through kagglehub, or from the publisher's archive put into data/cache. Embedded stand-in: drawn chests.
"""

import dataclasses
import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np

from . import tasks
from .common import Dataset, Split, cached, check_labelled, one_hot, resize
from .drawing import ABSENT, LOW, Canvas, Drawing, drawn_dataset, owned, owners, painted, uniforms
from .files import DataError, checked_zip, digest_arrays
from .messages import shown
from .pictures import read_images

TASK = tasks.CHEST_XRAY
CLASSES = TASK.labels
SICK = "sick"  # of `two_classes`
KAGGLE = "paultimothymooney/chest-xray-pneumonia"
ARCHIVE = "ChestXRay2017.zip"
PAGE = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
COUNTS = {"train": 5216, "test": 624}
# in the publisher's training folder; Kaggle's copy has them as its validation part, which nobody uses
NOT_TRAINED = frozenset(
    [f"NORMAL2-IM-{n}-0001.jpeg" for n in (1427, 1430, 1431, 1436, 1437, 1438, 1440, 1442)]
    + [f"person{n}_bacteria_{m}.jpeg" for n, m in (
        (1946, 4874), (1946, 4875), (1947, 4876), (1949, 4880), (1950, 4881), (1951, 4882), (1952, 4883), (1954, 4886)
    )]
)  # fmt: skip
NAME = r"(NORMAL2-)?IM-\d+-\d+(-\d+)?|person\d+_(bacteria|virus)_\d+(_\d+)?"  # of a picture, without its ending
VERSION_3 = r"(NORMAL|BACTERIA|VIRUS)-\d+-\d+\.jpeg"
VALIDATION_SHARE = 0.1
KEYS = tuple(f"{kind}_{part}" for part in ("train", "test") for kind in ("x", "y", "names"))
BY_HAND = f"download {ARCHIVE} from {PAGE} (version 2) and put it into data/cache"


def _download(cache: Path) -> dict[str, np.ndarray]:
    """Arrays of the publisher's images: from data/cache/chest_xray or from the archive there, else from Kaggle."""
    faults = []
    for path, read in ((cache / "chest_xray", read_folder), (cache / ARCHIVE, read_archive)):
        try:
            if path.exists():
                return read(path)
        except DataError as error:  # a fault of one does not hide the other
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return _from_kaggle()


def _from_kaggle() -> dict[str, np.ndarray]:
    try:
        import kagglehub

        root = Path(kagglehub.dataset_download(KAGGLE)) / "chest_xray"
    except Exception as error:  # kagglehub lets errors of several libraries through
        raise DataError(
            f"the chest X-rays could not be downloaded from Kaggle ({KAGGLE}: {str(error).strip()[:200]}). "
            f"Run again when the network is there, or {BY_HAND}"
        ) from None
    return read_folder(root, f"delete the folder {root.parent} and run again: it is downloaded anew")


def read_archive(archive: Path) -> dict[str, np.ndarray]:
    """Arrays from the publisher's archive; nothing of it is unpacked to the disk."""
    again = f"delete it, {BY_HAND}"
    with checked_zip(archive, f"To get it again, {BY_HAND}.") as file:
        if not any(name.startswith("chest_xray/") and name.endswith(".jpeg") for name in file.namelist()):
            raise DataError(f"{archive} holds no chest_xray/*.jpeg; it is another archive: {again}")
        return read_folder(zipfile.Path(file, "chest_xray/"), again)


def class_of(path: Path | zipfile.Path, again: str) -> int:
    """0 normal, 1 bacteria, 2 virus, from folder and file name. Raises DataError for a name that says neither."""
    if re.fullmatch(VERSION_3, path.name):
        raise DataError(f"{path} has a name of version 3 of the set, whose images are others; {again}")
    if path.parent.name == "NORMAL":
        return 0
    if match := re.search(r"_(bacteria|virus)_", path.name):
        return CLASSES.index(match[1])
    raise DataError(
        f"{path} is in the folder PNEUMONIA, but its name says neither bacteria nor virus; remove it, or {again}"
    )


def person_of(name: str) -> str:
    """Who is in the picture, as far as the file name says: number and kind of pneumonia, or the normal study."""
    match = re.match(r"(person\d+_(?:bacteria|virus))_|((?:NORMAL2-)?IM-\d+)-", name)
    return match[0] if match else name


def pictures_of(folder: Path | zipfile.Path) -> list[Path | zipfile.Path]:
    """The JPEG files of a class's folder; none if it is not there. macOS adds hidden ones (._x.jpeg) that are no
    pictures."""
    names = folder.iterdir() if folder.is_dir() else []
    return [path for path in names if path.name.endswith(".jpeg") and not path.name.startswith(".")]


def read_folder(root: Path | zipfile.Path, again: str | None = None) -> dict[str, np.ndarray]:
    """Arrays from the publisher's folders {train,test}/{NORMAL,PNEUMONIA}/*.jpeg, without the 16 of NOT_TRAINED.

    Raises DataError where images are missing or bad; `again` says how to get them.
    """
    again = again or f"replace the folder {root} by that of the archive: delete it, {BY_HAND}"
    arrays, left_out = {}, 0
    for part in ("train", "test"):
        paths = [path for name in ("NORMAL", "PNEUMONIA") for path in pictures_of(root / part / name)]
        if part == "train":
            kept = [path for path in paths if path.name not in NOT_TRAINED]
            paths, left_out = kept, len(paths) - len(kept)
        paths.sort(key=lambda path: path.name)
        classes = np.array([class_of(path, again) for path in paths], dtype=np.uint8)
        _check_part(root / part, [path.name for path in paths], classes, COUNTS[part], again)
        arrays[f"x_{part}"] = read_images(paths, "L", modes=("L", "RGB"), again=again)
        arrays[f"y_{part}"] = classes
        arrays[f"names_{part}"] = np.array([path.name for path in paths])
    if left_out:
        print(
            f"{left_out} of the published training images are left out: Kaggle's copy has them as its validation part."
        )
    return arrays


def _check_part(folder, names: list[str], classes: np.ndarray, count: int, again: str) -> None:
    """Raise DataError where a class or images are missing, or there are too many."""
    for number, name in enumerate(CLASSES):
        if not (classes == number).any():
            where = folder / ("NORMAL" if number == 0 else "PNEUMONIA")
            raise DataError(f"{where} has no image of the class {name!r}; {again}")
    if len(names) != count:
        unusual = [shown(name) for name in names if not re.fullmatch(NAME, name.removesuffix(".jpeg"))][:3]
        which = f"; names that are not the publisher's: {', '.join(unusual)}" if unusual else ""
        raise DataError(f"{folder} has {len(names):,} images, where the published set has {count:,}{which}; {again}")


def duplicates(images: np.ndarray) -> list[np.ndarray]:
    """Groups of positions whose images are identical byte for byte."""
    groups = {}
    for i, image in enumerate(images):
        groups.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(i)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def validation_mask(
    images: np.ndarray, classes: np.ndarray, names: np.ndarray, share: float = VALIDATION_SHARE
) -> np.ndarray:
    """True for the training images that are held out: whole persons, about `share` of each class.

    Persons with an image in common count as one. They are taken in the order of their names' MD5, so the choice
    depends on nothing else.
    """
    persons = np.array([person_of(str(name)) for name in names])
    for group in duplicates(images):
        persons[np.isin(persons, persons[group])] = persons[group[0]]
    mask = np.zeros(len(names), dtype=bool)
    for number in range(len(CLASSES)):
        mine = classes == number
        for person in sorted(set(persons[mine]), key=lambda p: hashlib.md5(p.encode()).digest()):
            if (mask & mine).sum() >= share * mine.sum():
                break
            mask |= mine & (persons == person)
    return mask


def real() -> Dataset:
    """The published train and test parts at 60x60 grey; validation: a tenth of the training part, by person.

    The official validation part (16 images, none of a virus), a folder val in Kaggle's copy and within train in the
    publisher's, is not used. "Whole persons" are those whose number and kind of pneumonia are the same in the file
    names. By the bare number 278 of the 523 validation images share one with training; nobody has shown whether these
    are the same children."""
    arrays, sha256 = cached("chest_xray_64.npz", _download, KEYS)
    splits = {}
    for part in ("train", "test"):
        x = check_labelled("chest_xray_64.npz", arrays[f"x_{part}"], arrays[f"y_{part}"], 3, ndim=3)
        splits[part] = Split(resize(x, TASK.image_shape), one_hot(arrays[f"y_{part}"], 3), arrays[f"names_{part}"])
    groups = duplicates(arrays["x_train"])
    held_out = validation_mask(arrays["x_train"], arrays["y_train"], arrays["names_train"])
    train, validation = splits["train"].take(np.flatnonzero(~held_out)), splits["train"].take(np.flatnonzero(held_out))
    description = (
        "chest X-rays of Kermany et al. (doi 10.17632/rscbjbr9sj.2, CC BY 4.0): the "
        f"published training part, {len(validation)} of its "
        f"images (whole persons) held out for validation, and the published test part; among the training images "
        f"{len(groups)} groups are byte-identical ({sum(map(len, groups)) - len(groups)} "
        "surplus images), kept as published"
    )
    raw = digest_arrays(arrays["x_train"], arrays["x_test"])
    return Dataset(TASK, "real", False, CLASSES, description, train, validation, splits["test"], sha256, raw_sha256=raw)


def two_classes(data: Dataset) -> Dataset:
    """The same images with one label, sick: 1 for bacteria and virus, 0 for normal. Its rate in training is its prior.
    What a drawn image was made from is left out, since its parts belong to the three classes."""
    task = dataclasses.replace(data.task, labels=(SICK,), exclusive=False, walks={})
    sick = lambda split: Split(split.images, 1 - split.labels[:, :1], split.names)  # noqa: E731
    parts = {name: sick(getattr(data, name)) for name in ("train", "validation", "test")}
    about = {"labels": (SICK,), "part_names": (), "part_label": (), "style_names": ()}
    description = f"{data.description}; two classes, bacteria and virus as one"
    return dataclasses.replace(data, task=task, description=description, **about, **parts)


PARTS = {  # of the drawn chests: what each class is drawn from
    "normal": ("lung_clearness", "rib_contrast"),
    "bacteria": ("opacity_density", "opacity_size", "opacity_x", "opacity_y"),
    "virus": ("haze", "spot_size", "spot_spread"),
}
PART_NAMES, PART_LABEL = owners(PARTS)
UNDER_0 = [LOW, ABSENT, ABSENT]
STYLE = ("x", "y", "width", "height", "exposure", "background", "heart_width", "heart_height")
# in a lung, from its middle
SPOTS = ((-0.5, -0.8), (0.6, -0.6), (-0.8, -0.2), (0.3, -0.1), (0.8, 0.3), (-0.4, 0.4), (0.2, 0.8))


def draw(n: int, seed: int) -> Drawing:
    """n drawn chests, 60x60 grey, of three classes.

    Normal: clear lungs behind sharp ribs. Bacteria: one dense opacity in the lung at the left. Virus: haze about the
    middle and small spots over both lungs. Under its own class a part lies in HIGH; under another it is 0 for opacity,
    haze and spots, which are not there, and in LOW for clearness and ribs. Within its range it is uniform and
    independent of every other part. So is style, with no regard to the class."""
    which, u, style = uniforms(n, seed, 2, (1, len(PART_LABEL), len(STYLE)))
    labels = np.eye(3, dtype=np.uint8)[np.digitize(which[:, 0], (0.26, 0.74))]
    parts = owned(labels, u, PART_LABEL, UNDER_0)
    return Drawing(painted(paint, PART_NAMES, parts, STYLE, style), labels, parts, style)


def paint(p, s) -> np.ndarray:
    """Pictures, uint8 (n, 60, 60), of parts p and style s, each a named column (n,) in [0, 1]. 1/30 of a length is a
    pixel."""
    x, y, width, height = 0.16 * s.x - 0.08, 0.16 * s.y - 0.08, 0.9 + 0.2 * s.width, 0.9 + 0.2 * s.height
    c = Canvas(len(x), side=60, channels=1, background=0.03 + 0.09 * s.background)
    c.ellipse(x, y + 0.15, 0.86 * width, 1.05 * height, 0.55)
    air = (0.38 - 0.28 * p.lung_clearness)[:, None]
    left, right = (c.ellipse(x + side * 0.4 * width, y, 0.29 * width, 0.68 * height, air) for side in (-1, 1))
    both = np.maximum(left, right)
    for side in (-1, 1):
        c.ellipse(
            x + side * 0.22 * width, y + 0.05, 0.34, 0.6, 0.62, soft=0.4, alpha=np.maximum(2 * p.haze - 1, 0), clip=both
        )
    for rib in range(6):
        c.arc(x, y + (rib * 0.24 - 0.62) * height, 0.7 * width, 0.15, 0.06, 0.66, alpha=p.rib_contrast**2)
    c.ellipse(
        x + 0.12,
        y + 0.28,
        (0.2 + 0.14 * s.heart_width) * width,
        (0.28 + 0.1 * s.heart_height) * height,
        0.68,
        soft=0.08,
    )
    c.ellipse(x, y, 0.08 * width, 0.95 * height, 0.72, soft=0.05)
    paint_spots(c, x, y, width, height, p, both)
    radius = 0.32 * p.opacity_size + 0.01
    # from the lung's middle, -0.12 to 0.12 and -0.3 to 0.3
    across, down = 0.6 * p.opacity_x - 0.48, 1.5 * p.opacity_y - 1.2
    place = x - 0.4 * width + across, y + down
    c.ellipse(
        *place, radius, 1.2 * radius, 0.95, soft=0.1, alpha=np.maximum(1.6 * p.opacity_density - 0.6, 0), clip=left
    )
    c.pixels *= (0.85 + 0.15 * s.exposure)[:, None, None, None]
    return c.uint8()[..., 0]


def paint_spots(c: Canvas, x, y, width, height, p, clip) -> None:
    """Spots over both lungs, further apart the larger their spread; none where they have no size."""
    for side in (-1, 1):
        for across, down in SPOTS:
            place = x + side * (0.38 + 0.25 * across * p.spot_spread) * width, y + 0.7 * down * p.spot_spread * height
            radius = np.maximum(0.14 * p.spot_size - 0.05, 0.01)
            c.ellipse(*place, radius, radius, 0.85, soft=0.04, alpha=p.spot_size > 0, clip=clip)


def embedded(count: int | None = None) -> Dataset:
    """Drawn chests with the three labels, a stand-in made in seconds."""
    count = 1600 if count is None else count
    description = f"stand-in data: {count:,} drawn chests in place of X-rays"
    return drawn_dataset(TASK, "embedded", True, draw(count, seed=0), PARTS, STYLE, description, "drawn chest")
