"""`python -m data.example FOLDER`: a folder of images that the project draws itself, to try `./run_all.sh own` and
`apply` on.

FOLDER/images: drawn faces as PNG files; FOLDER/labels.csv: four labels of them, a third of the entries empty;
FOLDER/new: further faces; FOLDER/truth.csv: all labels of all faces. Always the same ones."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from . import celeba
from .files import reason, write_atomically
from .messages import plain

LABELS = {"Smiling": "smiling", "Eyeglasses": "glasses", "Bangs": "bangs", "Blond_Hair": "blond"}
COUNT, NEW = 600, 200
SEED = 7  # not the stand-in's


def draw(folder: Path, count: int = COUNT, new: int = NEW) -> None:
    """Raises FileExistsError where the folder is there and not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and not empty; name a new folder")
    drawing = celeba.draw(count + new, SEED)
    columns = [list(celeba.PARTS).index(label) for label in LABELS]
    truth = pd.DataFrame(drawing.labels[:, columns], columns=list(LABELS.values()), dtype="Int64")
    truth.insert(0, "file", [f"face_{i:04d}.png" for i in range(1, count + new + 1)])
    try:
        _write(folder, count, truth, drawing.images)
    except OSError as error:  # half of it would be in the way of the next try
        shutil.rmtree(folder, ignore_errors=True)
        why = error if error.filename is None else reason(error)
        raise OSError(error.errno, f"{folder} was not made ({why}); make room or name another folder") from None


def _write(folder: Path, count: int, truth: pd.DataFrame, images: np.ndarray) -> None:
    for i, (name, pixels) in enumerate(zip(truth["file"], images, strict=True)):
        path = folder / ("images" if i < count else "new") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    given = truth[:count].copy()
    hidden = np.random.default_rng(SEED).random((count, len(LABELS))) < 1 / 3
    given[list(LABELS.values())] = given[list(LABELS.values())].mask(hidden)
    write_atomically(folder / "truth.csv", truth.to_csv(index=False).encode())
    write_atomically(folder / "labels.csv", given.to_csv(index=False).encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: ./run_all.sh draw FOLDER")
    try:
        draw(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(plain(f"run_all.sh: {error}"))
    print(f"{COUNT} drawn faces in images, {NEW} further ones in new, labels.csv and truth.csv: all in {sys.argv[1]}")
