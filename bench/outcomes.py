"""What became of a trained run beyond its status: whether it collapsed, or never learned, by its study's criterion.

Labels are derived from scores each time and written nowhere: runs are shared between studies, criteria are not.
Torch- and pandas-free: the status of a study shows them too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from bench import protocol
from bench.files import read_json
from bench.setting import PositiveFloat, Setting, Strict
from bench.store import RunFolder, RunState

Bound = Annotated[float, Field(gt=0, le=1)]


class Collapse(Strict):
    """The criterion of mode collapse: a snapshot meets it when any of these holds; null leaves one out."""

    ms_ssim_margin: PositiveFloat | None = 0.1
    """MS-SSIM between fakes is above the real set's own by more than this."""
    recall_below: Bound | None = 0.2
    """Recall is below this."""
    modes_below: Bound | None = 0.5
    """Fewer modes are found than this share of those that the reals show."""


SPEAKING = ("ms_ssim", "prdc", "modes")
"""The metrics that the criterion reads, as far as a study asks for them."""


def words(criterion: Collapse) -> str:
    """Say the criterion for people."""
    said = [
        criterion.ms_ssim_margin
        and f"MS-SSIM between fakes is more than {criterion.ms_ssim_margin:g} above the reals’",
        criterion.recall_below and f"recall is below {criterion.recall_below:g}",
        criterion.modes_below and f"fewer than {criterion.modes_below:.0%} of the reals’ modes are found",
    ]
    return ", or ".join(one for one in said if one) or "nothing counts as collapse"


class Label(NamedTuple):
    """What the scores say of a run."""

    outcome: Literal["collapsed", "never_learned"] | None
    at_kimg: float | None = None
    """Where the collapse began: the first of the snapshots, unbroken to the end, that meet the criterion."""
    note: str = ""
    """Why there is no label, or what keeps a run that met the criterion from one."""


def unknown(note: str | None) -> bool:
    """Whether a note says that a run that is done could not be judged."""
    return (note or "").startswith("no label")


class Value(NamedTuple):
    """One value of a score."""

    name: str
    value: float
    real: float | None
    """The real set's own."""


def meets(values: Iterable[Value], criterion: Collapse) -> bool | None:
    """Say whether a snapshot with these values meets the criterion; None when none of them speaks to it."""
    spoken = [met for value in values if (met := _meets(value, criterion)) is not None]
    return any(spoken) if spoken else None


def _meets(value: Value, criterion: Collapse) -> bool | None:
    if not math.isfinite(value.value):
        return None
    if value.name.startswith("ms_ssim"):
        if criterion.ms_ssim_margin is None or value.real is None:
            return None
        return value.value > value.real + criterion.ms_ssim_margin
    if value.name.startswith("recall"):
        return None if criterion.recall_below is None else value.value < criterion.recall_below
    if re.match(r"modes(\[|$)", value.name):
        if criterion.modes_below is None or not value.real:
            return None
        return value.value < criterion.modes_below * value.real
    return None


def label(history: Sequence[tuple[float, bool | None]]) -> Label:
    """Judge a run that reached its end by whether its snapshots met the criterion: [(kimg, met or None)], in order.

    Collapsed: met at the last two snapshots after an earlier one passed.  Never learned: met at each of two or more.
    (An untrained generator's samples are alike too, so a criterion that is met is not yet a collapse.)
    None stands for a snapshot without a score that speaks.
    """
    met = [one for _, one in history]
    known = [one for one in met if one is not None]
    if not known:
        return Label(None, note="no label: no score of the criterion")
    if met[-1] is None:
        return Label(None, note="no label: the last snapshot has no score of the criterion")
    if not met[-1]:
        return Label(None)
    if met[-2:] == [True, True] and False in met:
        passed = max(place for place, one in enumerate(met) if one is False)
        began = next(kimg for kimg, one in history[passed + 1 :] if one)
        return Label("collapsed", began)
    if all(met) and len(met) > 1:
        return Label("never_learned")
    if None in met:
        return Label(None, note="no label: a snapshot has no score of the criterion")
    if len(met) < 3:
        return Label(None, note=f"no label: the criterion is met at the end, of too few snapshots ({len(met)})")
    return Label(None, note="the criterion is met at the last snapshot alone")


def of_run(
    folder: RunFolder,
    state: RunState,
    metrics: Sequence[str],
    evaluate: protocol.Evaluate,
    setting: Setting,
    source: protocol.Reals,
    criterion: Collapse,
) -> Label:
    """Label a run from its scores, as a study asks for them; a run that is not done has no label."""
    if state.status != "done" or state.trained is None:
        return Label(None)
    asked = [name for name in protocol.askable(metrics, setting) if name in SPEAKING]
    if not asked:
        return Label(None, note=f"no label: none of {', '.join(SPEAKING)} is asked for")
    history = []
    for snapshot in sorted(state.trained.get("snapshots", [])):
        requests = protocol.requests(asked, evaluate, setting.data, folder.path.name, snapshot, source)
        values = [value for one in requests for value in _values(folder, one.id)]
        history.append((float(snapshot), meets(values, criterion)))
    return label(history)


def _values(folder: RunFolder, score_id: str) -> list[Value]:
    record = read_json(folder.scores / f"{score_id}.json") or {}
    if record.get("status") != "ok":
        return []
    reals = record.get("real") or {}
    return [Value(name, value, reals.get(name)) for name, value in record["values"].items() if value is not None]
