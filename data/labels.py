"""The table of labels of one's own images: a CSV file with a header, then a row an image; every fault of it is told with its row and column."""

import csv
import io
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from .files import read_limited, reason, shown

UNKNOWN = -1  # of a label, in the file
EMPTY = ("", "na", "nan", "n/a", "#n/a", "<na>", "null", "none")  # what pandas, R and Excel write where nothing is known
VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1} | dict.fromkeys(EMPTY, UNKNOWN)
FEWEST, FEWEST_LABELLED = 50, 20  # images in all, and of them with a label that is known
ALIKE = 5  # of those that are alike, in one column or of names without a file
MAX_TABLE = 100 << 20  # bytes of the table of labels
RESERVED = r"file|part|.* (probability|mean|sd)"  # columns that characteristics.csv has beside the labels


def read_table(path: Path, problems: list[str], person: str | None = None):
    """Label names; file names by row, the header being row 1; values, int8 (N, L); of each row the person, if `person` names a column.
    What is wrong is added to `problems`."""
    header, *body = _cells(path, problems) or [[]]
    who = header.index(person, 1) if person in header[1:] else None
    if person is not None and who is None and header:
        problems.append(f"person={person}: the table has no such column; it has: {', '.join(header[1:])}")
    columns = [i for i in range(1, len(header)) if i != who]
    labels = _label_names(header, columns, problems) if header else []
    rows, values, persons, seen, bad = {}, [], [], {}, {}
    for number, cells in enumerate(body, 2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            problems.append(f"row {number}: {counted(len(cells), 'cell')}, where row 1 has {len(header)}")
        name = cells[0].replace("\\", "/").removeprefix("./")
        if not name:
            problems.append(f"row {number}, column {header[0] or 1}: no file name")
        elif name in seen:
            problems.append(f"row {number}: {_short(name)} is there already, in row {seen[name]}")
        else:
            seen[name] = number
        rows[number] = name
        cells = cells + [""] * (len(header) - len(cells))
        persons.append(cells[who] if who else "")
        values.append([VALUES.get(cells[i].lower(), UNKNOWN) for i in columns])
        for label, i in zip(labels, columns, strict=True):
            if cells[i].lower() not in VALUES:
                bad.setdefault(label, {})[number] = cells[i][:40]
    for label, cells in bad.items():
        _bad_cells(label, cells, problems)
    return labels, rows, np.array(values, np.int8).reshape(len(rows), len(labels)), persons if who else None


def _bad_cells(label: str, cells: dict[int, str], problems: list[str]) -> None:
    said = {row: f"row {row}, column {label}: {cell!r} is not 0, 1 or empty" for row, cell in cells.items()}
    kinds = ", ".join(map(repr, list(dict.fromkeys(cells.values()))[:ALIKE]))
    advice = f"(it has {kinds} and so on); of classes or sizes make labels, a column of 0 and 1 each"
    if set(cells.values()) == {"-1"}:
        advice = "(-1 stands for 0 in some tables and for unknown in others); write 0, or leave the cell empty"
    elif len(set(cells.values())) > ALIKE:
        advice += f"; if it says who is in the picture, give person={label}"
    _add(said, problems, lambda n: f"column {label}: {counted(n, 'cell')} more like these {advice}")


def counted(n: int, word: str, words: str | None = None) -> str:
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def _short(name: str) -> str:
    """A name for a message: a quotation mark that is not closed makes a name of many rows."""
    return shown(name if len(name) <= 200 else name[:200] + "…")


def _add(said: dict[int, str], problems: list[str], more: Callable[[int], str]) -> None:
    """Problems that are alike, by row: all, or of many the first and, in words of `more`, how many there are beside them."""
    lines = list(said.values())
    problems += lines[:ALIKE]
    if len(lines) > ALIKE:
        problems.append(more(len(lines) - ALIKE))


def _cells(path: Path, problems: list[str]) -> list[list[str]]:
    """All cells of a CSV file without the spaces around them, separated by what its first line has most of: comma, semicolon or tab;
    or by what a first line "sep=;" says, which Excel writes and hides."""
    rows = []
    try:
        text = read_limited(path, MAX_TABLE).decode("utf-8-sig")
        told, text = re.match(r"(?:sep=([,;\t])\r?\n)?(.*)", text, re.DOTALL).groups()
        first = (text.splitlines() or [""])[0]
        delimiter = told or max(",;\t", key=first.count)
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            rows.append([cell.strip() for cell in row])
    except UnicodeDecodeError as error:
        problems.append(f"{path} is not text in UTF-8 (byte {error.start + 1:,}); save it as CSV, UTF-8")
    except OSError as error:
        problems.append(f"{path} can't be read ({reason(error)}); give the CSV file with the labels")
    except csv.Error as error:
        why = "a quotation mark is opened there and not closed" if "unexpected end" in str(error) else str(error)
        problems.append(f"row {len(rows) + 1} can't be read as CSV ({why}); correct it")
    else:
        return _without_a_title(path, rows, delimiter in first, problems)
    return []


def _without_a_title(path: Path, rows: list[list[str]], separated: bool, problems: list[str]) -> list[list[str]]:
    """The rows, or none where the first one is no header."""
    header = rows[0] if rows else []
    if not separated:
        problems.append(f"{path}: row 1 has no comma, semicolon or tab; it must name a column for the file and one for each label")
    elif len(header) > 1 and not any(header[1:]):
        problems.append("row 1 names one column only, as a title does; remove what stands above the columns' names")
    elif len(header) > 2 and not header[0] and all(row[:1] and row[0].isdigit() for row in rows[1:] if any(row)):
        problems.append("row 1, column 1: has no name, and below it are numbers of rows; remove the column (pandas: index=False)")
    else:
        return rows
    return []


def _label_names(header: list[str], columns: list[int], problems: list[str]) -> list[str]:
    """The names of the label columns; one without a name is called by its number, in further messages."""
    for number, name in ((i + 1, header[i]) for i in columns):
        if not name:
            problems.append(f"row 1, column {number}: has no name; name the label, or remove the column")
        elif name.lower() in VALUES:
            problems.append(f"row 1, column {number}: {name!r} is a value; the first row must hold the columns' names")
        elif name in header[1 : number - 1]:
            problems.append(f"row 1, column {number}: a second column {name}")
        elif re.fullmatch(RESERVED, name) or re.search(r"[$<>]", name) or not name.isprintable() or len(name) > 60:
            problems.append(
                f"row 1, column {number}: a label can't be called {name[:60]!r}; give it another name, of 60 characters or fewer that can be printed, without $, < and >"
            )
    return [header[i] or str(i + 1) for i in columns]


def check_labels(labels: list[str], y: np.ndarray, problems: list[str]) -> None:
    """Whether there is enough to learn; of labels with bad values that can't be said."""
    bad = [label for label in labels if any(re.search(f"(^|, )column {re.escape(label)}: ", problem) for problem in problems)]
    if len(y) < FEWEST:
        problems.append(f"{counted(len(y), 'image')}, and {FEWEST} or more are needed")
    elif (n := int((y != UNKNOWN).any(1).sum())) < FEWEST_LABELLED and not bad:
        problems.append(f"{counted(n, 'image')} with a label that is known, and {FEWEST_LABELLED} or more are needed")
    for label, column in zip(labels, y.T, strict=True):
        values = np.unique(column[column != UNKNOWN])
        if label in bad:
            continue
        if not len(values):
            problems.append(f"column {label}: never known; fill in some of it, or remove the column")
        elif len(values) == 1:
            known = int((column != UNKNOWN).sum())
            problems.append(f"column {label}: {values[0]} wherever it is known ({known:,} times), so there is nothing to learn; remove it")


def named_files(rows: dict[int, str], folder: Path, there: list[str], problems: list[str]) -> dict[int, Path]:
    """The files of the rows that name one."""
    alike = {_folded(name): name for name in there} | {_folded(PurePosixPath(name).with_suffix("")): name for name in there}
    names, paths, lacking = set(there), {}, {}
    for row, name in rows.items():
        if name in names:
            paths[row] = folder / name
        elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or re.match(r"[A-Za-z]:", name):
            problems.append(f"row {row}: {_short(name)} leads out of the folder; name files as seen from {folder}")
        elif name:
            near = alike.get(_folded(name)) or alike.get(_folded(PurePosixPath(name).with_suffix("")))
            lacking[row] = f"row {row}: there is no file {_short(name)} in {folder}" + (f"; there is {shown(near)}" if near else "")
    holds = f"the folder holds {counted(len(there), 'file')}" + (f", as {shown(there[0])}" if there else "")
    _add(lacking, problems, lambda n: f"the files of {counted(n, 'row')} more are not there either; {holds}")
    return paths


def _folded(name) -> str:
    """Names that differ only in upper and lower case, or in how accents are stored, are alike."""
    return unicodedata.normalize("NFC", str(name)).casefold()
