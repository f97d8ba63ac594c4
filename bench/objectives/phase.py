"""The seam between objectives and the loop: what one kind of update trains, reads and minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Nets:
    """G and D, in training mode."""

    G: nn.Module
    D: nn.Module


Images = Tensor | tuple[Tensor, Tensor]
"""[B, C, R, R]; of a two-headed G, (full, small)."""
Batch = Mapping[str, Tensor]
Logs = dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    `needs` lists the tensors of its batch, which `bench.batches` draws and describes.  `times` maps a G update's number
    to how often the phase runs in it.  `loss` returns a scalar to minimise over the parameters of the net `trains`, and
    detached 0-d logs.  `before` runs ahead of each update.  `stream`: whose z, labels and layer noise it draws; unset:
    its own.  `every`: with a lazy penalty, how many updates have one; the others are those of `spared`.
    """

    name: str
    trains: str
    needs: tuple[str, ...]
    times: Callable[[int], int]
    loss: Callable[[Nets, Batch], tuple[Tensor, Logs]]
    before: Callable[[Nets], None] | None = None
    stream: str = ""
    every: int = 1
    spared: Phase | None = None

    def at(self, index: int) -> Phase:
        """Return the phase as its update number `index` does it: with its penalty, or without."""
        return self if self.spared is None or index % self.every == 0 else self.spared
