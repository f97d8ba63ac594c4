"""The tidy table → what each cell reached: success, means of the runs that ended, medians with failures worst."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from bench import protocol, stats, table
from bench.design import Design


def summarise(frame: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Estimate each cell × value at the last snapshot over the seeds whose run is done.

    Survivors only: a diverged run is counted, and has no value at the end of the budget.  A cell without a value
    keeps its row, with n = 0.  Bounds are the 95 % t interval over seeds; empty when n < 2.  `median` is over all
    runs with an outcome, those without success ranked worst.
    """
    columns = table.factor_columns(design)
    measured = table.metrics_of(frame)
    at_end = table.last_values(frame)
    rows: list[dict[str, Any]] = []
    for cell in design.cells:
        runs = frame[frame["cell"] == cell.name].drop_duplicates("run_id")
        about = {
            "study": design.study.name,
            "cell": cell.name,
            **{column: cell.levels.get(factor) for factor, column in columns.items()},
            **count_states(runs["status"].tolist()),
            **{label: int((runs["outcome"] == label).sum()) for label in ("collapsed", "never_learned")},
            **_success(runs),
        }
        here = at_end[at_end["cell"] == cell.name]
        for asked, metric in measured:
            values = here[here["metric"] == metric]
            estimate = stats.mean_interval(values["value"].to_numpy())
            rows.append(
                {
                    **about,
                    "asked": asked,
                    "metric": metric,
                    "kimg": values["kimg"].max() if len(values) else None,
                    "n": estimate.n,
                    "mean": estimate.mean,
                    "sd_train": estimate.sd,
                    "low": estimate.low,
                    "high": estimate.high,
                    "median": _median(runs, values, protocol.measure(metric).direction),
                    "real": _first(values["real"]),
                    "floor": _first(values["floor"]),
                }
            )
        if not measured:
            rows.append({**about, "n": 0})
    summary = pd.DataFrame.from_records(rows, columns=[*table.LEADING, *columns.values(), *table.SUMMARY])
    for column in ("success_low", "success_high", "kimg", "mean", "sd_train", "low", "high", "median", "real", "floor"):
        summary[column] = summary[column].astype(float)
    return summary


def _success(runs: pd.DataFrame) -> dict[str, Any]:
    """Runs that are done and neither collapsed nor never learned, of those with an outcome, with Wilson's interval."""
    k, n = int((runs["outcome"] == "done").sum()), int(runs["outcome"].notna().sum())
    low, high = stats.success_interval(k, n) or (None, None)
    return {"success_k": k, "success_n": n, "success_low": low, "success_high": high}


def _median(runs: pd.DataFrame, values: pd.DataFrame, direction: str) -> float | None:
    """The composite median of one value in one cell; a success that has no such value is a hole, no failure."""
    known = dict(zip(values["run_id"], values["value"], strict=True))
    ended = runs[runs["outcome"].notna()]
    ranked = [
        None if outcome != "done" else known[run_id]
        for run_id, outcome in zip(ended["run_id"], ended["outcome"], strict=True)
        if outcome != "done" or run_id in known
    ]
    return stats.composite_median(ranked, direction)


def count_states(states: list[str]) -> dict[str, int]:
    """Count a cell's runs: seeds planned, done, diverged, failed, and not finished yet."""
    counts = Counter(states)
    known = {status: counts[status] for status in ("done", "diverged", "failed")}
    return {"seeds": len(states), **known, "unfinished": len(states) - sum(known.values())}


def _first(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.iloc[0]) if len(known) else None
