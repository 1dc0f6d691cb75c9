"""MNIST (section 4.2). Real: the 70,000 digits, through torchvision. Embedded stand-in: scikit-learn's 1,797 digits of
8x8 pixels."""

import hashlib

import numpy as np

from . import tasks
from .common import Dataset, Split, cached, check_labelled, one_hot, resize
from .files import DataError, digest_arrays

TASK = tasks.MNIST
DIGITS = TASK.labels
VALIDATION = 5_000  # the last training images, for choices that must not see the test part
KEYS = ("x_train", "y_train", "x_test", "y_test")
# MD5 of the publisher's four uncompressed IDX files, whose pixels and labels follow a short header
IDX_MD5 = {
    "x_train": "6bbc9ace898e44ae57da46a324031adb",
    "y_train": "a25bea736e30d166cdddb491f175f624",
    "x_test": "2646ac647ad5339dbf082846283269ea",
    "y_test": "27ae3e4e09519cfbb04c329615203637",
}


def _download(folder):
    from torchvision.datasets import MNIST

    try:
        train, test = (MNIST(folder, train=part, download=True) for part in (True, False))
    except (RuntimeError, OSError) as error:
        files = ", ".join(name for name, _ in MNIST.resources)
        raise DataError(
            f"MNIST could not be downloaded and checked ({str(error).strip()}). Run again when "
            f"the network is there, or put {files} into "
            f"data/cache/MNIST/raw yourself"
        ) from None
    arrays = (train.data, train.targets, test.data, test.targets)
    return {key: array.numpy().astype(np.uint8) for key, array in zip(KEYS, arrays, strict=True)}


def check_published(arrays: dict[str, np.ndarray]) -> None:
    """Raise DataError unless the arrays are the published MNIST, bit for bit."""
    for key, array in arrays.items():
        header = (0x0800 + array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape)
        if hashlib.md5(header + array.astype(np.uint8).tobytes()).hexdigest() != IDX_MD5[key]:
            raise DataError(
                f"mnist.npz: {key} differs from the published MNIST (MD5 of its IDX file); delete it and run again"
            )


def real() -> Dataset:
    """MNIST at 60x60 grey: 55,000 training, 5,000 validation and 10,000 test images."""
    arrays, sha256 = cached("mnist.npz", _download, KEYS)
    parts = {}
    for part in ("train", "test"):
        x = check_labelled("mnist.npz", arrays[f"x_{part}"], arrays[f"y_{part}"], 10, ndim=3)
        names = np.array([f"{part} {i}" for i in range(len(x))])
        parts[part] = Split(resize(x, TASK.image_shape), one_hot(arrays[f"y_{part}"], 10), names)
    check_published(arrays)
    n = len(parts["train"]) - VALIDATION
    train, validation = parts["train"].take(range(n)), parts["train"].take(range(n, n + VALIDATION))
    description = (
        f"MNIST (LeCun and Cortes), all 70,000 images: {n:,} for training, the last "
        f"{VALIDATION:,} of its training part for validation"
    )
    raw = digest_arrays(arrays["x_train"], arrays["x_test"])
    return Dataset(TASK, "real", False, DIGITS, description, train, validation, parts["test"], sha256, raw_sha256=raw)


def embedded(count: int | None = None) -> Dataset:
    """scikit-learn's bundled handwritten digits (UCI optical recognition, 8x8 pixels, 17 grey levels), upsampled to
    60x60."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:count]
    x = np.round(digits.images[order] * (255 / 16)).astype(np.uint8)
    y = digits.target[order]
    everything = Split(resize(x, TASK.image_shape), one_hot(y, 10), np.array([f"digit {i}" for i in order]))
    held_out = len(order) // 7
    test, validation, train = (
        everything.take(r) for r in (range(held_out), range(held_out, 2 * held_out), range(2 * held_out, len(order)))
    )
    description = (
        f"stand-in data: {len(order):,} handwritten digits of 8x8 pixels bundled with "
        "scikit-learn, upsampled, in place of MNIST"
    )
    return Dataset(TASK, "embedded", True, DIGITS, description, train, validation, test, digest_arrays(x, y))
