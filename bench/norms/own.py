"""Activation norms of the user's own, by `pkg.module:Name`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench import own_modules


class NormError(ValueError):
    """A norm that cannot stand where it was asked for."""


class OwnNorm(nn.Module):
    """A norm of the user's own, `pkg.module:Name`, drawn at its own address.

    It is made as `Name(channels)` and called with x.  With a class attribute `wants_z = True` it is made as
    `Name(channels, z_dim)` and called with (x, z); G alone has a z to give.  With `wants_y = True` the number of
    classes and the labels come after that: `Name(channels, z_dim, classes)`, (x, z, y).  It brings its own learned
    shift, as batch norm does: the conv before it has no bias.  What its constructor draws comes from `seed`.
    """

    def __init__(self, name: str, channels: int, z_dim: int | None, seed: int, classes: int | None = None) -> None:
        super().__init__()
        made_from = load_own(name)
        self.wants_z = bool(getattr(made_from, "wants_z", False))
        self.wants_y = bool(getattr(made_from, "wants_y", False))
        if self.wants_z and z_dim is None:
            raise NormError(f"{name} wants z, which D does not have")
        if self.wants_y and classes is None:
            raise NormError(f"{name} wants y, but nothing in this setting reads labels (`condition`)")
        sizes = [channels, *([z_dim] if self.wants_z else []), *([classes] if self.wants_y else [])]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                self.own = made_from(*sizes)
            except Exception as error:
                arguments = ", ".join(map(str, sizes))
                raise NormError(f"{name}({arguments}) cannot be made: {own_modules.said(error)}") from error

    def forward(self, x: Tensor, *wanted: Tensor) -> Tensor:
        made: Tensor = self.own(x, *wanted)
        return made


def load_own(name: str) -> type[nn.Module]:
    """Import `pkg.module:Name`.

    Raises NormError if the module does not import, has no such name, or the name is no module class.
    """
    try:
        found = own_modules.load(name)
    except own_modules.OwnModuleError as error:
        raise NormError(str(error)) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise NormError(f"{name}: not a class derived from torch.nn.Module")
    return found


def check_own(name: str, z_dim: int | None, classes: int | None = None) -> None:
    """Make the norm for 8 channels and pass [2, 8, 4, 4] through it; `z_dim` is None for a norm of D.

    This runs the user's code: call it in a child process.
    Raises NormError if it does not import, is no module class, fails, or returns another shape.
    """
    norm = OwnNorm(name, 8, z_dim, seed=0, classes=classes)
    x = torch.linspace(-1.0, 1.0, 2 * 8 * 4 * 4).view(2, 8, 4, 4)
    wanted = [torch.ones(2, z_dim)] if norm.wants_z and z_dim is not None else []
    wanted += [torch.zeros(2, dtype=torch.int64)] if norm.wants_y else []
    try:
        y = norm(x, *wanted)
    except Exception as error:
        shape = tuple(x.shape)
        raise NormError(f"{name}: fails on a batch of shape {shape}: {own_modules.said(error)}") from error
    if not isinstance(y, Tensor):
        raise NormError(f"{name}: returns {type(y).__name__}, not a tensor")
    if y.shape != x.shape:
        raise NormError(f"{name}: must keep the shape; made {tuple(y.shape)} of {tuple(x.shape)}")
