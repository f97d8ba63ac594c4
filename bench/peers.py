"""The other ranks of a run: rank 0, which is the job itself, starts them, and none outlives another.

Rank 0 tells them on standard input what to do, and holds its other end: when it closes, they end at once.  When one of
them dies, rank 0 fails with its reason.  Not torchrun, which would stand between the job and its supervisor: it turns
the exit codes 2 and 75 into 1, knows no SIGUSR2, and kills ranks that take half a minute for their last checkpoint.

On one node they are children of rank 0.  In a Slurm job of several nodes rank 0's node has as many ranks as each other,
whose ranks one srun starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist

from bench import data, ranks
from bench.orders import Orders
from bench.preparation import larger, prepare_torch
from bench.schedule import schedule
from bench.setting import Setting
from bench.stop import Stop, held_back
from bench.store import RunFolder, Store
from bench.train import Forgetful, train

LAST_WORDS_S = 10.0
"""How long rank 0 may take to fail by itself when another rank has died; it may be waiting for it in vain."""
LEAVING_S = 120.0
"""How long the others may take to end after training."""
_BROKEN = re.compile(r"gloo|nccl|connection|socket|broken pipe|recv|peer", re.IGNORECASE)
"""What torch says in a rank that has lost another."""


class PeersError(RuntimeError):
    """A rank was lost, or there is no place for one."""


# ---------------------------------------------------------------------------------------------------------
# Rank 0's side.


class Peers:
    """The ranks beside this one.  As a context: they have come when it is entered, and have ended when it is left."""

    def __init__(
        self,
        folder: RunFolder,
        setting: Setting,
        orders: Orders,
        device: torch.device,
        on_lost: Callable[[str], None],
    ) -> None:
        """`on_lost`: told the reason before this process is ended, because it waits for a rank that has died."""
        self.folder, self.orders, self.device, self.on_lost = folder, orders, device, on_lost
        self.size = setting.train.world_size
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.lost: str | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        """Start them and wait until all have come.  Raises PeersError when there are too few GPUs here."""
        if self.size > 1:
            try:
                self._meet()
            except BaseException as error:
                self._fail(error)
                raise
        return self

    def _meet(self) -> None:
        each = -(-self.size // int(os.environ.get("SLURM_JOB_NUM_NODES", "1")))
        nodes = -(-self.size // each)
        gpus = self._gpus(each)
        host = "127.0.0.1" if nodes == 1 else socket.gethostname()
        one_node(nodes)
        store, port = listening(host)
        # By a connection of its own: the first one is busy as long as somebody waits on it.
        self.words = dist.TCPStore(host, port, is_master=False)
        task = {
            "run": str(self.folder.path),
            "orders": self.orders.model_dump_json(),
            "at": [host, port],
            "nodes": nodes,
            "gpu_share": torch.cuda.get_per_process_memory_fraction() if gpus else 1.0,
        }
        for rank in range(1, each):
            self._start(f"rank {rank}", ["--rank", str(rank)], task, gpus[rank : rank + 1])
        if nodes > 1:
            self._start("a rank of another node", ["--beyond", str(each)], task, (), elsewhere(nodes, each, self.size))
        threading.Thread(target=self._watch, daemon=True).start()
        ranks.join(store, 0, self.size, self.device)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for their end.  Raises PeersError in place of what torch says when one was lost."""
        if self.size == 1:
            return
        if error is not None:
            self._fail(error)
        self._over.set()
        deadline = time.monotonic() + LEAVING_S
        for child in self.children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        self._let_go()
        ranks.leave()

    def _fail(self, error: BaseException) -> None:
        """End with the others; tell whether one of them was the reason."""
        if isinstance(error, RuntimeError) and _BROKEN.search(str(error)):
            until = time.monotonic() + LAST_WORDS_S / 2
            while self.lost is None and time.monotonic() < until:
                time.sleep(0.05)
        self._over.set()
        self._let_go()
        # Not in order: the others are gone, and NCCL would wait for them.
        with contextlib.suppress(RuntimeError):
            ranks.leave()
        if self.lost is not None and isinstance(error, RuntimeError) and _BROKEN.search(str(error)):
            raise PeersError(self.lost) from error

    def _start(
        self, name: str, which: list[str], task: Mapping[str, Any], gpu: Sequence[str], by: Sequence[str] = ()
    ) -> None:
        given = {"CUDA_VISIBLE_DEVICES": gpu[0]} if gpu else {}
        with held_back():
            child = subprocess.Popen(
                [*by, sys.executable, "-m", "bench.peers", *which],
                stdin=subprocess.PIPE,
                env={**os.environ, **given},
            )
        self.children[name] = child
        with contextlib.suppress(BrokenPipeError):  # it has died already; `_watch` sees it
            assert child.stdin is not None
            child.stdin.write(json.dumps(task).encode() + b"\n")
            child.stdin.flush()

    def _gpus(self, here: int) -> list[str]:
        """Names for CUDA_VISIBLE_DEVICES of the GPUs of this node's ranks; none on the CPU."""
        if self.device.type != "cuda":
            return []
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
        if len(names) < here:
            raise PeersError(
                f"train.world_size asks for {here} GPUs on {socket.gethostname()}, and {len(names)} may be used here"
            )
        return names

    def _watch(self) -> None:
        """Notice a rank that has died; end this process when it does not fail by itself."""
        while not self._over.wait(0.2):
            for name, child in self.children.items():
                if child.poll():
                    self.lost = self._reason(name, child.returncode)
                    print(self.lost, file=sys.stderr, flush=True)
                    if not self._over.wait(LAST_WORDS_S):
                        self.on_lost(self.lost)
                        os._exit(1)
                    return

    def _reason(self, name: str, code: int) -> str:
        with contextlib.suppress(RuntimeError):
            for key in (f"told/{rank}" for rank in range(1, self.size)):
                if self.words.check([key]):
                    return self.words.get(key).decode()
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{name} {ended}"

    def _let_go(self) -> None:
        for child in self.children.values():
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            try:
                child.wait(LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def listening(host: str) -> tuple[dist.TCPStore, int]:
    """Open the place where ranks meet, at a free port of `host` alone."""
    taken = socket.create_server((host, 0))
    port = int(taken.getsockname()[1])
    store = dist.TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=taken.detach())
    return store, port


