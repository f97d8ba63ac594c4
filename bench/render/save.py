"""Figures → bytes: PNG, SVG and PDF for print, SVG for the page.  The same input gives the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from bench import figures
from bench.harmless import harmless
from bench.setting import digest

DPI = 300
FORMATS = ("png", "svg", "pdf")


class Stamp(NamedTuple):
    """What a figure's file says of itself."""

    study: str
    built_from: str
    """Digest of the study and its results."""
    runs: tuple[str, ...]
    title: str = ""

    def words(self) -> str:
        """The study, the digest, and the runs: their ids, or of many their number and digest."""
        runs = ", ".join(self.runs) if len(self.runs) <= MOST_RUNS else f"{len(self.runs)}, digest {digest(self.runs)}"
        return f"study {self.study}; built from {self.built_from}" + f"; runs {runs}" * bool(self.runs)


MOST_RUNS = 60


def _metadata(form: str, stamp: Stamp | None) -> dict[str, Any]:
    """Metadata by the names that each format has for them; nothing that changes from day to day."""
    if form == "png":
        plain: dict[str, Any] = {"Software": "bench"}
        said = ("Title", "Description")
    elif form == "svg":
        plain = {"Date": None, "Creator": "bench"}
        said = ("Title", "Description")
    else:
        plain = {"CreationDate": None, "ModDate": None, "Creator": "bench", "Producer": "bench"}
        said = ("Title", "Subject")
    if stamp is None:
        return plain
    return plain | dict(zip(said, (harmless(f"{stamp.study}: {stamp.title}"), harmless(stamp.words())), strict=True))


_THEMED = {
    figures.INK: "--ink",
    figures.MUTED: "--muted",
    figures.LINE: "--line",
    figures.PAPER: "--paper",
    figures.REFERENCE: "--level-0",
    **{colour: f"--level-{number}" for number, colour in enumerate(figures.LEVELS, 1)},
}


def figure_bytes(figure: Figure, form: str, stamp: Stamp | None = None) -> bytes:
    """Draw a figure as `png` (300 dpi, lossless), `svg` (text as outlines: portable) or `pdf` (embedded fonts)."""
    return _drawn(figure, form, "path", stamp)


def page_svg(figure: Figure, prefix: str) -> str:
    """Draw a figure as SVG for within a page: real text, the page's own colours (light and dark), unique ids."""
    text = _drawn(figure, "svg", "none").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true" focusable="false"', text, count=1)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", text)
    text = re.sub(r"font: [^;\"]*?(\d+(\.\d+)?)px[^;\"]*", r"font-size: \1px", text)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _theme(found[0]), text)


def _theme(colour: str) -> str:
    return f"var({_THEMED[colour]})" if colour in _THEMED else colour


def _drawn(figure: Figure, form: str, fonttype: str, stamp: Stamp | None = None) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context({**figures.STYLE, "svg.fonttype": fonttype}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in another script
        figure.savefig(buffer, format=form, dpi=DPI, metadata=_metadata(form, stamp), transparent=form == "svg")
    return buffer.getvalue()


def file_name(name: str, taken: Iterable[str]) -> str:
    """Turn a metric's name into a file name that none of `taken` has: `fd[random]` → `fd-random`."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] or "figure"
    known, number, chosen = set(taken), 2, plain
    while chosen in known:
        chosen, number = f"{plain}-{number}", number + 1
    return chosen
