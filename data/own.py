"""Images of one's own: a folder of pictures and a table of labels, checked as a whole, turned to 64x64 and kept as one `.npz`.

The table is a CSV file: a header, then a row an image: its file's name, then one column a label with 0, 1 or nothing where it is not known.
`gather` finds every fault before it raises; `read` makes the data set of what it kept.
"""

import csv
import dataclasses
import io
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from .common import Dataset, Split, Task
from .files import MAX_BYTES, UNREADABLE, DataError, digest_arrays, read_npz
from .pictures import MAX_PIXELS, RAW_SIDE

LIKELIHOODS = {1: "bernoulli", 3: "laplace"}  # of grey values and of colours, as the paper has them
TASK = Task(
    name="own",
    title="Own images",
    labels=(),  # these and what follows from them: `read`
    exclusive=False,
    image_shape=(3, RAW_SIDE, RAW_SIDE),
    likelihood=LIKELIHOODS[3],
    label_prior=None,
    batch_size=32,
    style_dim=20,
    more_style_dim=40,
    epochs=20,
    reconstruction_figure=None,
    walks={},
)
KEYS = ("x", "y", "names", "labels", "part")
UNKNOWN = -1  # of a label, in the file
VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "": UNKNOWN, "na": UNKNOWN, "nan": UNKNOWN}  # what pandas and R write
SHARES = (0.7, 0.1, 0.2)  # of training, validation and test among the images that have a label
FEWEST, FEWEST_LABELLED = 50, 20  # images in all, and of them with a label that is known
SHOWN = 50  # problems in a message
ALIKE = 5  # of those that are alike, in one column or of names without a file
DARK = 16  # of 255: what the brightest of 12 bits becomes when it is read as 16
PAGED = (".tif", ".tiff", ".gif", ".webp", ".png")  # files that may hold several pictures
RESERVED = r"file|part|.* (probability|mean|sd)"  # columns that characteristics.csv has beside the labels


# --- pictures ---------------------------------------------------------------------------------------------------


def read_picture(path: Path, side: int = RAW_SIDE) -> np.ndarray:
    """A picture as uint8 (side, side, 3): the whole of it, bilinear and antialiased, so its sides may change their ratio.

    Of every mode and size that Pillow reads: transparency lies on white, 16 bits are turned to 8, a camera's rotation is undone.
    Raises DataError, which says what is wrong with the file but not which it is.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; make it smaller")
            image.draft(None, (4 * side, 4 * side))  # a large JPEG is decoded at a size that is near enough, several times as fast
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_as_rgb(upright).resize((side, side), Image.Resampling.BILINEAR))
    except UnidentifiedImageError:
        raise DataError("is not an image that can be read") from None
    except UNREADABLE as error:
        raise DataError(f"can't be read as an image ({error})") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DataError("holds floating-point numbers; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise DataError(f"holds values from {values.min()} to {values.max()}; save it with 8 or 16 bits")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def read_pictures(paths: list[Path], side: int = RAW_SIDE) -> Iterator[np.ndarray | DataError]:
    """`read_picture` of many files, side by side and in order, with progress on a terminal; an error in the place of what can't be read."""
    from tqdm import tqdm

    def read(path):
        try:
            return read_picture(path, side)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool, tqdm(total=len(paths), unit="image", disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(paths), 256):  # not all at once: whoever takes them may be slower
            for picture in pool.map(read, paths[start : start + 256]):
                bar.update()
                yield picture


def is_grey(pictures: np.ndarray) -> bool:
    """Whether uint8 (..., 3) has no colour, whatever the mode of the files was."""
    return bool((pictures[..., :1] == pictures).all())


def to_tensor(pictures: np.ndarray, channels: int) -> torch.Tensor:
    """uint8 (N, side, side, 3) -> (N, channels, side, side); colours become grey where one channel is wanted."""
    if channels == 1:
        pictures = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in pictures])[..., None]
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, 1)))


def files_below(folder: Path) -> list[str]:
    """Names, relative to the folder and with /, of all files in it and its subfolders but hidden ones, sorted."""
    found = []
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(path) / name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


# --- the table --------------------------------------------------------------------------------------------------


