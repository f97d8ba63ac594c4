"""A figure before it is drawn: what draws it, and all that it is drawn from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, ParamSpec, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import ft2font
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import figures
from bench.render.freshness import code

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A function of `bench.figures` and what it is given; drawn when the figure is first asked for."""

    draw: Callable[..., Axes | Figure | None]
    args: tuple[Any, ...]
    named: Mapping[str, Any]

    @cached_property
    def figure(self) -> Figure:
        """The figure, laid out."""
        drawn = self.draw(*self.args, **self.named)
        return figures.settle(cast(Figure, drawn.figure if isinstance(drawn, Axes) else drawn))

    @cached_property
    def shows(self) -> str:
        """Digest of the data, names and looks that the figure shows."""
        return _digest([self.draw.__module__, self.draw.__qualname__, self.args, self.named])

    @cached_property
    def key(self) -> str:
        """Digest of all that the picture hangs on: what it shows, this code, matplotlib and its letters."""
        return _digest([self.shows, code(), mpl.__version__, ft2font.__freetype_version__])


def sketch(draw: Callable[P, Axes | Figure | None], *args: P.args, **named: P.kwargs) -> Sketch:
    """Note how a figure is drawn, without drawing it."""
    return Sketch(draw, args, named)


def _digest(content: Any) -> str:
    hashed = hashlib.sha256()
    for part in _parts(content):
        hashed.update(part)
    return hashed.hexdigest()[:32]


def _parts(value: Any) -> Iterator[bytes]:
    """Tell a value to the last bit; order counts.  Raises TypeError for what could be told only in part."""
    if value is None or isinstance(value, str | int | float):
        yield f"{value!r};".encode()
    elif isinstance(value, pd.DataFrame):
        yield from _parts({str(name): value[name].to_numpy() for name in value.columns})
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}:".encode()
        yield repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield f"map {len(value)}:".encode()
        for item in value.items():
            yield from _parts(item)
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}:".encode()
        for item in value:
            yield from _parts(item)
    elif dataclasses.is_dataclass(value):
        yield from _parts([getattr(value, field.name) for field in dataclasses.fields(value)])
    else:
        raise TypeError(f"a figure is drawn from a {type(value).__name__}, which cannot be told bit by bit")
