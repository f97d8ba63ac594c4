"""Trained runs + scores → one tidy table, and its summary by cell.

Every run of the design is there, whatever became of it: a run that is missing, failed or diverged is a row with
its status and cause and an empty value.  Rows come in the design's order, so the table does not depend on the
order in which runs were made or read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bench import datasets, outcomes, protocol, stats
from bench.design import Design, Run, noise_run
from bench.files import StoreError, read_json
from bench.setting import Data, digest
from bench.store import RunFolder, RunState, Store

LEADING = ("study", "cell")
FOLLOWING = (
    "seed",
    "run_id",
    "status",
    "cause",
    "outcome",
    "collapsed_at_kimg",
    "outcome_note",
    "snapshot",
    "kimg",
    "asked",
    "metric",
    "value",
    "sd_eval",
    "real",
    "floor",
    "score_status",
    "reason",
    "protocol",
    "n_real",
    "n_fake",
    "n_floor",
    "extractor",
    "score_id",
    "commit",
)
"""Columns of runs.csv after the factors; docs/results.md says what each holds."""

SUMMARY = (
    "seeds",
    "done",
    "collapsed",
    "never_learned",
    "diverged",
    "failed",
    "unfinished",
    "success_k",
    "success_n",
    "success_low",
    "success_high",
    "asked",
    "metric",
    "kimg",
    "n",
    "mean",
    "sd_train",
    "low",
    "high",
    "median",
    "real",
    "floor",
)


NOISE = ("metric", "evaluations", "mean", "sd", "sd_log", "cell", "seed", "run_id", "snapshot")


class ProtocolError(StoreError):
    """Scores of one name that were not made alike stand in one table."""


def factor_columns(design: Design) -> dict[str, str]:
    """Name the column of each factor: its own name, unless another column has it (then `factor_<name>`)."""
    factors = dict.fromkeys(factor for cell in design.cells for factor in cell.levels)
    taken = {*LEADING, *FOLLOWING, *SUMMARY}
    return {factor: f"factor_{factor}" if factor in taken else factor for factor in factors}


# ---------------------------------------------------------------------------------------------------------
# The tidy table.


def collect(design: Design, store: Store) -> pd.DataFrame:
    """Gather one row a run × snapshot × value, in the design's order.

    Only the scores that the study asks for are read: other studies may have scored the same runs in another way.
    A run without scores is one row; a score asked for and not there is a row with `score_status` "missing".
    Raises ProtocolError when one name stands for values that were made in different ways.
    """
    sources = _Sources()
    rows: list[dict[str, Any]] = []
    stamps = _Stamps()
    for run in in_order(design):
        folder = store.run(run.run_id)
        state = folder.state()
        about = {
            "study": design.study.name,
            "cell": run.cell.name,
            **{column: run.cell.levels.get(factor) for factor, column in factor_columns(design).items()},
            "seed": run.seed,
            "run_id": run.run_id,
            "status": state.status,
            "cause": state.cause,
            **_outcome(run, design, folder, state, sources),
            "commit": commit(state),
        }
        found = list(_score_rows(run, design, folder, state, sources, stamps))
        rows += [{**about, **row} for row in found] or [about]
    stamps.check()
    columns = [*LEADING, *factor_columns(design).values(), *FOLLOWING]
    frame = pd.DataFrame.from_records(rows, columns=columns)
    for column in ("collapsed_at_kimg", "kimg", "value", "sd_eval", "real", "floor"):
        frame[column] = frame[column].astype(float)
    for column in ("n_real", "n_fake", "n_floor"):
        frame[column] = frame[column].astype("Int64")
    return frame


def in_order(design: Design) -> list[Run]:
    """List the runs cell by cell as the study has them, seeds ascending."""
    place = {cell.name: number for number, cell in enumerate(design.cells)}
    return sorted(design.runs, key=lambda run: (place[run.cell.name], run.seed))


def commit(state: RunState) -> str | None:
    """The commit that trained a run, marked `-dirty` when the tree had changes; None when unknown."""
    if not state.trained or not state.trained.get("commit"):
        return None
    return state.trained["commit"] + ("-dirty" if state.trained.get("dirty") else "")


def _outcome(run: Run, design: Design, folder: RunFolder, state: RunState, sources: _Sources) -> dict[str, Any]:
    """Say what became of a run: diverged, collapsed, never_learned or done; nothing of one not at its end."""
    study = design.study
    source = sources(run.setting.data)
    found = outcomes.of_run(folder, state, study.metrics, study.evaluate, run.setting, source, study.collapse)
    ended = state.status if state.trained else None
    return {"outcome": found.outcome or ended, "collapsed_at_kimg": found.at_kimg, "outcome_note": found.note or None}


class _Sources:
    """What each data setting is, asked once."""

    def __init__(self) -> None:
        self._known: dict[str, datasets.Source] = {}

    def __call__(self, data: Data) -> datasets.Source:
        key = data.model_dump_json()
        if key not in self._known:
            self._known[key] = datasets.describe(data, datasets.data_root())
        return self._known[key]


def _score_rows(
    run: Run,
    design: Design,
    folder: RunFolder,
    state: RunState,
    sources: _Sources,
    stamps: _Stamps,
) -> Iterator[dict[str, Any]]:
    study, data = design.study, run.setting.data
    for snapshot in snapshots(folder, state):
        metrics = protocol.askable(study.metrics, run.setting)
        asked = protocol.requests(metrics, study.evaluate, data, run.run_id, snapshot, sources(data))
        for request in asked:
            record = read_json(folder.scores / f"{request.id}.json")
            about = {
                "snapshot": snapshot,
                "kimg": float(snapshot),
                "asked": request.metric,
                "score_id": request.id,
            }
            if record is None:
                yield {**about, "score_status": "missing"}
                continue
            for row in _value_rows(record):
                if row["score_status"] == "ok":
                    stamps.add(row, record.get("protocol") or {}, run)
                yield {**about, **row}


def snapshots(folder: RunFolder, state: RunState) -> list[str]:
    """Labels of a run's snapshots, ascending: as its end recorded them, else those that are there by now."""
    if state.trained:
        return sorted(state.trained.get("snapshots", []))
    return sorted(path.stem for path in folder.snapshots.glob("*.pt"))


