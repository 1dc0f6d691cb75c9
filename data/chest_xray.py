"""Chest X-rays of children (section 4.3; Kermany et al. 2018, CC BY 4.0). Labels: normal, bacteria, virus.

Real: through kagglehub, or from the publisher's archive put into data/cache. Embedded stand-in: drawn chests.
"""

import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np

from .common import DataError, Dataset, Split, Task, cached, check_labelled, checked_zip, digest_arrays, one_hot, read_images, resize
from .drawing import Canvas, split_drawn

CLASSES = ("normal", "bacteria", "virus")
TASK = Task(
    name="chest_xray",
    title="Chest X-ray",
    labels=CLASSES,
    exclusive=True,
    image_shape=(1, 60, 60),
    likelihood="bernoulli",
    label_prior=None,
    batch_size=128,
    style_dim=7,
    more_style_dim=27,
    epochs=50,
    reconstruction_figure=8,
    walks={12: ("bacteria to normal", {"bacteria": 0, "normal": 1})},
)
KAGGLE = "paultimothymooney/chest-xray-pneumonia"
ARCHIVE = "ChestXRay2017.zip"
PAGE = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
COUNTS = {"train": 5216, "test": 624}
VALIDATION_SHARE = 0.1
KEYS = tuple(f"{kind}_{part}" for part in ("train", "test") for kind in ("x", "y", "names"))


def _download(cache: Path) -> dict[str, np.ndarray]:
    """Arrays of the publisher's images: from data/cache/chest_xray or the archive there, else from Kaggle."""
    by_hand = f"download {ARCHIVE} from {PAGE} and put it, or its folder chest_xray, into data/cache"
    if (cache / "chest_xray").is_dir():
        return read_folder(cache / "chest_xray")
    if (cache / ARCHIVE).exists():
        return read_folder(extract(cache / ARCHIVE, cache / "chest_xray", f"To get it again, {by_hand}."))
    try:
        import kagglehub

        root = Path(kagglehub.dataset_download(KAGGLE))
    except Exception as error:  # kagglehub lets errors of several libraries through
        raise DataError(
            f"the chest X-rays could not be downloaded from Kaggle ({KAGGLE}: {str(error).strip()[:200]}). Run again when the network is there, or {by_hand}"
        ) from None
    return read_folder(root / "chest_xray")


def extract(archive: Path, target: Path, again: str) -> Path:
    """Unpack the archive's `chest_xray/**.jpeg` into `target`, complete or not at all; nothing can leave it."""
    part = target.with_name(f".{target.name}.part")
    with checked_zip(archive, again) as file:
        for member in file.infolist():
            path = Path(member.filename)
            if path.suffix.lower() != ".jpeg" or path.parts[0] != "chest_xray" or ".." in path.parts:
                continue
            goal = part.joinpath(*path.parts[1:])
            goal.parent.mkdir(parents=True, exist_ok=True)
            try:
                goal.write_bytes(file.read(member))
            except zipfile.BadZipFile as error:
                raise DataError(f"{archive} is damaged at {member.filename} ({error}); delete it. {again}") from None
    if not part.exists():
        raise DataError(f"{archive} holds no chest_xray/*.jpeg; it is another archive: delete it. {again}")
    part.rename(target)
    return target


def class_of(path: Path) -> int:
    """0 normal, 1 bacteria, 2 virus, from folder and file name. Raises DataError for a name that says neither."""
    if path.parent.name == "NORMAL":
        return 0
    if match := re.search(r"_(bacteria|virus)_", path.name):
        return CLASSES.index(match[1])
    raise DataError(
        f"{path} is in the folder PNEUMONIA, but its name says neither bacteria nor virus; remove it or get the original files again"
    )


def person_of(name: str) -> str:
    """Who is in the picture, as far as the file name says: number and kind of pneumonia, or the normal study."""
    match = re.match(r"(person\d+_(?:bacteria|virus))_|((?:NORMAL2-)?IM-\d+)-", name)
    return match[0] if match else name


