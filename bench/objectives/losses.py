"""Adversarial losses on logits.  r and f: logits of reals and fakes, [B] or, of a patch D, [B, patches]."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from bench import own_modules, ranks
from bench.own_modules import OwnModuleError


class Adversarial(NamedTuple):
    """Both sides of a loss: `d(r, f)` and `g(f, r)`, scalars to minimise."""

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor | None], Tensor]
    g_reads_real: bool = False
    """Whether G's side compares with reals (relativistic losses); else its `r` is None."""


def d_bce(r: Tensor, f: Tensor) -> Tensor:
    """-E log sigma(r) - E log(1 - sigma(f)) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-r).mean() + F.softplus(f).mean()


def g_minimax(f: Tensor, r: Tensor | None = None) -> Tensor:
    """E log(1 - sigma(f)): its gradient vanishes where D is sure (Goodfellow et al. 2014, eq. 1)."""
    return -F.softplus(f).mean()


def g_nonsaturating(f: Tensor, r: Tensor | None = None) -> Tensor:
    """-E log sigma(f) (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-f).mean()


def d_wasserstein(r: Tensor, f: Tensor) -> Tensor:
    """E f - E r: the critic's estimate of the distance, negated (Arjovsky et al. 2017, algorithm 1)."""
    return f.mean() - r.mean()


def d_hinge(r: Tensor, f: Tensor, margin_r: Tensor | float = 1, margin_f: Tensor | float = 1) -> Tensor:
    """E max(0, 1 - r) + E max(0, 1 + f) (Miyato et al. 2018, eq. 16).

    Margins other than 1: one for each logit, FastGAN's jitter (Liu et al. 2021, released code).
    """
    return F.relu(margin_r - r).mean() + F.relu(margin_f + f).mean()


def g_score(f: Tensor, r: Tensor | None = None) -> Tensor:
    """-E f: G's side of the Wasserstein and hinge losses (Miyato et al. 2018, eq. 17)."""
    return -f.mean()


def d_least_squares(r: Tensor, f: Tensor) -> Tensor:
    """1/2 E (r - 1)^2 + 1/2 E f^2 (Mao et al. 2017, eq. 2 with a = 0, b = 1)."""
    return ((r - 1).square().mean() + f.square().mean()) / 2


def g_least_squares(f: Tensor, r: Tensor | None = None) -> Tensor:
    """1/2 E (f - 1)^2 (Mao et al. 2017, eq. 2 with c = 1; of linear logits, where compare_gan takes their sigmoid)."""
    return (f - 1).square().mean() / 2


def d_relativistic(r: Tensor, f: Tensor) -> Tensor:
    """-E log sigma(r - f), each real with the fake of its place (Jolicoeur-Martineau 2019, RSGAN)."""
    return F.softplus(f - r).mean()


def g_relativistic(f: Tensor, r: Tensor | None) -> Tensor:
    """-E log sigma(f - r) (Jolicoeur-Martineau 2019, RSGAN)."""
    return F.softplus(_read(r) - f).mean()


def d_relativistic_average(r: Tensor, f: Tensor) -> Tensor:
    """-E log sigma(r - E f) - E log(1 - sigma(f - E r)) (Jolicoeur-Martineau 2019, RaSGAN; its code takes half)."""
    return F.softplus(ranks.mean(f.mean()) - r).mean() + F.softplus(f - ranks.mean(r.mean())).mean()


def g_relativistic_average(f: Tensor, r: Tensor | None) -> Tensor:
    """-E log sigma(f - E r) - E log(1 - sigma(r - E f)): D's side with the roles exchanged."""
    return d_relativistic_average(f, _read(r))


def _read(r: Tensor | None) -> Tensor:
    if r is None:
        raise ValueError("a relativistic loss of G compares with reals")
    return r


LOSSES: dict[str, Adversarial] = {
    "minimax": Adversarial(d_bce, g_minimax),
    "nonsaturating": Adversarial(d_bce, g_nonsaturating),
    "wasserstein": Adversarial(d_wasserstein, g_score),
    "hinge": Adversarial(d_hinge, g_score),
    "leastsquares": Adversarial(d_least_squares, g_least_squares),
    "relativistic": Adversarial(d_relativistic, g_relativistic, g_reads_real=True),
    "relativistic_average": Adversarial(d_relativistic_average, g_relativistic_average, g_reads_real=True),
}


def loss_named(name: str) -> Adversarial:
    """Return the loss `name`, or that of the user's own `pkg.module:Name`.

    Such a class is made without arguments.  It has `d(r, f)` and `g(f, r)`; r is None in `g` unless a class attribute
    says `g_reads_real = True`.
    Raises OwnModuleError where it cannot be made so.
    """
    if ":" not in name:
        return LOSSES[name]
    made_from = own_modules.load(name)
    try:
        own: Any = made_from()
    except Exception as error:
        raise OwnModuleError(f"{name}() cannot be made: {own_modules.said(error)}") from error
    for side in ("d", "g"):
        if not callable(getattr(own, side, None)):
            raise OwnModuleError(f"{name}: has no method {side}: a loss has d(r, f) and g(f, r)")
    return Adversarial(own.d, own.g, bool(getattr(own, "g_reads_real", False)))


def check_own_loss(name: str) -> None:
    """Pass logits [4], and [4, 3] as of a patch D, through both sides of a loss of the user's own.

    This runs the user's code: call it in a child process.
    Raises OwnModuleError unless each side gives a finite scalar whose gradient reaches the logits of fakes.
    """
    loss = loss_named(name)
    for shape in ((4,), (4, 3)):
        f = torch.linspace(-1.0, 1.0, math.prod(shape)).view(shape).requires_grad_()
        r = f.detach() + 0.5
        for side, arguments in (("d", (r, f)), ("g", (f, r if loss.g_reads_real else None))):
            said = f"{name}: {side} on logits of shape {shape}"
            try:
                value = getattr(loss, side)(*arguments)
            except Exception as error:
                raise OwnModuleError(f"{said} fails: {own_modules.said(error)}") from error
            if not isinstance(value, Tensor) or value.ndim != 0:
                made = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise OwnModuleError(f"{said} must give a scalar tensor; it gives {made}")
            if not bool(value.isfinite()):
                raise OwnModuleError(f"{said} gives {float(value.detach())}")
            if value.grad_fn is None or torch.autograd.grad(value, f, allow_unused=True)[0] is None:
                raise OwnModuleError(f"{said} has no gradient in the logits of fakes")
