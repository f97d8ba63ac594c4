"""Penalties that keep D in bounds, differentiable in D; images are [B, C, R, R], y is D's condition or None."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def gradient_penalty(
    D: nn.Module, real: Tensor, fake: Tensor, alpha: Tensor, y: Tensor | None = None, target: float = 1.0
) -> Tensor:
    """E (|grad D(x)| - target)^2 at x = real + alpha (fake - real), one alpha a sample (Gulrajani et al. 2017, eq. 3).

    Two-sided, no epsilon under the root.  alpha [B, 1, 1, 1].
    """
    x = torch.lerp(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(call(D, x, y).sum(), x, create_graph=True)
    return (torch.linalg.vector_norm(gradient, dim=(1, 2, 3)) - target).square().mean()


def r1_penalty(real: Tensor, logits: Tensor) -> Tensor:
    """1/2 E |grad D(real)|^2 (Mescheder et al. 2018, eq. 9), of `logits` [B] = D(real) with `real` in their graph."""
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def clip(D: nn.Module, bound: float) -> None:
    """Clamp every parameter of D, gains and biases too, to [-bound, bound] (Arjovsky et al. 2017)."""
    with torch.no_grad():
        for parameter in D.parameters():
            parameter.clamp_(-bound, bound)


def call(net: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
    """Pass x, and its condition where there is one."""
    made: Tensor = net(x) if y is None else net(x, y)
    return made