def _value_rows(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    stamp = record.get("protocol") or {}
    about = {
        "protocol": digest(stamp, 8),
        "n_real": stamp.get("n_real"),
        "n_fake": stamp.get("n_fake"),
        "n_floor": stamp.get("n_floor"),
        "extractor": stamp.get("extractor"),
    }
    values = record.get("values") or {}
    if record.get("status") != "ok" or not values:
        yield {**about, "score_status": "failed", "reason": record.get("reason") or "no value and no reason"}
        return
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            yield {**about, "metric": name, "score_status": "failed", "reason": "not a finite number"}
            continue
        yield {
            **about,
            "metric": name,
            "value": value,
            "sd_eval": ((record.get("spread") or {}).get(name) or {}).get("sd"),
            "real": (record.get("real") or {}).get(name),
            "floor": (record.get("floor") or {}).get(name),
            "score_status": "ok",
        }


class _Stamps:
    """The unlike protocols under each name, and who used them."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[dict[str, Any], dict[str, None]]]] = {}

    def add(self, row: Mapping[str, Any], stamp: dict[str, Any], run: Run) -> None:
        """Note that a row's value was made as `stamp` says."""
        _, users = self._known.setdefault(row["metric"], {}).setdefault(row["protocol"], (stamp, {}))
        users[f"{run.run_id} ({run.cell.name}, seed {run.seed})"] = None

    def check(self) -> None:
        """Raise ProtocolError naming each value, each field that differs, and the runs on each side."""
        problems = []
        for metric, made in sorted(self._known.items()):
            for field in sorted({field for stamp, _ in made.values() for field in stamp}):
                sides: dict[str, dict[str, None]] = {}
                for stamp, users in made.values():
                    sides.setdefault(repr(stamp.get(field)), {}).update(users)
                if len(sides) > 1:
                    said = "; ".join(f"{value} in {_some(list(users))}" for value, users in sorted(sides.items()))
                    problems.append(f"{metric}: unlike protocols in one table: {field} is {said}")
        if problems:
            raise ProtocolError("\n".join(problems))


def _some(names: list[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


# ---------------------------------------------------------------------------------------------------------
# The noise of evaluation.


def evaluation_noise(design: Design, store: Store) -> pd.DataFrame:
    """One snapshot of one run under several evaluation seeds: how far a value moves when nothing was trained anew.

    One row a value: `metric`, `evaluations`, their `mean` and `sd` (n − 1), `sd_log` (of their logarithms, where all
    are positive), `cell`, `seed`, `run_id`, `snapshot`.
    Values with fewer than two evaluations have none; these scores stand in no other table.
    """
    found: dict[str, list[float]] = {}
    about: dict[str, Any] = {}
    run, study = noise_run(design), design.study
    folder = store.run(run.run_id) if run else None
    if run and folder and (labels := snapshots(folder, folder.state())):
        about = {"cell": run.cell.name, "seed": run.seed, "run_id": run.run_id, "snapshot": labels[-1]}
        source = datasets.describe(run.setting.data, datasets.data_root())
        for evaluate in [study.evaluate, *protocol.other_evaluations(study.evaluate)]:
            metrics = protocol.askable(study.metrics, run.setting)
            asked = protocol.requests(metrics, evaluate, run.setting.data, run.run_id, labels[-1], source)
            for request in asked:
                if protocol.METRICS[request.metric].of == "classifier":
                    continue  # it draws nothing
                for row in _value_rows(read_json(folder.scores / f"{request.id}.json") or {}):
                    if row["score_status"] == "ok":
                        found.setdefault(row["metric"], []).append(row["value"])
    rows = []
    for metric, values in found.items():
        raw = stats.mean_interval(values)
        sd_log = stats.mean_interval([math.log(value) for value in values]).sd if min(values) > 0 else None
        if raw.n > 1:
            numbers = {"evaluations": raw.n, "mean": raw.mean, "sd": raw.sd, "sd_log": sd_log}
            rows.append({"metric": metric, **numbers, **about})
    return pd.DataFrame.from_records(rows, columns=NOISE)


def lines(frame: pd.DataFrame, *by: str) -> dict[tuple[Any, ...], list[tuple[float, float]]]:
    """Group the points of a table by some of its columns: key → [(kimg, value), …], groups and points in its order.

    Points are tuples because there may be a million: lists the garbage collector would look through again and again.
    """
    found: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for *key, kimg, value in zip(*(frame[name].tolist() for name in (*by, "kimg", "value")), strict=True):
        found.setdefault(tuple(key), []).append((float(kimg), float(value)))
    return found


def last_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the finite values of the last snapshot of every run that is done."""
    done = frame[frame["status"] == "done"]
    last = done.groupby("run_id")["kimg"].transform("max")
    return done[(done["kimg"] == last) & done["value"].notna()]


def metrics_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """List (asked, value name) in the order of the study and of the records, each once."""
    named = frame[frame["metric"].notna()]
    pairs = dict.fromkeys(zip(named["asked"], named["metric"], strict=True))
    order = {asked: place for place, asked in enumerate(dict.fromkeys(frame["asked"].dropna()))}
    return sorted(pairs, key=lambda pair: order[pair[0]])


def to_csv(frame: pd.DataFrame) -> bytes:
    """CSV as bytes: shortest digits that read back to the same number, empty where there is none."""
    return frame.to_csv(index=False, lineterminator="\n").encode()
