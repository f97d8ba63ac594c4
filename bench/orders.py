"""What a study asks of a job beside the run's setting: where data lie, which scores, how many threads.

Nothing here is part of a run's identity.  Written to results/studies/<study>/orders/<digest>.json when a study is
launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from bench.files import StoreError, write_bytes
from bench.probes import ProbeName
from bench.protocol import Evaluate, Reals, Request, askable, other_evaluations, requests
from bench.setting import PositiveFloat, PositiveInt, Setting, Strict
from bench.store import RunFolder

Stage = Literal["all", "train", "score"]
"""What a job does with a run: train it, score it, or both."""
STAGES: tuple[Stage, ...] = get_args(Stage)


class Evaluation(NamedTuple):
    """Scores of one snapshot on one draw of fakes."""

    snapshot: str
    evaluate: Evaluate
    requests: list[Request]


class Orders(Strict):
    """One study's orders to its jobs."""

    data_root: Path = Field(strict=False)
    """Where downloaded sets lie."""
    folders: dict[str, str] = Field(default_factory=dict)
    """Where the images of each `data: {folder: ...}` lie, by the set's fingerprint."""
    input_folders: dict[str, str] = Field(default_factory=dict)
    """Where the input images of each `data: {pairs: folders, ...}` lie, likewise."""
    metrics: tuple[str, ...] = ()
    evaluate: Evaluate = Evaluate()
    probes: tuple[ProbeName, ...] = ()
    """What to watch inside the nets while they train."""
    probe_every_kimg: PositiveFloat | None = None
    noise_run: str | None = None
    """The run whose last snapshot is scored by other evaluation seeds as well."""
    cpu_threads: PositiveInt = 1
    checkpoint_minutes: PositiveFloat = 2.0
    """Wall-clock time between checkpoints."""
    cuda_graphs: bool = True
    """Whether updates are recorded and launched as one, on CUDA."""
    packed: bool = False
    """Other runs share the device: rates enter no speed table."""

    def placed(self, setting: Setting) -> Setting:
        """Say where the images of `data: {folder: ...}` lie on this machine; that is no part of the run."""
        if setting.data.name != "folder":
            return setting
        mark = setting.data.fingerprint
        paths = {"folder": self.folders.get(mark), "input_folder": self.input_folders.get(mark)}
        placed: Setting = setting.model_copy(update={"data": setting.data.model_copy(update=paths)})
        return placed

    def unscored(
        self, folder: RunFolder, setting: Setting, snapshots: Sequence[str], source: Reals
    ) -> list[Evaluation]:
        """List the scores that are asked for and do not stand; a failed one does not stand."""
        asked = [(label, self.evaluate) for label in snapshots]
        if folder.path.name == self.noise_run and snapshots:
            asked += [(max(snapshots), evaluate) for evaluate in other_evaluations(self.evaluate)]
        missing, seen = [], set[str]()
        for label, evaluate in asked:
            listed = requests(askable(self.metrics, setting), evaluate, setting.data, folder.path.name, label, source)
            if left := [one for one in listed if one.id not in seen and not folder.is_scored(one.id)]:
                missing.append(Evaluation(label, evaluate, left))
            seen |= {one.id for one in listed}  # a score without fakes is the same under any evaluation seed
        return missing

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
