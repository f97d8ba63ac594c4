"""What each paper fixed for its GAN, as settings, with the source beside each number.

A recipe is the lowest layer of a run's setting: the study, the cell and `--set` lie over it.  What is not said here
is the default of `bench.setting`.
"""

from __future__ import annotations

from typing import Any

from bench.recipes.dcgan import DCGAN, WGAN, WGAN_GP
from bench.recipes.fastgan import FASTGAN
from bench.recipes.sngan import SNGAN

RECIPES: dict[str, dict[str, Any]] = {
    "dcgan": DCGAN,
    "wgan": WGAN,
    "wgan_gp": WGAN_GP,
    "sngan": SNGAN,
    "fastgan": FASTGAN,
}