def read_folder(root: Path, counts: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    """Arrays from the publisher's folders {train,test}/{NORMAL,PNEUMONIA}/*.jpeg. Raises DataError where images are missing or bad."""
    counts = COUNTS if counts is None else counts
    arrays = {}
    for part in ("train", "test"):
        paths = sorted(p for folder in ("NORMAL", "PNEUMONIA") for p in (root / part / folder).glob("*.jpeg"))
        paths.sort(key=lambda p: p.name)
        classes = np.array([class_of(p) for p in paths], dtype=np.uint8)
        for number, name in enumerate(CLASSES):
            if not (classes == number).any():
                folder = "NORMAL" if number == 0 else "PNEUMONIA"
                raise DataError(f"{root / part / folder} has no image of the class {name!r}; get the data again from {PAGE}")
        if len(paths) != counts[part]:
            raise DataError(
                f"{root / part} has {len(paths)} images, where the published set has {counts[part]}; get the data again from {PAGE}"
            )
        arrays[f"x_{part}"] = read_images(paths, "L", modes=("L", "RGB"))
        arrays[f"y_{part}"] = classes
        arrays[f"names_{part}"] = np.array([p.name for p in paths])
    return arrays


def duplicates(images: np.ndarray) -> list[np.ndarray]:
    """Groups of positions whose images are identical byte for byte."""
    groups = {}
    for i, image in enumerate(images):
        groups.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(i)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def validation_mask(images: np.ndarray, classes: np.ndarray, names: np.ndarray, share: float = VALIDATION_SHARE) -> np.ndarray:
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

    The publisher's own val folder (16 images, none of a virus) is not used.
    """
    arrays, sha256 = cached("chest_xray_64.npz", _download, KEYS)
    splits = {}
    for part in ("train", "test"):
        x = check_labelled("chest_xray_64.npz", arrays[f"x_{part}"], arrays[f"y_{part}"], 3, ndim=3)
        splits[part] = Split(resize(x, TASK.image_shape), one_hot(arrays[f"y_{part}"], 3), arrays[f"names_{part}"])
    groups = duplicates(arrays["x_train"])
    held_out = validation_mask(arrays["x_train"], arrays["y_train"], arrays["names_train"])
    train, validation = splits["train"].take(np.flatnonzero(~held_out)), splits["train"].take(np.flatnonzero(held_out))
    description = (
        f"chest X-rays of Kermany et al. (doi 10.17632/rscbjbr9sj.2, CC BY 4.0): the published training part, {len(validation)} of its "
        f"images (whole persons) held out for validation, and the published test part; among the training images "
        f"{len(groups)} groups are byte-identical ({sum(map(len, groups)) - len(groups)} surplus images), kept as published"
    )
    return Dataset(TASK, "real", False, CLASSES, description, train, validation, splits["test"], sha256)


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n drawn chests, uint8 (n, 60, 60), and their classes (n,).

    Normal: clear lungs. Bacteria: one dense opacity in one lung. Virus: haze and small spots over both. Position,
    size, exposure and heart vary with no regard to the class.
    """
    rng = np.random.default_rng([seed, 60])
    classes = rng.choice(3, size=n, p=(0.26, 0.48, 0.26))
    u = lambda low, high: rng.uniform(low, high, n)  # noqa: E731
    c = Canvas(n, side=60, channels=1, background=u(0.03, 0.12)[:, None])
    x0, y0, width, height = u(-0.08, 0.08), u(-0.08, 0.08), u(0.9, 1.1), u(0.9, 1.1)
    exposure = u(0.85, 1.1)
    c.ellipse(x0, y0 + 0.15, 0.86 * width, 1.05 * height, 0.55 * exposure)
    lung = {}
    for side in (-1, 1):
        lung[side] = c.ellipse(x0 + side * 0.4 * width, y0, 0.29 * width, 0.68 * height, 0.16 * exposure)
    for rib in range(6):
        c.arc(x0, y0 - 0.62 * height + rib * 0.24 * height, 0.7 * width, u(0.1, 0.2), 0.035, 0.42 * exposure, alpha=0.35)
    c.ellipse(x0 + 0.12, y0 + 0.28, u(0.2, 0.34) * width, u(0.28, 0.38) * height, 0.68 * exposure, soft=0.08)
    c.ellipse(x0, y0, 0.08 * width, 0.95 * height, 0.72 * exposure, soft=0.05)
    bacteria, virus = (classes == 1).astype(float), (classes == 2).astype(float)
    side = rng.choice([-1, 1], size=n)
    inside = np.where((side == 1)[:, None, None], lung[1], lung[-1])
    c.ellipse(
        x0 + side * 0.4 * width + u(-0.08, 0.08),
        y0 + u(-0.35, 0.45),
        u(0.18, 0.32),
        u(0.18, 0.38),
        0.78 * exposure,
        soft=0.1,
        alpha=bacteria * u(0.7, 1),
        clip=inside,
    )
    both = np.maximum(lung[1], lung[-1])
    c.fill(0.48 * exposure, both * (virus * u(0.35, 0.65))[:, None, None])
    for _ in range(10):
        s = rng.choice([-1, 1], size=n)
        c.ellipse(
            x0 + s * 0.4 * width + u(-0.2, 0.2),
            y0 + u(-0.5, 0.5),
            u(0.03, 0.07),
            u(0.03, 0.07),
            0.66 * exposure,
            soft=0.04,
            alpha=virus * u(0.4, 0.8),
            clip=both,
        )
    return c.uint8()[..., 0], classes


def embedded(count: int | None = None) -> Dataset:
    """Drawn chests with the three labels, a stand-in made in seconds."""
    count = 1600 if count is None else count
    x, y = draw(count, seed=0)
    train, validation, test = split_drawn(resize(x, TASK.image_shape), one_hot(y, 3), "drawn chest")
    description = f"stand-in data: {count:,} drawn chests in place of X-rays"
    return Dataset(TASK, "embedded", True, CLASSES, description, train, validation, test, digest_arrays(x, y))
