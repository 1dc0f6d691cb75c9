"""A column of a table as people write it becomes labels: yes and no in words, classes by name, numbers with a threshold
(binary, 0 or 1), or numbers as they are (continuous).

What is ambiguous is asked for: the problem's one line shows the option to add.
"""

import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np

from .messages import plain, quoted, shown

UNKNOWN = -1  # of a label, in the file
EMPTY = (
    "",
    "na",
    "nan",
    "n/a",
    "#n/a",
    "<na>",
    "null",
    "none",
)  # what pandas, R and Excel write where nothing is known
YES = (
    "1",
    "true",
    "yes",
    "y",
    "positive",
    "pos",
    "present",
    "wahr",
    "ja",
    "vrai",
    "oui",
    "verdadero",
    "vero",
    "sí",
    "sì",
)
NO = ("0", "false", "no", "n", "negative", "neg", "absent", "falsch", "nein", "faux", "non", "falso")
WORDS = dict.fromkeys(YES, 1) | dict.fromkeys(NO, 0)
WITHOUT = (
    "normal",
    "healthy",
    "control",
    "benign",
    "background",
    "good",
    "ok",
    *EMPTY[1:],
    *NO,
)  # of two classes the one that is 0
RESERVED = r"file|part|.* (probability|predicted|mean|sd)"  # columns that characteristics.csv has beside the labels
CLASSES = 30  # the most that a column, or a folder, has
EACH = 10  # images of each class on average, fewer of more than five classes are rather names of persons
FEW = 0.2  # of the cells: so many that are not like the others are slips, more are a kind of their own
FOLDERS = "class"  # the name of what class folders say
ALIKE = 5  # of problems that are alike


class Labels:
    """What a column says: names of labels (L), their values float64 (N, L), NaN where not known (given as UNKNOWN of
    binary ones); one_of: of each image exactly one of them is 1; kinds: "binary" or "continuous" (L); choice: the name
    of what they are the values of, where they are classes, else ""."""

    def __init__(
        self, names: list[str], values: np.ndarray, *, one_of: bool = False, kind: str = "binary", choice: str = ""
    ):
        values = values.reshape(-1, len(names)).astype(float)
        self.values = np.where(values == UNKNOWN, np.nan, values) if kind == "binary" else values
        self.names, self.one_of, self.kinds = names, one_of, [kind] * len(names)
        self.choices = [choice] * len(names)


def counted(n: int, word: str, words: str | None = None) -> str:
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def add_alike(said: dict[int, str], problems: list[str], more: Callable[[int], str]) -> None:
    """Problems that are alike, by row: all, or of many the first and, in words of `more`, how many there are beside
    them."""
    lines = list(said.values())
    problems += lines[:ALIKE]
    if len(lines) > ALIKE:
        problems.append(more(len(lines) - ALIKE))


def why_no_name(name: str) -> str | None:
    """Why a label can't have a name; None: it can."""
    if re.fullmatch(RESERVED, name) or re.search(r"[$<>]", name) or not name.isprintable() or len(name) > 60:
        rule = "of 60 characters or fewer that can be printed, without $, < and >"
        return f"a label can't be called {quoted(name)}; give it another name, {rule}"
    return None


def number(cell: str) -> float | None:
    """A finite number with a decimal point or comma; None where it is none."""
    if re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,2})?", cell):
        value = float(cell.replace(",", "."))
        return value if math.isfinite(value) else None
    return None


def _folded(cell: str) -> str:
    """1.0 and 1,0 are 1, upper and lower case are alike."""
    value = number(cell)
    return f"{value:g}" if value is not None else cell.casefold()


