"""What a run leaves behind while it trains: log, heartbeat, checkpoints, snapshots; and its answer to signals."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch
from torch import Tensor, nn

from bench import sample, snapshot
from bench.setting import Setting
from bench.store import RunFolder, StoreError, publish, write_bytes, write_json

HEARTBEAT_S = 5.0
KEPT = 2
"""Checkpoints kept, newest first."""


class Stop:
    """Set by SIGTERM, SIGUSR2 or Ctrl-C, or when the supervisor's end of our standard input closes.

    The handler only sets a flag, and only in the process that installed it: children inherit handlers.
    A second Ctrl-C ends the process at once.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._owner = os.getpid()

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def follow(self, pipe: IO[bytes]) -> None:
        """Stop when `pipe` closes: the supervisor holds its other end and is gone."""

        def wait() -> None:
            # Not pipe.read(): its lock, held by a daemon thread, aborts the interpreter's shutdown.
            while os.read(pipe.fileno(), 1):
                pass
            self.reason = self.reason or "its supervisor is gone"

        threading.Thread(target=wait, daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        if self.reason is not None and number == signal.SIGINT:
            os._exit(130)
        self.reason = f"stopped by {signal.Signals(number).name}"


class Heartbeat:
    """Keeps the file `alive` of an attempt young, from its claim to its end, with the last words on its progress."""

    def __init__(self, folder: Path) -> None:
        self.path, self.words = folder / "alive", dict[str, float]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                write_json(self.path, {key: value for key, value in self.words.items() if math.isfinite(value)})
            except StoreError as error:
                print(f"heartbeat: {error}", file=sys.stderr, flush=True)
            if self._ended.wait(HEARTBEAT_S):
                return


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
        self._log = (self.folder / "train.jsonl").open("a")
        self._probes: IO[str] | None = None
        self._said = 0.0

    def close(self) -> None:
        """End the logs."""
        self._log.close()
        if self._probes is not None:
            self._probes.close()

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
            print(f"kimg {words['kimg']:.1f} {share:4.0%}  {losses}  {rate:.0f} img/s", flush=True)

    # Stopping and checkpoints.

    def stop_asked(self) -> bool:
        """Whether a signal came."""
        return self.stop.reason is not None

    def checkpoint_due(self) -> bool:
        """Whether `checkpoint_s` seconds have passed since the last one."""
        return time.monotonic() - self._last_checkpoint >= self.checkpoint_s

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint whose name carries its content's hash; drop all but the newest two."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        write_bytes(self.checkpoints / f"{step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.pt", content)
        for path in sorted(self.checkpoints.glob("*.pt"))[:-KEPT]:
            path.unlink(missing_ok=True)
        self._last_checkpoint = time.monotonic()

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Load the newest good checkpoint of any attempt; say which were not good."""
        for path in newest_checkpoints(self.run):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] != path.stem.partition("-")[2]:
                self.notes.append(f"checkpoint {path.name} was damaged and passed over")
                print(self.notes[-1], flush=True)
                continue
            print(f"resuming from step {int(path.name[:9])}, {path.relative_to(self.run.path)}", flush=True)
            return dict(torch.load(io.BytesIO(content), weights_only=True))
        return None

    # Snapshots.

    def snapshot(self, label: str, kept: nn.Module) -> None:
        """Publish a snapshot and a sheet of its samples; a snapshot that stands is left as it is."""
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
            print(f"snapshot {label}: no samples: {error}", flush=True)
        else:
            publish(self.run.samples / f"{label}.png", sample.sheet(shown))


def newest_checkpoints(run: RunFolder) -> list[Path]:
    """All checkpoints of all attempts, the furthest first."""
    return sorted(run.path.glob("attempts/*/checkpoints/*-*.pt"), key=lambda path: path.name, reverse=True)
