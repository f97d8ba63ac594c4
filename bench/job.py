"""One run, start to finish: `python -m bench.job RUN_DIR --orders FILE`.

Trains what is not trained, scores what is not scored, and says how it ended by its exit code: 0 an outcome is
recorded, 2 bad input, 75 stopped and can go on, anything else a failure.  Every executor launches this same
command, and a run interrupted anywhere is taken up by launching it again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from bench import data, datasets, evaluate, gallery, memory, norms, oom, own_modules, provenance, sample, snapshot
from bench.files import StoreError, WriteError, now, publish_json, read_json, write_json
from bench.harmless import complain, tell
from bench.heartbeat import Heartbeat
from bench.keeper import RunKeeper, newest_checkpoints
from bench.metrics import paired
from bench.metrics.failure import MetricError
from bench.orders import STAGES, Orders, Stage
from bench.peers import Peers
from bench.preparation import PARTS, DeviceError, larger, prepare, prepare_torch
from bench.probes.watch import Probes
from bench.protocol import METRICS, Evaluate, Request
from bench.schedule import Schedule, schedule
from bench.setting import Setting
from bench.stop import Stop
from bench.store import RunFolder, Store
from bench.train import Outcome, train
from bench.updates import own_stream, recorder_for

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 75
BAD_INPUTS = (StoreError, datasets.DataError, norms.NormError, MetricError, own_modules.OwnModuleError)


def run(
    folder: RunFolder,
    orders: Orders,
    *,
    stop: Stop,
    attempt: int | None = None,
    stage: Stage = "all",
    gpu_share: float = 1.0,
) -> int:
    """Bring one run to its outcome and its scores; return the exit code.

    `attempt`: the attempt that the supervisor has claimed for this process; None: claim one here.  `stage`: only
    train it, or only score it.  `gpu_share`: how much of the GPU's memory is this run's.
    """
    try:
        setting = folder.setting()
    except StoreError as error:
        complain(error)
        if attempt is not None:
            folder.end(attempt, BAD_INPUT, str(error))
        return BAD_INPUT
    if attempt is None:
        attempt = folder.claim()
        if attempt is None:
            tell(f"run {folder.path.name}: another process is at it")
            return STOPPED
    code, reason, starved = FAILED, "", False
    try:
        folder.adopt(attempt)
        with Heartbeat(folder.attempt(attempt), stop) as heartbeat:
            device = prepare_torch(setting, orders, gpu_share)
            setting = orders.placed(setting)
            made_by = provenance.record(folder.attempt(attempt), device)
            dataset = data.load(setting.data, orders.data_root, Store(folder.path.parent.parent).cache)
            work = Work(folder, setting, orders, attempt, stop, heartbeat, dataset, device, made_by)
            code, reason = work.do(stage)
    except (WriteError, DeviceError) as error:  # the machine's fault: it may be tried again, or elsewhere
        reason = str(error)
        complain(error)
    except BAD_INPUTS as error:
        code, reason = BAD_INPUT, str(error)
        complain(error)
    except (Exception, SystemExit) as error:  # a module of the user's own may try to leave
        reason = f"{type(error).__name__}: {error}"
        starved = oom.told(reason)
        traceback.print_exc()
    try:
        if folder.attempt(attempt).is_dir():  # else results were moved: no second tree where they were
            folder.end(attempt, code, reason, oom=starved)
    except StoreError as error:
        complain(error)
    return code


@dataclass
class Work:
    """One attempt at a run, with all that it needs."""

    folder: RunFolder
    setting: Setting
    orders: Orders
    attempt: int
    stop: Stop
    heartbeat: Heartbeat
    dataset: data.Dataset
    device: torch.device
    made_by: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    """What the supervisor should say of an attempt that ended well."""

    def do(self, stage: Stage = "all") -> tuple[int, str]:
        """Train what is not trained, score what is not scored; return the exit code and what to say."""
        for path in self.folder.half_written():
            self.notes.append(f"{path.name} was half-written and is made again")
            if path == self.folder.trained:
                self.folder.set_aside(path)
        if self.folder.state().trained is None:
            if stage == "score":
                return STOPPED, "nothing to score: it is not trained yet"
            check_sources(self.setting)
            if self.train().status == "stopped":
                return STOPPED, "; ".join([self.stop.reason or "asked to stop", *self.notes])
        for path in newest_checkpoints(self.folder):
            path.unlink(missing_ok=True)
        if stage != "train" and not self.score():
            return STOPPED, self.stop.reason or "asked to stop"
        return OK, "; ".join(self.notes)

    def train(self) -> Outcome:
        """Train to the end, or to a stop; record the outcome."""
        memory.forget_peak(self.device)
        part = self.training_part()
        plan = schedule(self.setting, len(part.images))
        checkpoint_s = 60.0 * self.orders.checkpoint_minutes
        pairs = sample.sheet_pairs(self.dataset)
        shown = sample.style_images(self.setting, self.dataset, sample.SHEET_SEED) if pairs is None else pairs.inputs
        keeper = RunKeeper(
            self.folder, self.attempt, self.setting, self.stop, self.heartbeat, checkpoint_s=checkpoint_s, inputs=shown
        )
        try:
            with Peers(self.folder, self.setting, self.orders, self.device, self.lost):
                recorder = recorder_for(self.device, wanted=self.orders.cuda_graphs)
                with own_stream(self.device):
                    outcome = train(self.setting, part, plan, keeper, self.device, self.probes(part, plan), recorder)
        finally:
            keeper.close()
            self.notes += keeper.notes
        if outcome.plain_because:
            tell(f"without CUDA graphs: {outcome.plain_because}")
        if outcome.status != "stopped":
            kept = [label for label in plan.snapshots.values() if (self.folder.snapshots / f"{label}.pt").exists()]
            publish_json(self.folder.trained, self.record(outcome, kept))
            tell(f"{outcome.status}: {outcome.nimg / 1000:g} kimg in {outcome.seconds:.1f} s")
        return outcome

    def lost(self, reason: str) -> None:
        """Record that another rank has died, where this one can do no more."""
        self.folder.end(self.attempt, FAILED, reason, oom=oom.told(reason))

    def probes(self, part: data.Part, plan: Schedule) -> Probes | None:
        """What to watch; None where nothing is asked for."""
        asked = self.orders.probes
        if not asked:
            return None
        held_out = self.dataset.part("held_out") if len(self.dataset.parts["held_out"]) else None
        every = self.orders.probe_every_kimg
        return Probes(asked, self.setting, plan, part, held_out, self.device, every_kimg=every)

    def training_part(self) -> data.Part:
        """The reals to train on: with `data.jitter`, larger ones than are scored, to be cropped."""
        if not self.setting.data.jitter:
            return self.dataset.part("train")
        cache = Store(self.folder.path.parent.parent).cache
        return data.load(larger(self.setting.data), self.orders.data_root, cache).part("train")

    def record(self, outcome: Outcome, snapshots: list[str]) -> dict[str, Any]:
        """What trained.json says."""
        return {
            "status": outcome.status,
            "cause": outcome.cause,
            "step": outcome.step,
            "nimg": outcome.nimg,
            "kimg": outcome.nimg / 1000,
            "seconds": round(outcome.seconds, 3),
            "images_per_second": round(outcome.nimg / max(outcome.seconds, 1e-9), 2),
            "weights": outcome.weights,
            "parameters": dict(outcome.parameters),
            "plain_because": outcome.plain_because,
            "snapshots": snapshots,
            "attempt": self.attempt,
            "finished": now(),
            "packed": self.orders.packed,
            **memory.peaks(self.device),
            **provenance.stamps(self.made_by),
        }

    def score(self) -> bool:
        """Compute the scores that are missing or failed; False when asked to stop before the end."""
        trained = read_json(self.folder.trained) or {}
        failures: list[str] = []
        for label, asked, missing in self.orders.unscored(
            self.folder, self.setting, trained.get("snapshots", []), self.dataset
        ):
            if self.stop.reason is not None:
                return False
            for record in self.scores_of(label, asked, missing):
                head = {"run": self.folder.path.name, "snapshot": label}
                write_json(self.folder.scores / f"{record['id']}.json", {**head, **record})
                if record["status"] == "failed":
                    failures.append(f"{record['metric']} at {label}: {record['reason']}")
                    tell(f"score {failures[-1]}")
                if self.stop.reason is not None:
                    return False
        if failures:
            self.notes.append(f"{len(failures)} scores failed, first {failures[0]}")
        self.hang(trained.get("snapshots", []))
        return True

    def hang(self, snapshots: Sequence[str]) -> None:
        """Keep neighbours and interpolations of the last snapshot; a run stands without what cannot be made."""
        if snapshots:
            cache = Store(self.folder.path.parent.parent).cache
            made = gallery.Gallery(self.setting, self.dataset, self.orders, cache)
            for line in gallery.hang(self.folder, max(snapshots), made, self.device):
                tell(f"no picture {line}")

    def scores_of(self, label: str, asked: Evaluate, missing: Sequence[Request]) -> Iterator[dict[str, Any]]:
        """Sample one snapshot and score it; a snapshot that cannot be sampled gives failed scores with the reason."""
        of_nets = [request for request in missing if METRICS[request.metric].of in ("classifier", "latents")]
        of_fakes = [request for request in missing if request not in of_nets]
        try:
            nets = snapshot.load(self.setting, self.folder.snapshots / f"{label}.pt")
            fakes = self.fakes(nets["G"], asked) if of_fakes else None
        except snapshot.SnapshotError as error:
            remedy = f"delete the folder {self.folder.path} and run the study again to train it anew"
            yield from (evaluate.failed(request, f"{error}: {remedy}") for request in missing)
            return
        except sample.SampleError as error:
            yield from (evaluate.failed(request, str(error)) for request in missing)
            return
        root, cache = self.orders.data_root, Store(self.folder.path.parent.parent).cache
        for request in of_nets:
            yield evaluate.score_net(
                request, nets, self.setting, self.dataset, asked, root=root, cache=cache, device=self.device
            )
        if fakes is not None:
            yield from self.scores_of_fakes(fakes, asked, of_fakes)

    def scores_of_fakes(
        self, fakes: torch.Tensor, asked: Evaluate, missing: Sequence[Request]
    ) -> Iterator[dict[str, Any]]:
        """Score fakes, with the classes that they were asked to be where G reads labels."""
        labels = None
        if self.setting.gives_labels:
            labels = sample.asked(self.setting, asked.fakes, seed=asked.seed, batch=asked.batch)
        root, cache = self.orders.data_root, Store(self.folder.path.parent.parent).cache
        yield from evaluate.score(missing, fakes, self.setting.data, asked, labels=labels, root=root, cache=cache)

    def fakes(self, G: nn.Module, asked: Evaluate) -> torch.Tensor:
        """Sample the fakes of a snapshot's G, uint8 [N, C, H, W].  Raises SampleError."""
        inputs = self.dataset.part(asked.part).inputs
        if inputs is None:
            inputs = sample.style_images(self.setting, self.dataset, asked.seed)
        else:
            inputs = inputs[: paired.shown(asked.fakes, len(inputs))]
        return sample.fakes(
            G, self.setting, asked.fakes, seed=asked.seed, batch=asked.batch, device=self.device, inputs=inputs
        )


