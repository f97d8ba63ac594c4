"""What a paper takes from a study: tables in three formats, macros, and a document that compiles and shows it all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2

from bench import table as csv
from bench.harmless import harmless
from bench.render.latex import escaped, short, to_frame, to_latex, to_markdown
from bench.render.macros import macros
from bench.render.notebook import notebook
from bench.render.part import Legend
from bench.render.save import Stamp
from bench.render.tables import all_tables, protocol_words, replicates

COLUMN_IN, PAGE_IN, TALL_IN = 3.25, 6.75, 7.6
"""Widths of the paper's column and page, and the height that leaves room for a caption."""
AS_DATA = ("effects", "verdicts")
"""Tables whose CSV holds numbers instead of what is shown."""


def paper(content: Mapping[str, Any], legends: Sequence[Legend], stem: str, stamp: Stamp) -> dict[str, bytes]:
    """Write it all: path → bytes.

    content: all that the report says, with `best` and `protocols` (`bench.render.tables`).  legends: of all figures, in
    the page's order.  stem: of the study file; names of macros begin with it.
    """
    tables = all_tables(content)
    files = {f"tables/{one.name}.tex": to_latex(one, stamp) for one in tables}
    files |= {f"tables/{one.name}.md": to_markdown(one) for one in tables}
    files |= {f"tables/{one.name}.csv": csv.to_csv(to_frame(one)) for one in tables if one.name not in AS_DATA}
    files["macros.tex"] = macros(content, stem, stamp)
    files["paper.tex"] = _document(content, legends, [one.name for one in tables], stamp)
    files["starter.ipynb"] = notebook(content)
    return files


def _document(content: Mapping[str, Any], legends: Sequence[Legend], tables: Sequence[str], stamp: Stamp) -> bytes:
    headline = [metric["name"] for metric in content["metrics"] if not metric["detail"]]
    about = [" ".join(text.split()) if text[:4].strip() else text for text in content["study"]["about"].split("\n\n")]
    text = (
        _environment()
        .get_template("paper.tex.j2")
        .render(
            content=content,
            stamp=stamp,
            about=[paragraph for paragraph in about if paragraph.strip()],
            replicates=replicates(content),
            protocol=protocol_words(content, headline) or "No score has been computed yet",
            findings=_findings(content, tables),
            methods="methods" in content,
            tables=tables,
            figures=[_figure(legend, content) for legend in legends],
        )
    )
    return text.encode()


_CONTENTS = {
    "verdicts": "the claims and how they were judged",
    "results": "the scores of each cell",
    "details": "what they are made of",
    "effects": "the effects of the factors",
    "cells": "what became of the runs",
    "protocols": "how each score was made",
}


def _findings(content: Mapping[str, Any], tables: Sequence[str]) -> str:
    """Say how the claims were judged, in a sentence, and which table has what."""
    counts = Counter(one["verdict"] for one in content["verdicts"])
    judged = ", ".join(f"{count} {word}" for word, count in counts.items())
    total = len(content["verdicts"])
    said = f"Of {total} claim{'s' * (total != 1)}: {judged}. " if total else "No claim is judged here. "
    listed = [f"Table~\\ref{{tab:{name}}} has {escaped(_CONTENTS[name])}" for name in tables]
    return escaped(said) + "; ".join(listed) + "." * bool(listed)


class _Tex(str):
    """Text that is LaTeX already."""


def _environment() -> jinja2.Environment:
    """Jinja with delimiters that LaTeX does not use; whatever is no LaTeX already is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.render", "templates"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        finalize=lambda value: value if isinstance(value, _Tex) else escaped(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[[Any], str]] = {
        "raw": lambda text: _Tex(text),
        "broken": lambda text: _Tex(escaped(text, breaks=True)),
        "cut": short,
        "comment": lambda text: _Tex(re.sub(r"\s+", " ", harmless(text))),
    }
    environment.filters.update(filters)
    return environment


def _figure(legend: Legend, content: Mapping[str, Any]) -> dict[str, Any]:
    """Place a figure at its own size, where it fits."""
    wide = legend.width > COLUMN_IN + 0.05
    width, height = min(legend.width, PAGE_IN if wide else COLUMN_IN), legend.height
    size = f"width={width:g}in" if height * width / legend.width <= TALL_IN else f"height={TALL_IN:g}in"
    form = "pdf" if "pdf" in legend.forms else "png"
    return {
        "environment": "figure*" if wide else "figure",
        "size": size,
        "file": f"{legend.id}.{form}",
        "label": legend.id,
        "caption": caption(legend, content),
    }


def caption(legend: Legend, content: Mapping[str, Any]) -> str:
    """What stands below a figure: what it shows, of how many seeds, by which protocol."""
    said = [legend.caption.strip().rstrip(".")]
    if not said[0].lower().startswith(legend.title.lower().partition(" over ")[0]):
        said.insert(0, legend.title)
    said.append(replicates(content))
    if words := protocol_words(content, legend.metrics):
        said.append(words)
    return f"{content['study']['name']}. " + ". ".join(said) + "."
