"""The file checksums.txt of an outputs folder: what it lists, writing it, and holding the folder against it."""

import os
from pathlib import Path

from data.files import digest, open_regular, reason, shown, write_atomically

from .. import runs

SUMS = "checksums.txt"  # as sha256sum writes and reads it

MADE = (
    "tables",
    "figures",
    "notebooks",
    "benchmarks",
    "report.html",
    "details.html",
    "README.md",
    SUMS,
)  # made from the rest, or words


def listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names, with /, of the regular files below a folder, and a line for whatever else lies there or can't be read."""
    names, faults = [], []
    closed = lambda error: faults.append(f"{shown(error.filename)} can't be read ({reason(error)})")  # noqa: E731
    for path, _, files in os.walk(folder, onerror=closed):
        for file in (Path(path, name) for name in sorted(files) if name != ".lock"):
            name = file.relative_to(folder).as_posix()
            try:
                if file.is_symlink():
                    raise OSError(0, "it is a link")
                open_regular(file).close()
                names.append(name)
            except OSError as error:
                faults.append(f"{shown(name)} can't be read ({reason(error)})")
    return sorted(names), faults


def _vouched(names: list[str]) -> list[str]:
    """The files that checksums.txt lists: what is published and not made from the rest. Weights beside a record stand
    in that."""
    kinds = (".json", ".csv", ".gz", ".txt", ".safetensors", "")
    beside = (runs.WEIGHTS, runs.BEST_WEIGHTS, "data.json")
    paths = {name: Path(name) for name in names if not Path(name).name.startswith((".", "checkpoint"))}
    mine = {name: path for name, path in paths.items() if path.parts[0] not in MADE and "figures" not in path.parts}
    return [name for name, path in mine.items() if path.suffix in kinds and path.name not in beside]


def seal(folder: Path) -> None:
    """Write the folder's checksums.txt."""
    lines = [f"{digest(folder / name)}  {name}\n" for name in _vouched(listing(folder)[0])]
    write_atomically(folder / SUMS, "".join(lines).encode())


def against_sums(folder: Path, names: list[str]) -> tuple[str, list[str]]:
    if SUMS not in names:
        return f"there is no {SUMS}", [f"{SUMS} is missing"] if (folder / "runs").is_dir() else []
    faults, listed = [], {}
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        sha256, _, name = line.partition("  ")
        listed[name] = sha256
    there = set(names)
    for name, sha256 in listed.items():
        if name not in there:
            faults.append(f"{shown(name)} is missing")
        elif digest(folder / name) != sha256:
            faults.append(f"{shown(name)} is not what was written, its checksum differs from that in {SUMS}")
    new = [name for name in _vouched(names) if name not in listed]
    faults += [f"{shown(name)} is not among what {SUMS} lists" for name in new]
    return f"{len(listed):,} files", faults
