"""Which file of a folder a table's row means: names with or without folder and ending, in any case, where it is
clear."""

import unicodedata
from pathlib import Path, PurePosixPath

from .columns import add_alike, counted
from .messages import shown


def index_of(there: list[str]) -> dict[str, list[str]]:
    """For each way to name a file, from any of its folders on, with its ending or without: the files that are named
    so."""
    index = {}
    for name in there:
        path = PurePosixPath(name)
        for start in range(len(path.parts)):
            end = "/".join(path.parts[start:])
            for way in {_folded(end), _folded(PurePosixPath(end).with_suffix(""))}:
                index.setdefault(way, []).append(name)
    return index


def matches(name: str, index: dict[str, list[str]]) -> list[str]:
    """The files that a name may mean: exactly this one, or by ways of `index_of`; or, of a name with further folders
    before it, those whose whole path it ends with."""
    path = _folded(name.replace("\\", "/")).removeprefix("./")
    for start in range(path.count("/") + 1):
        end = "/".join(path.split("/")[start:])
        found = index.get(end, []) if end else []
        if start:
            found = [
                file for file in found if _folded(file) == end or _folded(PurePosixPath(file).with_suffix("")) == end
            ]
        if found:
            exact = [file for file in found if _folded(file) == end]
            whole = [file for file in found if _folded(PurePosixPath(file).with_suffix("")) == end]
            return [file for file in exact if file == name] or exact or whole or found
    return []


def named_files(
    names: dict[int, str], folder: Path, there: list[str], problems: list[str], remarks: list[str], column: str
) -> dict[int, str]:
    """The file of each row that names one. Files that are not there are remarks, if they are few."""
    index, paths, rows, lacking, double = index_of(there), {}, {}, {}, {}
    for row, name in names.items():
        found = matches(name, index) if name else []
        if not name:
            problems.append(f"row {row}, column {column or 1}: no file name")
        elif ".." in PurePosixPath(name.replace("\\", "/")).parts:
            problems.append(f"row {row}: {_short(name)} leads out of the folder; name files as seen from {folder}")
        elif len(found) > 1:
            some = " or ".join(shown(file) for file in found[:3])
            double[row] = f"row {row}: {_short(name)} may be {some}; write the folder or the ending too"
        elif not found:
            lacking[row] = f"row {row}: there is no file {_short(name)} in {folder}{_near(name, index)}"
        elif found[0] in rows:
            problems.append(f"row {row}: {_short(name)} is there already, in row {rows[found[0]]}")
        else:
            paths[row], rows[found[0]] = found[0], row
    add_alike(double, problems, lambda n: f"{counted(n, 'name')} more may be several files each")
    holds = f"the folder holds {counted(len(there), 'file')}" + (f", as {shown(there[0])}" if there else "")
    few = len(lacking) * 2 <= len(names)
    if lacking and there:
        lines = []
        add_alike(lacking, lines, lambda n: f"the files of {counted(n, 'row')} more are not there either; {holds}")
        if few:
            remarks += [f"Left out: {line}." for line in lines]
        else:
            problems += lines
    elif lacking and folder.is_dir():
        problems.append(f"the folder {folder} holds no file")
    return paths


def _near(name: str, index: dict[str, list[str]]) -> str:
    """A file of nearly that name, for a message."""
    stem = (
        PurePosixPath(PurePosixPath(name.replace("\\", "/")).name).with_suffix("") if PurePosixPath(name).name else ""
    )
    near = index.get(_folded(stem))
    return f"; there is {shown(near[0])}" if near else ""


def _short(name: str) -> str:
    """A name for a message: a quotation mark that is not closed makes a name of many rows."""
    return shown(name, 200)


def _folded(name) -> str:
    """Names that differ only in upper and lower case, or in how accents are stored, are alike."""
    return unicodedata.normalize("NFC", str(name)).casefold()
