"""Images → features, once: every extractor behind one face, run at one batch size."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.metrics.arrays import Array, kept_on
from bench.metrics.failure import MetricError


class Extractor(Protocol):
    """What turns images into features.  A class of the user's own has the same face and takes no arguments.

    It is called under `torch.no_grad` with uint8 [B, C, H, W], always the same B, and returns float features
    [B, dim] and logits [B, classes], or None for logits when it tells no classes.
    """

    name: str
    """As value names carry it: `fd[name]`."""
    weights: str
    """sha256 of what it has learned or was given; empty when it has nothing."""
    dim: int
    classes: int
    """Length of the logits; 0: none."""

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class Features:
    """What one pass over a set leaves, float32: NumPy's of an extractor on a CPU, else tensors on its device."""

    features: Array
    """[N, dim]"""
    logits: Array | None
    """[N, classes]"""


def extract(
    extractor: Extractor,
    images: Tensor,
    batch: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Run uint8 images [N, C, H, W] through an extractor, `batch` at a time, on `device`; the last is filled up.

    A fixed shape keeps an image's features the same wherever it stands in the stream.  `progress` is told how many
    images each batch has done.  Raises MetricError when a feature or logit is not finite, TypeError when images are
    not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if not len(images):
        raise MetricError("there are no images")
    device = torch.device(device)
    rows = [_Rows(len(images), f"{what} of {extractor.name}", device) for what in ("features", "logits")]
    # TF32 would leave ten bits of a feature.
    with torch.no_grad(), torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        for start in range(0, len(images), batch):
            block = images[start : start + batch]
            full = block
            if len(block) < batch:
                full = torch.cat([block, block[-1:].expand(batch - len(block), -1, -1, -1)])
            for kept, seen in zip(rows, extractor(full.to(device)), strict=True):
                if seen is not None:
                    kept.add(start, seen[: len(block)])
            if progress:
                progress(len(block))
    features, logits = rows
    return Features(features.whole(), None if logits.made is None else logits.whole())


class _Rows:
    """Rows of one kind, written where they belong as they come: nothing is held twice."""

    def __init__(self, n: int, what: str, device: torch.device) -> None:
        self.n, self.what, self.device = n, what, device
        self.made: Tensor | None = None
        self.bad = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, start: int, rows: Tensor) -> None:
        if self.made is None:
            self.made = torch.empty(self.n, rows.shape[1], device=self.device)
        self.made[start : start + len(rows)] = rows
        self.bad += (~self.made[start : start + len(rows)].isfinite()).any(dim=1).sum()

    def whole(self) -> Array:
        """All rows.  Raises MetricError when one is not finite."""
        assert self.made is not None
        if self.bad:
            raise MetricError(f"{self.what}: not finite for {int(self.bad)} of {self.n} images")
        return kept_on(self.made, self.device)


def weights_digest(module: torch.nn.Module) -> str:
    """sha256 of a module's state: names, shapes and float bytes, in order of name."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        hashed.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def own_extractor(path: str, channels: int, size: int) -> Extractor:
    """Import `pkg.module:Name`, make one, and try it on two images of [channels, size, size].

    Raises MetricError, naming what is wrong, unless it behaves as `Extractor` says.
    """
    module_name, _, class_name = path.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), class_name)()
    except Exception as error:
        raise MetricError(f"extractor {path} cannot be made: {type(error).__name__}: {error}") from error
    for attribute, kind in (("name", str), ("weights", str), ("dim", int), ("classes", int)):
        if not isinstance(getattr(made, attribute, None), kind):
            raise MetricError(f"extractor {path} must have an attribute `{attribute}` of type {kind.__name__}")
    trial = torch.arange(2 * channels * size * size).reshape(2, channels, size, size).remainder(256).to(torch.uint8)
    try:
        with torch.no_grad():
            features, logits = made(trial)
    except Exception as error:
        raise MetricError(
            f"extractor {path} fails on uint8 {list(trial.shape)}: {type(error).__name__}: {error}"
        ) from error
    if tuple(features.shape) != (2, made.dim):
        raise MetricError(f"extractor {path} returns features {list(features.shape)}, not [2, {made.dim}]")
    told = None if logits is None else tuple(logits.shape)
    if told != ((2, made.classes) if made.classes else None):
        raise MetricError(f"extractor {path} returns logits {told}, but has classes = {made.classes}")
    extractor: Extractor = made
    return extractor
