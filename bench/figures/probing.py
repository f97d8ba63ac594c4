"""Figures of one run's probes: its layers, or its few numbers, over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.curves import log_axis
from bench.figures.style import INK, LEVELS, MUTED, STYLE, WIDTHS, short, spread
from bench.probes import MEASURES, PROBES

NETS = {"G": LEVELS[0], "D": LEVELS[1]}
"""Colour of each net's layers; the deeper, the fuller."""

Rows = Sequence[Mapping[str, Any]]


def probed(rows: Rows, name: str) -> bool:
    """Whether a probe was taken: there is something to draw."""
    return bool(_lines(rows, name))


def probe(rows: Rows, name: str, *, ax: Axes | None = None) -> Axes | None:
    """Draw one probe, a key of `PROBES`, of one run over the images shown to D; None where it was not taken.

    rows: of probes.jsonl.  Probes of layers have one line a layer, blue in G, orange in D, paler towards the input; the
    others one line a number.
    """
    what, lines = PROBES[name], _lines(rows, name)
    if not lines:
        return None
    with mpl.rc_context(STYLE):
        if ax is None:
            ax = Figure(figsize=(WIDTHS["column"], 2.3), layout="constrained").add_subplot()
        for kimg, values, colour, alpha, _ in lines:
            ax.plot(kimg, values, color=colour, alpha=alpha, lw=1.1, zorder=3)
        if name == "critic_gradient":
            _spread_about(ax, rows)
        everything = [value for _, values, *_ in lines for value in values]
        if what.scale == "log" and min(everything) > 0:
            log_axis(ax, everything)
        else:
            ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.margins(x=0.03, y=0.08)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title(what.title)
        ax.set_xlabel("kimg shown to D")
        if what.unit:
            ax.set_ylabel(what.unit)
        _names(ax, [(kimg[-1], values[-1], said) for kimg, values, _, _, said in lines if said])
        return ax


Line = tuple[list[float], list[float], str, float, str]
"""kimg, values, colour, alpha, and what stands at its end."""


def _lines(rows: Rows, name: str) -> list[Line]:
    layers = PROBES[name].layers
    return _layer_lines(rows, layers) if layers else _value_lines(rows, name)


def _layer_lines(rows: Rows, key: str) -> list[Line]:
    layers: dict[str, None] = {}
    for row in rows:
        layers.update(dict.fromkeys(row["layers"].get(key, {})))
    drawn: list[Line] = []
    for net, colour in NETS.items():
        own = [layer for layer in layers if layer.startswith(f"{net}.")]
        for depth, layer in enumerate(own):
            kimg, values = _known([(row["kimg"], row["layers"].get(key, {}).get(layer)) for row in rows])
            if kimg:
                said = layer if depth in (0, len(own) - 1) else ""
                drawn.append((kimg, values, colour, 0.25 + 0.75 * (depth + 1) / len(own), said))
    return drawn


def _value_lines(rows: Rows, name: str) -> list[Line]:
    drawn: list[Line] = []
    shown = [measure for measure, what in MEASURES.items() if what.probe == name and "gap" not in measure]
    for measure, colour in zip([one for one in shown if not one.endswith("_sd")], (INK, *LEVELS), strict=False):
        kimg, values = _known([(row["kimg"], row["values"].get(measure)) for row in rows])
        if kimg:
            said = "mean" if measure.endswith("_mean") else MEASURES[measure].label.removeprefix("logit of ")
            drawn.append((kimg, values, colour, 1.0, said))
    return drawn


def _known(points: Sequence[tuple[float, float | None]]) -> tuple[list[float], list[float]]:
    there = [(float(kimg), float(value)) for kimg, value in points if value is not None]
    return [kimg for kimg, _ in there], [value for _, value in there]


def _spread_about(ax: Axes, rows: Rows) -> None:
    """The band of one sd over samples about the mean, and the 1 that a gradient penalty wants."""
    kimg, mean = _known([(row["kimg"], row["values"].get("critic_gradient_mean")) for row in rows])
    _, sd = _known([(row["kimg"], row["values"].get("critic_gradient_sd")) for row in rows])
    if len(mean) == len(sd):
        ax.fill_between(kimg, np.subtract(mean, sd), np.add(mean, sd), color=INK, alpha=0.12, lw=0, zorder=1)
    ax.axhline(1.0, color=MUTED, lw=0.9, ls=(0, (1, 2)), zorder=2)


def _names(ax: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write what each line is at its end, moved apart where names would touch."""
    scale = ax.yaxis.get_transform().transform
    low, high = scale(np.array(ax.get_ylim()))
    points = (cast(Figure, ax.figure).get_figheight() - 0.6) * 72
    spots = sorted((float(points * (scale(y) - low) / (high - low)), x, y, said) for x, y, said in ends)
    for (height, x, y, said), target in zip(spots, spread([spot[0] for spot in spots], 8.0), strict=True):
        ax.annotate(
            short(said, 24), (x, y), xytext=(6, target - height), textcoords="offset points",
            va="center", fontsize=6.5, color=INK, annotation_clip=False,
        )  # fmt: skip
