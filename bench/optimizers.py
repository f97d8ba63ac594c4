"""The optimizer of a phase, and its step size and momentum as functions of how far the run is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.knobs import Setting, Train
from bench.models.style import MappingNetwork
from bench.objectives import Phase

DECAY, SMALLEST = 1.000004, 1e-6
"""`lr_decay: exponential`: divisor of each step, and the floor (goodfeli/adversarial mnist.yaml)."""


def _undecorated(kind: type[torch.optim.Optimizer]) -> Any:
    """Return an optimizer class with its methods as they are written.

    Torch wraps them to keep its compiler out, and so imports the compiler: over a second of each run's start.  Nothing
    here is compiled.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


Adam, RMSprop, SGD = (_undecorated(kind) for kind in (torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD))


def make_optimizer(net: nn.Module, name: str, setting: Setting) -> torch.optim.Optimizer:
    """Build the optimizer of one net, "G" or "D", in its fused form where torch has one.

    A mapping network is a parameter group of its own, with `mapping_lr` times the net's step size.  On CUDA, Adam and
    RMSProp can be recorded in a graph, and Adam's step size is a tensor where it changes.
    """
    knobs = setting.train
    lr = step_size(name, knobs)
    device = next(net.parameters()).device
    cuda = device.type == "cuda"
    slow = [p for part in net.modules() if isinstance(part, MappingNetwork) for p in part.parameters()]
    kept = {id(p) for p in slow}
    groups: list[dict[str, object]] = [{"params": [p for p in net.parameters() if id(p) not in kept]}]
    if slow:
        groups.append({"params": slow, "lr": lr * setting.mapping_lr, "relative": setting.mapping_lr})
    if knobs.optimizer == "rmsprop":
        made = RMSprop(groups, lr=lr, alpha=0.99, eps=1e-8, foreach=True, capturable=cuda)
    elif knobs.optimizer == "sgd":
        made = SGD(groups, lr=lr, momentum=knobs.momentum, fused=True)
    else:
        made = Adam(groups, lr=lr, betas=knobs.betas, eps=1e-8, fused=True, capturable=cuda)
        if cuda and knobs.lr_decay != "none":
            for group in made.param_groups:
                group["lr"] = torch.tensor(group["lr"], device=device)
    optimizer: torch.optim.Optimizer = made
    return optimizer


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a checkpoint's state; a step size that is a tensor stays the tensor that it is."""
    sizes = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, size in zip(optimizer.param_groups, sizes, strict=True):
        if isinstance(size, Tensor):
            group["lr"] = size.fill_(group["lr"])


def fixed_reason(knobs: Train) -> str:
    """Say why the steps of these optimizers cannot be recorded once and replayed; "" where they can."""
    if knobs.optimizer == "sgd" and knobs.final_momentum is not None:
        return "SGD's momentum moves"
    if knobs.optimizer != "adam" and knobs.lr_decay != "none":
        return f"the step size of {knobs.optimizer} moves"
    return ""


def set_rates(
    optimizers: Mapping[str, torch.optim.Optimizer],
    plan: list[Phase],
    knobs: Train,
    *,
    step: int,
    steps: int,
    epochs: float,
) -> None:
    """Set step sizes and momenta before step number `step` (from 0) of `steps`, after `epochs` passes of D."""
    for phase in plan:
        for group in optimizers[phase.name].param_groups:
            if knobs.lr_decay != "none":
                lr = decayed(step_size(phase.trains, knobs), knobs, step, steps) * group.get("relative", 1.0)
                group["lr"] = group["lr"].fill_(lr) if isinstance(group["lr"], Tensor) else lr
            if knobs.optimizer == "sgd":
                group["momentum"] = momentum(knobs, epochs)


def step_size(name: str, knobs: Train) -> float:
    """Return the first step size of "G" or "D"."""
    return knobs.d_lr if name == "D" and knobs.d_lr is not None else knobs.lr


def decayed(lr: float, knobs: Train, step: int, steps: int) -> float:
    """Return the step size at step number `step` (from 0) of `steps`, as `lr_decay` says.

    `second_half`: pix2pix's first half at full rate, then a line to zero (there in whole epochs, here in each step).
    """
    progress = step / steps
    if knobs.lr_decay == "linear":
        return lr * (1.0 - progress)
    if knobs.lr_decay == "second_half":
        return lr * min(1.0, 2.0 * (1.0 - progress))
    if knobs.lr_decay == "exponential":
        return max(lr / DECAY**step, SMALLEST)
    return lr


def momentum(knobs: Train, epochs: float) -> float:
    """Return SGD's momentum after `epochs` passes: a line to `final_momentum` (pylearn2 moves it once an epoch)."""
    if knobs.final_momentum is None:
        return knobs.momentum
    return knobs.momentum + (knobs.final_momentum - knobs.momentum) * min(1.0, epochs / knobs.momentum_epochs)
