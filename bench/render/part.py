"""What every section of the report is made of, and what it gives: data for report.json, pictures, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from bench import figures
from bench.design import Design
from bench.readings import Readings
from bench.render.save import FORMATS, Stamp, figure_bytes, page_svg
from bench.store import Store


class Given(NamedTuple):
    """All that is known of a study when its report is written."""

    design: Design
    store: Store
    frame: pd.DataFrame
    """The tidy table (`table.collect`)."""
    readings: Readings
    verdicts: list[dict[str, Any]]
    effects: pd.DataFrame
    """As `effects.estimate` gives it."""
    content: Mapping[str, Any]
    """What the report says of metrics, cells and runs (`content.content`)."""
    looks: Mapping[str, figures.Look]


class Chart(NamedTuple):
    """A figure within the page."""

    id: str
    title: str
    svg: Markup
    alt: str
    """What it shows, in words."""


class Legend(NamedTuple):
    """What a paper says below a figure, and where its files are."""

    id: str
    title: str
    caption: str
    metrics: tuple[str, ...]
    """The scores that it shows: the caption names their protocol."""
    width: float
    """Inches."""
    height: float
    forms: tuple[str, ...]


class Drawn(NamedTuple):
    """A figure that will be written into files."""

    figure: Figure
    legend: Legend


@dataclass(frozen=True)
class Part:
    """What a section gives."""

    content: dict[str, Any] = field(default_factory=dict)
    """For report.json and the page."""
    shown: dict[str, Any] = field(default_factory=dict)
    """For the page alone: charts and pictures."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Beside the page, by path within the report's folder."""
    drawn: list[Drawn] = field(default_factory=list)
    """Figures for print, in the order of the page; `printed` writes them."""

    def draw(
        self,
        figure: Figure,
        ident: str,
        title: str,
        alt: str,
        forms: Sequence[str] = FORMATS,
        *,
        caption: str | None = None,
        metrics: Sequence[str] = (),
    ) -> Chart:
        """Make a chart of a figure, and files of it: `figures/<ident>.<form>`.

        caption: for a paper; the words of `alt` where it is not given.  metrics: names of the scores that it shows.
        """
        self.keep(figure, ident, title, alt if caption is None else caption, forms, metrics=metrics)
        return Chart(ident, title, Markup(page_svg(figure, ident)), alt)

    def keep(
        self,
        figure: Figure,
        ident: str,
        title: str,
        caption: str,
        forms: Sequence[str] = FORMATS,
        *,
        metrics: Sequence[str] = (),
    ) -> None:
        """Make files of a figure that is not a chart of the page."""
        figures.settle(figure)
        width, height = map(float, figure.get_size_inches())
        legend = Legend(ident, title, caption, tuple(metrics), width, height, tuple(forms))
        self.drawn.append(Drawn(figure, legend))

    def printed(self, stamp: Stamp) -> dict[str, bytes]:
        """Write each figure in its forms, with the stamp in its metadata: path → bytes."""
        return {
            f"figures/{legend.id}.{form}": figure_bytes(figure, form, stamp._replace(title=legend.title))
            for figure, legend in self.drawn
            for form in legend.forms
        }