def read_column(name: str, cells: dict[int, str], options, problems: list[str], remarks: list[str]) -> Labels:
    """The labels of a column. cells: by row. options: `layout.Options`. What is wrong is added to problems, what was
    decided to remarks."""
    empty = set(options.unknown) | set(EMPTY if name not in options.classes else ("", *EMPTY[1:7]))
    folded = {row: _folded(cell) for row, cell in cells.items()}
    known = {row: cell for row, cell in folded.items() if cell not in empty and cells[row].casefold() not in empty}
    numbers = {row: number(cell) for row, cell in known.items()}
    words = sum(cell in WORDS for cell in known.values()) / max(1, len(known))
    numeric = sum(value is not None for value in numbers.values()) / max(1, len(known))
    asked = options.threshold.get(name)
    if name in options.classes:
        return classes(name, {row: cells[row] for row in known}, list(cells), problems, remarks)
    if asked is not None:
        return _above(name, numbers, cells, asked, problems)
    if name in options.continuous:
        return _quantity(name, numbers, cells, problems)
    if words == 1 or (words >= 1 - FEW and numeric < 1):
        return _yes_or_no(name, known, cells, problems)
    if numeric == 1 and set(numbers.values()) == {-1, 1}:
        remarks.append(f"Column {name}: -1 is read as 0.")
        return _above(name, numbers, cells, 0, problems)
    if numeric >= 1 - FEW:
        return _of_numbers(name, numbers, cells, problems, remarks)
    if doubtful := sorted({cells[row] for row in cells if folded[row] == "none" and "none" not in options.unknown}):
        problems.append(
            f"column {name}: {quoted(doubtful[0])} may be a class or stand for what is not known; add classes={name} "
            f"or unknown={shown(doubtful[0], 60)}"
        )
    return classes(name, {row: cells[row] for row in known}, list(cells), problems, remarks, sure=False)


def _yes_or_no(name, known, cells, problems) -> Labels:
    bad = {row: cells[row] for row, cell in known.items() if cell not in WORDS}
    said = {row: f"row {row}, column {name}: {quoted(cell)} is not 0, 1, yes, no or empty" for row, cell in bad.items()}
    kinds = list(dict.fromkeys(bad.values()))
    if kinds:
        first = next(iter(said))
        said[first] += f" (add unknown={shown(kinds[0], 60)} if it stands for what is not known)"
    listed = ", ".join(map(quoted, kinds[:ALIKE]))
    add_alike(
        said, problems, lambda n: f"column {name}: {counted(n, 'cell')} more like these (it has {listed} and so on)"
    )
    return Labels([name], np.array([WORDS.get(known.get(row), UNKNOWN) for row in cells]))


def _each_number(name, numbers, cells, problems) -> np.ndarray:
    """The number of each row, NaN where not known; texts and infinities among them are problems."""
    bad = {row: cells[row] for row, value in numbers.items() if value is None}
    said = {row: f"row {row}, column {name}: {quoted(cell)} is no number; {_mend(cell)}" for row, cell in bad.items()}
    add_alike(said, problems, lambda n: f"column {name}: {counted(n, 'cell')} more that are no numbers")
    return np.array([np.nan if numbers.get(row) is None else numbers[row] for row in cells])


def _mend(cell: str) -> str:
    """What to do with a text among numbers. An option can't hold a comma."""
    if "," in cell or len(cell) > 60 or not cell.isprintable():
        return "correct it, or leave it empty if it stands for what is not known"
    return f"add unknown={cell} if it stands for what is not known"


def _above(name, numbers, cells, threshold, problems) -> Labels:
    values = _each_number(name, numbers, cells, problems)
    return Labels([name], np.where(np.isnan(values), UNKNOWN, values >= threshold))


def _quantity(name, numbers, cells, problems) -> Labels:
    """A continuous label, of numbers that differ and can't be misread."""
    values = _each_number(name, numbers, cells, problems)
    commas = [cells[row] for row in numbers if "," in cells[row]]
    if commas and all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell) for cell in commas):
        clear = f"{commas[0].replace(',', '')} or {commas[0].replace(',', '.')}"
        problems.append(f"column {name}: {quoted(commas[0])} may be {clear}; write it so, without a comma")
    return Labels([name], values, kind="continuous")


def _of_numbers(name, numbers, cells, problems, remarks) -> Labels:
    """A continuous label where a number has a fraction, so that the numbers can't be those of persons or classes; else
    it is asked for."""
    kinds = sorted({value for value in numbers.values() if value is not None})
    if None not in numbers.values() and len(kinds) > 2 and any(value != int(value) for value in kinds):
        how = f"learnt as they are (threshold={name}:{_middle(numbers.values()):.12g} makes them binary)"
        remarks.append(plain(f"Column {name}: numbers from {kinds[0]:g} to {kinds[-1]:g}, {how}."))
        return _quantity(name, numbers, cells, problems)
    _ask_of_numbers(name, numbers, cells, problems)
    return Labels([name], np.full(len(cells), UNKNOWN))


