"""CUDA graphs: an update's kernels, recorded once and launched as one.

At 32 to 128 px a step is bound by the launches of its thousands of small kernels.  A recorded update does the same
kernels on the same memory, in the same order: what changes from update to update comes in through fixed tensors, and
the weights are the same to the last bit as without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bench.draws import Chance
from bench.objectives import Batch, Logs

Told = tuple[Tensor, Logs]
"""What an update tells: its loss and its logs, 0-d and detached."""


class Recorder(Protocol):
    """Records work on a device without doing it."""

    def record(self, work: Callable[[], Told]) -> tuple[Told, Callable[[], None]]:
        """Return the tensors that will hold what `work` tells, and what does it all once more."""


class CudaGraphs:
    """Records on the current stream, which must not be the default one; all graphs share one pool of memory.

    They may, since they are launched one after another and what one tells is read before the next.
    """

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Told]) -> tuple[Told, Callable[[], None]]:
        """See `Recorder`.  Raises RuntimeError for work that cannot be recorded, as where it waits for the device."""
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(graph, pool=self.pool, stream=stream, capture_error_mode="thread_local"):
            told = work()
        return told, graph.replay


class Recording(NamedTuple):
    """A recorded update."""

    batch: dict[str, Tensor]
    """The tensors that it reads."""
    told: Told
    """The tensors that it tells; the next launch writes over them."""
    draws: list[Callable[[], object]]
    """Fill the tensors that layers draw."""
    launch: Callable[[], None]

    @classmethod
    def of(
        cls, recorder: Recorder, work: Callable[[Batch], Told], batch: Batch, chances: Sequence[Chance]
    ) -> Recording:
        """Record `work` on copies of the batch's tensors; `chances`: where layers draw meanwhile."""
        own = {name: value.clone(memory_format=torch.preserve_format) for name, value in batch.items()}
        with contextlib.ExitStack() as keeping:
            kept = [keeping.enter_context(chance.kept()) for chance in chances]
            told, launch = recorder.record(lambda: work(own))
        return cls(own, told, [draw for each in kept for draw in each], launch)

    def again(self, batch: Mapping[str, Tensor]) -> Told:
        """Do the update on a batch of the same shapes."""
        for name, value in batch.items():
            self.batch[name].copy_(value)
        for draw in self.draws:
            draw()
        self.launch()
        return self.told
