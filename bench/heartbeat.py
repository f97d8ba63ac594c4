"""The sign of life of an attempt: its file `alive`."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from pathlib import Path

from bench.files import StoreError, write_json
from bench.harmless import complain
from bench.stop import Stop

HEARTBEAT_S = 5.0


class Heartbeat:
    """Keeps `alive` of an attempt moving, from its claim to its end, with the last words on its progress.

    It asks for a stop when a higher attempt has been claimed: this one was taken for dead and lost its run.
    """

    def __init__(self, folder: Path, stop: Stop | None = None) -> None:
        self.folder, self.stop, self.words = folder, stop, dict[str, float]()
        self.beat = 0
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
            self._sign()
            if self._ended.wait(HEARTBEAT_S):
                return

    def _sign(self) -> None:
        self.beat += 1
        words = {key: value for key, value in self.words.items() if math.isfinite(value)}
        try:
            if self.folder.is_dir():  # else results were moved: no second tree where they were
                write_json(self.folder / "alive", {"beat": self.beat, **words})
        except (StoreError, OSError) as error:  # the next beat may come through
            complain(f"heartbeat: {error}")
        with contextlib.suppress(OSError):
            higher = [name for name in os.listdir(self.folder.parent) if name.isdecimal()]
            if self.stop and any(int(name) > int(self.folder.name) for name in higher):
                self.stop.ask("a later attempt has taken the run over")
