"""What a run leaves behind while it trains: log, checkpoints, snapshots."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from bench import sample, snapshot
from bench.files import StoreError, WriteError, publish, write_bytes
from bench.harmless import tell
from bench.heartbeat import Heartbeat
from bench.setting import Setting
from bench.stop import Stop
from bench.store import RunFolder

KEPT = 2
"""Checkpoints kept, newest first."""


class RunKeeper:
    """The `bench.train.Keeper` of one attempt at a run."""

    def __init__(
        self,
        run: RunFolder,
        attempt: int,
        setting: Setting,
        stop: Stop,
        heartbeat: Heartbeat,
        *,
        checkpoint_s: float = 120.0,
        inputs: Tensor | None = None,
    ) -> None:
        """`inputs`: of pairs, what the sheets are made of, uint8 [N, C_in, H, W]."""
        self.inputs = inputs
        self.run, self.setting, self.stop, self.heartbeat = run, setting, stop, heartbeat
        self.notes: list[str] = []
        self.folder = run.attempt(attempt)
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoint_s = checkpoint_s
        self._last_checkpoint = time.monotonic()
        self._unkept = ""
        """Why the last checkpoint is not there."""
        self._log = (self.folder / "train.jsonl").open("a")
        self._probes: IO[str] | None = None
        self._said = 0.0

    def close(self) -> None:
        """End the logs.  Raises OSError when they cannot be kept."""
        if self._unkept:
            self.notes.append(self._unkept)
        self._sync()
        self._log.close()
        if self._probes is not None:
            self._probes.close()

    def _sync(self) -> None:
        for log in (self._log, self._probes):
            if log is not None:
                os.fsync(log.fileno())

    # Log and progress.

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to this attempt's train.jsonl."""
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()

    def probe(self, row: dict[str, Any]) -> None:
        """Append one row to this attempt's probes.jsonl, which the first one makes."""
        if self._probes is None:
            self._probes = (self.folder / "probes.jsonl").open("a")
        self._probes.write(json.dumps(row, allow_nan=False) + "\n")
        self._probes.flush()

    def progress(self, **words: float) -> None:
        """Say how far the run is: to the heartbeat file always, to the log a line a minute."""
        self.heartbeat.words = words
        if time.monotonic() - self._said > 60.0:
            self._said = time.monotonic()
            share = words["step"] / words["steps"]
            losses = " ".join(f"{key[5:]} {value:.3g}" for key, value in words.items() if key.startswith("loss_"))
            rate = words["images_per_second"]
            tell(f"kimg {words['kimg']:.1f} {share:4.0%}  {losses}  {rate:.0f} img/s")

    # Stopping and checkpoints.

    def stop_asked(self) -> bool:
        """Whether a signal came."""
        return self.stop.reason is not None

    def checkpoint_due(self) -> bool:
        """Whether `checkpoint_s` seconds have passed since the last one."""
        return time.monotonic() - self._last_checkpoint >= self.checkpoint_s

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint whose name carries its content's hash; drop all but the newest two.

        One that cannot be written is said and left out: the one before stands, and the next may find room.
        """
        self._last_checkpoint = time.monotonic()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        try:
            self._check_still_there()
            self._sync()  # a machine that goes down must not keep the step and lose its log
            write_bytes(self.checkpoints / f"{step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.pt", content)
        except (WriteError, OSError) as error:
            self._unkept = f"no checkpoint at step {step}: {error}"
            tell(self._unkept)
            return
        self._unkept = ""
        for path in sorted(self.checkpoints.glob("*.pt"))[:-KEPT]:
            path.unlink(missing_ok=True)

    def _check_still_there(self) -> None:
        """Raise StoreError when the results were moved away or deleted: no second tree shall grow where they were."""
        if not self.folder.is_dir():
            raise StoreError(f"{self.folder} is gone: the results were moved or deleted while this run trained")

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Load the newest good checkpoint of any attempt; say which were not good."""
        for path in newest_checkpoints(self.run):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] != path.stem.partition("-")[2]:
                self.notes.append(f"checkpoint {path.name} was damaged and passed over")
                tell(self.notes[-1])
                continue
            tell(f"resuming from step {int(path.name[:9])}, {path.relative_to(self.run.path)}")
            return dict(torch.load(io.BytesIO(content), weights_only=True))
        return None

    # Snapshots.

    def snapshot(self, label: str, kept: nn.Module) -> None:
        """Publish a snapshot and a sheet of its samples; a snapshot that stands is left as it is.

        Raises StoreError when it cannot be kept.
        """
        self._check_still_there()
        buffer = io.BytesIO()
        torch.save(kept.state_dict(), buffer)
        publish(self.run.snapshots / f"{label}.pt", buffer.getvalue())
        G = snapshot.nets(kept).get("G")
        if G is None:
            return
        tiles, y = sample.SHEET**2, sample.of_columns(self.setting)
        try:
            device = next(G.parameters()).device
            shown = sample.fakes(
                G,
                self.setting,
                tiles,
                seed=sample.SHEET_SEED,
                stream="sheet_z",
                device=device,
                y=y,
                inputs=self.inputs,
            )
        except sample.SampleError as error:
            tell(f"snapshot {label}: no samples: {error}")
        else:
            publish(self.run.samples / f"{label}.png", sample.sheet(shown))


def newest_checkpoints(run: RunFolder) -> list[Path]:
    """All checkpoints of all attempts, the furthest first."""
    return sorted(run.path.glob("attempts/*/checkpoints/*-*.pt"), key=lambda path: path.name, reverse=True)
