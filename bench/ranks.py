"""One run over several ranks: what they tell each other, so that n ranks do together what one rank does alone.

Each rank draws the whole batch at the whole batch's addresses and takes its share: rows rank, rank + n, rank + 2 n, …
(so a share of reals and fakes in one batch is one batch of their shares).  Within `sharing()`, where the batch is in
shares, `mean` and `gather` go across ranks; outside of it every rank is on its own, as it is without ranks.

Gradients are averaged here, flattened into one tensor, after the backward pass, as the StyleGAN2-ADA line does.
`torch.nn.parallel.DistributedDataParallel` reduces them from hooks of a single backward pass through its own forward;
gradient penalties go through D's backward pass a second time, D is called several times in a loss, and G inside D's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

PATIENCE = timedelta(hours=1)
"""How long a rank waits for another; one that has died is noticed at once (see `bench.peers`)."""

_shared = False
"""Whether the batch at hand is in shares."""


def join(store: dist.Store, rank: int, size: int, device: torch.device | str = "cpu") -> None:
    """Become one of `size` ranks that meet at `store`; returns when all have come."""
    # Flags and buffers on the CPU go by gloo on every machine, so that agreeing to stop waits for no GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)


def leave() -> None:
    """Be on one's own again."""
    if dist.is_initialized():
        dist.destroy_process_group()


def joined() -> int:
    """Ranks of this run; 1 without `join`."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Have each rank hold its share of the batch."""
    global _shared
    _shared = True
    try:
        yield
    finally:
        _shared = False


def size() -> int:
    """Ranks that share the batch at hand; 1 where it is whole."""
    return joined() if _shared else 1


def share(x: Tensor) -> Tensor:
    """This rank's share [B / n, …] of x [B, …], which is equal on all ranks."""
    if size() == 1:
        return x
    taken = x[dist.get_rank() :: size()]
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return taken.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def mean(x: Tensor) -> Tensor:
    """Mean over ranks of x, of equal shape on all; differentiable as often as one likes."""
    return x if size() == 1 else _Mean.apply(x)


def gather(x: Tensor) -> Tensor:
    """The whole [B, …], in its order, of shares [B / n, …]; differentiable as often as one likes."""
    return x if size() == 1 else _Gather.apply(x)


# ---------------------------------------------------------------------------------------------------------
# The loss of a batch is the mean over ranks of theirs.  A rank's backward pass gives the gradient, by what it holds, of
# the sum of all ranks' losses: each backward below is the transpose of its forward across ranks.


def _summed(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return _summed(x) / dist.get_world_size()

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        return _Mean.apply(grads[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        x = x.contiguous()
        shares = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, x)
        return torch.stack(shares, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        return _ShareOfSum.apply(grads[0])


class _ShareOfSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return _summed(x)[dist.get_rank() :: dist.get_world_size()].contiguous()

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        return _Gather.apply(grads[0])


# ---------------------------------------------------------------------------------------------------------
# What the loop asks for.


def average(
    parameters: Iterable[nn.Parameter], loss: Tensor, logs: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Replace the parameters' gradients by their means over ranks; return those of the loss and its logs.

    One reduction for all: so every rank knows at once of a loss that is not finite on any.
    """
    if joined() == 1:
        return loss, dict(logs)
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([*(grad.flatten() for grad in grads), torch.stack([loss, *logs.values()])])
    dist.all_reduce(flat)
    flat /= joined()
    *parts, told = flat.split([*(grad.numel() for grad in grads), 1 + len(logs)])
    if grads:
        torch._foreach_copy_(grads, [part.view(grad.shape) for part, grad in zip(parts, grads, strict=True)])
    first, *others = told.unbind()
    return first, dict(zip(logs, others, strict=True))


def agreed(stop: bool, due: bool) -> tuple[bool, bool]:
    """Whether any rank was asked to stop, and whether a checkpoint is due on any."""
    if joined() == 1:
        return stop, due
    flags = torch.tensor([stop, due], dtype=torch.uint8)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    stop, due = flags.tolist()
    return bool(stop), bool(due)


@torch.no_grad()
def follow_rank_0(*nets: nn.Module) -> None:
    """Give every rank rank 0's buffers, as far as they are floats: running statistics of shares of a batch differ."""
    buffers = [buffer for net in nets for buffer in net.buffers() if buffer.is_floating_point()]
    if joined() == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(flat, 0)
    parts = flat.split([buffer.numel() for buffer in buffers])
    torch._foreach_copy_(buffers, [part.view(buffer.shape) for part, buffer in zip(parts, buffers, strict=True)])


def from_rank_0(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rank 0's checkpoint, on every rank; what the others bring is not read."""
    if joined() == 1:
        return state
    buffer = io.BytesIO()
    if dist.get_rank() == 0 and state is not None:
        torch.save(state, buffer)
    length = torch.tensor([buffer.tell()])
    dist.broadcast(length, 0)
    if not length:
        return None
    content = buffer.getvalue() if dist.get_rank() == 0 else bytes(int(length))
    sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.broadcast(sent, 0)
    if dist.get_rank() == 0:
        return state
    return dict(torch.load(io.BytesIO(sent.numpy().tobytes()), weights_only=True))
