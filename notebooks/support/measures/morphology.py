"""Thickness, slant and width of a digit, after Morpho-MNIST (Castro et al. 2019), from its pixels alone.

Morpho-MNIST takes the middle of a stroke from a skeleton; here it is where the distance to the background is largest
among neighbours, and nothing is enlarged first.
"""

import numpy as np
from scipy import ndimage
from torch import Tensor

NAMES = ("thickness", "slant", "width")


def shape_of_digits(images: Tensor) -> np.ndarray:
    """(N, 3) of images (N, 1, H, W) in [0, 1], bright on dark; 0 for a picture that is all dark.

    A pixel belongs to the digit where it has half of the picture's largest value or more. thickness: of the stroke, in
    pixels. slant: in degrees, above 0 where it leans to the right, from the second moments. width: of the
    parallelogram about the digit with that slant, in pixels.
    """
    return np.array([_shape(image) for image in images[:, 0].double().numpy()]).reshape(-1, 3)


def _shape(image: np.ndarray) -> tuple[float, float, float]:
    if image.max() <= 0:
        return 0.0, 0.0, 0.0
    digit = image >= image.max() / 2
    inside = ndimage.distance_transform_edt(np.pad(digit, 1))[1:-1, 1:-1]
    middle = digit & (inside == ndimage.maximum_filter(inside, 3))
    y, x = np.nonzero(digit)
    x, y = x - x.mean(), y.mean() - y  # y upwards
    spread = (y**2).mean()
    shear = (x * y).mean() / spread if spread > 0 else 0.0
    across = x - shear * y
    return 2 * inside[middle].mean() - 1, float(np.degrees(np.arctan(shear))), np.ptp(across) + 1
