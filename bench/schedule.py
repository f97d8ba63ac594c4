"""How long a run is: its length in G updates, and at which of them a snapshot is kept.

Length may be said in kimg, epochs or G updates.  One step of the loop is one G update with its D updates, so
everything resolves to whole steps.  Torch-free: the plan uses it too.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from bench.setting import Setting, Train

WARMUP_STEPS, WARMUP_EVERY, WARMUP_N_CRITIC = 25, 500, 100
"""Arjovsky et al. 2017, released code: 100 critic updates for each of the first 25 G updates and every 500th."""


def d_updates(train: Train, step: int) -> int:
    """D updates that precede G update number `step` (from 0)."""
    if train.critic_warmup and (step < WARMUP_STEPS or step % WARMUP_EVERY == 0):
        return WARMUP_N_CRITIC
    return train.n_critic


def d_updates_before(train: Train, step: int) -> int:
    """D updates done when G has been updated `step` times."""
    total = train.n_critic * step
    if train.critic_warmup and step > 0:
        warm = min(step, WARMUP_STEPS) + (step - 1) // WARMUP_EVERY
        total += (WARMUP_N_CRITIC - train.n_critic) * warm
    return total


@dataclass(frozen=True)
class Schedule:
    """A run's length, resolved."""

    steps: int
    """G updates."""
    snapshots: dict[int, str]
    """Step after which a snapshot is kept, and its label: kimg to three decimals."""
    log_every: int
    """Steps in one row of the log."""


def label(nimg: int) -> str:
    """Name a snapshot by the images shown to D: 8000 → `000008.000`."""
    return f"{nimg / 1000:010.3f}"


def nimg_after(train: Train, step: int) -> int:
    """Real images shown to D when G has been updated `step` times."""
    return train.batch * d_updates_before(train, step)


def schedule(setting: Setting, n_train: int) -> Schedule:
    """Resolve a setting's length on a training part of `n_train` images.

    Raises ValueError when the setting says no length, or a snapshot lies beyond the end.
    """
    train = setting.train

    def steps_for_nimg(nimg: float) -> int:
        high = max(1, int(nimg // train.batch) + 1)
        return bisect.bisect_left(range(high), nimg - 1e-6, key=lambda step: nimg_after(train, step))

    def steps(kimg: float | None, epochs: float | None, g_steps: int | None) -> int | None:
        if kimg is not None:
            return steps_for_nimg(kimg * 1000)
        if epochs is not None:
            return steps_for_nimg(epochs * n_train)
        return g_steps

    total = steps(train.kimg, train.epochs, train.g_steps or train.labelled_steps)
    if total is None:
        raise ValueError("no length: say one of train.kimg, train.epochs, train.g_steps, train.labelled_steps")
    total = max(1, total)
    wanted: Sequence[int | None]
    if train.snapshots_kimg is not None:
        wanted = [steps(kimg, None, None) for kimg in train.snapshots_kimg]
    elif train.snapshots_epochs is not None:
        wanted = [steps(None, epochs, None) for epochs in train.snapshots_epochs]
    elif train.snapshots_g_steps is not None:
        wanted = train.snapshots_g_steps
    else:
        wanted = [max(1, round(total * quarter / 4)) for quarter in (1, 2, 3, 4)]
    kept = sorted({step for step in wanted if step} | {total})
    if kept[-1] > total:
        raise ValueError(
            f"a snapshot after G update {kept[-1]:,} lies beyond the run's end at {total:,}: "
            "make the run longer or leave that snapshot out"
        )
    return Schedule(
        steps=total,
        snapshots={step: label(nimg_after(train, step)) for step in kept},
        log_every=max(1, total // 200),
    )
