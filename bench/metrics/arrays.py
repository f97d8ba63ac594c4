"""NumPy arrays and torch tensors by the names that both have, so that a metric of features is written once.

Features that were made on a GPU stay there as tensors, and float64 sums, products and kernels are made there.  On a CPU
they are NumPy's, whose products of a matrix with its own transpose cost half.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = Any
"""A NumPy array, or a torch tensor on any device; what comes out is what went in."""


def names(array: Array) -> Any:
    """Return the module whose functions take this array: numpy or torch."""
    return torch if isinstance(array, Tensor) else np


def float64(array: Array) -> Array:
    """Return the same numbers in float64, where they are; the same array when they are float64 already."""
    return names(array).asarray(array, dtype=names(array).float64)


def on_host(array: Array) -> NDArray[Any]:
    """Return the array as NumPy's; of a CPU tensor, without a copy."""
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def beside(array: Array, other: Array) -> Array:
    """Return `array` as what `other` is, on its device."""
    if not isinstance(other, Tensor):
        return on_host(array)
    return array.to(other.device) if isinstance(array, Tensor) else torch.tensor(array, device=other.device)


def kept_on(rows: Tensor, device: torch.device) -> Array:
    """Return rows as they are kept: NumPy's on a CPU, a tensor elsewhere."""
    return rows.numpy() if device.type == "cpu" else rows.to(device)