def _ask_of_numbers(name, numbers, cells, problems) -> None:
    """A column of whole numbers, or of two, says no label until an option says what they are."""
    bad = next((cells[row] for row, value in numbers.items() if value is None), None)
    there = [value for value in numbers.values() if value is not None]
    kinds = sorted(set(there))
    if bad is not None:
        problems.append(f"column {name}: {quoted(bad)} among numbers; {_mend(bad)}")
    elif len(kinds) == 1:
        where = f"{kinds[0]:g} wherever it is known ({counted(len(there), 'time')})"
        problems.append(f"column {name}: {where}, so there is nothing to learn; remove it")
    elif -1 in kinds and set(kinds) <= {-1, 0, 1}:
        problems.append(
            f"column {name}: -1 stands for no in some tables and for not known in others; add unknown=-1, or "
            f"threshold={name}:1 if it is no"
        )
    else:
        few = len(kinds) <= CLASSES and all(value == int(value) for value in kinds)
        other = f", or classes={name} if they are the numbers of classes" if few else ""
        itself = f"continuous={name} to learn the number itself, or " if len(kinds) > 2 else ""
        span = f"numbers from {kinds[0]:g} to {kinds[-1]:g}"
        binary = f"threshold={name}:{_middle(there):.12g} to make it binary, 1 from there on"
        problems.append(f"column {name}: {span}; add {itself}{binary}{other}")


def _middle(values) -> float:
    """The median of different numbers, or where that is the least the next: a threshold that leaves 0 and 1."""
    there = sorted(values)
    return max(there[len(there) // 2], sorted(set(there))[1])


def classes(
    name: str, known: dict, rows: list, problems: list[str], remarks: list[str], *, sure: bool = True
) -> Labels:
    """Labels of names of classes, by row or file: one label for each, or one for two classes. name: of the column; "":
    of folders.
    sure: these are names of classes; else many names of few images each are asked about."""
    spelt = {}
    for cell in known.values():
        spelt.setdefault(cell.casefold(), cell)
    count = Counter(cell.casefold() for cell in known.values())
    nothing = Labels([name], np.full(len(rows), UNKNOWN))
    if len(count) > CLASSES or (not sure and len(known) < EACH * len(count) and len(count) > 5):
        some = ", ".join(quoted(cell) for cell in list(spelt.values())[:3])
        sure = "" if len(count) > CLASSES else f", if these are classes classes={name}"
        who = f"if it says who is in the picture, add group={name}{sure}; else name the columns of labels: labels=a,b"
        who = who if name else f"{CLASSES} are the most; a table can say other labels"
        problems.append(
            f"{f'column {name}' if name else 'class folders'}: {len(count):,} different texts, as {some}; {who}"
        )
        return nothing
    if len(count) < 2:
        if count:  # of nothing that is known `check_labels` says it
            text = (
                f"{quoted(next(iter(spelt.values())))} wherever it is known ({counted(len(known), 'time')}), so "
                f"there is nothing to learn"
            )
            problems.append(f"column {name}: {text}; remove it")
        return nothing
    found = sorted(count)
    if len(found) == 2:
        found = [_positive(*found)]
    names = [f"{name} {spelt[cell]}".strip() for cell in found]
    for label in names:
        if why := why_no_name(label):
            problems.append(f"{f'column {name}' if name else 'class folders'}: {why}")
    values = [[int(known[row].casefold() == cell) if row in known else UNKNOWN for cell in found] for row in rows]
    sizes = ", ".join(f"{shown(spelt[cell])} {count[cell]:,}" for cell in sorted(count))
    one = f"; the label {names[0]} is 1 for {spelt[found[0]]}" if len(found) == 1 else "; one categorical label"
    remarks.append(plain(f"{f'Column {name}: classes' if name else 'Class folders:'} {sizes}{one}."))
    choice = (name or FOLDERS) if len(names) > 1 else ""
    return Labels(names, np.array(values), one_of=bool(choice) and len(known) == len(rows), choice=choice)


def _positive(first: str, second: str) -> str:
    """Of two classes the one that is 1: not the one that names a lack, else the second."""
    lacks = [cell in WITHOUT or bool(re.match(r"(no|not|without)\b|no_|non", cell)) for cell in (first, second)]
    return first if lacks == [False, True] else second
