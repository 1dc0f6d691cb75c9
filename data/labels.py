"""The table of labels of one's own images: a CSV file or an Excel workbook's sheet, with a header, then a row an image;
every fault of it is told with its row and column."""

import codecs
import csv
import datetime
import io
import re
import zipfile
from pathlib import Path

import numpy as np

from .columns import WORDS, counted, why_no_name
from .files import UNREADABLE, read_limited, reason
from .messages import quoted, shown

FEWEST, FEWEST_LABELLED = 50, 20  # images in all, and of them with a label that is known
MAX_TABLE = 100 << 20  # bytes of the table of labels
WORKBOOKS = (".xls", ".ods", ".numbers")  # whose sheets are not read
ZIP = b"PK\3\4"  # how an xlsx file begins


def read_rows(
    path: Path, problems: list[str], remarks: list[str], sheet: str | None = None
) -> tuple[list[str], dict[int, list[str]]]:
    """The names of the columns, and of each row that is not empty, the header being row 1, its cells. sheet: a
    workbook's, where it has several. What is wrong is added to `problems`."""
    try:
        content = read_limited(path, MAX_TABLE)
    except OSError as error:
        problems.append(f"{path} can't be read ({reason(error)}); give the table with the labels")
        return [], {}
    workbook = content.startswith(ZIP) and path.suffix.lower() not in WORKBOOKS
    if sheet is not None and not workbook:
        problems.append(f"sheet={sheet}: {path.name} is no Excel workbook (xlsx); leave it out")
    cells = _sheet(path, content, sheet, problems) if workbook else _cells(path, content, problems, remarks)
    header, *body = _without_a_title(path, cells, problems, remarks) or [[]]
    rows = {}
    for row, cells in enumerate(body, 2):
        if not any(cells):
            continue
        if len(cells) > len(header) and not any(cells[len(header) :]):  # Excel's empty cells at the right
            cells = cells[: len(header)]
        if len(cells) != len(header):
            problems.append(f"row {row}: {counted(len(cells), 'cell')}, where row 1 has {len(header)}")
        rows[row] = (cells + [""] * len(header))[: len(header)]
    while header and not header[-1] and not any(cells[-1] for cells in rows.values()):
        header, rows = header[:-1], {row: cells[:-1] for row, cells in rows.items()}
    return header, rows


def _sheet(path: Path, content: bytes, name: str | None, problems: list[str]) -> list[list[str]]:
    """All cells of a workbook's sheet as text: numbers as Excel shows them, dates as 2026-11-30."""
    import openpyxl

    try:
        size = sum(info.file_size for info in zipfile.ZipFile(io.BytesIO(content)).infolist())
        if size > MAX_TABLE:
            raise ValueError(f"it has {size:,} bytes, unpacked, more than {MAX_TABLE:,}")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        found = {sheet.title: [[_cell(value) for value in row] for row in sheet.values] for sheet in book.worksheets}
    except UNREADABLE as error:
        problems.append(f"{path} can't be read as an Excel workbook ({reason(error)}); save its sheet as CSV, UTF-8")
        return []
    filled = [title for title, rows in found.items() if any(map(any, rows))]
    titles = ", ".join(map(shown, filled))
    if name is not None and name not in filled:
        problems.append(f"sheet={name}: {path.name} has no such sheet with cells; it has: {titles}")
    elif name is None and len(filled) > 1:
        problems.append(f"{path.name} has several sheets: {titles}; add sheet={shown(filled[0])}")
    elif not filled:
        problems.append(f"{path.name} has no sheet with cells")
    else:
        rows = found[name or filled[0]]
        width = max((i + 1 for i, cell in enumerate(rows[0]) if cell), default=0)
        return [row[:width] + [""] * (width - len(row)) + row[width:] for row in rows]
    return []


def _cell(value) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return "" if value is None else str(value).strip()


