"""A results folder in miniature, with known numbers: what tables and reports are tested on.

The study is real (loaded and expanded by the project's own code); its runs are written as a job would leave them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import datasets, study
from bench.design import Design, Run, expand
from bench.files import publish
from bench.probes import MEASURES, PROBES
from bench.protocol import requests
from bench.store import Store

STUDY = """\
# Does AdaIN help a small face GAN, with and without spectral norm?
#
# A miniature for tests.
study: {name}
recipe: wgan_gp
data: {{name: faces, size: 32}}
g_width: 16
d_width: 16
train: {{batch: 16, kimg: 32}}
factors:
  g_norm: [bn, adain]
  d_weight: [none, spectral]
seeds: {seeds}
reference: {{g_norm: bn, d_weight: none}}
metrics: [fd, swd, ms_ssim]
claims:
  - says: "AdaIN ends lower than batch norm"
    kind: difference
    left: {{g_norm: adain}}
    right: {{g_norm: bn}}
    measure: fd
    at: last
    expect: lower
profiles:
  smoke: {{evidence: false, train: {{kimg: 4}}}}
"""
LABELS = ("000008.000", "000016.000", "000024.000", "000032.000")
STAMP = {
    "n_real": 80,
    "n_fake": 2000,
    "n_floor": 40,
    "part": "train",
    "resize": None,
    "quantisation": "uint8",
    "extractor": "random",
    "weights": "ab" * 32,
    "batch": 64,
    "dtype": "float32",
    "seed": 0,
    "version": 1,
    "fingerprint": "cd" * 8,
}


def a_design(
    folder: Path, *, name: str = "miniature", seeds: int = 3, text: str = STUDY, profile: str | None = None
) -> Design:
    """Load and expand a study written into `folder`."""
    path = folder / f"{name}.yaml"
    path.write_text(text.format(name=name, seeds=seeds))
    loaded = study.load(path, profile=profile)
    return expand(loaded, root=folder / "data", cache=folder / "results" / "cache")


def value(run: Run, step: int, base: dict[str, float]) -> float:
    """Fréchet distance of a run at its snapshot number `step` (1 to 4): base[cell] + seed + 10 (4 - step)."""
    return base[run.cell.name] + run.seed + 10.0 * (4 - step)


def bases(design: Design) -> dict[str, float]:
    """100, 90, 80, 70 for the cells as the study has them."""
    return {cell.name: 100.0 - 10.0 * number for number, cell in enumerate(design.cells)}


def write_run(
    store: Store,
    run: Run,
    *,
    status: str = "done",
    cause: str | None = None,
    labels: Iterable[str] = LABELS,
    **trained: Any,
) -> None:
    """Leave what training leaves."""
    folder, labels = store.run(run.run_id), list(labels)
    kimg = float(labels[-1]) + (0 if status == "done" else 2) if labels else 1.0
    record = {
        "status": status,
        "cause": cause,
        "step": 400,
        "nimg": int(kimg * 1000),
        "kimg": kimg,
        "seconds": 30.0 + run.seed,
        "images_per_second": 1000.0,
        "weights": {},
        "snapshots": labels,
        "attempt": 1,
        "finished": "2026-11-22T10:00:00Z",
        "packed": False,
        "commit": "0123456789abcdef",
        "dirty": False,
        "torch": "2.13.0",
        "threads": 1,
        "device": "cpu",
        "host": "here",
        **trained,
    }
    publish(folder.trained, json.dumps(record).encode())
    attempt = folder.attempt(1)
    attempt.mkdir(parents=True, exist_ok=True)
    rows = [{"step": step, "nimg": step * 80, "kimg": step * 0.08, "loss_D": -1.0} for step in (1, 2, 3)]
    (attempt / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (attempt / "log.txt").write_text(f"training\n{status}: {cause or 'all is well'}\n")


def write_probes(
    store: Store,
    run: Run,
    kimgs: Iterable[float] = (0.0, 8.0, 16.0),
    *,
    attempt: int = 1,
    only: Iterable[str] = tuple(PROBES),
) -> None:
    """Leave probes of known numbers: each value is its place among its probes' measures + 1 + seed + kimg."""
    rows = []
    for kimg in kimgs:
        names = [name for name, what in MEASURES.items() if what.probe in only]
        values = {name: place + 1.0 + run.seed + kimg for place, name in enumerate(names)}
        layers = {
            what.layers: {f"{net}.blocks.{i}": i + 1.0 + kimg for net in "GD" for i in range(3)}
            for name, what in PROBES.items()
            if what.layers and name in only
        }
        step = int(kimg * 1000 / 80)
        rows.append({"step": step, "nimg": int(kimg * 1000), "kimg": kimg, "values": values, "layers": layers})
    folder = store.run(run.run_id).attempt(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_failed(store: Store, run: Run, reason: str = "killed: out of memory") -> None:
    """Leave what an attempt leaves that the machine ended."""
    folder = store.run(run.run_id)
    folder.attempt(1).mkdir(parents=True, exist_ok=True)
    folder.end(1, 1, reason)
    (folder.attempt(1) / "log.txt").write_text("training\nTraceback (most recent call last)\n")


def write_score(
    store: Store,
    run: Run,
    design: Design,
    label: str,
    metric: str,
    values: dict[str, float | None],
    *,
    status: str = "ok",
    reason: str | None = None,
    stamp: dict[str, Any] | None = None,
    real: dict[str, float] | None = None,
    floor: dict[str, float] | None = None,
    spread: dict[str, Any] | None = None,
) -> Path:
    """Leave one score under the id that the study asks for; return its path."""
    source = datasets.describe(run.setting.data, Path("data"))
    asked = requests(design.study.metrics, design.study.evaluate, run.setting.data, run.run_id, label, source)
    request = next(request for request in asked if request.metric == metric)
    path = store.run(run.run_id).scores / f"{request.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "id": request.id,
        "run": run.run_id,
        "metric": metric,
        "snapshot": label,
        "status": status,
        "reason": reason,
        "values": values,
        "spread": spread or {},
        "real": real or {},
        "floor": floor or {},
        "protocol": {**STAMP, **(stamp or {})},
        "seconds": 1.0,
        "finished": "2026-11-22T10:01:00Z",
    }
    path.write_text(json.dumps(record))
    return path


