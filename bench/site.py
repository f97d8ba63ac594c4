"""A site's defaults: the YAML file that `BENCH_SITE` names, so that study files need not know the cluster.

    executor: slurm
    setup: ["module load cuda/12.4"]
    resources: {cpus: 4, slurm: {partition: gpu, account: lab}}

What a study says goes before what the site says.  Lines of shell may stand only here, never in a study file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench.mistakes import mistakes
from bench.resources import Resources, Word
from bench.setting import Strict
from bench.yaml_places import Problem, StudyError, parse, show_path

VARIABLE = "BENCH_SITE"


class Site(Strict):
    """What the site file says."""

    executor: Literal["inline", "local", "slurm"] | None = None
    """What `--executor auto` means here."""
    setup: tuple[Word, ...] = ()
    """Shell lines in each job, before the work begins."""
    resources: Resources = Resources()
    """Defaults of `resources:` in study files."""


def load() -> Site:
    """Read the site file; without one, a site that says nothing.  Raises StudyError with every mistake in it."""
    named = os.environ.get(VARIABLE)
    if not named:
        return Site()
    path = Path(named).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise StudyError([Problem(str(path), "", f"{VARIABLE} names it, and it cannot be read: {why}")]) from error
    parsed = parse(text, str(path))
    problems = list(parsed.problems)
    tree = {} if parsed.value is None else parsed.value
    if not isinstance(tree, dict):
        problems.append(Problem(parsed.place(()), "", "a map is due at the top, as `executor: slurm`"))
    if problems:
        raise StudyError(problems)
    try:
        return Site.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise StudyError(
            Problem(parsed.place(found.trail, of_key=found.about_key), show_path(found.trail), found.message)
            for found in mistakes(error, tree, Site)
        ) from error
