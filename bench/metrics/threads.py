"""Work split so that its numbers do not depend on how many threads do it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


@contextlib.contextmanager
def pool(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """As many workers as torch has threads, each with one of its own; a single one for a GPU.

    A product that torch splits over threads has other last digits for another count.  Pieces of a fixed size, each
    on one thread, have not.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads if device.type == "cpu" else 1) as workers:
            yield workers
    finally:
        torch.set_num_threads(threads)
