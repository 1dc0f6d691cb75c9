"""Which images there are, before any is opened, and what is known of each: from a table that names them, or from
folders named as classes.

`listing` finds every fault of both. Folders called train and test are kept as parts, whichever of the two says the
labels.
"""

import dataclasses
import itertools
import re
from pathlib import Path, PurePosixPath

import numpy as np

from .columns import Labels, add_alike, classes, counted, read_column
from .files import files_below
from .labels import check_header, check_labels, read_rows
from .messages import quoted, shown
from .names import index_of, matches, named_files
from .pictures import ENDINGS

PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}
NUMBERS = {"0": 0, "1": 1, "2": 2}  # of parts, as CelebA's own table has them
UNLABELLED = ("unlabelled", "unlabeled", "unknown")  # folders of images that have no class
FITS = ("pad", "crop", "stretch")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a folder and its table are to be read; columns by their names. labels: those that are labels (none: all
    others). file: names the pictures. group: images with the same entry stay in one part; without a table "folder".
    split: says the part. classes: numbers or texts that are names of classes. continuous: numbers that are learnt as
    they are. threshold: {column: the least number that is 1}. unknown: entries that say nothing. sheet: of a workbook.
    fit: one of FITS."""

    labels: tuple[str, ...] = ()
    file: str | None = None
    group: str | None = None
    split: str | None = None
    classes: tuple[str, ...] = ()
    continuous: tuple[str, ...] = ()
    threshold: dict[str, float] = dataclasses.field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    sheet: str | None = None
    fit: str = FITS[0]


@dataclasses.dataclass
class Listing:
    """What is known of N images before one is opened. where: what a message calls each (row 7). kinds: of each label
    "binary" or "continuous"; choices: the class column that it is a value of, or "". y: float64 (N, L), NaN where not
    known. groups: of each image a name, "" for none. parts: of each 0, 1, 2. Both may be None. left: files that are not
    among them. named: how many images were meant."""

    folder: Path
    where: list[str]
    files: list[str]
    labels: list[str]
    kinds: list[str]
    y: np.ndarray
    groups: list[str] | None
    parts: list[int] | None
    choices: list[str]
    one_of: bool
    left: set[str]
    named: int
    remarks: list[str]

    def take(self, kept: list[int]) -> "Listing":
        """The images at these positions."""
        some = {
            name: [getattr(self, name)[i] for i in kept]
            for name in ("where", "files", "groups", "parts")
            if getattr(self, name)
        }
        return dataclasses.replace(self, y=self.y[kept], **some)


def listing(folder: Path, table: Path | None, options: Options, problems: list[str]) -> Listing | None:
    """What `folder` and `table` say. What is wrong is added to problems; None where nothing can be listed."""
    if not folder.is_dir():
        problems.append(f"{folder} is not a folder; give the one that the images lie in")
    there, closed = files_below(folder) if folder.is_dir() else ([], {})
    problems += [
        f"the folder {shown(name)} can't be read ({why}); get the right to read it" for name, why in closed.items()
    ]
    if table is not None:
        return _of_table(folder, table, [name for name in there if folder / name != table], options, problems)
    return (
        _of_folders(folder, there, options, problems)
        if there
        else problems.append(f"{folder} holds no file")
        if not problems
        else None
    )


# --- a table ------------------------------------------------------------------------------------------------------


def _of_table(folder: Path, table: Path, there: list[str], options: Options, problems: list[str]) -> Listing | None:
    remarks = []
    header, rows = read_rows(table, problems, remarks, options.sheet)
    columns = _columns(header, rows, there, options, problems, remarks) if header else None
    if columns is None:
        return None
    names = {row: cells[columns["file"]] for row, cells in rows.items()}
    paths = named_files(names, folder, there, problems, remarks, header[columns["file"]])
    column_names = check_header(header, columns["labels"], problems)
    found = []
    for name, i in zip(column_names, columns["labels"], strict=True):
        found.append(read_column(name, {row: cells[i] for row, cells in rows.items()}, options, problems, remarks))
    at = [number for number, row in enumerate(rows) if row in paths]
    groups, parts = (
        [cells[columns[what]] for cells in rows.values()] if columns[what] is not None else None
        for what in ("group", "split")
    )
    parts = (
        _parts(dict(zip(rows, parts, strict=True)), options.split, problems)
        if parts
        else _parts_of_folders(list(paths.values()), remarks)
    )
    y = np.concatenate([labels.values for labels in found], 1) if found else np.zeros((len(rows), 0))
    labels, kinds, choices = (
        [one for labels in found for one in getattr(labels, what)] for what in ("names", "kinds", "choices")
    )
    if twice := sorted({name for name in labels if labels.count(name) > 1}):
        problems.append(f"two labels are called {shown(twice[0])}; give one column another name")
    parts = [parts[i] for i in at] if columns["split"] is not None else parts
    left = set(there) - set(paths.values())
    one_of = len(found) == 1 and found[0].one_of
    of = [f"row {row}" for row in paths]
    groups = groups and [groups[i] for i in at]
    if rows and (paths or not folder.is_dir()):
        check_labels(labels, y[at] if paths else y, problems)
    files = list(paths.values())
    return Listing(folder, of, files, labels, kinds, y[at], groups, parts, choices, one_of, left, len(rows), remarks)


def _columns(header, rows, there, options: Options, problems: list[str], remarks: list[str]) -> dict | None:
    """Positions of the columns: file, group and split one or None, labels a list."""
    asked = {"file": options.file, "group": options.group, "split": options.split}
    given = [
        ("file", options.file),
        ("group", options.group),
        ("split", options.split),
        *[("labels", name) for name in options.labels],
    ]
    for word in ("classes", "continuous", "threshold"):
        given += [(word, name) for name in getattr(options, word)]
    wrong = [(word, name) for word, name in given if name is not None and name not in header]
    problems += [
        f"{word}={name}: the table has no such column; it has: {', '.join(map(shown, header))}" for word, name in wrong
    ]
    at = {word: header.index(name) if name in header else None for word, name in asked.items()}
    if options.file is None:
        at["file"] = _file_column(header, rows, there, {at["group"], at["split"]}, problems, remarks)
    if at["file"] is None:
        return None
    used = [i for i in (at["file"], at["group"], at["split"]) if i is not None]
    if len(set(used)) < len(used):
        problems.append("file=, group= and split= must name three columns")
    wanted = [header.index(name) for name in options.labels if name in header]
    at["labels"] = wanted if options.labels else [i for i in range(len(header)) if i not in used]
    if not at["labels"] and not wrong:
        problems.append("the table has no column of labels beside the pictures' names; add one")
    return at


def _file_column(header, rows, there, taken: set, problems: list[str], remarks: list[str]) -> int | None:
    """The first column, or where none of it names a file the only other one that does for most rows."""
    index, sample = index_of(there), list(rows.values())[:1000]
    names = [len({tuple(matches(cells[i], index)) for cells in sample} - {()}) for i in range(len(header))]
    good = [i for i, n in enumerate(names) if 2 * n > len(sample) and i not in taken]
    if names[0] or not good:
        return 0
    if len(good) == 1:
        remarks.append(f"The pictures' names are in the column {shown(header[good[0]])}.")
        return good[0]
    options = " or ".join(f"file={shown(header[i])}" for i in good)
    problems.append(f"no entry of the column {shown(header[0])} is a file in the folder; add {options}")
    return None


def _parts(cells: dict[int, str], word: str, problems: list[str]) -> list[int]:
    """The part of each row that a column says in words, or in CelebA's numbers."""
    folded = {row: cell.casefold() for row, cell in cells.items()}
    meaning = NUMBERS if set(folded.values()) <= set(NUMBERS) else PARTS
    bad = {
        row: f"row {row}, column {word}: {quoted(cells[row])} is not train, validation or test"
        for row, cell in folded.items()
        if cell not in meaning
    }
    add_alike(
        bad,
        problems,
        lambda n: f"column {word}: {counted(n, 'cell')} more like these; leave split={word} out to have parts drawn",
    )
    parts = [meaning.get(cell, 0) for cell in folded.values()]
    if not bad and 0 not in parts:
        problems.append(f"column {word}: no image is for training")
    return parts


