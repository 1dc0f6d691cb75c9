"""Pictures in DICOM files, as hospitals have them: stored values become grey levels as the file itself says."""

import logging
import warnings

import numpy as np
from PIL import Image

from .files import DataError

MAGIC, MAGIC_AT = b"DICM", 128
WHITE_IS_LEAST = "MONOCHROME1"
warnings.filterwarnings("ignore", module="pydicom")  # what is missing and matters is told by an error
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def is_dicom(file) -> bool:
    """Whether an open file is one; it is read from its start again afterwards."""
    start = file.read(MAGIC_AT + len(MAGIC))
    file.seek(0)
    return start[MAGIC_AT:] == MAGIC


def read_header(file):
    """A file's data set but for its picture. Raises DataError where it holds none."""
    import pydicom

    header = pydicom.dcmread(file, stop_before_pixels=True)
    file.seek(0)
    if not header.get("Rows") or not header.get("Columns"):
        raise DataError("is a DICOM file without a picture")
    return header


def read_image(file, header) -> Image.Image:
    """The first picture of a file, grey or RGB of 8 bits a channel."""
    from pydicom import pixels

    values = pixels.pixel_array(file, index=0)
    file.seek(0)
    kind = header.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = pixels.apply_color_lut(values, header)
    if values.ndim == 3:
        return Image.fromarray(_eight_bits(values, 0, np.iinfo(values.dtype).max))
    grey = _eight_bits(pixels.apply_modality_lut(values, header), *shown_range(header))
    return Image.fromarray(255 - grey if kind == WHITE_IS_LEAST else grey)


def shown_range(header) -> tuple[float, float]:
    """Which values become black and white: those of the file's first window (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3),
    else the least and the greatest that its bits can store. So 12 bits are no darker than 8."""
    from pydicom import pixels

    if header.get("WindowCenter") is not None and header.get("WindowWidth") is not None:
        centre, width = (float(np.ravel(header[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        if header.get("VOILUTFunction", "LINEAR") == "LINEAR":
            centre, width = centre - 0.5, width - 1
        return centre - width / 2, centre + width / 2
    bits, signed = header.BitsStored, header.PixelRepresentation
    stored = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1])
    low, high = np.sort(pixels.apply_modality_lut(stored, header)).tolist()
    return low, high


def _eight_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
    return np.round(255 * scaled.clip(0, 1)).astype(np.uint8)
