"""Pictures from files: the one place where a picture is opened, for the published sets and for own images.

Only formats of FORMATS are looked for, whatever a file is called: others start programs (EPS: Ghostscript) or read
further files. A picture is refused before it is decoded if it has more than MAX_PIXELS pixels, and no more than that
are decoded side by side."""

import contextlib
import dataclasses
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from . import dicom
from .files import UNREADABLE, DataError, open_regular, reason
from .messages import shown

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
NAMED = "PNG, JPEG, TIFF, BMP, GIF, WebP, PNM, JPEG 2000, AVIF, HEIC and DICOM"
ENDINGS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".j2k",
    ".avif",
    ".heic",
    ".heif",
    ".dcm",
    ".dicom",
)
PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF")  # formats of which a file may hold several pictures
MAX_PIXELS = 50_000_000  # of a picture; a larger one is refused before it is decoded
MAX_FILE = 64 << 20  # bytes of a picture in an archive, unpacked
RAW_SIDE = 64  # of chest X-rays and faces in the cache
DARK = 16  # of 255: the brightest of a picture that is nearly black
FEW_BITS = 1 << 14  # of 65,535: 10, 12 or 14 bits that were saved in 16 stay below
warnings.filterwarnings(
    "ignore", category=Image.DecompressionBombWarning
)  # MAX_PIXELS is lower, and its message names the file
pillow_heif.register_heif_opener()


class Budget:
    """So many pixels may be decoded at a time, by all threads together."""

    def __init__(self, pixels: int):
        self.free, self.changed = pixels, threading.Condition()

    @contextlib.contextmanager
    def spend(self, pixels: int):
        """Wait until there are so many, and give them back after the with block."""
        with self.changed:
            self.changed.wait_for(lambda: self.free >= pixels)
            self.free -= pixels
        try:
            yield
        finally:
            with self.changed:
                self.free += pixels
                self.changed.notify_all()


IN_FLIGHT = Budget(MAX_PIXELS)


@contextlib.contextmanager
def opened(path: Path | zipfile.Path, near: int | None = None):
    """A picture's file, opened and, within the with block, to be decoded. near: a JPEG may be decoded at a smaller
    size, from this side on.

    Raises DataError, which says what is wrong with the file but not which it is.
    """
    try:
        if isinstance(path, zipfile.Path) and (size := path.root.getinfo(path.at).file_size) > MAX_FILE:
            raise DataError(f"has {size:,} bytes, more than {MAX_FILE:,}")
        with (
            path.open("rb") if isinstance(path, zipfile.Path) else open_regular(path) as file,
            Image.open(file, formats=FORMATS) as image,
        ):
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; make it smaller")
            if near is not None:
                image.draft(None, (near, near))
            with IN_FLIGHT.spend(image.width * image.height):
                yield image
    except UnidentifiedImageError:
        raise DataError(f"is not an image that can be read ({NAMED} can)") from None
    except Image.DecompressionBombError:
        raise DataError(f"has more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except UNREADABLE as error:
        raise DataError(f"can't be read as an image ({reason(error)})") from None


# --- of the published sets --------------------------------------------------------------------------------------


def read_image(
    path: Path | zipfile.Path,
    mode: str,
    *,
    modes: tuple[str, ...],
    size: tuple[int, int] | None = None,
    again: str | None = None,
) -> np.ndarray:
    """One picture, turned to `mode` and resized to 64x64 (whole picture, bilinear, antialiased).

    Raises DataError where it can't be read, its mode is not among `modes`, or it has not the `size` (width, height)
    that the publisher's files have (None: any size from 64x64); `again` says how to get the original.
    """
    try:
        with opened(path) as image:
            if image.mode not in modes:
                raise DataError(f"has mode {image.mode}, where {' or '.join(modes)} is expected")
            has = f"is {image.width}x{image.height} pixels"
            if size is not None and image.size != size:
                raise DataError(f"{has}, where {size[0]}x{size[1]} is expected")
            if min(image.size) < RAW_SIDE:
                raise DataError(f"{has}, smaller than {RAW_SIDE}x{RAW_SIDE}")
            return np.asarray(image.convert(mode).resize((RAW_SIDE, RAW_SIDE), Image.Resampling.BILINEAR))
    except DataError as error:
        raise DataError(f"{path} {error}; {again or 'delete it and get the original file again'}") from None


def read_images(paths: list[Path | zipfile.Path], mode: str, **checks) -> np.ndarray:
    """`read_image` of many files, side by side, with progress on a terminal; (N, 64, 64[, 3])."""
    from tqdm import tqdm

    with ThreadPoolExecutor() as pool:
        rows = pool.map(lambda path: read_image(path, mode, **checks), paths)
        return np.stack(list(tqdm(rows, total=len(paths), unit="image", disable=not sys.stderr.isatty())))


# --- of one's own -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Picture:
    """pixels: uint8 (side, side, 3). dark: nearly black, perhaps because fewer than 16 bits were saved as 16. several:
    the file holds more."""

    pixels: np.ndarray
    dark: bool
    several: bool


def fitted(image: Image.Image, side: int, fit: str) -> np.ndarray:
    """An RGB picture as uint8 (side, side, 3), bilinear and antialiased. fit: "pad", the whole picture between bars of
    its border's mean colour; "crop", its middle; "stretch", the whole picture, whose sides change their ratio."""
    width, height = image.size
    if fit == "crop":
        least = min(width, height)
        left, top = (width - least) // 2, (height - least) // 2
        return np.asarray(
            image.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + least, top + least))
        )
    if fit == "stretch" or width == height:
        return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    small = tuple(max(1, round(side * length / max(width, height))) for length in (width, height))
    pixels = np.asarray(image.resize(small, Image.Resampling.BILINEAR))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    out = np.empty((side, side, 3), np.uint8)
    out[:] = border.mean(0).round()
    top, left = (side - small[1]) // 2, (side - small[0]) // 2
    out[top : top + small[1], left : left + small[0]] = pixels
    return out