def _level_of_parts(files: list[str]) -> int | None:
    """0 or 1, where the folders of this depth are all called train, test and the like, and training is among them; else
    None."""
    for level in (0, 1):
        folders = [PurePosixPath(name).parts[:-1] for name in files]
        if files and all(len(parts) > level for parts in folders):
            found = {PARTS.get(parts[level].casefold()) for parts in folders}
            if None not in found and 0 in found and len(found) > 1:
                return level
    return None


def _parts_of_folders(files: list[str], remarks: list[str]) -> list[int] | None:
    """The part of each file by its folder, and a remark; None where folders say none."""
    level = _level_of_parts(files)
    if level is None:
        return None
    remarks.append("The folders called train and test are kept as parts.")
    return [PARTS[PurePosixPath(name).parts[level].casefold()] for name in files]


# --- folders ------------------------------------------------------------------------------------------------------


def _of_folders(folder: Path, there: list[str], options: Options, problems: list[str]) -> Listing | None:
    """Images in folders named as their classes, under or over folders of parts."""
    for word in ("labels", "file", "split", "classes", "continuous", "threshold", "unknown", "sheet"):
        if getattr(options, word):
            problems.append(f"{word}= is about a table, and none was given: ./run_all.sh own IMAGES LABELS")
    if options.group not in (None, "folder"):
        problems.append(
            f"group={options.group} names a column, and no table was given; of images in folders of their own "
            f"give group=folder"
        )
    files = [name for name in there if name.lower().endswith(ENDINGS)]
    remarks, level = [], _level_of_parts(files)
    parts = _parts_of_folders(files, remarks)
    folders = [[part for i, part in enumerate(PurePosixPath(name).parts[:-1]) if i != level] for name in files]
    loose = [name for name, above in zip(files, folders, strict=True) if not above]
    if len({above[0] for above in folders if above}) < 2:
        tables = [name for name in there if name.lower().endswith((".csv", ".tsv", ".txt", ".xlsx"))]
        near = (
            f"; {shown(tables[0])} may be it: ./run_all.sh own {shown(folder)} {shown(folder / tables[0])}"
            if tables
            else ""
        )
        problems.append(f"{folder} has no sub-folders named as classes, so give a table of labels too{near}")
        return None
    if loose:
        problems.append(
            f"{counted(len(loose), 'image')} in no class folder, as {shown(loose[0])}; move them to their classes, "
            f"or to a folder called {UNLABELLED[0]}, whose images train without a label"
        )
    known = {
        name: above[0]
        for name, above in zip(files, folders, strict=True)
        if above and above[0].casefold() not in UNLABELLED
    }
    found: Labels = classes("", known, files, problems, remarks)
    groups = [str(PurePosixPath(name).parent) for name in files] if options.group else None
    check_labels(found.names, found.values, problems)
    left, nowhere = set(there) - set(files), [""] * len(files)
    said = (found.names, found.kinds, found.values, groups, parts, found.choices, found.one_of)
    return Listing(folder, nowhere, files, *said, left, len(files), remarks)


