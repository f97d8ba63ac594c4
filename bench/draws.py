"""Random draws by address, not by stream.

Every draw of a run comes from (seed, stream, step): equal across cells, whatever else the cell draws, and a
checkpoint needs no generator state.  This is what makes seeds pairs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bench import ranks


def address(seed: int, *words: str | int) -> int:
    """Hash (seed, words...) to a 63-bit generator seed."""
    text = "\x1f".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, stream: str, step: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator at the address (seed, stream, step)."""
    return torch.Generator(device=device).manual_seed(address(seed, stream, step))


def normal(shape: Sequence[int], seed: int, stream: str, step: int | str, device: torch.device | str = "cpu") -> Tensor:
    """Draw N(0, 1), float32, of `shape`."""
    return torch.randn(tuple(shape), generator=generator(seed, stream, step, device), device=device)


def uniform(
    shape: Sequence[int],
    seed: int,
    stream: str,
    step: int | str,
    low: float = 0.0,
    high: float = 1.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw U[low, high), float32, of `shape`."""
    unit = torch.rand(tuple(shape), generator=generator(seed, stream, step, device), device=device)
    return unit * (high - low) + low


def permutation(n: int, seed: int, stream: str, step: int | str) -> Tensor:
    """Draw a permutation of 0..n-1, int64 [n], on the CPU."""
    return torch.randperm(n, generator=generator(seed, stream, step))


class Chance:
    """Where the random layers of a net (dropout, noise) draw: an address that the loop moves on before each update.

    A layer draws at (seed, stream, its name, how often it has drawn since, step), so that a further random layer
    moves no other's draws.  Ranks that share a batch draw the whole batch's and take their share.
    """

    def __init__(self) -> None:
        self._kept: list[Callable[[], object]] | None = None
        self.at(0, "still", 0)

    def at(self, seed: int, stream: str, step: int) -> None:
        """Move on to an address."""
        self.seed, self.stream, self.step = seed, stream, step
        self._drawn: Counter[str] = Counter()

    def normal(self, name: str, shape: Sequence[int], device: torch.device | str) -> Tensor:
        """Draw N(0, 1), float32, of `shape`, for the layer `name`."""
        return self._draw(normal, name, shape, device)

    def uniform(self, name: str, shape: Sequence[int], device: torch.device | str) -> Tensor:
        """Draw U[0, 1), float32, of `shape`, for the layer `name`."""
        return self._draw(uniform, name, shape, device)

    @contextlib.contextmanager
    def kept(self) -> Iterator[list[Callable[[], object]]]:
        """Hand out empty tensors for work that is recorded; the list's calls fill them, each time at the address."""
        self._kept = []
        try:
            yield self._kept
        finally:
            self._kept = None

    def _draw(self, kind: Callable[..., Tensor], name: str, shape: Sequence[int], device: torch.device | str) -> Tensor:
        self._drawn[name] += 1
        stream = f"{self.stream}/{name}/{self._drawn[name]}"

        def drawn() -> Tensor:
            return ranks.share(kind(_whole(shape), self.seed, stream, self.step, device=device))

        if self._kept is None:
            return drawn()
        held = torch.empty(tuple(shape), device=device)
        self._kept.append(lambda: held.copy_(drawn()))
        return held


def _whole(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the whole batch of which one of `shape` is a rank's share."""
    return (shape[0] * ranks.size(), *shape[1:])