def write_scores(store: Store, run: Run, design: Design, labels: Iterable[str] = LABELS) -> None:
    """Leave all scores that the study asks for of every snapshot."""
    write_scores_of(store, run, design, design.study.metrics, labels)


def write_scores_of(
    store: Store, run: Run, design: Design, metrics: Iterable[str], labels: Iterable[str] = LABELS
) -> None:
    """Leave some scores of every snapshot."""
    base = bases(design)
    for step, label in enumerate(labels, 1):
        fd = value(run, step, base)
        known: dict[str, dict[str, Any]] = {
            "fd": {"values": {"fd[random]": fd}, "floor": {"fd[random]": 5.0}},
            "swd": {
                "values": {"swd": fd / 2, "swd_32": fd / 2 + 1, "swd_16": fd / 2 - 1},
                "floor": {"swd": 4.0, "swd_32": 4.5, "swd_16": 3.5},
            },
            "ms_ssim": {"values": {"ms_ssim_2s": fd / 400}, "real": {"ms_ssim_2s": 0.25}},
        }
        for metric in metrics:
            write_score(store, run, design, label, metric, **known[metric])


Painter = Callable[[Run, int], np.ndarray]


def plain(run: Run, step: int) -> np.ndarray:
    """A sheet whose tile number t is grey of value 40 step + t: the order of tiles can be read off."""
    tiles = np.arange(64, dtype=np.uint8).reshape(8, 8) + np.uint8(40 * step)
    return np.repeat(np.kron(tiles, np.ones((32, 32), np.uint8))[..., None], 3, axis=2)


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_samples(store: Store, run: Run, labels: Iterable[str] = LABELS, paint: Painter = plain) -> None:
    """Leave the sheets of samples."""
    for step, label in enumerate(labels, 1):
        publish(store.run(run.run_id).samples / f"{label}.png", png(paint(run, step)))


def write_all(design: Design, store: Store, paint: Painter = plain, reals: np.ndarray | None = None) -> None:
    """Leave a study whose runs are all done, scored and sampled."""
    for run in design.runs:
        write_run(store, run)
        write_scores(store, run, design)
        write_samples(store, run, paint=paint)
    sheet = plain(design.runs[0], 0) if reals is None else reals
    publish(store.study(design.study.name) / "reals.png", png(sheet))
