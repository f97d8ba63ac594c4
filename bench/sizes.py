"""Which image sizes each network family makes, and the maps inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench.setting import Setting

MAX_SIZE = 1024


def _power(size: int) -> bool:
    return size & (size - 1) == 0


class Sizes(NamedTuple):
    """What a family makes."""

    makes: Callable[[int], bool]
    words: str
    smallest: Callable[[int], int]
    """Side of the image → side of the smallest map that carries a norm, in G and in D."""


SIZES: dict[str, Sizes] = {
    "mlp": Sizes(lambda size: size <= 64, "any up to 64", lambda size: 1),
    "dcgan": Sizes(
        lambda size: size == 28 or (size >= 16 and _power(size)),
        "28 and powers of two from 16",
        lambda size: 7 if size == 28 else 4,
    ),
    "sndcgan": Sizes(lambda size: size >= 8 and size % 8 == 0, "multiples of 8", lambda size: size // 8),
    "resnet": Sizes(
        lambda size: size == 48 or (size >= 32 and _power(size)),
        "48 and powers of two from 32",
        lambda size: 6 if size == 48 else 4,
    ),
    "progan": Sizes(lambda size: size >= 4 and _power(size), "powers of two from 4", lambda size: 4),
    "fastgan": Sizes(lambda size: size >= 64 and _power(size), "powers of two from 64", lambda size: 4),
    "unet": Sizes(lambda size: size >= 32 and _power(size), "powers of two from 32", lambda size: 2),
}
"""A network of the user's own is not in the table: it may make any."""


def makes(network: str, size: int) -> bool:
    """Say whether a network family makes images of side `size`."""
    return network not in SIZES or (size <= MAX_SIZE and SIZES[network].makes(size))


def size_mistake(network: str, size: int) -> str | None:
    """Say what is wrong with a size that the network cannot make, and which it can; None when it can."""
    if makes(network, size):
        return None
    below = next((s for s in range(size, 0, -1) if makes(network, s)), None)
    above = next((s for s in range(size, MAX_SIZE + 1) if makes(network, s)), None)
    hint = " or ".join(str(s) for s in (below, above) if s)
    return f"network {network} makes no images of {size} px; it makes {SIZES[network].words} (did you mean {hint}?)"


def smallest_map(setting: Setting) -> int:
    """Side of the smallest map that carries a norm, in G and in D; of a network of the user's own, unknown: 4."""
    return SIZES[setting.network].smallest(setting.data.size) if setting.network in SIZES else 4
