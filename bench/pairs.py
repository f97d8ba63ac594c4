"""The input image of a pair: half of a picture, or made from its target.  Uint8 arrays [C, H, W]."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

SCALE = 4
"""Of `downscale`."""
SIGMA = 1.0
"""Spread of Canny's Gaussian, in pixels; his thresholds are scikit-image's, 0.1 and 0.2 of the range."""


def halves(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Cut a picture A|B into A and B, upright as its EXIF orientation says.

    Raises ValueError for one whose width is odd.
    """
    picture = ImageOps.exif_transpose(picture)
    width, height = picture.size
    if width % 2:
        raise ValueError(f"{width} pixels wide: two images of one width, side by side, are expected (pairs: ab)")
    return picture.crop((0, 0, width // 2, height)), picture.crop((width // 2, 0, width, height))


def made(target: np.ndarray, how: str) -> np.ndarray:
    """Make the input image out of its target, uint8 [C, H, W].

    `edges`: Canny's, 255 on 0, [1, H, W].  `grayscale`: ITU-R 709 luma, [1, H, W].  `downscale`: means of blocks of
    4 x 4 pixels, each repeated 4 x 4 times, [C, H, W].  All by scikit-image.
    Raises ValueError for a `downscale` that blocks do not divide.
    """
    from skimage.color import rgb2gray
    from skimage.feature import canny
    from skimage.transform import downscale_local_mean

    if how == "downscale":
        if any(side % SCALE for side in target.shape[1:]):
            raise ValueError(f"{SCALE} does not divide {target.shape[1]} pixels (pairs: downscale)")
        small = downscale_local_mean(target.astype(np.float64), (1, SCALE, SCALE))
        return _uint8(small.repeat(SCALE, axis=1).repeat(SCALE, axis=2))
    grey = target[0] / 255 if len(target) == 1 else rgb2gray(target.transpose(1, 2, 0))
    if how == "edges":
        return _uint8(255.0 * canny(grey, sigma=SIGMA, low_threshold=0.1, high_threshold=0.2)[None])
    return _uint8(255 * grey[None])


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.uint8)
