"""Losses and penalties on logits, as phases of one loop.

A phase says which net it trains, which tensors it needs and what it minimises; the loop draws the tensors and does
backward and step.  Losses are pure, save that nets in training mode update their batch statistics and power
iterations on the way, in G too while it makes fakes for D, as the papers' codes do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.norms import WITHIN_SAMPLE
from bench.schedule import d_updates
from bench.setting import Setting


@dataclass(frozen=True)
class Nets:
    """G and D, in training mode."""

    G: nn.Module
    D: nn.Module


Batch = Mapping[str, Tensor]
Logs = dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    `needs` lists the tensors of its batch: real [B, C, R, R] in [-1, 1], z [B, z_dim], gp_alpha [B, 1, 1, 1] in
    [0, 1).  `times` maps a G update's number to how often the phase runs in it.  `loss` returns a scalar to minimise
    over the parameters of the net `trains`, and detached 0-d logs.  `before` runs ahead of each update.
    """

    name: str
    trains: str
    needs: tuple[str, ...]
    times: Callable[[int], int]
    loss: Callable[[Nets, Batch], tuple[Tensor, Logs]]
    before: Callable[[Nets], None] | None = None


# ---------------------------------------------------------------------------------------------------------
# Adversarial losses.  r and f: logits [B] of reals and fakes.


def d_bce(r: Tensor, f: Tensor) -> Tensor:
    """-E log sigma(r) - E log(1 - sigma(f)) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-r).mean() + F.softplus(f).mean()


def g_minimax(f: Tensor) -> Tensor:
    """E log(1 - sigma(f)): its gradient vanishes where D is sure (Goodfellow et al. 2014, eq. 1)."""
    return -F.softplus(f).mean()


def g_nonsaturating(f: Tensor) -> Tensor:
    """-E log sigma(f) (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-f).mean()


def d_wasserstein(r: Tensor, f: Tensor) -> Tensor:
    """E f - E r: the critic's estimate of the distance, negated (Arjovsky et al. 2017, algorithm 1)."""
    return f.mean() - r.mean()


def d_hinge(r: Tensor, f: Tensor) -> Tensor:
    """E max(0, 1 - r) + E max(0, 1 + f) (Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - r).mean() + F.relu(1 + f).mean()


def g_score(f: Tensor) -> Tensor:
    """-E f: G's side of the Wasserstein and hinge losses (Miyato et al. 2018, eq. 17)."""
    return -f.mean()


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "minimax": (d_bce, g_minimax),
    "nonsaturating": (d_bce, g_nonsaturating),
    "wasserstein": (d_wasserstein, g_score),
    "hinge": (d_hinge, g_score),
}

# ---------------------------------------------------------------------------------------------------------
# Penalties.


def gradient_penalty(D: nn.Module, real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """E (|grad D(x)| - 1)^2 at x = real + alpha (fake - real), one alpha a sample (Gulrajani et al. 2017, eq. 3).

    Two-sided, no epsilon under the root.  real, fake [B, C, R, R], alpha [B, 1, 1, 1]; differentiable in D.
    """
    x = torch.lerp(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return (torch.linalg.vector_norm(gradient, dim=(1, 2, 3)) - 1).square().mean()


def r1_penalty(real: Tensor, logits: Tensor) -> Tensor:
    """1/2 E |grad D(real)|^2 (Mescheder et al. 2018, eq. 9), of `logits` [B] = D(real) with `real` in their graph."""
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def clip(D: nn.Module, bound: float) -> None:
    """Clamp every parameter of D, gains and biases too, to [-bound, bound] (Arjovsky et al. 2017)."""
    with torch.no_grad():
        for parameter in D.parameters():
            parameter.clamp_(-bound, bound)


# ---------------------------------------------------------------------------------------------------------
# Phases.


def phases(setting: Setting) -> list[Phase]:
    """Return what one G update consists of: D `n_critic` times, then G once.

    Logs: loss_D and loss_G without penalty (so -loss_D is the Wasserstein estimate), penalty as it is added to loss_D,
    logit_real and logit_fake as means.
    """
    return [_d_phase(setting), _g_phase(setting)]


def _d_phase(setting: Setting) -> Phase:
    d_loss, _ = LOSSES[setting.loss]
    penalty, bound = setting.penalty, setting.clip_value
    one_pass = _one_pass(setting)

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        real = batch["real"]
        with torch.no_grad():
            fake = nets.G(batch["z"])
        if penalty == "r1":
            real = real.detach().requires_grad_()
        if one_pass:
            r, f = nets.D(torch.cat([real, fake])).chunk(2)
        else:
            r, f = nets.D(real), nets.D(fake)
        adversarial = d_loss(r, f)
        logs = {"loss_D": adversarial, "logit_real": r.mean(), "logit_fake": f.mean()}
        total = adversarial
        if penalty == "gp":
            logs["penalty"] = setting.gp_weight * gradient_penalty(nets.D, real, fake, batch["gp_alpha"])
        elif penalty == "r1":
            logs["penalty"] = setting.r1_weight * r1_penalty(real, r)
        if "penalty" in logs:
            total = adversarial + logs["penalty"]
        return total, {name: value.detach() for name, value in logs.items()}

    return Phase(
        name="D",
        trains="D",
        needs=("real", "z", "gp_alpha") if penalty == "gp" else ("real", "z"),
        times=lambda g_step: d_updates(setting.train, g_step),
        loss=loss,
        before=(lambda nets: clip(nets.D, bound)) if penalty == "clip" else None,
    )


def _g_phase(setting: Setting) -> Phase:
    _, g_loss = LOSSES[setting.loss]

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        total = g_loss(nets.D(nets.G(batch["z"])))
        return total, {"loss_G": total.detach()}

    return Phase(name="G", trains="G", needs=("z",), times=lambda g_step: 1, loss=loss)


def _one_pass(setting: Setting) -> bool:
    """Whether reals and fakes go through D together.

    Where no sample reads another it is the same mathematics and faster, but for R1, whose gradient is of the
    reals alone.  A norm of the user's own may read the batch, so it is asked nothing.
    """
    if setting.d_batching == "joint":
        return True
    return setting.d_norm in WITHIN_SAMPLE and setting.mbstd == 0 and setting.penalty != "r1"
