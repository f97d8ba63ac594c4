"""Penalties that keep D in bounds, differentiable in D; images are [B, C, R, R], y is D's condition or None."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench import precision, ranks
from bench.objectives.phase import Batch, Images
from bench.setting import Setting

NEEDS = {"gp": ("gp_alpha",), "gp0": ("gp_alpha",), "dragan": ("dragan_noise",)}
"""The tensors of a batch that a penalty reads beside reals and fakes."""
DIFFERENTIATES = {"r1": ("real",), "r2": ("fake",), "r1r2": ("real", "fake")}
"""The images whose own logits a penalty differentiates: they must be leaves of the graph of D's pass."""


def penalty_on(
    setting: Setting, D: nn.Module, images: dict[str, Tensor], logits: dict[str, Tensor], batch: Batch
) -> Tensor | None:
    """Return the setting's penalty with its weight, or None; `images` and `logits` are those of "real" and "fake".

    A target other than 1 divides the weight by its square (ProGAN's released code: lambda / gamma^2).
    """
    name, y, target, every = setting.penalty, batch.get("y"), setting.gp_target, setting.penalty_every
    if name in DIFFERENTIATES:
        parts = [r1_penalty(images[which], logits[which]) for which in DIFFERENTIATES[name]]
        return every * setting.r1_weight * torch.stack(parts).sum()
    real, fake, weight = images["real"], images["fake"], every * setting.gp_weight
    if name == "gp":
        return weight / target**2 * gradient_penalty(D, real, fake, batch["gp_alpha"], y, target)
    if name == "gp0":
        return weight * zero_centred_penalty(D, real, fake, batch["gp_alpha"], y)
    if name == "dragan":
        return weight / target**2 * dragan_penalty(D, real, batch["dragan_noise"], y, target)
    return None


def gradient_penalty(
    D: nn.Module, real: Tensor, fake: Tensor, alpha: Tensor, y: Tensor | None = None, target: float = 1.0
) -> Tensor:
    """E (|grad D(x)| - target)^2 at x = real + alpha (fake - real), one alpha a sample (Gulrajani et al. 2017, eq. 3).

    Two-sided, no epsilon under the root.  alpha [B, 1, 1, 1]; y is that of the reals.
    """
    return gradient_norm_penalty(D, torch.lerp(real, fake, alpha), y, target)


def gradient_norm_penalty(D: nn.Module, x: Tensor, y: Tensor | None = None, target: float = 1.0) -> Tensor:
    """E (|grad D(x)| - target)^2, the norm over each sample."""
    gradient = gradient_of(D, x, y)
    return (torch.linalg.vector_norm(gradient, dim=(1, 2, 3)) - target).square().mean()


def zero_centred_penalty(D: nn.Module, real: Tensor, fake: Tensor, alpha: Tensor, y: Tensor | None = None) -> Tensor:
    """E |grad D(x)|^2 at x = real + alpha (fake - real), one alpha a sample (Thanh-Tung et al. 2019, 0-GP)."""
    return gradient_of(D, torch.lerp(real, fake, alpha), y).square().sum(dim=(1, 2, 3)).mean()


def dragan_penalty(D: nn.Module, real: Tensor, noise: Tensor, y: Tensor | None = None, target: float = 1.0) -> Tensor:
    """E (|grad D(x)| - target)^2 at x = real + 0.5 std(real) noise (Kodali et al. 2017, DRAGAN).

    noise U(0, 1) [B, C, R, R] and the standard deviation of the whole batch, as in the released code; the paper's
    noise is normal.  At x itself, as in the paper, where the code takes a point between real and x.
    """
    return gradient_norm_penalty(D, real + 0.5 * ranks.gather(real).std(correction=0) * noise, y, target)


def r1_penalty(real: Tensor, logits: Tensor) -> Tensor:
    """1/2 E |grad D(real)|^2 (Mescheder et al. 2018, eq. 9), of `logits` = D(real) with `real` in their graph.

    With fakes instead, it is R2 (eq. 10).
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def gradient_of(D: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
    """Gradient of D at x, [B, C, R, R], in a graph of its own; of a patch D, of the sum over each image's patches."""
    x = x.detach().requires_grad_()
    with precision.whole(x.device):
        logits = call(D, x, y)
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient


def clip(D: nn.Module, bound: float) -> None:
    """Clamp every parameter of D, gains and biases too, to [-bound, bound] (Arjovsky et al. 2017)."""
    with torch.no_grad():
        for parameter in D.parameters():
            parameter.clamp_(-bound, bound)


def call(net: nn.Module, x: Images, y: Tensor | None) -> Tensor:
    """Pass x, and its condition where there is one; images and logits come in float32, whatever the arithmetic."""
    made: Tensor = net(x) if y is None else net(x, y)
    return precision.raised(made)