def read_picture(path: Path, side: int = RAW_SIDE, fit: str = "pad") -> Picture:
    """A picture, by `fitted`.

    Of every mode and size that Pillow reads: transparency lies on white, 16 bits are turned to 8, a camera's rotation
    is undone. Of DICOM as the file says. Raises DataError, which says what is wrong with the file but not which it is.
    """
    if (scan := _dicom(path)) is not None:
        pixels = fitted(scan[0].convert("RGB"), side, fit)
        return Picture(pixels, int(pixels.max()) <= DARK, scan[1])
    with opened(path, near=4 * side) as image:
        several = image.format in PAGED and getattr(image, "n_frames", 1) > 1
        eight, few_bits = _eight_bits(ImageOps.exif_transpose(image))
        pixels = fitted(_as_rgb(eight), side, fit)
        return Picture(pixels, few_bits or int(pixels.max()) <= DARK, several)


def _dicom(path: Path) -> tuple[Image.Image, bool] | None:
    """The picture of a DICOM file, and whether it holds more; None for a file of another kind."""
    try:
        with open_regular(path) as file:
            if not dicom.is_dicom(file):
                return None
            header = dicom.read_header(file)
            if (pixels := header.Rows * header.Columns) > MAX_PIXELS:
                raise DataError(f"has {header.Columns}x{header.Rows} pixels, more than {MAX_PIXELS:,}; make it smaller")
            with IN_FLIGHT.spend(pixels):
                return dicom.read_image(file, header), int(header.get("NumberOfFrames") or 1) > 1
    except DataError:
        raise
    except Exception as error:  # a broken tag raises any of a dozen kinds
        raise DataError(f"can't be read as an image ({shown(reason(error), 200)})") from None


def _eight_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Without more than 8 bits a channel; and whether a picture of 16 used only 14 of them or fewer."""
    if image.mode == "F":
        raise DataError("holds floating-point numbers; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image, False
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65_535:
        raise DataError(f"holds values from {values.min()} to {values.max()}; save it with 8 or 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8)), int(values.max()) < FEW_BITS


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def read_pictures(paths: list[Path], side: int = RAW_SIDE, fit: str = "pad") -> Iterator[Picture | DataError]:
    """`read_picture` of many files, side by side and in order, with progress on a terminal; an error in the place of
    what can't be read."""
    from tqdm import tqdm

    def read(path):
        try:
            return read_picture(path, side, fit)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool, tqdm(total=len(paths), unit="image", disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(paths), 256):  # not all at once: whoever takes them may be slower
            for picture in pool.map(read, paths[start : start + 256]):
                bar.update()
                yield picture


def doubtful(pictures: dict[str, Picture]) -> list[str]:
    """Remarks on pictures, by name, that were read, but perhaps not as they were meant."""
    dark = [name for name, picture in pictures.items() if picture.dark]
    several = [name for name, picture in pictures.items() if picture.several]
    remarks = []
    if dark:
        which = f"{len(dark):,} picture{'s' * (len(dark) > 1)} nearly black, as {shown(dark[0])}"
        remarks.append(
            f"{which}: 16 bits are taken to use their whole range, so stretch pictures of 10, 12 or 14 bits first."
        )
    if several:
        remarks.append(
            f"{len(several):,} file{'s' * (len(several) > 1)} with several pages, as "
            f"{shown(several[0])}: the first counts."
        )
    return remarks