def check_sources(setting: Setting) -> None:
    """Raise NormError when a module of the user's own is not the one that was planned: the run's id is of that one."""
    for name in (getattr(setting, key) for key in own_modules.OWN_KEYS):
        planned = setting.sources.get(name.partition(":")[0])
        if ":" in name and own_modules.source_hash(name) != planned:
            raise norms.NormError(f"{name}: its source has changed since this run was planned; start the study again")


# ---------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.job", description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="a run's folder, results/runs/<run_id>")
    parser.add_argument("--orders", type=Path, required=True, help="results/studies/<study>/orders/<digest>.json")
    parser.add_argument("--attempt", type=int, help="the attempt that the supervisor has claimed")
    parser.add_argument("--stage", choices=STAGES, default="all", help="only train it, or only score it")
    parser.add_argument("--gpu-share", type=float, default=1.0, metavar="X", help="its part of the GPU's memory")
    parser.add_argument("--prepare", type=Path, metavar="STUDY_DIR", help="only make what these runs need")
    parser.add_argument("--part", choices=PARTS, default="all", help="of the preparation: the driver's, or a task's")
    parser.add_argument("--supervised", action="store_true", help="stop when standard input closes")
    given = parser.parse_args(arguments)
    stop = Stop()
    stop.install()
    if given.supervised:
        stop.follow(sys.stdin.buffer)
    try:
        orders = Orders.read(given.orders)
        if given.prepare:
            stop.at_once()  # what it writes is whole or not there
            started = time.monotonic()
            prepare(orders, [RunFolder(path).setting() for path in given.run], given.prepare, given.part)
            tell(f"prepared in {time.monotonic() - started:.1f} s")
            return OK
    except (WriteError, DeviceError) as error:
        complain(error)
        return FAILED
    except (*BAD_INPUTS, ValidationError) as error:
        complain(error)
        return BAD_INPUT
    if len(given.run) > 1:
        parser.error("one run at a time")
    return run(
        RunFolder(given.run[0]),
        orders,
        stop=stop,
        attempt=given.attempt,
        stage=given.stage,
        gpu_share=given.gpu_share,
    )


if __name__ == "__main__":
    sys.exit(main())
