"""Where a part's images lie while it is trained on: on the device as uint8, or where they do not fit, on the host.

On the device a batch is one gather.  On the host the next batch is gathered into pinned memory by a thread of its own
while the device works, and copied without waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from bench.data import Part

SHARE = 0.5
"""Of the device's free memory: a larger part stays on the host."""


class Held:
    """A part's images and labels, handed out by position."""

    def __init__(self, part: Part, target: torch.device, *, fits: bool | None = None) -> None:
        """`target`: where batches are wanted; `fits`: whether the part goes there whole; None: looked up."""
        if fits is None:
            fits = has_room(part, target)
        self.target = target
        self.device = target if fits else torch.device("cpu")
        """Where the images lie, and the positions that ask for them."""
        self.part = part.to(self.device)
        self._thread = None if fits else ThreadPoolExecutor(1)
        self._ahead: tuple[Future[Tensor], Future[Tensor]] | None = None

    def images(self, positions: Tensor, of: Tensor) -> Tensor:
        """Return the images of a tensor [N, C, H, W] of the part at positions int64 [B], on the target."""
        if self._thread is None:
            return of[positions]
        ahead = self._ahead
        if ahead is not None and of is self.part.images and torch.equal(ahead[0].result(), positions):
            self._ahead = None
            return self._sent(ahead[1].result())
        return self._sent(self._gathered(of, positions))

    def labels(self, positions: Tensor) -> Tensor:
        """Return labels int64 [B] at positions, on the target."""
        return self.part.labels[positions].to(self.target)

    def fetch_ahead(self, positions: Callable[[], Tensor]) -> None:
        """Gather the images that will be asked for next, where they lie on the host."""
        if self._thread is not None:
            where = self._thread.submit(positions)
            self._ahead = where, self._thread.submit(lambda: self._gathered(self.part.images, where.result()))

    def _gathered(self, of: Tensor, positions: Tensor) -> Tensor:
        rows = of[positions]
        return rows.pin_memory() if self.target.type == "cuda" else rows

    def _sent(self, rows: Tensor) -> Tensor:
        return rows.to(self.target, non_blocking=True)


def has_room(part: Part, target: torch.device) -> bool:
    """Say whether a part goes onto a device and leaves room to train."""
    if target.type != "cuda":
        return True
    size = sum(tensor.numel() for tensor in (part.images, part.inputs) if tensor is not None)
    free, total = torch.cuda.mem_get_info(target)
    own = torch.cuda.get_per_process_memory_fraction(target) * total  # of a GPU that runs share
    return size <= SHARE * min(free, own)