# --- options ------------------------------------------------------------------------------------------------------


def read_options(words: dict[str, str], problems: list[str]) -> Options:
    """The options of this module among word=value; what is wrong is added to problems."""
    listed = {
        word: tuple(part.strip() for part in words.get(word, "").split(",") if part.strip())
        for word in ("labels", "classes", "continuous", "unknown")
    }
    threshold = {}
    for part in filter(None, words.get("threshold", "").split(",")):
        column, _, value = part.rpartition(":")
        if not column or not re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d\d?)?", value):
            problems.append(
                f"threshold={shown(words['threshold'])}: {quoted(part)} is not <column>:<number>, "
                "as in threshold=age:50"
            )
        else:
            threshold[column] = float(value)
    fit = words.get("fit", FITS[0])
    if fit not in FITS:
        problems.append(f"fit must be {', '.join(FITS[:-1])} or {FITS[-1]}, not {quoted(fit)}")
    ways = {"classes": listed["classes"], "continuous": listed["continuous"], "threshold": threshold}
    for one, other in itertools.combinations(ways, 2):
        both = sorted(set(ways[one]) & set(ways[other]))
        problems += [f"{one}={name} and {other}={name}: leave one out" for name in both]
    listed["unknown"] = tuple(value.casefold() for value in listed["unknown"])
    single = {word: words.get(word) for word in ("file", "group", "split", "sheet")}
    return Options(**listed, threshold=threshold, fit=fit, **single)
