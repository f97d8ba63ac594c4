"""What every section of the report is made of, and what it gives: data for report.json, figures to draw, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from bench import figures
from bench.design import Design
from bench.readings import Readings
from bench.render.save import FORMATS, Stamp
from bench.render.sketch import Sketch
from bench.store import Store
from bench.traces import Traces


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
    traces: Traces
    printed: bool = True
    """Whether what does not stand in the page is made as well: files for print, the table of probes."""


class Chart(NamedTuple):
    """A figure within the page; its SVG is in `svgs`, by its id."""

    id: str
    title: str
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
    """A figure of the report."""

    sketch: Sketch
    id: str
    title: str
    caption: str
    """For a paper."""
    metrics: tuple[str, ...]
    """The scores that it shows."""
    forms: tuple[str, ...]
    """Its files are `figures/<id>.<form>`."""
    in_page: bool
    run: str
    """The id of the run that it shows, where it shows but one."""

    def legend(self, size: tuple[float, float]) -> Legend:
        """What a paper says below it.  size: width and height in inches."""
        return Legend(self.id, self.title, self.caption, self.metrics, *size, self.forms)

    def stamped(self, stamp: Stamp) -> Stamp:
        """What its files say of themselves: of all results, or of its one run, which no other run changes."""
        if self.run:
            stamp = stamp._replace(built_from=self.sketch.shows, runs=(self.run,))
        return stamp._replace(title=self.title)


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
    """Figures, in the order of the page."""

    def draw(
        self,
        sketch: Sketch,
        ident: str,
        title: str,
        alt: str,
        forms: Sequence[str] = FORMATS,
        *,
        caption: str | None = None,
        metrics: Sequence[str] = (),
        run: str = "",
    ) -> Chart:
        """Make a chart of a figure, and files of it: `figures/<ident>.<form>`.

        caption: for a paper; the words of `alt` where it is not given.  metrics: names of the scores that it shows.
        run: the id of the only run that it shows.
        """
        said = alt if caption is None else caption
        self.drawn.append(Drawn(sketch, ident, title, said, tuple(metrics), tuple(forms), True, run))
        return Chart(ident, title, alt)

    def keep(self, sketch: Sketch, ident: str, title: str, caption: str) -> None:
        """Make files of a figure that is not a chart of the page."""
        self.drawn.append(Drawn(sketch, ident, title, caption, (), FORMATS, False, ""))
