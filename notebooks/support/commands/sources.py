"""What a Python file or a notebook is made of, for the graph: the project's files that it imports, itself or through
others."""

import ast
import functools
import json
from pathlib import Path

from .. import ROOT

TOPS = {"support": ROOT / "notebooks", "data": ROOT, "mccvae_core": ROOT}


def sources(*names: str) -> list[str]:
    """The files `names` and all of this project that they import, as paths below the project's folder."""
    found, left = set(), [ROOT / name for name in names]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += files_of(path)
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@functools.cache
def files_of(path: Path) -> set[Path]:
    """The project's files that a file imports itself."""
    return {file for name in imported(path) for file in _files(name)}


def imported(path: Path) -> set[str]:
    """What a file imports, wherever in it, relative names resolved: "torch", "data.files", "support.runs.Run"."""
    top = ROOT / "notebooks" if path.is_relative_to(ROOT / "notebooks") else ROOT
    package, names = path.relative_to(top).parent.parts, set()
    for node in ast.walk(ast.parse(_code(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def _code(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


def _files(name: str) -> list[Path]:
    """The project's files that the import of a name reads: modules, and the packages they lie in."""
    top, *parts = name.split(".")
    if top not in TOPS:
        return []
    place, found = TOPS[top] / top, []
    for part in (*parts, None):
        found += [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
        place = place / part if part else place
    return found
