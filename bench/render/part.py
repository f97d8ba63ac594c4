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
from bench.render.save import FORMATS, figure_bytes, page_svg
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


@dataclass(frozen=True)
class Part:
    """What a section gives."""

    content: dict[str, Any] = field(default_factory=dict)
    """For report.json and the page."""
    shown: dict[str, Any] = field(default_factory=dict)
    """For the page alone: charts and pictures."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Beside the page, by path within the report's folder."""

    def draw(self, figure: Figure, ident: str, title: str, alt: str, forms: Sequence[str] = FORMATS) -> Chart:
        """Make a chart of a figure, and files of it: `figures/<ident>.<form>`."""
        figures.settle(figure)
        self.files.update({f"figures/{ident}.{form}": figure_bytes(figure, form) for form in forms})
        return Chart(ident, title, Markup(page_svg(figure, ident)), alt)
