"""What a study asks of a job beside the run's setting: where data lie, which scores, how many threads.

Nothing here is part of a run's identity.  Written to results/studies/<study>/orders.json when a study is launched.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from bench.protocol import Evaluate, Reals, Request, requests
from bench.setting import PositiveFloat, PositiveInt, Setting, Strict
from bench.store import RunFolder, StoreError, write_bytes


class Orders(Strict):
    """One study's orders to its jobs."""

    data_root: Path = Field(strict=False)
    """Where downloaded sets lie."""
    folder: Path | None = Field(default=None, strict=False)
    """Where the images of `data: {folder: ...}` lie."""
    metrics: tuple[str, ...] = ()
    evaluate: Evaluate = Evaluate()
    cpu_threads: PositiveInt = 1
    checkpoint_minutes: PositiveFloat = 2.0
    """Wall-clock time between checkpoints."""
    packed: bool = False
    """Other runs share the device: rates enter no speed table."""

    def unscored(
        self, folder: RunFolder, setting: Setting, snapshots: Iterable[str], source: Reals
    ) -> dict[str, list[Request]]:
        """List the scores that are asked for and do not stand, by snapshot; a failed one does not stand."""
        missing = {}
        for label in snapshots:
            asked = requests(self.metrics, self.evaluate, setting.data, folder.path.name, label, source)
            missing[label] = [request for request in asked if not folder.is_scored(request.id)]
        return {label: left for label, left in missing.items() if left}

    def write(self, path: Path) -> None:
        """Replace `path` atomically."""
        write_bytes(path, (self.model_dump_json(indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Orders:
        """Read `path`.  Raises StoreError when it is not there, ValidationError when it is not orders."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}. Start the study with python -m bench.run.") from error
