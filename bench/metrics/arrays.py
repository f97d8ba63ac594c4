"""NumPy arrays and torch tensors by the names that both have, so that a metric of features is written once.

Features that were made on a GPU stay there as tensors, and float64 sums, products and kernels are made there.  On a CPU
they are NumPy's, whose products of a matrix with its own transpose cost half.  Torch is imported where a tensor comes
in, so that statistics of arrays do not need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A NumPy array, or a torch tensor on any device; what comes out is what went in."""


def _is_tensor(array: Array) -> bool:
    return hasattr(array, "cpu")  # which no NumPy array has


def names(array: Array) -> Any:
    """Return the module whose functions take this array: numpy or torch."""
    return importlib.import_module("torch") if _is_tensor(array) else np


def float64(array: Array) -> Array:
    """Return the same numbers in float64, where they are; the same array when they are float64 already."""
    return names(array).asarray(array, dtype=names(array).float64)


def on_host(array: Array) -> NDArray[Any]:
    """Return the array as NumPy's; of a CPU tensor, without a copy."""
    return array.cpu().numpy() if _is_tensor(array) else np.asarray(array)


def beside(array: Array, other: Array) -> Array:
    """Return `array` as what `other` is, on its device."""
    if not _is_tensor(other):
        return on_host(array)
    return array.to(other.device) if _is_tensor(array) else names(other).tensor(array, device=other.device)


def kept_on(rows: torch.Tensor, device: torch.device) -> Array:
    """Return rows as they are kept: NumPy's on a CPU, a tensor elsewhere."""
    return rows.numpy() if device.type == "cpu" else rows.to(device)
