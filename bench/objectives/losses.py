"""Adversarial losses on logits.  r and f: logits of reals and fakes, [B] or, of a patch D, [B, patches]."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


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


def d_hinge(r: Tensor, f: Tensor) -> Tensor:
    """E max(0, 1 - r) + E max(0, 1 + f) (Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - r).mean() + F.relu(1 + f).mean()


def g_score(f: Tensor, r: Tensor | None = None) -> Tensor:
    """-E f: G's side of the Wasserstein and hinge losses (Miyato et al. 2018, eq. 17)."""
    return -f.mean()


LOSSES: dict[str, Adversarial] = {
    "minimax": Adversarial(d_bce, g_minimax),
    "nonsaturating": Adversarial(d_bce, g_nonsaturating),
    "wasserstein": Adversarial(d_wasserstein, g_score),
    "hinge": Adversarial(d_hinge, g_score),
}