def one_node(nodes: int) -> None:
    """On one node, gloo talks on the loopback alone: a host's name need not lead anywhere."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if nodes == 1 and loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])


def elsewhere(nodes: int, each: int, size: int) -> list[str]:
    """Command that starts the ranks of a Slurm job's other nodes, `each` on one."""
    return [
        "srun",
        "--overlap",
        "--export=ALL",
        "--kill-on-bad-exit=1",
        "--relative=1",
        f"--nodes={nodes - 1}",
        f"--ntasks={size - each}",
        f"--ntasks-per-node={each}",
        # Since Slurm 22.05 srun does not take it from sbatch: each rank would be bound to one core.
        f"--cpus-per-task={max(1, int(os.environ.get('SLURM_CPUS_PER_TASK') or each) // each)}",
    ]


# ---------------------------------------------------------------------------------------------------------
# The others' side.


class Silent(Forgetful):
    """The keeper of a rank that keeps nothing, since rank 0 does; it passes on a stop that it is asked for."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def stop_asked(self) -> bool:
        """Whether a signal came to this rank."""
        return self.stop.reason is not None


def train_beside(task: Mapping[str, Any], rank: int, local: int, stop: Stop) -> None:
    """Train as rank `rank`, number `local` on its node, until all have ended."""
    one_node(task["nodes"])
    host, port = task["at"]
    store = dist.TCPStore(host, port, is_master=False)
    try:
        folder, orders = RunFolder(Path(task["run"])), Orders.model_validate_json(task["orders"])
        setting = orders.placed(folder.setting())
        device = prepare_torch(setting, orders, task["gpu_share"])
        if device.type == "cuda" and torch.cuda.device_count() > 1:  # srun shows a task all GPUs of its node
            torch.cuda.set_device(local)
        shown = larger(setting.data) if setting.data.jitter else setting.data
        part = data.load(shown, orders.data_root, Store(folder.path.parent.parent).cache).part("train")
        ranks.join(store, rank, setting.train.world_size, device)
        outcome = train(setting, part, schedule(setting, len(part.images)), Silent(stop), device)
    except BaseException as error:
        with contextlib.suppress(RuntimeError):
            if not (isinstance(error, RuntimeError) and _BROKEN.search(str(error))):  # it lost another itself
                store.set(f"told/{rank}", f"rank {rank}: {type(error).__name__}: {error}")
        raise
    print(f"rank {rank}: {outcome.status} at step {outcome.step}", flush=True)
    ranks.leave()


def end_with_rank_0() -> None:
    """Wait for standard input to close, then end this process."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> int:
    """One further rank; `bench.peers.Peers` starts it."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--rank", type=int, help="on rank 0's node")
    which.add_argument("--beyond", type=int, help="under srun: the first rank of the other nodes")
    given = parser.parse_args()
    stop = Stop()
    stop.install()
    told = bytearray()
    while not told.endswith(b"\n"):  # unbuffered: nothing may be left behind for `end_with_rank_0`
        if not (more := os.read(sys.stdin.fileno(), 1)):
            return 1
        told += more
    threading.Thread(target=end_with_rank_0, daemon=True).start()
    rank, local = given.rank, 0
    if given.beyond is not None:
        rank, local = given.beyond + int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_LOCALID"])
    try:
        train_beside(json.loads(told), rank, local, stop)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # not in order: threads of NCCL may wait for ranks that are gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
