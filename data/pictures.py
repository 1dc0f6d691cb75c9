"""Pictures from files: the one place where a picture is opened, for the published sets and for own images."""

import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from .files import UNREADABLE, DataError

MAX_PIXELS = 50_000_000  # of a picture; a larger one is refused before it is decoded
RAW_SIDE = 64  # of chest X-rays and faces in the cache


def read_image(path: Path | zipfile.Path, mode: str, *, modes: tuple[str, ...], size: tuple[int, int] | None = None) -> np.ndarray:
    """One picture, turned to `mode` and resized to 64x64 (whole picture, bilinear, antialiased).

    Raises DataError where it can't be read, its mode is not among `modes`, or it has not the `size` (width, height)
    that the publisher's files have (None: any size from 64x64).
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; replace it by a smaller one")
            if image.mode not in modes:
                raise DataError(f"{path} has mode {image.mode}, where {' or '.join(modes)} is expected; convert or replace it")
            if size is not None and image.size != size:
                raise DataError(
                    f"{path} is {image.width}x{image.height} pixels, where {size[0]}x{size[1]} is expected; get the original file again"
                )
            if min(image.size) < RAW_SIDE:
                raise DataError(
                    f"{path} is {image.width}x{image.height} pixels, smaller than {RAW_SIDE}x{RAW_SIDE}; get the original file again"
                )
            return np.asarray(image.convert(mode).resize((RAW_SIDE, RAW_SIDE), Image.Resampling.BILINEAR))
    except UNREADABLE as error:
        raise DataError(f"{path} can't be read as an image ({error}); delete it and get it again") from None


def read_images(paths: list[Path | zipfile.Path], mode: str, **checks) -> np.ndarray:
    """`read_image` of many files, side by side, with progress on a terminal; (N, 64, 64[, 3])."""
    from tqdm import tqdm

    with ThreadPoolExecutor() as pool:
        rows = pool.map(lambda path: read_image(path, mode, **checks), paths)
        return np.stack(list(tqdm(rows, total=len(paths), unit="image", disable=not sys.stderr.isatty())))
