"""A column of a table as people write it becomes labels of 0, 1 and UNKNOWN: yes and no in words, classes by name,
numbers with a threshold.

What is ambiguous is asked for: the problem's one line shows the option to add.
"""

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
RESERVED = r"file|part|.* (probability|mean|sd)"  # columns that characteristics.csv has beside the labels
CLASSES = 30  # the most that a column, or a folder, has
EACH = 10  # images of each class on average, fewer of more than five classes are rather names of persons
FEW = 0.2  # of the cells: so many that are not like the others are slips, more are a kind of their own
ALIKE = 5  # of problems that are alike


class Labels:
    """What a column says: names of labels (L), their values int8 (N, L); one_of: of each image exactly one of them is
    1."""

    def __init__(self, names: list[str], values: np.ndarray, *, one_of: bool = False):
        self.names, self.values, self.one_of = names, values.reshape(-1, len(names)).astype(np.int8), one_of


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
        return float(cell.replace(",", "."))
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
    if words == 1 or (words >= 1 - FEW and numeric < 1):
        return _yes_or_no(name, known, cells, problems)
    if numeric == 1 and set(numbers.values()) == {-1, 1}:
        remarks.append(f"Column {name}: -1 is read as 0.")
        return _above(name, numbers, cells, 0, problems)
    if numeric >= 1 - FEW:
        _ask_of_numbers(name, numbers, cells, problems)
        return Labels([name], np.full(len(cells), UNKNOWN))
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


def _above(name, numbers, cells, threshold, problems) -> Labels:
    said = {
        row: f"row {row}, column {name}: {quoted(cells[row])} is no number"
        for row, value in numbers.items()
        if value is None
    }
    add_alike(said, problems, lambda n: f"column {name}: {counted(n, 'cell')} more that are no numbers")
    values = [UNKNOWN if numbers.get(row) is None else int(numbers[row] >= threshold) for row in cells]
    return Labels([name], np.array(values))


def _ask_of_numbers(name, numbers, cells, problems) -> None:
    """A column of numbers says no label until a threshold is given."""
    bad = next((cells[row] for row, value in numbers.items() if value is None), None)
    there = sorted(value for value in numbers.values() if value is not None)
    kinds, middle = sorted(set(there)), there[len(there) // 2]
    if bad is not None:
        problems.append(
            f"column {name}: {quoted(bad)} among numbers; "
            f"add unknown={shown(bad, 60)} if it stands for what is not known"
        )
    elif -1 in kinds and set(kinds) <= {-1, 0, 1}:
        problems.append(
            f"column {name}: -1 stands for no in some tables and for not known in others; add unknown=-1, or "
            f"threshold={name}:1 if it is no"
        )
    else:
        middle = middle if middle > kinds[0] else kinds[min(1, len(kinds) - 1)]
        few = len(kinds) <= CLASSES and all(value == int(value) for value in kinds)
        other = f", or classes={name} if they are the numbers of classes" if few else ""
        span = f"numbers from {kinds[0]:g} to {kinds[-1]:g}"
        problems.append(
            f"column {name}: {span}; add threshold={name}:{middle:g} to make it binary, 1 from there on{other}"
        )


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
    one = f"; the label {names[0]} is 1 for {spelt[found[0]]}" if len(found) == 1 else "; a label for each"
    remarks.append(plain(f"{f'Column {name}: classes' if name else 'Class folders:'} {sizes}{one}."))
    return Labels(names, np.array(values), one_of=len(names) > 1 and len(known) == len(rows))


def _positive(first: str, second: str) -> str:
    """Of two classes the one that is 1: not the one that names a lack, else the second."""
    lacks = [cell in WITHOUT or bool(re.match(r"(no|not|without)\b|no_|non", cell)) for cell in (first, second)]
    return first if lacks == [False, True] else second