def _text(path: Path, content: bytes, problems: list[str], remarks: list[str]) -> str | None:
    """The file's text in UTF-8, UTF-16 with its mark (Excel's "Unicode text"), or else Windows-1252, which is told."""
    if path.suffix.lower() in WORKBOOKS:
        problems.append(f"{path} is a spreadsheet; save its sheet as xlsx, or as CSV, UTF-8, and give that")
        return None
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        text = content.decode("cp1252", errors="replace")
        remarks.append(
            f"{path.name} is not UTF-8 (byte {error.start + 1:,}): it was read as Windows-1252 "
            "(Latin-1); check names with accents."
        )
    if "\0" in text:
        problems.append(f"{path} is not text; give the CSV file with the labels")
        return None
    return text


def _cells(path: Path, content: bytes, problems: list[str], remarks: list[str]) -> list[list[str]]:
    """All cells of a CSV file without the spaces around them, separated by what its first line has most of: comma,
    semicolon or tab; or by what a first line "sep=;" says, which Excel writes and hides."""
    rows = []
    if (text := _text(path, content, problems, remarks)) is None:
        return []
    told, text = re.match(r"(?:\"?sep=([,;\t])\"?\r?\n)?(.*)", text, re.DOTALL | re.IGNORECASE).groups()
    first = (text.splitlines() or [""])[0]
    delimiter = told or max(",;\t", key=first.count)
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        why = "a quotation mark is opened there and not closed" if "unexpected end" in str(error) else str(error)
        problems.append(f"row {len(rows) + 1} can't be read as CSV ({why}); correct it")
        return []
    if delimiter in first:
        return rows
    problems.append(
        f"{path}: row 1 has no comma, semicolon or tab; it must name a column for the file and one for each label"
    )
    return []


def _without_a_title(path: Path, rows: list[list[str]], problems: list[str], remarks: list[str]) -> list[list[str]]:
    """The rows, without a first column of their numbers, or none where the first one is no header."""
    header = rows[0] if rows else []
    if len(header) > 1 and not any(header[1:]):
        problems.append("row 1 names one column only, as a title does; remove what stands above the columns' names")
    elif len(header) > 2 and not header[0] and all(row[:1] and row[0].isdigit() for row in rows[1:] if any(row)):
        remarks.append(f"The first column of {path.name} has no name and holds numbers of rows: it was left out.")
        return [row[1:] for row in rows]
    else:
        return rows
    return []


def check_header(header: list[str], columns: list[int], problems: list[str]) -> list[str]:
    """The names of the columns of labels; one without a name is called by its number, in further messages."""
    for i in columns:
        name, where = header[i], f"row 1, column {i + 1}"
        if not name:
            problems.append(f"{where}: has no name; name the label, or remove the column")
        elif name.casefold() in WORDS and name.casefold()[0] in "01":
            problems.append(f"{where}: {quoted(name)} is a value; the first row must hold the columns' names")
        elif name in header[:i]:
            problems.append(f"{where}: a second column {shown(name)}")
        elif why := why_no_name(name):
            problems.append(f"{where}: {why}")
    return [header[i] or str(i + 1) for i in columns]


def check_labels(labels: list[str], y: np.ndarray, problems: list[str]) -> None:
    """Whether there is enough to learn of labels (N, L), NaN where not known; of those with bad values that can't be
    said."""
    bad = [
        label
        for label in labels
        if any(re.search(f"(^|, )column {re.escape(label)}: ", problem) for problem in problems)
    ]
    if len(y) < FEWEST:
        problems.append(f"{counted(len(y), 'image')}, and {FEWEST} or more are needed")
    elif (n := int((~np.isnan(y)).any(1).sum())) < FEWEST_LABELLED and not bad:
        problems.append(f"{counted(n, 'image')} with a label that is known, and {FEWEST_LABELLED} or more are needed")
    for label, column in zip(labels, y.T, strict=True):
        values = np.unique(column[~np.isnan(column)])
        if label in bad:
            continue
        if not len(values):
            problems.append(f"column {shown(label)}: never known; fill in some of it, or remove the column")
        elif len(values) == 1:
            known = int((~np.isnan(column)).sum())
            problems.append(
                f"column {shown(label)}: {values[0]:g} wherever it is known ({known:,} times), so there "
                "is nothing to learn; remove it"
            )
