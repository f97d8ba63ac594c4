"""How long a run is: its length in G updates, at which of them a snapshot is kept, and the stage that each is done in.

Length may be said in kimg, epochs or G updates.  One step of the loop is one G update with its D updates, so
everything resolves to whole steps.  Torch-free: the plan uses it too.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

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


def nimg_after(setting: Setting, step: int) -> int:
    """Real images shown to D when G has been updated `step` times."""
    period = _period(setting, step)
    return period.image + period.batch * (d_updates_before(setting.train, step) - period.update)


def schedule(setting: Setting, n_train: int) -> Schedule:
    """Resolve a setting's length on a training part of `n_train` images.

    Raises ValueError when the setting says no length, or a snapshot lies beyond the end.
    """
    train = setting.train

    def steps_for_nimg(nimg: float) -> int:
        high = max(1, int(nimg // min(batches(setting))) + 1)
        return bisect.bisect_left(range(high), nimg - 1e-6, key=lambda step: nimg_after(setting, step))

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
        snapshots={step: label(nimg_after(setting, step)) for step in kept},
        log_every=max(1, total // 200),
    )


# ---------------------------------------------------------------------------------------------------------
# Stages.


@dataclass(frozen=True)
class Stage:
    """What one step is done with.  Without growth it is the same from first to last."""

    size: int
    """Side of the images that G makes and D is shown."""
    fade: float
    """Strength of the level of `size`, from 0 to 1; the rest is the level below, upsampled."""
    batch: int
    period: int
    """Number of the period: 0 at the first level, odd while a level fades in, even at full strength."""
    first_update: int
    """D updates done before the period."""
    first_image: int
    """Images shown before the period."""

    def position(self, update: int) -> int:
        """Images shown to D before its update number `update`, which belongs to this stage's period."""
        return self.first_image + (update - self.first_update) * self.batch


def stage(setting: Setting, step: int) -> Stage:
    """Return the stage of G update number `step` (from 0) and of the D updates before it.

    Karras et al. 2018, appendix A: each level trains for `growth_stable_kimg` at full strength, then the next fades in
    over `growth_fade_kimg`, linearly in images shown.  As in their TensorFlow code, the batch of a level counts from
    the start of its fade; other than there, the fade moves in each step, not in every fourth.
    """
    period = _period(setting, step)
    shown = nimg_after(setting, step)
    fade = min(1.0, max(0.0, (shown - period.start) / period.length)) if period.number % 2 else 1.0
    return Stage(period.size, fade, period.batch, period.number, period.update, period.image)


def batches(setting: Setting) -> tuple[int, ...]:
    """List the batch of each level, from the first; without growth there is one."""
    if not setting.growth:
        return (setting.train.batch,)
    said = setting.growth_batches or (setting.train.batch,)
    return tuple(said[min(level, len(said) - 1)] for level in range(len(levels(setting))))


def levels(setting: Setting) -> tuple[int, ...]:
    """List the sizes that a run grows through; without growth there is one."""
    size = setting.data.size
    if not setting.growth or setting.growth_start >= size:
        return (size,)
    return tuple(setting.growth_start << i for i in range((size // setting.growth_start).bit_length()))


class _Period(NamedTuple):
    number: int
    size: int
    batch: int
    start: float
    """Images after which it is due; it begins with the first step at which they have been shown."""
    length: float
    step: int
    update: int
    image: int


def _period(setting: Setting, step: int) -> _Period:
    kimg = (setting.growth_stable_kimg, setting.growth_fade_kimg)
    periods = _periods(setting.train, levels(setting), batches(setting), *kimg)
    return periods[bisect.bisect_right(periods, step, key=lambda period: period.step) - 1]


@lru_cache(maxsize=64)
def _periods(
    train: Train, sizes: tuple[int, ...], batch: tuple[int, ...], stable_kimg: float, fade_kimg: float
) -> tuple[_Period, ...]:
    """List the periods: the first level, then the fade and the full strength of each further one."""
    periods: list[_Period] = []
    start, step, image = 0.0, 0, 0
    for number in range(2 * len(sizes) - 1):
        level = (number + 1) // 2
        update = d_updates_before(train, step)
        length = 1000 * (fade_kimg if number % 2 else stable_kimg)
        periods.append(_Period(number, sizes[level], batch[level], start, length, step, update, image))
        start += length

        def shown(steps: int, at: _Period = periods[-1]) -> int:
            return at.image + at.batch * (d_updates_before(train, at.step + steps) - at.update)

        high = max(0, int((start - image) // batch[level])) + 2
        steps = bisect.bisect_left(range(high), start - 1e-6, key=shown)
        step, image = step + steps, shown(steps)
    return tuple(periods)
