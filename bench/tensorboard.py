"""A copy of logs and scores for TensorBoard, made from the files that runs leave: apart from them, it can harm none.

`results/studies/<study>/tensorboard/<cell>/seed-<n>/`: `train/<log>` and `score/<value>` over images shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import datasets, protocol
from bench.design import Design, Run
from bench.files import read_json, write_json
from bench.store import RunFolder, RunState, Store

STAMP = "mirrored.json"
"""In a run's folder of event files: the last log row and the scores that are in them."""
NOT_LOGS = ("step", "nimg", "kimg", "seconds")
Scalar = tuple[str, float, int, float | None]
"""Tag, value, images shown, seconds of training."""


class Mirror:
    """Copies what is new at each call; after a failure says so, once, and does no more."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._off = False
        self._open: dict[str, Any] = {}
        """Writers of runs that are being trained."""
        self._seen: dict[str, object] = {}

    def __call__(self, design: Design, store: Store) -> None:
        """Copy the log rows and scores that are not there yet."""
        if self._off:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter  # absent without the package tensorboard

            for run, folder in zip(design.runs, _folders(design, store), strict=True):
                self._copy(SummaryWriter, design, run, store.run(run.run_id), folder)
        except Exception as error:  # whatever a writer, a disk or an import raises
            self._off = True
            self._say(f"nothing more is written for TensorBoard: {type(error).__name__}: {error}")
            self.close()

    def close(self) -> None:
        """Close all event files."""
        for identifier in list(self._open):
            try:
                self._open.pop(identifier).close()
            except Exception as error:
                self._say(f"an event file of {identifier} may lack its end: {error}")

    def _copy(self, make: Callable[..., Any], design: Design, run: Run, source: RunFolder, folder: Path) -> None:
        now = _signature(source)
        if self._seen.get(run.run_id) == now:
            return
        state, known = source.state(), read_json(folder / STAMP) or {"last": -1, "scores": []}
        rows = [row for row in source.log() if row["step"] > known["last"]]
        scored = dict(_scores(design, run, source, state, set(known["scores"])))
        if rows or scored:
            if run.run_id not in self._open:
                self._open[run.run_id] = make(log_dir=str(folder))
            writer = self._open[run.run_id]
            for tag, value, nimg, seconds in [*_logged(rows), *(one for found in scored.values() for one in found)]:
                writer.add_scalar(tag, value, nimg, walltime=seconds)
            writer.flush()
            last = rows[-1]["step"] if rows else known["last"]
            write_json(folder / STAMP, {"last": last, "scores": sorted({*known["scores"], *scored})})
        if state.status != "running" and run.run_id in self._open:
            self._open.pop(run.run_id).close()
        self._seen[run.run_id] = now


def _folders(design: Design, store: Store) -> Iterator[Path]:
    """Where each run of the design goes: TensorBoard names it by this path."""
    root, names = store.study(design.study.name) / "tensorboard", dict[str, str]()
    for cell in design.cells:
        name = re.sub(r"[^\w.+=,@-]+", "-", cell.name)[:100]
        names[cell.name] = f"{name}-{len(names) + 1}" if name in names.values() else name
    for run in design.runs:
        yield root / names[run.cell.name] / f"seed-{run.seed}"


def _signature(source: RunFolder) -> object:
    """What changes when a run has logged or been scored."""
    logs = [source.attempt(number) / "train.jsonl" for number in source.attempts()]
    scores = sorted(source.scores.glob("*.json"))
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in [*logs, *scores] if path.exists()]
    return found, source.trained.exists()


def _logged(rows: list[dict[str, Any]]) -> Iterator[Scalar]:
    for row in rows:
        for key, value in row.items():
            if key not in NOT_LOGS and isinstance(value, int | float):
                yield f"train/{key}", float(value), int(row["nimg"]), row.get("seconds")


def _scores(
    design: Design, run: Run, source: RunFolder, state: RunState, known: set[str]
) -> Iterator[tuple[str, list[Scalar]]]:
    """Scores that stand and are not known, by id: those that the study asks for."""
    study, setting = design.study, run.setting
    reals = datasets.describe(setting.data, datasets.data_root())
    for label in (state.trained or {}).get("snapshots", []):
        metrics = protocol.askable(study.metrics, setting)
        for request in protocol.requests(metrics, study.evaluate, setting.data, run.run_id, label, reals):
            record = {} if request.id in known else read_json(source.scores / f"{request.id}.json") or {}
            if record.get("status") == "ok":
                nimg = round(float(label) * 1000)
                values = {name: value for name, value in record["values"].items() if value is not None}
                yield request.id, [(f"score/{name}", value, nimg, None) for name, value in values.items()]