def gather(folder: Path, table: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays KEYS of the images that the table names, and remarks for the user.

    x: uint8 (N, 64, 64) if no picture has any colour, else (N, 64, 64, 3); y: int8 (N, L) of 0, 1 and UNKNOWN; names (N,), labels (L,);
    part (N,): 0 for training, 1 for validation, 2 for test. Raises DataError with every problem that was found, each with its row and column.
    """
    problems = [] if folder.is_dir() else [f"{folder} is not a folder; give the one that the images lie in"]
    (labels, rows, y), there = read_table(table, problems), files_below(folder)
    paths = _named_files(rows, folder, there, problems) if folder.is_dir() else {}
    if not problems or rows:
        _check_labels(labels, y, problems)
    if 3 * RAW_SIDE**2 * len(rows) > MAX_BYTES:
        problems.append(f"{len(rows):,} images are more than {MAX_BYTES // (3 * RAW_SIDE**2):,}; leave some out")
    pictures = []
    for (row, path), picture in zip(paths.items(), read_pictures(list(paths.values())), strict=True):
        if isinstance(picture, DataError):
            problems.append(f"row {row}: {path.relative_to(folder)} {picture}")
        else:
            pictures.append(picture)
    if problems:
        raise DataError(_listed(problems, table))
    x, names = np.stack(pictures), np.array([path.relative_to(folder).as_posix() for path in paths.values()])
    grey = is_grey(x)
    left = set(there) - set(names) - ({table.relative_to(folder).as_posix()} if table.is_relative_to(folder) else set())
    remarks = [f"{_counted(len(x), 'image')}, {'grey' if grey else 'in colour'}; {_counted(len(labels), 'label')}."]
    if left:
        remarks.append(
            f"Left out, since {table.name} does not name them: {_counted(len(left), 'other file')} in the folder, as {min(left)}."
        )
    remarks += _doubtful(x, list(paths.values()))
    arrays = {"x": x[..., 0] if grey else x, "y": y, "names": names, "labels": np.array(labels), "part": split(y)}
    return arrays, remarks


def _doubtful(x: np.ndarray, paths: list[Path]) -> list[str]:
    """Remarks on pictures that were read, but perhaps not as they were meant."""
    dark = [path.name for path, picture in zip(paths, x, strict=True) if picture.max() <= DARK]
    several = [path.name for path in paths if path.suffix.lower() in PAGED and _pages(path) > 1]
    remarks = [f"{_counted(len(dark), 'picture')} nearly black, as {dark[0]}: 16 bits are taken to use their whole range, so stretch pictures of 12 bits first."] if dark else []  # fmt: skip
    return remarks + ([f"{_counted(len(several), 'file')} with several pages, as {several[0]}: the first counts."] if several else [])


def _pages(path: Path) -> int:
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1)


def _listed(problems: list[str], table: Path) -> str:
    """All problems in one message, in the order of the table's rows, those of the whole before them."""

    def row(problem):
        found = re.match(r"row (\d+)", problem)
        return int(found[1]) if found else 0

    lines = sorted(problems, key=row)
    more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    count = "a problem" if len(lines) == 1 else f"{len(lines):,} problems"
    return "\n".join([f"{count} (rows and columns of {table.name}, the header being row 1); nothing was made:", *(f"  {line}" for line in [*lines[:SHOWN], *more])])  # fmt: skip


def read_table(path: Path, problems: list[str]) -> tuple[list[str], dict[int, str], np.ndarray]:
    """Label names; file names by row, the header being row 1; values, int8 (N, L). What is wrong is added to `problems`."""
    header, *body = _cells(path, problems) or [[]]
    labels = _label_names(header, problems) if header else []
    rows, values, seen, bad = {}, [], {}, {}
    for number, cells in enumerate(body, 2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            problems.append(f"row {number}: {_counted(len(cells), 'cell')}, where row 1 has {len(header)}")
        name = cells[0].replace("\\", "/").removeprefix("./")
        if not name:
            problems.append(f"row {number}, column {header[0] or 1}: no file name")
        elif name in seen:
            problems.append(f"row {number}: {name} is there already, in row {seen[name]}")
        else:
            seen[name] = number
        rows[number] = name
        values.append([VALUES.get(cell.lower(), UNKNOWN) for cell in cells[1 : len(labels) + 1]])
        values[-1] += [UNKNOWN] * (len(labels) - len(values[-1]))
        for label, cell in zip(labels, cells[1:], strict=False):
            if cell.lower() not in VALUES:
                bad.setdefault(label, {})[number] = cell[:40]
    for label, cells in bad.items():
        said = {row: f"row {row}, column {label}: {cell!r} is not 0, 1 or empty" for row, cell in cells.items()}
        kinds = ", ".join(map(repr, list(dict.fromkeys(cells.values()))[:ALIKE]))
        advice = f"(it has {kinds} and so on); of classes or sizes make labels, a column of 0 and 1 each"
        _add(said, problems, lambda n, label=label, advice=advice: f"column {label}: {_counted(n, 'cell')} more like these {advice}")
    return labels, rows, np.array(values, np.int8).reshape(len(rows), len(labels))


def _counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _add(said: dict[int, str], problems: list[str], more: Callable[[int], str]) -> None:
    """Problems that are alike, by row: all, or of many the first and, in words of `more`, how many there are beside them."""
    lines = list(said.values())
    problems += lines[:ALIKE]
    if len(lines) > ALIKE:
        problems.append(more(len(lines) - ALIKE))


def _cells(path: Path, problems: list[str]) -> list[list[str]]:
    """All cells of a CSV file without the spaces around them, separated by what its first line has most of: comma, semicolon or tab."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = text.splitlines() or [""]
        delimiter = max(",;\t", key=lines[0].count)
        cells = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
    except UnicodeDecodeError as error:
        problems.append(f"{path} is not text in UTF-8 (byte {error.start + 1:,}); save it as CSV, UTF-8")
    except OSError as error:
        problems.append(f"{path} can't be read ({error.strerror}); give the CSV file with the labels")
    except csv.Error as error:
        problems.append(f"{path} can't be read as CSV ({error})")
    else:
        if delimiter in lines[0]:
            return cells
        problems.append(f"{path}: row 1 has no comma, semicolon or tab; it must name a column for the file and one for each label")
    return []


def _label_names(header: list[str], problems: list[str]) -> list[str]:
    """The names of the label columns; one without a name is called by its number, in further messages."""
    for number, name in enumerate(header[1:], 2):
        if not name:
            problems.append(f"row 1, column {number}: has no name; name the label, or remove the column")
        elif name.lower() in VALUES:
            problems.append(f"row 1, column {number}: {name!r} is a value; the first row must hold the columns' names")
        elif name in header[1 : number - 1]:
            problems.append(f"row 1, column {number}: a second column {name}")
        elif re.fullmatch(RESERVED, name) or re.search(r"[$<>\n\r]", name) or len(name) > 60:
            problems.append(
                f"row 1, column {number}: a label can't be called {name[:60]!r}; give it another name, of 60 characters or fewer, without $, < and >"
            )
    return [name or str(number) for number, name in enumerate(header[1:], 2)]


def _check_labels(labels: list[str], y: np.ndarray, problems: list[str]) -> None:
    """Whether there is enough to learn; of labels with bad values that can't be said."""
    bad = [label for label in labels if any(re.search(f"(^|, )column {re.escape(label)}: ", problem) for problem in problems)]
    if len(y) < FEWEST:
        problems.append(f"{_counted(len(y), 'image')}, and {FEWEST} or more are needed")
    elif (n := int((y != UNKNOWN).any(1).sum())) < FEWEST_LABELLED and not bad:
        problems.append(f"{_counted(n, 'image')} with a label that is known, and {FEWEST_LABELLED} or more are needed")
    for label, column in zip(labels, y.T, strict=True):
        values = np.unique(column[column != UNKNOWN])
        if label in bad:
            continue
        if not len(values):
            problems.append(f"column {label}: never known; fill in some of it, or remove the column")
        elif len(values) == 1:
            known = int((column != UNKNOWN).sum())
            problems.append(f"column {label}: {values[0]} wherever it is known ({known:,} times), so there is nothing to learn; remove it")


def _named_files(rows: dict[int, str], folder: Path, there: list[str], problems: list[str]) -> dict[int, Path]:
    """The files of the rows that name one."""
    alike = {_folded(name): name for name in there} | {_folded(PurePosixPath(name).with_suffix("")): name for name in there}
    names, paths, lacking = set(there), {}, {}
    for row, name in rows.items():
        if name in names:
            paths[row] = folder / name
        elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or re.match(r"[A-Za-z]:", name):
            problems.append(f"row {row}: {name} leads out of the folder; name files as seen from {folder}")
        elif name:
            near = alike.get(_folded(name)) or alike.get(_folded(PurePosixPath(name).with_suffix("")))
            lacking[row] = f"row {row}: there is no file {name} in {folder}" + (f"; there is {near}" if near else "")
    holds = f"the folder holds {_counted(len(there), 'file')}" + (f", as {there[0]}" if there else "")
    _add(lacking, problems, lambda n: f"the files of {_counted(n, 'row')} more are not there either; {holds}")
    return paths


def _folded(name) -> str:
    """Names that differ only in upper and lower case, or in how accents are stored, are alike."""
    return unicodedata.normalize("NFC", str(name)).casefold()


# --- the data set -----------------------------------------------------------------------------------------------


def split(y: np.ndarray, seed: int = 0) -> np.ndarray:
    """Part of each image, uint8 (N,): 0 training, 1 validation, 2 test, SHARES of those that have a label; the others are for training.

    Iterative stratification (Sechidis et al. 2011): of the label and value that has the fewest images left, each goes where most of them
    are still wanted. So each value of a label is in training, and in every part where there are enough of it.
    """
    classes = np.concatenate([y == 0, y == 1], axis=1)  # (N, 2L)
    part, order = np.zeros(len(y), np.uint8), np.random.default_rng([seed, 5]).permutation(len(y))
    free = classes.any(1)
    wanted, room = np.outer(SHARES, classes.sum(0)), np.array(SHARES) * free.sum()
    while free.any():
        left = classes[free].sum(0)
        rarest = np.where(left > 0, left, len(y) + 1).argmin()
        for i in order[(free & classes[:, rarest])[order]]:
            part[i] = max(range(3), key=lambda p: (round(wanted[p, rarest], 6), room[p]))
            wanted[part[i]] -= classes[i]
            room[part[i]] -= 1
            free[i] = False
    for column in classes.T:
        if not column[part == 0].any():
            part[np.flatnonzero(column)[0]] = 0
    return part


def read(path: Path) -> Dataset:
    """The data set of a file of `gather`'s arrays. Raises DataError for a file that is none."""
    if not path.is_file():
        raise DataError(f"{path} is not there; make it: ./run_all.sh own IMAGES LABELS name={path.parent.name.removeprefix('own_')}")
    arrays = read_npz(path, KEYS)
    x, y, names, labels, part = arrays.values()
    fits = x.dtype == np.uint8 and x.shape[:3] == (len(names), RAW_SIDE, RAW_SIDE) and x.shape[3:] in ((), (3,))
    if not (
        fits
        and y.shape == (len(x), len(labels))
        and part.shape == (len(x),)
        and np.isin(y, (0, 1, UNKNOWN)).all()
        and set(part) == {0, 1, 2}
    ):
        raise DataError(f"{path}: its arrays don't fit together; delete it and give ./run_all.sh own the images again")
    return dataset(arrays)


def dataset(arrays: dict[str, np.ndarray]) -> Dataset:
    """The data set of `gather`'s arrays; labels float32 with NaN where not known."""
    x, y, names, labels, part = (arrays[key] for key in KEYS)
    channels, names_of_labels = (1 if x.ndim == 3 else 3), tuple(map(str, labels))
    task = dataclasses.replace(
        TASK,
        labels=names_of_labels,
        image_shape=(channels, RAW_SIDE, RAW_SIDE),
        likelihood=LIKELIHOODS[channels],
        more_style_dim=TASK.style_dim + len(labels),
        walks={number: (label, {label: 1}) for number, label in enumerate(names_of_labels, 1)},
    )
    images = torch.from_numpy(x)[:, None] if channels == 1 else torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    everything = Split(images, torch.from_numpy(np.where(y == UNKNOWN, np.nan, y).astype(np.float32)), names)
    known, ones = (y != UNKNOWN).sum(0), (y == 1).sum(0)
    rates = ", ".join(f"{label} {n:,} ({one / n:.0%} of them 1)" for label, n, one in zip(names_of_labels, known, ones, strict=True))
    description = f"{len(x):,} images of one's own, {'grey' if channels == 1 else 'RGB'}, turned to {RAW_SIDE}×{RAW_SIDE}; known of each label: {rates}"
    parts = [everything.take(np.flatnonzero(part == p)) for p in range(3)]
    return Dataset(task, "own", False, names_of_labels, description, *parts, digest_arrays(x, y, names, labels, part))
